"""A tracker's alarm as an SOS of its own: raised whatever becomes of the position that it came with."""

import hashlib
import json
from typing import Final

from geo.point import Frame
from safety.alarms import KEY_PREFIX
from safety.intake import decode_sos
from safety.model import KEY_MADE_PREFIX, SosReport
from trackers.model import Alarm, Device

_KEY_LEN: Final = 32


def sos_of(alarm: Alarm, device: Device, sent: bytes, now: float, frame: Frame) -> SosReport:
    """The SOS that an alarm is. Never raises.

    Args:
        alarm: As it was read.
        device: Whose.
        sent: All that was sent, for an alarm without a time.
        now: UTC epoch seconds of the server.
        frame: The platform's frame.

    Returns:
        A report whose key is made of device, time and word, so that an app that sends it again does not raise it again.
        Without a time it is made of the bytes: the same ones are the same tap for some seconds only.
    """
    at = alarm.said.get("fixed_at")
    prefix, what = (KEY_MADE_PREFIX, sent) if at is None else (KEY_PREFIX, f"{at}\0{alarm.word}".encode())
    once = hashlib.sha256(f"{device.tenant}\0{device.device}\0".encode() + what).hexdigest()[:_KEY_LEN]
    note = f"{device.app.value}: {alarm.word}"
    sos = {**alarm.said, "key": prefix + once, "sent_at": now, "note": note}
    return decode_sos(json.dumps(sos).encode(), True, now, frame)
