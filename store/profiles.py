"""Safety profiles in ``safety.db``: the SQL of ``safety.profiles.ProfileStore``."""

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import Connection, select

from core.ids import IncidentId, TenantId, UserId
from safety.audit import AuditEntry
from safety.profiles import Profile
from store import schema
from store.audit import AuditTable
from store.blobs import Blob
from store.database import Database
from store.forgetting import forget_person
from store.statements import Statement, upsert

_PROFILE: Final = Blob(Profile)
_p = schema.profiles.c
_PUT: Final = upsert(schema.profiles)
_ALL: Final = Statement(select(_p.body).order_by(_p.tenant, _p.user))


class SqlProfileStore:
    """``safety.profiles.ProfileStore`` on ``safety.db``."""

    def __init__(self, database: Database, audit: AuditTable) -> None:
        self._database = database
        self._audit = audit

    async def load(self) -> list[Profile]:
        """See the port."""
        return await self._database.read(lambda c: [_PROFILE.unpack(row[0]) for row in _ALL.all(c)])

    async def put(self, profile: Profile, entry: AuditEntry) -> None:
        """See the port."""
        row = (profile.tenant, profile.user, profile.changed_at, _PROFILE.pack(profile))

        def work(connection: Connection) -> None:
            _PUT.change(connection, *row)
            self._audit.append(connection, [entry])

        await self._database.write(work)

    async def erase(
        self,
        tenant: TenantId,
        user: UserId,
        incidents: Sequence[IncidentId],
        held: Collection[tuple[str, str]],
        entry: AuditEntry,
    ) -> None:
        """See the port."""

        def work(connection: Connection) -> None:
            forget_person(connection, tenant, user, incidents, held)
            self._audit.append(connection, [entry])

        await self._database.write(work)
