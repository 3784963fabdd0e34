"""What the pages are told: their part of the config."""

from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import urlsplit

from core.ranges import Range, Ranged

LOCALES: Final = ("en", "zh-CN")
FRAMES: Final = ("wgs84", "gcj02")


@dataclass(frozen=True, slots=True)
class WebSettings(Ranged):
    """The pages for browsers: technician app, arrival page, order page, console."""

    locale: str = "en"
    """Language of somebody whose browser speaks none of ours: en or zh-CN."""
    tile_url: str = ""
    """Map tiles as `https://tiles.example.com/{z}/{x}/{y}.png`; empty: the pages draw the city by themselves."""
    tile_crs: str = "wgs84"
    """Frame in which those tiles are drawn: wgs84 or gcj02."""
    tile_attribution: str = ""
    """Whose map it is, shown on it."""
    tile_zoom_max: Annotated[int, Range(0, 24)] = 18
    """Closest zoom that the tiles have."""
    origins: tuple[str, ...] = ()
    """Further origins of the pages, as `https://console.example.com`, where a proxy serves them under another name."""
    reload: bool = False
    """Read the files of the pages again at each request, for who writes them."""

    def __post_init__(self) -> None:
        """Check the words and the URL."""
        super(WebSettings, self).__post_init__()  # slots make a new class; bare super() sees the old
        if self.locale not in LOCALES:
            raise ValueError(f"locale must be one of {', '.join(LOCALES)}, is {self.locale!r}")
        if self.tile_crs not in FRAMES:
            raise ValueError(f"tile_crs must be one of {', '.join(FRAMES)}, is {self.tile_crs!r}")
        if self.tile_url:
            _check_tiles(self.tile_url)
        for origin in self.origins:
            if origin_of(origin) != origin:
                raise ValueError(f"origins must hold origins such as https://console.example.com, has {origin!r}")


def _check_tiles(url: str) -> None:
    if not all(part in url for part in ("{z}", "{x}", "{y}")):
        raise ValueError("tile_url must contain {z}, {x} and {y}")
    # It stands in a header: what could end the source and begin another would loosen the policy.
    if not origin_of(url) or any(sign in url for sign in " ;,'\"\r\n"):
        raise ValueError(f"tile_url must be an http or https URL, is {url!r}")


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL (RFC 6454 section 4); "" where it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname or parts.username is not None:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port is not None else "")
