"""What fault rows share."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.plant import Plant
from tests.faults.town import Town, start_town
from tests.faults.zygote import Zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    with Zygote() as zygote:
        yield zygote


@pytest.fixture
def plant(tmp_path: Path, zygote: Zygote) -> Iterator[Plant]:
    """A server that has been started once: its files are there. Each row says what happens next."""
    plant = Plant(tmp_path, zygote)
    plant.node.start()
    yield plant
    plant.node.kill()


@pytest.fixture(scope="session")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with start_town(tmp_path_factory.mktemp("town")) as server:
        yield Town(server)


@pytest.fixture
def town(_running: Town) -> Iterator[Town]:
    """One server for all rows that leave it as it was; after each it still stands and has logged no failure."""
    log: Path = _running.target.log
    logged = log.stat().st_size
    yield _running
    assert _running.server.is_running
    for line in log.read_bytes()[logged:].decode(errors="replace").splitlines():
        assert "Traceback" not in line, line
        assert json.loads(line)["level"] in ("debug", "info", "warning", "critical"), line
