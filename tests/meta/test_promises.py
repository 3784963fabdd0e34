"""Every promise of safety is tried by a property, in the fast half and in depth."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools import promises

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"^(?:async )?def (test_p(\d+)_\w+)\(", re.MULTILINE)


def test_the_list_has_all_promises() -> None:
    assert list(promises.PROMISES) == list(range(1, 25))


def test_every_promise_is_tried_and_every_property_belongs_to_one() -> None:
    assert promises.tests().keys() == promises.PROMISES.keys()


def test_what_is_named_after_a_promise_is_a_property_in_their_folder_and_of_a_known_one_elsewhere() -> None:
    named = {
        path: NAMED.findall(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "tests").rglob("test_*.py"))
    }
    assert {int(number) for found in named.values() for _, number in found} <= promises.PROMISES.keys()
    here = {(path.name, name) for path, found in named.items() if path.parent == promises.FOLDER for name, _ in found}
    assert here == {test for tests in promises.tests().values() for test in tests}


def test_none_of_them_is_left_out_of_the_fast_half() -> None:
    for path in promises.FOLDER.glob("test_*.py"):
        assert "pytest.mark" not in path.read_text(encoding="utf-8"), path.name


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_every_promise_holds_in_fifty_times_as_many_histories() -> None:
    asked = [sys.executable, "-m", "pytest", "-q", "--hypothesis-profile=deep", "--timeout=3600", str(promises.FOLDER)]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4_000:]
