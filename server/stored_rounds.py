"""Reads matching rounds from a data folder, also while a server runs on it; for the command line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine

from core.errors import Unavailable
from dispatch.model import StoredRound
from store.dispatch import RoundWindow as RoundWindow
from store.dispatch import read_rounds
from store.engines import reader_engine, run_read
from store.migrate import MAIN_FILE

_BUSY_TIMEOUT_S: Final = 5.0
_PAGE_LEN: Final = 100
"""Rounds read at a time: one is up to some hundred kilobytes."""


class NoRounds(RuntimeError):
    """The folder has no database that rounds could be read from."""


@contextmanager
def _opened(folder: Path) -> Iterator[Engine]:
    path = folder / MAIN_FILE.name
    if not path.is_file():
        raise NoRounds(f"there is no {MAIN_FILE.name} in {folder}")
    engine = reader_engine(path, busy_timeout_s=_BUSY_TIMEOUT_S, connections=1)
    try:
        yield engine
    finally:
        engine.dispose()


def stored_rounds(folder: Path, window: RoundWindow) -> Iterator[StoredRound]:
    """Rounds of a window, oldest first.

    Raises:
        NoRounds: There is no database, or it cannot be read.
    """
    after: tuple[float, str] | None = None

    def page(connection: Connection) -> list[StoredRound]:
        return read_rounds(connection, window, after, _PAGE_LEN)

    with _opened(folder) as engine:
        while True:
            try:
                found = run_read(engine, page)
            except Unavailable as error:
                raise NoRounds(f"{folder / MAIN_FILE.name}: {error.message}") from error
            yield from found
            if len(found) < _PAGE_LEN:
                return
            after = found[-1].at, found[-1].round_id
