"""The security checklist is whole, and what it calls done is tested by a test that is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "security.md"
ITEMS = 55
_ROW = re.compile(r"^\| (\d+) \| (.+?) \| (\w+) \| (.*?) ?\|$", re.MULTILINE)
_NODE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows() -> list[tuple[int, str, str, str]]:
    found = _ROW.findall(PAGE.read_text(encoding="utf-8"))
    return [(int(number), what, status, text) for number, what, status, text in found]


def test_there_is_one_line_for_each_item() -> None:
    assert [number for number, _, _, _ in rows()] == list(range(1, ITEMS + 1))


def test_every_line_is_done_with_a_test_or_exempt_with_a_reason_or_open() -> None:
    for number, _, status, text in rows():
        assert status in ("done", "exempt", "open"), number
        if status == "done":
            assert _NODE.findall(text), f"{number} is called done and names no test"
        if status == "exempt":
            assert len(text) > 20, f"{number} does not say why it is exempt"


def test_every_test_that_is_named_is_there() -> None:
    missing = []
    for number, _, _, text in rows():
        for file, name in _NODE.findall(text):
            path = ROOT / file
            tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
            functions = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
            if name not in functions:
                missing.append((number, file, name))
    assert missing == []
