"""What is built from this tree holds everything that runs, and building it says nothing."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.meta.test_layout import FILES, PACKAGES, ROOT, name

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, because setuptools writes beside its sources; from the tracked files alone."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    wanted = {*PACKAGES, "clients", "pyproject.toml", "README.md", "LICENSE"}
    for path in FILES:
        if path.is_file() and path.relative_to(ROOT).parts[0] in wanted:
            copy = tree / name(path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    (built,) = built_wheels(tree, out)
    return built


def built_wheels(tree: Path, out: Path) -> list[Path]:
    options = ["--no-deps", "--no-build-isolation", "--no-cache-dir", "--disable-pip-version-check"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-v", *options, "-w", str(out), str(tree)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^.*BuildBackendWarning.*$", done.stdout + done.stderr, re.MULTILINE) == []
    return list(out.glob("*.whl"))


def test_a_built_wheel_holds_every_file_of_every_package(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    for path in FILES:
        inside = path.relative_to(ROOT)
        if inside.parts[0] in PACKAGES and path.is_file():
            assert inside.as_posix() in held
        elif inside.parts[:3] == ("clients", "python", "doorstep_client"):
            assert inside.relative_to("clients/python").as_posix() in held
    tops = {entry.split("/")[0] for entry in held if ".dist-info" not in entry}
    assert tops == {*PACKAGES, "doorstep_client"}


def test_the_client_is_built_alone_with_its_types_and_its_socket_side_needs_no_http_library(tmp_path: Path) -> None:
    tree = tmp_path / "client"
    for path in FILES:
        if path.is_file() and path.is_relative_to(ROOT / "clients" / "python"):
            copy = tree / path.relative_to(ROOT / "clients" / "python")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    (built,) = built_wheels(tree, tmp_path / "out")
    held = set(zipfile.ZipFile(built).namelist())
    sources = {p.relative_to(tree).as_posix() for p in (tree / "doorstep_client").iterdir()}
    assert sources <= held
    assert "doorstep_client/py.typed" in held
    code = "import sys; sys.modules.update(aiohttp=None, picows=None); import doorstep_client.connection"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(built)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_was_built_makes_its_databases_and_finds_its_cities(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environ = os.environ | {
        "PYTHONPATH": str(tmp_path / "site"),
        "DOORSTEP_AUDIT_KEY": "kR4u7w2pX9-an-audit-key-with-enough-letters",
        "DOORSTEP_JWT_SECRET": "VQ3p9c1xM7s-a-secret-with-enough-letters",
        "DOORSTEP__SAFETY__REACH__LAST_RESORT__LOG": "true",
    }
    (tmp_path / "config.yaml").write_text("data_folder: data\n")
    for command in ("migrate", "check-config"):
        done = subprocess.run(
            [sys.executable, "-c", "import cli.main, sys; print(cli.main.__file__); cli.main.main()", command],
            cwd=tmp_path, env=environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith(str(tmp_path / "site")), "it ran from the tree instead"
    assert {path.name for path in (tmp_path / "data").iterdir()} >= {"doorstep.db", "safety.db", "tracks.db"}
