"""Streams that a running session still lacks, and when they are looked for again.

A session begins with the streams that can be read. While one stream's database is down there may be thousands that
lack it, and each look costs a failing read: so one session's look tells for all of them whether it is back. Once it
is, the others follow in steps that double, because a database that has just come back is asked by everybody at once.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from core.outbox import Stream
from realtime.sender import AttachStreams
from realtime.session import State

_PURGE_LEN_MIN: Final = 256
_STEP_LEN_MAX: Final = 64
"""Looks begun at once, as many as the hub has reads under way."""


class _Waiting:
    """Who waits for one stream."""

    __slots__ = ("_purge_len", "at", "jobs", "step_len")

    def __init__(self) -> None:
        self.jobs: deque[AttachStreams] = deque()
        self.at = 0.0
        self.step_len = 1
        self._purge_len = _PURGE_LEN_MIN

    def put(self, job: AttachStreams) -> None:
        """Let somebody wait. Whoever has left meanwhile is forgotten before they are more than those who are here."""
        if len(self.jobs) >= self._purge_len:
            self.jobs = deque(filter(_is_wanted, self.jobs))
            self._purge_len = max(2 * len(self.jobs), _PURGE_LEN_MIN)
        self.jobs.append(job)


class LateStreams:
    """Who waits for which stream.

    Args:
        retry_s: Seconds between looks at a stream that cannot be read.
        start: Begins a look; its end is told by ``found`` or ``failed``.
    """

    def __init__(self, retry_s: float, start: Callable[[AttachStreams], None]) -> None:
        self._retry_s = retry_s
        self._start = start
        self._streams = {stream: _Waiting() for stream in Stream}

    def add(self, job: AttachStreams, stream: Stream, now: float) -> None:
        """The session of ``job`` began without ``stream``."""
        waiting = self._streams[stream]
        if not waiting.jobs and now >= waiting.at:
            waiting.at = now + self._retry_s
            waiting.step_len = 1
        waiting.put(replace(job, streams=(stream,), is_late=True))

    def found(self, job: AttachStreams, now: float) -> None:
        """The stream of a late job could be read: more may follow at once."""
        waiting = self._streams[job.streams[0]]
        waiting.at = now
        waiting.step_len = min(2 * waiting.step_len, _STEP_LEN_MAX)

    def failed(self, job: AttachStreams, now: float) -> None:
        """The stream of a late job could not be read: one of those that wait looks again after a while."""
        waiting = self._streams[job.streams[0]]
        waiting.at = now + self._retry_s
        waiting.step_len = 1
        if _is_wanted(job):
            waiting.put(job)

    @property
    def is_busy(self) -> bool:
        """Whether anybody waits."""
        return any(waiting.jobs for waiting in self._streams.values())

    def tick(self, now: float) -> None:
        """Begin the looks that are due."""
        for waiting in self._streams.values():
            begun = 0
            while waiting.jobs and now >= waiting.at and begun < waiting.step_len:
                job = waiting.jobs.popleft()
                if _is_wanted(job):
                    begun += 1
                    # A token renewed meanwhile may have brought other roles, and the look notes them.
                    self._start(replace(job, who=job.session.principal))
            if begun:
                waiting.at = now + self._retry_s  # unless the answer says more


def _is_wanted(job: AttachStreams) -> bool:
    return job.session.state is State.ACTIVE and job.session.attempt == job.attempt
