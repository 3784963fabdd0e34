"""Traccar Client from 9: one location in JSON. Speed is m/s, charge 0 to 1, and -1 says unknown."""

from typing import Any

from trackers.forms import UNREADABLE, is_true, read_json
from trackers.model import Poison, Report
from trackers.numbers import within
from trackers.points import Point, report_of


def read_traccar(body: bytes, received_at: float, points_max: int) -> Report:
    """What one body says. Never raises."""
    found = read_json(body)
    if found is UNREADABLE or not isinstance(found, dict):
        return _unreadable()
    location = found.get("location")
    rows = location if isinstance(location, list) else [location]
    points = [_point(row) for row in rows if isinstance(row, dict)]
    secret = found.get("device_id")
    report = report_of(points, received_at, points_max, str(secret) if isinstance(secret, str | int) else "")
    if len(points) < len(rows):
        report.poison[Poison.UNREADABLE] += len(rows) - len(points)
    return report


def _unreadable() -> Report:
    report = Report()
    report.poison[Poison.UNREADABLE] += 1
    return report


def _point(row: dict[str, Any]) -> Point:
    coords, battery, extras = _object(row, "coords"), _object(row, "battery"), _object(row, "extras")
    return Point(
        lat=coords.get("latitude"),
        lng=coords.get("longitude"),
        at=row.get("timestamp"),
        accuracy_m=coords.get("accuracy"),
        speed_mps=within(coords.get("speed"), 0.0, 1e6),
        heading_deg=coords.get("heading"),
        battery=within(battery.get("level"), 0.0, 1.0),
        is_mock=is_true(row.get("mock")),
        alarm=extras.get("alarm") or row.get("alarm"),
    )


def _object(row: dict[str, Any], name: str) -> dict[str, Any]:
    found = row.get(name)
    return found if isinstance(found, dict) else {}
