"""One position of any protocol: judged alone, with what was said of it put into our units by the protocol's parser."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from core.units import ACCURACY_M_MAX, LAT_DEG_MAX, LNG_DEG_MAX, SPEED_MPS_MAX
from trackers.alarms import called_for_help, words_of
from trackers.model import Alarm, Poison, Reading, Report
from trackers.numbers import number, within
from trackers.times import is_possible, read_time

ACCURACY_UNKNOWN_M: Final = 30.0
"""Taken where an app tells no accuracy: a phone between houses."""
ALARMS_MAX: Final = 16
"""Alarms of one body that are raised one by one; of more the newest. All of them feed one incident."""


@dataclass(frozen=True, slots=True)
class Point:
    """What an app said of one position; values as they came, but for ``speed_mps`` and ``battery`` (0 to 1).

    Attributes:
        at: Its time; None where it says none, then it is the time of arrival.
        is_valid: False where the receiver itself disclaims it.
    """

    lat: Any
    lng: Any
    at: Any
    accuracy_m: Any = None
    speed_mps: float | None = None
    heading_deg: Any = None
    battery: float | None = None
    is_mock: bool = False
    is_valid: bool = True
    alarm: Any = None


def report_of(points: Sequence[Point], received_at: float, points_max: int, secret: str = "") -> Report:
    """The report of what one body holds.

    Cost:
        About 10 us a point.
    """
    poison: Counter[Poison] = Counter()
    readings: list[Reading] = []
    alarms: list[Alarm] = []
    passed_over = 0
    for point in points:
        found = judged(point, received_at)
        if isinstance(found, Reading):
            readings.append(found)
        else:
            poison[found] += 1
        if point.alarm:
            words = words_of(point.alarm)
            called = called_for_help(words)
            passed_over += bool(words) and not called
            if called:
                alarms.append(Alarm(called, _said(point, received_at)))
    readings.sort(key=lambda reading: reading.fixed_at)
    if len(readings) > points_max:
        poison[Poison.OVER_LIMIT] += len(readings) - points_max
        readings = readings[-points_max:]
    alarms.sort(key=lambda alarm: alarm.said.get("fixed_at", received_at))
    return Report(tuple(readings), poison, tuple(alarms[-ALARMS_MAX:]), passed_over, secret)


def judged(point: Point, received_at: float) -> Reading | Poison:
    """The position, or why it is none."""
    if point.lat is None or point.lng is None:
        return Poison.NO_PLACE
    lat, lng = within(point.lat, -LAT_DEG_MAX, LAT_DEG_MAX), within(point.lng, -LNG_DEG_MAX, LNG_DEG_MAX)
    if lat is None or lng is None or not point.is_valid:
        return Poison.BAD_PLACE
    at = received_at if point.at is None else read_time(point.at)
    if at is None or not is_possible(at, received_at):
        return Poison.BAD_TIME
    accuracy_m = number(point.accuracy_m)
    known = accuracy_m is not None and accuracy_m > 0.0
    return Reading(
        fixed_at=round(at, 3),
        lat=lat,
        lng=lng,
        accuracy_m=min(accuracy_m, ACCURACY_M_MAX) if known and accuracy_m is not None else ACCURACY_UNKNOWN_M,
        speed_mps=within(point.speed_mps, 0.0, SPEED_MPS_MAX),
        heading_deg=within(point.heading_deg, 0.0, 360.0),
        is_mock=point.is_mock,
    )


def _said(point: Point, received_at: float) -> dict[str, float]:
    """What there is beside an alarm: each by itself, for a bad position must cost the position only."""
    at = None if point.at is None else read_time(point.at)
    place = judged(point, received_at)
    said = {
        "lat": place.lat if isinstance(place, Reading) else number(point.lat) if point.is_valid else None,
        "lng": place.lng if isinstance(place, Reading) else number(point.lng) if point.is_valid else None,
        "accuracy_m": within(point.accuracy_m, 0.0, ACCURACY_M_MAX),
        "fixed_at": None if at is None or not is_possible(at, received_at) else round(at, 3),
        "battery": within(point.battery, 0.0, 1.0),
    }
    return {name: value for name, value in said.items() if value is not None}
