"""What is held as evidence, in ``safety.db``: the SQL of ``safety.holds.HoldStore``."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, or_, select

from safety.audit import AuditEntry
from safety.holds import HoldMark
from safety.model import CapStatus, Incident
from store import schema
from store.audit import AuditTable
from store.blobs import Blob
from store.database import Database
from store.statements import Statement, upsert

_INCIDENT: Final = Blob(Incident)
_MARK: Final = Blob(HoldMark)
_i, _h = schema.incidents.c, schema.holds.c
# Of drills and tests nothing is evidence, and there is one of those each minute.
_HOLDING: Final = Statement(
    select(_i.body).where(
        _i.cap_status == CapStatus.ACTUAL.value, or_(_i.settled_at.is_(None), _i.settled_at >= bindparam("since"))
    )
)
_LOAD_MARKS: Final = Statement(select(_h.body).order_by(_h.tenant, _h.incident_id))
_PUT_MARK: Final = upsert(schema.holds)


class SqlHoldStore:
    """``safety.holds.HoldStore`` on ``safety.db``."""

    def __init__(self, database: Database, audit: AuditTable) -> None:
        self._database = database
        self._audit = audit

    async def load(self, *, settled_since: float) -> tuple[Sequence[Incident], Sequence[HoldMark]]:
        """See the port."""

        def query(connection: Connection) -> tuple[list[Incident], list[HoldMark]]:
            incidents = [_INCIDENT.unpack(row[0]) for row in _HOLDING.all(connection, settled_since)]
            return incidents, [_MARK.unpack(row[0]) for row in _LOAD_MARKS.all(connection)]

        return await self._database.read(query)

    async def put(self, mark: HoldMark, entry: AuditEntry) -> None:
        """See the port."""

        def work(connection: Connection) -> None:
            _PUT_MARK.change(connection, mark.tenant, mark.incident_id, _MARK.pack(mark))
            self._audit.append(connection, [entry])

        await self._database.write(work)
