"""``safety.ports.Journal`` without a disk, for tests and simulations. Survives as long as the object."""

from core.service import pause
from safety.errors import JournalRefused
from safety.ports import JournalContent, JournalEntry


class MemoryJournal:
    """Keeps turns in a list.

    Attributes:
        entries: What is held.
        damage: What ``read`` says of it.
        delay_s: Every append takes this long, in the loop's time.
        refuses: The outcome (``full``, ``failed``) with which turns are refused; empty for not at all.
        appended: Turns that were taken, for assertions.
    """

    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []
        self.damage = ""
        self.delay_s = 0.0
        self.refuses = ""
        self.appended = 0

    async def read(self) -> JournalContent:
        """See the port."""
        return JournalContent(tuple(self.entries), self.damage)

    async def append(self, entry: JournalEntry) -> None:
        """See the port."""
        await pause(self.delay_s)
        if self.refuses:
            raise JournalRefused("the journal was told to refuse", outcome=self.refuses)
        self.entries.append(entry)
        self.appended += 1

    async def clear(self) -> None:
        """See the port."""
        self.entries.clear()
        self.damage = ""
