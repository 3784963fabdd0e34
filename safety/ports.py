"""What safety needs from others; filled in ``server/wiring.py``."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from core.ids import CityId, IncidentId, OrderId, TenantId, UserId
from core.outbox import OutboxDraft, OutboxRow
from geo.point import LatLng
from safety.audit import AuditEntry, Head, incident_entry, page_entry
from safety.contacts import Contact
from safety.model import Approach, Incident, IncidentEvent, IncidentFix, SubjectRecord, Trigger
from safety.model import BookedPlace as BookedPlace
from safety.pages import Page, Phonebook, Presence
from safety.ranking import Group

if TYPE_CHECKING:
    from safety.errors import JournalRefused
    from safety.events import AckRaiser, Effect, SendPage


@dataclass(slots=True)
class SafetyChanges:
    """What one turn of the engine changed. Incidents and pages are upserts; triggers and events are only added.

    A page comes with its incident's change, or alone when only a channel had news.

    Attributes:
        pages: By incident and recipient.
        subjects: What is kept of people; each comes with the change of an incident of theirs.
        facts: What the audit is to remember beside the events, which it remembers by itself.
    """

    incidents: dict[IncidentId, Incident] = field(default_factory=dict)
    triggers: list[Trigger] = field(default_factory=list)
    events: list[IncidentEvent] = field(default_factory=list)
    pages: dict[tuple[IncidentId, str], Page] = field(default_factory=dict)
    facts: list[AuditEntry] = field(default_factory=list)
    subjects: dict[tuple[TenantId, UserId], SubjectRecord] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.incidents or self.triggers or self.events or self.pages or self.facts or self.subjects)

    def audit(self) -> list[AuditEntry]:
        """What the audit remembers of it: events, results of deliveries, facts."""
        tried = [page_entry(page) for page in self.pages.values() if any(hop.outcome for hop in page.hops)]
        return [*(incident_entry(event) for event in self.events), *tried, *self.facts]


@dataclass(frozen=True, slots=True)
class SafetyState:
    """What the engine starts from: active and lately resolved incidents, the keys that fed them, last event numbers."""

    incidents: Sequence[Incident]
    triggers: Sequence[Trigger]
    event_seqs: dict[IncidentId, int]
    pages: Sequence[Page] = ()
    subjects: Sequence[SubjectRecord] = ()


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One turn as the journal holds it.

    Attributes:
        changes: What the engine changed.
        drafts: Messages of the turn, each with the incident that it tells of.
        at: When the turn was, UTC epoch seconds.
    """

    changes: SafetyChanges
    drafts: Sequence[tuple[IncidentId, OutboxDraft]]
    at: float


@dataclass(frozen=True, slots=True)
class JournalContent:
    """What the journal held when it was read.

    Attributes:
        entries: Turns that were appended since it was cleared last, in order.
        damage: What could not be read, in words; empty for a sound journal. Intact turns behind it are in ``entries``.
    """

    entries: Sequence[JournalEntry]
    damage: str = ""


class Journal(Protocol):
    """Where a turn is written when the database does not take it (``store/journal.py``).

    Its twin without a disk is in ``store/memory_journal.py``. Bounded: it holds what the database has not got, and is
    cleared when that has everything.

    Attributes:
        share: How much of it is full, 0 to 1.
    """

    @property
    def share(self) -> float: ...  # noqa: D102

    async def read(self) -> JournalContent:
        """What it held when it was opened. Never raises: a journal that cannot be read is damage."""
        ...

    def append(
        self, entry: JournalEntry, done: Callable[["JournalRefused | None"], None], *, is_alarm: bool = True
    ) -> None:
        """Queue one turn, behind everything that was queued before.

        Args:
            entry: Taken as it is now; it may change after the call.
            done: Told None once it is on the disk, else why nothing is promised: the journal is full, its disk fails,
                or too much is waiting for it. Called on the loop, never before this call has returned.
            is_alarm: Whether somebody called for help in it: such a turn may also fill what is kept for alarms.
        """
        ...

    async def rewrite(self, entries: Iterable[JournalEntry]) -> bool:
        """Hold ``entries`` and what is appended from now on, instead of what is held.

        Args:
            entries: Taken one by one, with other work of the loop between. They stand for everything that was
                appended before the call.

        Returns:
            Whether it was done. If not, everything is held as before; it was cleared meanwhile, does not fit, or its
            disk fails. Whatever happens, also to the process: nothing that was promised is let go before ``entries``
            are on the disk.
        """
        ...

    def clear(self) -> None:
        """Queue: the database has everything that was appended so far. What is then still held does no harm."""
        ...


class SafetyStore(Protocol):
    """Durable state of safety, in a database file of its own (``store/safety.py``; twin ``store/memory.py``)."""

    async def load(self, *, settled_since: float) -> SafetyState:
        """Read what the engine starts from, of all tenants: what is active, and what was resolved lately.

        Closed incidents, and those whose last change is older than ``settled_since``, are not read: what is
        loaded does not grow with the years. Raises ``Unavailable``.
        """
        ...

    async def commit(self, changes: SafetyChanges, drafts: Sequence[OutboxDraft], now: float) -> Sequence[OutboxRow]:
        """Store everything or nothing, fsynced before it returns, and number the drafts.

        An incident is written only over ``version - 1``, its first version only where there is none: anything
        else means two owners, or a batch whose outcome was unknown and that is there already.

        Raises:
            Unavailable: Nothing was stored, or nobody knows; ``store_conflict`` for a wrong version.
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

    async def incidents_of(self, tenant: TenantId, subject: UserId) -> Sequence[Incident]:
        """All incidents of one person, by when they were raised. Raises ``Unavailable``."""
        ...

    async def known_tap(
        self, tenant: TenantId, subject: UserId, key: str, *, since: float
    ) -> tuple[Incident, Trigger] | None:
        """The first tap of a person with this key that was received since then, and its incident, also a closed one.

        Raises ``Unavailable``. Of each incident the first 1,000 taps since then are looked at.
        """
        ...

    async def events(self, tenant: TenantId, incident_id: IncidentId) -> Sequence[IncidentEvent]:
        """An incident's history in order."""
        ...

    async def pages(self, tenant: TenantId, incident_id: IncidentId) -> Sequence[Page]:
        """Everybody who was called outside the hub about an incident, by recipient."""
        ...

    async def audit_heads(self) -> Mapping[TenantId, Head]:
        """The end of each tenant's audit; nothing where none is kept. Raises ``Unavailable``."""
        ...


@dataclass(frozen=True, slots=True)
class NearbyResponder:
    """A responder and how far they are from the fix; ``distance_m`` None when that is not known."""

    user: UserId
    distance_m: float | None
    approach: Approach | None = None


@dataclass(frozen=True, slots=True)
class HelpSought:
    """Who may go to an incident is looked for.

    Attributes:
        city: Where; None for all cities of the tenant.
        point: From where distances count, in the platform's frame; None when nobody knows.
        r95_m: Radius around it in which the person is with 95 %.
        speed_mps: How fast a responder comes.
        limit: How many of those who are heard, at least 1; as many of the quiet ones if there are no others, else some.
    """

    tenant: TenantId
    city: CityId | None
    point: LatLng | None
    r95_m: float
    speed_mps: float
    limit: int


class Surroundings(Protocol):
    """What is known around a subject at the moment of a tap (``server/wiring.py``).

    All answers come from memory, at once; failing to know is an answer. Nothing here may delay an SOS.
    An exception is survived: the engine then tells everyone it can still find.
    """

    def city_of(self, tenant: TenantId, point: LatLng) -> CityId | None:
        """The tenant's city in whose boundary the point lies, None outside all."""
        ...

    def last_fix(self, tenant: TenantId, user: UserId, now: float) -> tuple[CityId | None, IncidentFix] | None:
        """Newest live position of the user and the city it is in, None for outside all."""
        ...

    def booking(self, tenant: TenantId, user: UserId, order_id: OrderId | None) -> BookedPlace | None:
        """The named order if the user is one of its sides, else the user's order under way, else None."""
        ...

    def contact(self, tenant: TenantId, user: UserId) -> Contact | None:
        """How the user and theirs are reached now; an empty one for who never said, None when that is not known."""
        ...

    def responders(self, sought: HelpSought, group: Group, now: float) -> Sequence[NearbyResponder]:
        """Those of a group who are on duty, by ``ranking.place_in_line``; of the quiet ones some beside a full line."""
        ...

    def kept_apart(self, tenant: TenantId, user: UserId, others: Collection[UserId]) -> Collection[UserId]:
        """Those of ``others`` who are kept apart from the user because one of the two wanted it so."""
        ...

    def unwilling(self, tenant: TenantId, users: Collection[UserId]) -> Collection[UserId]:
        """Those of some technicians who do not consent to be asked, or no more."""
        ...

    def is_connected(self, tenant: TenantId, user: UserId) -> bool:
        """Whether a device of theirs is connected to the hub."""
        ...

    def ops(self, tenant: TenantId, city: CityId | None) -> Sequence[UserId]:
        """Ops users of the city seen in the last 24 h; the whole tenant's when the city is None or has none."""
        ...


class Contacts(Protocol):
    """How people are reached beside the hub (``safety.profiles.Profiles``). All answers come from memory, at once."""

    def of(self, tenant: TenantId, user: UserId) -> Contact | None:
        """What somebody told of themselves and theirs; None for who never did."""
        ...

    def consents(self, tenant: TenantId, user: UserId) -> bool:
        """Whether a technician agreed to be asked when somebody near needs help."""
        ...


class Outbound(Protocol):
    """Turns effects into messages for people (``api/outbound.py``). Pure."""

    def drafts(self, effects: Sequence["Effect"], now: float) -> Sequence[OutboxDraft]:
        """Messages that these effects mean: ``NotifyTargets`` and ``UpdateTargets``.

        A ``NotifyTargets`` draft carries the incident's id as its ``receipt``.
        """
        ...

    def direct(self, effects: Sequence["Effect"], now: float) -> Sequence[tuple[TenantId, UserId, bytes]]:
        """The same messages without stream numbers: the database failed and they must still go out."""
        ...

    def sos_ack(self, ack: "AckRaiser", *, durable: bool) -> bytes:
        """The ``sos_ack`` message as JSON bytes."""
        ...


class RaiserLink(Protocol):
    """Sends outside the streams (``RealtimeService``): ``sos_ack``, and alarms without a database."""

    def send_direct(self, tenant: TenantId, user: UserId, body: bytes) -> None:
        """Send to every connected device of the user, at most once. Never blocks, never raises."""
        ...

    def answer_raiser(self, tenant: TenantId, user: UserId, body: bytes) -> None:
        """Likewise, also to devices that may do nothing but SOS because their token has expired."""
        ...


class Pager(Protocol):
    """Makes attempts outside the hub (``transport/pager.py``)."""

    def send(self, effect: "SendPage") -> None:
        """Begin one attempt; its result comes back as a ``PageSettled``. Never blocks, never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Outside:
    """What reaching people outside the hub needs.

    Attributes:
        with_push: Whether the platform has a push service.
    """

    pager: Pager
    phonebook: Phonebook
    presence: Presence
    with_push: bool


class Watchers(Protocol):
    """Tells the hub that an incident's audience or state changed (``server/wiring.py`` -> realtime).

    Called before anything else of a turn is performed, and for each active incident at start: a right is taken
    away before the news of it goes out, and the subject's phone is attended to while its incident is active.
    """

    def incident_changed(self, incident: Incident) -> None:
        """State, targets or owner changed. ``incident.is_active`` False ends rights and attention."""
        ...
