"""Who calls: turns an Authorization header into a principal and checks it against the route's row."""

from collections.abc import Mapping
from typing import Final

from api.exchange import Access, Route
from core.errors import Forbidden, Refused
from core.ids import DeviceId
from core.principal import Principal
from realtime.ports import Authenticator

_SCHEME: Final = "bearer"


def authenticate(route: Route, headers: Mapping[str, str], tokens: Authenticator, now: float) -> Principal:
    """The verified caller of a route.

    Raises:
        Refused: ``token_missing``, ``token_invalid``, ``token_expired``, ``token_revoked``.
        Forbidden: The role may never call this route, or the token has expired and this is no SOS.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != _SCHEME or not token.strip():
        raise Refused("send the token as `Authorization: Bearer …`", code="token_missing")
    who = tokens.verify(token.strip(), device=DeviceId(""), now=now)
    if who.restricted and route.access is not Access.LENIENT:
        raise Refused("the token has expired; only SOS still works", code="token_expired")
    if not who.holds(*route.who):
        raise Forbidden("your role may not do this")
    return who
