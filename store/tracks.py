"""Positions of jobs and incidents in ``tracks.db``, and where each technician was last seen.

Rows wait in memory for at most a second and are written together by a writer of their own, so that a flush never
delays an order. What does not fit is dropped, oldest first, and counted.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert

from core.errors import DoorstepError
from core.ids import TenantId, UserId
from core.shard import Shard
from store import schema
from store.database import Database
from store.periodic import Periodic
from store.settings import RetentionSettings, TrackSettings
from store.statements import Row, Statement, upsert
from store.track_points import LastPosition, TrackPoint, track_rows

_p, _l = schema.points.c, schema.last_positions.c
_POINT: Final = (
    _p.tenant,
    _p.city,
    _p.technician,
    _p.job,
    _p.fixed_at,
    _p.received_at,
    _p.lat,
    _p.lng,
    _p.accuracy_m,
    _p.speed_mps,
    _p.heading_deg,
)
_ADD_POINT: Final = Statement(insert(schema.points).values({c.name: bindparam(c.name) for c in _POINT}))
_PUT_LAST: Final = upsert(schema.last_positions)
_TRACK: Final = Statement(
    select(*_POINT)
    .where(_p.tenant == bindparam("t"), _p.job == bindparam("j"))
    .order_by(_p.fixed_at, _p.received_at, _p.point_id)
    .limit(bindparam("n"))
)
_TRACK_OF: Final = Statement(
    select(*_POINT)
    .where(
        _p.tenant == bindparam("t"),
        _p.technician == bindparam("u"),
        _p.fixed_at >= bindparam("from_at"),
        _p.fixed_at < bindparam("to_at"),
    )
    .order_by(_p.fixed_at, _p.received_at, _p.point_id)
    .limit(bindparam("n"))
)
_LAST: Final = Statement(
    select(_l.tenant, _l.city, _l.technician, _l.fixed_at, _l.received_at, _l.lat, _l.lng, _l.accuracy_m).where(
        _l.tenant == bindparam("t"), _l.city == bindparam("c"), _l.received_at >= bindparam("since")
    )
)
# Points are added in the order of ``received_at``, or nearly so: the oldest are first, and are looked at in turns.
_OLD: Final = Statement(
    select(_p.point_id, _p.tenant, _p.job)
    .where(_p.point_id > bindparam("after"), _p.received_at < bindparam("horizon"))
    .order_by(_p.point_id)
    .limit(bindparam("n"))
)
_DROP: Final = Statement(delete(schema.points).where(_p.point_id == bindparam("i")))

Held = Callable[[float], frozenset[tuple[str, str]] | None]
"""Tenant and name of the jobs whose positions must stay, at a time; None while nobody knows: then all must."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """The rows of one ``append``; kept or dropped together."""

    rows: Sequence[Row]
    stored: Callable[[], None] | None


class SqlPositionLog:
    """``realtime.ports.PositionLog`` on ``tracks.db``.

    Attributes:
        dropped_rows: Positions dropped: the buffer was full (the oldest appends first), or the disk nearly.
        stored_rows: Positions committed since the start.
    """

    def __init__(self, database: Database, settings: TrackSettings, keep: RetentionSettings) -> None:
        self.dropped_rows = 0
        self.stored_rows = 0
        self.is_shedding: Callable[[], bool] = lambda: False
        """Whether positions are dropped for now, because the disk is nearly full."""
        self._database = database
        self._settings = settings
        self._keep = keep
        self._chunks: deque[_Chunk] = deque()
        self._waiting_rows = 0
        self._last: dict[tuple[TenantId, UserId], LastPosition] = {}
        self.held: Held = lambda _now: frozenset()
        """What must stay; set by whoever knows."""
        self._pruned_to = 0
        self._flusher = Periodic("flush of positions", settings.flush_interval_s, self._flush_some)

    def start(self) -> None:
        """Begin to write. Needs a running loop."""
        self._flusher.start()

    async def stop(self) -> None:
        """Write what waits. Idempotent."""
        await self._flusher.stop()

    @property
    def waiting(self) -> int:
        """Rows not yet written."""
        return self._waiting_rows

    def append(
        self,
        shard: Shard,
        technician: UserId,
        order: str,
        columns: Mapping[str, Sequence[float]],
        stored: Callable[[], None] | None = None,
    ) -> None:
        """Queue rows; see the port.

        Args:
            shard: Where it is.
            technician: Whose positions these are.
            order: The order's or incident's id.
            columns: ``fixed_at, received_at, lat, lng, accuracy_m, speed_mps, heading_deg`` (NaN: unknown).
            stored: Called on the loop once these rows are on the disk; never when they were dropped.

        Raises:
            ValueError: Columns differ in length or hold NaN where there must be a number.
        """
        rows: list[Row] = [(*shard, technician, order, *row) for row in track_rows(columns)]
        if self.is_shedding():
            self.dropped_rows += len(rows)
            return
        self._chunks.append(_Chunk(rows, stored))
        self._waiting_rows += len(rows)
        self._drop_overflow()
        if self._waiting_rows >= self._settings.flush_rows:
            self._flusher.hurry()
        else:
            self._flusher.arm()

    def hurry(self) -> None:
        """Write what waits now; after a failure the pause is kept."""
        if self._chunks:
            self._flusher.hurry()

    def _drop_overflow(self) -> None:
        while self._waiting_rows > self._settings.buffer_rows_max:
            dropped = len(self._chunks.popleft().rows)
            self._waiting_rows -= dropped
            self.dropped_rows += dropped

    def note_last(self, position: LastPosition) -> None:
        """Remember where a technician is; newest wins, written with the next flush."""
        if self.is_shedding():
            return
        self._last[position.tenant, position.technician] = position
        self._flusher.arm()

    async def flush(self) -> None:
        """Write everything that waits now. Raises ``Unavailable``."""
        while await self._flush_some():
            pass

    async def _flush_some(self) -> bool:
        chunks: list[_Chunk] = []
        rows: list[Row] = []
        while self._chunks and len(rows) < self._settings.flush_rows:
            chunks.append(self._chunks.popleft())
            rows.extend(chunks[-1].rows)
        self._waiting_rows -= len(rows)
        last = {key: self._last.pop(key) for key in list(self._last)[: self._settings.flush_rows]}
        if not chunks and not last:
            return False

        def work(connection: Connection) -> None:
            _ADD_POINT.change_many(connection, rows)
            _PUT_LAST.change_many(
                connection,
                [
                    (p.tenant, p.technician, p.city, p.fixed_at, p.received_at, p.lat, p.lng, p.accuracy_m)
                    for p in last.values()
                ],
            )

        try:
            await self._database.write(work)
        except DoorstepError:
            self._chunks.extendleft(reversed(chunks))
            self._waiting_rows += len(rows)
            for key, position in last.items():
                self._last.setdefault(key, position)
            self._drop_overflow()
            raise
        self.stored_rows += len(rows)
        for chunk in chunks:
            if chunk.stored is not None:
                chunk.stored()
        return bool(self._chunks or self._last)

    # -- reading --------------------------------------------------------------------------------------

    async def track(self, tenant: TenantId, order: str, *, limit: int = 10_000) -> Sequence[TrackPoint]:
        """Stored positions of one job or incident in order of ``fixed_at``, the first ``limit``."""
        rows = await self._database.read(lambda c: _TRACK.all(c, tenant, order, limit))
        return [TrackPoint(*row) for row in rows]

    async def track_of(
        self, tenant: TenantId, technician: UserId, *, from_at: float, to_at: float, limit: int = 10_000
    ) -> Sequence[TrackPoint]:
        """Stored positions of one technician with ``from_at <= fixed_at < to_at``, in order, the first ``limit``."""
        rows = await self._database.read(lambda c: _TRACK_OF.all(c, tenant, technician, from_at, to_at, limit))
        return [TrackPoint(*row) for row in rows]

    async def last_positions(self, shard: Shard, *, seen_since: float = 0.0) -> Sequence[LastPosition]:
        """Last known position of each technician of the shard, where it was received at ``seen_since`` or later."""
        rows = await self._database.read(lambda c: _LAST.all(c, *shard, seen_since))
        return sorted((LastPosition(*row) for row in rows), key=lambda position: position.technician)

    async def prune(self, now: float) -> int:
        """Remove a bounded number of positions that are too old and that nobody holds; returns how many.

        What is held lies in the way of what is not: each run goes on behind the one before, and begins anew at the end.
        """
        held = self.held(now)
        if held is None:
            return 0
        limit = self._keep.prune_rows_max
        after, horizon = self._pruned_to, now - self._keep.tracks_s
        kept = held

        def work(connection: Connection) -> tuple[int, int, int]:
            old = _OLD.all(connection, after, horizon, limit)
            gone = [(point_id,) for point_id, tenant, job in old if (tenant, job) not in kept]
            return _DROP.change_many(connection, gone), len(old), old[-1][0] if old else 0

        removed, looked_at, last = await self._database.write(work)
        self._pruned_to = last if looked_at == limit else 0
        return removed
