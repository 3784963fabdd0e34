"""Whom a customer picked: woken if need be, and asked for a later order as soon as they can be."""

from typing import Any

import pytest

from core.ids import UserId
from dispatch import events as e
from dispatch.events import CloseReason
from dispatch.model import (
    DutyState,
    Fallback,
    Mode,
    Order,
    OrderState,
)
from dispatch.settings import EligibilitySettings
from tests.unit.dispatch.ways_to_give import (
    TOMORROW,
    WINDOW,
    a_city,
    closed,
    directed,
    everybody_acknowledges,
    live,
    refused,
    switch,
)
from tests.unit.dispatch.world import (
    ALL_STEPS,
    ANNA,
    T0,
    World,
    asks,
    closes,
    draft,
    heard,
    north,
    tells,
)


def test_a_pick_whose_phone_sleeps_is_offered_the_order_and_woken_and_nobody_else_s_order_goes_there() -> None:
    world = a_city(2, directed=WINDOW)
    world.tick(90)
    world.seen(UserId("t2"), north(800.0))
    world.seen(UserId("t1"), None, connected=False)  # on duty, without a socket, and last seen 90 s ago
    order = directed(world, "t1")
    asked = world.offer_of("t1")
    assert asked.order_id == order.order_id
    assert asked.distance_m == pytest.approx(400.0, abs=1.0)
    assert heard(world.tick(93)) == [closes("t1", CloseReason.UNDELIVERED)]
    assert heard(world.tick(100)) == []  # nothing was heard since
    world.seen(UserId("t1"), None)  # the phone woke up
    assert heard(world.tick(102)) == [asks("t1", offer__expires_at=T0 + 190.0)]
    world.seen(UserId("t1"), None, connected=False)
    everybody_acknowledges(world)
    world.feed(e.OfferDeclined(world.offer_of("t1").offer_id, UserId("t1")))
    world.place(by=UserId("cus_bob"))
    assert "t1" not in live(world)


def test_a_pick_whose_phone_stays_silent_falls_back_at_the_end_of_the_window() -> None:
    world = a_city(2, directed=WINDOW)
    world.seen(UserId("t1"), None, connected=False)
    directed(world, "t1")
    world.tick(90)
    world.seen(UserId("t2"), north(800.0))
    assert heard(world.tick(100)) == [tells("switched", order__mode=Mode.AUTO), asks("t2")]


def later(world: World, picked: str, at: float = TOMORROW, **facts: Any) -> Order:
    return world.place(mode=Mode.DIRECTED, technician=UserId(picked), scheduled_for=at, **facts)


def test_a_pick_for_tomorrow_is_asked_at_once_and_booked() -> None:
    world = a_city(2, directed=WINDOW)
    order = later(world, "t2")
    assert (world.order(order.order_id).state, live(world)) == (OrderState.MATCHING, ["t2"])
    assert world.offer_of("t2").expires_at == T0 + 100.0
    assert world.engine.next_deadline() is not None
    world.accept("t2")
    now = world.order(order.order_id)
    assert (now.state, now.booked_for) == (OrderState.ASSIGNED, TOMORROW)


@pytest.mark.parametrize("answer", ["declines", "lets it lapse"])
def test_a_pick_for_tomorrow_who_will_not_leaves_the_order_to_others_in_its_time(answer: str) -> None:
    world = a_city(2, directed=WINDOW)
    order = later(world, "t2")
    everybody_acknowledges(world)
    if answer == "declines":
        effects = world.feed(e.OfferDeclined(world.offer_of("t2").offer_id, UserId("t2")))
    else:
        effects = world.tick(100.001)
    assert tells("switched", order__mode=Mode.AUTO, order__state=OrderState.SCHEDULED) in effects
    assert live(world) == []
    world.tick(82_799)
    world.seen(UserId("t1"), north(400.0))
    assert heard(world.tick(82_800)) == [tells("matching"), asks("t1", order__order_id=order.order_id)]


def test_a_customer_who_wants_nobody_else_tomorrow_knows_today() -> None:
    world = a_city(2, directed=WINDOW)
    order = later(world, "t2", fallback=Fallback.CANCEL)
    world.feed(e.OfferDeclined(world.offer_of("t2").offer_id, UserId("t2")))
    ended = world.order(order.order_id)
    assert (ended.state, ended.reason) == (OrderState.CANCELLED, "picked_refused")


def test_a_pick_who_is_off_duty_or_busy_is_asked_when_they_are_there() -> None:
    world = a_city(1, directed=WINDOW)
    world.put("t2")
    order = later(world, "t2")
    assert world.order(order.order_id).state is OrderState.SCHEDULED
    assert heard(world.tick(5_000)) == []
    world.feed(e.DutySet(UserId("t2"), DutyState.ON))
    world.seen(UserId("t2"), north(800.0))
    running = world.place(by=UserId("cus_bob"))
    world.accept("t2")
    assert world.order(order.order_id).state is OrderState.SCHEDULED
    world.steps(running, *ALL_STEPS)
    assert world.offer_of("t2").order_id == order.order_id


def test_the_window_of_a_pick_who_is_not_there_yet_begins_when_they_are_and_leaves_half_of_the_time_to_others() -> None:
    world = a_city(1, directed=WINDOW)
    world.put("t2")
    order = later(world, "t2", T0 + 4_000.0)
    world.tick(1_000)  # the lead time before
    assert world.order(order.order_id).state is OrderState.MATCHING
    world.feed(e.DutySet(UserId("t2"), DutyState.ON))
    world.seen(UserId("t2"), north(800.0))
    world.tick(1_003)
    assert world.offer_of("t2").expires_at == pytest.approx(world.now + 100.0, abs=3.0)
    world.feed(e.DutySet(UserId("t2"), DutyState.PAUSED))
    assert world.order(order.order_id).mode is Mode.DIRECTED
    world.tick(2_199)
    assert world.order(order.order_id).mode is Mode.DIRECTED
    world.seen(UserId("t1"), north(400.0))
    assert heard(world.tick(2_200)) == [tells("switched", order__mode=Mode.AUTO), asks("t1")]


def test_two_customers_never_hold_the_same_pick_for_the_same_hour_unknowing() -> None:
    world = a_city(2, directed=WINDOW)
    first = later(world, "t2")
    second = later(world, "t2", by=UserId("cus_bob"))
    clear = later(world, "t2", TOMORROW + 20_000.0, by=UserId("cus_cem"))
    assert [world.order(o.order_id).state.value for o in (first, second, clear)] == ["matching", *["scheduled"] * 2]
    effects = heard(world.accept("t2"))
    told = tells("switched", order__order_id=second.order_id, order__mode=Mode.AUTO, order__state=OrderState.SCHEDULED)
    assert told in effects
    assert world.offer_of("t2").order_id == clear.order_id
    error = refused(
        world, e.OrderPlaced(draft(mode=Mode.DIRECTED, technician=UserId("t2"), scheduled_for=TOMORROW), ANNA)
    )
    assert (error.code, "calendar" in error.message) == ("filter_failed", True)


@pytest.mark.parametrize(
    ("lacking", "facts", "wishes"),
    [("tier", {"tier": ""}, {"tier_min": "gold"}), ("papers", {"papers": {"health": T0 + 5.0}}, {})],
)
def test_a_pick_that_waiting_cannot_help_is_refused_at_once(
    lacking: str, facts: dict[str, Any], wishes: dict[str, Any]
) -> None:
    world = World(eligibility=EligibilitySettings(papers=("health",)))
    world.join("t1", **({"tier": "gold", "papers": {"health": T0 + 900_000.0}} | facts))
    for at in (None, TOMORROW):
        wanted = draft(mode=Mode.DIRECTED, technician=UserId("t1"), scheduled_for=at, **wishes)
        error = refused(world, e.OrderPlaced(wanted, ANNA))
        assert (error.code, lacking in error.message) == ("filter_failed", True)


def test_a_pick_for_tomorrow_whose_phone_does_not_wake_is_asked_again_later_and_not_all_day() -> None:
    world = a_city(1, directed=WINDOW)
    world.seen(UserId("t1"), None, connected=False)
    order = later(world, "t1")
    effects = heard(world.tick(100))
    assert effects == [closes("t1", CloseReason.UNDELIVERED), tells("scheduled", order__mode=Mode.DIRECTED)]
    assert heard(world.tick(40_000)) == []
    world.restart()
    world.feed(e.DutySet(UserId("t1"), DutyState.PAUSED))
    world.seen(UserId("t1"), north(400.0))
    world.feed(e.DutySet(UserId("t1"), DutyState.ON))
    assert world.offer_of("t1").order_id == order.order_id


def test_an_order_asked_early_that_staff_have_looked_for_in_another_way_waits_for_its_time() -> None:
    world = a_city(3, directed=WINDOW)
    order = later(world, "t2")
    effects = heard(switch(world, order, Mode.AUTO))
    assert effects == [
        tells("switched", order__mode=Mode.AUTO, order__state=OrderState.SCHEDULED),
        closes("t2", CloseReason.REVOKED),
    ]
    switch(world, order, Mode.DIRECTED, technician=UserId("t3"))
    assert live(world) == ["t3"]
    assert world.order(order.order_id).state is OrderState.MATCHING


def test_a_pick_is_asked_again_when_the_customer_moves_the_order_to_another_time() -> None:
    world = a_city(2, directed=WINDOW)
    order = later(world, "t2")
    world.receive("t2")
    effects = heard(world.feed(e.Rescheduled(order.order_id, ANNA, TOMORROW + 7_200.0)))
    assert closed(effects) == {"t2": CloseReason.REVOKED}
    assert asks("t2", order__scheduled_for=TOMORROW + 7_200.0) in effects
