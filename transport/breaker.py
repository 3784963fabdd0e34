"""A circuit breaker: leaves a neighbour alone that fails again and again, and lets one call try it again later."""

from dataclasses import dataclass


@dataclass(slots=True)
class Breaker:
    """Closed while the neighbour works; open for ``rest_s`` after ``failures_max`` failures in a row.

    When the rest is over one call may try; until it has told how it went, others may not. A call that never tells
    (it was cancelled) holds the place for another ``rest_s`` and no longer.
    """

    failures_max: int
    rest_s: float
    _failures: int = 0
    _closed_until: float | None = None

    def may_try(self, now: float) -> bool:
        """Whether to call; ``now`` is of any clock that only goes forward, in seconds."""
        if self._closed_until is None:
            return True
        if now < self._closed_until:
            return False
        self._closed_until = now + self.rest_s
        return True

    def worked(self) -> None:
        """The call went well."""
        self._failures = 0
        self._closed_until = None

    def failed(self, now: float) -> None:
        """It did not."""
        self._failures += 1
        if self._failures >= self.failures_max:
            self._closed_until = now + self.rest_s
