"""Dispatch's durable state in ``doorstep.db``: the SQL of ``dispatch.ports.DispatchStore``."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Select, and_, bindparam, delete, func, or_, select, tuple_, union

from core.ids import CityId, OrderId, TenantId, UserId
from core.outbox import OutboxDraft, OutboxRow
from core.shard import Shard
from dispatch.model import (
    BlockMark,
    BlockSide,
    IdempotencyRecord,
    Offer,
    Order,
    OrderEvent,
    PairBlock,
    RoundFiling,
    SkippedRounds,
    StoredRound,
    Technician,
)
from dispatch.ports import DispatchChanges, DispatchState
from store import schema
from store.blobs import Blob
from store.database import Database
from store.outbox import Outbox
from store.rules import IDEMPOTENCY_HONOURED_S, SETTLED_ORDER_LOADED_S, cities_that_load, is_settled
from store.statements import Statement, VersionedRows, insert_row, upsert
from store.webhooks import add_notices

_ORDER: Final = Blob(Order)
_OFFER: Final = Blob(Offer)
_TECHNICIAN: Final = Blob(Technician)
_EVENT: Final = Blob(OrderEvent)
_BLOCK: Final = Blob(PairBlock)
_ROUND: Final = Blob(StoredRound)
_IDEMPOTENCY: Final = Blob(IdempotencyRecord)

_o, _f, _e = schema.orders.c, schema.offers.c, schema.order_events.c

_PUT_ORDER: Final = VersionedRows(schema.orders, schema.ORDER_CHANGING, "order")
_PUT_OFFER: Final = VersionedRows(schema.offers, schema.OFFER_CHANGING, "offer")
_PUT_TECHNICIAN: Final = VersionedRows(schema.technicians, schema.TECHNICIAN_CHANGING, "technician")
_PUT_IDEMPOTENCY: Final = upsert(schema.idempotency)
_PUT_BLOCK: Final = upsert(schema.pair_blocks)
_b = schema.pair_blocks.c
_DROP_BLOCK: Final = Statement(
    delete(schema.pair_blocks).where(
        _b.tenant == bindparam("t"),
        _b.customer == bindparam("c"),
        _b.technician == bindparam("w"),
        _b.side == bindparam("s"),
    )
)
_ADD_EVENT: Final = insert_row(schema.order_events)
_ADD_ROUND: Final = insert_row(schema.rounds)
_ADD_ROUND_ORDER: Final = insert_row(schema.round_orders)

_ORDER_BY_ID: Final = Statement(select(_o.body).where(_o.tenant == bindparam("t"), _o.order_id == bindparam("i")))
_EVENTS: Final = Statement(
    select(_e.body).where(_e.tenant == bindparam("t"), _e.order_id == bindparam("i")).order_by(_e.seq)
)
_OFFERS: Final = Statement(
    select(_f.body)
    .where(_f.tenant == bindparam("t"), _f.order_id == bindparam("i"))
    .order_by(_f.offered_at, _f.offer_id)
)
_ROUNDS: Final = Statement(
    select(schema.rounds.c.body)
    .join(
        schema.round_orders,
        and_(
            schema.rounds.c.tenant == schema.round_orders.c.tenant,
            schema.rounds.c.round_id == schema.round_orders.c.round_id,
        ),
    )
    .where(schema.round_orders.c.tenant == bindparam("t"), schema.round_orders.c.order_id == bindparam("i"))
    .order_by(schema.rounds.c.at, schema.rounds.c.round_id)
)
_TECHNICIAN_BY_ID: Final = Statement(
    select(schema.technicians.c.body).where(
        schema.technicians.c.tenant == bindparam("t"), schema.technicians.c.technician == bindparam("i")
    )
)

# What a shard's engine starts from: its unsettled orders and those settled lately. Their offers and last event numbers
# are then read order by order, and all is sorted here: with a join or ORDER BY SQLite would rather walk through
# everything that the tenant ever had.
_LOAD_ORDERS: Final = Statement(
    select(_o.body).where(
        _o.tenant == bindparam("t"),
        _o.city == bindparam("c"),
        or_(_o.settled_at.is_(None), _o.settled_at >= bindparam("since")),
    )
)
_LAST_EVENT_SEQ: Final = Statement(
    select(func.max(_e.seq)).where(_e.tenant == bindparam("t"), _e.order_id == bindparam("i"))
)
_LOAD_TECHNICIANS: Final = Statement(
    select(schema.technicians.c.body)
    .where(
        schema.technicians.c.tenant == bindparam("t"), func.instr(schema.technicians.c.cities, bindparam("line")) > 0
    )
    .order_by(schema.technicians.c.technician)
)
_LOAD_BLOCKS: Final = Statement(
    select(_b.customer, _b.technician, _b.side, _b.by_staff)
    .where(_b.tenant == bindparam("t"))
    .order_by(_b.customer, _b.technician, _b.side)
)
_LOAD_IDEMPOTENCY: Final = Statement(
    select(schema.idempotency.c.body)
    .where(
        schema.idempotency.c.tenant == bindparam("t"),
        schema.idempotency.c.city == bindparam("c"),
        schema.idempotency.c.at >= bindparam("since"),
    )
    .order_by(schema.idempotency.c.at, schema.idempotency.c.user, schema.idempotency.c.key)
)


_SKIPPED: Final = msgspec.json.Decoder(dict[OrderId, SkippedRounds])
_PUT_META: Final = upsert(schema.main_meta)
_META: Final = Statement(select(schema.main_meta.c.value).where(schema.main_meta.c.name == bindparam("name")))


@dataclass(frozen=True, slots=True)
class RoundWindow:
    """Which stored rounds are meant; ends are epoch seconds and included, None is any."""

    from_at: float
    to_at: float
    tenant: TenantId | None = None
    city: CityId | None = None


class SqlDispatchStore:
    """``dispatch.ports.DispatchStore`` on ``doorstep.db``."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox

    async def load(self, shard: Shard, now: float) -> DispatchState:
        """See the port."""
        return await self._database.read(partial(_load, shard=shard, now=now))

    async def commit(
        self, shard: Shard, changes: DispatchChanges, drafts: Sequence[OutboxDraft], now: float
    ) -> Sequence[OutboxRow]:
        """See the port."""

        def work(connection: Connection) -> Sequence[OutboxRow]:
            _write(connection, shard, changes)
            return self._outbox.append(connection, drafts, now)

        return await self._database.write(work)

    async def order(self, tenant: TenantId, order_id: OrderId) -> Order | None:
        """See the port."""
        row = await self._database.read(lambda c: _ORDER_BY_ID.one(c, tenant, order_id))
        return None if row is None else _ORDER.unpack(row[0])

    async def events(self, tenant: TenantId, order_id: OrderId) -> Sequence[OrderEvent]:
        """See the port."""
        return [_EVENT.unpack(row[0]) for row in await self._all(_EVENTS, tenant, order_id)]

    async def offers(self, tenant: TenantId, order_id: OrderId) -> Sequence[Offer]:
        """See the port."""
        return [_OFFER.unpack(row[0]) for row in await self._all(_OFFERS, tenant, order_id)]

    async def rounds(self, tenant: TenantId, order_id: OrderId) -> Sequence[StoredRound]:
        """See the port."""
        return [_ROUND.unpack(row[0]) for row in await self._all(_ROUNDS, tenant, order_id)]

    async def rounds_between(
        self,
        tenant: TenantId,
        city: CityId,
        *,
        from_at: float,
        to_at: float,
        after: tuple[float, str] | None = None,
        limit: int,
    ) -> Sequence[StoredRound]:
        """See the port."""
        window = RoundWindow(from_at, to_at, tenant, city)
        return await self._database.read(lambda c: read_rounds(c, window, after, limit))

    async def technician(self, tenant: TenantId, technician: UserId) -> Technician | None:
        """See the port."""
        row = await self._database.read(lambda c: _TECHNICIAN_BY_ID.one(c, tenant, technician))
        return None if row is None else _TECHNICIAN.unpack(row[0])

    async def _all(self, statement: Statement, *values: Any) -> list[tuple[Any, ...]]:
        return await self._database.read(lambda c: statement.all(c, *values))


def read_rounds(
    connection: Connection, window: RoundWindow, after: tuple[float, str] | None, limit: int
) -> list[StoredRound]:
    """Stored rounds of a window, oldest first by (at, round_id), strictly after ``after``."""
    query = _in_window(select(schema.rounds.c.body), window, after, limit)
    return [_ROUND.unpack(row[0]) for row in connection.execute(query)]


def read_filed_rounds(
    connection: Connection, window: RoundWindow, after: tuple[float, str] | None, limit: int
) -> list[tuple[StoredRound, RoundFiling]]:
    """``read_rounds``, with the columns by which each was found, which need not agree with what it says."""
    r, o = schema.rounds.c, schema.round_orders.c
    query = _in_window(select(r.tenant, r.city, r.round_id, r.at, r.body), window, after, limit)
    found = []
    for tenant, city, round_id, at, body in connection.execute(query).all():
        orders = select(o.order_id).where(o.tenant == tenant, o.round_id == round_id).order_by(o.order_id)
        ids = tuple(connection.execute(orders).scalars())
        found.append((_ROUND.unpack(body), RoundFiling(tenant, city, round_id, at, ids)))
    return found


def _in_window(query: Select[Any], window: RoundWindow, after: tuple[float, str] | None, limit: int) -> Select[Any]:
    r = schema.rounds.c
    query = query.where(r.at >= window.from_at, r.at <= window.to_at)
    if window.tenant is not None:
        query = query.where(r.tenant == window.tenant)
    if window.city is not None:
        query = query.where(r.city == window.city)
    if after is not None:
        query = query.where(tuple_(r.at, r.round_id) > after)
    return query.order_by(r.at, r.round_id).limit(limit)


def read_shards(connection: Connection) -> list[Shard]:
    """Tenants and cities that orders or rounds are stored of, sorted."""
    queries = (select(table.c.tenant, table.c.city).distinct() for table in (schema.orders, schema.rounds))
    return [Shard(TenantId(tenant), CityId(city)) for tenant, city in sorted(connection.execute(union(*queries)))]


def _load(connection: Connection, *, shard: Shard, now: float) -> DispatchState:
    tenant = shard.tenant
    rows = _LOAD_ORDERS.all(connection, *shard, now - SETTLED_ORDER_LOADED_S)
    orders = sorted((_ORDER.unpack(row[0]) for row in rows), key=lambda order: order.order_id)
    offers = [_OFFER.unpack(row[0]) for order in orders for row in _OFFERS.all(connection, tenant, order.order_id)]
    last_seqs = {order.order_id: _LAST_EVENT_SEQ.all(connection, tenant, order.order_id)[0][0] for order in orders}
    technicians = _LOAD_TECHNICIANS.all(connection, tenant, f"\n{shard.city}\n")
    keys = _LOAD_IDEMPOTENCY.all(connection, *shard, now - IDEMPOTENCY_HONOURED_S)
    return DispatchState(
        orders=orders,
        offers=sorted(offers, key=lambda offer: (offer.offered_at, offer.offer_id)),
        technicians=[_TECHNICIAN.unpack(row[0]) for row in technicians],
        event_seqs={order_id: seq for order_id, seq in last_seqs.items() if seq is not None},
        idempotency=[_IDEMPOTENCY.unpack(row[0]) for row in keys],
        blocks=[
            BlockMark(customer, technician, BlockSide(side), bool(by_staff))
            for customer, technician, side, by_staff in _LOAD_BLOCKS.all(connection, tenant)
        ],
        alive_at=None if (alive := _META.one(connection, _alive_name(shard))) is None else float(alive[0]),
        skipped={} if (told := _META.one(connection, _skipped_name(shard))) is None else _SKIPPED.decode(told[0]),
    )


def _alive_name(shard: Shard) -> str:
    return f"alive {shard.channel}"


def _skipped_name(shard: Shard) -> str:
    return f"skipped {shard.channel}"


def _write(connection: Connection, shard: Shard, changes: DispatchChanges) -> None:
    tenant, city = shard
    for order in changes.orders.values():
        settled_at = order.changed_at if is_settled(order) else None
        _PUT_ORDER.put(
            connection,
            tenant,
            order.order_id,
            city,
            order.customer,
            order.placed_at,
            order.state.value,
            order.technician,
            settled_at,
            order.version,
            _ORDER.pack(order),
        )
    for offer in changes.offers.values():
        _PUT_OFFER.put(
            connection,
            tenant,
            offer.offer_id,
            city,
            offer.order_id,
            offer.technician,
            offer.offered_at,
            offer.state.value,
            offer.version,
            _OFFER.pack(offer),
        )
    for technician in changes.technicians.values():
        _PUT_TECHNICIAN.put(
            connection,
            tenant,
            technician.technician,
            "\n".join(("", *sorted(cities_that_load(technician)), "")),
            technician.version,
            _TECHNICIAN.pack(technician),
        )
    _write_blocks(connection, tenant, changes)
    if changes.alive_at is not None:
        _PUT_META.change_many(connection, [(_alive_name(shard), repr(changes.alive_at))])
    if changes.skipped is not None:
        told = msgspec.json.encode(changes.skipped).decode()
        _PUT_META.change_many(connection, [(_skipped_name(shard), told)])
    _ADD_EVENT.change_many(connection, [(tenant, e.order_id, e.seq, e.at, _EVENT.pack(e)) for e in changes.events])
    _ADD_ROUND.change_many(connection, [(tenant, r.round_id, city, r.at, _ROUND.pack(r)) for r in changes.rounds])
    _ADD_ROUND_ORDER.change_many(
        connection,
        [(tenant, order_id, r.round_id, r.at) for r in changes.rounds for order_id in dict.fromkeys(r.orders)],
    )
    add_notices(connection, changes.notices)
    _PUT_IDEMPOTENCY.change_many(
        connection, [(tenant, city, r.user, r.key, r.at, _IDEMPOTENCY.pack(r)) for r in changes.idempotency]
    )


def _write_blocks(connection: Connection, tenant: TenantId, changes: DispatchChanges) -> None:
    for (customer, technician, side), block in changes.blocks.items():
        key = (tenant, customer, technician, side.value)
        if block is None:
            _DROP_BLOCK.change(connection, *key)
        else:
            by_staff = int(block.by_staff)
            _PUT_BLOCK.change(connection, *key, by_staff, block.set_at, block.block_id, _BLOCK.pack(block))
