"""The docs say what the code does, all of it, and nothing else."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.main import main as commands
from core.codes import MEANINGS
from core.principal import Role
from dispatch.events import OrderFact
from realtime.errors import CloseCode
from server.root import Settings
from tools import generate_docs

ROOT = Path(__file__).resolve().parents[2]
PAGES = list(generate_docs.pages())
PACKAGES = (
    "core",
    "geo",
    "realtime",
    "dispatch",
    "safety",
    "webhooks",
    "trackers",
    "store",
    "transport",
    "api",
    "web",
    "server",
)


@pytest.mark.parametrize(("text", "wanted"), [page[1:] for page in PAGES], ids=[page[0].name for page in PAGES])
def test_what_is_generated_is_up_to_date(text: str, wanted: str) -> None:
    assert text == wanted, "run: python -m tools.generate_docs"


def test_every_block_of_the_generator_is_on_a_page() -> None:
    used = set(re.findall(r"<!-- generated:([a-z-]+) -->", "".join(text for _, text, _ in PAGES)))
    assert used == set(generate_docs.BLOCKS)


def _sources() -> Iterator[tuple[Path, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def _codes_raised() -> set[str]:
    found: set[str] = set()
    for path, tree in _sources():
        if path.name == "codes.py":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in MEANINGS:
                found.add(node.value)
    return found


@pytest.mark.slow
def test_every_error_code_has_a_meaning_and_every_meaning_is_used() -> None:
    """The constructor refuses a code that is not in the table; here only the other direction is left."""
    assert set(MEANINGS) - _codes_raised() == set()


def test_every_number_that_can_be_set_has_a_range() -> None:
    rows = list(generate_docs.setting_rows(Settings()))
    numbers = {path for path, default, _, _ in rows if re.fullmatch(r"-?\d+(\.\d+)?", default)}
    assert len(numbers) > 100
    # Its range begins at 60 with a hole below it: 0 turns learning off.
    assert numbers - {path for path, _, span, _ in rows if span} == {"travel.learn_every_s"}


def _table_rows(page: str, heading: str) -> set[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    section = text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"^\| `?([\w.]+)`? \|", section, re.MULTILINE)) - {"close", "error", "verdict"}


def test_every_close_code_is_in_the_docs() -> None:
    assert _table_rows("protocol.md", "Close codes") == {str(c.value) for c in CloseCode}


def test_every_fact_that_a_webhook_tells_is_in_the_docs() -> None:
    row = re.search(r"^\| `type` \|.*$", (ROOT / "docs" / "webhooks.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert row is not None
    assert set(re.findall(r"`(\w+)`", row[0])) - {"type"} == set(OrderFact)


def test_every_route_says_of_each_role_that_may_call_it_what_it_reaches_and_of_no_other() -> None:
    for route in generate_docs.routes():
        parts = [part.partition(":")[0] for part in route.scope.split("; ")]
        named = {name for part in parts for name in re.split(r", | and ", part)}
        wanted = {role.value for role in route.who}
        assert named == ({"everyone"} if wanted in ({role.value for role in Role}, set()) else wanted), route.name


def test_every_adr_is_listed() -> None:
    folder = ROOT / "docs" / "adr"
    listed = set(re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text(encoding="utf-8")))
    assert listed == {p.name for p in folder.glob("0*.md")}


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_command_is_in_the_docs() -> None:
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/operations.md"))
    names = commands.list_commands(click.Context(commands))
    assert [name for name in names if f"doorstep {name}" not in text] == []
