import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection

from core.errors import Unavailable
from store.engines import writer_engine
from store.settings import WriterSettings
from store.writer import Writer


class Diary:
    """Writes down what the writer says of jobs and transactions."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def keep_job(self) -> None:
        self.said.append("keep_job")

    def drop_job(self) -> None:
        self.said.append("drop_job")

    def keep_batch(self) -> None:
        self.said.append("keep_batch")

    def drop_batch(self) -> None:
        self.said.append("drop_batch")


class Bench:
    """A writer on a small file."""

    def __init__(self, folder: Path, settings: WriterSettings) -> None:
        self.path = folder / "t.db"
        with sqlite3.connect(self.path) as connection:
            connection.executescript(
                "CREATE TABLE t (id INTEGER PRIMARY KEY, body BLOB);"
                "CREATE TABLE parent (id INTEGER PRIMARY KEY);"
                "CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED);"
            )
        connection.close()
        self.diary = Diary()
        self.executor = ThreadPoolExecutor(1)
        engine = writer_engine(self.path, busy_timeout_s=settings.busy_timeout_s, wal_bytes_max=settings.wal_bytes_max)
        self.writer = Writer(engine, self.path, self.executor, settings, self.diary)

    def stored(self) -> list[int]:
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        try:
            return [row[0] for row in connection.execute("SELECT id FROM t ORDER BY id")]
        finally:
            connection.close()


def put(number: int, size: int = 8) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        connection.exec_driver_sql("INSERT INTO t VALUES (?, ?)", (number, bytes(size)))
        return number

    return work


@pytest.fixture
def settings() -> WriterSettings:
    return WriterSettings(busy_timeout_s=0.02, queue_len_max=50, wal_bytes_max=65_536, checkpoint_idle_s=0.02)


@pytest.fixture
async def bench(tmp_path: Path, settings: WriterSettings) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path, settings)
    bench.writer.start()
    yield bench
    await bench.writer.stop()
    bench.executor.shutdown()


async def test_jobs_that_wait_together_share_one_transaction(bench: Bench) -> None:
    results = await asyncio.gather(*(bench.writer.submit(put(n)) for n in range(20)))
    assert results == list(range(20))
    assert bench.stored() == list(range(20))
    assert (bench.writer.counters.transactions, bench.writer.counters.jobs) == (1, 20)


async def test_durability_and_journal_are_what_the_promises_need(bench: Bench) -> None:
    def pragmas(connection: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "mmap_size", "wal_autocheckpoint")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert await bench.writer.submit(pragmas) == ["wal", 2, 1, 0, 0]


async def test_a_job_that_fails_takes_back_only_its_own_rows(bench: Bench) -> None:
    def breaks(connection: Connection) -> None:
        put(2)(connection)
        raise KeyError("a defect in the job")

    first, broken, duplicate, last = (bench.writer.submit(work) for work in (put(1), breaks, put(1), put(3)))
    assert await first == 1
    with pytest.raises(KeyError):
        await broken
    with pytest.raises(Unavailable) as caught:
        await duplicate
    assert caught.value.code == "store_conflict"
    assert await last == 3
    assert bench.stored() == [1, 3]
    assert bench.diary.said == ["keep_job", "drop_job", "drop_job", "keep_job", "keep_batch"]


async def test_an_error_of_the_commit_itself_fails_every_job_and_the_next_one_works(bench: Bench) -> None:
    def orphan(connection: Connection) -> None:
        connection.exec_driver_sql("INSERT INTO child VALUES (99)")

    outcomes = await asyncio.gather(bench.writer.submit(put(1)), bench.writer.submit(orphan), return_exceptions=True)
    assert all(isinstance(outcome, Unavailable) and "unknown" in outcome.message for outcome in outcomes)
    assert bench.diary.said[-1] == "drop_batch"
    assert await bench.writer.submit(put(2)) == 2
    assert bench.stored() == [2]


async def test_a_full_disk_loses_the_transaction_and_the_writer_recovers_when_there_is_room(bench: Bench) -> None:
    await bench.writer.submit(put(1))

    def no_room(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=1")

    await bench.writer.submit(no_room)
    outcomes = await asyncio.gather(
        bench.writer.submit(put(2)), bench.writer.submit(put(3, 100_000)), return_exceptions=True
    )
    assert all(isinstance(outcome, Unavailable) and "full" in outcome.message for outcome in outcomes)
    assert await bench.writer.submit(put(4, 100_000)) == 4  # a new connection knows nothing of the small limit
    assert bench.stored() == [1, 4]


async def test_a_foreign_lock_is_waited_for_and_then_told(bench: Bench) -> None:
    other = sqlite3.connect(bench.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="locked") as caught:
        await bench.writer.submit(put(1))
    assert caught.value.code == "store_unavailable"
    other.execute("ROLLBACK")
    other.close()
    assert await bench.writer.submit(put(1)) == 1


async def test_a_full_queue_refuses_and_what_was_taken_is_done(bench: Bench, settings: WriterSettings) -> None:
    blocked, go_on = threading.Event(), threading.Event()

    def block(connection: Connection) -> None:
        blocked.set()
        go_on.wait(10)

    first = bench.writer.submit(block)
    await asyncio.get_running_loop().run_in_executor(None, blocked.wait)
    waiting = [bench.writer.submit(put(n)) for n in range(settings.queue_len_max)]
    with pytest.raises(Unavailable) as caught:
        bench.writer.submit(put(-1))
    assert caught.value.code == "store_overloaded"
    assert bench.writer.counters.jobs_refused == 1
    go_on.set()
    await asyncio.gather(first, *waiting)
    assert len(bench.stored()) == settings.queue_len_max


async def test_stopping_finishes_what_waits_and_then_refuses(bench: Bench) -> None:
    futures = [bench.writer.submit(put(n)) for n in range(5)]
    await bench.writer.stop()
    assert [future.result() for future in futures] == list(range(5))
    with pytest.raises(Unavailable) as caught:
        bench.writer.submit(put(9))
    assert caught.value.code == "draining"
    assert not bench.path.with_name("t.db-wal").exists()  # folded into the file by the last close


async def test_an_observer_that_fails_keeps_nobody_waiting(bench: Bench) -> None:
    def broken(took_s: float) -> None:
        raise ValueError("a defect of the metrics")

    bench.writer.observe = broken
    async with asyncio.timeout(2):
        assert await bench.writer.submit(put(1)) == 1
        assert await bench.writer.submit(put(2)) == 2
    bench.writer.observe = None


async def test_a_checkpoint_that_fails_in_an_unknown_way_does_not_end_the_writer(bench: Bench) -> None:
    def broken() -> int:
        raise RuntimeError("a defect of the driver")

    working, bench.writer._wal_bytes = bench.writer._wal_bytes, broken  # type: ignore[method-assign]
    async with asyncio.timeout(2):
        with pytest.raises(Unavailable):
            await bench.writer.submit(put(1))  # it was committed; that cannot be known here
        bench.writer._wal_bytes = working  # type: ignore[method-assign]
        assert await bench.writer.submit(put(2)) == 2


async def test_a_writer_whose_task_was_ended_leaves_nobody_waiting_and_refuses(bench: Bench) -> None:
    blocked, go_on = threading.Event(), threading.Event()

    def block(connection: Connection) -> None:
        blocked.set()
        go_on.wait(10)

    first = bench.writer.submit(block)
    await asyncio.get_running_loop().run_in_executor(None, blocked.wait)
    second = bench.writer.submit(put(1))
    task = bench.writer._task
    assert task is not None
    task.cancel()
    go_on.set()
    async with asyncio.timeout(2):
        outcomes = await asyncio.gather(first, second, task, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unavailable, Unavailable, asyncio.CancelledError]
    with pytest.raises(Unavailable):
        bench.writer.submit(put(2))
    bench.writer._task = None  # so that the fixture can close the file


async def test_a_large_log_is_checkpointed_and_stays_bounded(bench: Bench, settings: WriterSettings) -> None:
    for n in range(60):
        await bench.writer.submit(put(n, 20_000))
    assert bench.writer.counters.checkpoints >= 5
    assert bench.path.with_name("t.db-wal").stat().st_size < 3 * settings.wal_bytes_max


async def test_a_reader_in_the_way_of_a_checkpoint_delays_nobody(bench: Bench) -> None:
    reader = sqlite3.connect(f"file:{bench.path}?mode=ro", uri=True, isolation_level=None)
    await bench.writer.submit(put(0))
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (1,)
    for n in range(1, 30):
        await bench.writer.submit(put(n, 20_000))
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (1,)
    reader.close()
    assert len(bench.stored()) == 30


async def test_a_quiet_writer_checkpoints_once(bench: Bench) -> None:
    await bench.writer.submit(put(1))
    async with asyncio.timeout(5):
        while bench.writer.counters.checkpoints == 0:
            await asyncio.get_running_loop().run_in_executor(None, threading.Event().wait, 0.01)
    assert bench.writer.counters.checkpoints == 1


def failing_sync(code: int) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = code
        raise error

    return work


async def test_a_sync_that_failed_fences_the_file_for_ever_and_is_told_once(bench: Bench) -> None:
    told: list[str] = []
    bench.writer.on_fenced = lambda: told.append("fenced")
    await bench.writer.submit(put(1))
    with pytest.raises(Unavailable):
        await bench.writer.submit(failing_sync(sqlite3.SQLITE_IOERR_FSYNC))
    for number in (2, 3):
        with pytest.raises(Unavailable, match="fenced"):
            await bench.writer.submit(put(number))
    assert (told, bench.stored()) == (["fenced"], [1])


async def test_another_error_of_the_disk_is_no_reason_to_fence(bench: Bench) -> None:
    with pytest.raises(Unavailable):
        await bench.writer.submit(failing_sync(sqlite3.SQLITE_IOERR_WRITE))
    await bench.writer.submit(put(1))
    assert not bench.writer.is_fenced


async def test_a_full_disk_is_told_in_the_writers_thread(bench: Bench) -> None:
    threads: list[int] = []
    bench.writer.on_full = lambda: threads.append(threading.get_ident())
    with pytest.raises(Unavailable):
        await bench.writer.submit(failing_sync(sqlite3.SQLITE_FULL))
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()
    await bench.writer.submit(put(1))


def test_a_log_that_was_left_is_folded_first(tmp_path: Path, settings: WriterSettings) -> None:
    bench = Bench(tmp_path, settings)
    other = sqlite3.connect(bench.path)
    other.execute("PRAGMA journal_mode=WAL")
    other.execute("INSERT INTO t VALUES (7, x'00')")
    other.commit()
    wal = bench.path.with_name("t.db-wal")
    assert wal.stat().st_size > 0
    bench.writer.connect()
    bench.writer.fold()
    assert wal.stat().st_size == 0
    assert bench.stored() == [7]
    other.close()
    bench.executor.shutdown()
