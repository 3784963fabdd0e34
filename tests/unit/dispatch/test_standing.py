"""What was true when an offer was made is looked at again before anybody acts on it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from core.errors import Conflict
from core.ids import UserId
from dispatch import events as e
from dispatch.events import CloseReason, News, Step
from dispatch.model import Gender, Order, OrderState
from dispatch.settings import EligibilitySettings, RoundSettings, ScheduleSettings
from geo.position_index import Flag
from tests.unit.dispatch.world import ANNA, OPS, T0, Like, World, asks, closes, draft, heard, north

TINA, BEN = UserId("tina"), UserId("ben")
HOUR = 3_600.0
PAPERS = EligibilitySettings(papers=("health",))

CHANGES: dict[str, dict[str, Any]] = {
    "unverified": {"verified": False},
    "city": {"cities": ("sh",)},
    "skill": {"skills": frozenset({"nails"})},
    "gender": {"gender": Gender.MALE},
    "tier": {"tier": ""},
    "papers": {"papers": {}},
    "service": {"services": ("nails",)},
}
every_change = pytest.mark.parametrize(("name", "change"), CHANGES.items(), ids=CHANGES)


def world_of(**changes: Any) -> World:
    world = World(eligibility=PAPERS, schedule=ScheduleSettings(lead_s=4 * HOUR), **changes)
    world.join("tina", **GOOD)
    return world


GOOD: dict[str, Any] = {"tier": "gold", "papers": {"health": T0 + 30 * HOUR}}
WANTED: dict[str, Any] = {"tier_min": "silver", "gender_preference": Gender.FEMALE}


@every_change
def test_an_offer_is_withdrawn_when_the_record_does_not_fit_it_any_more(name: str, change: dict[str, Any]) -> None:
    world = world_of()
    order = world.place(**WANTED)
    assert closes("tina", CloseReason.REVOKED) in world.put("tina", **(GOOD | change))
    assert world.order(order.order_id).state is OrderState.MATCHING
    assert name


@every_change
def test_a_record_changed_in_another_city_withdraws_the_offer_too(name: str, change: dict[str, Any]) -> None:
    world = world_of()
    world.place(**WANTED)
    known = world.engine.technician(TINA)
    assert known is not None
    there = replace(known, version=known.version + 1, **change)
    assert closes("tina", CloseReason.REVOKED) in world.feed(e.TechnicianCopied(there))
    assert name


def test_a_change_that_speaks_against_nothing_leaves_the_offer() -> None:
    world = world_of()
    world.place(**WANTED)
    assert heard(world.put("tina", **(GOOD | {"own_transport": True, "tier": "silver"}))) == []
    world.accept("tina")


def test_papers_that_end_while_a_technician_thinks_stop_the_acceptance() -> None:
    world = World(eligibility=PAPERS)
    world.join("tina", papers={"health": T0 + HOUR + 190})  # long enough for the way and the job from now
    order = world.place()
    world.receive("tina")
    world.tick(15)
    with pytest.raises(Conflict, match="papers") as caught:
        world.accept("tina")
    assert caught.value.code == "no_longer_fits"
    assert world.order(order.order_id).state is OrderState.MATCHING


def booked(world: World, **facts: Any) -> Order:
    order = world.place(scheduled_for=T0 + 2 * HOUR, **facts)
    world.accept("tina")
    return order


@every_change
def test_staff_hear_of_a_booking_that_the_record_does_not_fit_and_nobody_sets_out(
    name: str, change: dict[str, Any]
) -> None:
    world = world_of()
    order = booked(world, **WANTED)
    news = Like(e.JobNews, what=News.UNFIT, order__order_id=order.order_id)
    assert news in world.put("tina", **(GOOD | change))
    assert world.ledger.events[-1].detail == {"technician": "tina", "lacking": name}
    assert news not in world.put("tina", **(GOOD | change | {"own_transport": True}))  # once
    world.tick(1.45 * HOUR)
    world.seen(TINA, north(500))
    with pytest.raises(Conflict) as caught:
        world.steps(order, Step.EN_ROUTE)
    assert caught.value.code == "no_longer_fits"
    world.put("tina", **GOOD)
    world.steps(order, Step.EN_ROUTE)


def test_who_sells_their_car_loses_an_offer_at_night_and_staff_hear_of_a_booking() -> None:
    # The world begins at thirteen minutes past ten in the evening.
    for is_copy in (False, True):
        world = World(
            eligibility=EligibilitySettings(night_walk_max_m=300.0), schedule=ScheduleSettings(lead_s=4 * HOUR)
        )
        world.join("tina", own_transport=True)
        order = booked(world)
        world.place()
        known = world.engine.technician(TINA)
        assert known is not None
        there = e.TechnicianCopied(replace(known, version=known.version + 1, own_transport=False))
        effects = world.feed(there) if is_copy else world.put("tina")
        assert Like(e.JobNews, what=News.UNFIT, order__order_id=order.order_id) in effects
        assert closes("tina", CloseReason.REVOKED) in effects
        told = [event.detail for event in world.ledger.events if event.what == News.UNFIT]
        assert told == [{"technician": "tina", "lacking": "night_transport"}]


def test_who_was_given_a_booking_in_spite_of_a_wish_may_set_out() -> None:
    world = world_of()
    order = world.place(scheduled_for=T0 + 2 * HOUR, gender_preference=Gender.MALE)
    world.feed(e.OrderAssigned(order.order_id, TINA, OPS, "agreed by telephone", ("gender",)))
    world.tick(1.45 * HOUR)
    world.seen(TINA, north(500))
    world.steps(order, Step.EN_ROUTE)
    assert world.order(order.order_id).state is OrderState.EN_ROUTE


def unverified(world: World) -> None:
    world.put("tina", **(GOOD | {"verified": False}))


def unskilled(world: World) -> None:
    world.put("tina", **(GOOD | {"skills": frozenset({"nails"})}))


def without_papers(world: World) -> None:
    world.put("tina", **(GOOD | {"papers": {}}))


def another_gender(world: World) -> None:
    world.put("tina", **(GOOD | {"gender": Gender.MALE}))


def out_of_sight(world: World) -> None:
    slot = world.index.claim(TINA)
    world.index.set_flags(slot, clear=int(Flag.CONNECTED))


def long_ago(world: World) -> None:
    world.now += 100.0


@pytest.mark.parametrize("meanwhile", [unverified, unskilled, without_papers, another_gender, out_of_sight, long_ago])
def test_a_pair_found_in_a_thread_must_still_fit(meanwhile: Callable[[World], None]) -> None:
    world = world_of(round=replace(RoundSettings(), inline_cells_max=1))
    world.join("ben", 9_000, **(GOOD | {"skills": frozenset({"nails"})}))
    world.solve_later = True
    world.place(**WANTED)
    assert world.to_solve
    meanwhile(world)
    assert asks("tina") not in world.solve()
    assert world.engine.live_offer(TINA) is None


def test_pairs_found_in_a_thread_are_offered_when_nothing_has_changed() -> None:
    world = world_of(round=replace(RoundSettings(), inline_cells_max=1))
    world.join("ben", 900, **GOOD)
    world.solve_later = True
    world.batch([e.OrderPlaced(w, ANNA) for w in (draft(north(0), **WANTED), draft(north(100), **WANTED))])
    effects = world.solve()
    assert asks("tina") in effects
    assert asks("ben") in effects
