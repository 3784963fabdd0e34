"""Queries, form bodies and JSON bodies as trackers send them, read as far as they can be read."""

import json
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

FORM_BYTES_MAX: Final = 65_536
"""Bytes of a form or query that are looked at."""
UNREADABLE: Final = object()
"""Stands for a body that is no JSON at all."""


def read_form(*texts: str | bytes) -> dict[str, str]:
    """Parameters by lower-case name, each with its first value; of several texts the first that names it counts."""
    found: dict[str, str] = {}
    for text in texts:
        whole = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        for name, value in parse_qsl(whole[:FORM_BYTES_MAX], keep_blank_values=True, errors="replace"):
            found.setdefault(name.strip().lower(), value)
    return found


def read_json(body: bytes) -> Any:
    """The value of a JSON body, ``UNREADABLE`` for none. Slips that phones make (NaN, bad UTF-8) cost their field."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return json.loads(body.decode("utf-8", "replace"), parse_constant=lambda _: None, parse_int=_whole)
    except (ValueError, RecursionError):
        return UNREADABLE


def _whole(text: str) -> int | None:
    return int(text) if len(text) <= 18 else None


def is_json(body: bytes) -> bool:
    """Whether a body looks like a JSON object or list, whatever its headers say."""
    return body[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")


def is_true(value: Any) -> bool:
    """Whether a flag is set."""
    return value is True or (isinstance(value, int | str) and str(value).strip().lower() in ("true", "1"))
