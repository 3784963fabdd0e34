"""Orders for later: they wait for their lead time, over restarts too, and then look for a technician like any other."""

from dataclasses import replace

import pytest

from core.errors import Invalid
from core.ids import UserId
from dispatch import events as e
from dispatch.model import Order, OrderState
from dispatch.settings import DispatchSettings, ScheduleSettings
from tests.unit.dispatch.world import ANNA, OPS, T0, World, asks, draft, heard, north, tells

HOUR = 3_600.0
TINA = UserId("tina")


def booked_world(lead_s: float = HOUR, at: float = 4 * HOUR) -> tuple[World, Order]:
    """A technician who is there, and an order for later."""
    world = World(DispatchSettings(schedule=ScheduleSettings(lead_s=lead_s)))
    world.join("tina")
    order = world.place(scheduled_for=T0 + at)
    return world, order


def test_a_scheduled_order_waits_and_is_offered_a_lead_time_before_its_service() -> None:
    world, order = booked_world()
    assert order.state is OrderState.SCHEDULED
    assert order.scheduled_for == T0 + 4 * HOUR
    assert heard(world.tick(3 * HOUR - 1)) == []
    world.seen(TINA, north(500))
    effects = heard(world.tick(3 * HOUR))
    assert effects == [tells("matching", order__state=OrderState.MATCHING), asks("tina")]


def test_the_lead_time_is_kept_over_a_restart_and_one_that_passed_meanwhile_is_made_up_for() -> None:
    world, order = booked_world()
    world.restart()
    assert heard(world.tick(3 * HOUR - 1)) == []
    assert world.order(order.order_id).state is OrderState.SCHEDULED
    world.now = T0 + 3.5 * HOUR
    world.restart()
    world.seen(TINA, north(500))
    assert heard(world.tick(3.5 * HOUR)) == [tells("matching"), asks("tina")]


def test_an_order_for_soon_looks_for_its_technician_at_once() -> None:
    _, order = booked_world(at=HOUR)
    assert order.state is OrderState.MATCHING
    assert order.scheduled_for == T0 + HOUR


@pytest.mark.parametrize(
    ("at", "code"), [(-0.5, "scheduled_in_past"), (7 * 86_400 + 1.0, "scheduled_too_far")], ids=["past", "far"]
)
def test_a_time_that_no_order_may_have_is_refused_and_nothing_is_kept(at: float, code: str) -> None:
    world = World(DispatchSettings(schedule=ScheduleSettings(ahead_max_s=7 * 86_400.0)))
    with pytest.raises(Invalid) as caught:
        world.feed(e.OrderPlaced(draft(scheduled_for=T0 + at), ANNA))
    assert (caught.value.code, caught.value.field) == (code, "scheduled_for")
    assert world.ledger.orders == {}


@pytest.mark.parametrize("at", [0.0, 7 * 86_400.0], ids=["now", "the last moment"])
def test_the_bounds_themselves_are_allowed(at: float) -> None:
    world = World(DispatchSettings(schedule=ScheduleSettings(ahead_max_s=7 * 86_400.0)))
    assert world.place(scheduled_for=T0 + at).scheduled_for == T0 + at


def test_a_scheduled_order_that_nobody_takes_is_not_given_up_before_it_is_late() -> None:
    world = World(unfilled_after_s=600.0, schedule=ScheduleSettings(lead_s=HOUR))
    order = world.place(scheduled_for=T0 + 2 * HOUR)
    late_at = 2 * HOUR + ScheduleSettings().late_max_s
    world.tick(late_at - 1)
    assert world.order(order.order_id).state is OrderState.MATCHING
    world.tick(late_at)
    assert world.order(order.order_id).state is OrderState.UNFILLED


def test_whoever_becomes_free_a_little_after_the_time_of_a_scheduled_order_still_gets_it() -> None:
    world = World(unfilled_after_s=600.0, schedule=ScheduleSettings(lead_s=HOUR))
    order = world.place(scheduled_for=T0 + 2 * HOUR)
    world.tick(2 * HOUR + 300)
    world.join("tina", 400)
    world.tick(2 * HOUR + 303)
    assert world.offer_of("tina").order_id == order.order_id


def test_a_repeat_with_the_same_key_is_answered_although_its_time_has_passed() -> None:
    world = World()
    order = world.place(scheduled_for=T0 + 10, key="k")
    effects = world.feed(e.OrderPlaced(draft(scheduled_for=T0 + 10), ANNA, "k", "f"), at=20)
    assert [x.order_id for x in effects if isinstance(x, e.OrderRepeated)] == [order.order_id]


def test_a_scheduled_order_can_be_cancelled_while_it_waits() -> None:
    world, order = booked_world()
    assert heard(world.feed(e.OrderCancelled(order.order_id, ANNA))) == [tells("cancelled")]
    assert heard(world.tick(5 * HOUR)) == []


def test_an_order_taken_back_long_before_its_time_waits_for_its_lead_time_again() -> None:
    world, order = booked_world(lead_s=HOUR)
    world.tick(3 * HOUR - 1)
    world.seen(TINA, north(500))
    world.tick(3 * HOUR)
    world.accept("tina")
    later = replace(world.settings, schedule=ScheduleSettings(lead_s=60.0))
    world.settings = later  # the lead time was shortened meanwhile
    world.restart()
    effects = heard(world.feed(e.OrderReassigned(order.order_id, OPS)))
    assert effects == [tells("reassigned", order__state=OrderState.SCHEDULED, previous_technician="tina")]
    assert heard(world.tick(4 * HOUR - 60)) == [tells("matching")]


def test_an_order_given_to_somebody_long_before_its_time_can_be_taken_back_after_they_set_out() -> None:
    world, order = booked_world()
    world.feed(e.OrderAssigned(order.order_id, TINA, OPS, "asked for"))
    world.feed(e.StepTaken(order.order_id, OPS, e.Step.EN_ROUTE, staff=True, reason="asked for"))
    world.feed(e.OrderReassigned(order.order_id, OPS))
    assert world.order(order.order_id).state is OrderState.SCHEDULED
    assert tells("matching") in world.tick(3 * HOUR)
