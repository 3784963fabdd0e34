"""The HTTP listener: aiohttp with deadlines for slow request heads, a bound on connections and TLS."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDictProxy

from transport.websocket_handshake import address_group, client_address, parse_networks

_log = logging.getLogger(__name__)
_HEAD_BYTES_MAX: Final = 16_384
"""Longest request line and longest header field."""


class _Handler(RequestHandler):
    """One connection that must send a whole request head in time."""

    __slots__ = ("_head_timeout_s", "_head_timer", "_listener")

    def __init__(self, listener: "HttpListener", server: web.Server, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._listener = listener
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_timeout_s = listener.header_timeout_s

    @property
    def is_answering(self) -> bool:
        """Whether a request is being handled or waits to be."""
        return self._current_request is not None or bool(self._messages)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock for the first head."""
        super().connection_made(transport)
        self._listener.opened(self)
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Stop the clock when a head is complete, start it when another has begun."""
        super().data_received(data)
        if self.is_answering:
            self._disarm()
        elif self._head_timer is None:
            self._arm()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._disarm()
        self._listener.closed(self)
        super().connection_lost(exc)

    def _arm(self) -> None:
        self._head_timer = asyncio.get_running_loop().call_later(self._head_timeout_s, self._late)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        self._head_timer = None
        if not self.is_answering:
            self.force_close()


class HttpListener:
    """Serves one aiohttp application on one address.

    Bounds: ``connections_max`` connections; for one more, the one that has been idle longest is closed, so that
    an SOS finds the door open even when others keep it busy.
    """

    def __init__(
        self,
        app: web.Application,
        *,
        host: str,
        port: int,
        header_timeout_s: float,
        idle_timeout_s: float,
        connections_max: int,
        drain_s: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare; nothing is bound before ``start``."""
        self._app = app
        self._host = host
        self._port = port
        self.header_timeout_s = header_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._connections_max = connections_max
        self._drain_s = drain_s
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._open: dict[_Handler, None] = {}
        self._look_again = asyncio.Event()

    @property
    def port(self) -> int:
        """The bound port. Raises ``RuntimeError`` before ``start``."""
        if self._server is None:
            raise RuntimeError("the listener is not started")
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Bind and serve. Raises ``OSError`` when the address is taken."""
        self._runner = web.AppRunner(self._app, access_log=None, handle_signals=False)
        await self._runner.setup()
        server = self._runner.server
        assert server is not None  # noqa: S101 - setup made it

        def connection() -> _Handler:
            return _Handler(
                self,
                server,
                keepalive_timeout=self._idle_timeout_s,
                access_log=None,
                max_line_size=_HEAD_BYTES_MAX,
                max_field_size=_HEAD_BYTES_MAX,
            )

        self._server = await asyncio.get_running_loop().create_server(
            connection, self._host, self._port, ssl=self._tls, backlog=1_024
        )

    async def stop(self) -> None:
        """Take no more requests, let those under way finish within the limit, close the rest. Idempotent."""
        if self._server is None or self._runner is None:
            return
        self._server.close()
        self._server = None
        try:
            async with asyncio.timeout(self._drain_s):
                while any(handler.is_answering for handler in self._open):
                    self._look_again.clear()
                    asyncio.get_running_loop().call_later(0.02, self._look_again.set)
                    await self._look_again.wait()
        except TimeoutError:
            _log.warning("requests were cut off", extra={"requests": sum(h.is_answering for h in self._open)})
        for handler in list(self._open):
            handler.force_close()
        await self._runner.cleanup()

    def opened(self, handler: _Handler) -> None:
        """Count a connection; make room when there are too many."""
        self._open[handler] = None
        if len(self._open) > self._connections_max:
            idle = next((other for other in self._open if other is not handler and not other.is_answering), None)
            (idle or handler).force_close()

    def closed(self, handler: _Handler) -> None:
        """A connection is gone."""
        self._open.pop(handler, None)


def address_of(trusted: tuple[str, ...]) -> Callable[[web.BaseRequest], str]:
    """Finds the group of addresses a request comes from, behind proxies that are trusted: the hub's own rule."""
    networks = parse_networks(trusted)

    def address(request: web.BaseRequest) -> str:
        return address_group(client_address(request.remote or "", _Headers(request.headers), networks))

    return address


class _Headers:
    """aiohttp's headers as ``transport`` reads them."""

    def __init__(self, headers: CIMultiDictProxy[str]) -> None:
        self._headers = headers

    def getall(self, key: str, default: list[str]) -> list[str]:
        return list(self._headers.getall(key, default))


def tls_context(cert_file: str, key_file: str) -> ssl.SSLContext | None:
    """TLS 1.2 or later from PEM files; None when none are named. Raises ``OSError`` or ``ssl.SSLError``."""
    if not cert_file:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert_file, key_file)
    return context
