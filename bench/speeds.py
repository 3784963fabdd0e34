"""Error of estimated trip times on real taxi trips: constant speed against learned speeds: ``python -m bench.speeds``.

Needs the traces of a data folder (``DOORSTEP_DATA``, else ``../shared/data``) that are not ours to hand on:
cabspotting (San Francisco, 2008-05-21, with the fares of that day) and T-Drive (Beijing, 2008-02-04, 8 to 9 h).

Learned from trips before a moment, tried on trips that began after it. San Francisco twice: the last 30 % of the
day's fares (at hours that were never seen), and the last 20 minutes of every hour, each learned anew from all that
was driven that day up to the 40th minute of the same hour (at hours that were seen, if only just). Tracks are cut as
``geo/trips.py`` says; a fare is a leg of its own, and what is tried are the whole fares as they were paid, stops and
all. Beijing has no fares: what is tried are tracks cut by the same rules, with
longer gaps because its taxis report every five minutes, and taxis without a passenger do not go straight anywhere.

``default`` is the shipped estimate by car; ``fitted`` the same with the one speed and detour that suit the trips
learned from best, so that what the map adds is seen apart from what the city's own mean adds.
"""

import csv
import gzip
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from geo.arrays import FloatArray
from geo.distance import haversine_m
from geo.local_time import hours_of
from geo.settings import TravelSettings
from geo.speed_map import learn
from geo.travel_time import EstimateTravelTimes
from geo.trips import TripRules, Trips, cut

DATA: Final = Path(os.environ.get("DOORSTEP_DATA", Path(__file__).parents[2] / "shared" / "data"))
SAN_FRANCISCO: Final = ZoneInfo("America/Los_Angeles")
BEIJING: Final = ZoneInfo("Asia/Shanghai")
FARE_S: Final = (120.0, 5_400.0)
FARE_MIN_M: Final = 500.0
FARE_MAX_MPS: Final = 40.0
"""Fares that are kept: the rest are meters switched on by mistake or never off (10 % of the day's)."""


def read(path: Path, columns: tuple[str, ...]) -> FloatArray:
    """Numbers of a CSV, shape (rows, columns); names and local times become numbers too."""
    names: dict[str, int] = {}

    def number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            pass
        if "-" in text:
            return datetime.fromisoformat(text).replace(tzinfo=BEIJING).timestamp()
        return float(names.setdefault(text, len(names)))

    with gzip.open(path, "rt", newline="") as lines:
        rows = csv.reader(lines)
        header = next(rows)
        at = [header.index(name) for name in columns]
        return np.array([[number(row[i]) for i in at] for row in rows])


@dataclass(frozen=True, slots=True)
class Tried:
    """Trips whose times are to be guessed: when, from where, to where (four columns), how long it really took."""

    started_at: FloatArray
    ends: FloatArray
    duration_s: FloatArray

    def errors(self, estimate: EstimateTravelTimes, *, cells: bool = True) -> FloatArray:
        """Relative error of each guess; ``cells=False`` takes the city's speed everywhere."""
        lat1, lng1, lat2, lng2 = self.ends.T
        hours = hours_of(self.started_at, estimate.zone)
        guess_s = np.empty(len(hours))
        for hour in np.unique(hours):
            of = hours == hour
            now = float(self.started_at[of][0])
            setup_s = float(estimate.duration_s(0.0, now))
            if estimate.learned is not None and cells:
                guess_s[of] = estimate.learned.way_s(lat1[of], lng1[of], lat2[of], lng2[of], now) + setup_s
            else:
                guess_s[of] = estimate.duration_s(haversine_m(lat1[of], lng1[of], lat2[of], lng2[of]), now)
        return self.off(guess_s)

    def off(self, guess_s: FloatArray) -> FloatArray:
        """Relative error of each of these guesses."""
        errors: FloatArray = np.abs(guess_s - self.duration_s) / self.duration_s
        return errors


Split = tuple[Trips, Tried]
"""What is learned from, and what is tried; all of the first is over before any of the second begins."""


def compare(splits: Iterable[Split], zone: ZoneInfo, settings: TravelSettings) -> dict[str, Any]:
    """Median errors of the default, of one fitted speed, and of the map, over the tried trips of all splits."""
    errors: dict[str, list[FloatArray]] = {"default": [], "constant_fitted": [], "learned_city": [], "learned": []}
    durations: list[FloatArray] = []
    learned_from: list[int] = []
    cells = 0
    for known, tried in splits:
        default, learned = EstimateTravelTimes(zone, settings), EstimateTravelTimes(zone, settings)
        speeds = learn(known, default.hour_speeds_mps(), zone=zone, setup_s=settings.setup_s)
        if speeds is None or not len(tried.duration_s):
            continue  # too little yet to learn from: the first hour of the day
        assert (known.started_at + known.duration_s).max() <= tried.started_at.min()
        learned.learn_from(speeds)
        moving_s = np.maximum(known.duration_s - settings.setup_s, 1.0)
        s_per_m = float(np.median(moving_s / known.direct_m))
        errors["default"].append(tried.errors(default))
        errors["constant_fitted"].append(tried.off(haversine_m(*tried.ends.T) * s_per_m + settings.setup_s))
        errors["learned_city"].append(tried.errors(learned, cells=False))
        errors["learned"].append(tried.errors(learned))
        durations.append(tried.duration_s)
        learned_from.append(len(known))
        cells = len(speeds.cells)
    duration_s = np.concatenate(durations)
    return {
        "splits": len(learned_from),
        "learned_from_least": min(learned_from),
        "learned_from": max(learned_from),
        "cells": cells,
        "tried_on": len(duration_s),
        "median_trip_s": round(float(np.median(duration_s))),
    } | {f"{name}_pct": round(100.0 * float(np.median(np.concatenate(found))), 1) for name, found in errors.items()}


def san_francisco() -> dict[str, Any]:
    """Fares of a day, by both splits."""
    at, cab, lat, lng, hired = read(
        DATA / "gps" / "sf_20080521_local_day.csv.gz", ("ts", "cab", "lat", "lon", "occupied")
    ).T
    order = np.lexsort((at, cab))
    at, cab, lat, lng, hired = at[order], cab[order], lat[order], lng[order], hired[order]
    fare = np.cumsum(np.concatenate([[0], (cab[1:] != cab[:-1]) | (hired[1:] != hired[:-1])]))
    fares = read(
        DATA / "orders" / "sf_20080521_trips.csv.gz", ("pickup_ts", "plat", "plon", "dlat", "dlon", "dropoff_ts")
    )
    duration_s, direct_m = fares[:, 5] - fares[:, 0], haversine_m(*fares[:, 1:5].T)
    kept = (duration_s >= FARE_S[0]) & (duration_s <= FARE_S[1]) & (direct_m >= FARE_MIN_M)
    kept &= direct_m < duration_s * FARE_MAX_MPS
    fares = fares[kept]
    settings = TravelSettings(default_mode="car")

    def split(known_until: float, tried_until: float = np.inf) -> Split:
        of = (at < known_until) & (hired == 1)
        known = cut(fare[of], at[of], lat[of], lng[of])
        tried = fares[(fares[:, 0] >= known_until) & (fares[:, 0] < tried_until)]
        return known, Tried(tried[:, 0], tried[:, 1:5], tried[:, 5] - tried[:, 0])

    evening = float(np.quantile(fares[:, 0], 0.7))
    hours = np.arange(np.floor(at.min() / 3_600.0), np.ceil(at.max() / 3_600.0)) * 3_600.0
    return {
        "last_30_pct_of_the_day": compare([split(evening)], SAN_FRANCISCO, settings),
        "last_20_min_of_each_hour": compare(
            (split(hour + 2_400.0, hour + 3_600.0) for hour in hours), SAN_FRANCISCO, settings
        ),
    }


def beijing() -> dict[str, Any]:
    """An hour of taxis: 40 minutes known, 20 tried."""
    at, taxi, lng, lat = read(
        DATA / "gps" / "tdrive_beijing_20080204_0800-0900.csv.gz", ("time", "taxi_id", "lon", "lat")
    ).T
    near = (np.abs(lat - 39.9) < 1.0) & (np.abs(lng - 116.4) < 1.0)  # the file has points at (0, 0) and abroad
    at, taxi, lng, lat = at[near], taxi[near], lng[near], lat[near]
    early = at < at.min() + 2_400.0
    rules = TripRules(gap_s=330.0)
    known, tried = (cut(taxi[of], at[of], lat[of], lng[of], rules) for of in (early, ~early))
    ends = np.stack([tried.lat_deg[:, 0], tried.lng_deg[:, 0], tried.lat_deg[:, 1], tried.lng_deg[:, 1]], axis=1)
    # Cut where they move: there is no setting out and no door in them.
    settings = TravelSettings(default_mode="car", setup_s=0.0)
    return compare([(known, Tried(tried.started_at, ends, tried.duration_s))], BEIJING, settings)


def main() -> dict[str, Any]:
    if not (DATA / "gps").is_dir():
        print(f"   skipped: no traces in {DATA}; DOORSTEP_DATA names their folder", file=sys.stderr)
        return {"travel_speeds": {"skipped": "no traces"}}
    return {"travel_speeds": {"san_francisco": san_francisco(), "beijing": beijing()}}


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
