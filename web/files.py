"""The files of the pages, read into memory: what is not in the table is not there, however its path is written.

Besides our own there are those of MapLibre GL, out of the installed package ``maplibre``: nothing is copied into the
repository and nothing is loaded from elsewhere.
"""

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).parent
_CLIENT: Final = _HERE / "client"
"""Where a wheel has the JavaScript client; a source tree has it in ``clients/js``."""
PAGES: Final = ("app", "arrival", "order", "console")
_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
}
"""What is served at all; notes, types for the editor and tests beside the pages are not."""
_PACKED_ALREADY: Final = frozenset({".png", ".webp", ".woff2", ".mp3"})
_MAPLIBRE: Final = ("maplibre-gl.js", "maplibre-gl.css")


@dataclass(frozen=True)
class PageFile:
    """One file, ready to be sent."""

    body: bytes
    content_type: str
    is_packable: bool = True

    @cached_property
    def etag(self) -> str:
        """Names the content (RFC 9110 section 8.8.3), without quotes."""
        return sha256(self.body).hexdigest()[:24]

    @cached_property
    def packed(self) -> bytes:
        """Compressed by gzip; empty where that saves nothing."""
        packed = gzip.compress(self.body, 9, mtime=0) if self.is_packable else b""
        return packed if len(packed) < len(self.body) else b""


def page_files() -> dict[str, PageFile]:
    """Every file by its path below the server's address (``app/index.html``, ``assets/…``). Blocks; reads 2 MB.

    Raises:
        FileNotFoundError: The package ``maplibre`` is not installed as it should be.
    """
    found = {f"{page}/{name}": file for page in (*PAGES, "assets") for name, file in _folder(_HERE / page)}
    client = _CLIENT if _CLIENT.is_dir() else _HERE.parent / "clients" / "js"
    found |= {f"assets/client/{name}": file for name, file in _folder(client)}
    maplibre = _maplibre_folder()
    for name in _MAPLIBRE:
        path = maplibre / name
        found[f"assets/maplibre/{name}"] = PageFile(path.read_bytes(), _TYPES[path.suffix])
    for file in found.values():
        _ = file.etag, file.packed  # made now, so that no request pays for it
    return found


@cache
def shipped_files() -> Mapping[str, PageFile]:
    """``page_files`` as they were when they were first asked for: simulations build many servers in one process."""
    return page_files()


def _folder(folder: Path) -> Iterator[tuple[str, PageFile]]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        is_hidden = any(part.startswith((".", "_")) or part == "node_modules" for part in inside.parts)
        if path.suffix in _TYPES and path.is_file() and not is_hidden:
            yield (
                inside.as_posix(),
                PageFile(path.read_bytes(), _TYPES[path.suffix], path.suffix not in _PACKED_ALREADY),
            )


def _maplibre_folder() -> Path:
    """Without importing the package: its Python would load much that nobody needs."""
    spec = find_spec("maplibre")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the package maplibre is not installed")
    return Path(spec.submodule_search_locations[0]) / "srcjs"
