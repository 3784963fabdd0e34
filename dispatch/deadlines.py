"""Moments at which the engine must act again: a heap with lazy removal."""

from enum import StrEnum
from heapq import heappop, heappush
from typing import NamedTuple


class Due(StrEnum):
    """What falls due."""

    ALIVE = "alive"
    OPEN = "open"
    EXPIRE = "expire"
    UNDELIVERED = "undelivered"
    GIVE_UP = "give_up"
    LEASE = "lease"
    OVERDUE = "overdue"
    LEAVE = "leave"
    REMIND = "remind"
    CONFIRM = "confirm"
    LOOK = "look"
    WAIT_OVER = "wait_over"
    CONSENT = "consent"
    PROLONGED = "prolonged"
    FORGET = "forget"
    PUT_RIGHT = "put_right"


class Deadline(NamedTuple):
    """One moment. ``number`` keeps equal moments in the order in which they were set."""

    at: float
    number: int
    due: Due
    id: str


class Deadlines:
    """At most one deadline for each (what, id); setting it again replaces it."""

    def __init__(self) -> None:
        self._heap: list[Deadline] = []
        self._current: dict[tuple[Due, str], Deadline] = {}
        self._number = 0

    def __len__(self) -> int:
        """Deadlines in force."""
        return len(self._current)

    def set(self, at: float, due: Due, id_: str) -> None:
        """Put one in force."""
        self._number += 1
        deadline = Deadline(at, self._number, due, id_)
        self._current[due, id_] = deadline
        heappush(self._heap, deadline)

    def postpone(self, at: float, due: Due, id_: str) -> None:
        """Put one that is in force off until ``at``, if it is earlier."""
        current = self._current.get((due, id_))
        if current is not None and current.at < at:
            self.set(at, due, id_)

    def has(self, due: Due, id_: str) -> bool:
        """Whether one is in force."""
        return (due, id_) in self._current

    def drop(self, due: Due, id_: str) -> None:
        """Take one out of force. Idempotent."""
        self._current.pop((due, id_), None)

    def next_at(self) -> float | None:
        """The earliest moment in force."""
        while self._heap and self._current.get(self._heap[0][2:]) is not self._heap[0]:
            heappop(self._heap)
        return self._heap[0].at if self._heap else None

    def pop_due(self, now: float) -> Deadline | None:
        """Take the earliest one that is due out of force; None when none is."""
        at = self.next_at()
        if at is None or at > now:
            return None
        deadline = heappop(self._heap)
        del self._current[deadline.due, deadline.id]
        return deadline
