"""Ways of giving an order besides ``auto``: several at once, one picked technician, and by hand."""

from dataclasses import replace
from typing import Any

import pytest

from core.errors import Conflict, DoorstepError
from core.ids import UserId
from dispatch import events as e
from dispatch.events import CloseReason
from dispatch.model import (
    Cancellation,
    CancellationStage,
    DutyState,
    Fallback,
    Gender,
    Mode,
    OfferState,
    OrderState,
    Rest,
    Shift,
    WorkState,
)
from dispatch.settings import (
    CancellationSettings,
    EligibilitySettings,
    LostSettings,
    ManualSettings,
    RoundSettings,
    StageFee,
)
from tests.unit.dispatch.ways_to_give import (
    THREE,
    TOMORROW,
    WINDOW,
    a_city,
    closed,
    directed,
    everybody_acknowledges,
    give,
    live,
    refused,
    switch,
)
from tests.unit.dispatch.world import (
    ALL_STEPS,
    ANNA,
    OPS,
    T0,
    Like,
    World,
    asks,
    closes,
    heard,
    north,
    tells,
)

# -- broadcast ------------------------------------------------------------------------------------------------


def test_a_broadcast_asks_the_best_few_at_once_and_the_first_accept_wins() -> None:
    world = a_city(broadcast=THREE)
    order = world.place(mode=Mode.BROADCAST)
    assert live(world) == ["t1", "t2", "t3"]
    effects = heard(world.accept("t2"))
    assert effects[0] == tells("assigned", order__technician="t2")
    assert closed(effects) == {"t1": CloseReason.TAKEN, "t3": CloseReason.TAKEN}
    assert world.order(order.order_id).state is OrderState.ASSIGNED
    idle = [t.technician for t in world.engine.technicians() if t.work is WorkState.IDLE]
    assert idle == ["t1", "t3", "t4"]
    told = [x for x in world.ledger.events if x.what in ("assigned", "revoked")]
    assert (told[0].what, told[0].detail["technician"]) == ("assigned", "t2")
    assert {x.detail["technician"]: x.detail["reason"] for x in told[1:]} == {"t1": "taken", "t3": "taken"}


def test_losers_hear_that_the_order_is_taken_in_the_same_commit_and_afterwards() -> None:
    world = a_city(broadcast=THREE)
    world.place(mode=Mode.BROADCAST)
    offers = {o.technician: o.offer_id for o in world.engine.live_offers()}
    world.engine.handle(e.OfferAccepted(offers[UserId("t1")], UserId("t1")), world.now)
    changed = {o.technician: o.state for o in world.engine.changes.offers.values()}
    assert changed == {"t1": OfferState.ACCEPTED, "t2": OfferState.REVOKED, "t3": OfferState.REVOKED}
    for loser in ("t2", "t3"):
        for answer in (e.OfferAccepted, e.OfferDeclined):
            with pytest.raises(Conflict) as caught:
                world.engine.handle(answer(offers[UserId(loser)], UserId(loser)), world.now)
            assert caught.value.code == "offer_taken"


def test_a_decline_in_a_broadcast_is_replaced_by_the_next_while_the_others_may_still_take_it() -> None:
    world = a_city(broadcast=THREE)
    world.place(mode=Mode.BROADCAST)
    effects = world.feed(e.OfferDeclined(world.offer_of("t1").offer_id, UserId("t1")))
    assert heard(effects) == [asks("t4")]
    assert live(world) == ["t2", "t3", "t4"]


def test_a_broadcast_in_which_everybody_declines_goes_on_and_ends_unfilled() -> None:
    world = a_city(broadcast=THREE, unfilled_after_s=60.0)
    order = world.place(mode=Mode.BROADCAST)
    for name in ("t1", "t2", "t3", "t4"):
        world.feed(e.OfferDeclined(world.offer_of(name).offer_id, UserId(name)))
    assert live(world) == []
    assert tells("unfilled", order__reason="nobody_accepted") in world.tick(60)
    assert world.order(order.order_id).state is OrderState.UNFILLED


def test_offers_of_a_broadcast_that_expire_end_the_search_only_with_the_last_of_them() -> None:
    world = a_city(2, broadcast=THREE, unfilled_after_s=10.0, offer_ttl_s=20.0)
    order = world.place(mode=Mode.BROADCAST)
    everybody_acknowledges(world)
    world.tick(15)
    assert world.order(order.order_id).state is OrderState.MATCHING
    world.feed(e.OfferDeclined(world.offer_of("t1").offer_id, UserId("t1")))
    assert world.order(order.order_id).state is OrderState.MATCHING  # t2 may still accept
    assert heard(world.tick(20.001)) == [closes("t2", CloseReason.EXPIRED), tells("unfilled")]


def test_a_cancel_takes_all_offers_of_a_broadcast_back() -> None:
    world = a_city(broadcast=THREE)
    order = world.place(mode=Mode.BROADCAST)
    effects = heard(world.feed(e.OrderCancelled(order.order_id, ANNA)))
    assert effects[0] == tells("cancelled")
    assert closed(effects) == dict.fromkeys(("t1", "t2", "t3"), CloseReason.CANCELLED)


def test_a_broadcast_never_costs_another_order_its_technician() -> None:
    world = World(broadcast=THREE, round=replace(RoundSettings(), round_min_ms=0))
    world.join("t1", 400.0)
    world.join("t2", 15_000.0)
    for name in ("t1", "t2"):
        world.feed(e.DutySet(UserId(name), DutyState.PAUSED))
    loud = world.place(mode=Mode.BROADCAST)
    quiet = world.place(north(100.0))
    world.batch([e.DutySet(UserId(name), DutyState.ON) for name in ("t1", "t2")])
    asked = {offer.order_id for offer in world.engine.live_offers()}
    assert asked == {loud.order_id, quiet.order_id}


def test_all_live_offers_of_a_broadcast_survive_a_restart() -> None:
    world = a_city(broadcast=THREE)
    order = world.place(mode=Mode.BROADCAST)
    everybody_acknowledges(world)
    world.restart()
    assert live(world) == ["t1", "t2", "t3"]
    world.accept("t3")
    assert live(world) == []
    assert world.order(order.order_id).technician == "t3"


def test_an_order_taken_back_may_be_offered_to_losers_of_its_broadcast_but_not_to_who_lost_it() -> None:
    world = a_city(2, broadcast=THREE)
    order = world.place(mode=Mode.BROADCAST)
    world.accept("t1")
    world.feed(e.OrderReassigned(order.order_id, OPS))
    assert live(world) == ["t2"]
    world.restart()
    world.feed(e.OfferDeclined(world.offer_of("t2").offer_id, UserId("t2")))
    assert live(world) == []


# -- directed -------------------------------------------------------------------------------------------------


def test_only_the_picked_technician_is_asked_although_others_are_nearer() -> None:
    world = a_city(directed=WINDOW)
    order = directed(world, "t3")
    assert live(world) == ["t3"]
    assert world.offer_of("t3").expires_at == T0 + 100.0
    world.accept("t3")
    assert world.order(order.order_id).technician == "t3"


def test_the_picked_technician_is_reminded_until_they_answer() -> None:
    world = a_city(directed=WINDOW)
    directed(world, "t3")
    everybody_acknowledges(world)
    effects = world.tick(70)
    reminders = [x for x in effects if isinstance(x, e.RemindOffer)]
    assert reminders == [Like(e.RemindOffer, offer__technician="t3", number=n) for n in (1, 2)]
    world.accept("t3")
    assert not [x for x in world.tick(200) if isinstance(x, e.RemindOffer)]


def test_reminders_go_on_after_a_restart_where_they_were() -> None:
    world = a_city(directed=WINDOW)
    directed(world, "t3")
    everybody_acknowledges(world)
    world.tick(40)
    world.restart()
    assert [x.number for x in world.tick(95) if isinstance(x, e.RemindOffer)] == [2, 3]


def test_a_pick_that_declines_falls_back_to_everybody_else() -> None:
    world = a_city(directed=WINDOW)
    order = directed(world, "t3")
    effects = world.feed(e.OfferDeclined(world.offer_of("t3").offer_id, UserId("t3")))
    assert heard(effects) == [tells("switched", order__mode=Mode.AUTO), asks("t1")]
    now = world.order(order.order_id)
    assert (now.mode, now.picked, now.state) == (Mode.AUTO, None, OrderState.MATCHING)


def test_a_pick_that_lets_the_window_pass_falls_back_at_its_end() -> None:
    world = a_city(directed=WINDOW)
    directed(world, "t3")
    everybody_acknowledges(world)
    world.tick(90)
    for number in range(1, 5):
        world.seen(UserId(f"t{number}"), north(400.0 * number))
    assert heard(world.tick(100)) == []
    told = tells("switched", order__mode=Mode.AUTO, order__picked=None)
    assert heard(world.tick(100.001)) == [closes("t3", CloseReason.EXPIRED), told, asks("t1")]


@pytest.mark.parametrize(("declines", "reason"), [(True, "picked_refused"), (False, "picked_unavailable")])
def test_a_customer_who_wants_nobody_else_gets_nobody(declines: bool, reason: str) -> None:
    world = a_city(directed=WINDOW)
    if not declines:
        world.feed(e.DutySet(UserId("t3"), DutyState.OFF))
    order = directed(world, "t3", Fallback.CANCEL)
    answer = world.engine.live_offer(UserId("t3"))
    effects = world.feed(e.OfferDeclined(answer.offer_id, UserId("t3"))) if answer is not None else world.tick(100)
    assert (answer is not None) == declines
    assert heard(effects) == [tells("cancelled", order__reason=reason)]
    ended = world.order(order.order_id)
    assert ended.technician is None
    assert ended.cancellation == Cancellation(CancellationStage.UNASSIGNED, 0, 32_000, 0)
    assert world.ledger.events[-1].detail == {
        "stage": "unassigned",
        "fee_fen": 0,
        "refund_fen": 32_000,
        "reason": reason,
    }


def test_whom_nobody_has_served_gets_everything_back_whatever_calling_off_costs() -> None:
    dear = CancellationSettings(unassigned=StageFee(service_percent=10, travel_percent=100))
    world = a_city(directed=WINDOW, cancellation=dear)
    order = directed(world, "t3", Fallback.CANCEL)
    world.feed(e.OfferDeclined(world.offer_of("t3").offer_id, UserId("t3")))
    assert world.order(order.order_id).cancellation == Cancellation(CancellationStage.UNASSIGNED, 0, 32_000, 0)


def test_a_busy_pick_is_asked_as_soon_as_they_are_free_within_the_window() -> None:
    world = a_city(3, directed=WINDOW)
    first = directed(world, "t3")
    world.accept("t3")
    second = directed(world, "t3")
    assert live(world) == []
    world.tick(50)
    world.seen(UserId("t3"), north(1_200.0))
    world.feed(e.OrderCancelled(first.order_id, ANNA))
    assert world.offer_of("t3").order_id == second.order_id
    assert world.offer_of("t3").expires_at == T0 + 100.0


def test_a_pick_whose_phone_did_not_hear_is_asked_again_when_it_is_heard() -> None:
    world = a_city(3, directed=WINDOW)
    directed(world, "t3")
    assert heard(world.tick(5)) == [closes("t3", CloseReason.UNDELIVERED)]
    world.seen(UserId("t3"), north(1_200.0))
    assert asks("t3") in world.tick(10)


def test_a_pick_that_cannot_succeed_is_refused_and_each_filter_is_named() -> None:
    world = a_city(1)
    world.join("raw", skills=frozenset(), gender=Gender.MALE)
    with pytest.raises(Conflict, match="skill, gender") as caught:
        world.place(mode=Mode.DIRECTED, technician=UserId("raw"), gender_preference=Gender.FEMALE)
    assert (caught.value.code, caught.value.field) == ("filter_failed", "technician")
    with pytest.raises(DoorstepError) as unknown:
        world.place(mode=Mode.DIRECTED, technician=UserId("nobody"))
    assert unknown.value.code == "not_found"
    assert not world.ledger.orders
    assert not world.engine.changes


# -- manual ---------------------------------------------------------------------------------------------------


def test_nobody_is_asked_for_a_manual_order_and_it_ends_when_staff_give_it_to_nobody() -> None:
    world = a_city(manual=ManualSettings(unfilled_after_s=300.0))
    order = world.place(mode=Mode.MANUAL)
    assert live(world) == []
    assert heard(world.tick(299)) == []
    assert heard(world.tick(300)) == [tells("unfilled", order__reason="nobody_assigned")]
    assert world.order(order.order_id).state is OrderState.UNFILLED


def test_staff_give_an_order_to_somebody_without_asking_them() -> None:
    world = a_city()
    order = world.place(mode=Mode.MANUAL)
    effects = give(world, order, "t3")
    assert heard(effects) == [tells("assigned", order__technician="t3")]
    now = world.order(order.order_id)
    assert (now.state, now.pinned_by) == (OrderState.ASSIGNED, OPS)
    assert now.eta_s == pytest.approx(360.0, abs=1.0)
    line = world.ledger.events[-1]
    assert (line.what, line.who, line.detail["said"]) == ("assigned", OPS, "the customer asked")
    assert give(world, order, "t3") == []
    world.restart()
    world.steps(order, *ALL_STEPS)
    assert world.order(order.order_id).state is OrderState.DEPARTED_SAFE


def test_an_order_given_by_hand_takes_its_live_offers_back() -> None:
    world = a_city(broadcast=THREE)
    order = world.place(mode=Mode.BROADCAST)
    first = world.offer_of("t1")
    effects = heard(give(world, order, "t2"))
    assert effects[0] == tells("assigned", order__technician="t2")
    assert set(closed(effects)) == {"t1", "t2", "t3"}
    assert refused(world, e.OfferAccepted(first.offer_id, UserId("t1"))).code == "offer_taken"


def test_staff_give_an_order_to_another_before_its_technician_is_at_the_door() -> None:
    world = a_city()
    order = world.place()
    world.accept("t1")
    world.steps(order, e.Step.EN_ROUTE)
    assert heard(give(world, order, "t2")) == [tells("assigned", order__technician="t2", previous_technician="t1")]
    assert [x.what for x in world.ledger.events][-2:] == ["take_back", "assigned"]
    world.steps(order, e.Step.EN_ROUTE, e.Step.ARRIVED)
    late = e.OrderAssigned(order.order_id, UserId("t1"), OPS, "no")
    assert refused(world, late).code == "order_arrived"
    world.steps(order, e.Step.IN_SERVICE)
    assert refused(world, late).code == "order_in_service"


def test_a_technician_who_has_accepted_may_be_pinned() -> None:
    world = a_city()
    order = world.place()
    world.accept("t1")
    assert heard(give(world, order, "t1")) == [tells("pinned", order__mode=Mode.MANUAL)]
    assert give(world, order, "t1") == []


def test_what_staff_pass_over_of_a_technician_who_has_it_is_kept_with_the_pin() -> None:
    world = World(eligibility=EligibilitySettings(night_walk_max_m=500.0, night_begins_h=0.5))
    world.join("t1", 1_000)
    order = world.place()
    world.accept("t1")
    world.steps(order, *ALL_STEPS[:3])
    longer = e.TimeAdded(order.order_id, ANNA, 2 * 3_600.0)
    with pytest.raises(Conflict, match="night"):
        world.feed(longer)
    taxi = e.OrderAssigned(order.order_id, UserId("t1"), OPS, "a taxi waits", ("night_transport",))
    assert heard(world.feed(taxi)) == [tells("pinned", order__override=("night_transport",))]
    assert world.ledger.events[-1].detail["override"] == "night_transport"
    assert heard(world.feed(taxi)) == []
    more = e.OrderAssigned(order.order_id, UserId("t1"), OPS, "agreed", ("gender",))
    assert heard(world.feed(more)) == [tells("pinned", order__override=("gender", "night_transport"))]
    assert heard(world.feed(longer)) == [tells("time_added")]


def test_a_pick_who_is_pinned_is_nobody_s_pick_any_more() -> None:
    world = a_city()
    order = directed(world, "t2")
    world.accept("t2")
    give(world, order, "t2")
    assert world.order(order.order_id).picked is None
    world.feed(e.OrderReassigned(order.order_id, OPS))
    assert live(world) == ["t1"]


def test_each_failing_filter_is_named_and_passed_over_only_by_name() -> None:
    world = a_city(1)
    world.join("raw", 30_000.0, skills=frozenset(), gender=Gender.MALE)
    order = world.place(mode=Mode.MANUAL, gender_preference=Gender.FEMALE)
    world.seen(UserId("raw"), north(30_000.0), connected=False)
    error = refused(world, e.OrderAssigned(order.order_id, UserId("raw"), OPS, "why", ("skill",)))
    assert (error.code, error.field) == ("filter_failed", "override")
    assert "fails gender, disconnected, too_far:" in error.message
    give(world, order, "raw", "skill", "gender", "disconnected", "too_far")
    assert world.ledger.events[-1].detail["override"] == "disconnected, gender, skill, too_far"
    assert world.order(order.order_id).technician == "raw"


def test_a_second_job_papers_and_duty_are_never_passed_over() -> None:
    world = a_city(2)
    world.put("raw", verified=False, skills=frozenset())
    first, second = world.place(), world.place(mode=Mode.MANUAL)
    world.accept("t1")
    error = refused(world, e.OrderAssigned(second.order_id, UserId("t1"), OPS, "why"))
    assert (error.code, "fails busy, which cannot" in error.message) == ("filter_holds", True)
    error = refused(world, e.OrderAssigned(second.order_id, UserId("raw"), OPS, "why"))
    assert "fails off_duty, unverified, which cannot be overridden; and fails skill, which may" in error.message
    for name in ("busy", "unverified", "own_order", "nonsense"):
        error = refused(world, e.OrderAssigned(second.order_id, UserId("t2"), OPS, "why", (name,)))
        assert (error.code, error.field) == ("filter_holds", "override")
    assert world.order(first.order_id).technician == "t1"


def test_somebody_being_asked_for_another_order_loses_that_offer_only_by_name() -> None:
    world = a_city(2)
    asked = world.place()
    order = world.place(mode=Mode.MANUAL)
    assert refused(world, e.OrderAssigned(order.order_id, UserId("t1"), OPS, "why")).code == "filter_failed"
    effects = heard(give(world, order, "t1", "offered"))
    assert closed(effects) == {"t1": CloseReason.REVOKED}
    assert asks("t2", order__order_id=asked.order_id) in effects


def test_an_order_given_by_hand_and_taken_back_is_looked_after_by_rounds_again() -> None:
    world = a_city()
    order = world.place(mode=Mode.MANUAL)
    give(world, order, "t3")
    effects = heard(world.feed(e.OrderReassigned(order.order_id, OPS, "ill")))
    assert effects == [tells("reassigned"), tells("switched", order__mode=Mode.AUTO), asks("t1")]
    assert live(world) == ["t1"]
    world.restart()
    assert world.engine.live_offer(UserId("t3")) is None
    error = refused(world, e.OrderAssigned(order.order_id, UserId("t3"), OPS, "why"))
    assert "refused" in error.message


# -- changes of mode ------------------------------------------------------------------------------------------


def test_an_order_goes_from_mode_to_mode_and_keeps_the_offers_that_fit() -> None:
    world = a_city(broadcast=THREE)
    order = world.place()
    assert live(world) == ["t1"]
    effects = heard(switch(world, order, Mode.BROADCAST))
    assert effects[0] == tells("switched", order__mode=Mode.BROADCAST)
    assert live(world) == ["t1", "t2", "t3"]
    assert closed(switch(world, order, Mode.AUTO)) == dict.fromkeys(("t2", "t3"), CloseReason.REVOKED)
    assert live(world) == ["t1"]
    switch(world, order, Mode.DIRECTED, technician=UserId("t4"))
    assert live(world) == ["t4"]
    switch(world, order, Mode.MANUAL)
    assert live(world) == []
    assert switch(world, order, Mode.MANUAL) == []
    switch(world, order, Mode.AUTO)
    assert live(world) == ["t1"]
    assert [x.what for x in world.ledger.events].count("switch") == 5


def test_the_long_offer_of_a_first_refusal_ends_with_it() -> None:
    for mode in (Mode.AUTO, Mode.BROADCAST):
        world = a_city(3, broadcast=THREE, directed=WINDOW)
        order = directed(world, "t3")
        everybody_acknowledges(world)
        effects = heard(switch(world, order, mode))
        assert effects[:2] == [tells("switched", order__mode=mode), closes("t3", CloseReason.REVOKED)]
        everybody_acknowledges(world)
        assert {offer.expires_at for offer in world.engine.live_offers()} == {T0 + world.settings.offer_ttl_s}
        assert not [x for x in world.tick(110) if isinstance(x, e.RemindOffer)]


def test_what_follows_a_first_refusal_may_change_while_the_picked_technician_thinks() -> None:
    world = a_city(3, directed=WINDOW)
    order = directed(world, "t3")
    asked = world.receive("t3")
    effects = switch(world, order, Mode.DIRECTED, technician=UserId("t3"), fallback=Fallback.CANCEL)
    assert heard(effects) == [tells("switched", order__fallback=Fallback.CANCEL)]
    assert world.offer_of("t3") == replace(asked, delivered_at=T0, version=2)
    assert [x.number for x in world.tick(70) if isinstance(x, e.RemindOffer)] == [1, 2]
    assert heard(world.tick(100.001)) == [closes("t3", CloseReason.EXPIRED), tells("cancelled")]


@pytest.mark.parametrize("before", Mode)
@pytest.mark.parametrize("after", Mode)
def test_after_a_change_of_mode_everything_is_as_if_the_order_had_begun_in_it(before: Mode, after: Mode) -> None:
    def facts(mode: Mode) -> dict[str, Any]:
        return {"technician": UserId("t2")} if mode is Mode.DIRECTED else {}

    world, fresh = (a_city(4, broadcast=THREE, directed=WINDOW) for _ in range(2))
    order = world.place(mode=before, **facts(before))
    fresh.place(mode=after, **facts(after))
    everybody_acknowledges(world)
    switch(world, order, after, **facts(after))
    everybody_acknowledges(world)
    everybody_acknowledges(fresh)
    offers = [{o.technician: o.expires_at for o in one.engine.live_offers()} for one in (world, fresh)]
    assert offers[0] == offers[1]
    answers = [{t.technician: t.answers for t in one.engine.technicians()} for one in (world, fresh)]
    assert answers[0] == answers[1]  # a withdrawn offer is no refusal
    times = [[x.offer.technician for x in one.tick(99) if isinstance(x, e.RemindOffer)] for one in (world, fresh)]
    assert times[0] == times[1]


def test_an_offer_that_its_customer_takes_back_is_no_refusal() -> None:
    world = a_city(1)
    order = world.place()
    world.receive("t1")
    world.tick(10)
    world.feed(e.OrderCancelled(order.order_id, ANNA))
    assert world.ledger.technicians[UserId("t1")].answers == {}
    world.seen(UserId("t1"), north(400.0))
    world.place()
    assert live(world) == ["t1"]


def test_a_change_of_mode_begins_the_search_anew() -> None:
    world = World(unfilled_after_s=60.0)
    order = world.place()
    world.tick(50)
    switch(world, order, Mode.BROADCAST)
    assert heard(world.tick(109)) == []
    assert heard(world.tick(110)) == [tells("unfilled")]


def test_staff_have_an_unfilled_order_looked_for_again_and_refusals_still_count() -> None:
    world = a_city(2, unfilled_after_s=60.0)
    order = world.place()
    for name in ("t1", "t2"):
        world.feed(e.OfferDeclined(world.offer_of(name).offer_id, UserId(name)))
    world.tick(60)
    world.join("late", 900.0)
    effects = heard(switch(world, order, Mode.AUTO))
    assert effects == [tells("switched", order__state=OrderState.MATCHING), asks("late")]
    world.tick(5_000)
    assert world.engine.order(order.order_id) is None  # unfilled again, and forgotten


def test_an_unfilled_order_that_memory_has_forgotten_is_reopened_from_the_store() -> None:
    world = a_city(2, unfilled_after_s=60.0)
    order = world.place()
    world.feed(e.OfferDeclined(world.offer_of("t1").offer_id, UserId("t1")))
    world.feed(e.OfferDeclined(world.offer_of("t2").offer_id, UserId("t2")))
    world.tick(5_000)
    assert refused(world, e.ModeSet(order.order_id, Mode.AUTO, OPS)).code == "not_found"
    offers = [o for o in world.ledger.offers.values() if o.order_id == order.order_id]
    seq = max(x.seq for x in world.ledger.events)
    recalled = e.Recalled(world.ledger.orders[order.order_id], seq, offers)
    world.join("late", 900.0)
    for name in ("t1", "t2"):
        world.seen(UserId(name), north(400.0))
    assert asks("late") in switch(world, order, Mode.AUTO, recalled=recalled)
    assert live(world) == ["late"]


def test_an_order_with_a_technician_changes_no_mode() -> None:
    world = a_city()
    order = world.place()
    world.accept("t1")
    change = e.ModeSet(order.order_id, Mode.BROADCAST, OPS)
    assert refused(world, change).code == "already_assigned"
    world.steps(order, *ALL_STEPS)
    assert refused(world, change).code == "order_finished"
    world.feed(e.OrderConfirmed(order.order_id, ANNA))
    assert refused(world, change).code == "order_confirmed"
    for mode, technician in ((Mode.DIRECTED, None), (Mode.AUTO, UserId("t1"))):
        assert refused(world, replace(change, mode=mode, technician=technician)).field == "technician"


def test_an_order_for_later_may_change_its_mode_before_its_time_or_be_booked_by_hand() -> None:
    world = a_city(broadcast=THREE)
    order = world.place(scheduled_for=T0 + 10_000.0)
    switch(world, order, Mode.BROADCAST)
    assert world.order(order.order_id).state is OrderState.SCHEDULED
    assert live(world) == []
    give(world, order, "t1")
    now = world.order(order.order_id)
    assert (now.state, now.booked_for) == (OrderState.ASSIGNED, T0 + 10_000.0)
    another = world.place(mode=Mode.MANUAL, scheduled_for=T0 + 9_000.0)
    error = refused(world, e.OrderAssigned(another.order_id, UserId("t1"), OPS, "why"))
    assert "fails calendar, which cannot be overridden" in error.message
    assert world.engine.technician(UserId("t1")).work is WorkState.IDLE  # type: ignore[union-attr]


# -- orders given by hand: who is free then, and where nobody knows ---------------------------------------------


def test_tomorrow_s_order_is_given_to_whoever_is_busy_off_duty_far_away_or_being_asked_now() -> None:
    world = a_city(1)
    world.join("far", 30_000.0)
    world.put("off")
    world.put("away")
    world.feed(e.DutySet(UserId("away"), DutyState.ON))  # and no position since
    world.place()
    world.accept("t1")
    world.join("asked")
    world.place(by=UserId("cus_bob"))
    held = world.receive("asked")
    for name in ("t1", "far", "off", "away", "asked"):
        order = world.place(mode=Mode.MANUAL, scheduled_for=TOMORROW)
        assert heard(give(world, order, name)) == [tells("assigned", order__technician=name)]
        now = world.order(order.order_id)
        assert (now.state, now.booked_for, now.eta_s) == (OrderState.ASSIGNED, TOMORROW, None)
    assert world.offer_of("asked").offer_id == held.offer_id
    world.restart()
    world.engine.check()


def test_tomorrow_s_order_is_not_given_to_whoever_has_something_else_then() -> None:
    world = a_city(1)
    for name in ("booked", "rests", "sleeps"):
        world.put(name)
    give(world, world.place(mode=Mode.MANUAL, scheduled_for=TOMORROW + 1_800.0), "booked")
    world.feed(e.CalendarSet(UserId("rests"), (), (Rest(TOMORROW - 60.0, TOMORROW + 60.0),)))
    world.feed(e.CalendarSet(UserId("sleeps"), (Shift((0, 1, 2, 3, 4, 5, 6), 60, 120),), ()))
    order = world.place(mode=Mode.MANUAL, scheduled_for=TOMORROW)
    for name in ("booked", "rests", "sleeps"):
        error = refused(world, e.OrderAssigned(order.order_id, UserId(name), OPS, "why"))
        assert (error.code, "fails calendar, which" in error.message) == ("filter_holds", True)


def test_an_order_for_later_waits_for_a_running_job_only_if_that_is_over_in_time() -> None:
    world = a_city(1, lost=LostSettings(booked_check_s=600.0))
    world.place(duration_s=3_600.0)
    world.accept("t1")  # there after 160 s, done after 3,760 s, 60 s and the buffer of 900 s to the next place
    late = world.place(mode=Mode.MANUAL, scheduled_for=T0 + 4_730.0)
    soon = world.place(mode=Mode.MANUAL, scheduled_for=T0 + 4_700.0)
    error = refused(world, e.OrderAssigned(soon.order_id, UserId("t1"), OPS, "why"))
    assert "fails busy, which cannot" in error.message
    give(world, late, "t1")
    assert world.order(late.order_id).booked_for == T0 + 4_730.0


def test_what_somebody_is_being_asked_for_ends_when_it_cannot_be_done_beside_what_they_are_given() -> None:
    world = a_city(2)
    asked = world.place(scheduled_for=T0 + 3_600.0)
    world.receive("t1")
    order = world.place(mode=Mode.MANUAL, scheduled_for=T0 + 3_000.0)
    effects = heard(give(world, order, "t1"))
    assert closed(effects) == {"t1": CloseReason.REVOKED}
    assert asks("t2", order__order_id=asked.order_id) in effects


def test_an_order_for_now_is_given_to_whoever_finishes_soon() -> None:
    world = a_city(1)
    first = world.place(duration_s=1_800.0)
    world.accept("t1")
    world.steps(first, e.Step.EN_ROUTE, e.Step.ARRIVED, e.Step.IN_SERVICE)
    order = world.place(north(2_000.0), mode=Mode.MANUAL)
    error = refused(world, e.OrderAssigned(order.order_id, UserId("t1"), OPS, "why"))
    assert "fails busy, which cannot" in error.message
    world.tick(1_500)
    give(world, order, "t1")
    now = world.order(order.order_id)
    assert now.eta_s == pytest.approx(300.0 + 560.0, abs=1.0)  # what is left, and the way from that place
    assert now.booked_for == pytest.approx(world.now + 860.0, abs=1.0)
    assert world.engine.technician(UserId("t1")).work is WorkState.BUSY  # type: ignore[union-attr]


def test_of_somebody_without_a_position_nothing_is_said_that_depends_on_it() -> None:
    world = a_city(0)
    world.put("t1")
    world.feed(e.DutySet(UserId("t1"), DutyState.ON))
    order = world.place()
    assert live(world) == []  # rounds take them as stale
    error = refused(world, e.OrderAssigned(order.order_id, UserId("t1"), OPS, "why"))
    assert "fails disconnected, unheard, stale_position:" in error.message
    give(world, order, "t1", "disconnected", "unheard", "stale_position")
    now = world.order(order.order_id)
    assert (now.state, now.eta_s, now.booked_for) == (OrderState.ASSIGNED, None, None)
    assert world.engine.eta_s(now, world.now) is None
    world.steps(order, *ALL_STEPS)
    assert world.order(order.order_id).state is OrderState.DEPARTED_SAFE
