"""The one writer of one SQLite file: many commits share one transaction, and so one fsync.

::

    submit -> deque -> committer task -> run_in_executor(one thread) -> BEGIN IMMEDIATE
                                                                         SAVEPOINT job 1 … RELEASE
                                                                         SAVEPOINT job 2 … ROLLBACK TO   (it failed)
                                                                        COMMIT -> futures of all jobs

A failing job takes back its own savepoint and nobody else's. An error of COMMIT itself leaves the outcome unknown:
all jobs are told ``Unavailable`` and the connection is opened anew. Only this writer checkpoints (PASSIVE), after its
jobs were answered: when the write-ahead log is large, or when nobody is waiting. While a batch is being committed the
next one gathers, so the group grows with the load by itself.

A sync that failed fences the file: the system may have forgotten what was written, so nothing is written to it by this
process any more. Whoever made the writer is told, and is to end the process.
"""

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from core.errors import Unavailable
from core.service import pause
from store.engines import is_fatal, is_full, lost_sync, unavailable
from store.settings import WriterSettings
from store.statements import run_text

_log = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

_DATABASE_ERRORS = (SQLAlchemyError, sqlite3.Error)
_FAULT_PAUSE_S: Final = 0.1
"""Before the writer goes on after a defect of its own: a lasting one must not keep the loop busy."""


class Follower(Protocol):
    """Something in memory that the writer's thread changes and that must share the fate of the transaction.

    All calls are made in the writer's thread.
    """

    def keep_job(self) -> None:
        """The job's savepoint was released."""
        ...

    def drop_job(self) -> None:
        """The job's savepoint was rolled back."""
        ...

    def keep_batch(self) -> None:
        """The transaction was committed."""
        ...

    def drop_batch(self) -> None:
        """The transaction was rolled back, or its outcome is unknown: believe only the file."""
        ...


@dataclass(slots=True)
class _Job(Generic[ResultT]):
    work: Callable[[Connection], ResultT]
    future: "asyncio.Future[ResultT]"
    submitted_at: float


@dataclass(frozen=True, slots=True)
class _Outcome:
    value: Any = None  # what the job returned
    error: BaseException | None = None


@dataclass(slots=True)
class WriterCounters:
    """What a writer has done since it started."""

    transactions: int = 0
    jobs: int = 0
    jobs_failed: int = 0
    jobs_refused: int = 0
    transactions_failed: int = 0
    checkpoints: int = 0


class Writer:
    """Runs jobs on one file, in the order in which they were submitted.

    Args:
        engine: From ``engines.writer_engine``.
        path: The database file; beside it lies the write-ahead log whose size is watched.
        executor: Runs one thing at a time, or belongs to a loop that runs executor jobs inline.
        settings: Bounds.
        follower: Told the fate of each job and transaction.
    """

    def __init__(
        self, engine: Engine, path: Path, executor: Executor, settings: WriterSettings, follower: Follower | None = None
    ) -> None:
        self.counters = WriterCounters()
        self.observe: Callable[[float], None] | None = None
        """Told of each transaction how many seconds its oldest job took, waiting included."""
        self.on_full: Callable[[], None] | None = None
        """Called in the writer's thread when the disk had no room."""
        self.on_fenced: Callable[[], None] | None = None
        """Called once, on the loop, when a sync has failed."""
        self.is_fenced = False
        self._engine = engine
        self._name = path.name
        self._wal = path.with_name(path.name + "-wal")
        self._executor = executor
        self._settings = settings
        self._follower = follower
        self._connection: Connection | None = None
        self._jobs: deque[_Job[Any]] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        # Touched by the writer's thread only.
        self._checkpoint_at_bytes = settings.wal_bytes_max
        self._wal_is_large = False
        self._unchecked = False

    # -- on the event loop ----------------------------------------------------------------------------

    def connect(self) -> None:
        """Open the file now, in the caller's thread, before ``start``. Raises ``Unavailable``."""
        try:
            self._connected()
        except _DATABASE_ERRORS as error:
            raise unavailable(error, f"{self._name} could not be opened") from error

    def fold(self) -> None:
        """Copy all of the write-ahead log into the file, in the caller's thread, before ``start``.

        What a failed sync of an earlier process left in the log may not be on the disk although it can be read: after
        this nothing is built upon it. A log that cannot be copied now is left as it is.
        """
        try:
            driver: sqlite3.Connection = self._connected().connection.driver_connection  # type: ignore[assignment]
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except _DATABASE_ERRORS as error:
            self._judge(error)
            _log.warning("the log could not be folded", extra={"database": self._name, "reason": str(error)})
            self._forget_connection()

    def start(self) -> None:
        """Begin to take jobs. Needs a running loop."""
        self._stopping = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"writer {self._name}")

    async def stop(self) -> None:
        """Finish all waiting jobs, then close the connection. Idempotent."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
            self._task = None
        if self._connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._close)

    @property
    def waiting(self) -> int:
        """Jobs not yet taken into a transaction."""
        return len(self._jobs)

    def submit(self, work: Callable[[Connection], ResultT]) -> "asyncio.Future[ResultT]":
        """Queue ``work``; the future is done when its transaction is committed, or with the error that prevented it.

        ``work`` runs in the writer's thread inside a savepoint. It must not commit. A caller that goes away
        does not stop its job.

        Raises:
            Unavailable: Too many jobs wait (``store_overloaded``), or the writer is not running (``draining``).
        """
        if self._stopping or self._task is None or self._task.done():
            raise Unavailable(f"the writer of {self._name} is not running", code="draining")
        if len(self._jobs) >= self._settings.queue_len_max:
            self.counters.jobs_refused += 1
            raise Unavailable(f"{self._settings.queue_len_max} commits wait for {self._name}", code="store_overloaded")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ResultT] = loop.create_future()
        self._jobs.append(_Job(work, future, loop.time()))
        self._wake.set()
        return future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._jobs or not self._stopping:
                try:
                    await (self._commit_next(loop) if self._jobs else self._wait_for_jobs(loop))
                except Exception:  # noqa: BLE001 - a defect of this class must not end the only writer of the file
                    _log.exception("the writer failed and goes on", extra={"database": self._name})
                    await pause(_FAULT_PAUSE_S)
        finally:
            while self._jobs:  # only when the task was cancelled
                self._answer([self._jobs.popleft()], [_Outcome(error=self._lost())])

    async def _commit_next(self, loop: asyncio.AbstractEventLoop) -> None:
        count = min(len(self._jobs), self._settings.batch_len_max)
        batch = [self._jobs.popleft() for _ in range(count)]
        lost = self._lost()
        outcomes = [_Outcome(error=lost)] * count
        try:
            outcomes = await loop.run_in_executor(self._executor, self._commit, [job.work for job in batch])
        except Exception as error:  # noqa: BLE001 - nobody may wait for ever on a defect of this class
            lost.__cause__ = error
            _log.exception("writer failed", extra={"database": self._name})
            await loop.run_in_executor(self._executor, self._forget_connection)
        finally:
            self._answer(batch, outcomes)
        if self.is_fenced and self.on_fenced is not None:
            tell, self.on_fenced = self.on_fenced, None
            tell()
        if self.observe is not None:
            self.observe(loop.time() - batch[0].submitted_at)
        if self._wal_is_large:
            await loop.run_in_executor(self._executor, self._checkpoint)

    def _lost(self) -> Unavailable:
        return Unavailable(f"the writer of {self._name} failed")

    def _answer(self, batch: Sequence[_Job[Any]], outcomes: Sequence[_Outcome]) -> None:
        self.counters.jobs += len(batch)
        for job, outcome in zip(batch, outcomes, strict=True):
            if outcome.error is not None:
                self.counters.jobs_failed += 1
            if job.future.done():
                continue  # the caller went away; the job was done all the same
            if outcome.error is not None:
                job.future.set_exception(outcome.error)
            else:
                job.future.set_result(outcome.value)

    async def _wait_for_jobs(self, loop: asyncio.AbstractEventLoop) -> None:
        self._wake.clear()
        if self._unchecked:
            timer = loop.call_later(self._settings.checkpoint_idle_s, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()
            if not self._jobs and not self._stopping:
                await loop.run_in_executor(self._executor, self._checkpoint)
        else:
            await self._wake.wait()

    # -- in the writer's thread -----------------------------------------------------------------------

    def _commit(self, works: Sequence[Callable[[Connection], Any]]) -> list[_Outcome]:
        """Run all jobs in one transaction; one outcome for each."""
        if self.is_fenced:
            return self._lose(works, Unavailable(f"{self._name} is fenced: a sync failed, restart the process"))
        try:
            connection = self._connected()
            transaction = connection.begin()
        except _DATABASE_ERRORS as error:
            self._judge(error)
            return self._lose(works, unavailable(error, f"{self._name} could not be locked for writing"))
        outcomes = []
        for work in works:
            try:
                outcomes.append(self._run_job(connection, work))
            except _DATABASE_ERRORS as error:
                self._judge(error)
                return self._lose(works, unavailable(error, f"{self._name} failed and nothing was stored"))
        try:
            transaction.commit()
        except _DATABASE_ERRORS as error:
            self._judge(error)
            text = f"{self._name}: the outcome of the commit is unknown"
            return self._lose(works, Unavailable(f"{text}: {error}", code="store_unavailable"))
        if self._follower is not None:
            self._follower.keep_batch()
        self.counters.transactions += 1
        self._unchecked = True
        self._wal_is_large = self._wal_bytes() > self._checkpoint_at_bytes
        return outcomes

    def _run_job(self, connection: Connection, work: Callable[[Connection], Any]) -> _Outcome:
        """Run one job in a savepoint. Raises only when the whole transaction is lost."""
        run_text(connection, "SAVEPOINT job")
        try:
            outcome = _Outcome(work(connection))
        except Exception as error:  # whatever it is, it is this job's, and its future gets it
            if is_fatal(error):
                raise
            run_text(connection, "ROLLBACK TO job")
            outcome = _Outcome(error=unavailable(error, "not stored") if isinstance(error, _DATABASE_ERRORS) else error)
        # Raises when an error has ended the transaction: then there is no savepoint any more.
        run_text(connection, "RELEASE job")
        if self._follower is not None:
            if outcome.error is None:
                self._follower.keep_job()
            else:
                self._follower.drop_job()
        return outcome

    def _judge(self, error: BaseException) -> None:
        """What an error says about the disk."""
        if is_full(error) and self.on_full is not None:
            self.on_full()
        if lost_sync(error) and not self.is_fenced:
            self.is_fenced = True
            _log.critical("a sync failed: the file is fenced", extra={"database": self._name})

    def _lose(self, works: Sequence[object], error: Unavailable) -> list[_Outcome]:
        """Nothing of this transaction may be believed: start again from the file."""
        self.counters.transactions_failed += 1
        _log.error("transaction failed", extra={"database": self._name, "code": error.code, "reason": error.message})
        self._forget_connection()
        return [_Outcome(error=error)] * len(works)

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _forget_connection(self) -> None:
        if self._follower is not None:
            self._follower.drop_batch()
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.invalidate()  # closes the driver's connection, which rolls back whatever was open
            connection.close()
        except _DATABASE_ERRORS:
            _log.exception("closing a failed connection failed", extra={"database": self._name})
            self._engine.dispose()

    def _checkpoint(self) -> None:
        """Copy the write-ahead log into the database as far as readers allow; never waits for them."""
        self._unchecked = False
        self._wal_is_large = False
        try:
            # Past SQLAlchemy: it would begin a transaction first, and a checkpoint inside one does nothing.
            driver: sqlite3.Connection = self._connected().connection.driver_connection  # type: ignore[assignment]
            _, in_log, copied = driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except Exception as error:  # noqa: BLE001 - the data is safe in the log; whatever it is, commits must go on
            self._judge(error)
            _log.warning("checkpoint failed", extra={"database": self._name, "reason": str(error)})
            self._forget_connection()
            return
        self.counters.checkpoints += 1
        limit = self._settings.wal_bytes_max
        # A reader holds the rest: the file goes on growing, so try again only when it has.
        self._checkpoint_at_bytes = limit if in_log == copied else self._wal_bytes() + limit // 2

    def _wal_bytes(self) -> int:
        try:
            return self._wal.stat().st_size
        except OSError:
            return 0  # there is none yet

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._engine.dispose()
