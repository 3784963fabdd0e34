"""The webhooks' queue in ``doorstep.db``: the SQL of ``webhooks.ports.DeliveryQueue``.

Rows are added by dispatch's commit (``add_notices``). The writer is shared, so what becomes of attempts is one job for
all of them.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, delete, func, select, tuple_, update
from sqlalchemy.dialects.sqlite import insert

from core.ids import TenantId
from core.notice import Notice
from store import schema
from store.database import Database
from store.statements import Statement
from webhooks.model import Dead, Delivery, Settled

_w = schema.webhook_events.c
# A repeat of an id would be a repeat of the event: it must never cost the order its change.
_ADD: Final = Statement(
    insert(schema.webhook_events)
    .values({column.name: bindparam(column.name) for column in schema.webhook_events.columns})
    .on_conflict_do_nothing()
)
_KEY: Final = (
    _w.tenant == bindparam("key_1"),
    _w.endpoint == bindparam("key_2"),
    _w.event_id == bindparam("key_3"),
)
_DONE: Final = Statement(delete(schema.webhook_events).where(*_KEY))
_LATER: Final = Statement(
    update(schema.webhook_events).values(attempts=bindparam("attempts"), next_at=bindparam("next_at")).where(*_KEY)
)
_DEAD: Final = Statement(
    update(schema.webhook_events)
    .values(attempts=bindparam("attempts"), dead_at=bindparam("dead_at"), dead_because=bindparam("dead_because"))
    .where(*_KEY)
)
_WAITING: Final = Statement(select(_w.endpoint, func.count()).where(_w.dead_at.is_(None)).group_by(_w.endpoint))
_DUE_FIRST: Final = Statement(
    select(_w.tenant, _w.event_id, _w.kind, _w.created_at, _w.attempts, _w.next_at, _w.body)
    .where(_w.endpoint == bindparam("endpoint"), _w.dead_at.is_(None))
    .order_by(_w.next_at, _w.event_id)
    .limit(bindparam("n"))
)
_ABANDON: Final = Statement(
    update(schema.webhook_events)
    .values(dead_at=bindparam("dead_at"), dead_because=bindparam("dead_because"))
    .where(_w.endpoint == bindparam("endpoint_is"), _w.dead_at.is_(None))
)
_key = tuple(schema.webhook_events.primary_key)
_FORGET: Final = Statement(
    delete(schema.webhook_events).where(
        tuple_(*_key).in_(select(*_key).where(_w.dead_at < bindparam("horizon")).limit(bindparam("n")))
    )
)


def add_notices(connection: Connection, notices: Sequence[Notice]) -> None:
    """Write notices in the current job, with the changes they tell of."""
    _ADD.change_many(
        connection,
        [(n.tenant, n.endpoint, n.event_id, n.kind, n.created_at, 0, n.created_at, None, "", n.body) for n in notices],
    )


def forget_dead(connection: Connection, horizon: float, limit: int) -> int:
    """Remove events that died before ``horizon``; returns how many."""
    return _FORGET.change(connection, horizon, limit)


class SqlDeliveryQueue:
    """``webhooks.ports.DeliveryQueue`` on ``doorstep.db``."""

    def __init__(self, database: Database) -> None:
        """Keep the file."""
        self._database = database

    async def waiting(self) -> Mapping[str, int]:
        """See the port."""
        return await self._database.read(lambda c: {name: int(count) for name, count in _WAITING.all(c)})

    async def due_first(self, endpoint: str, *, limit: int) -> Sequence[Delivery]:
        """See the port."""

        def read(connection: Connection) -> list[Delivery]:
            return [
                Delivery(Notice(TenantId(tenant), endpoint, event_id, kind, body, created_at), attempts, next_at)
                for tenant, event_id, kind, created_at, attempts, next_at, body in _DUE_FIRST.all(
                    connection, endpoint, limit
                )
            ]

        return await self._database.read(read)

    async def keep(self, settled: Sequence[Settled], now: float) -> None:
        """See the port."""

        def work(connection: Connection) -> None:
            for done in settled:
                notice = done.delivery.notice
                key = (notice.tenant, notice.endpoint, notice.event_id)
                if done.is_done:
                    _DONE.change(connection, *key)
                elif done.dead is not None:
                    _DEAD.change(connection, done.delivery.attempts, now, done.dead.value, *key)
                else:
                    _LATER.change(connection, done.delivery.attempts, done.delivery.next_at, *key)

        await self._database.write(work)

    async def abandon(self, known: Collection[str], now: float) -> int:
        """See the port."""
        gone = sorted(set(await self.waiting()) - set(known))
        if not gone:
            return 0

        def work(connection: Connection) -> int:
            why = Dead.ENDPOINT_REMOVED.value
            return sum(_ABANDON.change(connection, now, why, endpoint) for endpoint in gone)

        return await self._database.write(work)
