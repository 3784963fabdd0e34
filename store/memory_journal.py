"""``safety.ports.Journal`` without a disk, for tests and simulations. Survives as long as the object."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

from core.service import pause
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
        holds_max: So many turns fill it.
        rewrites: How often it was rewritten.
        outcomes: What became of turns, as ``EmergencyJournal.outcomes``.
    """

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.damage = ""
        self.delay_s = 0.0
        self.refuses = ""
        self.holds_max = 1_000_000
        self.rewrites = 0
        self.outcomes: Counter[str] = Counter()

    async def read(self) -> JournalContent:
        """See the port."""
        return JournalContent([ENTRY.unpack(payload) for payload in self.payloads], self.damage)

    @property
    def share(self) -> float:
        """See the port."""
        return len(self.payloads) / self.holds_max

    def append(
        self, entry: JournalEntry, done: Callable[[JournalRefused | None], None], *, is_alarm: bool = True
    ) -> None:
        """See the port."""
        asyncio.get_running_loop().call_later(self.delay_s, self._append, ENTRY.pack(entry), done)

    def _append(self, payload: bytes, done: Callable[[JournalRefused | None], None]) -> None:
        outcome = self.refuses or ("full" if len(self.payloads) >= self.holds_max else "")
        self.outcomes[outcome or "kept"] += 1
        if outcome:
            done(JournalRefused("the journal refuses", outcome=outcome))
            return
        self.payloads.append(payload)
        done(None)

    async def rewrite(self, entries: Iterable[JournalEntry]) -> bool:
        """See the port."""
        held = len(self.payloads)
        rewritten: list[bytes] = []
        for entry in entries:
            rewritten.append(ENTRY.pack(entry))
            await pause(self.delay_s)
        rewritten += self.payloads[held:]
        if len(self.payloads) < held or len(rewritten) > self.holds_max or self.refuses:
            return False
        self.payloads = rewritten
        self.rewrites += 1
        return True

    def clear(self) -> None:
        """See the port."""
        asyncio.get_running_loop().call_later(self.delay_s, self._clear)

    def _clear(self) -> None:
        self.payloads.clear()
        self.damage = ""
