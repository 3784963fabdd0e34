"""Pages and their files, without a server: what is sent for which request."""

from dataclasses import dataclass

import pytest

from api.exchange import Request
from api.site import Site, is_known
from api.web_settings import WebSettings
from core.errors import NotFound


@dataclass
class File:
    body: bytes
    packed: bytes = b""
    content_type: str = "text/html; charset=utf-8"
    etag: str = "e1"


FILES = {"app/index.html": File(b"page"), "app/main.js": File(b"plain", b"packed")}


def site(hub: str = "ws://127.0.0.1:8081/ws", tiles: str = "") -> Site:
    return Site(lambda: FILES, WebSettings(tile_url=tiles), lambda: hub)


@pytest.mark.parametrize(
    ("accepted", "body"),
    [
        ("gzip", b"packed"), ("br, GZIP;q=0.5", b"packed"), ("", b"plain"), ("br", b"plain"),
        ("gzip;q=0", b"plain"), ("gzip; q=0.0", b"plain"), ("x-gzip", b"plain"),
    ],
)  # fmt: skip
def test_a_packed_file_goes_to_whoever_asks_for_it(accepted: str, body: bytes) -> None:
    request = Request(0.0, path={"path": "main.js"}, headers={"accept-encoding": accepted})
    answered = site().app_files(request)
    assert answered.body == body
    assert ("Content-Encoding" in answered.headers) == (body == b"packed")
    again = Request(0.0, path=request.path, headers={**request.headers, "if-none-match": answered.headers["ETag"]})
    assert site().app_files(again).status == 304


def test_packed_and_plain_are_two_contents() -> None:
    plain = site().app_files(Request(0.0, path={"path": "main.js"}))
    packed = site().app_files(Request(0.0, path={"path": "main.js"}, headers={"accept-encoding": "gzip"}))
    assert plain.headers["ETag"] != packed.headers["ETag"]


@pytest.mark.parametrize("path", ["none.js", "index.html", "../app/main.js", "", "./main.js", "main.js/"])
def test_only_what_is_in_the_table_is_there_and_a_page_has_one_address(path: str) -> None:
    with pytest.raises(NotFound):
        site().app_files(Request(0.0, path={"path": path}))


def test_a_page_that_is_missing_is_not_found() -> None:
    with pytest.raises(NotFound):
        site().console(Request(0.0))


def test_the_policy_names_the_hub_and_the_tiles_and_nobody_else() -> None:
    policy = site(tiles="https://t.example/{z}/{x}/{y}.png").policy()
    assert "connect-src 'self' ws://127.0.0.1:8081 https://t.example;" in policy
    assert "unsafe" not in policy
    assert "connect-src 'self';" in site(hub="").policy()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"b"', False), ("", False), ("a", False)],
)
def test_a_content_that_is_known_is_not_sent_again(given: str, wanted: bool) -> None:
    assert is_known(given, '"a"') == wanted
