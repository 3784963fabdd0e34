import asyncio
from dataclasses import replace
from typing import Any

import pytest

from core.errors import Unavailable
from core.ids import CityId, OrderId, UserId
from core.outbox import Stream
from core.shard import Shard
from dispatch.listing import ListFilter
from dispatch.model import BlockSide, DutyState, OfferState, OrderState, SkippedRounds
from dispatch.ports import DispatchChanges
from tests.contract.conftest import Node
from tests.contract.store_values import (
    CITY,
    NOW,
    OTHER_TENANT,
    SHARD,
    TENANT,
    changes_of,
    make_block,
    make_draft,
    make_event,
    make_key,
    make_offer,
    make_order,
    make_round,
    make_technician,
)


async def test_what_is_loaded_equals_what_was_committed_also_after_reopening(node: Node) -> None:
    order, offer, technician = make_order(), make_offer(), make_technician()
    events, key = [make_event(seq=1), make_event(seq=2)], make_key()
    await node.stores.dispatch.commit(
        SHARD, changes_of(order, offer, technician, *events, make_round(), key), [make_draft()], NOW
    )
    for _ in range(2):
        state = await node.stores.dispatch.load(SHARD, NOW)
        assert list(state.orders) == [order]
        assert list(state.offers) == [offer]
        assert list(state.technicians) == [technician]
        assert state.event_seqs == {order.order_id: 2}
        assert list(state.idempotency) == [key]
        assert await node.stores.dispatch.order(TENANT, order.order_id) == order
        assert list(await node.stores.dispatch.events(TENANT, order.order_id)) == events
        assert list(await node.stores.dispatch.offers(TENANT, order.order_id)) == [offer]
        assert list(await node.stores.dispatch.rounds(TENANT, order.order_id)) == [make_round()]
        assert await node.stores.dispatch.technician(TENANT, technician.technician) == technician
        await node.reopen()


async def test_each_shard_s_last_sign_of_being_served_is_kept(node: Node) -> None:
    store = node.stores.dispatch
    for at in (NOW, NOW + 10.25):
        await store.commit(SHARD, DispatchChanges(alive_at=at), [], at)
    await store.commit(SHARD, changes_of(make_order()), [], NOW + 20)
    await node.reopen()
    assert (await node.stores.dispatch.load(SHARD, NOW)).alive_at == NOW + 10.25
    assert (await node.stores.dispatch.load(Shard(TENANT, CityId("shang")), NOW)).alive_at is None


async def test_rounds_that_were_not_stored_are_remembered_by_shard_until_they_are_told_anew(node: Node) -> None:
    store = node.stores.dispatch
    first, second = OrderId("ord_1"), OrderId("ord_2")
    told = {first: SkippedRounds(3, NOW), second: SkippedRounds(1, NOW - 0.25)}
    await store.commit(SHARD, DispatchChanges(skipped=told), [], NOW)
    await store.commit(SHARD, DispatchChanges(alive_at=NOW), [], NOW)
    await node.reopen()
    assert (await node.stores.dispatch.load(SHARD, NOW)).skipped == told
    assert (await node.stores.dispatch.load(Shard(TENANT, CityId("shang")), NOW)).skipped == {}
    await node.stores.dispatch.commit(SHARD, DispatchChanges(skipped={}), [], NOW)
    assert (await node.stores.dispatch.load(SHARD, NOW)).skipped == {}


async def test_nothing_is_found_under_another_tenant_or_city(node: Node) -> None:
    await node.stores.dispatch.commit(SHARD, changes_of(make_order(), make_offer(), make_technician()), [], NOW)
    assert await node.stores.dispatch.order(OTHER_TENANT, OrderId("ord_1")) is None
    assert await node.stores.dispatch.technician(OTHER_TENANT, UserId("tec_1")) is None
    assert list(await node.stores.listings.orders(OTHER_TENANT, ListFilter(), limit=9)) == []
    assert list((await node.stores.dispatch.load(Shard(OTHER_TENANT, CITY), NOW)).orders) == []
    elsewhere = await node.stores.dispatch.load(Shard(TENANT, CityId("shang")), NOW)
    assert (list(elsewhere.orders), list(elsewhere.technicians)) == ([], [])
    suzhou = await node.stores.dispatch.load(Shard(TENANT, CityId("suzhou")), NOW)
    assert [technician.technician for technician in suzhou.technicians] == ["tec_1"]


async def test_whoever_is_on_duty_is_loaded_where_they_are_although_their_record_no_longer_names_the_city(
    node: Node,
) -> None:
    gone = make_technician(cities=(CityId("suzhou"),), duty_city=CITY)
    await node.stores.dispatch.commit(SHARD, changes_of(gone), [], NOW)
    assert list((await node.stores.dispatch.load(SHARD, NOW)).technicians) == [gone]
    assert list((await node.stores.dispatch.load(Shard(TENANT, CityId("suzhou")), NOW)).technicians) == [gone]
    home = replace(gone, version=2, duty=DutyState.OFF, duty_city=None)
    await node.stores.dispatch.commit(SHARD, changes_of(home), [], NOW)
    assert list((await node.stores.dispatch.load(SHARD, NOW)).technicians) == []


async def test_settled_orders_are_loaded_for_an_hour_and_live_ones_for_ever(node: Node) -> None:
    settled = make_order("old", state=OrderState.CANCELLED, changed_at=NOW)
    unfilled = make_order("un", state=OrderState.UNFILLED, changed_at=NOW + 3000)
    departed = make_order("dep", state=OrderState.DEPARTED_SAFE)
    await node.stores.dispatch.commit(
        SHARD, changes_of(settled, unfilled, departed, make_offer("a", "old"), make_offer("b", "dep")), [], NOW
    )
    later = await node.stores.dispatch.load(SHARD, NOW + 3700)
    assert [order.order_id for order in later.orders] == ["ord_dep", "ord_un"]
    assert [offer.offer_id for offer in later.offers] == ["ofr_b"]


async def test_an_unfilled_order_that_ops_start_again_is_loaded_again(node: Node) -> None:
    order = make_order(state=OrderState.UNFILLED)
    await node.stores.dispatch.commit(SHARD, changes_of(order), [], NOW)
    again = replace(order, state=OrderState.MATCHING, version=2)
    await node.stores.dispatch.commit(SHARD, changes_of(again), [], NOW)
    assert list((await node.stores.dispatch.load(SHARD, NOW + 90_000)).orders) == [again]


@pytest.mark.parametrize("version", [0, 1, 3])
async def test_an_order_is_written_only_over_the_version_before(node: Node, version: int) -> None:
    order = make_order()
    await node.stores.dispatch.commit(SHARD, changes_of(order), [], NOW)
    with pytest.raises(Unavailable, match="order ord_1 is stored at version 1") as caught:
        await node.stores.dispatch.commit(
            SHARD, changes_of(replace(order, version=version), make_technician()), [make_draft()], NOW
        )
    assert caught.value.code == "store_conflict"
    assert await node.stores.dispatch.order(TENANT, order.order_id) == order
    assert await node.stores.dispatch.technician(TENANT, UserId("tec_1")) is None
    assert list(await node.stores.streams.read(TENANT, UserId("tec_1"), Stream.MAIN, after_seq=0, limit=9)) == []


@pytest.mark.parametrize("version", [1, 2, 4, 9])
async def test_an_older_copy_of_a_technician_never_overwrites_a_newer_one(node: Node, version: int) -> None:
    newest = make_technician()
    for number in (1, 2):  # two cities write the same person
        newest = replace(newest, version=number, rating_sum=float(number))
        await node.stores.dispatch.commit(Shard(TENANT, newest.cities[number - 1]), changes_of(newest), [], NOW)
    with pytest.raises(Unavailable, match="technician tec_1 is stored at version 2") as caught:
        await node.stores.dispatch.commit(
            SHARD, changes_of(make_order(), replace(newest, version=version, tier="")), [make_draft()], NOW
        )
    assert caught.value.code == "store_conflict"
    assert await node.stores.dispatch.technician(TENANT, newest.technician) == newest
    assert await node.stores.dispatch.order(TENANT, OrderId("ord_1")) is None
    await node.stores.dispatch.commit(SHARD, changes_of(replace(newest, version=3)), [], NOW)


async def test_a_new_row_has_version_one(node: Node) -> None:
    with pytest.raises(Unavailable, match="offer ofr_1 is stored at version 0"):
        await node.stores.dispatch.commit(SHARD, changes_of(make_offer(version=2)), [], NOW)
    assert list(await node.stores.dispatch.offers(TENANT, OrderId("ord_1"))) == []


async def test_an_update_replaces_order_and_offer_but_adds_events(node: Node) -> None:
    order, offer = make_order(), make_offer()
    await node.stores.dispatch.commit(SHARD, changes_of(order, offer, make_event(seq=1)), [], NOW)
    assigned = replace(order, version=2, state=OrderState.ASSIGNED, technician=UserId("tec_9"))
    accepted = replace(offer, version=2, state=OfferState.ACCEPTED)
    await node.stores.dispatch.commit(SHARD, changes_of(assigned, accepted, make_event(seq=2)), [], NOW)
    assert await node.stores.dispatch.order(TENANT, order.order_id) == assigned
    assert list(await node.stores.dispatch.offers(TENANT, order.order_id)) == [accepted]
    assert [event.seq for event in await node.stores.dispatch.events(TENANT, order.order_id)] == [1, 2]
    found = await node.stores.listings.orders(
        TENANT, ListFilter(technician=UserId("tec_9"), state=OrderState.ASSIGNED), limit=9
    )
    assert list(found) == [assigned]


async def test_a_repeated_event_number_fails_the_whole_batch(node: Node) -> None:
    await node.stores.dispatch.commit(SHARD, changes_of(make_event(seq=1)), [], NOW)
    with pytest.raises(Unavailable) as caught:
        await node.stores.dispatch.commit(SHARD, changes_of(make_order(), make_event(seq=1)), [], NOW)
    assert caught.value.code == "store_conflict"
    assert await node.stores.dispatch.order(TENANT, OrderId("ord_1")) is None


async def test_one_failing_batch_leaves_its_neighbours_and_the_numbers_whole(node: Node) -> None:
    batches = [
        node.stores.dispatch.commit(
            SHARD,
            changes_of(make_order(str(n), version=7 if n % 3 == 1 else 1)),
            [make_draft("u1", str(n).encode()), make_draft("u2"), make_draft("u1", str(n).encode())],
            NOW,
        )
        for n in range(9)
    ]
    results = await asyncio.gather(*batches, return_exceptions=True)
    assert [n for n, result in enumerate(results) if isinstance(result, Unavailable)] == [1, 4, 7]
    rows = await node.stores.streams.read(TENANT, UserId("u1"), Stream.MAIN, after_seq=0, limit=99)
    assert [(row.seq, row.body) for row in rows] == [
        (seq, str(n).encode()) for seq, n in enumerate([m for m in range(9) if m % 3 != 1 for _ in range(2)], start=1)
    ]
    returned = [row for result in results if not isinstance(result, BaseException) for row in result]
    assert [row for row in returned if row.recipient == "u1"] == list(rows)
    assert {order.order_id for order in await node.stores.listings.orders(TENANT, ListFilter(), limit=99)} == {
        f"ord_{n}" for n in range(9) if n % 3 != 1
    }


async def test_numbers_go_on_without_gap_or_reuse_after_failures_and_reopening(node: Node) -> None:
    seqs: list[int] = []
    for turn in range(6):
        if turn % 2:
            with pytest.raises(Unavailable):
                await node.stores.dispatch.commit(SHARD, changes_of(make_order(version=5)), [make_draft()] * 3, NOW)
        rows = await node.stores.dispatch.commit(SHARD, DispatchChanges(), [make_draft()] * 2, NOW)
        seqs.extend(row.seq for row in rows)
        await node.reopen()
    assert seqs == list(range(1, 13))
    held = await node.stores.streams.read(TENANT, UserId("tec_1"), Stream.MAIN, after_seq=0, limit=99)
    assert [row.seq for row in held] == seqs


async def test_a_message_of_the_other_stream_is_refused_before_anything_is_stored(node: Node) -> None:
    with pytest.raises(ValueError, match="safety"):
        await node.stores.dispatch.commit(
            SHARD, changes_of(make_order()), [make_draft(), make_draft(stream=Stream.SAFETY)], NOW
        )
    assert await node.stores.dispatch.order(TENANT, OrderId("ord_1")) is None


async def test_rounds_are_found_by_each_of_their_orders(node: Node) -> None:
    first, second = make_round("1", ("a", "b")), make_round("2", ("b", "b"), at=NOW + 1)
    await node.stores.dispatch.commit(SHARD, changes_of(first, second), [], NOW)
    assert list(await node.stores.dispatch.rounds(TENANT, OrderId("ord_a"))) == [first]
    assert list(await node.stores.dispatch.rounds(TENANT, OrderId("ord_b"))) == [first, second]


async def test_an_idempotency_key_used_again_after_a_day_replaces_the_old_one(node: Node) -> None:
    await node.stores.dispatch.commit(SHARD, changes_of(make_key(at=NOW)), [], NOW)
    assert list((await node.stores.dispatch.load(SHARD, NOW + 86_401)).idempotency) == []
    await node.stores.dispatch.commit(SHARD, changes_of(make_key(at=NOW + 86_401)), [], NOW + 86_401)
    assert list((await node.stores.dispatch.load(SHARD, NOW + 86_402)).idempotency) == [make_key(at=NOW + 86_401)]


async def test_a_caller_that_goes_away_does_not_stop_its_commit(node: Node) -> None:
    task = asyncio.get_running_loop().create_task(
        node.stores.dispatch.commit(SHARD, changes_of(make_technician()), [], NOW)
    )
    waited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(waited.set_result, None)
    await waited
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if node.kind == "sqlite":  # the twin has no thread that could go on
        await node.stores.dispatch.commit(SHARD, DispatchChanges(), [], NOW)
        assert await node.stores.dispatch.technician(TENANT, UserId("tec_1")) is not None


async def test_rounds_of_a_city_are_read_by_time_page_by_page(node: Node) -> None:
    made = [make_round(str(number), at=NOW + number // 2) for number in range(6)]
    await node.stores.dispatch.commit(SHARD, changes_of(*made), [], NOW)
    elsewhere = Shard(SHARD.tenant, CityId("elsewhere"))
    other = replace(make_round("x", at=NOW + 1), city=elsewhere.city)
    await node.stores.dispatch.commit(elsewhere, changes_of(other), [], NOW)

    async def read(**window: Any) -> list[str]:
        wanted: dict[str, Any] = {"from_at": NOW, "to_at": NOW + 9, "limit": 10} | window
        found = await node.stores.dispatch.rounds_between(SHARD.tenant, SHARD.city, **wanted)
        return [stored.round_id[4:] for stored in found]

    assert await read() == ["0", "1", "2", "3", "4", "5"]
    assert await read(from_at=NOW + 1, to_at=NOW + 1) == ["2", "3"]
    assert await read(limit=2) == ["0", "1"]
    assert await read(limit=2, after=(NOW + 0.0, "rnd_1")) == ["2", "3"]
    found = await node.stores.dispatch.rounds_between(
        elsewhere.tenant, elsewhere.city, from_at=NOW, to_at=NOW + 9, limit=10
    )
    assert list(found) == [other]


async def test_blocks_are_loaded_in_every_city_of_their_tenant_until_they_are_lifted(node: Node) -> None:
    store = node.stores.dispatch
    sides = [make_block(side=side, by_staff=side is BlockSide.TECHNICIAN) for side in BlockSide]
    other = make_block("cus_2")
    await store.commit(SHARD, changes_of(*sides, other), [], NOW)
    again = replace(sides[0], block_id="blk_again", set_at=NOW + 1, by_staff=True)
    await store.commit(Shard(TENANT, CityId("suzhou")), changes_of(again), [], NOW)  # set again, by any of the cities
    lifted = DispatchChanges(blocks={(other.customer, other.technician, other.side): None})
    assert lifted
    for _ in range(2):  # also twice
        await store.commit(SHARD, lifted, [], NOW)
    for _ in range(2):
        for city in (CITY, CityId("suzhou")):
            state = await node.stores.dispatch.load(Shard(TENANT, city), NOW)
            assert list(state.blocks) == [again.mark, sides[1].mark]
        foreign = await node.stores.dispatch.load(Shard(OTHER_TENANT, CITY), NOW)
        assert list(foreign.blocks) == []
        await node.reopen()
