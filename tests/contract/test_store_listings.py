"""The same pages from the SQL and from its twin: filters, order, and what happens while rows change."""

import asyncio
from collections.abc import Sequence

import pytest

from core.errors import Unavailable
from core.ids import CityId, OrderId, UserId
from core.shard import Shard
from dispatch.listing import BlockFilter, ListFilter, Place
from dispatch.model import BlockSide, OfferState, Order, OrderState, PairBlock
from dispatch.unserved import open_orders_unserved
from store.sqlite import Stores
from tests.contract.conftest import Node
from tests.contract.store_values import (
    CITY,
    NOW,
    OTHER_TENANT,
    SHARD,
    TENANT,
    changes_of,
    make_block,
    make_offer,
    make_order,
)

SUZHOU = CityId("suzhou")


def ids(rows: Sequence[Order]) -> list[str]:
    return [row.order_id for row in rows]


async def test_pages_follow_each_other_without_gap_or_repeat(node: Node) -> None:
    orders = [make_order(f"{n:02}", placed_at=NOW + n // 3) for n in range(20)]
    await node.stores.dispatch.commit(SHARD, changes_of(*orders), [], NOW)
    for cities in (None, frozenset({CITY}), frozenset({CITY, SUZHOU})):
        seen: list[str] = []
        before: Place | None = None
        while page := await node.stores.listings.orders(TENANT, ListFilter(cities=cities), before=before, limit=7):
            seen.extend(ids(page))
            before = (page[-1].placed_at, page[-1].order_id)
        assert seen == ids(orders[::-1])


async def test_orders_are_filtered_by_every_field_together(node: Node) -> None:
    orders = [
        make_order("a"),
        make_order("b", customer=UserId("cus_2"), placed_at=NOW + 1),
        make_order("c", customer=UserId("cus_2"), state=OrderState.CANCELLED, placed_at=NOW + 2),
        make_order(
            "d", customer=UserId("cus_2"), state=OrderState.ASSIGNED, technician=UserId("tec_2"), placed_at=NOW + 3
        ),
    ]
    await node.stores.dispatch.commit(SHARD, changes_of(*orders), [], NOW)
    far = make_order("e", city=SUZHOU, state=OrderState.CANCELLED, placed_at=NOW + 4)
    await node.stores.dispatch.commit(Shard(TENANT, SUZHOU), changes_of(far), [], NOW)

    async def find(wanted: ListFilter) -> str:
        rows = await node.stores.listings.orders(TENANT, wanted, limit=9)
        assert await node.stores.listings.count_orders(TENANT, wanted, most=9) == len(rows)
        return "".join(row.order_id[-1] for row in rows)

    here = frozenset({CITY})
    assert await find(ListFilter()) == "edcba"
    assert await find(ListFilter(cities=here)) == "dcba"
    assert await find(ListFilter(cities=frozenset())) == ""
    assert await find(ListFilter(cities=frozenset({CITY, SUZHOU, CityId("x")}))) == "edcba"
    assert await find(ListFilter(state=OrderState.CANCELLED)) == "ec"
    assert await find(ListFilter(state=OrderState.PLACED)) == "ba"
    assert await find(ListFilter(cities=here, state=OrderState.CANCELLED)) == "c"
    assert await find(ListFilter(cities=here, state=OrderState.PLACED, customer=UserId("cus_2"))) == "b"
    assert await find(ListFilter(customer=UserId("cus_2"), cities=here)) == "dcb"
    assert await find(ListFilter(customer=UserId("cus_2"), cities=frozenset({SUZHOU}))) == ""
    assert await find(ListFilter(technician=UserId("tec_2"), cities=here)) == "d"
    assert await find(ListFilter(technician=UserId("tec_2"), customer=UserId("cus_1"))) == ""
    assert await find(ListFilter(from_at=NOW + 1, to_at=NOW + 3)) == "cb"
    assert await find(ListFilter(from_at=NOW + 1, to_at=NOW + 3, cities=here, state=OrderState.CANCELLED)) == "c"
    assert list(await node.stores.listings.orders(OTHER_TENANT, ListFilter(), limit=9)) == []
    assert await node.stores.listings.count_orders(TENANT, ListFilter(), most=2) == 2


async def test_offers_are_filtered_by_every_field_together(node: Node) -> None:
    orders = [make_order("1"), make_order("2", customer=UserId("cus_2"))]
    offers = [
        make_offer("a"),
        make_offer("b", state=OfferState.DECLINED, offered_at=NOW + 1, technician=UserId("tec_2")),
        make_offer("c", "2", state=OfferState.EXPIRED, offered_at=NOW + 2),
        make_offer("d", "2", offered_at=NOW + 3, technician=UserId("tec_2")),
    ]
    await node.stores.dispatch.commit(SHARD, changes_of(*orders, *offers), [], NOW)
    far = make_order("3", city=SUZHOU), make_offer("e", "3", city=SUZHOU, offered_at=NOW + 4)
    await node.stores.dispatch.commit(Shard(TENANT, SUZHOU), changes_of(*far), [], NOW)

    async def find(wanted: ListFilter, before: Place | None = None) -> str:
        rows = await node.stores.listings.offers(TENANT, wanted, before=before, limit=9)
        if before is None:
            assert await node.stores.listings.count_offers(TENANT, wanted, most=9) == len(rows)
        return "".join(row.offer_id[-1] for row in rows)

    assert await find(ListFilter()) == "edcba"
    assert await find(ListFilter(), before=(NOW + 2, "ofr_c")) == "ba"
    assert await find(ListFilter(cities=frozenset({CITY}))) == "dcba"
    assert await find(ListFilter(state=OfferState.PENDING)) == "eda"
    assert await find(ListFilter(cities=frozenset({CITY}), state=OfferState.PENDING)) == "da"
    assert await find(ListFilter(technician=UserId("tec_2"))) == "db"
    assert await find(ListFilter(technician=UserId("tec_2"), state=OfferState.DECLINED)) == "b"
    assert await find(ListFilter(customer=UserId("cus_2"))) == "dc"
    assert await find(ListFilter(customer=UserId("cus_2"), technician=UserId("tec_1"))) == "c"
    assert await find(ListFilter(customer=UserId("cus_2"), cities=frozenset({CITY}), from_at=NOW + 3)) == "d"
    assert await find(ListFilter(order=OrderId("ord_1"))) == "ba"
    assert await find(ListFilter(order=OrderId("ord_1"), technician=UserId("tec_1"))) == "a"
    assert await find(ListFilter(order=OrderId("ord_2"), customer=UserId("cus_1"))) == ""
    assert await find(ListFilter(from_at=NOW + 1, to_at=NOW + 3)) == "cb"


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [ListFilter(), ListFilter(cities=frozenset({CITY, SUZHOU}))])
async def test_while_rows_are_written_every_row_that_was_there_is_read_once(node: Node, wanted: ListFilter) -> None:
    there = [make_order(f"old{n:03}", placed_at=NOW + n // 4) for n in range(120)]
    await node.stores.dispatch.commit(SHARD, changes_of(*there), [], NOW)
    offers = [make_offer(f"old{n:03}", f"old{n:03}", offered_at=NOW + n // 4) for n in range(120)]
    await node.stores.dispatch.commit(SHARD, changes_of(*offers), [], NOW)
    is_done = False
    written = asyncio.Event()

    async def write() -> int:
        """New ones at the front, and every old one changes its state again and again."""
        turn = 0
        while not is_done:
            turn += 1
            state = (OrderState.ASSIGNED, OrderState.CANCELLED, OrderState.MATCHING)[turn % 3]
            settled = (OfferState.EXPIRED, OfferState.PENDING)[turn % 2]
            new = make_order(f"new{turn}", placed_at=NOW + 1_000 + turn)
            changed = [make_order(o.order_id[4:], placed_at=o.placed_at, state=state, version=turn + 1) for o in there]
            answered = [
                make_offer(o.offer_id[4:], o.order_id[4:], offered_at=o.offered_at, state=settled, version=turn + 1)
                for o in offers
            ]
            await node.stores.dispatch.commit(SHARD, changes_of(new, *changed, *answered), [], NOW)
            written.set()
        return turn

    async def read() -> tuple[list[str], list[str]]:
        nonlocal is_done
        orders: list[str] = []
        found: list[str] = []
        before: Place | None = None
        while page := await node.stores.listings.orders(TENANT, wanted, before=before, limit=3):
            orders += ids(page)
            if len(orders) % 30 == 0:  # not all within one turn of the writer
                written.clear()
                await written.wait()
            before = (page[-1].placed_at, page[-1].order_id)
        before = None
        while rows := await node.stores.listings.offers(TENANT, wanted, before=before, limit=3):
            found += [row.offer_id for row in rows]
            before = (rows[-1].offered_at, rows[-1].offer_id)
        is_done = True
        return orders, found

    turns, (orders, found) = await asyncio.gather(write(), read())
    assert turns > 3
    assert len(set(orders)) == len(orders)
    assert [name for name in orders if "old" in name] == ids(there[::-1])
    assert found == [offer.offer_id for offer in offers[::-1]]


@pytest.mark.parametrize("node", ["sqlite"], indirect=True)
async def test_a_listing_is_read_without_the_writer(node: Node) -> None:
    assert isinstance(node.stores, Stores)
    await node.stores.dispatch.commit(SHARD, changes_of(make_order()), [], NOW)
    await node.stores.databases["doorstep.db"].writer.stop()
    assert ids(await node.stores.listings.orders(TENANT, ListFilter(), limit=9)) == ["ord_1"]
    with pytest.raises(Unavailable):
        await node.stores.dispatch.commit(SHARD, changes_of(make_order("2")), [], NOW)


async def test_open_orders_of_a_city_that_is_not_served_are_counted(node: Node) -> None:
    orders = [make_order("a"), make_order("b", state=OrderState.CONFIRMED), make_order("c", state=OrderState.MATCHING)]
    await node.stores.dispatch.commit(SHARD, changes_of(*orders), [], NOW)
    assert await open_orders_unserved(node.stores.listings, TENANT, {SUZHOU}) == {CITY: 2}
    assert await open_orders_unserved(node.stores.listings, TENANT, {CITY}) == {}


async def test_blocks_are_listed_by_either_person_and_side_newest_first(node: Node) -> None:
    both = (BlockSide.CUSTOMER, BlockSide.TECHNICIAN)
    made = [
        make_block(f"cus_{c}", f"tec_{t}", side, NOW + n // 2)
        for n, (c, t, side) in enumerate((c, t, side) for c in range(3) for t in range(2) for side in both)
    ]
    await node.stores.dispatch.commit(SHARD, changes_of(*made), [], NOW)
    newest = sorted(made, key=lambda block: (block.set_at, block.block_id), reverse=True)
    who, whom = UserId("cus_1"), UserId("tec_1")
    for wanted in (
        BlockFilter(),
        BlockFilter(customer=who),
        BlockFilter(technician=whom),
        BlockFilter(customer=who, technician=whom),
        BlockFilter(customer=who, side=BlockSide.CUSTOMER),
        BlockFilter(technician=whom, side=BlockSide.TECHNICIAN),
    ):
        expected = [
            block
            for block in newest
            if wanted.customer in (None, block.customer)
            and wanted.technician in (None, block.technician)
            and wanted.side in (None, block.side)
        ]
        seen: list[PairBlock] = []
        before: Place | None = None
        while page := await node.stores.listings.blocks(TENANT, wanted, before=before, limit=2):
            seen.extend(page)
            before = (page[-1].set_at, page[-1].block_id)
        assert seen == expected
    assert list(await node.stores.listings.blocks(OTHER_TENANT, BlockFilter(), limit=9)) == []
