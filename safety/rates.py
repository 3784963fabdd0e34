"""How many messages a line takes: token buckets, one for each line. Pure."""

from dataclasses import dataclass
from typing import Final

LINES_MAX: Final = 10_000
"""Buckets that are kept; beyond them those that are full again are let go, which changes nothing."""


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``burst + per_min`` messages in any minute, and ``burst`` at once."""

    per_min: float
    burst: int


@dataclass(slots=True)
class _Bucket:
    rate: Rate
    tokens: float
    at: float

    def fill(self, now: float) -> None:
        self.tokens = min(float(self.rate.burst), self.tokens + max(0.0, now - self.at) * self.rate.per_min / 60)
        self.at = now


class Lines:
    """The buckets of all lines; one that was not used for long is full."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def room(self, line: str, rate: Rate, now: float) -> int:
        """How many messages the line takes now."""
        bucket = self._buckets.get(line)
        if bucket is None:
            return rate.burst
        bucket.fill(now)
        return int(bucket.tokens + 1e-9)

    def take(self, line: str, rate: Rate, count: int, now: float) -> None:
        """Use up the room of ``count`` messages; there must be so much."""
        bucket = self._buckets.get(line)
        if bucket is None:
            if len(self._buckets) >= LINES_MAX:
                self._forget(now)
            bucket = self._buckets[line] = _Bucket(rate, float(rate.burst), now)
        bucket.fill(now)
        bucket.tokens -= count

    def next_at(self, line: str, rate: Rate, now: float) -> float:
        """When the line takes one more."""
        bucket = self._buckets.get(line)
        if bucket is None or self.room(line, rate, now) > 0:
            return now
        # A little more, so that rounding never brings the moment before the token.
        return now + (1 - bucket.tokens) * 60 / rate.per_min + 1e-3

    def _forget(self, now: float) -> None:
        for line, bucket in list(self._buckets.items()):
            bucket.fill(now)
            if bucket.tokens >= bucket.rate.burst:
                del self._buckets[line]
