"""Who looked at whom, in ``safety.db``: the SQL of ``safety.looks.LookStore``."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, delete, select

from core.ids import TenantId
from safety.audit import AuditEntry
from safety.looks import Look
from store import schema
from store.audit import AuditTable
from store.blobs import Blob
from store.database import Database
from store.statements import Statement

_LOOK: Final = Blob(Look)
_l = schema.looks.c
_COLUMNS: Final = (_l.tenant, _l.subject, _l.at, _l.body)
_ADD: Final = Statement(schema.looks.insert().values({column.name: bindparam(column.name) for column in _COLUMNS}))
_OF: Final = Statement(
    select(_l.body)
    .where(_l.tenant == bindparam("t"), _l.subject == bindparam("s"), _l.at < bindparam("before"))
    .order_by(_l.at.desc(), _l.look_id.desc())
    .limit(bindparam("n"))
)
# Looks are added in the order of their time, or nearly so: the oldest are first.
_PRUNE: Final = Statement(
    delete(schema.looks).where(
        _l.at < bindparam("horizon"),
        _l.look_id.in_(select(_l.look_id).order_by(_l.look_id).limit(bindparam("n"))),
    )
)


class SqlLookStore:
    """``safety.looks.LookStore`` on ``safety.db``."""

    def __init__(self, database: Database, audit: AuditTable) -> None:
        self._database = database
        self._audit = audit

    async def add(self, looks: Sequence[Look], entries: Sequence[AuditEntry]) -> None:
        """See the port."""

        def work(connection: Connection) -> None:
            _ADD.change_many(connection, [(look.tenant, look.subject, look.at, _LOOK.pack(look)) for look in looks])
            self._audit.append(connection, entries)

        await self._database.write(work)

    async def of(self, tenant: TenantId, subjects: Sequence[str], *, before: float, limit: int) -> Sequence[Look]:
        """See the port. Cost: a walk along one index for each subject."""

        def query(connection: Connection) -> list[Look]:
            rows = [row for subject in subjects for row in _OF.all(connection, tenant, subject, before, limit)]
            found = sorted((_LOOK.unpack(row[0]) for row in rows), key=lambda look: look.at, reverse=True)
            return found[:limit]

        return await self._database.read(query)

    async def prune(self, horizon: float, rows_max: int) -> int:
        """Remove a bounded number of looks that began before ``horizon``; returns how many. Raises ``Unavailable``."""
        return await self._database.write(lambda c: _PRUNE.change(c, horizon, rows_max))
