"""From frames to messages, and which close codes may be said. Pure; the bytes of a frame are picows's business.

Rules of RFC 6455 that picows leaves to us: reassembly with a limit on the whole message (section 5.4), UTF-8 over
fragments (8.1), close codes (7.4), what to answer a close (5.5.1). And one rule of ours: a message that breaks these
is refused only after somebody looked whether it is an SOS (``DamagedMessage``).
"""

from codecs import getincrementaldecoder
from typing import Final

PROTOCOL_ERROR: Final = 1002
UNSUPPORTED_DATA: Final = 1003
NO_STATUS: Final = 1005
LOST: Final = 1006
INVALID_TEXT: Final = 1007
POLICY_VIOLATION: Final = 1008
TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011

_UNSAYABLE: Final = frozenset({0, 1004, NO_STATUS, LOST, 1015})
"""Codes that must not stand in a close frame (section 7.4.1); 0 is how picows spells "no code"."""

_LOOKED_AT: Final = 2
"""A damaged message is looked at in its first so many limits of a message; longer frames are not read at all."""
_DROPPED: Final = 16
"""How much of an SOS's message may come in all, in limits of a message; what is over the above is dropped unread."""

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

    __slots__ = ("_bytes_max", "_decoder", "buffer")

    def __init__(self, *, is_text: bool, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.buffer = bytearray()
        """What came so far, without the fragment that was refused."""
        self._decoder = _Utf8Decoder() if is_text else None

    def feed(self, payload: bytes, *, fin: bool) -> bytes | None:
        """Add a fragment.

        Returns:
            The whole message when ``fin``, else None.

        Raises:
            FrameError: 1009 too big, 1007 not UTF-8.
        """
        check_size(len(self.buffer) + len(payload), self._bytes_max)
        if self._decoder is not None:
            try:
                self._decoder.decode(payload, fin)
            except UnicodeDecodeError:
                raise FrameError(INVALID_TEXT, "text is not UTF-8") from None
        self.buffer += payload
        return bytes(self.buffer) if fin else None


class DamagedMessage:
    """A fragmented message with a fault: kept until somebody can tell whether it is an SOS, then dropped as it comes.

    Args:
        fault: Why it will be refused.
        buffer: What came so far; taken over.
        bytes_max: Limit on a message.
    """

    __slots__ = ("_buffer", "_bytes", "_bytes_max", "_code", "_reason")

    def __init__(self, fault: FrameError, buffer: bytearray, bytes_max: int) -> None:
        # Not the exception itself: it holds the frames it came through, and with them the connection.
        self._code = fault.code
        self._reason = fault.reason
        self._buffer: bytearray | None = buffer
        self._bytes = len(buffer)
        self._bytes_max = bytes_max

    def feed(self, payload: bytes, *, fin: bool) -> bytes | None:
        """Add a fragment.

        Returns:
            What is to be judged: the whole message, or its beginning when it is too long. None before, and after.

        Raises:
            FrameError: 1009 when there is no end of it.
        """
        self._bytes += len(payload)
        if self._buffer is None:
            check_size(self._bytes, _DROPPED * self._bytes_max)
            return None
        self._buffer += payload
        return self.take() if fin or self._bytes > _LOOKED_AT * self._bytes_max else None

    @property
    def fault(self) -> FrameError:
        """Why it is refused unless it is an SOS."""
        return FrameError(self._code, self._reason)

    def take(self) -> bytes | None:
        """What is to be judged, now that nothing more is kept; None when it was taken before."""
        if self._buffer is None:
            return None
        taken, self._buffer = bytes(self._buffer), None
        return taken


def frame_bytes_max(bytes_max: int) -> int:
    """The longest frame that is read at all where messages are limited to ``bytes_max``.

    Longer than a message may be, so that an SOS with a note that is too long can be told from the rest.
    """
    return _LOOKED_AT * bytes_max


def check_size(size: int, bytes_max: int) -> None:
    """Raise ``FrameError`` 1009 when ``size`` is over the limit."""
    if size > bytes_max:
        raise FrameError(TOO_BIG, f"message exceeds {bytes_max} bytes")


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
