import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from core.outbox import Stream
from store.memory import MemoryStores
from store.settings import StoreSettings
from store.sqlite import Stores, open_stores
from tests.contract.store_values import CountedIds, ManualClock
from tests.redis_server import RedisServer


class Node:
    """A store under test, which can be closed and opened again where it has a disk."""

    def __init__(self, kind: str, folder: Path, clock: ManualClock) -> None:
        self.kind = kind
        self.clock = clock
        self.settings = StoreSettings()
        self._folder = folder
        self.stores: Stores | MemoryStores
        self.open()

    def open(self) -> None:
        if self.kind == "sqlite":
            self.stores = open_stores(self._folder, self.clock, CountedIds(), self.settings)
        else:
            self.stores = MemoryStores(self.clock, CountedIds(), self.settings.retention)

    async def reopen(self) -> None:
        """Close and open again; the in-memory twin has nothing to lose and stays as it is."""
        if self.kind == "sqlite":
            await self.stores.stop()
            self.open()
            await self.stores.start()

    def break_reads(self, stream: Stream) -> None:
        """Let every read of one stream fail, the other's database being healthy."""
        if isinstance(self.stores, MemoryStores):
            self.stores.streams.faults[stream].fail_reads(10**9)
        else:
            self._rename(stream, "streams", "streams_away")

    def mend_reads(self, stream: Stream) -> None:
        """Let them work again."""
        if isinstance(self.stores, MemoryStores):
            self.stores.streams.faults[stream].fail_reads(0)
        else:
            self._rename(stream, "streams_away", "streams")

    def _rename(self, stream: Stream, table: str, name: str) -> None:
        file = self._folder / ("safety.db" if stream is Stream.SAFETY else "doorstep.db")
        with closing(sqlite3.connect(file)) as connection:
            connection.execute(f"ALTER TABLE {table} RENAME TO {name}")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", "memory"])
async def node(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Node]:
    node = Node(request.param, tmp_path / "data", clock)
    await node.stores.start()
    yield node
    await node.stores.stop()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()
