"""The SOS of nobody: each minute one goes through everything but the last hop, and has to come through. Pure.

It lives in a tenant of its own, so that no console, list or count of people ever shows it, and is acknowledged and
resolved by a reserved user: the rule that the system ends no incident has no exception. What it proves is whatever an
alarm needs: intake, engine, disk, pager, every channel up to its last hop.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from core.ids import CityId, DeviceId, TenantId, UserId
from core.principal import Principal, Role
from safety.pages import HopState, Page, line_of
from safety.reach import SyntheticSettings

TENANT: Final = TenantId("_doorstep")
SUBJECTS: Final = 64
"""Subjects that take turns: an SOS of the same one soon after its last would be the same emergency again."""
WATCH: Final = UserId("_watch")
"""Whom it is sent to over the hub, and who takes and resolves it."""
CAUSE: Final = "synthetic"
NOT_STORED: Final = "store"
"""What is named as broken when not even the incident was there."""


def principal(user: UserId, role: Role, now: float) -> Principal:
    """One of the two users of the reserved tenant."""
    return Principal(TENANT, user, role, frozenset({role}), frozenset[CityId](), DeviceId(""), now + 3_600)


@dataclass(frozen=True, slots=True)
class Probe:
    """One that is to be raised now."""

    key: str
    subject: UserId


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of one.

    Attributes:
        came_through: Whether all of it worked within the time.
        round_trip_s: From the raising to the result of the last channel; None when it did not come through.
        broken: Lines that had no good result, or ``NOT_STORED``.
        is_alarm: Whether people must be told now: too many were missed, in a row.
        is_recovery: Whether it works again after an alarm.
    """

    came_through: bool
    round_trip_s: float | None
    broken: frozenset[str]
    is_alarm: bool = False
    is_recovery: bool = False


class Synthetic:
    """When the next one is due, and how the last ones ended.

    Args:
        settings: Its clocks.
        started_at: When the server did, UTC epoch seconds.
        lines: Channels that each one has to pass.
    """

    ALARM_EVERY: Final = 15
    """Further misses between two alarms while it stays broken."""

    def __init__(self, settings: SyntheticSettings, started_at: float, lines: Collection[str]) -> None:
        self._settings = settings
        self._lines = frozenset(lines)
        self._next_at = started_at + settings.first_s
        self._began_at: float | None = None
        self.misses = 0
        """In a row."""
        self.came_through = 0
        self.missed = 0
        self.last: Ended | None = None
        self.round_trip_s: float | None = None
        """Of the last one that came through."""

    @property
    def is_broken(self) -> bool:
        """Whether so many were missed in a row that people were told."""
        return self.misses >= self._settings.misses_max

    @property
    def is_under_way(self) -> bool:
        """Whether one has begun and not ended."""
        return self._began_at is not None

    def due(self, now: float) -> Probe | None:
        """The next one if it is to begin now; it has begun then."""
        if self._began_at is not None or now < self._next_at:
            return None
        self._began_at = now
        self._next_at = now + self._settings.every_s
        nth = (self.came_through + self.missed) % SUBJECTS
        return Probe(f"{CAUSE}-{int(now * 1000)}", UserId(f"_synthetic_{nth}"))

    def look(self, pages: Sequence[Page], now: float) -> Ended | None:
        """How the one under way has ended, None while it has not.

        Args:
            pages: Of its incident, as they are now; none while it is not stored.
            now: UTC epoch seconds.
        """
        if self._began_at is None:
            return None
        hops = {line_of(page, hop.channel): hop for page in pages for hop in page.hops}
        good = {line for line in hops if self._is_good(pages, line)}
        broken = frozenset({NOT_STORED}) if not pages else self._lines - good
        if not broken:
            settled_at = max((hop.settled_at or now for hop in hops.values()), default=now)
            round_trip_s = max(0.0, settled_at - self._began_at)
            return self._end(now, came_through=True, round_trip_s=round_trip_s, broken=broken)
        if now - self._began_at >= self._settings.timeout_s:
            return self._end(now, came_through=False, round_trip_s=None, broken=broken)
        return None

    @staticmethod
    def _is_good(pages: Sequence[Page], line: str) -> bool:
        """Whether nothing of a line is still to come; several may be called by one."""
        states = [hop.state for page in pages for hop in page.hops if line_of(page, hop.channel) == line]
        return all(state is HopState.TAKEN for state in states)

    def _end(self, now: float, *, came_through: bool, round_trip_s: float | None, broken: frozenset[str]) -> Ended:
        was_broken = self.is_broken
        self._began_at = None
        self.round_trip_s = round_trip_s if came_through else self.round_trip_s
        self.misses = 0 if came_through else self.misses + 1
        self.came_through += came_through
        self.missed += not came_through
        beyond = self.misses - self._settings.misses_max
        if self.misses and beyond < 0:
            self._next_at = now  # whether it was chance must be known before somebody needs it
        self.last = Ended(
            came_through,
            round_trip_s,
            broken,
            is_alarm=beyond >= 0 and beyond % self.ALARM_EVERY == 0,
            is_recovery=was_broken and came_through,
        )
        return self.last
