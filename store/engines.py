"""SQLAlchemy engines for one SQLite file: one that writes, one that only reads.

pysqlite's own transaction handling would turn group commit into one commit for each statement, silently; so it is
switched off (``isolation_level = None``) and SQLAlchemy's ``begin`` event starts transactions itself.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from core.errors import Unavailable

WRITER_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",  # one fdatasync for each commit: what was answered is on the disk
    "PRAGMA foreign_keys=ON",
    "PRAGMA mmap_size=0",  # a file error in a mapping is a SIGBUS; a read gives an error code
    "PRAGMA wal_autocheckpoint=0",  # the writer does it when nobody waits (writer.py)
    "PRAGMA temp_store=MEMORY",
)
READER_PRAGMAS = ("PRAGMA mmap_size=0", "PRAGMA query_only=ON", "PRAGMA temp_store=MEMORY")

# Result codes after which the transaction, and perhaps the connection, cannot be trusted (sqlite.org/rescode.html).
_FATAL = frozenset(
    {
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOTADB,
    }
)
_NO_ROOM = frozenset({sqlite3.SQLITE_IOERR_SHMSIZE})
_LOST_SYNC = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})
_CODES = {
    sqlite3.SQLITE_CONSTRAINT: "store_conflict",
    sqlite3.SQLITE_CORRUPT: "store_corrupt",
    sqlite3.SQLITE_NOTADB: "store_corrupt",
}


def writer_engine(path: Path, *, busy_timeout_s: float, wal_bytes_max: int = 8_388_608) -> Engine:
    """An engine with one connection that may write; transactions begin IMMEDIATE.

    The connection may be used from any one thread at a time.
    """
    pragmas = (*WRITER_PRAGMAS, f"PRAGMA journal_size_limit={wal_bytes_max}")
    return _engine(path, "rwc", "BEGIN IMMEDIATE", pragmas, busy_timeout_s, {"poolclass": NullPool})


def reader_engine(path: Path, *, busy_timeout_s: float, connections: int) -> Engine:
    """An engine whose connections cannot write; the file must exist and have been opened by a writer."""
    pool = {"poolclass": QueuePool, "pool_size": connections, "max_overflow": 0}
    return _engine(path, "ro", "BEGIN", READER_PRAGMAS, busy_timeout_s, pool)


def _engine(
    path: Path, mode: str, begin: str, pragmas: tuple[str, ...], busy_timeout_s: float, pool: dict[str, Any]
) -> Engine:
    uri = f"file:{quote(str(path.absolute()))}?mode={mode}"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, timeout=busy_timeout_s, check_same_thread=False, cached_statements=256)

    engine = create_engine("sqlite+pysqlite://", creator=connect, **pool)

    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(pragma)

    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine


def sqlite_code(error: BaseException) -> int:
    """SQLite's primary result code of an error, 0 when it has none."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", 0)
    return int(code) & 0xFF


def is_fatal(error: BaseException) -> bool:
    """Whether the whole transaction is lost, not only the statement."""
    return sqlite_code(error) in _FATAL


def is_full(error: BaseException) -> bool:
    """Whether the disk had no room."""
    return sqlite_code(error) == sqlite3.SQLITE_FULL or _extended_code(error) in _NO_ROOM


def lost_sync(error: BaseException) -> bool:
    """Whether the system failed to bring written bytes to the disk.

    Then it may have forgotten them, and say of the same bytes later that they are there: nothing that follows can be
    believed (fsync(2); PostgreSQL ends itself for the same reason).
    """
    return _extended_code(error) in _LOST_SYNC


def _extended_code(error: BaseException) -> int:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return int(getattr(cause, "sqlite_errorcode", 0))


def unavailable(error: BaseException, what: str) -> Unavailable:
    """The error that callers get for a database error. Holds no values: they may be personal."""
    code = sqlite_code(error)
    cause = error.orig if isinstance(error, DBAPIError) else error
    return Unavailable(f"{what}: {cause}", code=_CODES.get(code, "store_unavailable"))


def run_read(engine: Engine, query: Callable[[Connection], Any]) -> Any:
    """Run ``query`` in one read transaction: everything it sees is of one moment.

    Raises:
        Unavailable: The database failed.
    """
    try:
        with engine.connect() as connection, connection.begin():
            return query(connection)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise unavailable(error, "the database could not be read") from error
