"""A technician who falls silent before they arrive: the order goes to somebody else, or staff are told."""

import numpy as np
import pytest

from core.ids import UserId
from dispatch import events as e
from dispatch.events import Step
from dispatch.model import DutyState, Mode, Order, OrderState
from dispatch.settings import DispatchSettings, LostSettings, OverdueSettings, ScheduleSettings
from tests.unit.dispatch.world import ANNA, OPS, T0, World, asks, draft, heard, north, tells

TINA, BEN = UserId("tina"), UserId("ben")
HOUR = 3_600.0


def world_of(*, repair: bool = True) -> World:
    lost = LostSettings(silent_s=300.0, repair=repair, booked_check_s=1_800.0)
    late = OverdueSettings(grace_s=86_400.0)  # not what these are about
    return World(DispatchSettings(lost=lost, overdue=late, schedule=ScheduleSettings(lead_s=4 * HOUR)))


def taken(world: World, *steps: Step) -> Order:
    world.join("tina")
    order = world.place()
    world.accept("tina")
    world.steps(order, *steps)
    return order


@pytest.mark.parametrize("steps", [(), (Step.EN_ROUTE,)], ids=["assigned", "en_route"])
def test_an_order_whose_technician_is_silent_goes_to_somebody_else(steps: tuple[Step, ...]) -> None:
    world = world_of()
    order = taken(world, *steps)
    world.tick(200)
    world.seen(TINA, north(300))
    assert heard(world.tick(499)) == []
    world.join("ben", 2_000)
    effects = heard(world.tick(500))
    lost = tells("reassigned", previous_technician="tina", order__reason="technician_lost")
    assert effects == [lost, asks("ben")]
    again = world.order(order.order_id)
    assert (again.placed_at, again.lost_by) == (order.placed_at, ("tina",))


def test_who_has_arrived_may_be_silent() -> None:
    world = world_of()
    taken(world, Step.EN_ROUTE, Step.ARRIVED)
    assert heard(world.tick(5_000)) == []


def test_staff_are_told_once_and_again_when_the_technician_is_back() -> None:
    world = world_of(repair=False)
    order = taken(world)
    assert heard(world.tick(2_000)) == [tells("technician_lost")]
    assert world.order(order.order_id).lost_at == T0 + 300
    assert world.order(order.order_id).state is OrderState.ASSIGNED
    world.restart()
    world.tick(2_100)
    world.seen(TINA, north(0))
    assert heard(world.tick(2_399)) == [tells("technician_back", order__lost_at=None)]
    assert heard(world.tick(3_000)) == [tells("technician_lost")]
    world.feed(e.OrderReassigned(order.order_id, OPS))
    assert world.order(order.order_id).lost_at is None


def test_nobody_is_lost_for_the_time_in_which_the_server_was_down() -> None:
    world = world_of()
    order = taken(world)
    world.now = T0 + 9_000
    world.index.heard_at[:] = -np.inf
    world.restart()
    world.index.heard_at[:] = -np.inf
    world.tick(9_299)
    assert world.order(order.order_id).state is OrderState.ASSIGNED
    world.tick(9_300)
    assert world.order(order.order_id).state is OrderState.MATCHING


def test_a_booked_job_is_looked_after_only_shortly_before_its_time() -> None:
    world = world_of()
    world.join("tina")
    order = world.place(scheduled_for=T0 + 2 * HOUR)
    world.accept("tina")
    world.feed(e.DutySet(TINA, DutyState.OFF))
    world.tick(1.5 * HOUR - 1)
    assert world.order(order.order_id).technician == TINA
    assert tells("reassigned", previous_technician="tina") in world.tick(1.5 * HOUR)


def test_an_order_that_lost_its_technician_goes_before_one_that_came_later() -> None:
    world = world_of()
    first = taken(world)
    world.tick(299)
    world.feed(e.OrderPlaced(draft(north(1_000)), ANNA))
    world.tick(300)  # the first is taken back
    world.join("ben", 1_000)  # much nearer to the second
    world.tick(303)
    assert world.offer_of("ben").order_id == first.order_id


def test_whom_staff_have_chosen_keeps_the_order_however_silent() -> None:
    world = world_of()
    world.join("tina")
    world.join("ben", 900)
    order = world.place(mode=Mode.MANUAL)
    world.feed(e.OrderAssigned(order.order_id, TINA, OPS, "knows the house"))
    assert tells("technician_lost") in world.tick(1_000)
    assert world.order(order.order_id).technician == TINA
