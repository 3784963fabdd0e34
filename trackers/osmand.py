"""OsmAnd's online tracking and Traccar Client up to 8: one point in a query string or a form.

``id=…&lat=…&lon=…&timestamp=…&speed=…&bearing=…&altitude=…&accuracy=…&batt=…[&alarm=sos]``. Speed is in knots as in
Traccar; ``spd_unit=ms`` or ``kmh`` says otherwise, for OsmAnd itself sends m/s.
"""

from typing import Final

from core.units import KMH_PER_MPS, MPS_PER_KNOT
from trackers.forms import is_true, read_form
from trackers.model import Report
from trackers.numbers import number, within
from trackers.points import Point, report_of

_MPS_OF: Final = {"kn": MPS_PER_KNOT, "ms": 1.0, "kmh": 1.0 / KMH_PER_MPS}
_HDOP_M: Final = 5.0
"""Metres of error for one unit of HDOP, where that is all that is told."""


def read_osmand(query: str, body: bytes, received_at: float, points_max: int) -> Report:
    """What one request says. Never raises."""
    said = read_form(query, body)
    lat, lng = said.get("lat"), said.get("lon", said.get("lng"))
    if "location" in said:
        lat, _, lng = said["location"].partition(",")
    speed = number(said.get("speed"))
    hdop = within(said.get("hdop"), 0.1, 1_000.0)
    battery = within(said.get("batt"), 0.0, 100.0)
    point = Point(
        lat=lat,
        lng=lng,
        at=said.get("timestamp") or None,
        accuracy_m=said.get("accuracy", said.get("hacc", None if hdop is None else hdop * _HDOP_M)),
        speed_mps=None if speed is None else speed * _MPS_OF.get(said.get("spd_unit", "kn").lower(), MPS_PER_KNOT),
        heading_deg=said.get("bearing", said.get("heading")),
        battery=None if battery is None else battery / 100.0,
        is_mock=is_true(said.get("mock")),
        is_valid="valid" not in said or is_true(said["valid"]),
        alarm=said.get("alarm"),
    )
    return report_of([point], received_at, points_max, said.get("id", said.get("deviceid", "")))
