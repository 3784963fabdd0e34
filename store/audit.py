"""The audit's rows in ``safety.db``: added in the transaction of what they speak of, read back to be checked."""

from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, select

from core.ids import IncidentId, TenantId
from safety.audit import AuditEntry, AuditPen, AuditRow, Fault, Head, event_of, hash_payload
from store import schema
from store.statements import Statement, insert_row

PAGE_ROWS: Final = 1_000
_a, _p, _e = schema.audit.c, schema.audit_payloads.c, schema.incident_events.c

_ADD: Final = insert_row(schema.audit)
_ADD_PAYLOAD: Final = insert_row(schema.audit_payloads)
_HEAD: Final = Statement(
    select(_a.seq, _a.mac).where(_a.tenant == bindparam("t")).order_by(_a.seq.desc()).limit(bindparam("n"))
)
_FIRST_OF: Final = Statement(
    select(_a.tenant).where(_a.tenant > bindparam("t")).order_by(_a.tenant).limit(bindparam("n"))
)
_ROWS: Final = Statement(
    select(*_a).where(_a.tenant == bindparam("t"), _a.seq > bindparam("s")).order_by(_a.seq).limit(bindparam("n"))
)
_PAYLOADS: Final = Statement(
    select(_p.seq, _p.salt, _p.body)
    .where(_p.tenant == bindparam("t"), _p.seq > bindparam("s"), _p.seq <= bindparam("last"))
    .order_by(_p.seq)
)
_EVENT_BODY: Final = Statement(
    select(_e.body).where(_e.tenant == bindparam("t"), _e.incident_id == bindparam("i"), _e.seq == bindparam("s"))
)


class AuditTable:
    """Adds rows in the writer's thread, inside the transaction of the change.

    Args:
        pen: Writes the rows; None keeps no audit (simulations).
    """

    def __init__(self, pen: AuditPen | None) -> None:
        self._pen = pen

    def append(self, connection: Connection, entries: Sequence[AuditEntry]) -> None:
        """Add rows to the chains of their tenants. The head is looked up: only the file knows what was committed."""
        if self._pen is None or not entries:
            return
        heads: dict[TenantId, Head] = {}
        rows, payloads = [], []
        for entry in entries:
            head = heads.get(entry.tenant) or read_head(connection, entry.tenant)
            row, salt = self._pen.write(entry, head)
            heads[entry.tenant] = Head(row.seq, row.mac)
            rows.append(
                (row.tenant, row.seq, row.at, row.actor, row.action, row.subject, row.payload_hash, row.prev, row.mac)
            )
            payloads.append((row.tenant, row.seq, salt, entry.payload))
        _ADD.change_many(connection, rows)
        _ADD_PAYLOAD.change_many(connection, payloads)


def read_head(connection: Connection, tenant: TenantId) -> Head:
    """The end of a tenant's chain. Cost: one look-up."""
    row = _HEAD.one(connection, tenant, 1)
    return Head() if row is None else Head(row[0], row[1])


def read_tenants(connection: Connection) -> list[TenantId]:
    """Tenants that have a chain. Cost: one look-up each."""
    found: list[TenantId] = []
    while (row := _FIRST_OF.one(connection, found[-1] if found else "", 1)) is not None:
        found.append(TenantId(row[0]))
    return found


def read_rows(connection: Connection, tenant: TenantId) -> Iterator[AuditRow]:
    """All rows of a tenant, a page at a time."""
    seq = 0
    while page := _ROWS.all(connection, tenant, seq, PAGE_ROWS):
        for row in page:
            yield AuditRow(*row)
        seq = page[-1][1]


def check_payloads(connection: Connection, tenant: TenantId, last: int) -> tuple[int, Fault | None]:
    """Compare what the rows speak of with their hashes, and incidents' histories with their rows.

    Args:
        connection: Reads one state of the file.
        tenant: Whose rows.
        last: Rows up to this one are sound.

    Returns:
        How many payloads were erased, and the first fault.
    """
    erased, seq = 0, 0
    while seq < last:
        page = _ROWS.all(connection, tenant, seq, PAGE_ROWS)
        payloads = {row[0]: row[1:] for row in _PAYLOADS.all(connection, tenant, seq, page[-1][1])}
        for row in (AuditRow(*values) for values in page):
            if row.seq > last:
                break
            payload = payloads.get(row.seq)
            if payload is None:
                erased += 1
                continue
            salt, body = payload
            if hash_payload(salt, body) != row.payload_hash:
                return erased, Fault(tenant, row.seq, "what it speaks of was changed")
            event = event_of(row.action, body)
            if event is not None:
                stored = _EVENT_BODY.one(connection, tenant, IncidentId(row.subject), event.seq)
                if stored is None or stored[0] != body:
                    how = "is missing" if stored is None else "was changed"
                    return erased, Fault(tenant, row.seq, f"event {event.seq} of {row.subject} {how}")
        seq = page[-1][1]
    return erased, None
