"""Cuts tracks into trips: stretches in which somebody was on the way, without the times they stood somewhere.

Where a trip ends, in the order in which the rules are tried:

- the fixes are of somebody else, or of another leg that the caller named with another number;
- a gap: no fix for longer than ``gap_s``, so that nothing is known of the way between;
- a jump: faster than ``speed_max_mps``, so that one of the two fixes is wrong;
- a stop: within ``stop_radius_m`` of one place for ``stop_s`` or longer (a job, a break, a taxi rank). A shorter one
  is part of the way: traffic lights and jams are what a journey takes.

Before that fixes are thinned to one in ``thin_s``: metres between fixes of every second are mostly noise. Of what
is left, trips shorter than ``trip_min_s`` or ``trip_min_m`` as the crow flies are left out: they say more about
parking than about the way. Pure; sees columns only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from h3.api import basic_int as h3_int
from numpy.typing import ArrayLike

from geo.arrays import BoolArray, FloatArray, IntArray
from geo.distance import haversine_m

SPEED_RESOLUTION: Final = 8
"""H3 resolution that speeds are learned at: 0.7 km2, a few minutes of city traffic."""


@dataclass(frozen=True, slots=True)
class TripRules:
    """Where a track is cut; see the module. The defaults suit phones that report at least once a minute."""

    thin_s: float = 20.0
    gap_s: float = 180.0
    speed_max_mps: float = 40.0
    stop_s: float = 180.0
    stop_radius_m: float = 80.0
    trip_min_s: float = 120.0
    trip_min_m: float = 500.0


@dataclass(frozen=True, slots=True)
class Trips:
    """n trips of k legs, a leg leading from one fix to the next.

    Attributes:
        started_at: Of each trip, UTC epoch seconds.
        lat_deg, lng_deg: Ends of each trip, shape (n, 2): first and last fix.
        duration_s: Of each trip.
        way_m: Sum of its legs.
        direct_m: Great circle between its ends.
        leg_trip: Trip of each leg, ascending; shape (k,) like all that follow.
        leg_at: When the leg began.
        leg_s, leg_m: How long it is.
        leg_cell: H3 cell (resolution ``SPEED_RESOLUTION``) of its middle.
    """

    started_at: FloatArray
    lat_deg: FloatArray
    lng_deg: FloatArray
    duration_s: FloatArray
    way_m: FloatArray
    direct_m: FloatArray
    leg_trip: IntArray
    leg_at: FloatArray
    leg_s: FloatArray
    leg_m: FloatArray
    leg_cell: IntArray

    def __len__(self) -> int:
        """How many trips."""
        return len(self.started_at)


def joined(parts: Sequence[Trips]) -> Trips:
    """All trips of several cuts; at least one must be given."""
    offsets = np.cumsum([0, *(len(part) for part in parts)])[:-1]
    columns = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Trips) if f.name != "leg_trip"
    }
    leg_trip = np.concatenate([part.leg_trip + offset for part, offset in zip(parts, offsets, strict=True)])
    return Trips(leg_trip=leg_trip, **columns)


def speed_cells(lat_deg: FloatArray, lng_deg: FloatArray) -> IntArray:
    """H3 cells as numbers, resolution ``SPEED_RESOLUTION``. Cost: 1 us a point."""
    cell = h3_int.latlng_to_cell
    found = [cell(lat, lng, SPEED_RESOLUTION) for lat, lng in zip(lat_deg.tolist(), lng_deg.tolist(), strict=True)]
    return np.array(found, dtype=np.int64)


def cut(who: ArrayLike, at: ArrayLike, lat_deg: ArrayLike, lng_deg: ArrayLike, rules: TripRules | None = None) -> Trips:
    """The trips in some tracks.

    Args:
        who: Number of the person (or of the leg, where the caller knows where one ends) of each fix.
        at: When it was measured, UTC epoch seconds. Fixes may come in any order.
        lat_deg, lng_deg: Where; finite.
        rules: Where to cut.

    Cost:
        About 2 us a fix.
    """
    rules = rules or TripRules()
    people, times, lats, lngs = _thinned(
        np.asarray(who, dtype=np.int64),
        np.asarray(at, dtype=np.float64),
        np.asarray(lat_deg, dtype=np.float64),
        np.asarray(lng_deg, dtype=np.float64),
        rules.thin_s,
    )
    leg_s = np.diff(times)
    leg_m = haversine_m(lats[:-1], lngs[:-1], lats[1:], lngs[1:])
    moving = (people[1:] == people[:-1]) & (leg_s > 0) & (leg_s <= rules.gap_s) & (leg_m <= leg_s * rules.speed_max_mps)
    moving &= ~_standing(people, times, lats, lngs, rules)
    edge = np.diff(np.concatenate([[0], moving.astype(np.int8), [0]]))
    first, last = np.flatnonzero(edge == 1), np.flatnonzero(edge == -1)  # fixes
    direct_m = haversine_m(lats[first], lngs[first], lats[last], lngs[last])
    kept = (times[last] - times[first] >= rules.trip_min_s) & (direct_m >= rules.trip_min_m)
    first, last, direct_m = first[kept], last[kept], direct_m[kept]
    trip = np.repeat(np.arange(len(first)), last - first)
    legs = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)] or [np.zeros(0, dtype=np.int64)])
    return Trips(
        started_at=times[first],
        lat_deg=np.stack([lats[first], lats[last]], axis=1),
        lng_deg=np.stack([lngs[first], lngs[last]], axis=1),
        duration_s=times[last] - times[first],
        way_m=np.bincount(trip, leg_m[legs], len(first)).astype(np.float64),
        direct_m=direct_m,
        leg_trip=trip,
        leg_at=times[legs],
        leg_s=leg_s[legs],
        leg_m=leg_m[legs],
        leg_cell=speed_cells((lats[legs] + lats[legs + 1]) / 2, (lngs[legs] + lngs[legs + 1]) / 2),
    )


def _thinned(
    who: IntArray, at: FloatArray, lat: FloatArray, lng: FloatArray, thin_s: float
) -> tuple[IntArray, FloatArray, FloatArray, FloatArray]:
    """In order of person and time, the first fix of each ``thin_s``."""
    order = np.lexsort((at, who))
    who, at, lat, lng = who[order], at[order], lat[order], lng[order]
    bucket = np.floor(at / thin_s)
    fresh = np.ones(len(at), dtype=np.bool_)
    fresh[1:] = (who[1:] != who[:-1]) | (bucket[1:] != bucket[:-1])
    return who[fresh], at[fresh], lat[fresh], lng[fresh]


def _standing(who: IntArray, at: FloatArray, lat: FloatArray, lng: FloatArray, rules: TripRules) -> BoolArray:
    """Of each leg, whether it is part of a stop. Seen where and ``stop_s`` later: two places close together."""
    n = len(at)
    if n < 2:
        return np.zeros(max(n - 1, 0), dtype=np.bool_)
    # One ascending key for (person, time), so that one search finds where each will be ``stop_s`` later.
    span = float(at.max() - at.min()) + rules.stop_s + 1.0
    block = np.cumsum(np.concatenate([[0], who[1:] != who[:-1]])) * span
    key = block + (at - at.min())
    later = np.searchsorted(key, key + rules.stop_s)
    here = np.flatnonzero(later < n)
    here = here[who[later[here]] == who[here]]
    there = later[here]
    middle = (here + there) // 2
    close = (haversine_m(lat[here], lng[here], lat[there], lng[there]) <= rules.stop_radius_m) & (
        haversine_m(lat[here], lng[here], lat[middle], lng[middle]) <= rules.stop_radius_m
    )
    marks = np.zeros(n + 1, dtype=np.int64)
    np.add.at(marks, here[close], 1)
    np.add.at(marks, there[close], -1)
    return np.cumsum(marks)[: n - 1] > 0
