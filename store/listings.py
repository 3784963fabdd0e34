"""Pages of orders and offers out of ``doorstep.db``: the SQL of ``dispatch.ports.Listings``.

Read by the readers (``mode=ro``), never by the writer, and unpacked in their threads. Each question names the index
that it walks (``INDEXED BY``): it then touches no row but those that it may return, or the few of one person or one
city that are open; a plan that cannot do so fails instead of getting slow. A question about several cities, or about
offers in any state, is one walk for each, merged.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Select, Table, bindparam, func, select, tuple_

from core.ids import TenantId
from dispatch.listing import BlockFilter, ListFilter, Place
from dispatch.model import Offer, OfferState, Order, PairBlock
from dispatch.order import SETTLED_STATES
from store import schema
from store.blobs import Blob
from store.database import Database
from store.statements import Row, Statement

_ORDER: Final = Blob(Order)
_OFFER: Final = Blob(Offer)
_BLOCK: Final = Blob(PairBlock)
_o, _f, _b = schema.orders.c, schema.offers.c, schema.pair_blocks.c

_Walk = tuple[Statement, list[Any]]
"""A statement and its values without the limit."""
RowT = TypeVar("RowT")


class SqlListings:
    """``dispatch.ports.Listings`` on ``doorstep.db``."""

    def __init__(self, database: Database) -> None:
        """Keep the file."""
        self._database = database

    async def orders(
        self, tenant: TenantId, wanted: ListFilter, *, before: Place | None = None, limit: int
    ) -> Sequence[Order]:
        """See the port."""
        return await self._database.read(partial(_page, _order_walks, _ORDER, tenant, wanted, before, limit))

    async def offers(
        self, tenant: TenantId, wanted: ListFilter, *, before: Place | None = None, limit: int
    ) -> Sequence[Offer]:
        """See the port."""
        return await self._database.read(partial(_page, _offer_walks, _OFFER, tenant, wanted, before, limit))

    async def blocks(
        self, tenant: TenantId, wanted: BlockFilter, *, before: Place | None = None, limit: int
    ) -> Sequence[PairBlock]:
        """See the port."""
        return await self._database.read(partial(_block_page, tenant, wanted, before, limit))

    async def count_orders(
        self, tenant: TenantId, wanted: ListFilter, *, before: Place | None = None, most: int
    ) -> int:
        """See the port."""
        return await self._database.read(partial(_count, _order_walks, tenant, wanted, before, most))

    async def count_offers(
        self, tenant: TenantId, wanted: ListFilter, *, before: Place | None = None, most: int
    ) -> int:
        """See the port."""
        return await self._database.read(partial(_count, _offer_walks, tenant, wanted, before, most))


_Walks = Callable[[Connection, TenantId, ListFilter, Place | None, bool], Iterable[_Walk]]


def _page(
    walks: _Walks,
    blob: Blob[RowT],
    tenant: TenantId,
    wanted: ListFilter,
    before: Place | None,
    limit: int,
    connection: Connection,
) -> list[RowT]:
    found: list[Row] = []
    for statement, values in walks(connection, tenant, wanted, before, False):
        found.extend(statement.all(connection, *values, limit))
    found.sort(key=lambda row: (row[0], row[1]), reverse=True)
    return [blob.unpack(row[2]) for row in found[:limit]]


def _count(
    walks: _Walks, tenant: TenantId, wanted: ListFilter, before: Place | None, most: int, connection: Connection
) -> int:
    count = 0
    for statement, values in walks(connection, tenant, wanted, before, True):
        count += statement.all(connection, *values, most - count)[0][0]
        if count >= most:
            break
    return count


def _block_page(
    tenant: TenantId, wanted: BlockFilter, before: Place | None, limit: int, connection: Connection
) -> list[PairBlock]:
    index = "pair_blocks_by_time"
    if wanted.customer is not None or wanted.technician is not None:
        index = f"pair_blocks_by_{'customer' if wanted.customer is not None else 'technician'}"
    given = {
        "customer": wanted.customer,
        "technician": wanted.technician,
        "side": None if wanted.side is None else wanted.side.value,
        "before": before,
    }
    statement, values = _asked(blocks_statement, index, tenant, given, False)
    return [_BLOCK.unpack(row[2]) for row in statement.all(connection, *values, limit)]


# -- which index is walked for what -------------------------------------------------------------------------


def _order_walks(
    connection: Connection, tenant: TenantId, wanted: ListFilter, before: Place | None, counting: bool
) -> Iterable[_Walk]:
    state = wanted.state
    if wanted.customer is not None or wanted.technician is not None:
        index = "orders_by_customer" if wanted.customer is not None else "orders_by_technician"
        cities: list[str | None] = [None] if wanted.cities is None else [*sorted(wanted.cities)]
    else:
        if wanted.cities is not None:
            cities = [*sorted(wanted.cities)]
        else:
            cities = [None] if state is None else [*_cities(connection, schema.orders, tenant)]
        if state is None:
            index = "orders_by_time" if wanted.cities is None else "orders_by_city"
        else:
            index = "orders_settled" if state in SETTLED_STATES else "orders_unsettled"
    for city in cities:
        given = {
            "city": city,
            "state": state,
            "customer": wanted.customer,
            "technician": wanted.technician,
            "from": wanted.from_at,
            "to": wanted.to_at,
            "before": before,
        }
        yield _asked(orders_statement, index, tenant, given, counting)


def _offer_walks(
    connection: Connection, tenant: TenantId, wanted: ListFilter, before: Place | None, counting: bool
) -> Iterable[_Walk]:
    states: list[str | None] = [wanted.state]
    if wanted.order is not None or wanted.technician is not None or wanted.customer is not None:
        cities: list[str | None] = [None] if wanted.cities is None else [*sorted(wanted.cities)]
        if wanted.order is not None:
            index = "offers_by_order"
        else:
            index = "offers_by_technician" if wanted.technician is not None else "orders_by_customer"
    else:
        index = "offers_by_state"
        cities = [*(sorted(wanted.cities) if wanted.cities is not None else _cities(connection, schema.offers, tenant))]
        if wanted.state is None:
            states = [*OfferState]
    for city in cities:
        for state in states:
            given = {
                "city": city,
                "state": state,
                "customer": None if wanted.customer is None else (tenant, wanted.customer),
                "technician": wanted.technician,
                "order_id": wanted.order,
                "from": wanted.from_at,
                "to": wanted.to_at,
                "before": before,
            }
            yield _asked(offers_statement, index, tenant, given, counting)


def _asked(
    statement: Callable[[str, tuple[str, ...], bool], Statement],
    index: str,
    tenant: TenantId,
    given: dict[str, Any],
    counting: bool,
) -> _Walk:
    names = tuple(name for name, value in given.items() if value is not None)
    values: list[Any] = [tenant]
    for name in names:
        values.extend(given[name] if isinstance(given[name], tuple) else (given[name],))
    return statement(index, names, counting), values


@cache
def orders_statement(index: str, names: tuple[str, ...], counting: bool) -> Statement:
    """The walk of one index under the conditions named; each shape is built once."""
    query = select(_o.placed_at, _o.order_id, _o.body).where(_o.tenant == bindparam("tenant"))
    if index == "orders_unsettled":
        query = query.where(_o.settled_at.is_(None))
    elif index == "orders_settled":
        query = query.where(_o.settled_at.is_not(None))
    for name in names:
        query = query.where(_condition(name, schema.orders, _o.placed_at, _o.order_id))
    query = query.with_hint(schema.orders, f"INDEXED BY {index}", "sqlite")
    return _bounded(query, _o.placed_at, _o.order_id, counting)


@cache
def offers_statement(index: str, names: tuple[str, ...], counting: bool) -> Statement:
    """Likewise for offers; the customer is the order's."""
    query = select(_f.offered_at, _f.offer_id, _f.body).where(_f.tenant == bindparam("tenant"))
    for name in names:
        if name == "customer":
            # Not a join: SQLite would rather begin with everything that was ever offered.
            theirs = select(_o.order_id).where(
                _o.tenant == bindparam("order_tenant"), _o.customer == bindparam("customer")
            )
            query = query.where(
                _f.order_id.in_(theirs.with_hint(schema.orders, "INDEXED BY orders_by_customer", "sqlite"))
            )
        else:
            query = query.where(_condition(name, schema.offers, _f.offered_at, _f.offer_id))
    walked = "offers_by_order" if index == "orders_by_customer" else index
    query = query.with_hint(schema.offers, f"INDEXED BY {walked}", "sqlite")
    return _bounded(query, _f.offered_at, _f.offer_id, counting)


@cache
def blocks_statement(index: str, names: tuple[str, ...], counting: bool) -> Statement:
    """Likewise for blocks between people."""
    query = select(_b.set_at, _b.block_id, _b.body).where(_b.tenant == bindparam("tenant"))
    for name in names:
        query = query.where(_condition(name, schema.pair_blocks, _b.set_at, _b.block_id))
    query = query.with_hint(schema.pair_blocks, f"INDEXED BY {index}", "sqlite")
    return _bounded(query, _b.set_at, _b.block_id, counting)


def _condition(name: str, table: Table, at: Any, key: Any) -> Any:  # expressions of SQLAlchemy
    match name:
        case "from":
            return at >= bindparam("from_at")
        case "to":
            return at < bindparam("to_at")
        case "before":
            return tuple_(at, key) < tuple_(bindparam("before_at"), bindparam("before_id"))
        case _:
            return table.c[name] == bindparam(f"{name}_is")


def _bounded(query: Select[Any], at: Any, key: Any, counting: bool) -> Statement:
    if counting:
        return Statement(select(func.count()).select_from(query.with_only_columns(at).limit(bindparam("n")).subquery()))
    return Statement(query.order_by(at.desc(), key.desc()).limit(bindparam("n")))


_FIRST_CITY: Final = {
    table: Statement(
        select(func.min(table.c.city)).where(table.c.tenant == bindparam("t"), table.c.city > bindparam("c"))
    )
    for table in (schema.orders, schema.offers)
}


def _cities(connection: Connection, table: Table, tenant: TenantId) -> Iterable[str]:
    """Cities that a tenant has rows of: one look into an index for each, however many rows there are."""
    city = ""
    while (city := _FIRST_CITY[table].all(connection, tenant, city)[0][0]) is not None:
        yield city
