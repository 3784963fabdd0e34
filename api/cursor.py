"""Where the next page of a listing begins, as an opaque text that is checked when it comes back. Pure.

A cursor is bound to what was asked (``asked``): with other filters it would silently leave rows out, so it is refused
instead. It is no secret and grants nothing: rights are applied to every page anew. The digest finds damage and
confusion; somebody who makes their own cursor only reads their own rows from elsewhere.
"""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import blake2b
from math import isfinite
from typing import Final

import msgspec

from core.errors import Invalid

CURSOR_LEN_MAX: Final = 128
_HEAD: Final = struct.Struct(">B8sd")
"""Version, digest, time of the row."""
_VERSION: Final = 1
_ID_BYTES_MAX: Final = 64


def next_cursor(asked: Mapping[str, str], at: float, row_id: str) -> str:
    """The text after which the next page begins.

    Args:
        asked: What the listing is of and its filters; not the length of its pages.
        at: The last row's time, UTC epoch seconds.
        row_id: The last row's id.
    """
    name = row_id.encode()
    packed = _HEAD.pack(_VERSION, _digest(asked, at, name), at) + name
    return urlsafe_b64encode(packed).rstrip(b"=").decode()


def read_cursor(text: str | None, asked: Mapping[str, str]) -> tuple[float, str] | None:
    """The row before a page, from ``next`` of the page before it; None for the first page.

    Raises:
        Invalid: It is damaged, or of a listing with other filters (``cursor_invalid``).
    """
    if text is None:
        return None
    try:
        packed = urlsafe_b64decode(text + "=" * (-len(text) % 4)) if len(text) <= CURSOR_LEN_MAX else b""
        version, digest, at = _HEAD.unpack_from(packed)
        name = packed[_HEAD.size :]
        row_id = name.decode()
    except (ValueError, struct.error):
        raise _wrong() from None
    is_whole = version == _VERSION and isfinite(at) and 0 < len(name) <= _ID_BYTES_MAX
    if not is_whole or digest != _digest(asked, at, name):
        raise _wrong()
    return at, row_id


def _digest(asked: Mapping[str, str], at: float, name: bytes) -> bytes:
    return blake2b(msgspec.msgpack.encode([sorted(asked.items()), at, name]), digest_size=8).digest()


def _wrong() -> Invalid:
    return Invalid("give `next` of the page before, with the same filters", code="cursor_invalid", field="after")
