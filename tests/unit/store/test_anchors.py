from pathlib import Path

import pytest

from core.ids import TenantId
from safety.audit import Anchor
from store.anchors import AnchorsUnreadable, append_anchors, read_anchors

ONE = Anchor(TenantId("acme"), 7, b"m" * 32, 1_000.25, "a1b2c3d4", b"s" * 32)


def test_anchors_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    assert read_anchors(path) == []
    append_anchors(path, [ONE])
    append_anchors(path, [ONE, ONE])
    assert read_anchors(path) == [ONE, ONE, ONE]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_that_was_being_written_is_passed_over_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    append_anchors(path, [ONE])
    with path.open("a") as file:
        file.write('{"tenant": "acme", "se')
    assert read_anchors(path) == [ONE]
    with path.open("a") as file:
        file.write("\n")
    with pytest.raises(AnchorsUnreadable, match="line 2"):
        read_anchors(path)
