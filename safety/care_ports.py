"""What care needs from others; filled in ``server/``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from core.ids import CityId, IncidentId, TenantId, UserId
from core.outbox import OutboxDraft, OutboxRow
from core.principal import Principal
from safety.care_events import CareEffect
from safety.care_model import Alarm, Contact, Job, Watch, WatchId
from safety.drills import Drill, DrillId, ShowDrill
from safety.trips import Trip, TripId


@dataclass(slots=True)
class CareChanges:
    """What one turn changed: upserts by id."""

    watches: dict[WatchId, Watch] = field(default_factory=dict)
    trips: dict[TripId, Trip] = field(default_factory=dict)
    drills: dict[DrillId, Drill] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.watches or self.trips or self.drills)

    def take_in(self, later: "CareChanges") -> None:
        """Put a later turn's changes over these."""
        self.watches.update(later.watches)
        self.trips.update(later.trips)
        self.drills.update(later.drills)


@dataclass(frozen=True, slots=True)
class CareState:
    """What care starts from.

    Attributes:
        watches: Those that have not ended, or have an alarm that is not known to be stored.
        trips: Links that had not expired at ``now``.
        drills: Those asked for at ``drills_since`` or later.
    """

    watches: Sequence[Watch]
    trips: Sequence[Trip] = ()
    drills: Sequence[Drill] = ()


Stored = Callable[[IncidentId], None]


class CareStore(Protocol):
    """Durable state of care in ``safety.db`` (``store/care.py``; twin ``store/memory_care.py``)."""

    async def load(self, now: float, *, drills_since: float) -> CareState:
        """Read what care starts from, of all tenants. Raises ``Unavailable``."""
        ...

    async def commit(self, changes: CareChanges, drafts: Sequence[OutboxDraft], now: float) -> Sequence[OutboxRow]:
        """Store everything or nothing, fsynced before it returns, and number the drafts.

        A row is replaced only by one of a higher version: what waited for a failing disk may come twice.

        Raises:
            Unavailable: Nothing was stored, or nobody knows.
        """
        ...


class Phones(Protocol):
    """Knows from memory where a phone is and when it was heard (``server/care_house.py``)."""

    def of(self, tenant: TenantId, city: CityId, user: UserId) -> Contact:
        """What is known now."""
        ...


class Jobs(Protocol):
    """Knows from memory which jobs there are (``server/care_house.py``)."""

    def found(self, now: float) -> tuple[Sequence[Job], frozenset[tuple[TenantId, CityId]]]:
        """All jobs under way, and the cities that could be read."""
        ...


class Alarms(Protocol):
    """Raises incidents (``server/care_house.py`` -> ``SafetyService.raise_for``)."""

    def raise_alarm(
        self, tenant: TenantId, watch: Watch | None, alarm: Alarm, role: str, now: float, stored: Stored
    ) -> None:
        """Raise one under its key; the same key again is the same trigger.

        Args:
            tenant: Whose.
            watch: Of which job; None when that is not known any more.
            alarm: What and why.
            role: The subject's.
            now: UTC epoch seconds.
            stored: Called with the incident's id once it is stored.

        Raises:
            Unavailable: Safety has stopped.
        """
        ...

    def answered_late(self, tenant: TenantId, alarm: Alarm) -> None:
        """The subject of a missed check answered after all that all is well: it is written into their incident.

        Raises:
            Unavailable: Safety is stopping.
        """
        ...


class DrillAlarms(Protocol):
    """Raises the alarm of a drill (``server/care_house.py``): the way of a real one, up to the last hop."""

    def raise_drill(self, who: Principal, city: CityId, key: str, now: float, raised: Callable[[bool], None]) -> None:
        """Raise it, tell once whether it is stored, and end it.

        Raises:
            Unavailable: Safety has stopped.
        """
        ...


class CareOutbound(Protocol):
    """Turns effects into messages for people (``api/care.py``). Pure."""

    def drafts(self, effect: CareEffect | ShowDrill, now: float) -> Sequence[OutboxDraft]:
        """Messages that an effect means."""
        ...
