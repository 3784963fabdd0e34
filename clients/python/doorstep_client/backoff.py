"""When to try again: exponential back-off with full jitter.

Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015: of the variants compared
there, full jitter finishes a thundering herd with the fewest calls.
"""

import random


class Backoff:
    """Waits that grow with each failure in a row.

    Args:
        base_s: Upper bound of the first wait.
        max_s: Upper bound that is never passed.
        rng: Source of jitter; give a seeded one for repeatable runs.
    """

    def __init__(self, base_s: float, max_s: float, rng: random.Random) -> None:
        self._base_s = base_s
        self._max_s = max_s
        self._rng = rng
        self._failures = 0

    @property
    def failures(self) -> int:
        """Failures in a row."""
        return self._failures

    def reset(self) -> None:
        """It worked."""
        self._failures = 0

    def next_wait_s(self) -> float:
        """Count a failure and return how long to wait: uniform between 0 and the bound."""
        bound_s = min(self._max_s, self._base_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return self._rng.uniform(0.0, bound_s)
