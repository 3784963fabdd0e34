"""Who looked at whose position: kept for the person who was looked at, and watched for those who look at everybody.

A *look* is somebody's sight of somebody's place: a track that was read, an incident, a map that was watched. Looks of
the same kind within a minute are one look with a count, so that a page that is loaded again and again costs one row.
Nothing here is done for a position: a watched phone costs what it cost before.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Protocol

from core.ids import CityId, TenantId, UserId
from core.principal import Principal
from safety.audit import AuditEntry, fact_entry

SAME_S: Final = 60.0
"""Seconds within which looks of the same kind are one."""
WAITING_MAX: Final = 20_000
"""Looks that wait for the disk; beyond it the oldest are dropped, counted, and told to operators."""
BULK_PEOPLE: Final = 50
BULK_WINDOW_S: Final = 600.0
"""More than so many different people looked up one by one within this time are an alarm. A watched map is not: it is
kept as a look at its city."""
LOOKERS_MAX: Final = 10_000
AREA: Final = "area:"
"""How the subject begins of a look at everybody in a city."""


class LookKind(StrEnum):
    """What was looked at."""

    TRACK = "track"
    """Kept positions."""
    WATCH = "watch"
    """The live position, from then on."""
    INCIDENT = "incident"
    NEARBY = "nearby"
    AREA = "area"
    """The live map of a city."""


@dataclass(frozen=True, slots=True)
class Look:
    """One sight, or several of the same kind in a row.

    Attributes:
        subject: Whose place; ``area:<city>`` for everybody there.
        by, role: Who looked, and as what.
        about: The order, incident or topic that it went through.
        at, last_at: First and last, UTC epoch seconds.
    """

    tenant: TenantId
    subject: str
    by: UserId
    role: str
    kind: LookKind
    about: str
    at: float
    last_at: float
    count: int = 1
    reason: str = ""


@dataclass(frozen=True, slots=True)
class BulkRead:
    """Somebody looked at many people in a short time."""

    tenant: TenantId
    by: UserId
    people: int
    since: float
    at: float


class LookStore(Protocol):
    """Looks in ``safety.db`` (``store/looks.py``; twin ``store/memory.py``)."""

    async def add(self, looks: Sequence[Look], entries: Sequence[AuditEntry]) -> None:
        """Store looks and what the audit remembers of them, fsynced before it returns. Raises ``Unavailable``."""
        ...

    async def of(self, tenant: TenantId, subjects: Sequence[str], *, before: float, limit: int) -> Sequence[Look]:
        """Looks at any of these subjects that began before ``before``, newest first. Raises ``Unavailable``."""
        ...


def area_of(city: CityId) -> str:
    """The subject of a look at a whole city."""
    return AREA + city


def audit_entry(look: Look) -> AuditEntry:
    """What the audit remembers of a look."""
    facts = {
        "kind": look.kind.value,
        "about": look.about,
        "role": look.role,
        "count": look.count,
        "reason": look.reason,
    }
    return fact_entry(look.tenant, look.at, look.by, "location.read", look.subject, facts)


def bulk_entry(read: BulkRead) -> AuditEntry:
    """What the audit remembers of an alarm."""
    facts = {"people": read.people, "since": round(read.since, 3)}
    return fact_entry(read.tenant, read.at, read.by, "location.bulk_read", read.by, facts)


class LookBook:
    """Gathers looks until they are stored, and counts whom each looker has seen. Pure.

    Attributes:
        dropped: Looks that found no room.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._waiting: OrderedDict[tuple[TenantId, str, UserId, LookKind, str], Look] = OrderedDict()
        self._stored: OrderedDict[tuple[TenantId, str, UserId, LookKind, str], float] = OrderedDict()
        self._seen: OrderedDict[tuple[TenantId, UserId], deque[tuple[float, str]]] = OrderedDict()
        self._alarmed: dict[tuple[TenantId, UserId], float] = {}

    def __len__(self) -> int:
        """Looks that wait to be stored."""
        return len(self._waiting)

    def note(
        self,
        who: Principal,
        subject: str,
        kind: LookKind,
        about: str,
        now: float,
        reason: str = "",
        *,
        counts: bool = True,
    ) -> BulkRead | None:
        """Somebody looks now. A look at oneself is none.

        Args:
            who: Who looks.
            subject: Whose place, or ``area:<city>``.
            kind: What is looked at.
            about: The order, incident or topic that it goes through.
            now: UTC epoch seconds.
            reason: What they said why.
            counts: Whether it counts towards an alarm; no for what must be looked at just now.

        Returns:
            The alarm, once for each window in which somebody looks at too many.
        """
        if subject == who.user:
            return None
        key = (who.tenant, subject, who.user, kind, about)
        waiting = self._waiting.get(key)
        if waiting is not None:
            self._waiting[key] = replace(waiting, last_at=now, count=waiting.count + 1, reason=reason or waiting.reason)
        elif reason or now - self._stored.get(key, -SAME_S) >= SAME_S:
            self._waiting[key] = Look(who.tenant, subject, who.user, who.role.value, kind, about, now, now, 1, reason)
            if len(self._waiting) > WAITING_MAX:
                self._waiting.popitem(last=False)
                self.dropped += 1
        return self._count(who, subject, now) if counts and not subject.startswith(AREA) else None

    def take(self, now: float) -> list[Look]:
        """What is to be stored now."""
        looks = list(self._waiting.values())
        for key in self._waiting:
            self._stored[key] = now
            self._stored.move_to_end(key)
        self._waiting.clear()
        while self._stored and (len(self._stored) > WAITING_MAX or now - next(iter(self._stored.values())) >= SAME_S):
            self._stored.popitem(last=False)
        return looks

    def give_back(self, looks: Sequence[Look]) -> None:
        """They could not be stored: they wait again, before the newer ones."""
        for look in reversed(looks):
            key = (look.tenant, look.subject, look.by, look.kind, look.about)
            newer = self._waiting.get(key)
            if newer is not None:
                look = replace(look, last_at=newer.last_at, count=look.count + newer.count)
            self._waiting[key] = look
            self._waiting.move_to_end(key, last=False)
        while len(self._waiting) > WAITING_MAX:
            self._waiting.popitem(last=False)
            self.dropped += 1

    def _count(self, who: Principal, subject: str, now: float) -> BulkRead | None:
        looker = (who.tenant, who.user)
        seen = self._seen.setdefault(looker, deque(maxlen=4 * BULK_PEOPLE))
        self._seen.move_to_end(looker)
        if len(self._seen) > LOOKERS_MAX:
            gone, _ = self._seen.popitem(last=False)
            self._alarmed.pop(gone, None)
        if not seen or seen[-1][1] != subject:
            seen.append((now, subject))
        while seen and now - seen[0][0] > BULK_WINDOW_S:
            seen.popleft()
        people = len({subject for _, subject in seen})
        if people <= BULK_PEOPLE or now - self._alarmed.get(looker, -BULK_WINDOW_S) < BULK_WINDOW_S:
            return None
        self._alarmed[looker] = now
        return BulkRead(who.tenant, who.user, people, seen[0][0], now)
