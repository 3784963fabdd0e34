"""Deadlines of all sessions in one shared sweep: no timer for each connection.

A session belongs to exactly one bucket. When its bucket is due it is looked at once, and whatever is due is done;
then it goes into the bucket of its next deadline. Putting it into another bucket leaves an entry behind that is
passed over when its time comes.
"""

from collections.abc import Iterator
from math import ceil
from typing import Final

from realtime.session import Session
from realtime.settings import LevelSettings

STALL_S: Final = 1.0
"""A sweep later than this was not the peers' fault: what they sent lies unread in our own buffers."""


class Sweep:
    """Sessions in buckets of ``width_s`` by the time of their next deadline."""

    __slots__ = ("_buckets", "_next", "_width_s")

    def __init__(self, width_s: float) -> None:
        self._width_s = width_s
        self._buckets: dict[int, list[Session]] = {}
        self._next = -1

    def put(self, session: Session, due_at: float) -> None:
        """Look at ``session`` in the first sweep that begins at ``due_at`` or later (at most ``width_s`` later)."""
        bucket = max(ceil(due_at / self._width_s), self._next)
        session.bucket = bucket
        self._buckets.setdefault(bucket, []).append(session)

    def due(self, now: float) -> Iterator[Session]:
        """Take out the sessions that are due. Closed ones may still come; put back only what is open."""
        current = int(now / self._width_s)
        first = current if self._next < 0 else self._next
        if self._next < 0 or current - first > len(self._buckets):
            due = sorted(bucket for bucket in self._buckets if bucket <= current)
        else:
            due = [bucket for bucket in range(first, current + 1) if bucket in self._buckets]
        self._next = current + 1
        for bucket in due:
            for session in self._buckets.pop(bucket):
                if session.bucket == bucket:
                    yield session

    def __len__(self) -> int:
        """Entries, those of closed sessions included."""
        return sum(map(len, self._buckets.values()))


def is_dead(session: Session, row: LevelSettings, now: float, excused_until: float) -> bool:
    """Whether a peer has been silent for too long, and we would have heard it."""
    return now - session.heard_at >= row.dead_after_s and now >= excused_until


def next_look_at(session: Session, row: LevelSettings, now: float) -> float:
    """When the session must be looked at again for its heartbeat: a ping to send, or its death to notice."""
    ping_at = max(session.heard_at, session.pinged_at) + row.heartbeat_s
    dead_at = session.heard_at + row.dead_after_s
    return max(min(ping_at, dead_at), now)
