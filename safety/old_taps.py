"""Taps that say of themselves that they are old: whether one was stored long ago is looked up before it rings.

A client offers its last taps again when the server was restored from before them. What is still there must not ring
anew, and what ended long ago, or was closed, is in no memory. Whoever taps now never waits for this; an old tap waits
for a moment at most, and rings when nobody can say.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from core.clock import Clock
from core.errors import Unavailable
from safety.events import SosRaised
from safety.model import Incident, Trigger
from safety.ports import SafetyStore
from safety.taps import SAME_TAP_S

PATIENCE_S: Final = 0.5
"""For which an old tap waits for the database."""
WAITING_MAX: Final = 256
"""Further ones ring at once."""

Known = tuple[Incident, Trigger]


@dataclass(frozen=True, slots=True)
class _Waiting:
    tap: SosRaised
    until: float
    told: Callable[[Known | None], None]


class OldTaps:
    """Looks them up one by one. ``run`` is cancelled at the end.

    Args:
        clock: The process's.
        store: Where they may be.
    """

    def __init__(self, clock: Clock, store: SafetyStore) -> None:
        self._clock = clock
        self._store = store
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()

    def look_up(self, tap: SosRaised, told: Callable[[Known | None], None]) -> None:
        """Find the tap that this one is.

        Args:
            tap: Its report has a key of the client's and an age.
            told: Gets the tap as it was stored with its incident, which has ended; None when it is to ring: it is
                new, or that is not known in time. Maybe called at once.
        """
        if len(self._waiting) >= WAITING_MAX:
            told(None)
            return
        self._waiting.append(_Waiting(tap, self._clock.monotonic() + PATIENCE_S, told))
        self._wake.set()

    def give_up(self) -> None:
        """All that wait ring now."""
        while self._waiting:
            self._waiting.popleft().told(None)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                one = self._waiting[0]
                known = await self._find(one)
                if self._waiting and self._waiting[0] is one:
                    self._waiting.popleft()
                    one.told(known)

    async def _find(self, one: _Waiting) -> Known | None:
        tap, known = one.tap, None
        left_s = one.until - self._clock.monotonic()
        if left_s <= 0:
            return None
        since = tap.received_at - tap.report.age_s - SAME_TAP_S
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(left_s):
                known = await self._store.known_tap(tap.who.tenant, tap.who.user, tap.report.key, since=since)
        if known is None or known[0].is_active or known[0].cap_status is not tap.cap_status:
            return None
        return known
