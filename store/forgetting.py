"""Ends what ``safety.db`` keeps of incidents and people: by age, and of one person who is to be forgotten.

Rows of the audit stay, and their chain is sound without what they speak of (``safety/audit.py``): what is erased here
is the payload that lies apart from them.
"""

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, delete, select, tuple_

from core.ids import IncidentId, TenantId, UserId
from safety.trips import Trip
from store import schema
from store.blobs import Blob
from store.statements import Statement

_a, _i, _l, _p, _pay = (
    schema.audit.c,
    schema.incidents.c,
    schema.looks.c,
    schema.profiles.c,
    schema.audit_payloads.c,
)
_ROWS_OF: Final = Statement(select(_a.tenant, _a.seq).where(_a.tenant == bindparam("t"), _a.subject == bindparam("s")))
_ERASE: Final = Statement(
    delete(schema.audit_payloads).where(_pay.tenant == bindparam("t"), _pay.seq == bindparam("s"))
)
_DROP_TRIGGERS, _DROP_EVENTS, _DROP_PAGES, _DROP_MARK, _DROP_INCIDENT = (
    Statement(delete(table).where(table.c.tenant == bindparam("t"), table.c.incident_id == bindparam("i")))
    for table in (schema.triggers, schema.incident_events, schema.pages, schema.holds, schema.incidents)
)
_DROP_PROFILE: Final = Statement(delete(schema.profiles).where(_p.tenant == bindparam("t"), _p.user == bindparam("u")))
_DROP_LOOKS: Final = Statement(delete(schema.looks).where(_l.tenant == bindparam("t"), _l.subject == bindparam("u")))
_DROP_SUBJECT: Final = Statement(
    delete(schema.sos_subjects).where(
        schema.sos_subjects.c.tenant == bindparam("t"), schema.sos_subjects.c.subject == bindparam("u")
    )
)
_DROP_DRILLS: Final = Statement(
    delete(schema.drills).where(schema.drills.c.tenant == bindparam("t"), schema.drills.c.user == bindparam("u"))
)
_TRIP: Final = Blob(Trip)
_TRIPS: Final = Statement(select(schema.trips.c.body).where(schema.trips.c.tenant == bindparam("t")))
_DROP_TRIP: Final = Statement(
    delete(schema.trips).where(schema.trips.c.tenant == bindparam("t"), schema.trips.c.trip_id == bindparam("i"))
)
_END: Final = (_i.settled_at, _i.tenant, _i.incident_id)
# NULL is no time at all: what somebody must still act on is never found here.
_OLD: Final = Statement(
    select(*_END)
    .where(_i.settled_at < bindparam("horizon"), tuple_(*_END) > tuple_(*map(bindparam, ("at", "t", "i"))))
    .order_by(*_END)
    .limit(bindparam("n"))
)
End = tuple[float, str, str]
"""Where an incident stands among those that ended: when, its tenant and id."""
FIRST: Final[End] = (0.0, "", "")


def forget_person(
    connection: Connection,
    tenant: TenantId,
    user: UserId,
    incidents: Sequence[IncidentId],
    held: Collection[tuple[str, str]],
) -> None:
    """See ``safety.profiles.ProfileStore.erase``.

    Cost:
        A look at each drill and each link of the tenant that retention has left.
    """
    for incident_id in incidents:
        forget_incident(connection, tenant, incident_id)
    _DROP_PROFILE.change(connection, tenant, user)
    _DROP_LOOKS.change(connection, tenant, user)
    _DROP_SUBJECT.change(connection, tenant, user)
    _DROP_DRILLS.change(connection, tenant, user)
    shared = [trip for row in _TRIPS.all(connection, tenant) if (trip := _TRIP.unpack(row[0])).sharer == user]
    gone = [(tenant, trip.trip_id) for trip in shared if (tenant, trip.order_id) not in held]
    _DROP_TRIP.change_many(connection, gone)
    _erase_payloads(connection, tenant, user)


def forget_incident(connection: Connection, tenant: TenantId, incident_id: IncidentId) -> None:
    """Remove an incident with all that belongs to it; of the audit's rows what they speak of."""
    for statement in (_DROP_TRIGGERS, _DROP_EVENTS, _DROP_PAGES, _DROP_MARK, _DROP_INCIDENT):
        statement.change(connection, tenant, incident_id)
    _erase_payloads(connection, tenant, incident_id)


def forget_incidents(
    connection: Connection, after: End, horizon: float, most: int, held: Collection[tuple[str, str]]
) -> tuple[int, End]:
    """Remove incidents behind ``after`` that ended before ``horizon`` and that nobody holds, looking at ``most``.

    Returns:
        How many, and from where the next run goes on: what is held lies in the way of what is not.
    """
    old = _OLD.all(connection, horizon, *after, most)
    gone = [(tenant, incident_id) for _, tenant, incident_id in old if (tenant, incident_id) not in held]
    for tenant, incident_id in gone:
        forget_incident(connection, TenantId(tenant), IncidentId(incident_id))
    return len(gone), FIRST if len(old) < most else (old[-1][0], old[-1][1], old[-1][2])


def _erase_payloads(connection: Connection, tenant: TenantId, subject: str) -> None:
    _ERASE.change_many(connection, _ROWS_OF.all(connection, tenant, subject))
