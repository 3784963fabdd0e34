"""What fault rows share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.plant import Plant
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
