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
from dispatch.model import BlockMark, BlockSide, Fallback, Mode, Order, OrderState, PairBlock
from dispatch.modes import search_ends_at
from dispatch.settings import CancellationSettings, DispatchSettings, ScheduleSettings
from tests.unit.dispatch.world import ANNA, OPS, SHARD, T0, Like, World, asks, closes, heard, north, tells

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
    assert heard(effects) == [
        tells("reassigned", previous_technician="tec_li", order__reason="reassigned"),
        asks("tec_wu"),
    ]
    w.accept("tec_wu")
    w.feed(e.PairUnblocked(ANNA, LI, BlockSide.CUSTOMER, ANNA))
    w.feed(e.OrderCancelled(later.order_id, ANNA))
    now = w.place()
    w.accept("tec_li")
    block(w)
    assert w.order(now.order_id).technician == LI, "who is on a job keeps it"


LATE: dict[str, Any] = {"late_s": 86_400.0}
"""Calling an accepted order off costs something from the first moment."""
FEE_FEN = 3_200
"""A tenth of the order's price."""


def released(by: str = "customer", **cancellation: Any) -> tuple[World, Order]:
    """An order for in five hours that Li had booked until a block released it."""
    w = World(
        blocks_release=True,
        schedule=ScheduleSettings(lead_s=36_000.0),
        cancellation=CancellationSettings(**(LATE | cancellation)),
    )
    w.join("tec_li", 100)
    order = w.place(scheduled_for=T0 + 18_000.0)
    w.accept("tec_li")
    if by == "staff":
        block(w, by=OPS, staff=True)
    elif by == "elsewhere":
        w.feed(e.PairBlockCopied(BlockMark(ANNA, LI, BlockSide.CUSTOMER, by_staff=False), is_set=True, by=ANNA))
    else:
        block(w, BlockSide(by))
    assert (w.order(order.order_id).technician, w.order(order.order_id).state) == (None, OrderState.MATCHING)
    return w, w.order(order.order_id)


def costs(w: World, order: Order, **facts: Any) -> int:
    """The fee that calling the order off has; the preview says the same."""
    shown = w.engine.cancellation(w.order(order.order_id), w.now, staff=False)
    w.feed(e.OrderCancelled(order.order_id, ANNA, **facts))
    paid = w.order(order.order_id).cancellation
    assert paid is not None
    assert facts or paid.fee_fen == shown.fee_fen
    return paid.fee_fen


@pytest.mark.parametrize(
    ("by", "fee_fen"), [("customer", FEE_FEN), ("elsewhere", FEE_FEN), ("technician", 0), ("staff", 0)]
)
def test_whoever_causes_a_release_bears_what_calling_the_order_off_cost_then(by: str, fee_fen: int) -> None:
    w, order = released(by)
    w.restart()
    assert costs(w, order) == fee_fen


def test_the_platform_may_take_it_upon_itself_in_one_case_or_in_all() -> None:
    assert costs(*released(own_block_counts=False)) == 0
    w, order = released()
    assert costs(w, order, staff=True, waive=True) == 0


def test_an_early_block_costs_no_more_than_it_did_then() -> None:
    w, order = released(late_s=17_990.0)
    w.tick(20)
    assert costs(w, order) == 0


def test_who_has_it_next_starts_anew_and_so_does_an_order_that_nobody_takes() -> None:
    w, order = released()
    w.join("tec_wu", 500)
    w.feed(e.ModeSet(order.order_id, Mode.BROADCAST, OPS))
    w.accept("tec_wu")
    assert w.order(order.order_id).released_stage is None
    assert costs(w, order) == FEE_FEN, "by the row of an accepted order"
    w, order = released()
    w.feed(e.ModeSet(order.order_id, Mode.MANUAL, OPS))
    w.tick(max(search_ends_at(w.order(order.order_id), w.settings) - T0, 0.0))
    assert w.order(order.order_id).state is OrderState.UNFILLED
    w.feed(e.ModeSet(order.order_id, Mode.MANUAL, OPS))
    assert costs(w, order) == 0


@pytest.mark.parametrize(("side", "fee_fen"), [(BlockSide.CUSTOMER, FEE_FEN), (BlockSide.TECHNICIAN, 0)])
def test_who_wanted_nobody_else_and_blocks_them_has_called_the_order_off(side: BlockSide, fee_fen: int) -> None:
    w = World(blocks_release=True, cancellation=CancellationSettings(**LATE))
    w.join("tec_li", 100)
    wanted: dict[str, Any] = {"mode": Mode.DIRECTED, "technician": LI, "fallback": Fallback.CANCEL}
    order = w.place(scheduled_for=T0 + 18_000.0, **wanted)
    w.accept("tec_li")
    block(w, side)
    ended = w.order(order.order_id)
    assert ended.state is OrderState.CANCELLED
    assert ended.cancellation is not None
    assert (ended.cancellation.fee_fen, ended.cancellation.fee_fen + ended.cancellation.refund_fen) == (fee_fen, 32_000)
    assert ended.reason == "reassigned"  # whoever has blocked whom


@pytest.mark.parametrize("side", SIDES)
def test_whom_staff_have_chosen_keeps_the_order_until_staff_release_it(side: BlockSide) -> None:
    w = World(blocks_release=True, schedule=ScheduleSettings(lead_s=36_000.0))
    w.join("tec_li", 100)
    w.join("tec_wu", 500)
    order = w.place(scheduled_for=T0 + 18_000.0, mode=Mode.MANUAL)
    w.feed(e.OrderAssigned(order.order_id, LI, OPS, "a regular"))
    effects = block(w, side)
    assert [x.what for x in effects if isinstance(x, e.JobNews)] == [News.BLOCKED]
    kept = w.order(order.order_id)
    assert (kept.technician, kept.pinned_by, kept.state) == (LI, OPS, OrderState.ASSIGNED)
    w.feed(e.OrderReassigned(order.order_id, OPS, "blocked", staff=True))
    assert w.order(order.order_id).technician is None


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


# -- a block that another city stored just before the process died -----------------------------------------


def stored_elsewhere(w: World) -> None:
    """Another city has committed that Anna has blocked Li, and the process died before this one heard of it."""
    w.ledger.blocks[ANNA, LI, BlockSide.CUSTOMER] = PairBlock(
        SHARD.tenant, "blk_1", ANNA, LI, BlockSide.CUSTOMER, w.now, ANNA, by_staff=False
    )
    w.restart()


def test_an_offer_of_two_who_are_kept_apart_ends_at_the_start() -> None:
    w = World()
    w.join("tec_li", 100)
    w.join("tec_wu", 2_000)
    order = w.place()
    w.receive("tec_li")
    stored_elsewhere(w)
    effects = w.tick(0.01)
    assert closes("tec_li", CloseReason.REVOKED) in effects
    assert asks("tec_wu", offer__order_id=order.order_id) in [*effects, *w.tick(5)]


def test_a_pick_that_is_kept_apart_falls_back_at_the_start() -> None:
    w = World()
    w.put("tec_li")
    w.join("tec_wu", 100)
    order = w.place(mode=Mode.DIRECTED, technician=LI, fallback=Fallback.AUTO)
    assert w.order(order.order_id).mode is Mode.DIRECTED
    stored_elsewhere(w)
    w.tick(1)
    assert w.order(order.order_id).mode is Mode.AUTO
    assert w.offer_of("tec_wu").order_id == order.order_id


@pytest.mark.parametrize("releases", [False, True])
def test_staff_hear_once_of_an_accepted_order_whose_sides_are_kept_apart(releases: bool) -> None:
    w = World(DispatchSettings(schedule=ScheduleSettings(lead_s=86_400.0)), blocks_release=releases)
    w.join("tec_li", 100)
    order = w.place(scheduled_for=T0 + 40_000)
    w.accept("tec_li")
    stored_elsewhere(w)
    told = Like(e.JobNews, what=News.BLOCKED, order__order_id=order.order_id)
    effects = w.tick(0.01)
    assert [x for x in effects if isinstance(x, e.JobNews)] == [told]
    assert (tells("reassigned", previous_technician=LI) in effects) is releases
    w.restart()
    assert told not in w.tick(1.0)


def test_staff_who_gave_an_order_to_a_blocked_technician_are_not_told_of_it_at_a_start() -> None:
    w = World()
    w.join("tec_li", 100)
    block(w)
    order = w.place()
    w.feed(e.OrderAssigned(order.order_id, LI, OPS, "they have made up", ("blocked",)))
    assert w.order(order.order_id).technician == LI
    w.restart()
    assert not [x for x in w.tick(1.0) if isinstance(x, e.JobNews)]


def test_who_was_told_of_a_block_is_not_told_again_at_a_start() -> None:
    w = World()
    w.join("tec_li", 100)
    w.place()
    w.accept("tec_li")
    assert Like(e.JobNews, what=News.BLOCKED) in block(w)
    w.restart()
    assert not [x for x in w.tick(1.0) if isinstance(x, e.JobNews)]
