"""The tree is what the architecture says: every package is guarded, tests mirror modules, names say something."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS: dict[str, dict[str, Any]] = {c["id"]: c for c in PYPROJECT["tool"]["importlinter"]["contracts"]}
PACKAGES: list[str] = PYPROJECT["tool"]["importlinter"]["root_packages"]
DOMAINS = {"core", "geo", "realtime", "dispatch", "safety", "webhooks", "trackers"}
WORKSHOP = {"bench", "tests", "tools"}
"""Top-level folders of Python that are not part of the product."""

ACROSS = {"tables"}
"""Subjects of unit tests that span the modules of a package: its tables of states."""

VAGUE = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc", "stuff"}
LINES_MAX = 800
"""Beyond this a file is two ideas."""
MACHINE = re.compile(
    # Put together here, so that this file does not hold what it looks for.
    "|".join(["/" + "work/", "/" + r"root/", "/" + r"home/\w", "/" + r"Users/\w", r"\." + "library/", "bash" + "_jobs"])
)
BINARY = {".gz", ".png", ".jpg", ".ico", ".woff2", ".pbf"}


def tracked() -> list[Path]:
    """Files that git knows; without git, everything that is not made by a tool."""
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode == 0 and listing.stdout:
        return [path for line in listing.stdout.splitlines() if (path := ROOT / line).is_file()]
    made = {".venv", "build", "dist", "var", "node_modules", "__pycache__"}
    return [p for p in ROOT.rglob("*") if p.is_file() and not made & set(p.relative_to(ROOT).parts)]


FILES = tracked()
SOURCES = [path for path in FILES if path.suffix == ".py"]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_top_level_package_is_known_to_every_guard() -> None:
    found = {path.relative_to(ROOT).parts[0] for path in SOURCES if path.name == "__init__.py"}
    found = {top for top in found if (ROOT / top / "__init__.py").exists()} - WORKSHOP
    assert found == set(PACKAGES)
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) >= found
    assert set(CONTRACTS["cycles"]["ancestors"]) == found
    layers = {name.strip() for layer in CONTRACTS["layers"]["layers"] for name in layer.split("|")}
    assert layers == found
    assert set(PYPROJECT["tool"]["mypy"]["files"]) >= found | WORKSHOP


def test_every_package_that_lies_below_another_is_built_with_it() -> None:
    below = {path.parent for path in SOURCES if path.name == "__init__.py"}
    built = set(PYPROJECT["tool"]["setuptools"]["packages"])
    missing = [
        name(folder)
        for folder in below
        if folder.relative_to(ROOT).parts[0] in PACKAGES and name(folder).replace("/", ".") not in built
    ]
    assert missing == []


def test_every_domain_is_pure_by_contract() -> None:
    assert set(CONTRACTS["purity"]["source_modules"]) == DOMAINS
    assert CONTRACTS["purity"]["ignore_imports"] == [
        "*.service -> asyncio",
        "safety.storing -> asyncio",
        "safety.promises -> asyncio",
        "safety.old_taps -> asyncio",
    ]


@pytest.mark.parametrize("package", ["dispatch", "safety", "webhooks"])
def test_every_deciding_domain_has_the_same_inside(package: str) -> None:
    inside = {path.stem for path in (ROOT / package).glob("*.py")}
    assert inside >= {"engine", "service", "ports", "settings", "errors", "events", "model"}


def modules_of(folder: str) -> set[str]:
    package = "clients/python/doorstep_client" if folder == "client" else folder
    return {path.stem for path in (ROOT / package).rglob("*.py")}


def test_unit_tests_stand_where_their_module_does() -> None:
    """``tests/unit/<package>/test_<module>.py``, or ``test_<module>_<aspect>.py``."""
    lost = []
    for path in SOURCES:
        parts = path.relative_to(ROOT).parts
        if parts[:2] != ("tests", "unit") or not path.name.startswith("test_"):
            continue
        subject = path.stem.removeprefix("test_")
        if subject in ACROSS:
            continue
        if not any(subject == module or subject.startswith(f"{module}_") for module in modules_of(parts[2])):
            lost.append(name(path))
    assert lost == []


def test_file_names_say_what_is_inside() -> None:
    assert [name(path) for path in SOURCES if set(path.stem.split("_")) & VAGUE] == []


def test_files_hold_one_idea() -> None:
    long = {name(path): count for path in SOURCES if (count := len(path.read_text().splitlines())) > LINES_MAX}
    assert long == {}


def test_nothing_speaks_of_one_machine() -> None:
    found = []
    for path in FILES:
        if path.suffix in BINARY or path == Path(__file__):
            continue
        text = path.read_text(errors="replace")
        found += [f"{name(path)}: {match[0]}" for match in MACHINE.finditer(text)]
    assert found == []


def test_every_package_says_what_it_owns() -> None:
    for package in PACKAGES:
        first = (ROOT / package / "__init__.py").read_text().strip().splitlines()
        assert first, package
        assert first[0].startswith('"""'), package


def test_locks_hold_a_hash_for_every_package() -> None:
    for lock in ("run.lock", "dev.lock", "audit.lock"):
        blocks = re.split(r"\n(?=[a-z0-9])", (ROOT / "requirements" / lock).read_text().strip())
        pinned = [block for block in blocks if "==" in block.splitlines()[0]]
        assert pinned, lock
        assert [block.splitlines()[0] for block in pinned if "--hash=sha256:" not in block] == []


def test_the_bill_of_materials_is_of_the_lock_and_the_audit_fails_closed() -> None:
    rules = dict(
        re.findall(r"^(sbom|audit): \$\(AUDIT\)\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    )
    for rule in rules.values():
        assert "requirements/run.lock" in rule
    assert {"--strict", "--require-hashes"} <= set(rules["audit"].split())  # what cannot be looked up is no good news
    assert "cyclonedx-py requirements" in rules["sbom"]


def test_everything_that_runs_is_also_in_the_lock_of_the_workshop() -> None:
    def pins(lock: str) -> set[str]:
        return set(re.findall(r"^([\w.\[\]-]+==[^\s;\\]+)", (ROOT / "requirements" / lock).read_text(), re.MULTILINE))

    assert pins("run.lock") <= pins("dev.lock")


def test_the_lock_of_node_names_no_host() -> None:
    assert "://" not in (ROOT / "tests" / "interop" / "package-lock.json").read_text()
