"""Every row of the fault table is tested, or says why not."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools import fault_rows

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_has_all_its_rows() -> None:
    assert list(fault_rows.ROWS) == list(range(1, 81))


def test_every_row_has_a_test_or_a_reason() -> None:
    silent = fault_rows.ROWS.keys() - fault_rows.tests().keys() - fault_rows.NOTES.keys()
    assert silent - fault_rows.OPEN == set()


def test_every_test_and_every_reason_belongs_to_a_row() -> None:
    assert fault_rows.tests().keys() - fault_rows.ROWS.keys() == set()
    assert fault_rows.NOTES.keys() - fault_rows.ROWS.keys() == set()


@pytest.mark.slow
def test_the_rows_counted_are_the_rows_that_pytest_runs() -> None:
    asked = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:randomly", "tests/faults"]
    listing = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    collected = {(match[1], match[2]) for match in re.finditer(r"faults/(\w+\.py)::(test_row_\w+)", listing)}
    assert collected == {test for tests in fault_rows.tests().values() for test in tests}
