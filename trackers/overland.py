"""Overland: a batch of GeoJSON points. Speed is m/s, charge 0 to 1, -1 says unknown; offsets stand without a colon."""

from typing import Any

from trackers.forms import UNREADABLE, is_true, read_json
from trackers.model import Poison, Report
from trackers.numbers import number, within
from trackers.points import Point, report_of


def read_overland(body: bytes, received_at: float, points_max: int) -> Report:
    """What one body says; ``current``, the newest point of a long backlog, is taken with the batch. Never raises."""
    found = read_json(body)
    if found is UNREADABLE or not isinstance(found, dict) or not isinstance(found.get("locations", []), list):
        report = Report()
        report.poison[Poison.UNREADABLE] += 1
        return report
    rows = list(found.get("locations", []))
    if "current" in found:
        rows.append(found["current"])
    points = [_point(row) for row in rows if _is_point(row)]
    report = report_of(points, received_at, points_max)
    if len(points) < len(rows):
        report.poison[Poison.NO_POSITION] += len(rows) - len(points)
    return report


def _is_point(row: Any) -> bool:
    """Whether it is a fix; trips and visits stand among them, with a place but the time of their end."""
    if not isinstance(row, dict) or not isinstance(row.get("properties"), dict):
        return False
    if row["properties"].get("type") == "trip" or row["properties"].get("action") == "visit":
        return False
    geometry = row.get("geometry")
    return not isinstance(geometry, dict) or geometry.get("type", "Point") == "Point"


def _point(row: dict[str, Any]) -> Point:
    geometry, said = row.get("geometry"), row["properties"]
    places = geometry.get("coordinates") if isinstance(geometry, dict) else None
    lng, lat = places[:2] if isinstance(places, list) and len(places) >= 2 else (None, None)
    accuracy_m = number(said.get("horizontal_accuracy"))
    return Point(
        lat=lat,
        lng=lng,
        at=said.get("timestamp"),
        accuracy_m=accuracy_m,
        speed_mps=within(said.get("speed"), 0.0, 1e6),
        heading_deg=said.get("course"),
        battery=within(said.get("battery_level"), 0.0, 1.0),
        is_mock=is_true(said.get("mock")),
        # A negative accuracy is how iOS says that the place itself is not valid (CLLocation.horizontalAccuracy).
        is_valid=accuracy_m is None or accuracy_m >= 0.0,
        alarm=said.get("alarm"),
    )
