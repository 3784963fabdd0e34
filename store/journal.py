"""The emergency journal: takes a turn of safety when the database does not, in a thread of its own.

What is in the file is told in ``store/journal_file.py``. Turns are packed as the database packs them, and compressed.
"""

import asyncio
import itertools
import logging
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from core.errors import Unavailable
from safety.errors import JournalRefused
from safety.ports import JournalContent, JournalEntry
from store.blobs import Blob
from store.journal_file import MIB, JournalFile, JournalFull, RewriteLost

_log = logging.getLogger(__name__)

FILE_NAME: Final = "safety.journal"
WAITING_MAX: Final = 256
"""Turns that wait for a disk that hangs; one more is refused, and tried again with the others."""
_REWRITTEN_AT_ONCE: Final = 16
"""Entries that are packed before the loop may do something else: about 1 ms."""
_COMPRESSION: Final = 1

ENTRY: Final = Blob(JournalEntry)


def entry_of(payload: bytes) -> JournalEntry:
    """What a frame holds. Raises ``Unavailable`` for what this code cannot read."""
    try:
        return ENTRY.unpack(zlib.decompress(payload))
    except zlib.error as error:
        raise Unavailable(f"not a turn: {error}", code="store_unavailable") from None


class EmergencyJournal:
    """``safety.ports.Journal`` on a ``JournalFile``, in a thread of its own.

    Args:
        folder: Where the file is, or will be; made when missing.
        size_mib: Its size.
        alarms_share: Share of it that only turns of an alarm may fill.
        executor: Only where the event loop runs executor jobs inline; else None.

    Attributes:
        outcomes: What became of turns: ``kept``, ``full``, ``failed`` (the disk), ``waiting`` (too many at once); and
            ``damaged`` when what was read was.
        rewrites: How often it was rewritten.
    """

    def __init__(
        self, folder: Path, size_mib: int, alarms_share: float = 0.0, executor: Executor | None = None
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        self.rewrites = 0
        self._path = folder / FILE_NAME
        self._size_mib = size_mib
        self._alarms_share = alarms_share
        self._own_thread = None if executor else ThreadPoolExecutor(1, thread_name_prefix="safety-journal")
        self._executor = executor or self._own_thread
        self._file: JournalFile | None = None
        self._waiting = 0

    def open(self) -> None:
        """Open the file now, in the caller's thread. A failure is logged, and tried again with each append."""
        try:
            self._opened()
        except OSError as error:
            _log.critical("the emergency journal cannot be opened", extra={"reason": str(error)})

    @property
    def held_bytes(self) -> int:
        """Bytes that the database has not taken yet."""
        return 0 if self._file is None else self._file.held_bytes

    @property
    def share(self) -> float:
        """See the port."""
        return 0.0 if self._file is None else self._file.held_bytes / self._file.size_bytes

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._file is not None

    async def read(self) -> JournalContent:
        """See the port."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._read)

    def append(
        self, entry: JournalEntry, done: Callable[[JournalRefused | None], None], *, is_alarm: bool = True
    ) -> None:
        """See the port."""
        loop = asyncio.get_running_loop()
        if self._waiting >= WAITING_MAX:
            self.outcomes["waiting"] += 1
            loop.call_soon(done, JournalRefused(f"{WAITING_MAX} turns wait for the journal", outcome="waiting"))
            return
        self._waiting += 1

        def answered(future: asyncio.Future[JournalRefused | None]) -> None:
            self._waiting -= 1
            refusal = future.result()
            self.outcomes["kept" if refusal is None else refusal.outcome] += 1
            done(refusal)

        # Encoded here: what the engine goes on to change must not be changed in the frame.
        loop.run_in_executor(self._executor, self._append, ENTRY.pack(entry), is_alarm).add_done_callback(answered)

    def clear(self) -> None:
        """See the port."""
        asyncio.get_running_loop().run_in_executor(self._executor, self._clear)

    async def rewrite(self, entries: Iterable[JournalEntry]) -> bool:
        """See the port."""
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(self._executor, self._attempted, JournalFile.rewrite_begin):
            return False
        try:
            is_done = await self._rewrite_all(iter(entries))
        except BaseException:
            if self._file is not None:
                loop.run_in_executor(self._executor, self._file.rewrite_drop)
            raise
        self.rewrites += is_done
        return is_done

    async def _rewrite_all(self, rest: Iterator[JournalEntry]) -> bool:
        loop = asyncio.get_running_loop()
        while packed := [ENTRY.pack(entry) for entry in itertools.islice(rest, _REWRITTEN_AT_ONCE)]:
            if not await loop.run_in_executor(self._executor, self._rewrite, packed):
                return False
        return await loop.run_in_executor(self._executor, self._attempted, JournalFile.rewrite_end)

    async def stop(self) -> None:
        """Close the file. Idempotent."""
        if self._own_thread is not None:
            self._own_thread.shutdown(wait=True)
        if self._file is not None:
            self._file.close()
            self._file = None

    # -- in the journal's thread ----------------------------------------------------------------------

    def _opened(self) -> JournalFile:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = JournalFile(self._path, self._size_mib * MIB)
        return self._file

    def _read(self) -> JournalContent:
        try:
            file = self._opened()
        except OSError as error:
            return JournalContent((), f"the journal cannot be opened: {error}")
        entries, damage = [], [file.damage] if file.damage else []
        for number, payload in enumerate(file.payloads):
            try:
                entries.append(entry_of(payload))
            except Unavailable as error:
                damage.append(f"turn {number}: {error.message}")
        if file.is_mixed:
            entries.sort(key=lambda entry: entry.at)
        if damage:
            self.outcomes["damaged"] += 1
        return JournalContent(entries, "; ".join(damage))

    def _append(self, packed: bytes, is_alarm: bool) -> JournalRefused | None:
        try:
            file = self._opened()
            leave_bytes = 0 if is_alarm else int(self._alarms_share * file.size_bytes)
            file.append(zlib.compress(packed, _COMPRESSION), leave_bytes=leave_bytes)
        except JournalFull:
            return JournalRefused("the emergency journal is full", outcome="full")
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing is promised and somebody waits to hear it
            _log.exception("the emergency journal failed")
            return JournalRefused(f"the emergency journal failed: {error}", outcome="failed")
        return None

    def _clear(self) -> None:
        if self._file is None or not self._file.held_bytes:
            return
        try:
            self._file.clear()
        except OSError as error:
            _log.error("the emergency journal could not be cleared", extra={"reason": str(error)})

    def _rewrite(self, packed: list[bytes]) -> bool:
        return all(self._attempted(JournalFile.rewrite, zlib.compress(one, _COMPRESSION)) for one in packed)

    def _attempted(self, step: Callable[..., None], *args: bytes) -> bool:
        try:
            step(self._opened(), *args)
        except RewriteLost:
            return False
        except (JournalFull, OSError) as error:
            _log.error("the emergency journal could not be rewritten", extra={"reason": str(error) or "full"})
            return False
        return True
