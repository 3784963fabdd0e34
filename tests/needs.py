"""What tests need of the machine, and what is done when it is not there."""

import os
from pathlib import Path
from typing import NoReturn

import pytest

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


def missing(reason: str) -> NoReturn:
    """A program or package is not there: an error where changes are accepted, a skip on a developer's machine."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def real_data(pattern: str) -> list[Path]:
    """Files of the folder of real data (``DOORSTEP_DATA``, else ``../shared/data``), sorted.

    The data is not ours to hand on, so where there is no such folder the test is skipped, also where changes are
    accepted. A folder that was named and does not hold the files is an error.
    """
    named = os.environ.get("DOORSTEP_DATA")
    folder = Path(named) if named else _BESIDE
    found = sorted(folder.glob(pattern))
    if named and not found:
        pytest.fail(f"no {pattern} in {folder}, which DOORSTEP_DATA names")
    if not found:
        pytest.skip(f"no {pattern} in {folder}; DOORSTEP_DATA names the folder of real data")
    return found
