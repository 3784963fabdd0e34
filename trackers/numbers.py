"""Numbers as trackers write them, and the one number that they do not: the count of their points."""

import hashlib
import re
import struct
from math import floor, isfinite
from typing import Any, Final

_NUMBER: Final = re.compile(r"[+-]?(?:\d{1,20}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,3})?", re.ASCII)
_PARTS_PER_S: Final = 128
_TAIL_BITS: Final = 13


def number(value: Any) -> float | None:
    """A finite number, also as a text; None for anything else, truth values among it."""
    if isinstance(value, str):
        text = value.strip()
        value = float(text) if len(text) <= 64 and _NUMBER.fullmatch(text) else None
    if type(value) not in (int, float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if isfinite(found) else None


def within(value: Any, low: float, high: float) -> float | None:
    """A number between two bounds; None for any other."""
    found = number(value)
    return found if found is not None and low <= found <= high else None


def seq_of(fixed_at: float, lat: float, lng: float) -> int:
    """The number of a point that its app did not count.

    It rises with the time of the fix, and is the same whenever the same point is sent again. Of points in the same
    128th of a second one in 8,192 pairs shares a number; of these the second would be taken for a repeat.
    """
    place = struct.pack(">ddd", fixed_at, lat, lng)
    tail = int.from_bytes(hashlib.blake2b(place, digest_size=2).digest()) >> (16 - _TAIL_BITS)
    return floor(fixed_at * _PARTS_PER_S) << _TAIL_BITS | tail
