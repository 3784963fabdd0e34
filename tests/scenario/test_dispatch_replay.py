"""Thousands of stored decisions are made again, in processes that iterate over sets in different orders."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.test_dispatch import store
from tests.unit.dispatch.day import busy_day

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.full)])
def test_decisions_are_made_again_the_same_under_two_hash_seeds(tmp_path: Path, count: int) -> None:
    store(tmp_path, busy_day(count, seed=11).ledger.rounds)
    reports = [replayed(tmp_path, hash_seed) for hash_seed in ("0", "424242")]
    assert reports[0] == reports[1]
    assert reports[0]["decisions"] >= count
    assert reports[0]["differences"] == []


def replayed(folder: Path, hash_seed: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "dispatch", "replay", "--data", str(folder), "--json"],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    report: dict[str, Any] = json.loads(done.stdout)
    return report
