"""Care's durable state in ``safety.db``: the SQL of ``safety.care_ports.CareStore``."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Column, Connection, Table, bindparam, delete, select

from core.outbox import OutboxDraft, OutboxRow
from safety.care_model import Watch
from safety.care_ports import CareChanges, CareState
from safety.drills import Drill
from safety.trips import Trip
from store import schema
from store.blobs import Blob
from store.database import Database
from store.outbox import Outbox
from store.statements import Statement, newer_row

_WATCH: Final = Blob(Watch)
_TRIP: Final = Blob(Trip)
_DRILL: Final = Blob(Drill)
_w, _t, _d = schema.care_watches.c, schema.trips.c, schema.drills.c

_PUT_WATCH: Final = newer_row(schema.care_watches)
_PUT_TRIP: Final = newer_row(schema.trips)
_PUT_DRILL: Final = newer_row(schema.drills)
_WATCHES: Final = Statement(select(_w.watch_id, _w.body).where(_w.settled_at.is_(None)))
_TRIPS: Final = Statement(select(_t.trip_id, _t.body).where(_t.expires_at > bindparam("now")))
_DRILLS: Final = Statement(select(_d.drill_id, _d.body).where(_d.asked_at >= bindparam("since")))


def _forgetting(table: Table, id_: Column[str], at: Column[float]) -> Statement:
    """Removes a bounded number of rows whose time lies before a horizon."""
    old = select(id_).where(at < bindparam("horizon")).limit(bindparam("n"))
    return Statement(delete(table).where(id_.in_(old)))


_FORGET: Final = (
    _forgetting(schema.care_watches, _w.watch_id, _w.settled_at),
    _forgetting(schema.trips, _t.trip_id, _t.expires_at),
    _forgetting(schema.drills, _d.drill_id, _d.asked_at),
)


class SqlCareStore:
    """``safety.care_ports.CareStore`` on ``safety.db``."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox

    async def load(self, now: float, *, drills_since: float) -> CareState:
        """See the port."""

        def query(connection: Connection) -> CareState:
            return CareState(
                [_WATCH.unpack(row[1]) for row in sorted(_WATCHES.all(connection))],
                [_TRIP.unpack(row[1]) for row in sorted(_TRIPS.all(connection, now))],
                [_DRILL.unpack(row[1]) for row in sorted(_DRILLS.all(connection, drills_since))],
            )

        return await self._database.read(query)

    async def commit(self, changes: CareChanges, drafts: Sequence[OutboxDraft], now: float) -> Sequence[OutboxRow]:
        """See the port."""

        def work(connection: Connection) -> Sequence[OutboxRow]:
            _PUT_WATCH.change_many(connection, [_row(watch) for watch in changes.watches.values()])
            _PUT_TRIP.change_many(
                connection,
                [
                    (t.tenant, t.trip_id, t.order_id, t.expires_at, t.version, _TRIP.pack(t))
                    for t in changes.trips.values()
                ],
            )
            _PUT_DRILL.change_many(
                connection,
                [
                    (d.tenant, d.drill_id, d.user, d.asked_at, d.version, _DRILL.pack(d))
                    for d in changes.drills.values()
                ],
            )
            return self._outbox.append(connection, drafts, now)

        return await self._database.write(work)


def _row(watch: Watch) -> tuple[object, ...]:
    settled_at = None if watch.ended_at is None or watch.pending else watch.ended_at
    job = watch.job
    return job.tenant, watch.watch_id, job.order_id, settled_at, watch.version, _WATCH.pack(watch)


def forget_care(connection: Connection, horizon: float, most: int) -> int:
    """Remove what ended before ``horizon``, at most so many rows of each table; returns how many."""
    return sum(statement.change(connection, horizon, most) for statement in _FORGET)
