"""The answers that apps need, byte for byte, and what stands in them to steer the phone.

An answer that is not exactly what its app expects is as good as none: the app keeps the points and sends them for ever.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

NOTHING: Final = b""
"""For OsmAnd, Traccar Client and GPSLogger, which look at the status alone."""
OWNTRACKS_OK: Final = b"[]"
OVERLAND_OK: Final = b'{"result":"ok"}'
_INTERVALS: Final = (
    (1, "1s"), (5, "5s"), (10, "10s"), (15, "15s"), (30, "30s"), (60, "1m"), (120, "2m"), (300, "5m"), (600, "10m"),
    (1_800, "30m"),
)  # fmt: skip
"""What Overland's slider knows. Never ``off``: such a phone could not be reached again."""
_CLEAR: Final = json.dumps([{"_type": "cmd", "action": "clearWaypoints"}], separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Goal:
    """Where a technician is awaited, in WGS-84. ``ref`` is the order's id."""

    ref: str
    lat: float
    lng: float
    radius_m: float
    since_at: float


def overland_answer(interval_s: float | None) -> bytes:
    """The answer that has the app send about every ``interval_s``; None leaves it alone."""
    if interval_s is None:
        return OVERLAND_OK
    word = next((word for at_most_s, word in reversed(_INTERVALS) if at_most_s <= interval_s), _INTERVALS[0][1])
    return _json({"result": "ok", "set": {"send_interval": word}})


def owntracks_answer(goal: Goal | None, *, is_news: bool) -> bytes:
    """The answer that sets the region of the job's place, or takes it away; nothing unless it ``is_news``."""
    if not is_news:
        return OWNTRACKS_OK
    if goal is None:
        return _CLEAR
    place = {
        "_type": "waypoint",
        "desc": "job",
        "lat": round(goal.lat, 6),
        "lon": round(goal.lng, 6),
        "rad": round(goal.radius_m),
        "tst": int(goal.since_at),
        "rid": goal.ref,
    }
    waypoints = {"_type": "waypoints", "waypoints": [place]}
    return _json([{"_type": "cmd", "action": "setWaypoints", "waypoints": waypoints}])


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
