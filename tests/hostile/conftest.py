"""One real server for all hostile tests, its log, and two people who only want to do their work on it."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import geo
from core.principal import Role
from sim.local_server import LocalCity, LocalServer
from tests.hostile.attacker import Target, put_technician
from tests.hostile.bystander import Bystander

CITY = "shenzhen"
OVERRIDES = {
    "log": {"level": "info"},
    "api": {"requests_per_s": 100_000, "requests_burst": 1_000_000},
    "safety": {"commit_wait_s": 5.0},
    "realtime": {
        # Each frame is to be judged by itself; what a flood meets is tested on its own.
        "sessions": {
            "messages_per_s": 100_000, "messages_burst": 1_000_000, "violations_max": 1_000_000,
            "pings_per_s": 1_000_000, "pings_burst": 10_000_000, "sessions_per_user_max": 1_000,
        },
        "positions": {"ack_idle_s": 0.05, "shed_lag_ms": 10_000},
    },
}  # fmt: skip
WORST_S = 5.0
"""An answer to a bystander slower than this was felt."""


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("hostile")
    boundary = Path(geo.__file__).parent / "cities" / f"{CITY}.geojson"
    with LocalServer([LocalCity(CITY, boundary)], OVERRIDES, folder=folder) as server:
        yield Target(server, folder / "server.log")


@pytest.fixture(scope="session")
def bystanders(target: Target) -> Iterator[list[Bystander]]:
    people = []
    for n, is_json in enumerate((True, False)):
        put_technician(target, f"tec_quiet_{n}")
        token = target.server.token(f"tec_quiet_{n}", Role.TECHNICIAN)
        people.append(Bystander(target.server.hub_url, token, is_json=is_json))
    for person in people:
        person.start()
    yield people
    for person in people:
        person.stop()
        felt = person.felt
        print(f"bystander: {felt.pings} pings, {felt.oks} answers, the slowest after {felt.slowest_s * 1000:.0f} ms")


@pytest.fixture(autouse=True)
def _nobody_else_feels_it(target: Target, bystanders: list[Bystander]) -> Iterator[None]:
    """Around every test: the neighbours go on as before, and the log holds no failure of ours."""
    before = [(person.felt.oks, person.felt.ping_acks) for person in bystanders]
    logged = target.log.stat().st_size
    yield
    deadline = time.monotonic() + WORST_S
    for person, (oks, acks) in zip(bystanders, before, strict=True):
        while not person.felt.faults and (person.felt.oks <= oks or person.felt.ping_acks <= acks):
            assert time.monotonic() < deadline, "a bystander hears nothing any more"
            time.sleep(0.02)
        assert not person.felt.faults, person.felt.faults
        assert person.felt.slowest_s < WORST_S
    for line in target.log.read_bytes()[logged:].decode(errors="replace").splitlines():
        assert "Traceback" not in line, line
        assert json.loads(line)["level"] in ("debug", "info", "warning", "critical"), line
