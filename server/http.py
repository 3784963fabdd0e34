"""The HTTP listener: aiohttp with deadlines for slow request heads, a bound on connections and TLS."""

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from ipaddress import ip_address
from typing import Any, Final

from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict, CIMultiDictProxy

from api.app import SERVER
from server.sos_head import SosHead
from transport.websocket_handshake import address_group, client_address, parse_networks

_log = logging.getLogger(__name__)
_HEAD_BYTES_MAX: Final = 16_384
"""Longest request line and longest header field."""
_HEAD_END: Final = b"\r\n\r\n"
Refusal = Callable[[web.BaseRequest, BaseException | None], web.Response]


class _Handler(RequestHandler):
    """One connection that must send a whole request head in time.

    A body that cannot be taken apart (a broken chunk size) ends where it broke and is told by ``torn``. aiohttp alone
    would lose a request that arrives together with such a body, and let one wait that arrived before it.
    """

    __slots__ = (
        "_body",
        "_has_begun",
        "_head_timeout_s",
        "_head_timer",
        "_last",
        "_listener",
        "_sos_head",
        "group",
        "torn",
    )

    def __init__(self, listener: "HttpListener", server: web.Server, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._listener = listener
        make = self._request_factory
        assert make is not None  # noqa: S101 - the line above made it
        self._request_factory = partial(_plainly_expecting, make)
        self.group = ""
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_timeout_s = listener.header_timeout_s
        self._body: StreamReader = EMPTY_PAYLOAD
        """Of the newest request."""
        self._last = b""
        """The last three bytes received: a head may end in two pieces."""
        self._sos_head = SosHead()
        self._has_begun = False
        """Whether the parser has read a part of a head."""
        self.torn: tuple[StreamReader, bytes] | None = None
        """A body that broke, and the bytes in which it did."""

    @property
    def is_answering(self) -> bool:
        """Whether a request is being handled or waits to be."""
        return self._current_request is not None or bool(self._messages)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock for the first head."""
        super().connection_made(transport)
        name = transport.get_extra_info("peername")
        self.group = address_group(str(name[0])) if isinstance(name, tuple) else ""
        self._listener.opened(self)
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Stop the clock when a head is complete, start it when another has begun."""
        if not data or not (self._sos_head.is_holding or self._is_between):
            self._read(data)  # with nothing aiohttp asks itself to go on
        elif given := self._sos_head.take(data):
            self._read(given)
        if self.is_answering:
            self._disarm()
        elif self._head_timer is None:
            self._arm()

    @property
    def _is_between(self) -> bool:
        """Whether the next byte is the first one of a request."""
        return not self.is_answering and not self._has_begun and self._body.is_eof()

    def _read(self, data: bytes) -> None:
        """Let the parser read what may be read."""
        for piece in self._head_apart(data):
            super().data_received(piece)
            self._look_at(piece)
        if data:
            self._has_begun = not self.is_answering

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio asks whether to keep our side open
        """Nothing more comes; of the head of an SOS an SOS is made, and answered."""
        return self._end_head()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no request, or failed outside every handler."""
        refusal = self._listener.refusal
        if refusal is None or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        if status >= 500:
            _log.error("request failed outside its handler", exc_info=exc)
        else:
            # Anybody can send these without end: no line each in the log. The parser's own text holds what was sent,
            # and a tracker's secret may stand in that.
            _log.debug("not a request", extra={"reason": type(exc).__name__})
        answer = refusal(request, exc)
        answer.force_close()
        return answer

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; none names the version of what serves it."""
        if isinstance(resp, web.HTTPException):
            resp.__traceback__ = None  # its frames hold the answer itself: a circle, on every path nobody has
        if isinstance(resp, web.HTTPException) and self._listener.refusal is not None:
            resp = self._listener.refusal(request, resp)
        if not resp.prepared:
            resp.headers.setdefault("Server", SERVER)
        if self.torn is not None:
            resp.force_close()  # nobody knows where the next request would begin
        return await super().finish_response(request, resp, start_time)

    def _end_head(self) -> bool:
        """Take what there is of the head of an SOS for all of it; False when there is none.

        Of its body nothing is waited for: whatever came of that stands behind the head already.
        """
        if not self._sos_head.is_holding:
            return False
        self._read(self._sos_head.rest())
        if self.is_answering and not self._body.is_eof():
            self.torn = (self._body, b"")
            self._body.feed_eof()
            self.close()
        return self.is_answering

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Not to be closed for a newcomer meanwhile."""
        self._listener.keep(self)
        try:
            yield
        finally:
            self._listener.let_go(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._disarm()
        self._listener.closed(self)
        super().connection_lost(exc)
        self._body = EMPTY_PAYLOAD  # the body holds its connection

    def _head_apart(self, data: bytes) -> tuple[bytes, ...]:
        """The end of a head, and what follows it. Pipelined requests are not cut: no client of ours sends them."""
        seen = self._last + data
        at = -1 if self.is_answering else seen.find(_HEAD_END)
        end = at + len(_HEAD_END) - len(self._last)
        self._last = seen[-3:]
        return (data,) if at < 0 or end >= len(data) else (data[:end], data[end:])

    def _look_at(self, piece: bytes) -> None:
        """Keep the newest body; when it broke in this piece, end it there."""
        if not self._messages:
            return
        message, payload = self._messages[-1]
        if isinstance(message, RawRequestMessage):
            self._body = payload
            return
        if message.exc is not None:
            message.exc.__traceback__ = None  # its frames hold this connection, which holds it
        if not self._body.is_eof():
            self._messages.pop()
            self.torn = (self._body, piece)
            self._body.feed_eof()
            self.close()

    def _arm(self) -> None:
        self._head_timer = asyncio.get_running_loop().call_later(self._head_timeout_s, self._late)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _late(self) -> None:
        self._head_timer = None
        if not self._end_head() and not self.is_answering:
            self.force_close()


def _plainly_expecting(make: Callable[..., web.BaseRequest], message: RawRequestMessage, *rest: Any) -> web.BaseRequest:
    """A request without an expectation that nobody knows: aiohttp refuses those, and fails on one that is no text.

    Source: RFC 9110 section 10.1.1, which leaves it to the server; an SOS must not be refused for it.
    """
    if message.headers.get("Expect", "100-continue").lower() != "100-continue":
        headers = CIMultiDict(message.headers)
        del headers["Expect"]
        message = message._replace(headers=CIMultiDictProxy(headers))
    return make(message, *rest)


class HttpListener:
    """Serves one aiohttp application on one address.

    Bounds: ``connections_max`` connections; for one more, the one is closed that has gone longest without asking with
    a good token (idle, or not done with its head, or nobody's), so that an SOS finds the door open even when others
    keep it busy. The same for ``connections_per_address_max`` of one address, where trusted proxies and this machine
    do not count.

    Cost: O(1) for each connection and request; O(connections) for one beyond its address' bound.
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
        connections_per_address_max: int | None = None,
        trusted_proxies: tuple[str, ...] = (),
        drain_s: float,
        tls: ssl.SSLContext | None = None,
        refusal: Refusal | None = None,
    ) -> None:
        """Prepare; nothing is bound before ``start``.

        ``refusal`` answers what no handler of ``app`` has seen; None leaves it to aiohttp, in plain text.
        """
        self._app = app
        self._host = host
        self._port = port
        self.header_timeout_s = header_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._connections_max = connections_max
        self._per_address_max = connections_per_address_max
        self._is_proxy = proxy_test(trusted_proxies)
        self._counts: Counter[str] = Counter()
        self._waiting: dict[_Handler, None] = {}
        """Connections that may be closed for a newcomer, the longest waiting first."""
        self._drain_s = drain_s
        self._tls = tls
        self.refusal = refusal
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
                auto_decompress=False,  # else an SOS whose `Content-Encoding` is wrong would be no request at all
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
        self._counts[handler.group] += 1
        is_many = self._per_address_max is not None and self._counts[handler.group] > self._per_address_max
        if is_many and not self._is_proxy(handler.group):
            self._close_one((other for other in self._waiting if other.group == handler.group), handler)
        elif len(self._open) > self._connections_max:
            self._close_one(iter(self._waiting), handler)
        if handler in self._open:
            self._waiting[handler] = None

    def _close_one(self, waiting: Iterator[_Handler], newcomer: _Handler) -> None:
        handler = next(waiting, newcomer)
        self.closed(handler)  # counted out at once: the transport tells of it a turn of the loop later
        handler.force_close()

    def keep(self, handler: _Handler) -> None:
        """Do not close this one for a newcomer."""
        self._waiting.pop(handler, None)

    def let_go(self, handler: _Handler) -> None:
        """It may be closed for a newcomer again, after all that wait already."""
        if handler in self._open:
            self._waiting[handler] = None

    def closed(self, handler: _Handler) -> None:
        """A connection is gone. Idempotent."""
        self._waiting.pop(handler, None)
        if handler not in self._open:
            return
        del self._open[handler]
        self._counts[handler.group] -= 1
        if not self._counts[handler.group]:
            del self._counts[handler.group]


def keeping(request: web.BaseRequest) -> AbstractContextManager[None]:
    """Keeps the connection of a request open against newcomers while it is answered; see ``api.app.make_app``."""
    protocol = request.protocol
    return protocol.kept() if isinstance(protocol, _Handler) else nullcontext()


def torn(request: web.BaseRequest) -> bytes | None:
    """The bytes in which a request's body broke, as they came; None for one that did not. See ``api.app.make_app``."""
    protocol = request.protocol
    broken = protocol.torn if isinstance(protocol, _Handler) else None
    return broken[1] if broken is not None and broken[0] is request.content else None


def proxy_test(trusted: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether an address is a trusted proxy's or this machine's: many people may stand behind it."""
    networks = parse_networks(trusted)

    def is_proxy(address: str) -> bool:
        try:
            ip = ip_address(address.partition("/")[0])
        except ValueError:
            return True  # a socket without an address, in tests
        return ip.is_loopback or any(ip in network for network in networks)

    return is_proxy


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
