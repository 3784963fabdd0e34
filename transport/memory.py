"""The in-memory twin of the WebSocket: two ends of one connection, without a socket.

For the simulator's phones and for tests. It keeps the promises of ``realtime.ports.Connection`` as the real adapter
does (one contract suite runs on both): frames arrive whole, in order and never inside the call that sent them; pings
are answered by the other end by itself; a close is answered or aborted after 2 s; ``on_closed`` comes exactly once.

A link may have a delay and a rate, and may fail in the ways that links do: ``pause_reading`` (a stalled reader),
``cut`` (nothing arrives any more and nobody is told), ``abort``. All waiting is by the loop's own timers, so virtual
time works. Both ends live on the same loop.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from realtime.ports import Acceptor, Connection, ConnectionHandler
from transport.websocket_connection import Deaf
from transport.websocket_frames import (
    INTERNAL_ERROR,
    LOST,
    PROTOCOL_ERROR,
    FrameError,
    check_size,
    check_text,
    close_reply,
    cut_reason,
    frame_bytes_max,
)
from transport.websocket_handshake import JSON

log = logging.getLogger(__name__)

BUFFER_BYTES: Final = 131_072
"""What the wire holds before the sender is paused, like the real listener's ``send_buffer_bytes``."""
CLOSE_TIMEOUT_S: Final = 2.0
MESSAGE_BYTES_MAX: Final = 65_536
_FRAME_BYTES: Final = 6
_DEAF: Final[ConnectionHandler] = Deaf()


class _Kind(Enum):
    MESSAGE = auto()
    PING = auto()
    PONG = auto()
    CLOSE = auto()
    LOST = auto()
    """Not a frame: the other end dropped the socket."""


class _Wire:
    """One direction: what was sent and has not arrived."""

    __slots__ = ("_bytes_per_s", "_delay_s", "_frames", "_free_at", "_loop", "_timer", "bytes", "is_cut", "receiver")

    def __init__(self, loop: asyncio.AbstractEventLoop, delay_s: float, bytes_per_s: float | None) -> None:
        self._loop = loop
        self._delay_s = delay_s
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0
        self._frames: deque[tuple[float, _Kind, bytes, int]] = deque()
        self._timer: asyncio.Handle | None = None
        self.bytes = 0
        self.is_cut = False
        self.receiver: MemoryConnection | None = None

    def put(self, kind: _Kind, payload: bytes = b"", code: int = 0) -> None:
        if self.is_cut:
            return
        now = self._loop.time()
        size = len(payload) + _FRAME_BYTES
        if self._bytes_per_s is not None:
            self._free_at = max(now, self._free_at) + size / self._bytes_per_s
            now = self._free_at
        self._frames.append((now + self._delay_s, kind, payload, code))
        self.bytes += size
        self.arm()

    def arm(self) -> None:
        """See to it that the next frame arrives in time."""
        if self._timer is not None or not self._frames or self.receiver is None or not self.receiver.is_reading:
            return
        at = self._frames[0][0]
        if at <= self._loop.time():
            self._timer = self._loop.call_soon(self._arrive)
        else:
            self._timer = self._loop.call_at(at, self._arrive)

    def drop(self) -> None:
        """Forget everything on the way."""
        self._frames.clear()
        self.bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arrive(self) -> None:
        self._timer = None
        # What is due now and no more: what a receiver sends in answer is not read in the same turn.
        due_at = self._loop.time()
        for _ in range(len(self._frames)):
            if not self._frames or self._frames[0][0] > due_at or self.receiver is None or not self.receiver.is_reading:
                break
            _, kind, payload, code = self._frames.popleft()
            self.bytes -= len(payload) + _FRAME_BYTES
            self.receiver.take(kind, payload, code)
        self.arm()
        if self.receiver is not None:
            self.receiver.other.relieve()


class MemoryConnection:
    """One end; both ends are alike. Made by ``connect``."""

    __slots__ = (
        "_close_timer",
        "_code",
        "_handler",
        "_is_gone",
        "_is_open",
        "_is_paused",
        "_loop",
        "_out",
        "_peer",
        "_subprotocol",
        "is_reading",
        "other",
    )

    other: "MemoryConnection"
    """The other end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, out: _Wire, peer: str, subprotocol: str) -> None:
        self._loop = loop
        self._out = out
        self._peer = peer
        self._subprotocol = subprotocol
        self._handler = _DEAF
        self._close_timer: asyncio.TimerHandle | None = None
        self._code = 0
        self._is_open = True
        self._is_gone = False
        self._is_paused = False
        self.is_reading = True

    # -- the Connection port -----------------------------------------------------------------------------

    @property
    def peer(self) -> str:
        """Address of the other end."""
        return self._peer

    @property
    def subprotocol(self) -> str:
        """The agreed subprotocol."""
        return self._subprotocol

    @property
    def is_open(self) -> bool:
        """Whether frames may still be sent."""
        return self._is_open

    def send(self, payload: bytes) -> None:
        """Send one message."""
        self._put(_Kind.MESSAGE, payload)

    def send_ping(self, payload: bytes) -> None:
        """Send a ping; the other end answers by itself."""
        self._put(_Kind.PING, payload)

    def close(self, code: int, reason: str = "") -> None:
        """Send a close and wait 2 s for the answer."""
        if not self._is_open:
            return
        self._is_open = False
        self._code = code
        self._out.put(_Kind.CLOSE, cut_reason(reason), code)
        self._close_timer = self._loop.call_later(CLOSE_TIMEOUT_S, self.abort)

    def abort(self) -> None:
        """Drop the connection now; the other end learns of it when the news arrives."""
        if self._is_gone:
            return
        # A reset overtakes what was still on its way.
        self._out.drop()
        self._out.put(_Kind.LOST)
        self._end(self._code or LOST)

    def pause_reading(self) -> None:
        """Leave what arrives in the buffers, as a frozen app does too."""
        self.is_reading = False

    def resume_reading(self) -> None:
        """Read again, first what waited."""
        self.is_reading = True
        self.other.rearm()

    # -- faults ------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Nothing passes any more in either direction, and nobody is told: a phone in a tunnel."""
        for end in (self, self.other):
            end.silence()

    # -- between the two ends ----------------------------------------------------------------------------

    def attach(self, handler: ConnectionHandler) -> None:
        """Say who listens at this end."""
        self._handler = handler

    def silence(self) -> None:
        """Lose what this end sent and will send."""
        self._out.drop()
        self._out.is_cut = True

    def rearm(self) -> None:
        """The other end reads again."""
        self._out.arm()

    def relieve(self) -> None:
        """The other end has taken something off the wire."""
        if self._is_paused and self._out.bytes <= BUFFER_BYTES // 4:
            self._is_paused = False
            if self._is_open:
                self._tell(self._handler.on_writable)

    def take(self, kind: _Kind, payload: bytes, code: int) -> None:
        """A frame of the other end arrives."""
        if self._is_gone:
            return
        if kind is _Kind.LOST:
            self._end(self._code or LOST)
        elif kind is _Kind.CLOSE:
            self._take_close(code)
        elif not self._is_open:
            return
        elif kind is _Kind.PING:
            self._put(_Kind.PONG, payload)
        elif kind is _Kind.PONG:
            self._tell(self._handler.on_pong, payload)
        else:
            self._take_message(payload)

    def _take_message(self, payload: bytes) -> None:
        try:
            check_size(len(payload), MESSAGE_BYTES_MAX)
            if self._subprotocol == JSON:
                check_text(payload)
        except FrameError as fault:
            if not self._is_mended(payload, fault.code):
                self.close(fault.code, fault.reason)
            return
        self._tell(self._handler.on_message, payload)

    def _is_mended(self, payload: bytes, code: int) -> bool:
        """Whether the handler finds in a message to be refused what must not be refused."""
        # A socket does not read longer frames.
        if len(payload) > frame_bytes_max(MESSAGE_BYTES_MAX):
            return False
        try:
            return self._handler.takes_damaged() and self._handler.on_damaged(payload, code)
        except Exception:  # As in `_tell`.
            log.exception("connection handler failed")
            self.close(INTERNAL_ERROR, "internal error")
            return False

    def _take_close(self, code: int) -> None:
        if self._is_open:
            self._is_open = False
            reply = close_reply(code)
            self._code = code if reply == code else PROTOCOL_ERROR
            self._out.put(_Kind.CLOSE, b"", reply)
        self._end(self._code)

    def _put(self, kind: _Kind, payload: bytes) -> None:
        if not self._is_open:
            return
        self._out.put(kind, payload)
        if not self._is_paused and self._out.bytes > BUFFER_BYTES:
            self._is_paused = True
            self._tell(self._handler.on_paused)

    def _end(self, code: int) -> None:
        self._is_open = False
        self._is_gone = True
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        handler, self._handler = self._handler, _DEAF
        # As from a socket: never inside the call that ended it.
        self._loop.call_soon(_say_closed, handler, code)

    def _tell(self, call: Callable[..., None], *args: bytes) -> None:
        try:
            call(*args)
        except Exception:  # A handler's error ends its connection, not the loop.
            log.exception("connection handler failed")
            self.close(INTERNAL_ERROR, "internal error")


def _say_closed(handler: ConnectionHandler, code: int) -> None:
    try:
        handler.on_closed(code)
    except Exception:
        log.exception("on_closed failed")


def connect(
    acceptor: Acceptor,
    handler: Callable[[Connection], ConnectionHandler],
    *,
    loop: asyncio.AbstractEventLoop | None = None,
    peer: str = "127.0.0.1",
    subprotocol: str = JSON,
    delay_s: float = 0.0,
    bytes_per_s: float | None = None,
) -> MemoryConnection:
    """Connect a client to an acceptor.

    Args:
        acceptor: The server's side.
        handler: Makes the client's handler from its end of the connection.
        loop: Where both ends live; the running loop by default.
        peer: Address that the server sees.
        subprotocol: ``doorstep.v1.json`` or ``doorstep.v1.msgpack``.
        delay_s: One-way delay, both ways.
        bytes_per_s: Rate of each direction; None for no limit.

    Returns:
        The client's end. The server's handler exists already; nothing that it sent has arrived yet.

    Raises:
        DoorstepError: The acceptor refuses, as the real listener answers 429 or 503.
    """
    loop = loop or asyncio.get_running_loop()
    refusal = acceptor.admit(peer)
    if refusal is not None:
        raise refusal
    down, up = _Wire(loop, delay_s, bytes_per_s), _Wire(loop, delay_s, bytes_per_s)
    server = MemoryConnection(loop, down, peer, subprotocol)
    client = MemoryConnection(loop, up, "server", subprotocol)
    server.other, client.other = client, server
    down.receiver, up.receiver = client, server
    client.attach(handler(client))
    try:
        server.attach(acceptor.connected(server))
    except Exception:
        log.exception("acceptor failed")
        server.close(INTERNAL_ERROR, "internal error")
    return client
