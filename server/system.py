"""The real clock, the real randomness: the only place in the project that asks the machine for either."""

import asyncio
import secrets
import time
from typing import Final

ID_BYTES: Final = 15
"""120 random bits: over the 96 that ``IdSource`` promises, and 20 characters without padding."""


class SystemClock:
    """Wall time that never steps back: the wall clock at the start plus the monotonic time since."""

    def __init__(self) -> None:
        """Read both clocks once."""
        self._started_at = time.time()
        self._started = time.monotonic()

    def now(self) -> float:
        """UTC epoch seconds."""
        return self._started_at + (time.monotonic() - self._started)

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
