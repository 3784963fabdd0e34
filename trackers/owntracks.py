"""OwnTracks over HTTP: one message in JSON. Speed is km/h; many kinds of messages are no positions."""

from typing import Any, Final

from core.units import KMH_PER_MPS
from trackers.forms import UNREADABLE, is_true, read_json
from trackers.model import Poison, Report
from trackers.numbers import number, within
from trackers.points import Point, report_of

_WITH_A_PLACE: Final = ("location", "transition")
"""Entering and leaving a region tells where the phone was, and when."""


def read_owntracks(body: bytes, received_at: float, points_max: int) -> Report:
    """What one body says; an empty one says nothing. Never raises.

    ``created_at`` is when the app made the message, not when it sent it: it is not used, and age counts from ``tst``.
    """
    if not body.strip():
        return Report()
    found = read_json(body)
    rows = found if isinstance(found, list) else [found]
    points: list[Point] = []
    poison: list[Poison] = []
    for row in rows:
        if row is UNREADABLE or not isinstance(row, dict):
            poison.append(Poison.UNREADABLE)
        elif row.get("_type") in _WITH_A_PLACE or "alarm" in row:
            points.append(_point(row))
        else:
            poison.append(Poison.ENCRYPTED if row.get("_type") == "encrypted" else Poison.NO_POSITION)
    report = report_of(points, received_at, points_max)
    report.poison.update(poison)
    return report


def _point(row: dict[str, Any]) -> Point:
    speed_kmh = number(row.get("vel"))
    battery = within(row.get("batt"), 0.0, 100.0)
    return Point(
        lat=row.get("lat"),
        lng=row.get("lon"),
        at=row.get("tst"),
        accuracy_m=row.get("acc"),
        speed_mps=None if speed_kmh is None else speed_kmh / KMH_PER_MPS,
        heading_deg=row.get("cog"),
        battery=None if battery is None else battery / 100.0,
        is_mock=is_true(row.get("mock")),
        alarm=row.get("alarm"),
    )
