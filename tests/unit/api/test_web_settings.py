import pytest

from api.web_settings import WebSettings, origin_of

TILES = "https://t.example/{z}/{x}/{y}.png"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://a.example/x?y", "https://a.example"),
        ("wss://a.example:8443/ws", "wss://a.example:8443"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("https://user@a.example", ""),
        ("javascript:alert(1)", ""),
        ("https://a.example:99999999", ""),
        ("/path", ""),
        ("", ""),
    ],
)
def test_the_origin_of_a_url(url: str, origin: str) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "changes",
    [
        {"locale": "fr"},
        {"tile_crs": "bd09"},
        {"tile_url": "https://t.example/{z}/{x}.png"},
        {"tile_url": "ftp://t.example/{z}/{x}/{y}.png"},
        {"tile_url": "https://t.example;script-src */{z}/{x}/{y}.png"},
        {"origins": ("https://a.example/",)},
        {"origins": ("a.example",)},
        {"tile_zoom_max": 99},
    ],
)
def test_what_would_loosen_the_policy_or_means_nothing_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        WebSettings(**changes)  # type: ignore[arg-type]  # that is the question


def test_good_settings_are_taken() -> None:
    assert WebSettings(tile_url=TILES, tile_crs="gcj02", origins=("https://a.example",)).tile_url == TILES
