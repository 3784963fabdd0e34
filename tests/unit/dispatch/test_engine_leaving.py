"""The technician's word that they have left safely is kept, also when the customer was quicker to confirm."""

from typing import Any

import pytest

from core.errors import NotFound
from core.ids import UserId
from dispatch import events as e
from dispatch.events import Step
from dispatch.model import Order, OrderState, WorkState
from tests.unit.dispatch.world import ANNA, OPS, World, tells

TINA = UserId("tina")
STEPS = (Step.EN_ROUTE, Step.ARRIVED, Step.IN_SERVICE, Step.FINISHED)


def confirmed(world: World) -> Order:
    world.join("tina")
    order = world.place()
    world.accept("tina")
    world.steps(order, *STEPS)
    world.feed(e.OrderConfirmed(order.order_id, ANNA))
    return world.order(order.order_id)


def departures(world: World) -> list[dict[str, Any]]:
    return [event.detail for event in world.ledger.events if event.what == "departed_safe"]


def test_leaving_after_the_customer_has_confirmed_is_written_and_told_and_reopens_nothing() -> None:
    world = World()
    order = confirmed(world)
    world.now += 60.0
    effects = world.feed(e.StepTaken(order.order_id, TINA, Step.DEPARTED_SAFE))
    assert effects == [tells("departed_safe", order__state=OrderState.CONFIRMED, order__left_at=world.now)]
    after = world.order(order.order_id)
    assert (after.state, after.changed_at, after.left_at) == (OrderState.CONFIRMED, order.changed_at, world.now)
    last = world.ledger.events[-1]
    assert (last.what, last.who, last.at, last.state) == ("departed_safe", TINA, world.now, OrderState.CONFIRMED)
    assert last.detail["distance_m"] == pytest.approx(500.0, abs=1.0), "where they were, as with every step"
    assert world.ledger.orders[order.order_id] == after
    who = world.engine.technician(TINA)
    assert who is not None
    assert who.work is WorkState.IDLE


def test_it_is_written_once_and_also_across_a_restart() -> None:
    world = World()
    order = confirmed(world)
    world.restart()
    world.steps(order, Step.DEPARTED_SAFE)
    assert len(departures(world)) == 1
    world.restart()
    assert world.feed(e.StepTaken(order.order_id, TINA, Step.DEPARTED_SAFE)) == []
    assert len(departures(world)) == 1


def test_who_left_before_the_customer_confirmed_says_it_once() -> None:
    world = World()
    world.join("tina")
    order = world.place()
    world.accept("tina")
    world.steps(order, *STEPS, Step.DEPARTED_SAFE)
    assert world.order(order.order_id).left_at == world.now
    world.feed(e.OrderConfirmed(order.order_id, ANNA))
    assert world.feed(e.StepTaken(order.order_id, TINA, Step.DEPARTED_SAFE)) == []
    assert len(departures(world)) == 1


def test_only_its_technician_or_staff_with_a_reason_say_it() -> None:
    world = World()
    order = confirmed(world)
    world.join("ben", 900)
    with pytest.raises(NotFound):
        world.feed(e.StepTaken(order.order_id, UserId("ben"), Step.DEPARTED_SAFE))
    world.feed(e.StepTaken(order.order_id, OPS, Step.DEPARTED_SAFE, staff=True, reason="phoned her"))
    assert [detail["said"] for detail in departures(world)] == ["phoned her"]


def test_other_steps_of_a_confirmed_order_are_no_news() -> None:
    world = World()
    order = confirmed(world)
    for step in STEPS:
        assert world.feed(e.StepTaken(order.order_id, TINA, step)) == []
