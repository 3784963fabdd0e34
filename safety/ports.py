"""What safety needs from others; filled in ``server/wiring.py``."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from core.ids import CityId, IncidentId, OrderId, TenantId, UserId
from core.outbox import OutboxDraft, OutboxRow
from geo.point import LatLng
from safety.model import Incident, IncidentEvent, IncidentFix, Trigger

if TYPE_CHECKING:
    from safety.events import Effect


@dataclass(slots=True)
class SafetyChanges:
    """What one turn of the engine changed. Incidents are upserts by id; triggers and events are only added."""

    incidents: dict[IncidentId, Incident] = field(default_factory=dict)
    triggers: list[Trigger] = field(default_factory=list)
    events: list[IncidentEvent] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.incidents or self.triggers or self.events)


@dataclass(frozen=True, slots=True)
class SafetyState:
    """What the engine starts from: incidents not closed, the keys that fed them, last event numbers."""

    incidents: Sequence[Incident]
    triggers: Sequence[Trigger]
    event_seqs: dict[IncidentId, int]


class SafetyStore(Protocol):
    """Durable state of safety, in a database file of its own (``store/safety.py``; twin ``store/memory.py``)."""

    async def load(self) -> SafetyState:
        """Read what the engine starts from: all tenants. Raises ``Unavailable``."""
        ...

    async def commit(self, changes: SafetyChanges, drafts: Sequence[OutboxDraft], now: float) -> Sequence[OutboxRow]:
        """Store everything or nothing, fsynced before it returns, and number the drafts.

        Raises:
            Unavailable: Nothing was stored.
        """
        ...

    async def incident(self, tenant: TenantId, incident_id: IncidentId) -> Incident | None:
        """One incident, also a closed one."""
        ...

    async def incidents(
        self,
        tenant: TenantId,
        *,
        cities: frozenset[CityId] | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> Sequence[Incident]:
        """A page of incidents, newest first by (raised_at, incident_id), strictly before ``before``.

        ``cities`` None means all; incidents without a city are always included.
        """
        ...

    async def events(self, tenant: TenantId, incident_id: IncidentId) -> Sequence[IncidentEvent]:
        """An incident's history in order."""
        ...


@dataclass(frozen=True, slots=True)
class NearbyResponder:
    """A responder and how far they are from the fix; ``distance_m`` None when that is not known."""

    user: UserId
    distance_m: float | None


@dataclass(frozen=True, slots=True)
class BookedPlace:
    """Where the subject's order is to be served; shown as the booked address, never as a fix."""

    order_id: OrderId
    city: CityId
    point: LatLng
    address: str
    unit: str
    entrance_note: str
    other_party: UserId | None
    """The booking's other side. Must never learn of the incident."""


class Surroundings(Protocol):
    """What is known around a subject at the moment of a tap (``server/wiring.py``).

    All answers come from memory, at once; failing to know is an answer. Nothing here may delay an SOS.
    """

    def last_fix(self, tenant: TenantId, user: UserId, now: float) -> tuple[CityId, IncidentFix] | None:
        """Newest live position of the user and the city it is indexed in."""
        ...

    def booking(self, tenant: TenantId, user: UserId, order_id: OrderId | None) -> BookedPlace | None:
        """The named order if the user is one of its sides, else the user's order under way, else None."""
        ...

    def responders(
        self, tenant: TenantId, city: CityId | None, point: LatLng | None, limit: int, now: float
    ) -> Sequence[NearbyResponder]:
        """Responders on duty, nearest first, then those without a known position; of all cities if none is given."""
        ...

    def ops(self, tenant: TenantId, city: CityId | None) -> Sequence[UserId]:
        """Ops users of the city seen in the last 24 h; the whole tenant's when the city is None or has none."""
        ...


class Outbound(Protocol):
    """Turns effects into messages for people (``api/outbound.py``). Pure."""

    def drafts(self, effects: Sequence["Effect"], now: float) -> Sequence[OutboxDraft]:
        """Messages that these effects mean."""
        ...

    def direct(self, effects: Sequence["Effect"], now: float) -> Sequence[tuple[UserId, bytes]]:
        """The same messages without stream numbers: the database failed and they must still go out."""
        ...
