"""Bytes to messages and back, in both encodings of the wire contract.

Decoding judges whole frames except where something in them must survive its neighbours: an SOS is recognised
whatever else is wrong with its frame, and the rows of a batch of pings are judged one by one. Nothing here
knows sessions or sends anything.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, get_args

import msgspec
from msgspec import Raw, Struct

from core.letters import plain_letters
from core.members import repeated_member
from core.outbox import OutboxRow
from geo.point import Frame
from realtime.errors import Unreadable
from realtime.expected import Expected, expected_at, with_words
from realtime.messages import (
    PING_BATCH_LEN_MAX,
    ClientMessage,
    Crs,
    EpochS,
    PingRow,
    Seq,
)
from realtime.projection import project_object

ECHO_LEN_MAX: Final = 200
"""Characters of a decoder's message that are sent back: it quotes what the peer sent."""

DECODE_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError)
"""Everything that msgspec raises on hostile bytes (``ValidationError`` is a ``DecodeError``)."""


class SosIn(Struct, tag="sos", frozen=True):
    """Says only that a frame is an SOS; its fields are read one by one in ``safety/intake.py``."""


Decoded = ClientMessage | SosIn


class Encoding(Enum):
    """The two encodings, by subprotocol."""

    JSON = "doorstep.v1.json"
    MSGPACK = "doorstep.v1.msgpack"


@dataclass(frozen=True, slots=True)
class PartialPings:
    """What could be read of a batch with bad rows.

    Attributes:
        rows: The good rows, in order.
        sent_at: As in ``Pings``.
        crs: As in ``Pings``.
        mock: As in ``Pings``; True as well when it cannot be read.
        invalid: Number of bad rows.
        invalid_seqs: Numbers of the bad rows, read or inferred from their neighbours.
    """

    rows: list[PingRow]
    sent_at: float | None
    crs: Crs | None
    mock: bool
    invalid: int
    invalid_seqs: list[int]


class _LoosePings(Struct, tag="pings"):
    # A missing member is an empty `Raw`: msgspec has no union of `Raw` and None.
    pings: list[Raw]
    sent_at: Raw = Raw()
    crs: Raw = Raw()
    mock: Raw = Raw()


class _LoosePing(Struct, tag="ping"):
    seq: Raw = Raw()


class _Reference(Struct):
    ref: Raw = Raw()


_BY_TAG: Final = {kind.__struct_config__.tag: kind for kind in get_args(ClientMessage)}
_JSON: Final = msgspec.json.Decoder(Decoded)
_MSGPACK: Final = msgspec.msgpack.Decoder(Decoded)
_JSON_ENCODER: Final = msgspec.json.Encoder()
_MSGPACK_ENCODER: Final = msgspec.msgpack.Encoder()

# A type named `sos` in bytes that may be cut, doubled, misquoted or of the other encoding; not `sos.cancel`. No two
# repetitions stand next to each other: whoever sends 64 KiB of spaces, before hello even, must not hold up the loop.
_SOS_JSON: Final = re.compile(rb"""["']?\btype["']?\s*[:=]\s*(?:["']\s*)?sos(?![\w.])""", re.IGNORECASE)
_SOS_MSGPACK: Final = re.compile(
    rb"(?:\xa4|[\xd9\xc4]\x04|[\xda\xc5]\x00\x04|[\xdb\xc6]\x00\x00\x00\x04)type"
    rb"(?:\xa3|[\xd9\xc4]\x03|[\xda\xc5]\x00\x03|[\xdb\xc6]\x00\x00\x00\x03)sos",
    re.IGNORECASE,
)
_PATH: Final = re.compile(r" - at `(?P<path>\$[^`]*)`$")
_PING_JSON: Final = (b'{"type":"ping"', b'{"type": "ping"')
_PINGS_JSON: Final = (b'{"type":"pings"', b'{"type": "pings"')
_PING_MSGPACK: Final = (b"\xa4type\xa4ping",)
_PINGS_MSGPACK: Final = (b"\xa4type\xa5pings",)
_NAMES_SOS: Final = re.compile(rb"sos").search  # half as long as `in`


def encoding_of(subprotocol: str) -> Encoding:
    """The encoding that a connection negotiated; JSON when it named none."""
    return Encoding.MSGPACK if subprotocol == Encoding.MSGPACK.value else Encoding.JSON


def _is_map(payload: bytes) -> bool:
    """Whether a MessagePack value is a map of up to 15 entries, as every message is."""
    return b"\x80" <= payload[:1] <= b"\x8f"


def _map_len(payload: bytes) -> int:
    """How many entries a MessagePack map says it has (fixmap, map 16, map 32)."""
    if payload[0] >= 0xDE:
        return int.from_bytes(payload[1 : 3 if payload[0] == 0xDE else 5], "big")
    return payload[0] & 0x0F


class Codec:
    """One encoding, as functions that a session keeps a reference to."""

    __slots__ = (
        "_crs",
        "_epoch",
        "_flag",
        "_generic",
        "_loose_ping",
        "_loose_pings",
        "_loose_row",
        "_members",
        "_ping",
        "_pings",
        "_reference",
        "_row",
        "_seq",
        "_type_at",
        "decode",
        "encode",
        "encoding",
    )

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        json = encoding is Encoding.JSON
        self._ping = _PING_JSON if json else _PING_MSGPACK
        self._pings = _PINGS_JSON if json else _PINGS_MSGPACK
        self._type_at = 0 if json else 1
        self.decode: Any = (_JSON if json else _MSGPACK).decode
        """bytes -> ``Decoded``; raises ``DECODE_ERRORS``. Bound C method: the ping path calls nothing else."""
        self.encode: Any = (_JSON_ENCODER if json else _MSGPACK_ENCODER).encode
        """Struct or builtin value -> bytes."""
        make: Any = msgspec.json.Decoder if json else msgspec.msgpack.Decoder
        self._generic = make()
        self._loose_pings = make(_LoosePings)
        self._loose_ping = make(_LoosePing)
        self._loose_row = make(list[Raw])
        self._reference = make(_Reference)
        self._members = make(dict[str, Raw])
        self._row = make(PingRow)
        self._seq = make(Seq)
        self._epoch = make(EpochS | None)
        self._crs = make(Crs | None)
        self._flag = make(bool)

    @property
    def is_json(self) -> bool:
        """Whether frames are text."""
        return self.encoding is Encoding.JSON

    def count_if_pings(self, payload: bytes) -> int:
        """Number of pings in a frame that is certainly a ping or a batch of pings, not decoded; 0 for any other frame.

        Certain only for frames whose ``type`` comes first, as all our clients write it; every other frame is
        decoded. A frame that also names ``sos`` is never taken for a ping.
        """
        at = self._type_at
        if payload.startswith(self._ping, at):
            return int(_NAMES_SOS(payload) is None and (at == 0 or _is_map(payload)))
        if not payload.startswith(self._pings, at) or _NAMES_SOS(payload) or (at and not _is_map(payload)):
            return 0
        try:
            return len(self._loose_pings.decode(payload).pings)  # its rows stay bytes
        except DECODE_ERRORS:
            return 0

    def reads_as_ping(self, payload: bytes) -> bool:
        """Whether a frame that does not decode is a single ping with bad fields, not damaged bytes."""
        try:
            self._loose_ping.decode(payload)
        except DECODE_ERRORS:
            return False
        return self.count_if_pings(payload) == 1

    def first_seq(self, payload: bytes) -> int | None:
        """Number of the first ping of a frame that will not be judged; None when it cannot be told."""
        try:
            rows = self._loose_pings.decode(payload).pings
        except DECODE_ERRORS:
            return self.ping_seq(payload)
        return self._row_seq(rows[0]) if rows else None

    def ping_seq(self, payload: bytes) -> int | None:
        """The ``seq`` of a ping whose other fields are bad; None when it cannot be told."""
        try:
            raw = self._loose_ping.decode(payload).seq
        except DECODE_ERRORS:
            return None
        return self._as_seq(raw)

    def salvage_pings(self, payload: bytes) -> PartialPings | None:
        """Read what is good of a batch that does not decode as a whole; None when it is no batch at all."""
        try:
            loose = self._loose_pings.decode(payload)
        except DECODE_ERRORS:
            return None
        rows = loose.pings
        if not 1 <= len(rows) <= PING_BATCH_LEN_MAX:
            return None
        try:
            sent_at = self._epoch.decode(loose.sent_at) if memoryview(loose.sent_at) else None
            crs = self._crs.decode(loose.crs) if memoryview(loose.crs) else None
        except DECODE_ERRORS:
            # Without these no row means anything: a frame that is not known is never guessed.
            return PartialPings([], None, None, False, len(rows), _seqs(rows, self._row_seq))
        good: list[PingRow] = []
        bad: list[int | None] = []
        last: int | None = None
        for raw in rows:
            try:
                row = self._row.decode(raw)
            except DECODE_ERRORS:
                seq = self._row_seq(raw)
                last = seq if seq is not None else None if last is None else last + 1
                bad.append(last)
            else:
                good.append(row)
                last = row[0]
        return PartialPings(
            good, sent_at, crs, self._is_mock(loose.mock), len(bad), [seq for seq in bad if seq is not None]
        )

    def _is_mock(self, raw: Raw) -> bool:
        try:
            return self._flag.decode(raw) if memoryview(raw) else False
        except DECODE_ERRORS:
            return True

    def check_members(self, payload: bytes) -> None:
        """Refuse a decoded message that holds a member twice: the other one may be what somebody else has checked.

        Raises:
            Unreadable: ``member_repeated``; with the member's name where it is JSON.
        """
        field = repeated_member(payload) if self.is_json else None
        if field is None and (self.is_json or len(self._members.decode(payload)) == _map_len(payload)):
            return
        ref = self._ref(payload)
        raise Unreadable("holds a member twice", code="member_repeated", field=field and field[:ECHO_LEN_MAX], ref=ref)

    def sos_encoding(self, payload: bytes) -> Encoding | None:
        """The encoding in which a frame that could not be decoded names ``sos`` as its type; None when it does not.

        A phone in trouble may well mix them up, so both are looked for, the session's own first.
        """
        found = [
            encoding
            for encoding, is_there in (
                (Encoding.JSON, _SOS_JSON.search(plain_letters(payload))),
                (Encoding.MSGPACK, _SOS_MSGPACK.search(payload)),
            )
            if is_there is not None
        ]
        return self.encoding if self.encoding in found else found[0] if found else None

    def unreadable(self, payload: bytes, error: Exception) -> Unreadable:
        """The error to answer a frame with that raised ``error`` in ``decode``."""
        text = str(error)
        found = _PATH.search(text)
        path = found["path"][:ECHO_LEN_MAX] if found else None
        text = text[: found.start()] if found else text
        text = text.encode("utf-8", "replace").decode()[:ECHO_LEN_MAX]
        ref = self._ref(payload)
        if not isinstance(error, msgspec.ValidationError):
            return Unreadable(f"not a message: {text}"[:ECHO_LEN_MAX], code="malformed", ref=ref)
        if path == "$.type":
            return Unreadable(
                f"no such message type: {text}"[:ECHO_LEN_MAX], code="unknown_type", field="type", ref=ref
            )
        if path is None:
            return Unreadable(text, code="invalid", ref=ref)
        expected = self._expected(payload, path)
        field = expected.field[:ECHO_LEN_MAX] or None
        return Unreadable(with_words(text, expected.words, ECHO_LEN_MAX), code="invalid", field=field, ref=ref)

    def _expected(self, payload: bytes, path: str) -> Expected:
        try:
            value = self._generic.decode(payload)
        except DECODE_ERRORS:
            value = None  # it goes wrong a second time, behind what was refused first
        tag = value.get("type") if isinstance(value, dict) else None
        return expected_at(_BY_TAG.get(tag) if isinstance(tag, str) else None, value, path)

    def _ref(self, payload: bytes) -> str | None:
        try:
            raw = self._reference.decode(payload).ref
            value = self._generic.decode(raw)
        except DECODE_ERRORS:
            return None
        return value if isinstance(value, str) and 1 <= len(value) <= 64 else None

    def _row_seq(self, raw: Raw) -> int | None:
        try:
            row = self._loose_row.decode(raw)
        except DECODE_ERRORS:
            return None
        return self._as_seq(row[0]) if row else None

    def _as_seq(self, raw: Raw) -> int | None:
        try:
            seq: int = self._seq.decode(raw)
        except DECODE_ERRORS:
            return None
        return seq


JSON_CODEC: Final = Codec(Encoding.JSON)
MSGPACK_CODEC: Final = Codec(Encoding.MSGPACK)


def codec_for(subprotocol: str) -> Codec:
    """The shared codec of a negotiated subprotocol."""
    return MSGPACK_CODEC if encoding_of(subprotocol) is Encoding.MSGPACK else JSON_CODEC


def _seqs(rows: list[Raw], read: Any) -> list[int]:
    return [seq for seq in map(read, rows) if seq is not None]


# -- outgoing bodies ------------------------------------------------------------------------------------


def splice(body: bytes, **members: str | int) -> bytes:
    """Add members at the end of a JSON object without parsing it.

    Args:
        body: A JSON object without trailing whitespace, as our encoders write it.
        members: Names that are not in ``body`` yet.
    """
    tail = _JSON_ENCODER.encode(members)
    return tail if body == b"{}" else body[:-1] + b"," + tail[1:]


def refresh_offer(body: bytes, now: float) -> bytes:
    """Recompute ``remaining_ms`` of an ``offer`` from ``expires_at``; other messages pass unchanged."""
    if not body.startswith(b'{"type":"offer",'):
        return body
    offer = msgspec.json.decode(body)
    offer["remaining_ms"] = max(0, round((offer["expires_at"] - now) * 1000))
    return _JSON_ENCODER.encode(offer)


def transcode(body: bytes, *, to_json: bool, crs: Frame | None) -> bytes:
    """A JSON message in the encoding and coordinate frame that a session asked for.

    Args:
        body: JSON object.
        to_json: False for MessagePack.
        crs: Frame asked for, None for the platform's.

    Cost:
        None when nothing has to change; else one parse of the body.
    """
    if to_json and crs is None:
        return body
    value = msgspec.json.decode(body)
    if crs is not None:
        project_object(value, crs)
    return _JSON_ENCODER.encode(value) if to_json else _MSGPACK_ENCODER.encode(value)


def row_frame(row: OutboxRow, now: float) -> bytes:
    """A committed row as the JSON message that goes out."""
    return splice(refresh_offer(row.body, now), stream=row.stream.value, seq=row.seq, epoch=row.epoch)
