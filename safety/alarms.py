"""Finds the alarms of a tracker in the positions it sends: each is an SOS of its own, never an attribute of a fix.

What becomes of the position is no matter here: an alarm counts that comes with an old fix, one that a filter drops,
none at all, or in a body that cannot be read.
"""

import hashlib
import json
import re
from typing import Any, Final

from geo.point import Frame
from safety.intake import decode_sos, read_object
from safety.model import SosReport

ALARMS_MAX: Final = 16
"""Alarms of one body that are raised one by one; of more the newest. All of them feed one incident."""
KEY_PREFIX: Final = "trk_"
_NAMED: Final = re.compile(
    rb"""["']alarm["']\s{0,32}:\s{0,32}+(?!false\b|null\b|0\s{0,32}[,}]|\[\s{0,32}\]|""\s{0,32}[,}])""",
    re.IGNORECASE,
)
_ROW: Final = ("seq", "fixed_at", "lat", "lng", "accuracy_m")


def has_alarm(body: bytes | bytearray) -> bool:
    """Whether a body of positions carries an alarm, or did before it was damaged. Linear; most have no such word."""
    return b"alarm" in body and _NAMED.search(body) is not None


def read_alarms(body: bytes, received_at: float, frame: Frame) -> list[SosReport]:
    """The alarms in a body that ``has_alarm``, oldest first, at least one. Never raises for anything in ``body``.

    Args:
        received_at: UTC epoch seconds of the server.
        frame: The platform's frame, into which positions are converted.

    Returns:
        A report each; its key is made of the device and the fix's time, so that a tracker that sends it again, also
        from its memory, does not raise it again.
    """
    fields = read_object(body) or {}
    rows = [row for row in _listed(fields.get("pings")) if isinstance(row, list)]
    named = fields.get("alarm")
    told = {seq for seq in _listed(named) if type(seq) is int}
    chosen = [row for row in rows if row and type(row[0]) is int and row[0] in told] or rows[-1:]
    device = fields.get("device")
    found = [_report(row, fields, str(device), received_at, frame) for row in chosen[-ALARMS_MAX:]]
    # Without any position to speak of the bytes themselves are what a repeat is known by.
    return found or [decode_sos(body, True, received_at, frame)]


def _report(row: list[Any], fields: dict[str, Any], device: str, received_at: float, frame: Frame) -> SosReport:
    said = dict(zip(_ROW, row, strict=False))
    fix: dict[str, Any] = {name: said[name] for name in _ROW[1:] if name in said}
    once = hashlib.sha256(f"{device}\0{said.get('fixed_at')}\0{'fixed_at' in said or row}".encode("utf-8", "replace"))
    sos: dict[str, Any] = {"key": KEY_PREFIX + once.hexdigest()[:32], **fix}
    sos |= {name: fields[name] for name in ("sent_at", "crs", "note", "battery") if name in fields}
    return decode_sos(json.dumps(sos, default=lambda _: None).encode(), True, received_at, frame)


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
