"""The same seed gives the same run: on both stores, in other processes, under other hash seeds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim.world import StoreKind, WorldPlan, simulate

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = """
import sys
from pathlib import Path
from sim.world import StoreKind, WorldPlan, simulate
plan = WorldPlan(seed=int(sys.argv[1]), seconds=float(sys.argv[2]), sos_at_s=40, order_every_s=8, cut_every_s=15,
                 store=StoreKind(sys.argv[3]))
report = simulate(plan, Path(sys.argv[4]))
Path(sys.argv[4], "log").write_bytes(report.log)
"""


def logs(folder: Path, seed: int, seconds: float, store: StoreKind, hash_seeds: list[str]) -> list[bytes]:
    """Runs side by side, each in its own process and folder."""
    running = []
    for hash_seed in hash_seeds:
        own = folder / f"{store}-{hash_seed}"
        own.mkdir()
        environ = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT}/clients/python"}
        command = [sys.executable, "-c", SCRIPT, str(seed), str(seconds), store.value, str(own)]
        running.append((own, subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)))
    found = []
    for own, process in running:
        _, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
        found.append((own / "log").read_bytes())
    return found


def first_difference(one: bytes, other: bytes) -> str:
    for n, (a, b) in enumerate(zip(one.splitlines(), other.splitlines(), strict=False)):
        if a != b:
            return f"line {n}: {a[:300]!r} != {b[:300]!r}"
    return f"one has {len(one)} bytes, the other {len(other)}"


@pytest.mark.slow
@pytest.mark.parametrize("store", list(StoreKind))
def test_the_same_seed_gives_the_same_run_under_two_hash_seeds(tmp_path: Path, store: StoreKind) -> None:
    one, other = logs(tmp_path, 7, 90, store, ["1", "2"])
    assert len(one) > 10_000
    assert one == other, first_difference(one, other)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(5))
def test_ten_minutes_replay_identically_on_sqlite(tmp_path: Path, seed: int) -> None:
    one, other = logs(tmp_path, seed, 600, StoreKind.SQLITE, ["11", "12"])
    assert one == other, first_difference(one, other)


@pytest.mark.slow
def test_another_seed_gives_another_run() -> None:
    runs = [simulate(WorldPlan(seed=seed, seconds=20, order_every_s=5, sos_at_s=1e9)).log for seed in (1, 2)]
    assert runs[0] != runs[1]


@pytest.mark.slow
def test_in_a_run_with_lost_connections_nobody_gets_two_jobs_and_orders_are_served() -> None:
    report = simulate(WorldPlan(seed=3, seconds=180, order_every_s=6, cut_every_s=5, sos_at_s=60))
    counts = report.tally.counts
    assert counts["second_job"] == 0
    assert counts["order.departed_safe"] > 0
    assert counts["disconnects"] > 10
    assert counts["sos_acked"] == 1
    assert counts["incidents_acknowledged"] == 1
    assert b"ProtocolFault" not in report.log
