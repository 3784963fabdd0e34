"""Sessions of browsers, in ``doorstep.db``: the SQL of ``api.ports.BrowserSessionStore``."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, delete, select, tuple_

from core.browser_session import BrowserSession
from core.ids import TenantId
from store import schema
from store.blobs import Blob
from store.database import Database
from store.statements import Statement, upsert

_b = schema.browser_sessions.c
_SESSION: Final = Blob(BrowserSession)
_PUT: Final = upsert(schema.browser_sessions)
_ALL: Final = Statement(select(_b.body).where(_b.expires_at > bindparam("now")))
_REMOVE: Final = Statement(
    delete(schema.browser_sessions).where(_b.tenant == bindparam("of"), _b.session_id == bindparam("id"))
)
_key = tuple(schema.browser_sessions.primary_key)
_FORGET: Final = Statement(
    delete(schema.browser_sessions).where(
        tuple_(*_key).in_(select(*_key).where(_b.expires_at <= bindparam("now")).limit(bindparam("n")))
    )
)


class SqlBrowserSessions:
    """``api.ports.BrowserSessionStore`` on ``doorstep.db``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, now: float) -> Sequence[BrowserSession]:
        """See the port."""
        found = await self._database.read(lambda c: _ALL.all(c, now))
        return [_SESSION.unpack(body) for (body,) in found]

    async def put(self, session: BrowserSession) -> None:
        """See the port."""
        row = session.grant.tenant, session.session_id, session.expires_at, _SESSION.pack(session)
        await self._database.write(lambda c: _PUT.change(c, *row))

    async def remove(self, tenant: TenantId, session_id: str) -> None:
        """See the port."""
        await self._database.write(lambda c: _REMOVE.change(c, tenant, session_id))


def forget_browser_sessions(connection: Connection, now: float, limit: int) -> int:
    """Remove at most ``limit`` whose time has come; returns how many."""
    return _FORGET.change(connection, now, limit)
