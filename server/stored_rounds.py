"""Reads matching rounds from a data folder, also while a server runs on it; for the command line."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine

from core.errors import Unavailable
from core.shard import Shard
from dispatch.model import RoundFiling, StoredRound
from store.dispatch import RoundWindow as RoundWindow
from store.dispatch import read_filed_rounds, read_shards
from store.engines import reader_engine, run_read
from store.migrate import MAIN_FILE

_BUSY_TIMEOUT_S: Final = 5.0
_PAGE_LEN: Final = 100
"""Rounds read at a time: one is up to some hundred kilobytes."""
_TOLD_MAX: Final = 20
"""Names in an error."""


class NoRounds(RuntimeError):
    """The folder has no database that rounds could be read from, or the database knows no such tenant or city."""


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


def stored_rounds(folder: Path, window: RoundWindow) -> Iterator[tuple[StoredRound, RoundFiling]]:
    """Rounds of a window with what they were found by, oldest first by that.

    Raises:
        NoRounds: There is no database, it cannot be read, or it knows no such tenant or city.
    """
    after: tuple[float, str] | None = None

    def page(connection: Connection) -> list[tuple[StoredRound, RoundFiling]]:
        return read_filed_rounds(connection, window, after, _PAGE_LEN)

    with _opened(folder) as engine:
        try:
            _check_known(run_read(engine, read_shards), window)
            while True:
                found = run_read(engine, page)
                yield from found
                if len(found) < _PAGE_LEN:
                    return
                last = found[-1][1]
                after = last.at, last.round_id
        except Unavailable as error:
            raise NoRounds(f"{folder / MAIN_FILE.name}: {error.message}") from error


def _check_known(shards: list[Shard], window: RoundWindow) -> None:
    """A name that is mistyped is no window without rounds: nothing would be found, and so nothing amiss."""
    of_tenant = [shard for shard in shards if window.tenant in (None, shard.tenant)]
    if window.tenant is not None and not of_tenant:
        raise NoRounds(f"no tenant {window.tenant!r} is known here; known are: {_told(s.tenant for s in shards)}")
    if window.city is not None and all(shard.city != window.city for shard in of_tenant):
        raise NoRounds(f"no city {window.city!r} is known here; known are: {_told(s.city for s in of_tenant)}")


def _told(names: Iterable[str]) -> str:
    known = sorted(set(names))
    more = f" and {len(known) - _TOLD_MAX} more" if len(known) > _TOLD_MAX else ""
    return ", ".join(known[:_TOLD_MAX]) + more if known else "none"
