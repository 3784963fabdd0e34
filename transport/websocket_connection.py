"""One WebSocket on picows: the ``Connection`` port, RFC 6455 conduct, and the end of a connection.

picows parses and writes frames; everything that makes frames into a well-behaved conversation is here. What must be
known about picows 2.3.1 (pinned) to read this file:

- Its parser runs one frame ahead and treats a broken frame by writing a close and closing the socket 10 ms later.
  With unread bytes in the kernel that close becomes a reset, and the peer never reads the code. ``Tap`` stands where
  picows expects a logger and a transport: so we hear of a parser error before picows acts on it, answer the close
  that came in front of it, and hold the socket open while a ``Drain`` reads and forgets what still comes.
- After a close was sent, frames that were in the same buffer are still delivered: ``_is_dead`` drops them.
- Payloads over 8 KiB are handed to the transport next to a view of picows's header buffer, which the next frame
  overwrites while the socket is blocked; so large messages are framed in one buffer of their own.

A connection has neither a task nor a timer; deadlines are kept by the listener's one sweep.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Sized
from math import inf
from typing import Any, Final, Protocol

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # not in the stub; ws_create_server makes the same

from realtime.ports import ConnectionHandler
from transport.websocket_frames import (
    INTERNAL_ERROR,
    LOST,
    NO_STATUS,
    POLICY_VIOLATION,
    PROTOCOL_ERROR,
    UNSUPPORTED_DATA,
    DamagedMessage,
    FrameError,
    MessageAssembler,
    check_size,
    check_text,
    close_reply,
    cut_reason,
)
from transport.websocket_handshake import JSON, MSGPACK

log = logging.getLogger(__name__)

_COPY_BYTES_MAX: Final = 8_192
_HEADER_BYTES: Final = 14
_READ_BUFFER_BYTES: Final = 3_072
"""Initial read buffer. It doubles for good when more than nine tenths of it, less 256 bytes, are filled at once: frames
of up to 2.5 KB leave it alone."""
_SCRATCH: Final = memoryview(bytearray(65_536))
"""Where ``Drain`` lets bytes fall that nobody wants; shared, never read."""

_TEXT: Final = WSMsgType.TEXT
_BINARY: Final = WSMsgType.BINARY
_CONTINUATION: Final = WSMsgType.CONTINUATION
_PING: Final = WSMsgType.PING
_PONG: Final = WSMsgType.PONG


class ReadyQueue(Protocol):
    """A loop whose timers and ready callbacks may be run between two frames.

    Attributes:
        clock: Tells the time of ``due_at``.
        due_at: When its first timer is due.
    """

    clock: Callable[[], float]
    due_at: float

    @property
    def ready(self) -> Sized:
        """Callbacks that could run now."""
        ...

    def run_ready(self) -> None:
        """Run what is due or ready."""
        ...


class NoQueue:
    """Everything is left to the loop's own turns."""

    def __init__(self) -> None:
        self.clock: Callable[[], float] = float
        self.due_at = inf
        self.ready: Sized = ()

    def run_ready(self) -> None:
        """Nothing."""


class Host(Protocol):
    """What a connection needs from its listener."""

    message_bytes_max: int
    write_high_bytes: int
    close_timeout_s: float
    linger_s: float
    message_timeout_s: float
    interleaved: "ReadyQueue"

    def upgrade(self, connection: "WebSocketConnection", request: WSUpgradeRequest) -> Any:
        """Answer an upgrade request."""
        ...

    def accepted(self, connection: "WebSocketConnection") -> None:
        """A socket was accepted, before its first byte; may abort it."""
        ...

    def opened(self, connection: "WebSocketConnection") -> ConnectionHandler:
        """The handshake is complete; returns who listens."""
        ...

    def released(self, connection: "WebSocketConnection") -> None:
        """The socket is gone, whether the handshake was complete or not."""
        ...

    def due_in(self, connection: "WebSocketConnection", delay_s: float | None) -> None:
        """Call ``on_due`` after ``delay_s``; None forgets it. One deadline for each connection."""
        ...


class Deaf:
    """A handler that hears nothing: before one is known, and after the last call."""

    __slots__ = ()

    def on_message(self, payload: bytes) -> None:
        """Nothing."""

    def takes_damaged(self) -> bool:
        """No."""
        return False

    def on_damaged(self, payload: bytes, close_code: int) -> bool:
        """Nothing."""
        return False

    def on_pong(self, payload: bytes) -> None:
        """Nothing."""

    def on_paused(self) -> None:
        """Nothing."""

    def on_writable(self) -> None:
        """Nothing."""

    def on_closed(self, code: int) -> None:
        """Nothing."""


_DEAF: Final[ConnectionHandler] = Deaf()


class WebSocketConnection(WSListener):
    """One socket; made when it is accepted, told by picows what arrives.

    Attributes:
        address: Address of the client, known after the upgrade request was read.
        accepts_any: True on an endpoint without subprotocols: both kinds of frames are taken, and ``send`` answers
            in the kind of the last message.
    """

    __slots__ = (
        "_assembler",
        "_code",
        "_handler",
        "_host",
        "_is_dead",
        "_is_open",
        "_is_paused",
        "_kind",
        "_owed_pong",
        "_subprotocol",
        "_tap",
        "_ws",
        "accepts_any",
        "address",
    )

    def __init__(self, host: Host) -> None:
        self._host = host
        self._handler = _DEAF
        self._ws: WSTransport | None = None
        self._tap: Tap | None = None
        self._assembler: MessageAssembler | DamagedMessage | None = None
        self._owed_pong: bytes | None = None
        self._kind = _TEXT
        self._subprotocol = ""
        self._code = 0  # what on_closed will say; 0 until known
        self._is_open = False
        self._is_dead = False  # no frame is heard any more
        self._is_paused = False
        self.accepts_any = False
        self.address = ""

    # -- the Connection port -----------------------------------------------------------------------------

    @property
    def peer(self) -> str:
        """Address of the client."""
        return self.address

    @property
    def subprotocol(self) -> str:
        """The agreed subprotocol."""
        return self._subprotocol

    @property
    def is_open(self) -> bool:
        """Whether frames may still be sent."""
        return self._is_open

    def send(self, payload: bytes) -> None:
        """Write one message as one frame; nothing when the connection is closed."""
        if not self._is_open or self._ws is None:
            return
        try:
            if len(payload) <= _COPY_BYTES_MAX:
                self._ws.send(self._kind, payload)
            else:
                self._ws.send_reuse_external_bytearray(self._kind, bytearray(_HEADER_BYTES) + payload, _HEADER_BYTES)
        except Exception:  # The port never raises: whatever a socket throws ends this connection alone.
            log.exception("write failed")
            self.abort()

    def send_ping(self, payload: bytes) -> None:
        """Write a ping."""
        if self._is_open and self._ws is not None:
            self._ws.send_ping(payload)

    def pause_reading(self) -> None:
        """Leave what arrives in the kernel."""
        transport = self._readable
        if transport is not None:
            transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        transport = self._readable
        if transport is not None:
            transport.resume_reading()

    @property
    def _readable(self) -> asyncio.Transport | None:
        """The socket, as long as it may be told to read."""
        transport = None if self._tap is None else self._tap.transport
        return None if transport is None or transport.is_closing() else transport

    def close(self, code: int, reason: str = "") -> None:
        """Send a close and wait ``close_timeout_s`` for the answer."""
        if self._is_open:
            self._say_close(code, reason, self._host.close_timeout_s)

    def abort(self) -> None:
        """Drop the socket now."""
        self._is_open = False
        self._is_dead = True
        self._code = self._code or LOST
        if self._tap is not None and self._tap.transport is not None:
            self._tap.transport.abort()

    # -- what picows tells -------------------------------------------------------------------------------

    def begin(self, tap: "Tap") -> None:
        """The socket was accepted."""
        self._tap = tap
        self._host.accepted(self)

    @property
    def socket_address(self) -> str:
        """Address of the socket's other end: the client's, or a proxy's; empty once it is gone."""
        name = None if self._tap is None else self._tap.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else ""

    def upgrade(self, request: WSUpgradeRequest) -> Any:
        """Answer the upgrade request (picows's listener factory)."""
        return self._host.upgrade(self, request)

    def agree(self, subprotocol: str, address: str) -> None:
        """The listener lets it in."""
        self._subprotocol = subprotocol
        self.accepts_any = subprotocol == ""
        self._kind = _BINARY if subprotocol == MSGPACK else _TEXT
        self.address = address

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The 101 answer was written."""
        self._ws = transport
        self._is_open = True
        high = self._host.write_high_bytes
        if self._tap is not None and self._tap.transport is not None:
            self._tap.transport.set_write_buffer_limits(high=high, low=high // 4)
        # 3 KiB of headers that nobody reads again.
        transport.request.headers.clear()
        transport.request.path = b""
        transport.response.headers.clear()
        try:
            self._handler = self._host.opened(self)
        except Exception as error:  # noqa: BLE001 - An acceptor's error ends this connection, not the loop.
            self._handler_failed(error)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """One frame; valid as far as picows checks."""
        host = self._host
        waiting = host.interleaved
        if waiting.ready or waiting.clock() >= waiting.due_at:
            waiting.run_ready()
        if self._is_dead:
            if frame.msg_type is WSMsgType.CLOSE:
                self._finish()
            return
        kind = self._kind
        if (
            frame.msg_type is kind
            and frame.fin
            and self._assembler is None
            and not (frame.rsv1 or frame.rsv2 or frame.rsv3)
        ):
            # The ordinary frame, whole and harmless: what `_take` does with it, in a third of the time.
            payload = frame.get_payload_as_bytes()
            if len(payload) <= host.message_bytes_max and (kind is _BINARY or payload.isascii()):
                try:
                    self._handler.on_message(payload)
                except Exception as error:  # noqa: BLE001 - As in `_deliver`.
                    self._handler_failed(error)
                return
        try:
            self._take(frame)
        except FrameError as error:
            self._fail(error.code, error.reason)

    def _take(self, frame: WSFrame) -> None:
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            # No extension is negotiated, so every reserved bit is an error (section 5.2).
            raise FrameError(PROTOCOL_ERROR, "reserved bit")
        kind = frame.msg_type
        payload = frame.get_payload_as_bytes()
        if kind is _TEXT or kind is _BINARY:
            if self._assembler is not None:
                raise FrameError(PROTOCOL_ERROR, "new message inside a fragmented one")
            try:
                if kind is not self._kind:
                    self._change_kind(kind)
                if frame.fin:
                    check_size(len(payload), self._host.message_bytes_max)
                    if kind is _TEXT:
                        check_text(payload)
            except FrameError as fault:
                self._doubt(fault, bytearray(), payload, fin=bool(frame.fin))
                return
            if frame.fin:
                self._deliver(payload)
            else:
                self._assembler = MessageAssembler(is_text=kind is _TEXT, bytes_max=self._host.message_bytes_max)
                self._host.due_in(self, self._host.message_timeout_s)
                self._continue(payload, fin=False)
        elif kind is _PONG:
            self._tell(self._handler.on_pong, payload)
        elif kind is _PING:
            self._answer_ping(payload)
        elif kind is _CONTINUATION:
            self._continue(payload, fin=bool(frame.fin))
        else:
            self._answer_close(int.from_bytes(payload[:2], "big") if payload else None)
            self._finish()

    def _change_kind(self, kind: WSMsgType) -> None:
        if not self.accepts_any:
            expected = "text" if self._subprotocol == JSON else "binary"
            raise FrameError(UNSUPPORTED_DATA, f"{self._subprotocol} is spoken in {expected} frames")
        self._kind = kind

    def _continue(self, payload: bytes, *, fin: bool) -> None:
        part = self._assembler
        if part is None:
            raise FrameError(PROTOCOL_ERROR, "continuation of nothing")
        if fin:
            self._assembler = None
            self._host.due_in(self, None)
        if isinstance(part, DamagedMessage):
            self._judge(part, part.feed(payload, fin=fin))
            return
        try:
            message = part.feed(payload, fin=fin)
        except FrameError as fault:
            self._doubt(fault, part.buffer, payload, fin=fin)
            return
        if message is not None:
            self._deliver(message)

    # -- messages that are refused unless they are an SOS ------------------------------------------------

    def _doubt(self, fault: FrameError, buffer: bytearray, payload: bytes, *, fin: bool) -> None:
        """A message is to be refused: at once, or when all of it was looked at.

        Args:
            fault: Why.
            buffer: Its fragments before ``payload``; taken over.
            payload: The fragment with the fault.
            fin: Whether that is the last.
        """
        if not self._ask(self._handler.takes_damaged):
            raise fault
        damaged = DamagedMessage(fault, buffer, self._host.message_bytes_max)
        if not fin:
            if self._assembler is None:
                self._host.due_in(self, self._host.message_timeout_s)
            self._assembler = damaged
        self._judge(damaged, damaged.feed(payload, fin=fin))

    def _judge(self, damaged: DamagedMessage, taken: bytes | None) -> None:
        """Refuse what was taken of a damaged message, unless the handler finds an SOS in it."""
        if taken is not None and not self._ask(self._handler.on_damaged, taken, damaged.fault.code):
            raise damaged.fault

    def _fragments_are_late(self) -> None:
        """The time for the fragments of a message is over; an SOS is raised from those that came."""
        fault = FrameError(POLICY_VIOLATION, "fragments take too long")
        part = self._assembler
        if isinstance(part, MessageAssembler) and self._ask(self._handler.takes_damaged):
            part = self._assembler = DamagedMessage(fault, part.buffer, self._host.message_bytes_max)
        taken = part.take() if isinstance(part, DamagedMessage) else None
        if taken is None or not isinstance(part, DamagedMessage):
            raise fault
        self._judge(part, taken)
        # Its acknowledgement comes before the close.
        self._host.due_in(self, self._host.message_timeout_s)

    def _answer_ping(self, payload: bytes) -> None:
        if self._is_paused:
            # A peer that pings and never reads must not fill our memory with pongs; the newest is enough (5.5.3).
            self._owed_pong = payload
        elif self._is_open and self._ws is not None:
            self._ws.send_pong(payload)

    def pause_writing(self) -> None:
        """The transport holds more than ``write_high_bytes``."""
        self._is_paused = True
        self._tell(self._handler.on_paused)

    def resume_writing(self) -> None:
        """The transport has room again."""
        self._is_paused = False
        if self._owed_pong is not None:
            payload, self._owed_pong = self._owed_pong, None
            self._answer_ping(payload)
        if self._is_open:
            self._tell(self._handler.on_writable)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The socket of a connection that was open is gone."""
        self._is_open = False
        self._is_dead = True
        handler, self._handler = self._handler, _DEAF
        try:
            handler.on_closed(self._code or LOST)
        except Exception:  # The connection is gone already; its end must still be counted.
            log.exception("on_closed failed")

    def released(self) -> None:
        """The socket is gone, in whatever state it was; cuts every tie so that memory is freed at once."""
        self._is_open = False
        self._is_dead = True
        self._assembler = None
        self._ws = None
        self._tap = None
        self._host.due_in(self, None)
        self._host.released(self)

    @property
    def close_code(self) -> int:
        """The code that the connection ended with; 0 while it lives."""
        return self._code

    # -- closing -----------------------------------------------------------------------------------------

    def on_due(self) -> None:
        """The deadline passed: fragments that never ended, or a close that was not answered."""
        if not self._is_open:
            self.abort()
            return
        try:
            self._fragments_are_late()
        except FrameError as error:
            self._fail(error.code, error.reason)

    def parser_failed(self, code: int, reason: str) -> None:
        """picows found a broken frame; called before it writes its own close, which our close replaces.

        A message in front of the broken frame in the same buffer is delivered after this and is still heard: it was
        valid, and it may be an SOS.
        """
        ws, tap = self._ws, self._tap
        if ws is None or tap is None or tap.transport is None:
            return
        handshake: Any = ws.close_handshake  # None until a close was seen, whatever the stub says
        if self._is_open and handshake is not None and handshake.recv is not None:
            # Whatever follows a close is not read (section 1.4): answer the close, not what stands behind it.
            self._answer_close(_code_of(handshake.recv.code))
            self._is_dead = True
        elif self._is_open:
            self._say_close(code, reason, self._host.linger_s, is_dead=False)
        # The parser stands in the middle of nothing now; the bytes that still come are only let through so that the
        # socket is not reset before the peer has read why it is closed.
        tap.is_held = True
        tap.transport.set_protocol(Drain(tap.transport.get_protocol()))
        self._host.due_in(self, self._host.linger_s)

    def _fail(self, code: int, reason: str) -> None:
        self._say_close(code, reason, self._host.linger_s)

    def _say_close(self, code: int, reason: str, wait_s: float, *, is_dead: bool = True) -> None:
        if not self._is_open or self._ws is None:
            return
        self._is_open = False
        self._is_dead = is_dead
        self._assembler = None
        self._code = code
        self._ws.send_close(code, cut_reason(reason))  # type: ignore[arg-type]  # any integer is taken
        self._host.due_in(self, wait_s)

    def _answer_close(self, code: int | None) -> None:
        reply = close_reply(code)
        if not self._is_open or self._ws is None:
            return
        self._is_open = False
        self._is_dead = True
        self._code = NO_STATUS if code is None else (code if reply == code else PROTOCOL_ERROR)
        self._ws.send_close(reply)  # type: ignore[arg-type]  # any integer is taken

    def _finish(self) -> None:
        # Both closes are on the wire: the server closes the socket first (section 7.1.1), and drops it if the peer
        # does not even read.
        self._is_dead = True
        if self._tap is not None and self._tap.transport is not None:
            self._host.due_in(self, self._host.close_timeout_s)
            self._tap.transport.close()

    # -- the handler -------------------------------------------------------------------------------------

    def _deliver(self, payload: bytes) -> None:
        try:
            self._handler.on_message(payload)
        except Exception as error:  # noqa: BLE001 - A handler's error ends this connection, not the loop.
            self._handler_failed(error)

    def _ask(self, question: Callable[..., bool], *args: bytes | int) -> bool:
        try:
            return question(*args)
        except Exception as error:  # noqa: BLE001 - As above.
            self._handler_failed(error)
            return False

    def _tell(self, call: Callable[..., None], *args: bytes) -> None:
        try:
            call(*args)
        except Exception as error:  # noqa: BLE001 - As above.
            self._handler_failed(error)

    def _handler_failed(self, error: Exception) -> None:
        log.error("connection handler failed", exc_info=error)
        self._say_close(INTERNAL_ERROR, "internal error", self._host.close_timeout_s)


class Tap:
    """Stands between picows and a socket: as the transport it writes to and as the logger it complains to.

    Attributes:
        connection: Whose socket it is.
        transport: The real transport; None once the socket is gone.
        is_held: True while picows's own wish to close the socket is not granted.
    """

    __slots__ = ("connection", "is_held", "transport")

    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection
        self.transport: asyncio.Transport | None = None
        self.is_held = False

    # The transport. Only close differs; what picows calls often, it binds once.

    def __getattr__(self, name: str) -> Any:
        """Everything else is the real transport's."""
        return getattr(self.transport, name)

    def close(self) -> None:
        """Close the socket unless it lingers for the peer to read the close code."""
        if self.transport is not None and not self.is_held:
            self.transport.close()

    # The logger.

    def isEnabledFor(self, level: int) -> bool:
        """Nothing of picows's chatter is wanted."""
        return False

    def log(self, level: int, message: str, *args: object) -> None:
        """Dropped."""

    def debug(self, message: str, *args: object) -> None:
        """Dropped."""

    def info(self, message: str, *args: object) -> None:
        """Dropped: one line for each connection, with the peer's address in it."""

    def warning(self, message: str, *args: object) -> None:
        """Dropped: only pausing is told so, and that is counted elsewhere."""

    def error(self, message: str, *args: Any) -> None:
        """A parser error comes here before picows acts on it."""
        if message.startswith("WS parser error") and args:
            code, reason = args[0]
            self.connection.parser_failed(int(code.value), str(reason))
        else:
            log.error("picows: %s", message)

    def exception(self, message: str, *args: object) -> None:
        """Something that picows did not expect."""
        log.error("picows: %s", message, exc_info=sys.exc_info()[1])
        if message.startswith("WS parser failure"):
            self.connection.parser_failed(PROTOCOL_ERROR, "")


class SocketProtocol(WSProtocol):  # type: ignore[misc]  # untyped in the stub
    """picows's protocol with a ``Tap`` on its socket."""

    __slots__ = ("_wire",)

    def __init__(self, connection: WebSocketConnection, *, handshake_timeout_s: float, frame_bytes_max: int) -> None:
        tap = Tap(connection)
        super().__init__(
            None,  # host and port, for clients
            None,  # path, for clients
            False,  # is_client_side
            connection.upgrade,
            tap,
            True,  # disconnect_on_exception
            handshake_timeout_s,
            False,  # enable_auto_ping: swallows pongs and costs a task for each connection
            0,
            0,
            1,
            False,  # enable_auto_pong: answers without end a peer that does not read
            frame_bytes_max,
            None,  # extra headers, for clients
            _READ_BUFFER_BYTES,
        )
        self._wire = tap

    def connection_made(self, transport: asyncio.Transport) -> None:
        """A socket was accepted."""
        self._wire.transport = transport
        super().connection_made(self._wire)
        self._wire.connection.begin(self._wire)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        super().connection_lost(exc)
        self._wire.transport = None
        self._wire.connection.released()


class Drain(asyncio.BufferedProtocol):
    """Reads and forgets, so that a socket with a close code on its way is not reset; tells the former protocol of the
    end."""

    __slots__ = ("_former",)

    def __init__(self, former: asyncio.BaseProtocol) -> None:
        self._former = former

    def get_buffer(self, sizehint: int) -> memoryview:
        """The same scratch for all."""
        return _SCRATCH

    def buffer_updated(self, nbytes: int) -> None:
        """Forgotten."""

    def eof_received(self) -> bool:
        """The peer is done: close."""
        return False

    def pause_writing(self) -> None:
        """Nobody writes any more."""

    def resume_writing(self) -> None:
        """Nobody writes any more."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the former protocol end the connection."""
        self._former.connection_lost(exc)


def _code_of(code: Any) -> int | None:
    number = int(code.value)
    return number or None
