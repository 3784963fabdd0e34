"""Blocks between a customer and a technician: in rounds, in what is open already, over restarts and between cities."""

from dataclasses import replace
from typing import Any

import pytest

from core.errors import Conflict
from core.ids import UserId
from dispatch import events as e
from dispatch import explaining
from dispatch.barred import Barred
from dispatch.events import CloseReason, News
from dispatch.model import BlockMark, BlockSide, Fallback, Mode, Order, OrderState
from dispatch.settings import DispatchSettings, ScheduleSettings
from tests.unit.dispatch.world import ANNA, OPS, T0, World, asks, closes, heard, north, tells

LI, WU, BOB = UserId("tec_li"), UserId("tec_wu"), UserId("cus_bob")
SIDES = list(BlockSide)


def block(w: World, side: BlockSide = BlockSide.CUSTOMER, customer: UserId = ANNA, **facts: Any) -> list[e.Effect]:
    by = customer if side is BlockSide.CUSTOMER else LI
    return w.feed(e.PairBlocked(customer, LI, side, **({"by": by} | facts)))


def lift(w: World, side: BlockSide = BlockSide.CUSTOMER, **facts: Any) -> list[e.Effect]:
    by = ANNA if side is BlockSide.CUSTOMER else LI
    return w.feed(e.PairUnblocked(ANNA, LI, side, **({"by": by} | facts)))


def reasons(w: World, order: Order) -> dict[str, str]:
    stored = [r for r in w.ledger.rounds if order.order_id in r.orders][-1]
    return {who.technician: who.reason for who in explaining.explain(stored, order.order_id).excluded}


@pytest.mark.parametrize("side", SIDES)
def test_two_who_are_kept_apart_are_never_matched_whoever_of_them_wants_it(side: BlockSide) -> None:
    w = World()
    w.join("tec_li", 100)
    w.join("tec_wu", 2_000)
    block(w, side)
    order = w.place()
    assert w.offer_of("tec_wu").order_id == order.order_id
    assert reasons(w, order) == {"tec_li": "blocked"}
    other = w.place(by=BOB)
    assert w.offer_of("tec_li").order_id == other.order_id


def test_whoever_is_kept_apart_does_not_hide_those_behind_them() -> None:
    w = World()
    for i in range(40):
        w.join(f"tec_{i:02}", 100 + i)
        w.feed(e.PairBlocked(ANNA, UserId(f"tec_{i:02}"), BlockSide.CUSTOMER, ANNA))
    w.join("tec_wu", 2_500)
    assert w.place().order_id == w.offer_of("tec_wu").order_id


@pytest.mark.parametrize("side", SIDES)
def test_a_block_ends_the_offer_at_once_and_the_next_best_is_asked_also_after_a_restart(side: BlockSide) -> None:
    w = World()
    w.join("tec_li", 100)
    w.join("tec_wu", 2_000)
    order = w.place()
    assert heard(block(w, side)) == [closes("tec_li", CloseReason.REVOKED), asks("tec_wu")]
    w.feed(e.OfferDeclined(w.offer_of("tec_wu").offer_id, WU))
    w.restart()
    w.seen(LI, north(100))
    w.tick(30)
    assert w.engine.live_offer(LI) is None
    lifted = lift(w, side)
    w.seen(LI, north(100))
    assert asks("tec_li", order__order_id=order.order_id) in [*lifted, *w.tick(33)]  # a block is no refusal


def test_one_of_two_blocks_is_enough() -> None:
    w = World()
    w.join("tec_li", 100)
    for side in SIDES:
        block(w, side)
    lift(w, BlockSide.CUSTOMER)
    w.restart()
    w.seen(LI, north(100))
    w.place()
    assert w.engine.live_offer(LI) is None
    assert asks("tec_li") in lift(w, BlockSide.TECHNICIAN)


def test_orders_of_others_and_of_the_technician_as_a_customer_are_untouched() -> None:
    w = World()
    w.join("tec_li", 100)
    w.join("tec_wu", 500)
    mine = w.place(by=LI)  # who is a technician may be a customer too
    theirs = w.place(by=BOB)
    assert heard(block(w)) == []
    assert w.offer_of("tec_li").order_id == theirs.order_id
    assert w.offer_of("tec_wu").order_id == mine.order_id


@pytest.mark.parametrize("releases", [False, True])
def test_a_booked_order_is_released_by_a_block_where_the_platform_wants_it_so(releases: bool) -> None:
    w = World(blocks_release=releases, schedule=ScheduleSettings(lead_s=36_000.0))
    w.join("tec_li", 100)
    w.join("tec_wu", 500)
    later = w.place(scheduled_for=T0 + 18_000.0)
    w.accept("tec_li")
    effects = block(w)
    assert [x.what for x in effects if isinstance(x, e.JobNews)] == [News.BLOCKED], "staff are told either way"
    if not releases:
        assert w.order(later.order_id).technician == LI
        return
    assert heard(effects) == [tells("reassigned", previous_technician="tec_li", order__reason=""), asks("tec_wu")]
    w.accept("tec_wu")
    w.feed(e.PairUnblocked(ANNA, LI, BlockSide.CUSTOMER, ANNA))
    w.feed(e.OrderCancelled(later.order_id, ANNA))
    now = w.place()
    w.accept("tec_li")
    block(w)
    assert w.order(now.order_id).technician == LI, "who is on a job keeps it"


@pytest.mark.parametrize("state", [OrderState.ASSIGNED, OrderState.EN_ROUTE, OrderState.IN_SERVICE])
def test_an_accepted_order_stands_and_staff_are_told(state: OrderState) -> None:
    w = World()
    w.join("tec_li", 100)
    order = w.place()
    w.accept("tec_li")
    steps = [e.Step.EN_ROUTE, e.Step.ARRIVED, e.Step.IN_SERVICE]
    w.steps(order, *steps[: [OrderState.ASSIGNED, OrderState.EN_ROUTE, None, OrderState.IN_SERVICE].index(state)])
    effects = block(w, BlockSide.TECHNICIAN)
    assert [(x.order.order_id, x.what) for x in effects if isinstance(x, e.JobNews)] == [(order.order_id, News.BLOCKED)]
    assert (w.order(order.order_id).state, w.order(order.order_id).technician) == (state, LI)
    noted = [x for x in w.ledger.events if x.what == "blocked"]
    assert [(x.who, x.detail) for x in noted] == [(LI, {"technician": LI})]
    assert not [x for x in block(w) if isinstance(x, e.JobNews)]  # they were kept apart before


def test_taken_back_it_does_not_return_to_them() -> None:
    w = World()
    w.join("tec_li", 100)
    w.join("tec_wu", 2_000)
    order = w.place()
    w.accept("tec_li")
    block(w)
    effects = w.feed(e.OrderReassigned(order.order_id, OPS, "blocked"))
    assert asks("tec_wu", order__order_id=order.order_id) in effects


@pytest.mark.parametrize(
    ("fallback", "ending"),
    [(Fallback.AUTO, [tells("switched"), asks("tec_wu")]), (Fallback.CANCEL, [tells("cancelled")])],
)
def test_a_pick_that_is_blocked_meanwhile_falls_back_as_the_customer_chose(
    fallback: Fallback, ending: list[Any]
) -> None:
    w = World()
    w.join("tec_li", 100)
    w.join("tec_wu", 2_000)
    order = w.place(mode=Mode.DIRECTED, technician=LI, fallback=fallback)
    assert w.offer_of("tec_li").order_id == order.order_id
    assert heard(block(w, BlockSide.TECHNICIAN)) == [closes("tec_li", CloseReason.REVOKED), *ending]
    if fallback is Fallback.CANCEL:
        assert w.order(order.order_id).reason == "picked_unavailable"  # as for one who is not there


def test_a_scheduled_pick_falls_back_before_its_time() -> None:
    w = World()
    w.join("tec_li", 100)
    order = w.place(mode=Mode.DIRECTED, technician=LI, scheduled_for=w.now + 86_400)
    block(w)
    assert (w.order(order.order_id).mode, w.order(order.order_id).state) == (Mode.AUTO, OrderState.SCHEDULED)


def test_a_customer_who_picks_is_not_told_why_it_cannot_be_and_staff_are() -> None:
    w = World()
    w.join("tec_li", 100)
    w.join("tec_no", 100)
    w.put("tec_no", verified=False)
    block(w, BlockSide.TECHNICIAN)
    told = []
    for name in ("tec_li", "tec_no"):
        with pytest.raises(Conflict) as refused:
            w.place(mode=Mode.DIRECTED, technician=UserId(name))
        told.append((refused.value.code, refused.value.field, refused.value.message))
    assert told[0] == told[1]
    assert told[0][:2] == ("pick_unavailable", "technician")
    assert "block" not in told[0][2]
    order = w.place()
    with pytest.raises(Conflict, match="blocked") as seen:
        w.feed(e.ModeSet(order.order_id, Mode.DIRECTED, OPS, "why", LI))
    assert seen.value.code == "filter_failed"


def test_staff_who_assign_by_hand_must_name_the_filter() -> None:
    w = World()
    w.join("tec_li", 100)
    block(w, BlockSide.TECHNICIAN)
    order = w.place(mode=Mode.MANUAL)
    with pytest.raises(Conflict, match="blocked") as refused:
        w.feed(e.OrderAssigned(order.order_id, LI, OPS, "they agreed"))
    assert (refused.value.code, refused.value.field) == ("filter_failed", "override")
    w.feed(e.OrderAssigned(order.order_id, LI, OPS, "they agreed", ("blocked",)))
    assert w.order(order.order_id).technician == LI
    assigned = [x for x in w.ledger.events if x.what == "assigned"]
    assert assigned[0].detail["override"] == "blocked"
    w.steps(w.order(order.order_id), *[s for s in e.Step if s is not e.Step.NO_SHOW])
    w.place()
    assert w.engine.live_offer(LI) is None  # it was for that order only


def test_an_order_that_is_looked_for_again_knows_what_was_blocked_while_it_was_over() -> None:
    w = World()
    w.join("tec_li", 100)
    order = w.place(mode=Mode.MANUAL)
    w.tick(3_601)
    assert w.order(order.order_id).state is OrderState.UNFILLED
    block(w)
    w.seen(LI, north(100))
    w.feed(e.ModeSet(order.order_id, Mode.AUTO, OPS))
    assert w.engine.live_offer(LI) is None


def test_a_block_set_while_a_thread_solves_wins_over_its_answer() -> None:
    w = World(replace(DispatchSettings(), round=replace(DispatchSettings().round, inline_cells_max=1)))
    w.solve_later = True
    w.join("tec_li", 100)
    w.join("tec_wu", 200)
    w.place()
    block(w)
    w.feed(e.PairBlocked(ANNA, WU, BlockSide.CUSTOMER, ANNA))
    w.solve()
    assert w.engine.live_offers() == []


@pytest.mark.parametrize("side", SIDES)
def test_so_many_may_be_blocked_and_no_more(side: BlockSide) -> None:
    w = World(DispatchSettings(blocks_len_max=2))

    def pair(n: int) -> tuple[UserId, UserId]:
        return (ANNA, UserId(f"tec_{n}")) if side is BlockSide.CUSTOMER else (UserId(f"cus_{n}"), LI)

    by = ANNA if side is BlockSide.CUSTOMER else LI
    for n in range(2):
        w.feed(e.PairBlocked(*pair(n), side, by))
    w.restart()
    with pytest.raises(Conflict) as refused:
        w.feed(e.PairBlocked(*pair(2), side, by))
    assert refused.value.code == "blocks_full"
    assert len(w.ledger.blocks) == 2
    w.feed(e.PairBlocked(*pair(1), side, by, reason="again"))  # one that is there may be renewed
    other = BlockSide.TECHNICIAN if side is BlockSide.CUSTOMER else BlockSide.CUSTOMER
    w.feed(e.PairBlocked(*pair(2), other, UserId("x")))  # to be blocked by others does not count
    w.feed(e.PairUnblocked(*pair(0), side, by))
    w.feed(e.PairBlocked(*pair(2), side, by))


def test_what_staff_set_only_staff_change() -> None:
    w = World()
    block(w, by=OPS, staff=True, reason="a complaint")
    assert block(w, reason="me too") == []
    assert [b.reason for b in w.ledger.blocks.values()] == ["a complaint"]
    w.restart()
    with pytest.raises(Conflict) as refused:
        lift(w)
    assert refused.value.code == "block_held"
    assert lift(w, by=OPS, staff=True) != []
    assert w.ledger.blocks == {}
    assert lift(w) == []  # nothing there is no news


def test_staff_may_take_over_a_block_and_lift_one_that_they_did_not_set() -> None:
    w = World()
    block(w)
    block(w, by=OPS, staff=True, reason="a complaint")
    with pytest.raises(Conflict):
        lift(w)
    lift(w, by=OPS, staff=True)
    block(w)
    lift(w, by=OPS, staff=True)
    assert w.ledger.blocks == {}


def test_another_city_hears_of_it_and_stores_only_what_it_does_to_its_own_orders() -> None:
    here, there = World(), World()
    there.join("tec_li", 100)
    order = there.place()
    (change,) = [x for x in block(here) if isinstance(x, e.PairBlockChanged)]
    effects = there.feed(e.PairBlockCopied(change.mark, change.is_set, change.by))
    assert heard(effects) == [closes("tec_li", CloseReason.REVOKED)]
    assert there.ledger.blocks == {}
    assert not [x for x in effects if isinstance(x, e.PairBlockChanged)]  # or cities would tell each other for ever
    (change,) = [x for x in lift(here) if isinstance(x, e.PairBlockChanged)]
    effects = there.feed(e.PairBlockCopied(change.mark, change.is_set, change.by))
    assert asks("tec_li", order__order_id=order.order_id) in [*effects, *there.tick(3)]


def test_memory_holds_nothing_of_a_block_that_is_lifted() -> None:
    barred = Barred()
    marks = [BlockMark(ANNA, LI, side, by_staff) for side in SIDES for by_staff in (True, False)]
    for mark in marks:
        barred.put(mark)
        barred.put(mark)
    assert (list(barred.technicians(ANNA)), barred.set_len(BlockSide.CUSTOMER, ANNA)) == ([LI], 1)
    assert not barred.is_by_staff(ANNA, LI, BlockSide.CUSTOMER)
    for mark in marks:
        barred.lift(mark)
    assert (barred._bits, dict(barred._set_len), barred.holds(ANNA, LI)) == ({}, {}, False)
