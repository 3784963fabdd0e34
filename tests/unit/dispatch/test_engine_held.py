"""An order that is evidence of an incident is moved on by people only, and nobody else is sent to its place."""

from typing import Any

import pytest

from core.ids import OrderId, TenantId
from dispatch.events import Step
from dispatch.model import OrderState
from dispatch.settings import LostSettings, OverdueSettings
from tests.unit.dispatch.world import World

DAY_S = 86_400.0
STEPS = (Step.EN_ROUTE, Step.ARRIVED, Step.IN_SERVICE, Step.FINISHED, Step.DEPARTED_SAFE)


class Held:
    """Orders that are held, until they are not."""

    def __init__(self) -> None:
        self.orders: set[str] = set()

    def is_held(self, tenant: TenantId, order_id: OrderId, now: float) -> bool:
        return order_id in self.orders


def world_of(**settings: Any) -> tuple[World, Held]:
    world, held = World(**settings), Held()
    world.holds = held
    world.restart()
    return world, held


@pytest.mark.parametrize("is_held", [False, True])
def test_a_held_order_does_not_confirm_itself_until_it_is_let_go(is_held: bool) -> None:
    world, held = world_of(confirm_after_s=2 * DAY_S)
    world.join("tina")
    order = world.place()
    world.accept("tina")
    world.steps(order, *STEPS)
    if is_held:
        held.orders.add(order.order_id)
    world.tick(2 * DAY_S + 60)
    state = world.order(order.order_id).state
    assert state is (OrderState.DEPARTED_SAFE if is_held else OrderState.CONFIRMED)
    held.orders.clear()
    world.tick(2 * DAY_S + 800)
    assert world.order(order.order_id).state is OrderState.CONFIRMED


@pytest.mark.parametrize("is_held", [False, True])
def test_nobody_else_is_sent_to_the_place_of_an_incident(is_held: bool) -> None:
    world, held = world_of(lost=LostSettings(silent_s=80_000.0), overdue=OverdueSettings())
    world.join("tina")
    order = world.place()
    world.accept("tina")
    world.join("ben")
    if is_held:
        held.orders.add(order.order_id)
    world.tick(1_200)
    world.tick(3_600)
    assert (world.order(order.order_id).technician == "tina") is is_held
