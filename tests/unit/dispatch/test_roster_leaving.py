"""Who asks to leave duty in a job leaves once it is over, and is asked for nothing more meanwhile."""

import pytest

from core.errors import Conflict
from core.ids import UserId
from dispatch import events as e
from dispatch.events import CloseReason, Step
from dispatch.model import DutyState, Mode, Order, OrderState
from dispatch.settings import LostSettings, OverdueSettings, ScheduleSettings
from tests.unit.dispatch.world import ALL_STEPS, OPS, T0, World, asks, closes, heard, north

TINA, BEN = UserId("tina"), UserId("ben")
BOB = UserId("cus_bob")
NEAR_THE_END = (Step.EN_ROUTE, Step.ARRIVED, Step.IN_SERVICE)


def duty(world: World, user: UserId = TINA) -> DutyState:
    return world.ledger.technicians[user].duty


def in_job(world: World, *steps: Step) -> Order:
    world.join("tina")
    order = world.place()
    world.accept("tina")
    world.steps(order, *steps)
    return order


def leaves(world: World) -> None:
    world.feed(e.DutySet(TINA, DutyState.OFF))


def with_one_to_follow(world: World) -> tuple[Order, Order]:
    """Tina serves one order, and has accepted what comes after it."""
    running = in_job(world, *NEAR_THE_END)
    world.tick(3_300)
    world.seen(TINA, north(0))
    following = world.place(by=BOB)
    world.accept("tina")
    assert world.order(following.order_id).booked_for is not None
    return running, following


@pytest.mark.parametrize("restarts", [False, True])
def test_duty_ends_with_the_job_also_over_a_restart(restarts: bool) -> None:
    world = World()
    order = in_job(world, *NEAR_THE_END)
    leaves(world)
    assert (duty(world), TINA in world.index) == (DutyState.ENDING, True)
    leaves(world)  # said twice
    assert duty(world) is DutyState.ENDING
    if restarts:
        world.restart()
    world.steps(order, Step.FINISHED)
    assert duty(world) is DutyState.ENDING  # they are still in somebody's home
    effects = world.feed(e.StepTaken(order.order_id, TINA, Step.DEPARTED_SAFE))
    assert duty(world) is DutyState.OFF
    assert [x.shard for x in effects if isinstance(x, e.DutyChanged)] == [None]
    assert TINA not in world.index
    world.place(by=BOB)
    assert world.engine.live_offers() == []


@pytest.mark.parametrize("end", ["confirmed", "cancelled", "taken back", "left by time"])
def test_duty_ends_however_the_job_does(end: str) -> None:
    world = World()
    finished = end in ("confirmed", "left by time")
    order = in_job(world, *(NEAR_THE_END if finished else (Step.EN_ROUTE,)))
    leaves(world)
    if finished:
        world.steps(order, Step.FINISHED)
    assert duty(world) is DutyState.ENDING
    if end == "confirmed":
        world.feed(e.OrderConfirmed(order.order_id, order.customer))
    elif end == "cancelled":
        world.feed(e.OrderCancelled(order.order_id, order.customer))
    elif end == "taken back":
        world.feed(e.OrderReassigned(order.order_id, OPS))
    else:
        world.tick(world.settings.overdue.leave_s)
    assert duty(world) is DutyState.OFF


def test_who_is_leaving_is_not_asked_for_what_would_follow_and_loses_its_open_offer() -> None:
    world = World()
    in_job(world, *NEAR_THE_END)
    world.tick(3_300)
    world.seen(TINA, north(0))
    order = world.place(by=BOB)
    assert world.offer_of("tina").order_id == order.order_id
    assert heard(world.feed(e.DutySet(TINA, DutyState.OFF))) == [closes("tina", CloseReason.REVOKED)]
    world.tick(3_400)
    world.seen(TINA, north(0))
    assert world.engine.live_offers() == []
    assert world.order(order.order_id).state is OrderState.MATCHING
    assert asks("tina") in world.feed(e.DutySet(TINA, DutyState.ON))  # the wish is taken back
    assert duty(world) is DutyState.ON


def test_what_is_booked_to_follow_directly_is_done_first() -> None:
    world = World()
    running, following = with_one_to_follow(world)
    leaves(world)
    world.steps(running, Step.FINISHED, Step.DEPARTED_SAFE)
    assert duty(world) is DutyState.ENDING
    world.steps(following, *ALL_STEPS)
    assert world.order(following.order_id).technician == TINA
    assert duty(world) is DutyState.OFF


def test_duty_ends_when_what_was_to_follow_is_called_off() -> None:
    world = World()
    running, following = with_one_to_follow(world)
    leaves(world)
    world.steps(running, Step.FINISHED, Step.DEPARTED_SAFE)
    world.feed(e.OrderCancelled(following.order_id, BOB))
    assert duty(world) is DutyState.OFF


def test_a_job_of_tomorrow_keeps_nobody_on_duty() -> None:
    world = World(
        schedule=ScheduleSettings(lead_s=100_000.0),
        lost=LostSettings(silent_s=80_000.0),
        overdue=OverdueSettings(grace_s=86_400.0),
    )
    world.join("tina")
    later = world.place(scheduled_for=T0 + 80_000.0)
    world.accept("tina")
    order = world.place(by=BOB)
    world.accept("tina")
    leaves(world)
    world.steps(order, *ALL_STEPS)
    assert duty(world) is DutyState.OFF
    assert world.order(later.order_id).technician == TINA


def test_staff_cannot_give_a_job_of_now_to_who_is_leaving_and_idle_people_leave_at_once() -> None:
    world = World()
    running, _ = with_one_to_follow(world)
    leaves(world)
    world.steps(running, Step.FINISHED, Step.DEPARTED_SAFE)
    by_hand = world.place(by=BOB, mode=Mode.MANUAL)
    with pytest.raises(Conflict, match="off_duty"):
        world.feed(e.OrderAssigned(by_hand.order_id, TINA, OPS, "near"))
    world.join("ben")
    world.feed(e.DutySet(BEN, DutyState.OFF))
    assert duty(world, BEN) is DutyState.OFF
    with pytest.raises(Conflict) as caught:
        world.feed(e.DutySet(BEN, DutyState.ENDING))
    assert caught.value.code == "not_on_duty"


def test_leaving_said_again_once_the_job_is_finished_is_no_news_and_keeps_what_follows() -> None:
    world = World()
    running, following = with_one_to_follow(world)
    leaves(world)
    world.steps(running, Step.FINISHED)
    leaves(world)
    assert (duty(world), world.engine.is_job(world.order(running.order_id))) == (DutyState.ENDING, True)
    world.steps(running, Step.DEPARTED_SAFE)
    assert duty(world) is DutyState.ENDING
    world.steps(following, *ALL_STEPS)
    assert duty(world) is DutyState.OFF


def test_leaving_said_first_once_the_job_is_finished_keeps_what_follows() -> None:
    world = World()
    running, following = with_one_to_follow(world)
    world.steps(running, Step.FINISHED)
    leaves(world)
    assert (duty(world), world.engine.is_job(world.order(running.order_id))) == (DutyState.ENDING, False)
    world.steps(following, *ALL_STEPS)
    assert duty(world) is DutyState.OFF


def test_a_phone_that_says_again_that_it_is_on_duty_does_not_leave_the_customer() -> None:
    world = World()
    order = in_job(world, *NEAR_THE_END, Step.FINISHED)
    assert world.feed(e.DutySet(TINA, DutyState.ON)) == []
    assert world.engine.is_job(world.order(order.order_id))
