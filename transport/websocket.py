"""The hub's socket: accepts WebSockets, counts them, lets them in or says why not, and keeps their deadlines.

Frames and closing are in ``websocket_connection``, the judgement of a request in ``websocket_handshake``. What is
said over a connection is the acceptor's business.
"""

import asyncio
import json
import logging
import socket
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from ssl import SSLContext
from typing import Any

from picows import WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener

from core.errors import DoorstepError
from realtime.ports import Acceptor, ConnectionHandler
from transport.settings import WebSocketSettings
from transport.websocket_connection import NoQueue, ReadyQueue, SocketProtocol, WebSocketConnection
from transport.websocket_frames import frame_bytes_max
from transport.websocket_handshake import (
    SUBPROTOCOLS,
    Agreement,
    Refusal,
    address_group,
    client_address,
    examine,
    parse_networks,
)

log = logging.getLogger(__name__)

_SWEEP_S = 0.05
"""How late a deadline may be noticed: one timer serves all that fall into this time."""

_SOCKETS_SPARE = 256
"""Sockets beyond ``connections_max`` that may be open to be told 503; more are dropped unheard."""


class WebSocketListener:
    """Listens on one address.

    Args:
        acceptor: Takes the connections.
        settings: Where, whom, how long.
        ssl: TLS in process; costs 30 KiB a connection, so a proxy is the better place.
        subprotocols: What is spoken, the default first; empty for an endpoint that takes any frame without a
            subprotocol (the conformance tests' echo).
        interleaved: Run before each frame, so that nothing ready waits for a pass over thousands of sockets; None
            leaves it to the loop's own turns.
    """

    def __init__(
        self,
        acceptor: Acceptor,
        settings: WebSocketSettings,
        *,
        ssl: SSLContext | None = None,
        subprotocols: Sequence[str] = SUBPROTOCOLS,
        interleaved: ReadyQueue | None = None,
    ) -> None:
        self._acceptor = acceptor
        self._settings = settings
        self._ssl = ssl
        self._subprotocols = tuple(subprotocols)
        self._trusted = parse_networks(settings.trusted_proxies)
        self._server: asyncio.AbstractServer | None = None
        self._socket: socket.socket | None = None
        self._sockets = 0
        self._connections: set[WebSocketConnection] = set()
        self._addresses: Counter[str] = Counter()
        self._due: dict[WebSocketConnection, float] = {}
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None
        self._is_stopping = False
        self.refused: Counter[str] = Counter()
        """Upgrades refused, by code; ``dropped`` counts sockets closed unheard."""
        self.closed: Counter[int] = Counter()
        """Connections ended, by close code."""
        # Read by every connection, so copied out of the settings.
        self.message_bytes_max = settings.message_bytes_max
        self.write_high_bytes = settings.write_high_bytes
        self.close_timeout_s = settings.close_timeout_s
        self.linger_s = settings.linger_s
        self.message_timeout_s = settings.message_timeout_s
        self.interleaved: ReadyQueue = NoQueue() if interleaved is None else interleaved

    @property
    def port(self) -> int:
        """The bound port."""
        if self._socket is None:
            raise RuntimeError("the listener is not started")
        return int(self._socket.getsockname()[1])

    @property
    def connections(self) -> int:
        """How many are open now (upgraded, closing included)."""
        return len(self._connections)

    @property
    def sockets(self) -> int:
        """How many sockets are open now, handshakes included."""
        return self._sockets

    async def start(self) -> None:
        """Bind and listen.

        Raises:
            OSError: The address is taken or not ours.
        """
        settings = self._settings
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=settings.backlog)
        try:
            if settings.send_buffer_bytes:
                # Inherited by accepted sockets. Left alone, the kernel would take megabytes for a reader that stalls.
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.send_buffer_bytes)
            if settings.receive_buffer_bytes:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, settings.receive_buffer_bytes)
            listening.setblocking(False)
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(
                self._make_protocol, sock=listening, backlog=settings.backlog, ssl=self._ssl
            )
        except BaseException:
            listening.close()
            raise
        self._socket = listening
        self._is_stopping = False

    def stop_accepting(self) -> None:
        """Take no new connections; those that are open live on. The first step of a drain."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def stop(self) -> None:
        """Close everything (1001 to who is still connected) and wait until it is gone, at most the close timeout."""
        self.stop_accepting()
        self._is_stopping = True
        for connection in list(self._connections):
            connection.close(1001, "going away")
        if self._sockets:
            self._emptied = asyncio.get_running_loop().create_future()
            _, late = await asyncio.wait([self._emptied], timeout=self.close_timeout_s + self._settings.linger_s)
            if late:
                for connection in list(self._connections):
                    connection.abort()
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        self._due.clear()

    # -- what connections need (websocket_connection.Host) -------------------------------------------------

    def upgrade(self, connection: WebSocketConnection, request: WSUpgradeRequest) -> Any:
        """Answer an upgrade request."""
        try:
            verdict = self._judge(connection, request)
        except Exception:  # picows would put the exception's text into the answer
            log.exception("upgrade failed")
            verdict = Refusal(500, "internal", "internal error")
        if isinstance(verdict, Refusal):
            self.refused[verdict.code] += 1
            return WSUpgradeResponseWithListener(_error_response(verdict), None)
        # Firefox sends `keep-alive, Upgrade`; picows compares the whole value.
        request.headers["Connection"] = "Upgrade"
        headers = {"Sec-WebSocket-Protocol": verdict.subprotocol} if verdict.is_named else {}
        return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(headers), connection)

    def _judge(self, connection: WebSocketConnection, request: WSUpgradeRequest) -> Agreement | Refusal:
        verdict = examine(request.path, request.headers, self._settings, self._subprotocols)
        if isinstance(verdict, Refusal):
            return verdict
        address = client_address(connection.socket_address, request.headers, self._trusted)
        if self._is_stopping:
            return Refusal(503, "draining", "the server is going away", {"Retry-After": "1"})
        if len(self._connections) >= self._settings.connections_max:
            return Refusal(503, "too_many_connections", "the hub is full", {"Retry-After": "5"})
        if self._addresses[address_group(address)] >= self._settings.connections_per_address_max:
            return Refusal(429, "too_many_from_address", "too many connections from one address", {"Retry-After": "5"})
        error = self._acceptor.admit(address)
        if error is not None:
            return _refusal_of(error)
        self._addresses[address_group(address)] += 1
        connection.agree(verdict.subprotocol, address)
        return verdict

    def opened(self, connection: WebSocketConnection) -> ConnectionHandler:
        """The handshake is complete."""
        self._connections.add(connection)
        return self._acceptor.connected(connection)

    def released(self, connection: WebSocketConnection) -> None:
        """A socket is gone."""
        self._sockets -= 1
        if connection in self._connections:
            self._connections.discard(connection)
            self.closed[connection.close_code or 1006] += 1
        if connection.address:
            group = address_group(connection.address)
            self._addresses[group] -= 1
            if not self._addresses[group]:
                del self._addresses[group]
        if not self._sockets and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def due_in(self, connection: WebSocketConnection, delay_s: float | None) -> None:
        """Set or forget a connection's deadline."""
        if delay_s is None:
            self._due.pop(connection, None)
            return
        loop = asyncio.get_running_loop()
        due = self._due[connection] = loop.time() + delay_s
        if self._sweep_timer is not None:
            if self._sweep_timer.when() <= due + _SWEEP_S:
                return
            self._sweep_timer.cancel()
        self._sweep_timer = loop.call_later(max(_SWEEP_S, delay_s), self._sweep)

    def _sweep(self) -> None:
        # One timer for all, and none while nobody is closing or sending fragments.
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in [connection for connection, due in self._due.items() if due <= now]:
            del self._due[connection]
            connection.on_due()
        self._sweep_timer = None
        if self._due:
            self._sweep_timer = loop.call_later(max(_SWEEP_S, min(self._due.values()) - now), self._sweep)

    def _make_protocol(self) -> asyncio.BaseProtocol:
        connection = WebSocketConnection(self)
        self._sockets += 1
        protocol: asyncio.BaseProtocol = SocketProtocol(
            connection,
            handshake_timeout_s=self._settings.handshake_timeout_s,
            frame_bytes_max=frame_bytes_max(self._settings.message_bytes_max),
        )
        return protocol

    def accepted(self, connection: WebSocketConnection) -> None:
        """A socket was accepted, before its first byte."""
        if self._sockets > self._settings.connections_max + _SOCKETS_SPARE:
            self.refused["dropped"] += 1
            connection.abort()


def _refusal_of(error: DoorstepError) -> Refusal:
    status = 429 if error.code.startswith("too_many") or error.code == "rate_limited" else 503
    return Refusal(status, error.code, error.message, {"Retry-After": "5"})


def _error_response(refusal: Refusal) -> WSUpgradeResponse:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "code": refusal.code,
        "detail": refusal.message,
    }
    headers = {"Content-Type": "application/problem+json", "Cache-Control": "no-store", **refusal.headers}
    response: WSUpgradeResponse = WSUpgradeResponse.create_error_response(
        refusal.status, json.dumps(body).encode(), headers
    )
    return response
