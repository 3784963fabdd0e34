"""The store's ports without a disk: for tests and for simulations that need no SQL.

Passes the same contract suite as the SQLite adapters. ``Faults`` makes it fail or wait on demand, so that the
services' answers to a failing database can be tested without breaking a real one. Nothing survives the object.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from core.browser_session import BrowserSession
from core.clock import Clock
from core.errors import Unavailable
from core.ids import CityId, DeviceId, IdSource, IncidentId, OrderId, TenantId, UserId
from core.outbox import OutboxDraft, OutboxRow, Stream
from core.principal import Principal
from core.shard import Shard
from dispatch.listing import BlockFilter, ListFilter, Place
from dispatch.model import (
    BlockSide,
    IdempotencyRecord,
    Offer,
    Order,
    OrderEvent,
    PairBlock,
    SkippedRounds,
    StoredRound,
    Technician,
)
from dispatch.ports import DispatchChanges, DispatchState
from realtime.ports import StreamHead
from safety.audit import AuditEntry, AuditPen, AuditRow, Head
from safety.looks import Look
from safety.model import Incident, IncidentEvent, IncidentState, SubjectRecord, Trigger
from safety.pages import Page
from safety.ports import SafetyChanges, SafetyState
from safety.profiles import Profile
from store.directory import Directory
from store.memory_care import MemoryCareStore
from store.memory_devices import MemoryDeviceStore
from store.memory_evidence import MemoryHoldStore
from store.memory_journal import MemoryJournal
from store.memory_outbox import Faults, MemoryOutbox
from store.rules import (
    IDEMPOTENCY_HONOURED_S,
    SETTLED_ORDER_LOADED_S,
    cities_that_load,
    is_settled,
    outbox_cut,
    version_conflict,
)
from store.settings import RetentionSettings
from store.track_points import LastPosition, TrackPoint, track_points
from webhooks.model import Dead, Delivery, Settled


class MemoryDispatchStore:
    """In-memory ``dispatch.ports.DispatchStore``."""

    def __init__(self, outbox: MemoryOutbox) -> None:
        self.faults = Faults()
        self._outbox = outbox
        self._orders: dict[tuple[TenantId, OrderId], Order] = {}
        self._offers: dict[tuple[TenantId, str], Offer] = {}
        self._technicians: dict[tuple[TenantId, UserId], Technician] = {}
        self._alive_at: dict[Shard, float] = {}
        self._skipped: dict[Shard, dict[OrderId, SkippedRounds]] = {}
        self._events: dict[tuple[TenantId, OrderId], dict[int, OrderEvent]] = {}
        self._rounds: dict[tuple[TenantId, str], StoredRound] = {}
        self._idempotency: dict[tuple[Shard, UserId, str], IdempotencyRecord] = {}
        self._blocks: dict[tuple[TenantId, UserId, UserId, BlockSide], PairBlock] = {}
        self.webhook_events: dict[tuple[TenantId, str, str], Delivery] = {}

    async def load(self, shard: Shard, now: float) -> DispatchState:
        """See the port."""
        self.faults.before_read()
        orders = [
            order
            for (tenant, _), order in sorted(self._orders.items())
            if (tenant, order.city) == shard
            and (not is_settled(order) or order.changed_at >= now - SETTLED_ORDER_LOADED_S)
        ]
        ids = {order.order_id for order in orders}
        return DispatchState(
            orders=orders,
            offers=sorted(
                (o for (tenant, _), o in self._offers.items() if tenant == shard.tenant and o.order_id in ids),
                key=lambda offer: (offer.offered_at, offer.offer_id),
            ),
            technicians=[
                t
                for (tenant, _), t in sorted(self._technicians.items())
                if tenant == shard.tenant and shard.city in cities_that_load(t)
            ],
            event_seqs={
                order_id: max(events)
                for (tenant, order_id), events in sorted(self._events.items())
                if tenant == shard.tenant and order_id in ids
            },
            idempotency=[
                record
                for (owner, _, _), record in self._idempotency.items()
                if owner == shard and record.at >= now - IDEMPOTENCY_HONOURED_S
            ],
            blocks=[block.mark for (tenant, *_), block in sorted(self._blocks.items()) if tenant == shard.tenant],
            alive_at=self._alive_at.get(shard),
            skipped=dict(self._skipped.get(shard, {})),
        )

    async def commit(
        self, shard: Shard, changes: DispatchChanges, drafts: Sequence[OutboxDraft], now: float
    ) -> Sequence[OutboxRow]:
        """See the port."""
        stored_anyway = await self.faults.before_commit()
        self._check(shard, changes)
        self._outbox.check(drafts)
        for order in changes.orders.values():
            self._orders[shard.tenant, order.order_id] = order
        for offer in changes.offers.values():
            self._offers[shard.tenant, offer.offer_id] = offer
        for technician in changes.technicians.values():
            self._technicians[shard.tenant, technician.technician] = technician
        if changes.alive_at is not None:
            self._alive_at[shard] = changes.alive_at
        if changes.skipped is not None:
            self._skipped[shard] = dict(changes.skipped)
        for event in changes.events:
            self._events.setdefault((shard.tenant, event.order_id), {})[event.seq] = event
        for stored in changes.rounds:
            self._rounds[shard.tenant, stored.round_id] = stored
        for record in changes.idempotency:
            self._idempotency[shard, record.user, record.key] = record
        for pair, block in changes.blocks.items():
            if block is None:
                self._blocks.pop((shard.tenant, *pair), None)
            else:
                self._blocks[shard.tenant, *pair] = block
        for notice in changes.notices:
            key = (notice.tenant, notice.endpoint, notice.event_id)
            self.webhook_events.setdefault(key, Delivery(notice, 0, notice.created_at))
        rows = self._outbox.append(drafts, now)
        self.faults.commits += 1
        if stored_anyway:
            raise Unavailable("the outcome of the commit is unknown", code="store_unavailable")
        return rows

    def _check(self, shard: Shard, changes: DispatchChanges) -> None:
        for order in changes.orders.values():
            _check_version("order", order.order_id, order.version, self._orders.get((shard.tenant, order.order_id)))
        for offer in changes.offers.values():
            _check_version("offer", offer.offer_id, offer.version, self._offers.get((shard.tenant, offer.offer_id)))
        for technician in changes.technicians.values():
            who = technician.technician
            _check_version("technician", who, technician.version, self._technicians.get((shard.tenant, who)))
        numbered: set[tuple[OrderId, int]] = set()
        for event in changes.events:
            stored = self._events.get((shard.tenant, event.order_id), {})
            if event.seq in stored or (event.order_id, event.seq) in numbered:
                raise Unavailable(f"event {event.seq} of order {event.order_id} exists", code="store_conflict")
            numbered.add((event.order_id, event.seq))
        for item in changes.rounds:
            if (shard.tenant, item.round_id) in self._rounds:
                raise Unavailable(f"round {item.round_id} exists", code="store_conflict")

    async def order(self, tenant: TenantId, order_id: OrderId) -> Order | None:
        """See the port."""
        self.faults.before_read()
        return self._orders.get((tenant, order_id))

    async def events(self, tenant: TenantId, order_id: OrderId) -> Sequence[OrderEvent]:
        """See the port."""
        self.faults.before_read()
        return [event for _, event in sorted(self._events.get((tenant, order_id), {}).items())]

    async def offers(self, tenant: TenantId, order_id: OrderId) -> Sequence[Offer]:
        """See the port."""
        self.faults.before_read()
        found = [o for (owner, _), o in self._offers.items() if owner == tenant and o.order_id == order_id]
        return sorted(found, key=lambda offer: (offer.offered_at, offer.offer_id))

    async def rounds(self, tenant: TenantId, order_id: OrderId) -> Sequence[StoredRound]:
        """See the port."""
        self.faults.before_read()
        found = [r for (owner, _), r in self._rounds.items() if owner == tenant and order_id in r.orders]
        return sorted(found, key=lambda stored: (stored.at, stored.round_id))

    async def rounds_between(
        self,
        tenant: TenantId,
        city: CityId,
        *,
        from_at: float,
        to_at: float,
        after: tuple[float, str] | None = None,
        limit: int,
    ) -> Sequence[StoredRound]:
        """See the port."""
        self.faults.before_read()
        found = [
            r
            for (owner, _), r in self._rounds.items()
            if (owner, r.city) == (tenant, city)
            and from_at <= r.at <= to_at
            and (after is None or (r.at, r.round_id) > after)
        ]
        return sorted(found, key=lambda stored: (stored.at, stored.round_id))[:limit]

    async def technician(self, tenant: TenantId, technician: UserId) -> Technician | None:
        """See the port."""
        self.faults.before_read()
        return self._technicians.get((tenant, technician))


class MemoryListings:
    """In-memory ``dispatch.ports.Listings``: looks through everything."""

    def __init__(self, store: MemoryDispatchStore) -> None:
        self._store = store

    async def orders(
        self, tenant: TenantId, wanted: ListFilter, *, before: Place | None = None, limit: int
    ) -> Sequence[Order]:
        """See the port."""
        self._store.faults.before_read()
        found = [
            order
            for (owner, _), order in self._store._orders.items()
            if owner == tenant
            and _fits(wanted, order, order.customer, order.placed_at)
            and (before is None or (order.placed_at, order.order_id) < before)
        ]
        return sorted(found, key=lambda order: (order.placed_at, order.order_id), reverse=True)[:limit]

    async def offers(
        self, tenant: TenantId, wanted: ListFilter, *, before: Place | None = None, limit: int
    ) -> Sequence[Offer]:
        """See the port."""
        self._store.faults.before_read()
        orders = self._store._orders
        found = [
            offer
            for (owner, _), offer in self._store._offers.items()
            if owner == tenant
            and (wanted.order is None or offer.order_id == wanted.order)
            and _fits(wanted, offer, orders[tenant, offer.order_id].customer, offer.offered_at)
            and (before is None or (offer.offered_at, offer.offer_id) < before)
        ]
        return sorted(found, key=lambda offer: (offer.offered_at, offer.offer_id), reverse=True)[:limit]

    async def blocks(
        self, tenant: TenantId, wanted: BlockFilter, *, before: Place | None = None, limit: int
    ) -> Sequence[PairBlock]:
        """See the port."""
        self._store.faults.before_read()
        found = [
            block
            for (owner, customer, technician, side), block in self._store._blocks.items()
            if owner == tenant
            and wanted.customer in (None, customer)
            and wanted.technician in (None, technician)
            and wanted.side in (None, side)
            and (before is None or (block.set_at, block.block_id) < before)
        ]
        return sorted(found, key=lambda block: (block.set_at, block.block_id), reverse=True)[:limit]

    async def count_orders(
        self, tenant: TenantId, wanted: ListFilter, *, before: Place | None = None, most: int
    ) -> int:
        """See the port."""
        return len(await self.orders(tenant, wanted, before=before, limit=most))

    async def count_offers(
        self, tenant: TenantId, wanted: ListFilter, *, before: Place | None = None, most: int
    ) -> int:
        """See the port."""
        return len(await self.offers(tenant, wanted, before=before, limit=most))


def _fits(wanted: ListFilter, row: Order | Offer, customer: UserId, at: float) -> bool:
    return (
        (wanted.cities is None or row.city in wanted.cities)
        and (wanted.state is None or row.state == wanted.state)
        and (wanted.technician is None or row.technician == wanted.technician)
        and (wanted.customer is None or customer == wanted.customer)
        and (wanted.from_at is None or at >= wanted.from_at)
        and (wanted.to_at is None or at < wanted.to_at)
    )


class MemoryDeliveryQueue:
    """In-memory ``webhooks.ports.DeliveryQueue``; ``dead`` holds what died, and why."""

    def __init__(self, store: MemoryDispatchStore) -> None:
        self.faults = Faults()
        self._events = store.webhook_events
        self.dead: dict[tuple[TenantId, str, str], Dead] = {}

    async def waiting(self) -> Mapping[str, int]:
        """See the port."""
        self.faults.before_read()
        return Counter(endpoint for _, endpoint, _ in self._events)

    async def due_first(self, endpoint: str, *, limit: int) -> Sequence[Delivery]:
        """See the port."""
        self.faults.before_read()
        found = [delivery for (_, name, _), delivery in self._events.items() if name == endpoint]
        return sorted(found, key=lambda d: (d.next_at, d.notice.event_id))[:limit]

    async def keep(self, settled: Sequence[Settled], now: float) -> None:
        """See the port."""
        await self.faults.before_commit()
        for done in settled:
            notice = done.delivery.notice
            key = (notice.tenant, notice.endpoint, notice.event_id)
            if key not in self._events:
                continue
            if done.is_done or done.dead is not None:
                del self._events[key]
            else:
                self._events[key] = done.delivery
            if done.dead is not None:
                self.dead[key] = done.dead
        self.faults.commits += 1

    async def abandon(self, known: Collection[str], now: float) -> int:
        """See the port."""
        gone = [key for key in self._events if key[1] not in known]
        for key in gone:
            del self._events[key]
            self.dead[key] = Dead.ENDPOINT_REMOVED
        return len(gone)


class MemorySignOuts:
    """In-memory ``api.ports.SignOuts``."""

    def __init__(self) -> None:
        self.faults = Faults()
        self._until: dict[tuple[TenantId, str], float] = {}

    async def load(self, now: float) -> Sequence[tuple[TenantId, str, float]]:
        """See the port."""
        self.faults.before_read()
        return [(tenant, sign_in, at) for (tenant, sign_in), at in sorted(self._until.items()) if at > now]

    async def put(self, tenant: TenantId, sign_in: str, until_at: float) -> None:
        """See the port."""
        await self.faults.before_commit()
        self._until[tenant, sign_in] = until_at


class MemoryBrowserSessions:
    """In-memory ``api.ports.BrowserSessionStore``."""

    def __init__(self) -> None:
        self.faults = Faults()
        self._kept: dict[tuple[TenantId, str], BrowserSession] = {}

    async def load(self, now: float) -> Sequence[BrowserSession]:
        """See the port."""
        self.faults.before_read()
        return [session for session in self._kept.values() if session.expires_at > now]

    async def put(self, session: BrowserSession) -> None:
        """See the port."""
        await self.faults.before_commit()
        self._kept[session.grant.tenant, session.session_id] = session

    async def remove(self, tenant: TenantId, session_id: str) -> None:
        """See the port."""
        await self.faults.before_commit()
        self._kept.pop((tenant, session_id), None)


class MemorySafetyStore:
    """In-memory ``safety.ports.SafetyStore``.

    Attributes:
        audit: The chain of each tenant; empty without a pen.
    """

    def __init__(self, outbox: MemoryOutbox, pen: AuditPen | None = None) -> None:
        self.faults = Faults()
        self.audit: dict[TenantId, list[AuditRow]] = {}
        self._pen = pen
        self._outbox = outbox
        self._incidents: dict[tuple[TenantId, IncidentId], Incident] = {}
        self._triggers: dict[str, Trigger] = {}
        self._events: dict[tuple[TenantId, IncidentId], dict[int, IncidentEvent]] = {}
        self._pages: dict[tuple[TenantId, IncidentId, str], Page] = {}
        self._subjects: dict[tuple[TenantId, UserId], SubjectRecord] = {}

    async def load(self, *, settled_since: float) -> SafetyState:
        """See the port."""
        self.faults.before_read()
        incidents = [
            incident
            for _, incident in sorted(self._incidents.items())
            if incident.is_active
            or (incident.state is not IncidentState.CLOSED and incident.changed_at >= settled_since)
        ]
        ids = {incident.incident_id for incident in incidents}
        return SafetyState(
            incidents=incidents,
            triggers=[trigger for trigger in self._triggers.values() if trigger.incident_id in ids],
            event_seqs={i: max(events) for (_, i), events in sorted(self._events.items()) if i in ids},
            pages=[page for (_, i, _), page in sorted(self._pages.items()) if i in ids],
            subjects=[record for _, record in sorted(self._subjects.items())],
        )

    async def commit(self, changes: SafetyChanges, drafts: Sequence[OutboxDraft], now: float) -> Sequence[OutboxRow]:
        """See the port."""
        stored_anyway = await self.faults.before_commit()
        self._check(changes)
        self._outbox.check(drafts)
        for incident in changes.incidents.values():
            self._incidents[incident.tenant, incident.incident_id] = incident
        for trigger in changes.triggers:
            self._triggers[trigger.trigger_id] = trigger
        for event in changes.events:
            self._events.setdefault((event.tenant, event.incident_id), {})[event.seq] = event
        for page in changes.pages.values():
            self._pages[page.tenant, page.incident_id, page.recipient] = page
        if self._pen is not None:
            for entry in changes.audit():
                chain = self.audit.setdefault(entry.tenant, [])
                chain.append(self._pen.write(entry, _head(chain))[0])
        self._subjects.update(changes.subjects)
        rows = self._outbox.append(drafts, now)
        self.faults.commits += 1
        if stored_anyway:
            raise Unavailable("the outcome of the commit is unknown", code="store_unavailable")
        return rows

    async def known_tap(
        self, tenant: TenantId, subject: UserId, key: str, *, since: float
    ) -> tuple[Incident, Trigger] | None:
        """See the port."""
        self.faults.before_read()
        for trigger in sorted(self._triggers.values(), key=lambda t: t.received_at):
            incident = self._incidents.get((tenant, trigger.incident_id))
            is_theirs = incident is not None and incident.subject == subject
            if incident is not None and is_theirs and trigger.key == key and trigger.received_at >= since:
                return incident, trigger
        return None

    @property
    def stored(self) -> Mapping[tuple[TenantId, IncidentId], Incident]:
        """All incidents."""
        return self._incidents

    async def audit_heads(self) -> Mapping[TenantId, Head]:
        """See the port."""
        self.faults.before_read()
        return {tenant: _head(chain) for tenant, chain in sorted(self.audit.items())}

    def _check(self, changes: SafetyChanges) -> None:
        for incident in changes.incidents.values():
            stored = self._incidents.get((incident.tenant, incident.incident_id))
            _check_version("incident", incident.incident_id, incident.version, stored)
        for trigger in changes.triggers:
            if trigger.incident_id not in changes.incidents:
                raise ValueError(f"trigger {trigger.trigger_id} comes without the incident that it changed")
            if trigger.trigger_id in self._triggers:
                raise Unavailable(f"trigger {trigger.trigger_id} exists", code="store_conflict")
        for event in changes.events:
            if event.seq in self._events.get((event.tenant, event.incident_id), {}):
                raise Unavailable(f"event {event.seq} of {event.incident_id} exists", code="store_conflict")

    async def incident(self, tenant: TenantId, incident_id: IncidentId) -> Incident | None:
        """See the port."""
        self.faults.before_read()
        return self._incidents.get((tenant, incident_id))

    async def incidents(
        self,
        tenant: TenantId,
        *,
        cities: frozenset[CityId] | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> Sequence[Incident]:
        """See the port."""
        self.faults.before_read()
        found = [
            incident
            for (owner, _), incident in self._incidents.items()
            if owner == tenant
            and (cities is None or incident.city is None or incident.city in cities)
            and (before is None or (incident.raised_at, incident.incident_id) < before)
        ]
        return sorted(found, key=lambda i: (i.raised_at, i.incident_id), reverse=True)[:limit]

    async def incidents_of(self, tenant: TenantId, subject: UserId) -> Sequence[Incident]:
        """See the port."""
        self.faults.before_read()
        found = [i for (owner, _), i in self._incidents.items() if owner == tenant and i.subject == subject]
        return sorted(found, key=lambda incident: incident.raised_at)

    async def events(self, tenant: TenantId, incident_id: IncidentId) -> Sequence[IncidentEvent]:
        """See the port."""
        self.faults.before_read()
        return [event for _, event in sorted(self._events.get((tenant, incident_id), {}).items())]

    async def pages(self, tenant: TenantId, incident_id: IncidentId) -> Sequence[Page]:
        """See the port."""
        self.faults.before_read()
        return [page for key, page in sorted(self._pages.items()) if key[:2] == (tenant, incident_id)]


class MemoryLookStore:
    """In-memory ``safety.looks.LookStore``; what the audit remembers is not kept."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.looks: list[Look] = []

    async def add(self, looks: Sequence[Look], entries: Sequence[AuditEntry]) -> None:
        """See the port."""
        await self.faults.before_commit()
        self.looks.extend(looks)
        self.faults.commits += 1

    async def of(self, tenant: TenantId, subjects: Sequence[str], *, before: float, limit: int) -> Sequence[Look]:
        """See the port."""
        self.faults.before_read()
        found = [k for k in self.looks if k.tenant == tenant and k.subject in subjects and k.at < before]
        return sorted(found, key=lambda look: look.at, reverse=True)[:limit]


class MemoryProfileStore:
    """In-memory ``safety.profiles.ProfileStore``; ``entries`` is what the audit was told, not chained."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.entries: list[AuditEntry] = []
        self._profiles: dict[tuple[TenantId, UserId], Profile] = {}

    async def load(self) -> list[Profile]:
        """See the port."""
        self.faults.before_read()
        return [profile for _, profile in sorted(self._profiles.items())]

    async def put(self, profile: Profile, entry: AuditEntry) -> None:
        """See the port."""
        stored_anyway = await self.faults.before_commit()
        self._profiles[profile.tenant, profile.user] = profile
        self.entries.append(entry)
        self.faults.commits += 1
        if stored_anyway:
            raise Unavailable("the outcome of the commit is unknown", code="store_unavailable")

    async def erase(
        self,
        tenant: TenantId,
        user: UserId,
        incidents: Sequence[IncidentId],
        held: Collection[tuple[str, str]],
        entry: AuditEntry,
    ) -> None:
        """See the port; incidents, looks, drills and links lie in other twins."""
        await self.faults.before_commit()
        self._profiles.pop((tenant, user), None)
        self.entries.append(entry)
        self.faults.commits += 1


class MemoryStreamStore:
    """In-memory ``realtime.ports.StreamStore``."""

    def __init__(
        self, outboxes: Mapping[Stream, MemoryOutbox], directory: Directory, clock: Clock, keep: RetentionSettings
    ) -> None:
        self.faults = {stream: Faults() for stream in outboxes}
        self._outboxes = outboxes
        self._directory = directory
        self._clock = clock
        self._keep = keep

    async def attach(
        self, who: Principal, now: float, streams: Collection[Stream] = tuple(Stream)
    ) -> dict[Stream, StreamHead]:
        """See the port."""
        self._directory.note(who, now)
        heads: dict[Stream, StreamHead] = {}
        failure: Unavailable | None = None
        for stream in streams:
            try:
                self.faults[stream].before_read()
            except Unavailable as error:
                failure = error
            else:
                heads[stream] = self._outboxes[stream].head(who.tenant, who.user)
        if failure is not None and not heads:
            raise failure
        return heads

    async def read(
        self, tenant: TenantId, user: UserId, stream: Stream, *, after_seq: int, limit: int
    ) -> Sequence[OutboxRow]:
        """See the port."""
        self.faults[stream].before_read()
        rows = self._outboxes[stream].rows.get((tenant, user), [])
        return [row for row in rows if row.seq > after_seq][:limit]

    def note_alive(self, who: Principal, now: float) -> None:
        """See the port."""
        self._directory.note_alive(who, now)

    def note_ack(self, tenant: TenantId, user: UserId, device: DeviceId, stream: Stream, seq: int) -> None:
        """See the port."""
        self._directory.touch(tenant, user, device, self._clock.now())
        acks = self._outboxes[stream].acks
        acks[tenant, user, device] = max(acks.get((tenant, user, device), 0), seq)

    async def flush(self) -> None:
        """Nothing waits here."""

    async def prune(self, now: float) -> int:
        """Remove rows that need not be kept; returns how many."""
        removed = 0
        for outbox in self._outboxes.values():
            for (tenant, user), rows in outbox.rows.items():
                acks = [outbox.acks.get((tenant, user, d), 0) for d in self._directory.living(tenant, user, now)]
                cut = outbox_cut(((row.seq, row.created_at) for row in rows), acks, self._keep, now)
                kept = [row for row in rows if row.seq > cut]
                removed += len(rows) - len(kept)
                rows[:] = kept
        return removed


class MemoryPositionLog:
    """In-memory ``realtime.ports.PositionLog``."""

    def __init__(self) -> None:
        self.points: list[TrackPoint] = []
        self.held: Callable[[float], frozenset[tuple[str, str]] | None] = lambda _now: frozenset()
        """Nothing is deleted here, so nothing asks."""
        self.dropped_rows = 0
        self._last: dict[tuple[TenantId, UserId], LastPosition] = {}

    def append(
        self,
        shard: Shard,
        technician: UserId,
        order: str,
        columns: Mapping[str, Sequence[float]],
        stored: Callable[[], None] | None = None,
    ) -> None:
        """See ``store.tracks.SqlPositionLog``; stored at once."""
        self.points.extend(track_points(shard, technician, order, columns))
        if stored is not None:
            stored()

    def hurry(self) -> None:
        """Nothing waits here."""

    def note_last(self, position: LastPosition) -> None:
        """Keep the newest position of a technician."""
        self._last[position.tenant, position.technician] = position

    async def flush(self) -> None:
        """Nothing waits here."""

    async def track(self, tenant: TenantId, order: str, *, limit: int = 10_000) -> Sequence[TrackPoint]:
        """Positions of one job or incident in order of ``fixed_at``."""
        return self._sorted(p for p in self.points if p.tenant == tenant and p.order == order)[:limit]

    async def track_of(
        self, tenant: TenantId, technician: UserId, *, from_at: float, to_at: float, limit: int = 10_000
    ) -> Sequence[TrackPoint]:
        """Positions of one technician with ``from_at <= fixed_at < to_at``, in order."""
        return self._sorted(
            p
            for p in self.points
            if p.tenant == tenant and p.technician == technician and from_at <= p.fixed_at < to_at
        )[:limit]

    async def last_positions(self, shard: Shard, *, seen_since: float = 0.0) -> Sequence[LastPosition]:
        """Last known position of each technician of the shard, where it was received at ``seen_since`` or later."""
        return [p for _, p in sorted(self._last.items()) if (p.tenant, p.city) == shard and p.received_at >= seen_since]

    @staticmethod
    def _sorted(points: Iterable[TrackPoint]) -> Sequence[TrackPoint]:
        return sorted(points, key=lambda p: (p.fixed_at, p.received_at))


class MemoryStores:
    """All in-memory stores of one node, put together as ``sqlite.Stores`` puts the real ones.

    ``dispatch`` and ``safety`` have ``faults``, and ``streams`` for each stream.
    """

    def __init__(
        self, clock: Clock, ids: IdSource, keep: RetentionSettings | None = None, pen: AuditPen | None = None
    ) -> None:
        keep = keep or RetentionSettings()
        self.outboxes = {stream: MemoryOutbox(stream, ids.new("ep_")) for stream in Stream}
        self.directory = Directory(keep.device_seen_s)
        self.dispatch = MemoryDispatchStore(self.outboxes[Stream.MAIN])
        self.listings = MemoryListings(self.dispatch)
        self.webhooks = MemoryDeliveryQueue(self.dispatch)
        self.sign_outs = MemorySignOuts()
        self.tracker_devices = MemoryDeviceStore()
        self.browser_sessions = MemoryBrowserSessions()
        self.safety = MemorySafetyStore(self.outboxes[Stream.SAFETY], pen)
        self.care = MemoryCareStore(self.outboxes[Stream.SAFETY])
        self.profiles = MemoryProfileStore()
        self.looks = MemoryLookStore()
        self.holds = MemoryHoldStore(lambda: self.safety.stored)
        self.journal = MemoryJournal()
        self.streams = MemoryStreamStore(self.outboxes, self.directory, clock, keep)
        self.tracks = MemoryPositionLog()
        self.held: Callable[[float], frozenset[tuple[str, str]] | None] = lambda _now: frozenset()
        """Nothing is deleted here, so nothing asks."""

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""


def _head(chain: Sequence[AuditRow]) -> Head:
    return Head(chain[-1].seq, chain[-1].mac) if chain else Head()


def _check_version(kind: str, key: str, version: int, stored: Order | Offer | Technician | Incident | None) -> None:
    found = 0 if stored is None else stored.version
    if version != found + 1:
        raise version_conflict(kind, key, found=found, writing=version)
