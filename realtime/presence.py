"""Who is still there: heartbeats, dead peers and stuck readers, in one shared sweep with no timer for each connection.

A session belongs to exactly one bucket. When its bucket is due it is looked at once, and whatever is due is done;
then it goes into the bucket of its next deadline. Putting it into another bucket leaves an entry behind that is
passed over when its time comes.
"""

from collections import deque
from collections.abc import Callable, Iterator
from math import ceil
from typing import Final

from realtime.admission import Admission
from realtime.attention import liveness
from realtime.errors import CloseCode
from realtime.sender import Sender
from realtime.session import Session, State
from realtime.settings import LevelSettings, RealtimeSettings

_STALL_S: Final = 1.0
"""A sweep later than this was not the peers' fault: what they sent lies unread in our own buffers."""
_LOOKS_MIN: Final = 256
"""Sessions that a tick may look at for their deadlines; more only when they could not all be seen otherwise."""


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


class Presence:
    """Looks at each session when its next deadline comes, and does what is due.

    Args:
        settings: Limits and intervals.
        admission: Has deadlines of its own: a hello in time, a token's end.
        sender: Knows whose streams are stuck.
        count: Counts a named outcome.
    """

    def __init__(
        self, settings: RealtimeSettings, admission: Admission, sender: Sender, count: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._admission = admission
        self._sender = sender
        self._count = count
        self._sweep = Sweep(settings.attention.sweep_s)
        self._to_look_at: deque[Session] = deque()
        self._looks_per_tick = _LOOKS_MIN
        self._swept_at = 0.0
        self._excused_until = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether sessions wait to be looked at."""
        return bool(self._to_look_at)

    def look_again(self, session: Session, now: float) -> None:
        """Put a session into the sweep by its next deadline."""
        if session.state is not State.CLOSING:
            self._sweep.put(session, self._admission.next_deadline(session, self._row_looks_at(session, now)))

    def _row_looks_at(self, session: Session, now: float) -> float:
        person = session.person
        if person is None:
            return session.opened_at + self._settings.sessions.hello_timeout_s
        row = liveness(person.level, self._settings.attention, urgent=person.is_urgent)
        return _next_look_at(session, row, now)

    def tick(self, now: float) -> None:
        """Sweep when it is time, and look at a tick's share of the sessions that are due."""
        if now - self._swept_at >= self._settings.attention.sweep_s * 0.9:
            if now - self._swept_at >= _STALL_S:
                # We did not listen for a while; give everybody time to be heard before anybody is called dead.
                self._excused_until = now + 2 * self._settings.attention.sweep_s + _STALL_S
                self._count("stalled")
            self._swept_at = now
            self._to_look_at.extend(self._sweep.due(now))
            # Everybody within half the time to the next sweep; together they would take longer than a tick may.
            ticks = self._settings.attention.sweep_s * 500 / self._settings.positions.tick_ms
            self._looks_per_tick = max(_LOOKS_MIN, ceil(len(self._to_look_at) / ticks))
        for _ in range(min(len(self._to_look_at), self._looks_per_tick)):
            self._look_at(self._to_look_at.popleft(), now)

    def _look_at(self, session: Session, now: float) -> None:
        if session.state is State.CLOSING:
            return
        if not self._admission.look_at(session, now):
            return
        person = session.person
        if person is not None:
            row = liveness(person.level, self._settings.attention, urgent=person.is_urgent)
            if _is_dead(session, row, now, self._excused_until):
                self._count("dead_peer")
                self._admission.gone(session, now)
                session.connection.abort()
                return
            if now - max(session.heard_at, session.pinged_at) >= row.heartbeat_s:
                session.pinged_at = now
                session.connection.send_ping(b"h")
            if self._sender.is_stuck(session, now):
                self._admission.close(session, CloseCode.TOO_SLOW, "too slow", now)
                return
        self.look_again(session, now)


def _is_dead(session: Session, row: LevelSettings, now: float, excused_until: float) -> bool:
    """Whether a peer has been silent for too long, and we would have heard it."""
    return now - session.heard_at >= row.dead_after_s and now >= excused_until


def _next_look_at(session: Session, row: LevelSettings, now: float) -> float:
    """When the session must be looked at again for its heartbeat: a ping to send, or its death to notice."""
    ping_at = max(session.heard_at, session.pinged_at) + row.heartbeat_s
    dead_at = session.heard_at + row.dead_after_s
    return max(min(ping_at, dead_at), now)
