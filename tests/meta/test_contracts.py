"""Each import contract and each banned API is proved to bite: a deliberate violation of it fails.

All violations are put into a copy of the tree, each in a file of its own, and the tools run over it once.
"""

import itertools
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINTER: dict[str, Any] = PYPROJECT["tool"]["importlinter"]
CONTRACTS: dict[str, dict[str, Any]] = {contract["id"]: contract for contract in LINTER["contracts"]}
PACKAGES: list[str] = LINTER["root_packages"]
BANNED: dict[str, Any] = PYPROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
LAYERS = [[name.strip() for name in layer.split("|")] for layer in CONTRACTS["layers"]["layers"]]


@dataclass(frozen=True)
class Violation:
    """One file that breaks one contract, and the arrow that the tool must name."""

    contract: str
    importer: str
    imported: str
    source: str

    @property
    def arrow(self) -> str:
        return f"{self.importer} -> {self.imported}"


def breaks(contract: str, package: str, imported: str, source: str = "import {}") -> Violation:
    return Violation(contract, f"{package}.breaks_{imported.replace('.', '_')}", imported, source.format(imported))


def upwards() -> Iterator[Violation]:
    """For each layer one import of the layer above, and one between siblings."""
    for above, below in itertools.pairwise(LAYERS):
        yield breaks("layers", below[0], above[-1])
    for siblings in LAYERS:
        for first, second in itertools.pairwise(siblings):
            yield breaks("layers", first, second)
            yield breaks("layers", second, first)


def impure() -> Iterator[Violation]:
    for contract in ("purity", "core-stdlib"):
        sources = CONTRACTS[contract]["source_modules"]
        for nth, forbidden in enumerate(CONTRACTS[contract]["forbidden_modules"]):
            yield breaks(contract, sources[nth % len(sources)], forbidden)
    # asyncio belongs into `service.py` alone, and nothing hides behind TYPE_CHECKING.
    for domain in ("geo", "realtime", "dispatch", "safety", "webhooks", "trackers"):
        yield breaks("purity", domain, "asyncio")
        yield breaks("purity", domain, "redis", "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import {}")


def adapters() -> Iterator[Violation]:
    for importer in ("api", "web", "sim", "cli"):
        for adapter in CONTRACTS["adapters"]["protected_modules"]:
            yield breaks("adapters", importer, adapter)


VIOLATIONS = list({v.importer: v for v in (*upwards(), *impure(), *adapters())}.values())


def copy_tree(target: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, target / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", target)
    return target


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [tool, "--no-cache"], cwd=tree, env={"PYTHONPATH": str(tree)}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> str:
    tree = copy_tree(tmp_path_factory.mktemp("broken"))
    for violation in VIOLATIONS:
        path = tree / Path(*violation.importer.split(".")).with_suffix(".py")
        path.write_text(violation.source + "\n")
    for package in PACKAGES:
        (tree / package / "cycle_a.py").write_text(f"import {package}.cycle_b\n")
        (tree / package / "cycle_b.py").write_text(f"import {package}.cycle_a\n")
    result = lint_imports(tree)
    assert result.returncode != 0
    return result.stdout


def test_the_tree_as_it_is_keeps_every_contract(tmp_path: Path) -> None:
    result = lint_imports(copy_tree(tmp_path))
    assert result.returncode == 0, result.stdout
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in result.stdout


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_contract_can_be_broken(contract: str, broken: str) -> None:
    assert f"{CONTRACTS[contract]['name']} BROKEN" in broken


@pytest.mark.parametrize("violation", VIOLATIONS, ids=lambda v: f"{v.contract}: {v.arrow}")
def test_a_forbidden_import_is_caught(violation: Violation, broken: str) -> None:
    assert f"{violation.arrow} (l." in broken


@pytest.mark.parametrize("package", CONTRACTS["cycles"]["ancestors"])
def test_a_cycle_inside_a_package_is_caught(package: str, broken: str) -> None:
    assert f"No cycles are allowed in {package}." in broken


# -- banned calls ---------------------------------------------------------------------------------------


def calls(api: str) -> str:
    """Code that uses a banned API in the ways people do."""
    module, _, name = api.rpartition(".")
    if not module:
        return f"import {api}\n"
    return f"from {module} import {name}\n\nfound = {name}()\n"


def through_module(api: str) -> str:
    top = api.partition(".")[0]
    return f"import {top}\n\nfound = {api}()\n"


def ruff(tree: Path) -> set[str]:
    """Names of files with a banned API."""
    tool = Path(sys.executable).with_name("ruff")
    result = subprocess.run(
        [tool, "check", "--no-cache", "--select", "TID251", "--output-format", "json", "."],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    return {str(Path(found["filename"]).relative_to(tree)) for found in json.loads(result.stdout)}


@pytest.fixture(scope="module")
def caught(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    tree = tmp_path_factory.mktemp("banned")
    shutil.copy(ROOT / "pyproject.toml", tree)
    for package in PACKAGES:
        (tree / package).mkdir()
        for nth, api in enumerate(BANNED):
            (tree / package / f"from_{nth}.py").write_text(calls(api))
            (tree / package / f"through_{nth}.py").write_text(through_module(api))
    (tree / "server" / "system.py").write_text("".join(calls(api) for api in BANNED))
    return ruff(tree)


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("api", BANNED)
def test_a_banned_call_is_caught_in_every_package(api: str, package: str, caught: set[str]) -> None:
    nth = list(BANNED).index(api)
    assert f"{package}/from_{nth}.py" in caught
    assert f"{package}/through_{nth}.py" in caught


def test_only_the_one_file_with_the_real_clock_may_use_them(caught: set[str]) -> None:
    assert "server/system.py" not in caught
    allowed = PYPROJECT["tool"]["ruff"]["lint"]["per-file-ignores"]
    exempt = {pattern for pattern, codes in allowed.items() if "TID251" in codes}
    inside = {pattern for pattern in exempt if pattern.partition("/")[0] in PACKAGES}
    assert inside == {"server/system.py"}
