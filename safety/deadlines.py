"""When each incident or watched job acts by itself next: a heap whose entries count only while they still hold."""

import heapq
from typing import Final, Generic, TypeVar

KeyT = TypeVar("KeyT", bound=str)

STALE_DEADLINES_MAX: Final = 64
"""Deadlines in the heap that no longer hold, beyond one for each thing that has one, before they are cleared out."""


class Deadlines(Generic[KeyT]):
    """At most one deadline for each id; setting it again replaces it. Equal moments come in the order of ids."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all of them."""
        self._current: dict[KeyT, float] = {}
        self._heap: list[tuple[float, KeyT]] = []
        self._failed: dict[KeyT, tuple[float, int]] = {}

    def __len__(self) -> int:
        """Entries, those that no longer hold included."""
        return len(self._heap)

    def of(self, key: KeyT) -> float | None:
        """When it acts next, None for never."""
        return self._current.get(key)

    def set(self, key: KeyT, at: float | None) -> None:
        """It acts at ``at`` and not before, whatever was said of it until now; None for never.

        What has failed to act stays put off until something later is said of it.
        """
        if key in self._failed:
            if at is not None and at <= self._failed[key][0]:
                return  # it is tried again when its time comes
            del self._failed[key]
        if at is None:
            self._current.pop(key, None)
        elif self._current.get(key) != at:
            self._current[key] = at
            if len(self._heap) >= STALE_DEADLINES_MAX + 2 * len(self._current):
                # Each change leaves its former deadline behind; those far ahead would stay for minutes.
                self._heap = [(due_at, other) for other, due_at in self._current.items() if other != key]
                heapq.heapify(self._heap)
            heapq.heappush(self._heap, (at, key))

    def postpone(self, key: KeyT, until: float) -> int:
        """Its deadline has come and it failed to act: put it off until then. What it said before stays known.

        Returns:
            How often it has failed in a row.
        """
        at = self._current.get(key)
        if at is None:
            return 0
        owed_at, times = self._failed.pop(key, (at, 0))
        self.set(key, max(at, until))
        self._failed[key] = (owed_at, times + 1)
        return times + 1

    @property
    def failed(self) -> list[KeyT]:
        """What failed to act and has not done so since, the longest overdue first."""
        return sorted(self._failed, key=lambda key: (self._failed[key][0], key))

    def owed_at(self) -> float | None:
        """When the longest overdue of those that failed should have acted; None while none did."""
        return min((at for at, _ in self._failed.values()), default=None)

    def next_at(self) -> float | None:
        """The earliest one. Cost: amortised O(log n)."""
        while self._heap:
            at, key = self._heap[0]
            if self._current.get(key) == at:
                return at
            heapq.heappop(self._heap)
        return None

    def due(self, now: float) -> list[KeyT]:
        """Those whose deadline has come, the longest overdue first; they stay due until it is set anew."""
        found: list[tuple[float, KeyT]] = []
        while (at := self.next_at()) is not None and at <= now:
            found.append(heapq.heappop(self._heap))
            while self._heap and self._heap[0] == found[-1]:
                heapq.heappop(self._heap)  # the same deadline may have been noted twice
        for entry in found:
            heapq.heappush(self._heap, entry)
        return [key for _, key in found]
