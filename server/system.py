"""The real clock, the real randomness: the only place in the project that asks the machine for either."""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Final

SLEW_EVERY_S: Final = 1.0
"""How often the wall clock is looked at."""
ID_BYTES: Final = 15
"""120 random bits: over the 96 that ``IdSource`` promises, and 20 characters without padding."""


monotonic: Final = time.monotonic
"""The machine's monotonic clock itself, for what cannot afford a call of ours."""

SLEW_MAX: Final = 0.0005
"""How much faster or slower than the monotonic clock we run to come back to wall time: 500 ppm, as adjtime(3) does, so
that no duration is visibly wrong. A second is made good in 33 minutes."""


class SystemClock:
    """Wall time that never steps back: it runs with the monotonic clock and is slewed towards the wall clock.

    So it follows NTP over weeks, and a wall clock that is set by an hour moves nothing at once.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Read both clocks once; tests give their own."""
        self._wall = wall
        self._monotonic = monotonic
        self._now = wall()
        self._read_at = monotonic()
        self._rate = 1.0

    def now(self) -> float:
        """UTC epoch seconds. Cost: 0.2 us; the hub asks for each frame."""
        passed_s = self._monotonic() - self._read_at
        if 0.0 <= passed_s < SLEW_EVERY_S:
            return self._now + passed_s * self._rate
        return self._slew(max(passed_s, 0.0))

    def _slew(self, passed_s: float) -> float:
        """Approach the wall clock for the time that has passed, and choose the rate until the next look."""
        said = self._now + min(passed_s, SLEW_EVERY_S) * self._rate  # the latest that may have been read
        reached = self._now + passed_s
        limit_s = SLEW_MAX * passed_s
        self._now = max(reached + min(max(self._wall() - reached, -limit_s), limit_s), said)
        self._read_at += passed_s
        self._rate = 1.0 + min(max((self._wall() - self._now) / SLEW_EVERY_S, -SLEW_MAX), SLEW_MAX)
        return self._now

    def monotonic(self) -> float:
        """The running event loop's own time, or the machine's monotonic clock outside of a loop."""
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return time.monotonic()


class SystemIds:
    """Ids from the operating system's randomness."""

    def new(self, prefix: str) -> str:
        """``prefix`` and 120 random bits as URL-safe characters."""
        return prefix + secrets.token_urlsafe(ID_BYTES)


def random_seed() -> int:
    """63 random bits for whatever is seeded at the start of a run."""
    return secrets.randbits(63)


def random_key(length: int = 32) -> bytes:
    """A fresh secret of ``length`` bytes."""
    return secrets.token_bytes(length)
