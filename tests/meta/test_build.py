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
    options = ["--no-deps", "--no-build-isolation", "--no-cache-dir", "--disable-pip-version-check"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-v", *options, "-w", str(out), str(tree)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^.*BuildBackendWarning.*$", done.stdout + done.stderr, re.MULTILINE) == []
    (built,) = out.glob("*.whl")
    return built


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
