"""The page that raises an SOS by one tap, for people without an app. Three files, nothing from elsewhere."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

_FILES = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class SosPage:
    """The page's files, ready to be sent."""

    html: bytes
    style: bytes
    script: bytes


def sos_page(emergency_number: str) -> SosPage:
    """The page; ``emergency_number`` is the one to call beside it."""
    html = (_FILES / "sos.html").read_text(encoding="utf-8").replace("{emergency}", escape(emergency_number))
    return SosPage(html.encode(), (_FILES / "sos.css").read_bytes(), (_FILES / "sos.js").read_bytes())
