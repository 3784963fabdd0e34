"""Care's durable state in ``safety.db``: the SQL of ``safety.care_ports.CareStore``."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, delete, select

from core.outbox import OutboxDraft, OutboxRow
from safety.care_model import Watch
from safety.care_ports import CareChanges, CareState
from store import schema
from store.blobs import Blob
from store.database import Database
from store.outbox import Outbox
from store.statements import Statement, newer_row

_WATCH: Final = Blob(Watch)
_w = schema.care_watches.c

_PUT: Final = newer_row(schema.care_watches)
_LOAD: Final = Statement(select(_w.watch_id, _w.body).where(_w.settled_at.is_(None)))
_FORGET: Final = Statement(
    delete(schema.care_watches).where(
        _w.watch_id.in_(select(_w.watch_id).where(_w.settled_at < bindparam("horizon")).limit(bindparam("n")))
    )
)


class SqlCareStore:
    """``safety.care_ports.CareStore`` on ``safety.db``."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox

    async def load(self) -> CareState:
        """See the port."""
        rows = await self._database.read(lambda c: _LOAD.all(c))
        return CareState([_WATCH.unpack(row[1]) for row in sorted(rows)])

    async def commit(self, changes: CareChanges, drafts: Sequence[OutboxDraft], now: float) -> Sequence[OutboxRow]:
        """See the port."""

        def work(connection: Connection) -> Sequence[OutboxRow]:
            _PUT.change_many(connection, [_row(watch) for watch in changes.watches.values()])
            return self._outbox.append(connection, drafts, now)

        return await self._database.write(work)


def _row(watch: Watch) -> tuple[object, ...]:
    settled_at = None if watch.ended_at is None or watch.pending else watch.ended_at
    job = watch.job
    return job.tenant, watch.watch_id, job.order_id, settled_at, watch.version, _WATCH.pack(watch)


def forget_watches(connection: Connection, horizon: float, most: int) -> int:
    """Remove watches that ended before ``horizon``; returns how many."""
    return _FORGET.change(connection, horizon, most)
