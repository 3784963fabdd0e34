"""One database file in use: its writer, its readers, its outbox and its epoch."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar, cast

from sqlalchemy import Connection

from core.errors import Unavailable
from store.engines import reader_engine, run_read, writer_engine
from store.migrate import read_epoch
from store.outbox import Outbox
from store.settings import WriterSettings
from store.writer import Writer

ResultT = TypeVar("ResultT")


class Database:
    """An open file that has been migrated.

    Args:
        path: The file.
        settings: Bounds of its writer and readers.
        outbox: The outbox that lives in this file, None for a file without one.
        executor: Runs the writer's and the readers' jobs; None makes threads of their own: one writes, a few read.
            Give one only where the event loop runs executor jobs inline.
    """

    def __init__(
        self, path: Path, settings: WriterSettings, outbox: Outbox | None = None, executor: Executor | None = None
    ) -> None:
        self.path = path
        self._settings = settings
        self._own_executors: list[ThreadPoolExecutor] = []
        self._reads_waiting = 0
        engine = writer_engine(path, busy_timeout_s=settings.busy_timeout_s, wal_bytes_max=settings.wal_bytes_max)
        self.writer = Writer(engine, path, executor or self._threads(1, "writer"), settings, outbox)
        self._reader_executor = executor or self._threads(settings.readers, "reader")
        self._reader_engine = reader_engine(path, busy_timeout_s=settings.busy_timeout_s, connections=settings.readers)
        # First to open and last to close: only then is the write-ahead log folded into the file at the end.
        self.writer.connect()
        self.writer.fold()
        self.epoch: str = run_read(self._reader_engine, read_epoch)
        if outbox is not None:
            outbox.epoch = self.epoch

    def _threads(self, count: int, role: str) -> ThreadPoolExecutor:
        pool = ThreadPoolExecutor(count, thread_name_prefix=f"{self.path.name}-{role}")
        self._own_executors.append(pool)
        return pool

    def start(self) -> None:
        """Begin to take jobs. Needs a running loop."""
        self.writer.start()

    async def stop(self) -> None:
        """Finish waiting jobs and close the file. Idempotent."""
        # Readers first: whoever closes last folds the write-ahead log into the file, and they may not write.
        self._reader_engine.dispose()
        await self.writer.stop()
        for pool in self._own_executors:
            pool.shutdown(wait=True)

    async def read(self, query: Callable[[Connection], ResultT]) -> ResultT:
        """Run ``query`` in a reader's thread, in one read transaction that sees all commits answered so far.

        Raises:
            Unavailable: The database failed, or too many reads wait (``store_overloaded``).
        """
        if self._reads_waiting >= self._settings.reads_waiting_max:
            raise Unavailable(f"{self._reads_waiting} reads wait for {self.path.name}", code="store_overloaded")
        self._reads_waiting += 1
        try:
            found = await asyncio.get_running_loop().run_in_executor(
                self._reader_executor, run_read, self._reader_engine, query
            )
        finally:
            self._reads_waiting -= 1
        return cast(ResultT, found)

    async def write(self, work: Callable[[Connection], ResultT]) -> ResultT:
        """Run ``work`` in the writer's thread; returns once it is on the disk.

        Raises:
            Unavailable: Nothing was stored, or that is not known.
        """
        return await self.writer.submit(work)
