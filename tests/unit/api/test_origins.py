import pytest

from api.origins import Origins
from core.errors import Forbidden, Refused

JSON = {"content-type": "application/json; charset=utf-8"}


def verdict(origins: Origins, **headers: str) -> str:
    try:
        origins.check({**JSON, **{name.replace("_", "-"): text for name, text in headers.items()}})
    except (Forbidden, Refused) as error:
        return error.code
    return "taken"


@pytest.mark.parametrize(
    ("origin", "host", "wanted"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1:8080", "taken"),
        ("https://a.example", "a.example", "taken"),
        ("http://[::1]:8080", "[::1]:8080", "taken"),
        ("http://127.0.0.1:8081", "127.0.0.1:8080", "origin_refused"),
        ("https://b.example", "a.example", "origin_refused"),
        ("https://a.example.evil.example", "a.example", "origin_refused"),
        ("https://a.example/", "a.example", "origin_refused"),
        ("https://x@a.example", "a.example", "origin_refused"),
        ("null", "null", "origin_refused"),
        ("", "", "origin_refused"),
        ("file://", "", "origin_refused"),
        ("chrome-extension://a.example", "a.example", "origin_refused"),
    ],
)
def test_without_a_public_address_a_page_is_ours_that_was_loaded_from_the_host_it_asks(
    origin: str, host: str, wanted: str
) -> None:
    assert verdict(Origins("", ()), origin=origin, host=host) == wanted


def test_with_a_public_address_the_host_that_is_asked_for_counts_for_nothing() -> None:
    origins = Origins("https://a.example/some/path", ("https://console.example",))
    assert verdict(origins, origin="https://a.example", host="10.0.0.1:8080") == "taken"
    assert verdict(origins, origin="https://rebound.example", host="rebound.example") == "origin_refused"
    assert verdict(origins, origin="http://a.example", host="a.example") == "origin_refused"
    assert verdict(origins, origin="https://console.example", host="x", sec_fetch_site="same-site") == "taken"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_a_browser_that_says_the_request_comes_from_elsewhere_is_believed(site: str) -> None:
    assert verdict(Origins("", ()), origin="http://h", host="h", sec_fetch_site=site) == "origin_refused"


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "text/json"])
def test_what_a_form_can_send_is_refused(kind: str) -> None:
    headers = {"origin": "http://h", "host": "h", "content-type": kind}
    with pytest.raises(Refused) as caught:
        Origins("", ()).check(headers)
    assert caught.value.code == "json_needed"
