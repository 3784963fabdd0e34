"""Jobs that do not go on although their technician is heard: they are reminded, staff are told, somebody else comes."""

from typing import Any

import pytest

from core.errors import Conflict
from core.ids import UserId
from dispatch import events as e
from dispatch.events import News, Step
from dispatch.invariants import BrokenInvariant
from dispatch.model import CancellationStage, DutyState, Mode, Order, OrderState, WorkState
from dispatch.settings import LostSettings, OverdueSettings, ScheduleSettings
from tests.unit.dispatch.world import ANNA, OPS, T0, Like, World, asks, heard, north, tells

TINA, BEN = UserId("tina"), UserId("ben")
HOUR = 3_600.0
LATE = Like(e.JobNews, what=News.OVERDUE)
STEPS = (Step.EN_ROUTE, Step.ARRIVED, Step.IN_SERVICE, Step.FINISHED)


def world_of(**overdue: Any) -> World:
    """Phones are heard all the while, whatever their owners do."""
    return World(
        lost=LostSettings(silent_s=80_000.0),
        schedule=ScheduleSettings(lead_s=48 * HOUR),
        overdue=OverdueSettings(**overdue),
    )


def taken(world: World, *steps: Step, **facts: Any) -> Order:
    world.join("tina")
    order = world.place(**facts)
    world.accept("tina")
    world.steps(order, *steps)
    return order


def news(effects: list[e.Effect]) -> list[e.Effect]:
    return [x for x in effects if isinstance(x, e.JobNews)] + heard(effects)


def test_who_does_not_set_out_is_reminded_and_then_the_order_goes_to_somebody_else() -> None:
    world = world_of()
    order = taken(world)
    assert news(world.tick(299)) == []
    assert news(world.tick(300)) == [LATE]
    assert news(world.tick(899)) == []
    world.join("ben", 2_000)
    effects = news(world.tick(900))
    assert effects == [tells("reassigned", previous_technician="tina", order__reason="not_set_out"), asks("ben")]
    assert world.order(order.order_id).placed_at == order.placed_at


def test_who_sets_out_after_the_reminder_keeps_the_order() -> None:
    world = world_of()
    order = taken(world)
    world.tick(300)
    world.steps(order, Step.EN_ROUTE)
    assert tells("reassigned") not in world.tick(5_000)
    assert world.order(order.order_id).technician == TINA


def test_without_repair_staff_are_told_again_more_and_more_rarely() -> None:
    world = world_of(repair=False)
    order = taken(world)
    told = [at for at in range(100, 8_000, 100) if LATE in world.tick(at)]
    assert told == [300, 1_200, 2_100, 3_900, 7_500]
    assert world.order(order.order_id).technician == TINA


def test_a_booked_job_must_be_set_out_for_in_time() -> None:
    world = world_of()
    order = taken(world, scheduled_for=T0 + 2 * HOUR)  # 185 s away
    begins_s = 2 * HOUR - 185.0
    assert news(world.tick(begins_s - 1)) == []
    assert news(world.tick(begins_s)) == [LATE]
    assert tells("reassigned", order__reason="not_set_out") in world.tick(begins_s + 600)
    assert world.order(order.order_id).lost_by == (TINA,)


def test_a_service_that_overruns_into_a_booking_is_told_and_the_booking_goes_to_somebody_else() -> None:
    world = world_of()
    later = taken(world, scheduled_for=T0 + 2 * HOUR)
    running = world.place()
    world.accept("tina")
    world.steps(running, *STEPS[:3])
    overrun = Like(e.JobNews, what=News.OVERDUE, order__order_id=running.order_id)
    assert overrun in world.tick(HOUR + 300)
    assert Like(e.JobNews, what=News.OVERDUE, order__order_id=later.order_id) in world.tick(2 * HOUR)
    world.tick(2 * HOUR - 185 + 599)
    world.join("ben", 2_000)
    assert asks("ben") in world.tick(2 * HOUR - 185 + 600)


def test_time_that_was_added_is_no_overrun() -> None:
    world = world_of()
    order = taken(world, *STEPS[:3])
    world.feed(e.TimeAdded(order.order_id, ANNA, 1_200.0))
    assert LATE not in world.tick(HOUR + 1_499)
    assert LATE in world.tick(HOUR + 1_500)


def test_a_reminder_survives_a_restart_and_downtime_takes_no_order_away() -> None:
    world = world_of()
    order = taken(world)
    world.tick(300)
    world.now = T0 + 5_000
    world.restart()
    assert LATE not in world.tick(5_599)
    assert world.order(order.order_id).technician == TINA
    assert tells("reassigned") in world.tick(5_600)


@pytest.mark.parametrize("steps", range(5), ids=["assigned", *STEPS])
def test_something_comes_of_an_order_in_every_state(steps: int) -> None:
    world = world_of()
    order = taken(world, *STEPS[:steps])
    world.engine.check()
    for due, id_ in list(world.engine._deadlines._current):
        if id_ == order.order_id:
            world.engine._deadlines.drop(due, id_)
    with pytest.raises(BrokenInvariant, match="without a next event"):
        world.engine.check()


# -- early --------------------------------------------------------------------------------------------------


def test_nobody_sets_out_a_day_early() -> None:
    world = world_of()
    order = taken(world, scheduled_for=T0 + 24 * HOUR)
    with pytest.raises(Conflict, match="set out in") as caught:
        world.steps(order, Step.EN_ROUTE)
    assert caught.value.code == "too_early"
    world.tick(24 * HOUR - 185 - 1_800)
    world.seen(TINA, north(500))
    world.steps(order, Step.EN_ROUTE)
    assert world.order(order.order_id).state is OrderState.EN_ROUTE


def test_staff_may_send_somebody_early_and_the_customer_does_not_pay_for_it() -> None:
    world = world_of()
    order = taken(world, scheduled_for=T0 + 24 * HOUR)
    world.feed(e.StepTaken(order.order_id, OPS, Step.EN_ROUTE, staff=True, reason="they are in the area"))
    quoted = world.engine.cancellation(world.order(order.order_id), world.now, staff=False)
    assert (quoted.stage, quoted.fee_fen) == (CancellationStage.ASSIGNED_EARLY, 0)


# -- the end ------------------------------------------------------------------------------------------------


def work(world: World) -> WorkState:
    known = world.engine.technician(TINA)
    assert known is not None
    return known.work


def test_who_has_finished_and_says_nothing_is_free_after_a_while() -> None:
    world = world_of()
    order = taken(world, *STEPS)
    world.tick(1_799)
    assert work(world) is WorkState.BUSY
    assert tells("technician_freed", order__state=OrderState.FINISHED) in world.tick(1_800)
    assert work(world) is WorkState.IDLE
    world.restart()
    assert work(world) is WorkState.IDLE
    world.seen(TINA, north(500))
    second = world.place()
    world.accept("tina")
    world.steps(order, Step.DEPARTED_SAFE)
    assert world.order(order.order_id).state is OrderState.DEPARTED_SAFE
    assert world.order(second.order_id).technician == TINA
    assert work(world) is WorkState.BUSY


@pytest.mark.parametrize("duty", [DutyState.OFF, DutyState.PAUSED])
def test_who_has_finished_and_sets_duty_has_left(duty: DutyState) -> None:
    world = world_of()
    order = taken(world, *STEPS)
    effects = world.feed(e.DutySet(TINA, duty))
    assert tells("technician_freed", order__order_id=order.order_id) in effects
    assert work(world) is WorkState.IDLE


@pytest.mark.parametrize(("steps", "code"), [(2, "order_arrived"), (3, "order_in_service"), (4, "order_finished")])
def test_an_order_that_cannot_be_taken_back_says_why(steps: int, code: str) -> None:
    world = world_of()
    order = taken(world, *STEPS[:steps])
    with pytest.raises(Conflict) as caught:
        world.feed(e.OrderReassigned(order.order_id, OPS))
    assert caught.value.code == code


def test_whom_staff_have_chosen_keeps_the_order_and_staff_are_told() -> None:
    world = world_of()
    world.join("tina")
    world.join("ben", 900)
    order = world.place(mode=Mode.MANUAL)
    world.feed(e.OrderAssigned(order.order_id, TINA, OPS, "knows the house"))
    effects = world.tick(4_000)
    assert LATE in effects
    kept = world.order(order.order_id)
    assert (kept.technician, kept.mode, kept.pinned_by) == (TINA, Mode.MANUAL, OPS)
