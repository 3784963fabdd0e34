"""Which sequence numbers of a device were seen, as runs: small, because phones count without gaps."""

from bisect import bisect_right
from typing import Final

RUNS_MAX: Final = 64


class SeqRuns:
    """A set of integers kept as disjoint closed runs; beyond ``RUNS_MAX`` the lowest run is forgotten."""

    __slots__ = ("_highs", "_lows")

    def __init__(self) -> None:
        self._lows: list[int] = []
        self._highs: list[int] = []

    def __contains__(self, seq: int) -> bool:
        """Whether this number was added (and not forgotten)."""
        place = bisect_right(self._lows, seq) - 1
        return place >= 0 and seq <= self._highs[place]

    def add(self, low: int, high: int) -> None:
        """Add all numbers from ``low`` to ``high``; touching runs become one."""
        lows, highs = self._lows, self._highs
        first = bisect_right(lows, low)
        if first and highs[first - 1] >= low - 1:
            first -= 1
        last = first
        while last < len(lows) and lows[last] <= high + 1:
            low, high = min(low, lows[last]), max(high, highs[last])
            last += 1
        lows[first:last] = [low]
        highs[first:last] = [high]
        if len(lows) > RUNS_MAX:
            del lows[0], highs[0]

    @property
    def highest(self) -> int | None:
        """Largest number in the set."""
        return self._highs[-1] if self._highs else None

    @property
    def runs(self) -> list[tuple[int, int]]:
        """The runs, ascending."""
        return list(zip(self._lows, self._highs, strict=True))
