"""What the server tells about itself without a token: config for clients, API documents, the first page."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from api.asyncapi import asyncapi_document
from api.bodies import ClientConfig, MapTiles, ServedCity
from api.exchange import Request, Response, answer
from api.openapi import openapi_document
from api.web_settings import WebSettings
from core.errors import NotFound
from geo.point import Frame
from realtime.messages import MESSAGE_BYTES_MAX

if TYPE_CHECKING:
    from api.exchange import Route

SUBPROTOCOLS = ("doorstep.v1.json", "doorstep.v1.msgpack")
SECURITY_TXT_LIFE_S = 180 * 86_400.0
"""Under a year (RFC 9116 section 2.5.5), counted from the request: a server that answers is looked after."""
PAGE_CSP = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

SOS_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


class PageFiles(Protocol):
    """A page of three files, as bytes."""

    @property
    def html(self) -> bytes: ...  # noqa: D102
    @property
    def style(self) -> bytes: ...  # noqa: D102
    @property
    def script(self) -> bytes: ...  # noqa: D102


class Documents:
    """Handlers of the public routes. ``routes`` is set once the table is complete."""

    def __init__(
        self,
        *,
        version: str,
        frame: Frame,
        hub_url: Callable[[], str],
        page: Callable[[], str],
        style: str,
        security_contact: str,
        sos_page: PageFiles,
        web: WebSettings,
        emergency_number: str,
        cities: Callable[[], Sequence[ServedCity]],
    ) -> None:
        """``page`` is asked at each request, so that it can tell what runs now."""
        self._security_contact = security_contact
        self.routes: Sequence[Route] = ()
        self._version = version
        self._frame = frame
        self._hub_url = hub_url
        self._page = page
        self._style = style
        self._sos = sos_page
        self._web = web
        self._emergency_number = emergency_number
        self._cities = cities

    def config(self, request: Request) -> Response:
        """GET /config.json."""
        return answer(
            ClientConfig(
                hub_url=self._hub_url(),
                crs=self._frame.value,
                subprotocols=list(SUBPROTOCOLS),
                version=self._version,
                server_at=round(request.now, 3),
                message_bytes_max=MESSAGE_BYTES_MAX,
                locale=cast(Any, self._web.locale),
                emergency_number=self._emergency_number,
                tiles=_tiles(self._web),
                cities=list(self._cities()),
            ),
            cache_control="no-cache",
        )

    def openapi(self, request: Request) -> Response:
        """GET /openapi.json."""
        del request
        return Response(200, self._openapi)

    def asyncapi(self, request: Request) -> Response:
        """GET /asyncapi.json."""
        del request
        return Response(200, self._asyncapi)

    def security(self, request: Request) -> Response:
        """GET /.well-known/security.txt (RFC 9116)."""
        if not self._security_contact:
            raise NotFound("nobody is named whom to tell")
        expires = datetime.fromtimestamp(request.now + SECURITY_TXT_LIFE_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = f"Contact: {self._security_contact}\nExpires: {expires}\nPreferred-Languages: en, zh\n"
        return Response(200, text.encode(), "text/plain; charset=utf-8", {"Cache-Control": "no-cache"})

    def page(self, request: Request) -> Response:
        """GET /."""
        del request
        return Response(
            200,
            self._page().encode(),
            "text/html; charset=utf-8",
            {"Content-Security-Policy": PAGE_CSP, "Cache-Control": "no-cache"},
        )

    def style(self, request: Request) -> Response:
        """GET /style.css."""
        del request
        return Response(200, self._style.encode(), "text/css; charset=utf-8", {"Cache-Control": "no-cache"})

    def sos_page(self, request: Request) -> Response:
        """GET /sos: raises an SOS by one tap; opened with a ticket in the fragment."""
        del request
        headers = {"Content-Security-Policy": SOS_CSP, "Permissions-Policy": "geolocation=(self)"}
        return _file(self._sos.html, "text/html", headers)

    def sos_style(self, request: Request) -> Response:
        """GET /sos.css."""
        del request
        return _file(self._sos.style, "text/css")

    def sos_script(self, request: Request) -> Response:
        """GET /sos.js."""
        del request
        return _file(self._sos.script, "text/javascript")

    @cached_property
    def _openapi(self) -> bytes:
        return msgspec.json.encode(openapi_document(self.routes, self._version))

    @cached_property
    def _asyncapi(self) -> bytes:
        return msgspec.json.encode(asyncapi_document(self._version))


def _tiles(web: WebSettings) -> MapTiles | None:
    if not web.tile_url:
        return None
    return MapTiles(web.tile_url, cast(Any, web.tile_crs), web.tile_attribution, web.tile_zoom_max)


def _file(body: bytes, kind: str, headers: Mapping[str, str] = {}) -> Response:
    return Response(200, body, f"{kind}; charset=utf-8", {"Cache-Control": "no-cache", **headers})
