"""Safety's durable state in ``safety.db``: the SQL of ``safety.ports.SafetyStore``."""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, Table, and_, bindparam, delete, func, or_, select, tuple_

from core.ids import CityId, IncidentId, TenantId, UserId
from core.outbox import OutboxDraft, OutboxRow
from safety import synthetic
from safety.audit import Head
from safety.model import Incident, IncidentEvent, IncidentState, SubjectRecord, Trigger
from safety.pages import Page
from safety.ports import SafetyChanges, SafetyState
from store import schema
from store.audit import AuditTable, read_head, read_tenants
from store.blobs import Blob
from store.database import Database
from store.outbox import Outbox
from store.statements import Statement, VersionedRows, insert_row, upsert

_INCIDENT: Final = Blob(Incident)
_TRIGGER: Final = Blob(Trigger)
_EVENT: Final = Blob(IncidentEvent)
_PAGE: Final = Blob(Page)

_i, _t, _e, _p = schema.incidents.c, schema.triggers.c, schema.incident_events.c, schema.pages.c

_SUBJECT: Final = Blob(SubjectRecord)
_PUT_SUBJECT: Final = upsert(schema.sos_subjects)
_LOAD_SUBJECTS: Final = Statement(
    select(schema.sos_subjects.c.body).order_by(schema.sos_subjects.c.tenant, schema.sos_subjects.c.subject)
)
_PUT_INCIDENT: Final = VersionedRows(schema.incidents, schema.INCIDENT_CHANGING, "incident")
_ADD_TRIGGER: Final = insert_row(schema.triggers)
_ADD_EVENT: Final = insert_row(schema.incident_events)
_PUT_PAGE: Final = upsert(schema.pages)

_BY_ID: Final = Statement(select(_i.body).where(_i.tenant == bindparam("t"), _i.incident_id == bindparam("i")))
_OF_SUBJECT: Final = Statement(
    select(_i.body).where(_i.tenant == bindparam("t"), _i.subject == bindparam("s")).order_by(_i.raised_at)
)
TAPS_SEARCHED: Final = 1_000
"""Taps of one incident that are looked through for a key."""
_TAPS_SINCE: Final = Statement(
    select(_t.body)
    .where(_t.tenant == bindparam("t"), _t.incident_id == bindparam("i"), _t.received_at >= bindparam("since"))
    .order_by(_t.received_at)
    .limit(TAPS_SEARCHED)
)
_EVENTS: Final = Statement(
    select(_e.body).where(_e.tenant == bindparam("t"), _e.incident_id == bindparam("i")).order_by(_e.seq)
)
_PAGES: Final = Statement(
    select(_p.body).where(_p.tenant == bindparam("t"), _p.incident_id == bindparam("i")).order_by(_p.recipient)
)
# NULL has a place in the index: both halves are looked up there.
_LOADED: Final = and_(
    or_(_i.settled_at.is_(None), _i.settled_at >= bindparam("since")), _i.state != IncidentState.CLOSED.value
)
# Sorted afterwards: for an order by key SQLite would rather walk through that key's index.
_LOAD_INCIDENTS: Final = Statement(select(_i.tenant, _i.incident_id, _i.body).where(_LOADED))
_LOAD_TRIGGERS: Final = Statement(
    select(_t.body)
    .join(schema.incidents, and_(_t.tenant == _i.tenant, _t.incident_id == _i.incident_id))
    .where(_LOADED)
    .order_by(_t.received_at, _t.trigger_id)
)
_LOAD_PAGES: Final = Statement(
    select(_p.incident_id, _p.recipient, _p.body)
    .join(schema.incidents, and_(_p.tenant == _i.tenant, _p.incident_id == _i.incident_id))
    .where(_LOADED)
)
# Looked up for each incident: grouped over a join it would be read through the whole history.
_LAST_SEQ: Final = (
    select(func.max(_e.seq)).where(_e.tenant == _i.tenant, _e.incident_id == _i.incident_id).scalar_subquery()
)
_LOAD_EVENT_SEQS: Final = Statement(select(_i.incident_id, _LAST_SEQ).where(_LOADED))

SYNTHETIC_PRUNED: Final = 50
"""Incidents of nobody that one run removes at most: an SOS of somebody may wait for the same writer."""
# By the time at which they were raised: so the index of a tenant's incidents finds them.
_OLD_SYNTHETIC: Final = Statement(
    select(_i.tenant, _i.incident_id)
    .where(_i.tenant == bindparam("t"), _i.raised_at < bindparam("raised_before"), _i.settled_at < bindparam("horizon"))
    .order_by(_i.raised_at)
    .limit(bindparam("n"))
)


def _forgetting(table: Table) -> Statement:
    """Removes what a table has of one incident."""
    return Statement(delete(table).where(table.c.tenant == bindparam("t"), table.c.incident_id == bindparam("i")))


_FORGET: Final = tuple(
    _forgetting(table) for table in (schema.incident_events, schema.triggers, schema.pages, schema.incidents)
)


class SqlSafetyStore:
    """``safety.ports.SafetyStore`` on ``safety.db``."""

    def __init__(self, database: Database, outbox: Outbox, audit: AuditTable) -> None:
        self._database = database
        self._outbox = outbox
        self._audit = audit

    async def load(self, *, settled_since: float) -> SafetyState:
        """See the port."""
        return await self._database.read(lambda c: _load(c, settled_since))

    async def commit(self, changes: SafetyChanges, drafts: Sequence[OutboxDraft], now: float) -> Sequence[OutboxRow]:
        """See the port. A trigger comes with its incident, which it changed."""

        def work(connection: Connection) -> Sequence[OutboxRow]:
            _write(connection, changes)
            self._audit.append(connection, changes.audit())
            return self._outbox.append(connection, drafts, now)

        return await self._database.write(work)

    async def incident(self, tenant: TenantId, incident_id: IncidentId) -> Incident | None:
        """See the port."""
        row = await self._database.read(lambda c: _BY_ID.one(c, tenant, incident_id))
        return None if row is None else _INCIDENT.unpack(row[0])

    async def incidents(
        self,
        tenant: TenantId,
        *,
        cities: frozenset[CityId] | None = None,
        before: tuple[float, str] | None = None,
        limit: int = 50,
    ) -> Sequence[Incident]:
        """See the port."""
        query = select(_i.body).where(_i.tenant == tenant)
        if cities is not None:
            query = query.where(or_(_i.city.is_(None), _i.city.in_(sorted(cities))))
        if before is not None:
            query = query.where(tuple_(_i.raised_at, _i.incident_id) < before)
        query = query.order_by(_i.raised_at.desc(), _i.incident_id.desc()).limit(limit)
        rows = await self._database.read(lambda c: c.execute(query).all())
        return [_INCIDENT.unpack(row[0]) for row in rows]

    async def incidents_of(self, tenant: TenantId, subject: UserId) -> Sequence[Incident]:
        """See the port."""
        rows = await self._database.read(lambda c: _OF_SUBJECT.all(c, tenant, subject))
        return [_INCIDENT.unpack(row[0]) for row in rows]

    async def known_tap(
        self, tenant: TenantId, subject: UserId, key: str, *, since: float
    ) -> tuple[Incident, Trigger] | None:
        """See the port."""

        def query(connection: Connection) -> tuple[Incident, Trigger] | None:
            for row in _OF_SUBJECT.all(connection, tenant, subject):
                incident = _INCIDENT.unpack(row[0])
                if not incident.is_active and incident.changed_at < since:
                    continue
                for tap in _TAPS_SINCE.all(connection, tenant, incident.incident_id, since):
                    trigger = _TRIGGER.unpack(tap[0])
                    if trigger.key == key:
                        return incident, trigger
            return None

        return await self._database.read(query)

    async def events(self, tenant: TenantId, incident_id: IncidentId) -> Sequence[IncidentEvent]:
        """See the port."""
        rows = await self._database.read(lambda c: _EVENTS.all(c, tenant, incident_id))
        return [_EVENT.unpack(row[0]) for row in rows]

    async def pages(self, tenant: TenantId, incident_id: IncidentId) -> Sequence[Page]:
        """See the port."""
        rows = await self._database.read(lambda c: _PAGES.all(c, tenant, incident_id))
        return [_PAGE.unpack(row[0]) for row in rows]

    async def audit_heads(self) -> Mapping[TenantId, Head]:
        """See the port."""
        return await self._database.read(lambda c: {tenant: read_head(c, tenant) for tenant in read_tenants(c)})


def _load(connection: Connection, since: float) -> SafetyState:
    return SafetyState(
        incidents=[_INCIDENT.unpack(row[2]) for row in sorted(_LOAD_INCIDENTS.all(connection, since))],
        triggers=[_TRIGGER.unpack(row[0]) for row in _LOAD_TRIGGERS.all(connection, since)],
        event_seqs={row[0]: row[1] for row in sorted(_LOAD_EVENT_SEQS.all(connection, since)) if row[1]},
        pages=[_PAGE.unpack(row[2]) for row in sorted(_LOAD_PAGES.all(connection, since))],
        subjects=[_SUBJECT.unpack(row[0]) for row in _LOAD_SUBJECTS.all(connection)],
    )


def _write(connection: Connection, changes: SafetyChanges) -> None:
    for incident in changes.incidents.values():
        _PUT_INCIDENT.put(
            connection,
            incident.tenant,
            incident.incident_id,
            incident.subject,
            incident.raised_at,
            incident.city,
            incident.state.value,
            None if incident.is_active else incident.changed_at,
            incident.version,
            _INCIDENT.pack(incident),
            incident.cap_status.value,
        )
    for trigger in changes.triggers:
        incident_id = trigger.incident_id
        changed = changes.incidents.get(incident_id)
        if changed is None:
            raise ValueError(f"trigger {trigger.trigger_id} comes without the incident that it changed")
        _ADD_TRIGGER.change(
            connection, changed.tenant, trigger.trigger_id, incident_id, trigger.received_at, _TRIGGER.pack(trigger)
        )
    for record in changes.subjects.values():
        _PUT_SUBJECT.change(connection, record.tenant, record.user, _SUBJECT.pack(record))
    _ADD_EVENT.change_many(connection, [(e.tenant, e.incident_id, e.seq, e.at, _EVENT.pack(e)) for e in changes.events])
    _PUT_PAGE.change_many(
        connection, [(p.tenant, p.incident_id, p.recipient, _PAGE.pack(p)) for p in changes.pages.values()]
    )


def forget_synthetic(connection: Connection, horizon: float, rows_max: int) -> int:
    """Remove some incidents of nobody that ended before ``horizon``, with all that belongs to them.

    The audit keeps its rows: a chain from which something is taken proves nothing.

    Returns:
        How many incidents.
    """
    old = _OLD_SYNTHETIC.all(connection, synthetic.TENANT, horizon, horizon, min(rows_max, SYNTHETIC_PRUNED))
    for statement in _FORGET:
        statement.change_many(connection, old)
    return len(old)
