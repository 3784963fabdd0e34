import gzip
from pathlib import Path

import pytest

from web import files
from web.files import PAGES, page_files


def test_every_page_is_there_with_what_it_shares() -> None:
    found = page_files()
    assert {f"{page}/index.html" for page in PAGES} <= found.keys()
    assert {
        "assets/maplibre/maplibre-gl.js",
        "assets/maplibre/maplibre-gl.css",
        "assets/client/index.js",
    } <= found.keys()
    script = found["assets/maplibre/maplibre-gl.js"]
    assert gzip.decompress(script.packed) == script.body
    assert b"eval(" not in script.body, "the policy of the pages would refuse it"
    assert b"new Function" not in script.body


def test_notes_and_hidden_files_are_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("app/a.js", "app/b/c.svg", "app/notes.md", "app/x.d.ts", "app/.secret.js", "app/_x/y.js", "app/z.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    monkeypatch.setattr(files, "_HERE", tmp_path)
    assert {name for name in page_files() if name.startswith("app/")} == {"app/a.js", "app/b/c.svg"}


def test_a_file_that_packing_makes_longer_is_sent_as_it_is() -> None:
    assert files.PageFile(b"x", "text/plain").packed == b""
    assert files.PageFile(b"x" * 999, "image/png", is_packable=False).packed == b""
