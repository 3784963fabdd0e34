"""GPSLogger's custom URL, in a query or a form: the names are those that ``%ALL`` writes. Speed is m/s."""

from trackers.forms import is_true, read_form
from trackers.model import Report
from trackers.numbers import within
from trackers.points import Point, report_of


def read_gpslogger(query: str, body: bytes, received_at: float, points_max: int) -> Report:
    """What one request says. Never raises."""
    said = read_form(query, body)
    battery = within(said.get("batt"), 0.0, 100.0)
    point = Point(
        lat=said.get("lat"),
        lng=said.get("lon"),
        at=said.get("timestamp") or said.get("time") or said.get("timeoffset") or None,
        accuracy_m=said.get("acc", said.get("accuracy")),
        speed_mps=within(said.get("spd", said.get("speed")), 0.0, 1e6),
        heading_deg=said.get("dir", said.get("bearing")),
        battery=None if battery is None else battery / 100.0,
        is_mock=is_true(said.get("mock")),
        alarm=said.get("alarm"),
    )
    return report_of([point], received_at, points_max, said.get("id", ""))
