"""The pages for browsers: their files, and what a browser may do on them.

Nothing stands in a page that comes from elsewhere than its files, and no script runs that is not one of them. The
worker of the map library is made from its own text (`blob:`): the packaged library has no other build.
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from api.exchange import Request, Response
from api.web_settings import WebSettings, origin_of
from core.errors import NotFound

_INDEX: Final = "index.html"
_PERMISSIONS: Final = (
    "geolocation=(self), screen-wake-lock=(self), autoplay=(self), camera=(), microphone=(), payment=(), usb=()"
)
_ALWAYS: Final[Mapping[str, str]] = {"Cache-Control": "no-cache", "Cross-Origin-Resource-Policy": "same-origin"}


class SiteFile(Protocol):
    """A file as ``web.files`` has it."""

    @property
    def body(self) -> bytes: ...  # noqa: D102 - named by its type
    @property
    def packed(self) -> bytes: ...  # noqa: D102 - compressed, or empty
    @property
    def content_type(self) -> str: ...  # noqa: D102
    @property
    def etag(self) -> str: ...  # noqa: D102


Files = Callable[[], Mapping[str, SiteFile]]
"""The files by their path; asked at each request."""


class Site:
    """Handlers of ``/app/``, ``/t/…``, ``/order/``, ``/console/`` and ``/assets/…``."""

    def __init__(self, files: Files, settings: WebSettings, hub_url: Callable[[], str]) -> None:
        """``hub_url`` is asked at each request: its port is known only once the hub listens."""
        self._files = files
        self._tiles = origin_of(settings.tile_url)
        self._hub_url = hub_url
        self.app, self.app_files = self._page("app"), self._files_of("app")
        self.arrival, self.arrival_files = self._page("arrival"), self._files_of("arrival")
        self.order, self.order_files = self._page("order"), self._files_of("order")
        self.console, self.console_files = self._page("console"), self._files_of("console")
        self.assets = self._files_of("assets")

    def _page(self, folder: str) -> Callable[[Request], Response]:
        """The handler of one page."""
        private = {"X-Robots-Tag": "noindex, nofollow"} if folder == "arrival" else {}

        def handle(request: Request) -> Response:
            headers = {
                **private,
                "Content-Security-Policy": self.policy(),
                "Permissions-Policy": _PERMISSIONS,
                "Cross-Origin-Opener-Policy": "same-origin",
            }
            return self._send(f"{folder}/{_INDEX}", request, headers)

        return handle

    def _files_of(self, folder: str) -> Callable[[Request], Response]:
        """The handler of the files of one folder; ``path`` is looked up, never opened."""

        def handle(request: Request) -> Response:
            # A service worker has the policy of its own file, and needs the page's.
            path = request.path["path"]
            if path.endswith(".html"):
                raise NotFound("there is no such path")  # a page has its headers, and its one address
            return self._send(f"{folder}/{path}", request, {"Content-Security-Policy": self.policy()})

        return handle

    def policy(self) -> str:
        """What a page may load and to whom it may speak."""
        hub = origin_of(self._hub_url())
        tiles = f" {self._tiles}" if self._tiles else ""
        hub = f" {hub}" if hub else ""
        return (
            "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; manifest-src 'self'; "
            f"img-src 'self' data: blob:{tiles}; media-src 'self' data: blob:; connect-src 'self'{hub}{tiles}; "
            "worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

    def _send(self, path: str, request: Request, headers: Mapping[str, str]) -> Response:
        file = self._files().get(path)
        if file is None:
            raise NotFound("there is no such path")
        is_packed = bool(file.packed) and _takes_gzip(request.headers.get("accept-encoding", ""))
        etag = f'"{file.etag}-gz"' if is_packed else f'"{file.etag}"'
        headers = {**_ALWAYS, **headers, "ETag": etag, "Vary": "Accept-Encoding"}
        if is_known(request.headers.get("if-none-match", ""), etag):
            return Response(304, b"", file.content_type, headers)
        if is_packed:
            return Response(200, file.packed, file.content_type, {**headers, "Content-Encoding": "gzip"})
        return Response(200, file.body, file.content_type, headers)


def is_known(given: str, etag: str) -> bool:
    """Whether `If-None-Match` names this content (RFC 9110 section 13.1.2: compared weakly)."""
    return given.strip() == "*" or etag in {tag.strip().removeprefix("W/") for tag in given.split(",")}


def _takes_gzip(accepted: str) -> bool:
    """Whether `Accept-Encoding` names gzip without forbidding it."""
    for part in accepted.lower().split(","):
        name, _, rest = part.strip().partition(";")
        if name.strip() == "gzip":
            return rest.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
