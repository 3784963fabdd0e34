"""One HTTP request and its answer as plain values, and a row of the route table. Knows no web framework.

A handler is ``(principal, request) -> response``; ``app.py`` wraps it for aiohttp, the simulator calls it as it is.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum
from typing import Any

import msgspec

from core.errors import Invalid
from core.principal import Principal, Role

_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks.

    Attributes:
        now: UTC epoch seconds at which it was received.
        request_id: Told in the answer and in every log line about it.
        path: Variable parts of the path.
        query: Query parameters, each with its first value.
        raw_query: The query as it came.
        repeated: Names of those that were given more than once.
        headers: Header fields by lower-case name.
        body: The raw body.
        data: The body decoded into the route's struct, None for routes without one.
        peer: The client's address; for limits, never for logs.
    """

    now: float
    request_id: str = ""
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    raw_query: str = ""
    repeated: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    data: Any = None  # the struct named by the route; checked there
    peer: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """What the server answers.

    Attributes:
        rest: What follows ``body``, made while it is being read. Whoever takes the answer must ``aclose`` it, also
            without having read it: it holds a place among a bounded number.
    """

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    rest: AsyncGenerator[bytes, None] | None = None


def answer(value: object, status: int = 200, **headers: str) -> Response:
    """A JSON answer; header names are written with ``_`` for ``-``."""
    named = {name.replace("_", "-").title(): text for name, text in headers.items()}
    return Response(status, _encoder.encode(value), headers=named)


Handler = Callable[[Principal, Request], Awaitable[Response] | Response]
AlarmHandler = Callable[[Principal, Request, Callable[[], Awaitable[Response]]], Awaitable[Response]]
"""Raises the alarms of a body, then calls the third argument for what the route does without them."""
PublicHandler = Callable[[Request], Awaitable[Response] | Response]
Caller = Callable[[Request], Principal | None]
"""Who asks, by the head alone; None where only the body may tell. Raises ``DoorstepError`` for nobody."""


class Access(Enum):
    """How a caller proves who they are."""

    TOKEN = "token"  # noqa: S105 - a word, not a secret
    LENIENT = "lenient"
    """A genuine token that expired recently is enough, and no limit refuses: SOS, and answers to check-ins."""
    ALARM = "alarm"
    """As ``TOKEN``; but a body that carries a tracker's alarm is taken as ``LENIENT``, of every role."""
    TRACKER = "tracker"
    """An app of others, known by its device's secret in whatever form its protocol has (``Route.caller``)."""
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class Param:
    """One query parameter."""

    name: str
    kind: str
    """number, integer or string."""
    about: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the route table: the whole authorisation of a route stands here and in its handler's own check.

    Attributes:
        who: Roles that may call it at all; whose things they reach is ``scope``.
        scope: In words, which things a role reaches; everything else is answered like an absent one.
        location: Whether answers hold positions or addresses: then nobody may cache them.
        body: Struct that decodes the body; None for none.
        result: Struct that the answer holds, for the documents.
        fresh: Whether the caller must have signed in lately: who finds a console open must not take away where people
            have been.
        for_order: Whether a token of one order (``Principal.order``) may call it; below ``/v1/orders`` for that order.
    """

    name: str
    method: str
    path: str
    who: frozenset[Role]
    scope: str
    summary: str
    handler: Handler | PublicHandler
    access: Access = Access.TOKEN
    body: Any = None  # a type, also a union
    result: Any = None
    status: int = 200
    query: tuple[Param, ...] = ()
    location: bool = False
    idempotency_key: bool = False
    raw_body: bool = False
    is_batch: bool = False
    """Whether the body is a batch of positions, which is not searched for members given twice."""
    alarm: AlarmHandler | None = None
    """Who takes a body with an alarm; only with ``Access.ALARM``."""
    caller: Caller | None = None
    """Says who asks; only with ``Access.TRACKER``."""
    body_bytes_max: int | None = None
    """Largest body where it is not the listener's ``http.body_bytes_max``."""
    body_timeout_s: float | None = None
    """Seconds for the body where they are not those of the listener; only where the head tells who asks."""
    is_listing: bool = False
    """Whether it also answers as CSV."""
    fresh: bool = False
    for_order: bool = False


def number(request: Request, name: str, low: float, high: float, default: float | None = None) -> float:
    """A query parameter as a number between two bounds.

    Raises:
        Invalid: It is missing without a default, no number, or out of bounds.
    """
    text = request.query.get(name)
    if text is None:
        if default is None:
            raise Invalid(f"{name} is required", field=name)
        return default
    try:
        value = float(text) if len(text) <= 64 else float("nan")
    except ValueError:
        value = float("nan")
    if not low <= value <= high:  # also refuses NaN
        raise Invalid(f"{name} must be a number between {low:g} and {high:g}", field=name)
    return value


def check_query(request: Request, known: Sequence[Param]) -> None:
    """Refuse what would be passed over: a parameter that the route does not have, or the second of one name.

    A filter that does not count answers another question than the one that was asked. No route takes several values.

    Raises:
        Invalid: ``parameter_unknown``, with the nearest name that there is; ``parameter_repeated``.
    """
    names = [param.name for param in known]
    for name in request.query:
        if name not in names:
            near = get_close_matches(name, names, 1, cutoff=0.0)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise Invalid(f"there is no such parameter here{hint}", code="parameter_unknown", field=name[:64])
    if request.repeated:
        name = request.repeated[0]
        raise Invalid(f"{name} may be given once: it takes one value", code="parameter_repeated", field=name)


def whole(request: Request, name: str, low: int, high: int, default: int) -> int:
    """A query parameter as a whole number between two bounds. Raises ``Invalid``."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19 and low <= int(text) <= high):
        raise Invalid(f"{name} must be a whole number between {low} and {high}", field=name)
    return int(text)


def check_said(reason: str, why: str) -> None:
    """Refuse a reason that says nothing where one is needed: blanks are none.

    Raises:
        Invalid: With ``why``.
    """
    if not reason.strip():
        raise Invalid(why, field="reason")
