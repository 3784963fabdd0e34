"""``safety.ports.Journal`` without a disk, for tests and simulations. Survives as long as the object."""

import asyncio
from collections import Counter
from collections.abc import Callable

from safety.errors import JournalRefused
from safety.ports import JournalContent, JournalEntry
from store.journal import ENTRY


class MemoryJournal:
    """Keeps turns in a list, encoded as on a disk.

    Attributes:
        payloads: What is held.
        damage: What ``read`` says of it.
        delay_s: Every write takes this long, in the loop's time.
        refuses: The outcome (``full``, ``failed``) with which turns are refused; empty for not at all.
        outcomes: What became of turns, as ``EmergencyJournal.outcomes``.
    """

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.damage = ""
        self.delay_s = 0.0
        self.refuses = ""
        self.outcomes: Counter[str] = Counter()

    async def read(self) -> JournalContent:
        """See the port."""
        return JournalContent([ENTRY.unpack(payload) for payload in self.payloads], self.damage)

    def append(self, entry: JournalEntry, done: Callable[[JournalRefused | None], None]) -> None:
        """See the port."""
        asyncio.get_running_loop().call_later(self.delay_s, self._append, ENTRY.pack(entry), done)

    def _append(self, payload: bytes, done: Callable[[JournalRefused | None], None]) -> None:
        self.outcomes[self.refuses or "kept"] += 1
        if self.refuses:
            done(JournalRefused("the journal was told to refuse", outcome=self.refuses))
            return
        self.payloads.append(payload)
        done(None)

    def clear(self) -> None:
        """See the port."""
        asyncio.get_running_loop().call_later(self.delay_s, self._clear)

    def _clear(self) -> None:
        self.payloads.clear()
        self.damage = ""
