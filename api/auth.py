"""Who calls: turns an Authorization header into a principal and checks it against the route's row."""

from collections.abc import Mapping
from typing import Final

from api.exchange import Access, Route
from core.errors import Forbidden, NotFound, Refused
from core.ids import DeviceId
from core.principal import Principal
from realtime.ports import Authenticator

_SCHEME: Final = "bearer"
_ORDERS: Final = "/v1/orders/"
DEVICE_HEADER: Final = "doorstep-device"
"""Which device asks; needed of a bound token that has expired."""


def authenticate(route: Route, headers: Mapping[str, str], tokens: Authenticator, now: float) -> Principal:
    """The verified caller of a route; of ``Access.ALARM`` without ``check_route``, which the body decides about.

    Raises:
        Refused: See ``identify`` and ``check_route``.
        Forbidden: See ``check_route``.
    """
    who = identify(headers, tokens, now)
    if route.access is not Access.ALARM:
        check_route(route, who)
    return who


def check_route(route: Route, who: Principal) -> None:
    """Refuse a caller whose role may never call this route, or whose token has expired where this is no SOS.

    Raises:
        Refused: ``token_expired``.
        Forbidden: The role.
    """
    if who.restricted and route.access is not Access.LENIENT:
        raise Refused("the token has expired; only SOS still works", code="token_expired")
    if not who.holds(*route.who):
        raise Forbidden("your role may not do this")


def check_scope(route: Route, who: Principal, path: Mapping[str, str]) -> None:
    """Refuse whoever holds a token of one order everything but that order's own routes: the one place that says so.

    Raises:
        Forbidden: The route is not for them.
        NotFound: It is, but they name another order.
    """
    if not who.order:
        return
    if not route.for_order:
        raise Forbidden("this link is for one order, and not for this")
    if route.path.startswith(_ORDERS) and path.get("id") != who.order:
        raise NotFound("there is no such order")


def check_fresh(route: Route, who: Principal, now: float, fresh_s: float) -> None:
    """Refuse a caller who signed in too long ago for what the route shows.

    Args:
        fresh_s: Seconds for which a sign-in is good for it.

    Raises:
        Forbidden: ``sign_in_again``.
    """
    if route.fresh:
        check_signed_in_lately(who, now, fresh_s)


def check_signed_in_lately(who: Principal, now: float, fresh_s: float) -> None:
    """Refuse a caller who signed in longer than ``fresh_s`` ago. Raises ``Forbidden``: ``sign_in_again``."""
    if now - who.issued_at > fresh_s:
        raise Forbidden(f"this needs a sign-in of the last {fresh_s:g} s", code="sign_in_again")


def identify(headers: Mapping[str, str], tokens: Authenticator, now: float) -> Principal:
    """Whose token it is.

    A token that is bound to a device is good on no other: where it is no longer fresh, the request must say which
    device it comes from. So a token that leaked raises no alarm once it has expired.

    Raises:
        Refused: ``token_missing``, ``token_invalid``, ``token_expired``, ``token_revoked``, ``device_needed``.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != _SCHEME or not token.strip():
        raise Refused("send the token as `Authorization: Bearer …`", code="token_missing")
    who = tokens.verify(token.strip(), device=DeviceId(""), now=now)
    claimed = headers.get(DEVICE_HEADER, "")
    if who.device and claimed and who.device != claimed:
        raise Refused("the token is bound to another device", code="token_invalid")
    if who.device and who.restricted and not claimed:
        raise Refused("the token has expired: say its device as `Doorstep-Device: …`", code="device_needed")
    return who
