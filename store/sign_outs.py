"""Sign-ins that are over, in ``doorstep.db``: the SQL of ``api.ports.SignOuts``."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, delete, select, tuple_

from core.ids import TenantId
from store import schema
from store.database import Database
from store.statements import Statement, upsert

_s = schema.sign_outs.c
_PUT: Final = upsert(schema.sign_outs)
_ALL: Final = Statement(select(_s.tenant, _s.sign_in, _s.until_at).where(_s.until_at > bindparam("now")))
_key = tuple(schema.sign_outs.primary_key)
_FORGET: Final = Statement(
    delete(schema.sign_outs).where(
        tuple_(*_key).in_(select(*_key).where(_s.until_at <= bindparam("now")).limit(bindparam("n")))
    )
)


class SqlSignOuts:
    """``api.ports.SignOuts`` on ``doorstep.db``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, now: float) -> Sequence[tuple[TenantId, str, float]]:
        """See the port."""
        found = await self._database.read(lambda c: _ALL.all(c, now))
        return [(TenantId(tenant), sign_in, until_at) for tenant, sign_in, until_at in found]

    async def put(self, tenant: TenantId, sign_in: str, until_at: float) -> None:
        """See the port."""
        await self._database.write(lambda c: _PUT.change(c, tenant, sign_in, until_at))


def forget_sign_outs(connection: Connection, now: float, limit: int) -> int:
    """Remove at most ``limit`` that count no more; returns how many."""
    return _FORGET.change(connection, now, limit)
