"""Who finishes soon is a candidate from the place of the job: what remains of it and the way are one time to wait."""

import pytest

from core.ids import UserId
from dispatch import events as e
from dispatch import explaining
from dispatch.events import CloseReason, Step
from dispatch.model import DutyState, Order, OrderState, WorkState
from dispatch.settings import DispatchSettings, EligibilitySettings, ScheduleSettings
from tests.unit.dispatch.world import ALL_STEPS, ANNA, T0, World, asks, closes, draft, heard, north, tells

HOUR = 3_600.0
TINA = UserId("tina")


def working(chain_s: float = 600.0) -> tuple[World, Order]:
    """Tina, in service at the centre since the beginning of the world, for an hour."""
    world = World(DispatchSettings(schedule=ScheduleSettings(chain_s=chain_s)))
    world.join("tina", 0)
    order = world.place()
    world.accept("tina")
    world.steps(order, Step.EN_ROUTE, Step.ARRIVED, Step.IN_SERVICE)
    return world, world.order(order.order_id)


def work(world: World) -> WorkState:
    tina = world.engine.technician(TINA)
    assert tina is not None
    return tina.work


def test_who_finishes_soon_is_asked_and_comes_after_what_remains_and_the_way() -> None:
    world, first = working()
    world.tick(HOUR - 300)
    world.seen(TINA, None)  # the phone is heard; where it thinks it is does not matter
    order = world.place(at=north(1_000))
    offer = world.offer_of("tina")
    assert offer.order_id == order.order_id
    assert offer.travel_s == pytest.approx(300 + 60 + 250, abs=0.5)
    assert {t.name: t.seconds for t in offer.terms}["wait"] == pytest.approx(300)
    assert work(world) is WorkState.BUSY
    world.accept("tina")
    booked = world.order(order.order_id)
    assert (booked.state, booked.booked_for) == (OrderState.ASSIGNED, world.now + offer.travel_s)
    world.steps(first, Step.FINISHED, Step.DEPARTED_SAFE)
    assert work(world) is WorkState.IDLE
    world.steps(order, *ALL_STEPS)
    assert world.order(order.order_id).state is OrderState.DEPARTED_SAFE


def test_an_acceptance_is_judged_from_the_place_of_the_job_as_the_offer_was() -> None:
    world = World(DispatchSettings(eligibility=EligibilitySettings(papers=("health",))))
    world.join("tina", 0, papers={"health": T0 + 2 * HOUR + 200})
    first = world.place()
    world.accept("tina")
    world.steps(first, Step.EN_ROUTE, Step.ARRIVED, Step.IN_SERVICE)
    world.tick(HOUR)
    world.steps(first, Step.FINISHED)
    world.seen(TINA, north(9_000))  # from here they could not be done before the papers end
    order = world.place()
    assert world.offer_of("tina").travel_s < 200.0
    world.accept("tina")
    assert world.order(order.order_id).technician == TINA


def test_before_that_and_with_chaining_off_nobody_in_service_is_asked() -> None:
    for chain_s in (600.0, 0.0):
        world, _ = working(chain_s)
        world.tick(HOUR - 601 if chain_s else HOUR)
        world.seen(TINA, north(0))
        world.place(at=north(1_000))
        assert world.engine.live_offer(TINA) is None


def test_as_soon_as_it_is_near_enough_a_waiting_order_goes_to_them() -> None:
    world, _ = working()
    world.tick(HOUR - 700)
    world.place(at=north(1_000))
    world.seen(TINA, north(0))
    effects = heard(world.tick(HOUR - 598))
    assert asks("tina") in effects


def test_an_idle_technician_who_is_sooner_there_goes_first() -> None:
    world, _ = working()
    world.tick(HOUR - 300)
    world.seen(TINA, north(0))
    world.join("ben", 1_900)  # 60 + 475 s, and Tina 300 + 60 s
    assert heard(world.feed(e.OrderPlaced(draft(), ANNA)))[1:] == [asks("tina")]
    world.place(at=north(1_000))
    assert world.engine.live_offer(UserId("ben")) is not None


def test_a_job_that_ends_while_the_next_is_offered_leaves_the_offer_open() -> None:
    world, first = working()
    world.tick(HOUR - 300)
    world.seen(TINA, north(0))
    world.place(at=north(1_000))
    world.steps(first, Step.FINISHED, Step.DEPARTED_SAFE)
    assert work(world) is WorkState.OFFERED
    world.accept("tina")
    assert work(world) in (WorkState.BUSY, WorkState.IDLE)


def test_a_refused_offer_leaves_the_running_job_alone() -> None:
    world, first = working()
    world.tick(HOUR - 300)
    world.seen(TINA, north(0))
    world.place(at=north(1_000))
    world.feed(e.OfferDeclined(world.offer_of("tina").offer_id, TINA))
    assert work(world) is WorkState.BUSY
    world.steps(first, Step.FINISHED, Step.DEPARTED_SAFE)
    assert work(world) is WorkState.IDLE


def test_a_longer_service_withdraws_what_was_offered_for_afterwards() -> None:
    world, first = working()
    world.tick(HOUR - 300)
    world.seen(TINA, north(0))
    world.place(at=north(1_000))
    effects = heard(world.feed(e.TimeAdded(first.order_id, ANNA, 1_200.0)))
    assert effects[:2] == [tells("time_added"), closes("tina", CloseReason.REVOKED)]
    assert world.engine.live_offer(TINA) is None


def test_who_has_taken_what_follows_is_not_asked_for_more_nor_kept_longer() -> None:
    world, first = working()
    world.tick(HOUR - 300)
    world.seen(TINA, north(0))
    world.place(at=north(1_000))
    world.accept("tina")
    third = world.place(at=north(500))
    world.tick(HOUR - 299)
    assert world.engine.live_offer(TINA) is None
    told = explaining.explain(world.ledger.rounds[-1], third.order_id)
    assert [x.reason for x in told.excluded if x.technician == "tina"] == ["calendar"]
    with pytest.raises(Exception, match="booking follows"):
        world.feed(e.TimeAdded(first.order_id, ANNA, 1_200.0))


def test_the_chain_survives_a_restart_and_a_pause_ends_it() -> None:
    world, _ = working()
    world.tick(HOUR - 300)
    world.seen(TINA, north(0))
    world.place(at=north(1_000))
    world.restart()
    assert world.offer_of("tina").expires_at > T0
    assert work(world) is WorkState.BUSY
    effects = heard(world.feed(e.DutySet(TINA, DutyState.PAUSED)))
    assert effects == [closes("tina", CloseReason.REVOKED)]
