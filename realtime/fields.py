"""Types of the fields of messages: every number has both bounds, every string a maximum.

MessagePack would otherwise let NaN and infinity through, and JSON any length.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta

from core.ids import CLIENT_KEY_LEN_MAX
from core.units import (
    ACCURACY_M_MAX,
    EPOCH_S_MAX,
    EPOCH_S_MIN,
    LAT_DEG_MAX,
    LNG_DEG_MAX,
    SEQ_MAX,
    SPEED_MPS_MAX,
)

TEXT_LEN_MAX: Final = 512

Id = Annotated[str, Meta(min_length=1, max_length=64)]
Key = Annotated[str, Meta(min_length=1, max_length=CLIENT_KEY_LEN_MAX)]
Text = Annotated[str, Meta(max_length=TEXT_LEN_MAX)]
Word = Annotated[str, Meta(max_length=64)]
Token = Annotated[str, Meta(min_length=1, max_length=8192)]
Seq = Annotated[int, Meta(ge=0, le=SEQ_MAX)]
Lat = Annotated[float, Meta(ge=-LAT_DEG_MAX, le=LAT_DEG_MAX)]
Lng = Annotated[float, Meta(ge=-LNG_DEG_MAX, le=LNG_DEG_MAX)]
AccuracyM = Annotated[float, Meta(ge=0.0, le=ACCURACY_M_MAX)]
SpeedMps = Annotated[float, Meta(ge=0.0, le=SPEED_MPS_MAX)]
HeadingDeg = Annotated[float, Meta(ge=0.0, le=360.0)]
EpochS = Annotated[float, Meta(ge=EPOCH_S_MIN, le=EPOCH_S_MAX)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
DurationS = Annotated[float, Meta(ge=0.0, le=31_622_400.0)]
DurationMs = Annotated[int, Meta(ge=0, le=31_622_400_000)]
Count = Annotated[int, Meta(ge=0, le=SEQ_MAX)]
Fen = Annotated[int, Meta(ge=0, le=10**12)]
Crs = Literal["wgs84", "gcj02", "bd09"]
StreamName = Literal["main", "safety"]
