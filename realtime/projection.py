"""Outgoing positions in the coordinate frame that a session asked for.

Every position on the wire is an object with ``lat``, ``lng`` and ``crs``; whatever carries the three is
converted, wherever it lies in a message. Columns of areas are converted in ``areas.py``.
"""

from typing import Any, Final

from geo.frames import convert_point
from geo.point import Frame, LatLng

DECIMALS: Final = 7
"""Digits kept: 1e-7 degrees is a centimetre."""


_FRAMES: Final = frozenset(frame.value for frame in Frame)


def project_object(value: Any, target: Frame) -> None:
    """Convert every ``{lat, lng, crs}`` inside ``value`` in place. Any because JSON is."""
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            _project(item, target)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _project(item: dict[str, Any], target: Frame) -> None:
    lat, lng, crs = item.get("lat"), item.get("lng"), str(item.get("crs"))
    if not isinstance(lat, int | float) or not isinstance(lng, int | float) or crs not in _FRAMES or crs == target:
        return
    point = convert_point(LatLng(float(lat), float(lng)), Frame(crs), target)
    item["lat"] = round(point.lat_deg, DECIMALS)
    item["lng"] = round(point.lng_deg, DECIMALS)
    item["crs"] = target.value
