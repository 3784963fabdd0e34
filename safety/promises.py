"""What is promised while the database is away: each turn goes to the emergency journal, which is kept from filling up.

The journal gets turns as they are decided, and an alarm that nobody takes makes one every second for as long as the
database is away. What waits for the database says the same in little space, because the changes of an incident are
joined there: once the journal is half full, it is rewritten from that.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from core.clock import Clock
from core.service import pause
from safety.errors import JournalRefused
from safety.ports import Journal, JournalEntry
from safety.settings import JournalSettings
from safety.storing import wait_for
from safety.unstored import Batch, Unstored

_log = logging.getLogger(__name__)

_REWRITE_AT: Final = 0.5
"""Share of the journal that is full when it is rewritten."""
_REWRITE_GAIN: Final = 0.25
"""It is rewritten again when this much has come since: what cannot be made smaller must not be written on and on."""
_REWRITE_AGAIN_S: Final = 30.0
"""A journal that refused a turn as full is rewritten no more often than this."""


class Promises:
    """The journal as the service uses it.

    Args:
        clock: Gives the time of entries.
        journal: Where turns go.
        unstored: What waits for the database.
        settings: How long a turn waits for the journal.
        promised: Called when the journal has taken something.
    """

    def __init__(
        self,
        clock: Clock,
        journal: Journal,
        unstored: Unstored,
        settings: JournalSettings,
        promised: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._unstored = unstored
        self._settings = settings
        self._promised = promised
        self._is_late = False
        self._holds = False
        self._left_share = 0.0
        self._rewrite_not_before = 0.0  # in clock.monotonic() terms
        self._rewrite_wake = asyncio.Event()

    def held(self) -> None:
        """The journal held something when it was read."""
        self._holds = True

    def all_stored(self) -> None:
        """The database has everything."""
        if self._holds:
            self._holds = False
            self._left_share = 0.0
            self._journal.clear()

    async def keep(self, turn: Batch, homes: Sequence[Batch], now: float) -> None:
        """Write a turn to the journal and wait for it, but never longer than ``journal.wait_s``.

        Args:
            turn: What to write.
            homes: The batches in which it waits for the database.
            now: UTC epoch seconds.
        """
        answered = self._append(turn, homes, now)
        await wait_for(answered, self._settings.wait_s / (10 if self._is_late else 1))
        self._is_late = not answered.is_set()

    def _append(self, turn: Batch, homes: Sequence[Batch], now: float) -> asyncio.Event:
        answered = asyncio.Event()
        numbers = frozenset(turn.unjournaled)

        def done(refusal: JournalRefused | None) -> None:
            answered.set()
            self._is_late = False
            self._see_how_full(refusal)
            if refusal is not None:
                _log.critical("the emergency journal did not take a turn", extra={"outcome": refusal.outcome})
                return
            for home in homes:
                home.unjournaled -= numbers
            self._promised()

        self._holds = True
        self._journal.append(turn.entry(now), done, is_alarm=bool(turn.changes.triggers))
        return answered

    def _see_how_full(self, refusal: JournalRefused | None) -> None:
        share = self._journal.share
        is_worth_it = share >= _REWRITE_AT and share - self._left_share >= _REWRITE_GAIN
        is_full = refusal is not None and refusal.outcome == "full"
        if is_worth_it or (is_full and self._clock.monotonic() >= self._rewrite_not_before):
            self._rewrite_wake.set()

    async def rewrite_until_cancelled(self) -> None:
        """Rewrite the journal whenever it has become full enough."""
        while True:
            await self._rewrite_wake.wait()
            try:
                await self._rewrite()
            except Exception:  # noqa: BLE001 - everything is held as before
                _log.exception("the emergency journal could not be rewritten")
            self._rewrite_wake.clear()
            self._rewrite_not_before = self._clock.monotonic() + _REWRITE_AGAIN_S
            await pause(0.0)

    async def _rewrite(self) -> None:
        said: list[tuple[Batch, frozenset[int]]] = []

        def entries() -> Iterator[JournalEntry]:
            # Each as it is when it is asked for: turns that come meanwhile are written behind them as well.
            for batch in self._unstored:
                said.append((batch, frozenset(batch.unjournaled)))
                yield batch.entry(self._clock.now())

        before = self._journal.share
        is_rewritten = await self._journal.rewrite(entries())
        # Also after a failure: it is not tried again before more has come, or a turn is refused.
        self._left_share = self._journal.share
        if not is_rewritten:
            return
        _log.info("the emergency journal was rewritten", extra={"share": round(before, 2), "left": self._left_share})
        for batch, numbers in said:
            batch.unjournaled -= numbers
        for batch in self._unstored.unpromised:  # refused while the old journal was full
            self._append(batch, [batch], self._clock.now())
        self._promised()
