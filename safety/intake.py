"""Reads an SOS: the key strictly, every other field by itself, and never refuses the whole.

What cannot be read is dropped and named in ``ignored``. A frame that cannot be decoded at all is searched for
its fields, in linear time; without a usable key one is made from the bytes, so that a repeat of the same bytes
is still the same tap for some seconds. What an SOS means is decided in ``engine.py``.
"""

import hashlib
import json
import math
import re
import struct
from typing import Any, Final

import msgspec

from core.ids import CLIENT_KEY_LEN_MAX, OrderId
from core.letters import plain_letters
from core.units import ACCURACY_M_MAX, EPOCH_S_MAX, EPOCH_S_MIN, LAT_DEG_MAX, LNG_DEG_MAX
from geo.frames import convert_point
from geo.point import Frame, LatLng
from safety.model import KEY_MADE_PREFIX, FixSource, IncidentFix, SosReport

NOTE_LEN_MAX: Final = 512
"""Characters of a note that are kept; the rest is cut, never a reason to refuse."""
PAYLOAD_LEN_MAX: Final = 262_144
"""Bytes that are looked at; a longer frame is searched in its beginning only."""
FRAME_UNKNOWN_M: Final = 1_500.0
"""Least radius of a fix whose ``crs`` could not be read: frames differ by up to 1,375 m in Chinese cities."""
CLOCK_TRUST_S: Final = 86_400.0
"""A lone ``fixed_at`` is believed as the server's time when it is no older than this."""
ORDER_LEN_MAX: Final = 64

_FIELDS: Final = (
    "key", "lat", "lng", "accuracy_m", "fixed_at", "sent_at", "order", "silent", "battery", "note", "crs",
    "tapped_at",
)  # fmt: skip
_UNREADABLE: Final = object()
"""Stands for a value that was there and could not be read."""
_UNDECODABLE: Final = (
    ValueError,  # JSONDecodeError and UnicodeDecodeError among them
    RecursionError,
    msgspec.DecodeError,
)

# One pass each, no nested repetition, every repetition bounded: linear in the payload whatever is in it. A
# number counts only with what must follow it, because a number cut off in the middle is another place.
_NUMBER: Final = r"(?P<number>-?\d{1,20}(?:\.\d{1,30})?(?:[eE][+-]?\d{1,4})?)(?=\s{0,32}[,}\]])"
_STRING: Final = r'"(?P<string>(?:[^"\\]|\\.){0,4096})"'
_WORD: Final = r"(?P<word>true|false)"
_REPAIR: Final = {
    name: re.compile(rf"""["']{name}["']\s{{0,32}}:\s{{0,32}}(?:{_STRING}|{_NUMBER}|{_WORD}|)""", re.DOTALL)
    for name in _FIELDS
}


def decode_sos(
    payload: bytes, is_json: bool, received_at: float, frame: Frame, *, default_crs: Frame = Frame.WGS84
) -> SosReport:
    """Read what can be read of one tap. Never raises for anything in ``payload``.

    Args:
        payload: The raw frame or request body.
        is_json: Encoding of the session; a frame that is neither is searched for both.
        received_at: UTC epoch seconds of the server.
        frame: The platform's frame, into which the position is converted.
        default_crs: Frame of a position that names none (the session's, from ``hello.crs``).

    Returns:
        The report; ``ignored`` names the fields that were there and could not be used. ``frame`` in it means
        that the frame was damaged, ``key`` that the key was made here.

    Cost:
        O(len(payload)), at most ``PAYLOAD_LEN_MAX``.
    """
    whole = payload
    payload = payload[:PAYLOAD_LEN_MAX]
    ignored: list[str] = []
    fields = read_object(payload) if is_json else _decoded_msgpack(payload)
    if fields is None:
        ignored.append("frame")
        fields = (_searched_text(payload) or _searched_msgpack(payload)) if is_json else (
            _searched_msgpack(payload) or _searched_text(payload)
        )  # fmt: skip
    reader = _Reader(fields, ignored)
    key = reader.key()
    if key is None:
        key = KEY_MADE_PREFIX + hashlib.sha256(whole).hexdigest()[:32]
        if "key" not in ignored:
            ignored.append("key")
    sent_at = reader.number("sent_at", EPOCH_S_MIN, EPOCH_S_MAX)
    fix = _fix(reader, received_at, sent_at, frame, default_crs)
    order = reader.text("order", ORDER_LEN_MAX, cut=False)
    return SosReport(
        key=key,
        fix=fix,
        order_id=OrderId(order) if order else None,
        silent=reader.flag("silent"),
        battery=reader.number("battery", 0.0, 1.0),
        note=reader.text("note", NOTE_LEN_MAX, cut=True),
        sent_at=sent_at,
        age_s=_tap_age_s(reader, sent_at),
        ignored=tuple(ignored),  # last: the reads above add to it
    )


def _fix(
    reader: "_Reader", received_at: float, sent_at: float | None, frame: Frame, default_crs: Frame
) -> IncidentFix | None:
    """The position of a tap in the platform's frame, None when there is none to believe."""
    accuracy_m = reader.number("accuracy_m", 0.0, ACCURACY_M_MAX)
    fixed_at = reader.number("fixed_at", EPOCH_S_MIN, EPOCH_S_MAX)
    crs, crs_is_known = reader.crs(default_crs)
    point = reader.point()
    if point is None:
        return None
    try:
        point = convert_point(point, crs, frame)
    except Exception:  # noqa: BLE001 - a fault of the conversion must cost the position, not the alarm
        point = LatLng(math.nan, math.nan)
    if not (math.isfinite(point.lat_deg) and math.isfinite(point.lng_deg)):
        reader.ignored.append("lat")
        reader.ignored.append("lng")
        return None
    radius_m = ACCURACY_M_MAX if accuracy_m is None else accuracy_m
    if not crs_is_known:
        radius_m = max(radius_m, FRAME_UNKNOWN_M)
    return IncidentFix(
        point=point,
        accuracy_m=radius_m,
        fixed_at=received_at - _age_s(reader, received_at, fixed_at, sent_at),
        source=FixSource.SOS,
    )


def _tap_age_s(reader: "_Reader", sent_at: float | None) -> float:
    """How long the tap waited in the phone, by the phone's own clock: exact however wrong that is."""
    tapped_at = reader.number("tapped_at", EPOCH_S_MIN, EPOCH_S_MAX)
    return 0.0 if tapped_at is None or sent_at is None else max(0.0, sent_at - tapped_at)


def _age_s(reader: "_Reader", received_at: float, fixed_at: float | None, sent_at: float | None) -> float:
    """How old a fix is. Both phone times give it exactly, however wrong the phone's clock is."""
    if fixed_at is None:
        return 0.0
    reference_at = received_at if sent_at is None else sent_at
    age_s = reference_at - fixed_at
    # One time alone is believed only where the phone's clock seems to agree with ours. An age beyond all reason
    # would put the fix before the epoch.
    if age_s < 0 or age_s > (CLOCK_TRUST_S if sent_at is None else received_at):
        reader.ignored.append("fixed_at")
        return 0.0
    return age_s


class _Reader:
    """Takes fields one by one and notes what could not be used."""

    def __init__(self, fields: dict[str, Any], ignored: list[str]) -> None:
        self._fields = fields
        self.ignored = ignored

    def _value(self, name: str) -> Any:  # whatever the client put there
        return self._fields.get(name)

    def _drop(self, name: str) -> None:
        if name not in self.ignored:
            self.ignored.append(name)

    def key(self) -> str | None:
        value = self._value("key")
        if type(value) is str and 0 < len(value) <= CLIENT_KEY_LEN_MAX and value == _clean(value):
            return value
        return None

    def number(self, name: str, low: float, high: float) -> float | None:
        value = self._value(name)
        if value is None:
            return None
        # `bool` is an int to isinstance; NaN fails both comparisons.
        if type(value) in (int, float) and low <= value <= high:
            return float(value)
        self._drop(name)
        return None

    def flag(self, name: str) -> bool:
        value = self._value(name)
        if value is not None and type(value) is not bool:
            self._drop(name)
            return False
        return bool(value)

    def text(self, name: str, len_max: int, *, cut: bool) -> str:
        value = self._value(name)
        if value is None:
            return ""
        if type(value) is not str:
            self._drop(name)
            return ""
        cleaned = _UNSHOWABLE.sub("", _clean(value))
        if len(cleaned) > len_max:
            self._drop(f"{name} (cut)" if cut else name)
            return cleaned[:len_max] if cut else ""
        return cleaned

    def crs(self, default: Frame) -> tuple[Frame, bool]:
        """The frame and whether it is certain."""
        value = self._value("crs")
        if value is None:
            return default, True
        if type(value) is str and value in tuple(Frame):
            return Frame(value), True
        self._drop("crs")
        return default, False

    def point(self) -> LatLng | None:
        lat, lng = self._value("lat"), self._value("lng")
        if lat is None and lng is None:
            return None
        if _looks_swapped(lat, lng):
            # Named, not put right: half of all swapped points lie in range, and a guess would hide the fault.
            self.ignored.append("lat/lng swapped")
            return None
        lat_deg = self.number("lat", -LAT_DEG_MAX, LAT_DEG_MAX)
        lng_deg = self.number("lng", -LNG_DEG_MAX, LNG_DEG_MAX)
        if lat_deg is None or lng_deg is None:
            self._drop("lat")
            self._drop("lng")
            return None
        if lat_deg == 0.0 and lng_deg == 0.0:
            self.ignored.append("null_island")
            return None
        return LatLng(lat_deg, lng_deg)


def _looks_swapped(lat: Any, lng: Any) -> bool:
    numbers = type(lat) in (int, float) and type(lng) in (int, float)
    return numbers and LAT_DEG_MAX < abs(lat) <= LNG_DEG_MAX and abs(lng) <= LAT_DEG_MAX


_UNSHOWABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but newline and tab, and what turns the direction of writing: a note is read on screens and
terminals in a hurry."""


def _clean(text: str) -> str:
    """Text that every encoder and database takes: no lone surrogates, no NUL."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "")


# -- whole frames ---------------------------------------------------------------------------------------


def read_object(payload: bytes) -> dict[str, Any] | None:
    """The fields of a JSON object, None when it is not one. Numbers beyond a float stay unreadable alone.

    A value that cannot be read is some object that is no JSON type; ``decode_sos`` drops it.
    """
    try:
        found = json.loads(
            payload.decode("utf-8", "replace"),
            parse_int=lambda text: int(text) if len(text) <= 18 else _UNREADABLE,
            parse_constant=lambda _: _UNREADABLE,
        )
    except _UNDECODABLE:
        return None
    return found if isinstance(found, dict) else None


def _decoded_msgpack(payload: bytes) -> dict[str, Any] | None:
    """The scalar fields of a MessagePack map, None when it is not one. Values are not decoded together."""
    try:
        found = msgspec.msgpack.decode(payload, type=dict[str, msgspec.Raw])
    except _UNDECODABLE:
        return None
    return {name: _scalar(bytes(found[name]), 0) for name in _FIELDS if name in found}


# -- damaged frames -------------------------------------------------------------------------------------


def _searched_text(payload: bytes) -> dict[str, Any]:
    """Fields found in damaged JSON; the first place where a name stands counts."""
    text = plain_letters(payload).decode("utf-8", "replace")
    fields: dict[str, Any] = {}
    for name, pattern in _REPAIR.items():
        match = pattern.search(text)
        if match is None:
            continue
        if match["string"] is not None:
            fields[name] = _unescaped(match["string"])
        elif match["number"] is not None:
            fields[name] = float(match["number"])
        elif match["word"] is not None:
            fields[name] = match["word"] == "true"
        else:
            fields[name] = _UNREADABLE
    return fields


def _unescaped(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text


def _searched_msgpack(payload: bytes) -> dict[str, Any]:
    """Fields found in damaged MessagePack: the name as a short string, then a scalar."""
    fields: dict[str, Any] = {}
    for name in _FIELDS:
        label = bytes((0xA0 | len(name),)) + name.encode()
        at = payload.find(label)
        if at >= 0:
            fields[name] = _scalar(payload, at + len(label))
    return fields


_SCALARS: Final = {
    0xCA: ">f", 0xCB: ">d",
    0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
_STRING_LENGTHS: Final = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
_WORDS: Final[dict[int, Any]] = {0xC0: None, 0xC2: False, 0xC3: True}


def _scalar(payload: bytes, at: int) -> Any:  # None, bool, int, float, str or _UNREADABLE
    """One scalar at ``at``. Invalid UTF-8 in a string is replaced, not refused.

    Source: MessagePack specification, "Formats" (github.com/msgpack/msgpack/blob/master/spec.md).
    """
    if at >= len(payload):
        return _UNREADABLE
    tag = payload[at]
    at += 1
    if tag in _WORDS:
        return _WORDS[tag]
    if tag <= 0x7F:
        return tag
    if tag >= 0xE0:
        return tag - 0x100
    if 0xA0 <= tag <= 0xBF:
        return _text(payload, at, tag & 0x1F)
    form = _SCALARS.get(tag) or _STRING_LENGTHS.get(tag)
    if form is None or at + struct.calcsize(form) > len(payload):
        return _UNREADABLE
    (value,) = struct.unpack_from(form, payload, at)
    return value if tag in _SCALARS else _text(payload, at + struct.calcsize(form), value)


def _text(payload: bytes, at: int, length: int) -> Any:  # str or _UNREADABLE
    if at + length > len(payload):
        return _UNREADABLE
    return payload[at : at + length].decode("utf-8", "replace")
