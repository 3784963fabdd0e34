"""Brings the database files to the schema of this code, in process, at start.

Each file has its own line of migrations under ``migrations/<branch>/versions``, made with Alembic. A file that was
written by newer code is refused: this code would not know what its columns mean. Each file's migrations run in one
transaction, so a failed one leaves the file as it was.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from core.ids import IdSource
from store.engines import sqlite_code, writer_engine
from store.lock import FolderLock

_SCRIPTS: Final = Path(__file__).parent / "migrations"
_BUSY_TIMEOUT_S: Final = 5.0
_NOT_A_DATABASE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_KEEP_EPOCH: Final = "INSERT OR IGNORE INTO meta VALUES ('epoch', :epoch)"


@dataclass(frozen=True, slots=True)
class DatabaseFile:
    """One of the three files and where its migrations lie."""

    name: str
    branch: str


MAIN_FILE: Final = DatabaseFile("doorstep.db", "main")
SAFETY_FILE: Final = DatabaseFile("safety.db", "safety")
TRACKS_FILE: Final = DatabaseFile("tracks.db", "tracks")
FILES: Final = (MAIN_FILE, SAFETY_FILE, TRACKS_FILE)


class DatabaseRefused(RuntimeError):
    """A file cannot be used as it is; the text is for whoever started the server."""


class DatabaseTooNew(DatabaseRefused):
    """It was written by a newer version of the server."""


class NoDatabase(DatabaseRefused):
    """It is none of SQLite's, or damaged."""


def migrate(folder: Path, ids: IdSource) -> dict[str, str]:
    """Make or upgrade all three files; returns the revision of each. Blocks.

    Raises:
        FolderInUse: A server is running on this folder.
        DatabaseTooNew: A file is newer than this code; nothing was changed in that file.
        NoDatabase: A file cannot be read as a database.
    """
    lock = FolderLock(folder)
    try:
        return migrate_locked(folder, ids)
    finally:
        lock.release()


def migrate_locked(folder: Path, ids: IdSource) -> dict[str, str]:
    """The same, for a caller that holds the folder's lock."""
    found = {}
    for file in FILES:
        try:
            found[file.name] = _upgrade(folder, file, ids)
        except DBAPIError as error:
            if sqlite_code(error) not in _NOT_A_DATABASE:
                raise
            raise NoDatabase(
                f"{folder / file.name} cannot be read as a SQLite database ({error.orig}); restore it from a backup, "
                "or move it away to begin with an empty one"
            ) from error
    return found


def renew_epochs(folder: Path, ids: IdSource) -> None:
    """Give the files new epochs: to be called after a backup was restored.

    Clients then take a snapshot instead of trusting numbers that were given twice.
    """
    lock = FolderLock(folder)
    try:
        for file in FILES:
            with _connected(folder / file.name) as connection, connection.begin():
                _put_epoch(connection, ids.new("ep_"), replace=True)
    finally:
        lock.release()


@contextmanager
def _connected(path: Path) -> Iterator[Connection]:
    engine = writer_engine(path, busy_timeout_s=_BUSY_TIMEOUT_S)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _upgrade(folder: Path, file: DatabaseFile, ids: IdSource) -> str:
    config = Config()
    # Alembic reads "%" in an option as the start of a variable.
    config.set_main_option("script_location", str(_SCRIPTS / file.branch).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    newest = scripts.get_current_head()
    if newest is None:
        raise RuntimeError(f"no migrations of {file.name} are installed below {_SCRIPTS / file.branch}")
    with _connected(folder / file.name) as connection:
        with connection.begin():
            current = MigrationContext.configure(connection).get_current_revision()
        if current == newest:
            return newest
        known = {script.revision for script in scripts.walk_revisions()}
        if current is not None and current not in known:
            raise DatabaseTooNew(
                f"{folder / file.name} has revision {current}, this version of doorstep knows revisions up to "
                f"{newest}: it was written by a newer version; run that one, or restore an older backup"
            )
        environment = EnvironmentContext(
            config, scripts, fn=lambda revision, _context: scripts._upgrade_revs(newest, revision)
        )
        with environment, connection.begin():
            environment.configure(connection=connection, transactional_ddl=True)
            environment.run_migrations()
            _put_epoch(connection, ids.new("ep_"), replace=False)
    return newest


def _put_epoch(connection: Connection, epoch: str, *, replace: bool) -> None:
    statement = "REPLACE INTO meta VALUES ('epoch', :epoch)" if replace else _KEEP_EPOCH
    connection.execute(text(statement), {"epoch": epoch})


def read_epoch(connection: Connection) -> str:
    """The random id that the file got when it was made."""
    return str(connection.execute(text("SELECT value FROM meta WHERE name = 'epoch'")).scalar_one())
