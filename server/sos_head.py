"""The head of an SOS over HTTP, put right where no parser would take it: a broken header must not cost the alarm.

Of a head that is not clean, only what an SOS needs is kept: who sends it, how its body is written and how long it is.
Who they are is judged as always; nothing here makes a token of anything that was not sent as one.
"""

import re
from typing import Final

HEAD_BYTES_MAX: Final = 65_536
"""Bytes of a head that are waited for; what is longer is taken for a head without an end."""
_LINE_BYTES_MAX: Final = 1_024
"""Bytes in which it must show whether a request is an SOS."""
_FIELD_BYTES_MAX: Final = 16_384
"""As the parser's own limit (``server/http.py``)."""
_FIELDS_MAX: Final = 100
"""Below the parser's own limit of 128 lines."""

_METHOD: Final = b"POST"
_SOS: Final = re.compile(rb"\s*POST[ \t]+(?:https?://[^/\s]{0,256})?/+v1/+sos/*(?=[?#\s])", re.IGNORECASE)
_END: Final = re.compile(rb"\r\n\r\n|(?<!\r)\n\n")
_BODY: Final = re.compile(rb"\n\s{0,64}\{")
_FOLD: Final = re.compile(rb"\r?\n[ \t]+")
_CLEAN_LINE: Final = re.compile(rb"POST /v1/sos/? HTTP/1\.[01]")
_CLEAN_FIELD: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\x21-\x7e\x80-\xff][\t\x20-\x7e\x80-\xff]*)?"
)
_TOKEN: Final = re.compile(rb"(?:authorization|bearer)[^\r\n]{0,64}?\b([\w-]{4,}\.[\w-]{4,}\.[\w-]{4,})", re.IGNORECASE)
_BEARER: Final = re.compile(rb"bearer +[\w.~+/=-]+", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"\d{1,7}")
_WORD: Final = re.compile(rb"[\w./+;=,: -]{1,128}")
_KEPT: Final = (b"host", b"content-type", b"content-encoding", b"x-request-id", b"x-forwarded-for")
_LENGTH_UNKNOWN: Final = b"Content-Length: %d" % 9_999_999
"""More than any body: an SOS is read until it is whole, or for its time, whatever length is promised."""


class SosHead:
    """The beginning of one request on a connection.

    Feed it what arrives until it gives something back; from then on the request is the parser's.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._searched = 0

    @property
    def is_holding(self) -> bool:
        """Whether bytes wait here."""
        return bool(self._held)

    def take(self, data: bytes) -> bytes:
        """What the parser may read now: nothing while it may still become the head of an SOS that is not whole.

        Cost:
            O(len(data)); a look at the first bytes for anything but POST.
        """
        self._held += data
        held = self._held
        if _SOS.match(held) is None:
            if b"\n" not in held.lstrip() and len(held) <= _LINE_BYTES_MAX and _may_become_post(held):
                return b""
            return self._given(bytes(held))
        found = _END.search(held, max(0, self._searched - 3))
        self._searched = len(held)
        if found is not None:
            head, rest = bytes(held[: found.start()]), bytes(held[found.end() :])
            if found[0] == b"\r\n\r\n" and is_clean(head):
                return self._given(bytes(held))
            return self._given(put_right(head) + rest)
        return b"" if len(held) <= HEAD_BYTES_MAX else self.rest()

    def rest(self) -> bytes:
        """What is held, as a whole head: no more of it comes."""
        held = bytes(self._held)
        if not held or _SOS.match(held) is None:
            return self._given(held)
        body = _BODY.search(held)
        head, rest = (held[: body.start()], held[body.start() + 1 :]) if body is not None else (held, b"")
        return self._given(put_right(head) + rest)

    def _given(self, data: bytes) -> bytes:
        self._held = bytearray()
        self._searched = 0
        return data


def _may_become_post(held: bytearray) -> bool:
    begun = bytes(held[:_LINE_BYTES_MAX]).lstrip()[: len(_METHOD)].upper()
    return bool(begun) and _METHOD.startswith(begun)


def is_clean(head: bytes) -> bool:
    """Whether the parser takes this head, without the empty line at its end, as it stands."""
    line, *fields = head.split(b"\r\n")
    names = []
    for field in fields:
        found = _CLEAN_FIELD.fullmatch(field)
        if found is None or len(field) > _FIELD_BYTES_MAX:
            return False
        name, value = found[1].lower(), (found[2] or b"").strip()
        names.append(name)
        if name == b"content-length" and not _LENGTH.fullmatch(value):
            return False
        if name == b"transfer-encoding" and value.lower() != b"chunked":
            return False
        if name == b"authorization" and not _BEARER.fullmatch(value):
            return False
        if name == b"expect" and value.lower() != b"100-continue":
            return False
    return (
        _CLEAN_LINE.fullmatch(line) is not None
        and len(names) <= _FIELDS_MAX
        and len(set(names)) == len(names)
        and b"host" in names
        and b"upgrade" not in names
        and not {b"content-length", b"transfer-encoding"} <= set(names)
    )


def put_right(head: bytes) -> bytes:
    """A head that says what this one meant, ended by an empty line; the connection is not used again."""
    head = _FOLD.sub(b" ", head)
    fields = _readable(head)
    lines = [b"POST /v1/sos HTTP/1.1", b"Connection: close"]
    lines += [name + b": " + fields[name][0] for name in _KEPT if name in fields]
    if b"host" not in fields:
        lines.append(b"Host: unknown")
    token = _TOKEN.search(head)
    if token is not None:
        lines.append(b"Authorization: Bearer " + token[1])
    lengths, codings = fields.get(b"content-length", []), fields.get(b"transfer-encoding", [])
    if not codings and len(lengths) == 1 and _LENGTH.fullmatch(lengths[0]):
        lines.append(b"Content-Length: " + lengths[0])
    elif not lengths and [coding.lower() for coding in codings] == [b"chunked"]:
        lines.append(b"Transfer-Encoding: chunked")
    else:
        lines.append(_LENGTH_UNKNOWN)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _readable(head: bytes) -> dict[bytes, list[bytes]]:
    """Name -> values of the fields that can be read, values of harmless signs only."""
    found: dict[bytes, list[bytes]] = {}
    for line in re.split(rb"\r\n|\r|\n", head)[1:]:
        name, _, value = line.partition(b":")
        value = value.strip()
        if _WORD.fullmatch(value):
            found.setdefault(name.strip().lower(), []).append(value)
    return found
