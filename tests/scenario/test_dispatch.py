"""What people live through when an order is dispatched, as scripts: what happens, and who hears what."""

from dataclasses import replace
from typing import Any

import pytest

from core.errors import Conflict, Invalid, NotFound
from core.ids import CityId, UserId
from dispatch import events as e
from dispatch.events import CloseReason, Step
from dispatch.model import DutyState, Gender, OrderState, WorkState
from dispatch.settings import DispatchSettings, RoundSettings
from tests.unit.dispatch.world import (
    ALL_STEPS,
    ANNA,
    OPS,
    SHARD,
    T0,
    World,
    asks,
    closes,
    draft,
    heard,
    north,
    offer_id,
    tells,
)


def refused(world: World, event: e.DispatchEvent, at: float | None = None) -> str:
    """The code with which an event is refused."""
    with pytest.raises((Conflict, NotFound)) as caught:
        world.feed(event, at)
    return caught.value.code


def test_an_order_is_offered_to_the_nearest_technician_in_the_turn_in_which_it_was_placed() -> None:
    world = World()
    world.join("near", 400)
    world.join("far", 2_000)
    effects = world.feed(e.OrderPlaced(draft(), ANNA))
    assert heard(effects) == [
        tells("placed", order__state=OrderState.MATCHING),
        asks("near", why=("near", "well rated")),
    ]
    assert len(world.ledger.offers) == 1


def test_an_order_goes_all_the_way_to_confirmed_and_rated() -> None:
    world = World()
    world.join("tina")
    order = world.place()
    assert heard(world.accept("tina")) == [tells("assigned", order__technician="tina")]
    assert world.order(order.order_id).eta_s == pytest.approx(60 + 0.25 * 500.0, abs=1.0)
    world.steps(order, *ALL_STEPS)
    assert world.order(order.order_id).state is OrderState.DEPARTED_SAFE
    assert heard(world.feed(e.OrderConfirmed(order.order_id, ANNA))) == [tells("confirmed")]
    assert heard(world.feed(e.OrderRated(order.order_id, ANNA, 5))) == [tells("rated", order__stars=5)]
    told = [event.what for event in world.ledger.events]
    assert told == ["placed", "matching", "offered", "assigned", *ALL_STEPS, "confirmed", "rated"]


def test_the_next_candidate_is_asked_when_the_first_lets_the_offer_expire() -> None:
    world = World(offer_ttl_s=30.0)
    world.join("near", 400)
    world.join("far", 2_000)
    world.place()
    world.receive("near")
    world.seen(UserId("far"), north(2_000))
    assert heard(world.tick(30)) == []  # an answer exactly at the deadline is still in time
    assert heard(world.tick(30.001)) == [closes("near", CloseReason.EXPIRED), asks("far")]


def test_an_answer_exactly_at_the_deadline_is_in_time_and_one_after_it_is_not() -> None:
    world = World(offer_ttl_s=30.0)
    world.join("tina")
    world.place()
    offer = world.receive("tina")
    late = e.OfferAccepted(offer.offer_id, UserId("tina"))
    world.tick(30)
    assert heard(world.feed(late)) == [tells("assigned")]

    world = World(offer_ttl_s=30.0)
    world.join("tina")
    world.place()
    offer = world.receive("tina")
    world.now = T0 + 30.0005
    with pytest.raises(Conflict, match="time for an answer is over") as caught:
        world.engine.handle(e.OfferAccepted(offer.offer_id, UserId("tina")), world.now)
    assert caught.value.code == "offer_expired"


def test_a_decline_asks_the_next_best_at_once_and_never_the_same_again() -> None:
    world = World()
    world.join("near", 400)
    world.join("far", 2_000)
    world.place()
    offer = world.offer_of("near")
    effects = world.feed(e.OfferDeclined(offer.offer_id, UserId("near"), "too tired"), at=1)
    assert heard(effects) == [asks("far")]
    assert heard(world.feed(e.OfferDeclined(world.offer_of("far").offer_id, UserId("far")), at=2)) == []
    world.seen(UserId("near"), north(400))
    assert heard(world.tick(30)) == []
    assert world.feed(e.OfferDeclined(offer.offer_id, UserId("near"))) == []  # a repeat is no news


def test_an_offer_that_no_phone_acknowledges_goes_on_after_three_seconds_and_is_no_refusal() -> None:
    world = World()
    world.join("deaf", 400)
    world.join("far", 2_000)
    world.place()
    assert heard(world.tick(2.9)) == []
    assert heard(world.tick(3)) == [closes("deaf", CloseReason.UNDELIVERED), asks("far")]
    second = world.place()
    assert world.engine.live_offer(UserId("deaf")) is None  # out of rounds until heard
    world.tick(4)
    world.receive("far")
    world.seen(UserId("deaf"), north(400))
    assert asks("deaf", order__order_id=second.order_id) in world.tick(8)


def test_an_acknowledged_offer_waits_for_its_answer() -> None:
    world = World()
    world.join("tina")
    world.place()
    world.receive("tina")
    assert heard(world.tick(19)) == []
    assert heard(world.accept("tina")) == [tells("assigned")]


def test_late_answers_are_told_why() -> None:
    world = World()
    world.join("near", 400)
    world.join("far", 2_000)
    order = world.place()
    first = world.receive("near")
    world.seen(UserId("far"), north(2_000))
    world.tick(21)
    assert refused(world, e.OfferAccepted(first.offer_id, UserId("near"))) == "offer_expired"
    world.accept("far")
    assert refused(world, e.OfferAccepted(first.offer_id, UserId("near"))) == "offer_expired"
    assert refused(world, e.OfferAccepted(first.offer_id, UserId("far"))) == "not_found"
    taken = next(o for o in world.ledger.offers.values() if o.technician == "far")
    assert refused(world, e.OfferDeclined(taken.offer_id, UserId("far"))) == "offer_accepted"
    assert world.feed(e.OfferAccepted(taken.offer_id, UserId("far"))) == []  # a repeat is no news
    world.feed(e.OrderCancelled(order.order_id, ANNA, "rain"))
    assert refused(world, e.StepTaken(order.order_id, UserId("far"), Step.EN_ROUTE)) == "order_cancelled"


def test_whoever_was_undelivered_hears_that_the_order_is_taken() -> None:
    world = World()
    world.join("deaf", 400)
    world.join("far", 2_000)
    world.place()
    offer = world.offer_of("deaf")
    world.tick(3.5)
    assert refused(world, e.OfferAccepted(offer.offer_id, UserId("deaf"))) == "offer_revoked"
    world.accept("far")
    assert refused(world, e.OfferAccepted(offer.offer_id, UserId("deaf"))) == "offer_taken"


def test_a_cancel_takes_the_live_offer_back_and_frees_the_technician() -> None:
    world = World()
    world.join("tina")
    order = world.place()
    offer = world.offer_of("tina")
    effects = world.feed(e.OrderCancelled(order.order_id, ANNA, "changed my mind"))
    assert heard(effects) == [
        tells("cancelled", order__reason="cancelled_by_customer", order__said="changed my mind"),
        closes("tina", CloseReason.CANCELLED),
    ]
    assert refused(world, e.OfferAccepted(offer.offer_id, UserId("tina"))) == "order_cancelled"
    assert world.feed(e.OrderCancelled(order.order_id, ANNA)) == []
    world.place()
    assert world.offer_of("tina").offer_id != offer.offer_id


def test_a_cancel_of_an_assigned_order_tells_its_technician_and_frees_them_for_who_waits() -> None:
    world = World()
    world.join("tina")
    first = world.place()
    world.accept("tina")
    second = world.place()
    assert world.order(second.order_id).state is OrderState.MATCHING
    effects = world.feed(e.OrderCancelled(first.order_id, ANNA), at=5)
    assert heard(effects) == [tells("cancelled", previous_technician="tina"), asks("tina")]


@pytest.mark.parametrize("by_far", [Step.IN_SERVICE, Step.FINISHED, Step.DEPARTED_SAFE])
def test_a_service_that_has_begun_cannot_be_cancelled(by_far: Step) -> None:
    world = World()
    world.join("tina")
    order = world.place()
    world.accept("tina")
    world.steps(order, *ALL_STEPS[: ALL_STEPS.index(by_far) + 1])
    code = refused(world, e.OrderCancelled(order.order_id, ANNA))
    assert code == ("order_in_service" if by_far is Step.IN_SERVICE else "order_finished")


def test_nobody_but_the_customer_and_staff_may_cancel_or_confirm() -> None:
    world = World()
    world.join("tina")
    order = world.place()
    eve = UserId("cus_eve")
    assert refused(world, e.OrderCancelled(order.order_id, eve)) == "not_found"
    assert refused(world, e.OrderConfirmed(order.order_id, eve)) == "not_found"
    assert heard(world.feed(e.OrderCancelled(order.order_id, OPS, "fraud", staff=True)))[0] == tells("cancelled")


def test_steps_are_taken_in_order_by_the_orders_technician_only() -> None:
    world = World()
    world.join("tina")
    world.join("other")
    order = world.place()
    holder = UserId(next(iter(world.ledger.offers.values())).technician)
    world.accept(holder)
    stranger = UserId("other" if holder == "tina" else "tina")
    assert refused(world, e.StepTaken(order.order_id, stranger, Step.EN_ROUTE)) == "not_found"
    assert refused(world, e.StepTaken(order.order_id, holder, Step.ARRIVED)) == "step_out_of_order"
    world.steps(order, Step.EN_ROUTE, Step.ARRIVED)
    assert world.feed(e.StepTaken(order.order_id, holder, Step.EN_ROUTE)) == []  # came twice over a bad link
    assert world.order(order.order_id).state is OrderState.ARRIVED


def test_a_technician_is_busy_from_accept_until_the_service_is_over() -> None:
    world = World()
    world.join("tina")
    order = world.place()
    world.accept("tina")
    for step in ALL_STEPS[:-1]:
        world.steps(order, step)
        technician = world.engine.technician(UserId("tina"))
        assert technician is not None
        assert technician.work is WorkState.BUSY
        if step is not Step.FINISHED:
            world.feed(e.DutySet(UserId("tina"), DutyState.OFF))
            assert world.ledger.technicians[UserId("tina")].duty is DutyState.ENDING
    # A phone that says off again changes nothing: they are at the customer's until they say that they have left.
    assert world.feed(e.DutySet(UserId("tina"), DutyState.OFF)) == []
    assert world.ledger.technicians[UserId("tina")].work is WorkState.BUSY
    world.steps(order, Step.DEPARTED_SAFE)
    assert UserId("tina") not in world.index
    assert world.ledger.technicians[UserId("tina")].duty is DutyState.OFF


def test_who_goes_off_duty_without_saying_that_they_have_left_has_left() -> None:
    world = World()
    world.join("tina")
    order = world.place()
    world.accept("tina")
    world.steps(order, *ALL_STEPS[:-1])
    world.feed(e.DutySet(UserId("tina"), DutyState.OFF))
    assert UserId("tina") not in world.index
    assert world.order(order.order_id).state is OrderState.FINISHED


def test_leaving_duty_gives_a_live_offer_to_the_next() -> None:
    world = World()
    world.join("near", 400)
    world.join("far", 2_000)
    world.place()
    effects = world.feed(e.DutySet(UserId("near"), DutyState.OFF))
    assert heard(effects) == [closes("near", CloseReason.REVOKED), asks("far")]


def test_the_circle_widens_until_somebody_is_found() -> None:
    world = World()
    world.join("far", 8_000)
    order = world.place()
    assert world.offer_of("far").distance_m == pytest.approx(8_000, rel=0.01)
    assert world.order(order.order_id).radius_step == 2


def test_the_circle_may_widen_by_time() -> None:
    world = World(round=replace(RoundSettings(), widen_s=10.0))
    world.join("far", 8_000)
    world.place()
    assert heard(world.tick(19)) == []
    world.seen(UserId("far"), north(8_000))
    assert heard(world.tick(20)) == [asks("far")]


def test_an_order_that_nobody_takes_ends_unfilled_with_the_reason() -> None:
    world = World(unfilled_after_s=60.0)
    order = world.place()
    assert heard(world.tick(61)) == [tells("unfilled", order__reason="nobody_available")]
    assert refused(world, e.OrderCancelled(order.order_id, ANNA)) == "order_unfilled"

    world = World(unfilled_after_s=60.0)
    world.join("tina")
    world.place()
    world.feed(e.OfferDeclined(world.offer_of("tina").offer_id, UserId("tina")))
    assert heard(world.tick(61)) == [tells("unfilled", order__reason="nobody_accepted")]


def test_the_last_offer_may_outlive_the_search() -> None:
    world = World(unfilled_after_s=60.0)
    order = world.place()
    world.tick(55)
    world.join("tina")
    world.tick(57)
    world.receive("tina")
    assert heard(world.tick(70)) == []
    assert heard(world.accept("tina")) == [tells("assigned")]
    assert world.order(order.order_id).state is OrderState.ASSIGNED


def test_the_same_key_makes_one_order_and_another_body_with_it_is_refused() -> None:
    world = World()
    order = world.place(key="k1")
    again = world.feed(e.OrderPlaced(draft(), ANNA, "k1", "f"))
    assert again == [e.OrderRepeated(order.order_id, order)]
    assert refused(world, e.OrderPlaced(draft(), ANNA, "k1", "other")) == "idempotency_key_reused"
    assert world.place(by=UserId("cus_bob"), key="k1").order_id != order.order_id
    world.restart()
    assert world.feed(e.OrderPlaced(draft(), ANNA, "k1", "f")) == [e.OrderRepeated(order.order_id, order)]


def test_staff_take_an_order_from_a_technician_who_is_not_asked_again() -> None:
    world = World()
    world.join("near", 400)
    order = world.place()
    world.accept("near")
    world.steps(order, Step.EN_ROUTE)
    effects = world.feed(e.OrderReassigned(order.order_id, OPS, "flat tyre"))
    assert heard(effects) == [tells("reassigned", previous_technician="near", order__technician=None)]
    world.join("far", 2_000)
    assert asks("far") in world.tick(5)
    world.restart()
    assert world.engine.live_offer(UserId("near")) is None


def test_a_round_gives_each_order_somebody_although_one_technician_is_best_for_both() -> None:
    world = World()
    world.join("middle", 0)
    world.join("north", 1_000)
    effects = world.batch([e.OrderPlaced(draft(north(-300)), ANNA), e.OrderPlaced(draft(north(300)), ANNA)])
    south, nord = [x.order.order_id for x in effects if isinstance(x, e.OrderChanged)]
    pairs = {x.offer.technician: x.order.order_id for x in effects if isinstance(x, e.SendOffer)}
    assert pairs == {"middle": south, "north": nord}


def test_orders_that_outnumber_technicians_are_gathered_for_a_moment() -> None:
    world = World()
    world.join("tina")
    world.place()
    world.place()
    world.feed(e.OfferDeclined(world.offer_of("tina").offer_id, UserId("tina")), at=0.05)
    assert world.engine.waiting_len() == 2
    assert asks("tina") in world.tick(0.3)


def test_who_came_free_gets_the_order_that_waits() -> None:
    world = World()
    world.join("tina")
    first = world.place()
    world.accept("tina")
    second = world.place()
    world.steps(first, *ALL_STEPS[:-1])
    world.seen(UserId("tina"), north(10))
    effects = world.feed(e.StepTaken(first.order_id, UserId("tina"), Step.DEPARTED_SAFE))
    assert asks("tina", order__order_id=second.order_id) in effects


@pytest.mark.parametrize(
    ("facts", "wish"),
    [
        ({"skills": frozenset({"yoga"})}, {}),
        ({"gender": Gender.MALE}, {"gender_preference": Gender.FEMALE}),
        ({}, {"skills": ("massage", "never heard of")}),
    ],
)
def test_hard_filters_are_kept_whatever_the_price(facts: dict[str, Any], wish: dict[str, Any]) -> None:
    world = World()
    world.join("tina", **facts)
    world.place(**wish)
    assert world.engine.live_offer(UserId("tina")) is None


def test_stale_disconnected_and_unverified_technicians_are_not_asked() -> None:
    world = World()
    world.join("gone", 100)
    world.seen(UserId("gone"), north(100), connected=False)
    world.join("stale", 200)
    world.join("paused", 250)
    world.feed(e.DutySet(UserId("paused"), DutyState.PAUSED))
    world.join("papers", 300)
    world.put("papers", verified=False)
    world.tick(61)
    world.seen(UserId("gone"), north(100), connected=False)
    world.seen(UserId("paused"), north(250))
    world.seen(UserId("papers"), north(300))
    order = world.place()
    assert world.order(order.order_id).state is OrderState.MATCHING
    assert world.engine.live_offers() == []


def test_duty_is_for_verified_technicians_of_this_city() -> None:
    world = World()
    world.put("tina", verified=False)
    world.put("lea", cities=("sh",))
    assert refused(world, e.DutySet(UserId("tina"), DutyState.ON)) == "unverified"
    assert refused(world, e.DutySet(UserId("lea"), DutyState.ON)) == "city_not_allowed"
    assert refused(world, e.DutySet(UserId("nobody"), DutyState.ON)) == "not_found"
    assert refused(world, e.DutySet(UserId("tina"), DutyState.PAUSED)) == "not_on_duty"
    assert world.feed(e.DutySet(UserId("tina"), DutyState.OFF)) == []


def test_duty_is_in_one_city_at_a_time() -> None:
    world = World()
    world.put("tina", cities=("hz", "sh"))
    known = world.engine.technician(UserId("tina"))
    assert known is not None
    elsewhere = replace(known, duty=DutyState.ON, duty_city=CityId("sh"), version=known.version + 1)
    world.feed(e.TechnicianCopied(elsewhere))
    assert refused(world, e.DutySet(UserId("tina"), DutyState.ON)) == "on_duty_elsewhere"
    world.feed(e.TechnicianCopied(replace(known, version=known.version + 2)))
    world.feed(e.DutySet(UserId("tina"), DutyState.ON))
    assert world.feed(e.TechnicianCopied(elsewhere)) == []  # older than what is known
    newer = replace(elsewhere, version=99, name="Tina B.")
    world.feed(e.TechnicianCopied(newer))
    technician = world.engine.technician(UserId("tina"))
    assert technician is not None
    assert (technician.name, technician.duty_city) == ("Tina B.", "hz")


def test_a_record_that_no_served_city_knows_keeps_rating_and_version_and_ends_its_duty() -> None:
    world = World()
    world.put("tina", cities=("hz", "sh"))
    known = world.ledger.technicians[UserId("tina")]
    gone = replace(
        known, cities=(CityId("gone"),), duty=DutyState.ON, duty_city=CityId("gone"), version=7, rating_sum=9.0
    )
    world.ledger.technicians[gone.technician] = gone
    world.served = frozenset({SHARD.city})
    world.engine = world._new_engine()
    world.put("tina", cities=("hz",), stored=gone)
    stored = world.ledger.technicians[gone.technician]
    assert (stored.version, stored.rating_sum, stored.cities) == (8, 9.0, ("hz",))
    world.feed(e.DutySet(gone.technician, DutyState.ON))


def test_offers_that_expired_while_the_server_was_down_are_withdrawn_and_nobody_is_blamed() -> None:
    world = World()
    world.join("near", 400)
    world.join("far", 2_000)
    world.place()
    world.receive("near")
    world.now += 100
    world.restart()
    for name, metres in (("near", 400), ("far", 2_000)):
        world.seen(UserId(name), north(metres))
    assert heard(world.tick(100)) == [closes("near", CloseReason.REVOKED), asks("near")]


def test_a_live_offer_survives_a_restart_and_so_do_refusals_and_jobs() -> None:
    world = World()
    world.join("near", 400)
    world.join("far", 2_000)
    order = world.place()
    world.feed(e.OfferDeclined(world.offer_of("near").offer_id, UserId("near")))
    world.restart()
    assert world.offer_of("far").order_id == order.order_id
    world.accept("far")
    world.restart()
    assert world.order(order.order_id).technician == "far"
    world.steps(order, *ALL_STEPS)
    world.restart()
    assert world.order(order.order_id).state is OrderState.DEPARTED_SAFE


def test_an_order_is_confirmed_by_itself_when_the_customer_never_does() -> None:
    world = World(confirm_after_s=3_600.0)
    world.join("tina")
    order = world.place()
    world.accept("tina")
    world.steps(order, *ALL_STEPS)
    assert heard(world.tick(3_600)) == [tells("confirmed")]
    world.tick(3_600 * 3)
    assert world.engine.order(order.order_id) is None  # settled orders leave the memory


def test_a_customer_may_confirm_before_the_technician_has_left() -> None:
    world = World()
    world.join("tina")
    order = world.place()
    world.accept("tina")
    assert refused(world, e.OrderConfirmed(order.order_id, ANNA)) == "not_finished"
    world.steps(order, *ALL_STEPS[:-1])
    world.feed(e.OrderConfirmed(order.order_id, ANNA))
    assert world.feed(e.OrderConfirmed(order.order_id, ANNA)) == []
    technician = world.engine.technician(UserId("tina"))
    assert technician is not None
    assert technician.work is WorkState.IDLE
    left = e.StepTaken(order.order_id, UserId("tina"), Step.DEPARTED_SAFE)
    assert world.feed(left) == [tells("departed_safe", order__state=OrderState.CONFIRMED)]
    assert world.feed(left) == []


def test_an_order_is_rated_once_by_its_customer_also_long_after() -> None:
    world = World()
    world.join("tina")
    order = world.place()
    assert refused(world, e.OrderRated(order.order_id, ANNA, 5)) == "not_finished"
    world.accept("tina")
    world.steps(order, *ALL_STEPS)
    world.feed(e.OrderConfirmed(order.order_id, ANNA))
    world.tick(10_000)
    assert refused(world, e.OrderRated(order.order_id, ANNA, 5)) == "not_found"
    seq = max(x.seq for x in world.ledger.events)
    recalled = e.Recalled(world.ledger.orders[order.order_id], seq)
    assert refused(world, e.OrderRated(order.order_id, UserId("cus_eve"), 5, recalled=recalled)) == "not_found"
    world.feed(e.OrderRated(order.order_id, ANNA, 4, recalled=recalled))
    recalled = e.Recalled(world.ledger.orders[order.order_id], seq + 1)
    assert world.feed(e.OrderRated(order.order_id, ANNA, 4, recalled=recalled)) == []
    assert refused(world, e.OrderRated(order.order_id, ANNA, 5, recalled=recalled)) == "already_rated"
    assert world.ledger.technicians[UserId("tina")].rating_weight == 1.0


def test_a_technician_is_asked_for_one_order_at_a_time() -> None:
    world = World()
    world.join("tina")
    world.place()
    world.place()
    assert [o.technician for o in world.engine.live_offers()] == ["tina"]


def test_a_large_round_is_solved_elsewhere_and_each_pair_is_looked_at_again() -> None:
    settings = replace(DispatchSettings(), round=replace(RoundSettings(), inline_cells_max=1))
    world = World(settings)
    world.join("near", 400)
    world.join("far", 2_000)
    world.solve_later = True
    order = world.place()
    other = world.place()
    assert world.engine.live_offers() == []
    world.feed(e.OrderCancelled(order.order_id, ANNA))
    effects = world.solve()
    assert not any(isinstance(x, e.SendOffer) and x.order.order_id == order.order_id for x in effects)
    assert world.feed(e.RoundSolved("rnd_unknown", None)) == []
    while world.to_solve:
        effects += world.solve()
    assert asks("near", order__order_id=other.order_id) in effects
    assert offer_id(effects) == world.offer_of("near").offer_id


def test_a_round_whose_solver_failed_is_tried_again() -> None:
    settings = replace(DispatchSettings(), round=replace(RoundSettings(), inline_cells_max=1))
    world = World(settings)
    world.join("near", 400)
    world.join("far", 2_000)
    world.solve_later = True
    world.place()
    failed = world.to_solve.pop()
    world.feed(e.RoundSolved(failed.round_id, None))
    world.tick(3)
    assert asks("near") in world.solve()


def test_a_repeated_accept_of_an_order_that_was_taken_back_is_too_late() -> None:
    world = World()
    world.join("near", 500)
    order = world.place()
    offer = world.offer_of("near")
    world.accept("near")
    assert world.feed(e.OfferAccepted(offer.offer_id, UserId("near"))) == []
    world.feed(e.OrderReassigned(order.order_id, OPS, "flat tyre"))
    with pytest.raises(Conflict) as caught:
        world.feed(e.OfferAccepted(offer.offer_id, UserId("near")))
    assert caught.value.code == "offer_revoked"
    world.join("far", 2_000)
    world.tick(2)
    world.accept("far")
    with pytest.raises(Conflict) as caught:
        world.feed(e.OfferAccepted(offer.offer_id, UserId("near")))
    assert caught.value.code == "offer_taken"


def test_a_stored_technician_with_one_skill_too_many_does_not_keep_a_city_from_beginning() -> None:
    world = World()
    for i in range(13):
        skills = frozenset(f"s{5 * i + k:02}" for k in range(5) if 5 * i + k < 64)
        world.put(f"tec_{i:02}", skills=skills)
    world.join("zoe", skills=frozenset({"s00"}))
    # Another city's engine stores what this one could not know.
    zoe = replace(world.ledger.technicians[UserId("zoe")], skills=frozenset({"s00", "zither"}), version=9)
    world.ledger.technicians[UserId("zoe")] = zoe
    world.feed(e.TechnicianCopied(zoe))
    assert world.engine.technician(UserId("zoe")).skills == zoe.skills  # type: ignore[union-attr]
    world.restart()
    assert not world.engine.skill_bits.knows(["zither"])
    world.place(skills=("s00",))
    assert world.offer_of("zoe").technician == "zoe"


def test_a_full_city_learns_a_new_skill_once_nobody_has_an_old_one_and_every_order_goes_where_it_should() -> None:
    world = World()
    world.join("anna", 300, skills=frozenset(f"s{i:02}" for i in range(64)))
    world.join("zoe", 900, skills=frozenset({"s00"}))
    waiting = world.place(skills=("zither",))
    with pytest.raises(Invalid):
        world.put("zoe", skills=frozenset({"s00", "zither"}))
    bit = world.engine.skill_bits.mask(["s00"])
    world.put("anna", skills=frozenset(f"s{i:02}" for i in range(1, 63)))
    world.put("zoe", skills=frozenset({"s00", "zither"}))
    assert world.engine.skill_bits.mask(["s00"]) == bit, "zoe still has it"
    assert world.offer_of("zoe").order_id == waiting.order_id
    world.place(skills=("s63",), by=UserId("cus_bob"))  # its bit is zither's now
    assert world.engine.live_offer(UserId("anna")) is None
    world.put("anna", skills=frozenset({"s00"}), cities=("sh",))
    world.feed(e.DutySet(UserId("anna"), DutyState.OFF))
    world.put("zoe", skills=frozenset({"s00", "zither", *(f"t{i}" for i in range(62))}))


def test_an_offer_whose_order_is_not_stored_is_left_out() -> None:
    world = World()
    world.join("tina")
    world.place()
    offer = world.offer_of("tina")
    world.ledger.orders.clear()
    state = replace(world.ledger.state(world.now), offers=[offer])
    engine = world._new_engine()
    engine.load(state, world.now)
    engine.check()
    assert engine.live_offers() == []


def test_duty_in_a_city_that_is_not_served_any_more_has_ended() -> None:
    world = World()
    world.join("tina", cities=("hz", "gone"))
    stored = world.ledger.technicians[UserId("tina")]
    world.ledger.technicians[UserId("tina")] = replace(
        stored, duty_city=CityId("gone"), work=WorkState.BUSY, idle_since=None
    )
    world.served = frozenset({SHARD.city})
    world.restart()
    world.feed(e.DutySet(UserId("tina"), DutyState.ON))
    tina = world.ledger.technicians[UserId("tina")]
    assert (tina.duty, tina.duty_city, tina.work) == (DutyState.ON, SHARD.city, WorkState.IDLE)
    assert tina.version == stored.version + 1


def test_orders_that_waited_before_a_restart_are_matched_after_it_without_any_event() -> None:
    world = World()
    world.join("tina", 25_000)
    order = world.place()
    assert world.engine.waiting_len() == 1
    world.restart()
    world.seen(UserId("tina"), north(500))
    assert world.engine.next_deadline() == world.now
    assert asks("tina", offer__order_id=order.order_id) in world.tick(0)


def test_a_restart_with_nothing_waiting_wants_no_round() -> None:
    world = World()
    world.join("tina")
    world.restart()
    assert world.engine.next_deadline() is None
