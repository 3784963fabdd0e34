"""The HTTP edge put together: ``Api`` answers requests as plain values, ``make_app`` wraps it for aiohttp.

The order of things in one request: request id, token, role, body, handler, error. Nothing else knows aiohttp but
this file and ``server``.
"""

import asyncio
import inspect
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Final, cast

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from api.auth import authenticate, check_fresh, check_route, check_scope
from api.content_coding import decoded
from api.errors import MESSAGE_LEN_MAX, problem, undecodable
from api.exchange import Access, Handler, PublicHandler, Request, Response, Route, check_query
from api.limits import RequestLimits
from api.plain_text import refuse_control_characters
from core.clock import Clock
from core.errors import DoorstepError, Invalid, NotFound, Refused, Unavailable
from core.ids import IdSource
from core.members import repeated_member
from core.principal import Principal
from realtime.ports import Authenticator
from safety.alarms import has_alarm

_log = logging.getLogger(__name__)

REQUEST_PREFIX: Final = "req_"
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{8,64}")
request_id_now: ContextVar[str] = ContextVar("request_id_now", default="")
"""The request being answered, for log lines."""
Observe = Callable[[str, int, float], None]
"""Told (route name, status, seconds) of each request."""
Keeping = Callable[[web.BaseRequest], AbstractContextManager[None]]
Torn = Callable[[web.BaseRequest], bytes | None]
"""What nobody could take apart of a body that arrived broken, as it came; None when the body is not broken."""
Refusal = Callable[[web.BaseRequest, BaseException | None], web.Response]
"""The answer to what ended in an error before or outside any handler."""
SERVER: Final = "doorstep"
"""What every answer says of what serves it; never a version."""
_SECURITY: Final = {
    "Server": SERVER,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class Api:
    """Every route with what is done around its handler."""

    def __init__(
        self,
        routes: Sequence[Route],
        tokens: Authenticator,
        clock: Clock,
        ids: IdSource,
        limits: RequestLimits,
        fresh_s: float,
    ) -> None:
        """Keep the table and what it needs; decoders are built once. ``fresh_s``: see ``api.auth.check_fresh``."""
        self.refusals: Counter[str] = Counter()
        """Requests that were refused, by code."""
        self._fresh_s = fresh_s
        self.routes = tuple(routes)
        self._by_name = {route.name: route for route in routes}
        self._tokens = tokens
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self._decoders = {route.name: msgspec.json.Decoder(route.body) for route in routes if route.body is not None}

    def route(self, name: str) -> Route:
        """The route of that name. Raises ``KeyError``."""
        return self._by_name[name]

    def request_id(self, given: str | None) -> str:
        """The client's own request id where it is one, else a new one."""
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given
        return self._ids.new(REQUEST_PREFIX)

    def now(self) -> float:
        """UTC epoch seconds."""
        return self._clock.now()

    def monotonic(self) -> float:
        """For measuring how long a request took."""
        return self._clock.monotonic()

    async def answer(self, route: Route, request: Request) -> Response:
        """Answer one request; every error becomes problem+json, none is raised."""
        token = request_id_now.set(request.request_id)
        try:
            response = await self._answer(route, request)
        except DoorstepError as error:
            response = self.refusal(error, request.request_id)
        except Exception:  # noqa: BLE001 - the edge where unknown failures end
            # An edge: the client is told `internal` and nothing else.
            _log.exception("request failed", extra={"route": route.name})
            response = problem(DoorstepError("the server failed on this request"), request.request_id)
        finally:
            request_id_now.reset(token)
        if route.location and "Cache-Control" not in response.headers:
            response = replace(response, headers={**response.headers, "Cache-Control": "no-store"})
        return response

    def refusal(self, error: DoorstepError, request_id: str) -> Response:
        """The answer to a refused request, which is counted."""
        self.refusals[error.code] += 1
        return problem(error, request_id)

    def admit(self, route: Route, request: Request) -> Principal | None:
        """Who asks, by the headers alone; None on a public route. Raises ``DoorstepError``."""
        if route.access is Access.PUBLIC:
            self._limits.unknown(request.peer, request.now)
            return None
        if route.access is Access.TRACKER:
            assert route.caller is not None  # noqa: S101 - of the table
            return route.caller(request)
        try:
            who = authenticate(route, request.headers, self._tokens, request.now)
        except Refused:
            if route.access is not Access.LENIENT:
                self._limits.unknown(request.peer, request.now)
            raise
        check_scope(route, who, request.path)
        check_fresh(route, who, request.now, self._fresh_s)
        return who

    async def _answer(self, route: Route, request: Request) -> Response:
        who = self.admit(route, request)
        if who is None or route.access is Access.TRACKER:
            if route.body is not None:
                request = replace(request, data=self._decode(route, request.body))
            return await _awaited(cast(PublicHandler, route.handler)(request))
        if route.access is Access.ALARM:
            assert route.alarm is not None  # noqa: S101 - of the table
            if has_alarm(request.body):
                return await route.alarm(who, request, lambda: self._checked(route, who, request))
            check_route(route, who)
        return await self._handled(route, who, request)

    async def _checked(self, route: Route, who: Principal, request: Request) -> Response:
        check_route(route, who)
        return await self._handled(route, who, request)

    async def _handled(self, route: Route, who: Principal, request: Request) -> Response:
        """What is done for a caller who may call the route. Raises ``DoorstepError``."""
        if route.access is not Access.LENIENT:
            self._limits.known(who, request.now)
        if route.query:
            check_query(request, route.query)
        if route.body is not None:
            request = replace(request, data=self._decode(route, request.body))
        return await _awaited(cast(Handler, route.handler)(who, request))

    def _decode(self, route: Route, body: bytes) -> Any:
        try:
            data = self._decoders[route.name].decode(body or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise undecodable(error, route.body, body) from None
        if not route.is_batch and (name := repeated_member(body)) is not None:
            raise Invalid("holds a member twice", code="member_repeated", field=name[:MESSAGE_LEN_MAX])
        refuse_control_characters(data)
        return data


async def _awaited(outcome: Awaitable[Response] | Response) -> Response:
    return await outcome if inspect.isawaitable(outcome) else outcome


def make_app(
    api: Api,
    *,
    body_bytes_max: int,
    body_timeout_s: float,
    peer_of: Callable[[web.BaseRequest], str],
    observe: Observe,
    keeping: Keeping,
    torn: Torn,
    stream_timeout_s: float,
) -> web.Application:
    """The aiohttp application.

    Args:
        api: What answers.
        body_bytes_max: Largest body; a longer one is answered 413, of an SOS the beginning is read.
        body_timeout_s: Seconds for a body to arrive.
        peer_of: The client's address behind trusted proxies.
        observe: Told of each finished request.
        keeping: Keeps a request's connection open while it is answered: it is from somebody with a good token.
        torn: Tells a broken body from a whole one.
        stream_timeout_s: Seconds for an answer that is made while it is read.
    """
    bodies = _Bodies(body_bytes_max, body_timeout_s, torn)
    app = web.Application(client_max_size=body_bytes_max, middlewares=[_problems(api)])
    for route in sorted(api.routes, key=lambda route: "{" in route.path):
        handle = _wrapped(api, route, bodies, peer_of, observe, keeping, stream_timeout_s)
        app.router.add_route(route.method, route.path.replace("{path}", "{path:.+}"), handle)
        if route.path.endswith("/") and route.path != "/":
            app.router.add_route(route.method, route.path.rstrip("/"), _moved(route.path))
        if route.access is Access.LENIENT:
            app.router.add_route(route.method, f"{route.path}/", handle)  # nobody in need looks for a slash too many
    return app


def make_refusal(api: Api) -> Refusal:
    """How the listener answers what never reached a handler: a head that is not HTTP, a failure of the framework."""

    def refusal(http: web.BaseRequest, error: BaseException | None) -> web.Response:
        request_id = api.request_id(http.headers.get("X-Request-Id"))
        return _response(problem(_named(error), request_id), request_id)

    return refusal


def _wrapped(
    api: Api,
    route: Route,
    bodies: "_Bodies",
    peer_of: Callable[[web.BaseRequest], str],
    observe: Observe,
    keeping: Keeping,
    stream_timeout_s: float,
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    is_private = route.access is not Access.PUBLIC

    async def handle(http: web.Request) -> web.StreamResponse:
        began = api.monotonic()
        answered: web.StreamResponse | None = None
        request_id = api.request_id(http.headers.get("X-Request-Id"))
        request = Request(
            now=api.now(),
            request_id=request_id,
            path=dict(http.match_info),
            query=dict(http.query),
            raw_query=http.raw_path.partition("?")[2],
            repeated=_repeated(http.query.items()),
            headers={name.lower(): value for name, value in http.headers.items()},
            peer=peer_of(http),
        )
        try:
            # By the headers alone: nobody's body is waited for before we know who they are.
            with keeping(http) if is_private and api.admit(route, request) is not None else nullcontext():
                if is_private or route.body is not None:
                    body = await bodies.of(http, route)
                    request = replace(request, now=api.now(), body=body)
                response = await api.answer(route, request)
                if response.rest is not None:
                    answered = await _streamed(http, response, request_id, stream_timeout_s)
        except DoorstepError as error:
            response = api.refusal(error, request_id)
        took_s = api.monotonic() - began
        observe(route.name, response.status, took_s)
        _log.debug(
            "request answered",
            extra={"route": route.name, "status": response.status, "request_id": request_id, "took_ms": took_s * 1000},
        )
        return answered or _response(response, request_id)

    return handle


def _moved(path: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Whoever types a page's address leaves the last slash out; its files lie below it."""

    async def handle(http: web.Request) -> web.StreamResponse:
        del http
        return web.Response(status=308, headers={**_SECURITY, "Location": path})

    return handle


def _repeated(query: Collection[tuple[str, str]]) -> tuple[str, ...]:
    """Which names a query holds more than once, by its items: its keys are told once each."""
    times = Counter(name for name, _ in query) if len(query) > 1 else {}
    return tuple(name for name, count in times.items() if count > 1)


async def _streamed(http: web.Request, response: Response, request_id: str, timeout_s: float) -> web.StreamResponse:
    """Send an answer while it is being made. What fails on the way ends torn: the last chunk never comes."""
    assert response.rest is not None  # noqa: S101 - asked by the caller
    answered = web.StreamResponse(status=response.status, headers=_headers(response, request_id))
    async with aclosing(response.rest) as rest:
        try:
            async with asyncio.timeout(timeout_s):
                await answered.prepare(http)
                await answered.write(response.body)
                async for chunk in rest:
                    await answered.write(chunk)
                await answered.write_eof()
        except Exception as error:  # noqa: BLE001 - the status is sent: whatever it is, only the connection can tell
            _log.warning("an answer was cut off", extra={"request_id": request_id, "reason": repr(error)})
            if http.transport is not None:
                http.transport.abort()
    return answered


_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LOOKED_AT_BYTES_MAX: Final = 16_384
"""A longer body is not asked whether it is whole: each asking reads all of it, and a body may come byte by byte."""
PUBLIC_BODY_BYTES_MAX: Final = 16_384
"""Longest body of somebody who is nobody yet: a code or a link's token."""
SOS_BODY_WAIT_S: Final = 2.0
"""Longest wait for the rest of an SOS's body; what has come by then is the report."""


_MAY_BE_ALARM: Final[dict[Access, Callable[[bytearray], bool]]] = {
    **dict.fromkeys(Access, lambda _: False),
    Access.ALARM: has_alarm,
    # Their forms are many, and what follows reads them with more care.
    Access.TRACKER: lambda body: b"alarm" in body,
}
"""Whether what came of a body that cannot be taken whole is to be handled all the same."""


class _Bodies:
    """Reads bodies of requests, bounded in bytes and time."""

    def __init__(self, bytes_max: int, timeout_s: float, torn: Torn) -> None:
        self._bytes_max = bytes_max
        self._timeout_s = timeout_s
        self._torn = torn

    async def of(self, http: web.Request, route: Route) -> bytes:
        """The body as the route takes it. Raises ``DoorstepError``, never for what may be an alarm."""
        if route.raw_body:
            return await self.salvaged(http)
        received = bytearray()
        bytes_max = route.body_bytes_max or self._bytes_max
        try:
            if route.access is Access.PUBLIC:
                bytes_max = min(bytes_max, PUBLIC_BODY_BYTES_MAX)
            return await self._whole(http, received, bytes_max, route.body_timeout_s or self._timeout_s)
        except DoorstepError:
            if _MAY_BE_ALARM[route.access](received):
                return bytes(received[:bytes_max])
            raise

    async def _whole(self, http: web.Request, received: bytearray, bytes_max: int, timeout_s: float) -> bytes:
        """The body. Raises ``DoorstepError`` for one that is too long, late or broken; ``received`` has what came."""
        try:
            async with asyncio.timeout(timeout_s):
                async for chunk in http.content.iter_any():
                    received += chunk
                    if len(received) > bytes_max:
                        raise Refused(f"the body is larger than {bytes_max} bytes", code="too_large")
        except TimeoutError:
            raise Unavailable("the body did not arrive in time", code="body_timeout") from None
        except (web.RequestPayloadError, ConnectionError):
            raise Invalid("the body broke off", code="malformed") from None
        if self._torn(http) is not None:
            raise Invalid("the body is broken", code="malformed")
        return decoded(bytes(received), _coding(http), bytes_max)

    async def salvaged(self, http: web.Request) -> bytes:
        """Whatever came of an SOS, readable or not, as far as the limits go. Nothing in it may refuse the alarm.

        Of a body that broke, the bytes behind the break are added as they came: ``safety/intake.py`` searches them.
        """
        received = bytearray()
        with suppress(TimeoutError, web.RequestPayloadError, ConnectionError):
            async with asyncio.timeout(min(self._timeout_s, SOS_BODY_WAIT_S)):
                async for chunk in http.content.iter_any():
                    received += chunk
                    if len(received) > self._bytes_max or _is_whole(received):
                        break
        received += self._torn(http) or b""
        body = bytes(received[: self._bytes_max])
        try:
            return decoded(body, _coding(http), self._bytes_max, whole=False)
        except DoorstepError:
            return body


def _is_whole(body: bytearray) -> bool:
    """Whether this is a JSON object already, whatever length was promised: help must not wait for nothing."""
    if len(body) > _LOOKED_AT_BYTES_MAX or not body.rstrip().endswith(b"}"):
        return False
    try:
        _OBJECT.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _coding(http: web.Request) -> str:
    return http.headers.get("Content-Encoding", "")


def _headers(response: Response, request_id: str) -> dict[str, str]:
    return {**_SECURITY, "X-Request-Id": request_id, **response.headers, "Content-Type": response.content_type}


def _response(response: Response, request_id: str) -> web.Response:
    return web.Response(status=response.status, body=response.body, headers=_headers(response, request_id))


def _problems(api: Api) -> Any:
    """What aiohttp itself refuses (no such path, wrong method) looks like every other refusal."""

    @web.middleware
    async def middleware(
        http: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return await handler(http)
        except web.HTTPException as refusal:
            refusal.__traceback__ = None  # it is answered; its route holds it, and its frames hold the request
            request_id = api.request_id(http.headers.get("X-Request-Id"))
            answered = _response(problem(_named(refusal), request_id), request_id)
            if isinstance(refusal, web.HTTPMethodNotAllowed):
                answered.headers["Allow"] = refusal.headers["Allow"]
            return answered

    return middleware


def _named(error: BaseException | None) -> DoorstepError:
    """An error of the framework as one of ours."""
    if isinstance(error, LineTooLong):
        return Refused("the request line or a header field is too long", code="head_too_large")
    if isinstance(error, HttpProcessingError):
        return Invalid("this is not an HTTP request", code="malformed")
    if isinstance(error, web.HTTPMethodNotAllowed):
        return Refused("this path knows other methods", code="method_not_allowed")
    if isinstance(error, web.HTTPNotFound):
        return NotFound("there is no such path")
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return Refused("the body is too large", code="too_large")
    if isinstance(error, web.HTTPClientError):
        return Invalid("the request cannot be read", code="malformed")
    return DoorstepError("the server failed on this request")
