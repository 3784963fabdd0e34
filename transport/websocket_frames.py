"""From frames to messages, and which close codes may be said. Pure; the bytes of a frame are picows's business.

Rules of RFC 6455 that picows leaves to us: reassembly with a limit on the whole message (section 5.4), UTF-8 over
fragments (8.1), close codes (7.4), what to answer a close (5.5.1).
"""

from codecs import getincrementaldecoder
from typing import Final

PROTOCOL_ERROR: Final = 1002
UNSUPPORTED_DATA: Final = 1003
NO_STATUS: Final = 1005
LOST: Final = 1006
INVALID_TEXT: Final = 1007
TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011

_UNSAYABLE: Final = frozenset({0, 1004, NO_STATUS, LOST, 1015})
"""Codes that must not stand in a close frame (section 7.4.1); 0 is how picows spells "no code"."""

_Utf8Decoder = getincrementaldecoder("utf-8")


class FrameError(Exception):
    """The peer broke RFC 6455 or a limit; holds the close code that says so."""

    def __init__(self, code: int, reason: str) -> None:
        """Keep what the close frame will say."""
        super().__init__(reason)
        self.code = code
        self.reason = reason


class MessageAssembler:
    """Joins the fragments of one message; made at its first fragment, gone with its last.

    Args:
        is_text: Whether the bytes must be UTF-8, which is checked as they come: a bad message is refused at the
            first fragment that shows it.
        bytes_max: Limit on the whole message.
    """

    __slots__ = ("_buffer", "_bytes_max", "_decoder", "is_text")

    def __init__(self, *, is_text: bool, bytes_max: int) -> None:
        self.is_text = is_text
        self._bytes_max = bytes_max
        self._buffer = bytearray()
        self._decoder = _Utf8Decoder() if is_text else None

    def feed(self, payload: bytes, *, fin: bool) -> bytes | None:
        """Add a fragment.

        Returns:
            The whole message when ``fin``, else None.

        Raises:
            FrameError: 1009 too big, 1007 not UTF-8.
        """
        if len(self._buffer) + len(payload) > self._bytes_max:
            raise FrameError(TOO_BIG, f"message exceeds {self._bytes_max} bytes")
        if self._decoder is not None:
            try:
                self._decoder.decode(payload, fin)
            except UnicodeDecodeError:
                raise FrameError(INVALID_TEXT, "text is not UTF-8") from None
        self._buffer += payload
        return bytes(self._buffer) if fin else None


def check_text(payload: bytes) -> None:
    """Raise ``FrameError`` 1007 unless ``payload`` is UTF-8."""
    if payload.isascii():
        return
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise FrameError(INVALID_TEXT, "text is not UTF-8") from None


def close_reply(code: int | None) -> int:
    """The code that answers a peer's close: its own; 1000 to an empty one; 1002 to one that must not be said.

    Args:
        code: What the close frame carried, None when it was empty.
    """
    if code is None:
        return 1000
    if code in _UNSAYABLE or not 1000 <= code <= 4999:
        return PROTOCOL_ERROR
    return code


def cut_reason(reason: str) -> bytes:
    """A close reason of at most 123 bytes, never cut inside a character (section 5.5)."""
    encoded = reason.encode("utf-8", "replace")
    if len(encoded) <= 123:
        return encoded
    return encoded[:123].decode("utf-8", "ignore").encode()
