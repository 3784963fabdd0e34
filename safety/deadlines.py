"""When each incident acts by itself next: a heap whose entries count only while they still hold."""

import heapq
from typing import Final

from core.ids import IncidentId

STALE_DEADLINES_MAX: Final = 64
"""Deadlines in the heap that no longer hold, beyond one for each incident that has one, before they are cleared out."""


class Deadlines:
    """At most one deadline for each incident; setting it again replaces it. Equal moments come in the order of ids."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all of them."""
        self._current: dict[IncidentId, float] = {}
        self._heap: list[tuple[float, IncidentId]] = []

    def __len__(self) -> int:
        """Entries, those that no longer hold included."""
        return len(self._heap)

    def of(self, incident_id: IncidentId) -> float | None:
        """When the incident acts next, None for never."""
        return self._current.get(incident_id)

    def set(self, incident_id: IncidentId, at: float | None) -> None:
        """It acts at ``at`` and not before, whatever was said of it until now; None for never."""
        if at is None:
            self._current.pop(incident_id, None)
        elif self._current.get(incident_id) != at:
            self._current[incident_id] = at
            if len(self._heap) >= STALE_DEADLINES_MAX + 2 * len(self._current):
                # Each change leaves its former deadline behind; those far ahead would stay for minutes.
                self._heap = [(due_at, other) for other, due_at in self._current.items() if other != incident_id]
                heapq.heapify(self._heap)
            heapq.heappush(self._heap, (at, incident_id))

    def postpone(self, incident_id: IncidentId, until: float) -> None:
        """Put the deadline of an incident off until then, if it has an earlier one."""
        at = self._current.get(incident_id)
        if at is not None and at < until:
            self.set(incident_id, until)

    def next_at(self) -> float | None:
        """The earliest one. Cost: amortised O(log n)."""
        while self._heap:
            at, incident_id = self._heap[0]
            if self._current.get(incident_id) == at:
                return at
            heapq.heappop(self._heap)
        return None

    def due(self, now: float) -> list[IncidentId]:
        """Incidents whose deadline has come, the longest overdue first; they stay due until it is set anew."""
        found: list[tuple[float, IncidentId]] = []
        while (at := self.next_at()) is not None and at <= now:
            found.append(heapq.heappop(self._heap))
            while self._heap and self._heap[0] == found[-1]:
                heapq.heappop(self._heap)  # the same deadline may have been noted twice
        for entry in found:
            heapq.heappush(self._heap, entry)
        return [incident_id for _, incident_id in found]
