"""The one place where latitude and longitude are a pair; elsewhere arrays ``lat_deg``, ``lng_deg`` travel together."""

from enum import StrEnum
from typing import NamedTuple


class Frame(StrEnum):
    """Coordinate frames in use on Chinese maps; they differ by 265 to 1,375 m in Chinese cities."""

    WGS84 = "wgs84"
    GCJ02 = "gcj02"
    BD09 = "bd09"


class LatLng(NamedTuple):
    """A place in some frame; latitude first, as on the wire. (x, y) order exists only beside shapely."""

    lat_deg: float
    lng_deg: float
