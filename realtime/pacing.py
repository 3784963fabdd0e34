"""Whose socket is read less often under overload: a phone's whose pings are shed and that goes on talking.

What an SOS waits for under overload is to be read, behind every socket that has something. A read costs more than what
is shed after it (5 us beside 3 for each frame), so phones that send many times a second are read a few times a second,
several frames at once, and whoever was silent, as a phone that taps SOS, finds a short queue. A phone that keeps to
its ping policy never rests: it has nothing waiting that could be read together. An SOS of a phone that rests waits
until the rest ends, and that is why it is short.
"""

from collections import OrderedDict
from typing import Final

from realtime.session import Session

_TICKS_MAX: Final = 2.0
"""As much time passes in one turn at most: all at once after a stall would be the next stall."""


class ReadPacing:
    """Pauses and resumes connections; memory and time are bounded by the number of connections.

    Args:
        rest_s: How long one rests on average; 0 lets nobody rest.
        tick_s: Time between two turns.
    """

    __slots__ = ("_crowd", "_elapsed_max_s", "_rest_s", "_resting", "_turned_at")

    def __init__(self, rest_s: float, tick_s: float) -> None:
        self._rest_s = rest_s
        self._elapsed_max_s = _TICKS_MAX * tick_s
        # A plain dict looks for its first key behind all that were deleted before: 6 % of the time under overload.
        self._resting: OrderedDict[Session, float] = OrderedDict()
        """When each may be read again at the earliest, the first first."""
        self._crowd = 0  # how many rested at most since the queue was last worked off
        self._turned_at = 0.0

    @property
    def number(self) -> int:
        """How many rest."""
        return len(self._resting)

    def shed(self, session: Session, now: float) -> None:
        """A frame was shed: its phone rests unless it was silent before. Call it before ``heard_at`` is set."""
        # At 0 nobody rests, also where something was heard after the tick that told ``now``.
        if now - session.heard_at < self._rest_s != 0.0 and session not in self._resting:
            # Half, because the queue of those who rest makes the other half.
            self._resting[session] = now + self._rest_s / 2
            self._crowd = max(self._crowd, len(self._resting))
            session.connection.pause_reading()

    def turn(self, now: float) -> None:
        """Read some again, evenly over time: of all who rested the part of a rest that has passed.

        Of all and not of those who still rest: the last of a crowd would wait for ever longer.
        """
        passed_s, self._turned_at = now - self._turned_at, now
        resting = self._resting
        if not resting:
            return
        part = min(max(passed_s, 0.0), self._elapsed_max_s) / self._rest_s
        for _ in range(int(self._crowd * part) + 1):
            session = next(iter(resting), None)
            if session is None or resting[session] > now:
                self._crowd = len(resting)
                break
            self.end(session)

    def end(self, session: Session) -> None:
        """Read a session again, if it rests."""
        if self._resting.pop(session, None) is not None:
            session.connection.resume_reading()

    def end_all(self) -> None:
        """Read everybody again."""
        for session in list(self._resting):
            self.end(session)
