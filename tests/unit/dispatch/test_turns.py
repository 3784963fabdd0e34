"""Offers never concentrate while equals are idle: turns are counted, compared among neighbours, and bounded."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ids import UserId
from dispatch import events as e
from dispatch import explaining, turns
from dispatch.model import DutyState, Mode, Order, Technician
from dispatch.settings import DispatchSettings, NewcomerSettings, ScheduleSettings, TurnSettings
from geo import cells
from geo.point import LatLng
from tests.unit.dispatch.problems import technicians
from tests.unit.dispatch.world import ALL_STEPS, CENTRE, M_PER_DEG, OPS, T0, World, north

RULES = TurnSettings()


def world(**settings: Any) -> World:
    return World(replace(DispatchSettings(), **({"newcomer": NewcomerSettings(share=0.0)} | settings)))


def known(w: World, name: str) -> Technician:
    who = w.engine.technician(UserId(name))
    assert who is not None
    return who


def team(w: World, places: list[LatLng]) -> dict[str, LatLng]:
    """A technician at each place, all on duty since the same moment."""
    names = {f"tec_{number}": place for number, place in enumerate(places)}
    for name, place in names.items():
        w.join(name, 0)
        w.seen(UserId(name), place)
    return names


def pass_time(w: World, names: dict[str, LatLng], seconds: float) -> None:
    w.tick(w.now - T0 + seconds)
    for name, place in names.items():
        w.seen(UserId(name), place)


def same_cell(count: int, seed: int) -> list[LatLng]:
    """Places in one H3 cell."""
    rng = random.Random(seed)
    cell = cells.cell_of(CENTRE)
    found: list[LatLng] = []
    while len(found) < count:
        lat, lng = (rng.uniform(-300, 300) / M_PER_DEG for _ in range(2))
        place = LatLng(CENTRE.lat_deg + lat, CENTRE.lng_deg + lng)
        if cells.cell_of(place) == cell:
            found.append(place)
    return found


def asked(w: World, order: Order) -> str:
    return next(offer.technician for offer in w.engine.live_offers() if offer.order_id == order.order_id)


def take(w: World, number: int, **facts: Any) -> tuple[Order, str]:
    """Place an order; whoever is asked takes it."""
    order = w.place(by=UserId(f"cus_{number}"), **facts)
    name = asked(w, order)
    w.receive(name)
    w.accept(name)
    return order, name


@pytest.mark.parametrize("waited_s", [0.0, 7_200.0])
@pytest.mark.parametrize("nearer_m", [0.0, 1.0, 50.0])
def test_bookings_go_round_among_equals_and_not_to_whoever_stands_a_metre_nearer(
    waited_s: float, nearer_m: float
) -> None:
    w = world(schedule=ScheduleSettings(lead_s=604_800.0))
    names = team(w, [north(100), north(100 + nearer_m)])
    pass_time(w, names, waited_s)
    count: Counter[str] = Counter()
    for number in range(12):
        _, name = take(w, number, scheduled_for=w.now + 7_200 + number * 9_000)
        count[name] += 1
        pass_time(w, names, 30)
    assert count == {"tec_0": 6, "tec_1": 6}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("waited_s", [0.0, 7_200.0])
def test_equals_in_one_cell_get_the_same_number_of_jobs_but_for_two(seed: int, waited_s: float) -> None:
    w = world()
    names = team(w, same_cell(5, seed))
    pass_time(w, names, waited_s)
    rng = random.Random(seed)
    count = Counter(dict.fromkeys(names, 0))
    for number in range(40):
        order, name = take(w, number, at=north(rng.uniform(-100, 100)))
        count[name] += 1
        pass_time(w, names, rng.uniform(1, 60))
        w.steps(order, *ALL_STEPS)
        pass_time(w, names, rng.uniform(1, 900))
        assert max(count.values()) - min(count.values()) <= 2, count


@pytest.mark.parametrize("seed", range(3))
def test_offers_that_lapse_go_round_too(seed: int) -> None:
    w = world()
    names = team(w, same_cell(4, seed))
    pass_time(w, names, 7_200)
    count = Counter(dict.fromkeys(names, 0))
    for number in range(24):
        order = w.place(by=UserId(f"cus_{number}"))
        name = asked(w, order)
        count[name] += 1
        w.receive(name)
        w.feed(e.OfferDeclined(w.offer_of(name).offer_id, UserId(name)))
        w.feed(e.OrderCancelled(order.order_id, order.customer))
        pass_time(w, names, 60)
    assert max(count.values()) - min(count.values()) <= 2


def test_an_offer_withdrawn_because_the_customer_called_off_is_no_turn() -> None:
    w = world()
    w.join("tec_0", 100)
    for number in range(3):
        order = w.place(by=UserId(f"cus_{number}"))
        w.receive("tec_0")
        w.feed(e.OrderCancelled(order.order_id, order.customer))
    assert known(w, "tec_0").turns == 0.0
    w.place()
    w.tick(10)  # no phone acknowledged it
    assert known(w, "tec_0").turns == 0.0


def test_work_called_off_before_it_began_is_given_back_and_work_done_is_not() -> None:
    w = world()
    w.join("tec_0", 100)
    order, _ = take(w, 1)
    assert known(w, "tec_0").turns == 1.0
    w.feed(e.OrderCancelled(order.order_id, order.customer))
    assert known(w, "tec_0").turns == 0.0
    order, _ = take(w, 2)
    w.steps(order, *ALL_STEPS)
    assert known(w, "tec_0").turns == 1.0


def test_work_that_staff_gave_is_a_turn_and_a_booking_begins_the_wait_anew() -> None:
    w = world()
    w.join("tec_0", 100)
    w.tick(50)
    w.seen(UserId("tec_0"), north(100))
    order = w.place(mode=Mode.MANUAL, scheduled_for=w.now + 7_200.0)
    w.feed(e.OrderAssigned(order.order_id, UserId("tec_0"), OPS, "asked for", (), None))
    assert (known(w, "tec_0").turns, known(w, "tec_0").idle_since) == (1.0, w.now)


def test_turns_outlive_duty_and_a_restart_and_fade() -> None:
    w = world()
    w.join("tec_0", 100)
    order, _ = take(w, 1)
    w.steps(order, *ALL_STEPS)
    for duty in (DutyState.OFF, DutyState.ON):
        w.feed(e.DutySet(UserId("tec_0"), duty))
    w.restart()
    who = known(w, "tec_0")
    assert turns.counted(who, w.now, RULES) == 1.0
    assert turns.counted(who, w.now + RULES.half_life_min * 60.0, RULES) == pytest.approx(0.5)
    assert turns.counted(who, w.now - 100.0, RULES) == 1.0


def test_the_cost_of_turns_is_named_bounded_and_the_same_in_the_explanation() -> None:
    w = world()
    names = team(w, [north(100), north(120), north(6_000)])
    w.engine._book.put_technician(replace(known(w, "tec_0"), turns=3.0, turns_at=w.now))
    w.batch([])
    order = w.place()
    assert asked(w, order) == "tec_1"
    told = explaining.explain(w.ledger.rounds[-1], order.order_id)
    terms = {c.technician: {t.name: t.seconds for t in c.terms} for c in told.ranking}
    assert terms["tec_0"]["turns"] == RULES.max_s
    assert terms["tec_1"]["turns"] == 0.0
    offer = w.offer_of("tec_1")
    assert {t.name: t.seconds for t in offer.terms} == terms["tec_1"]
    assert len(names) == 3


def excess(had: list[float], **columns: Any) -> list[float]:
    m = len(had)
    who = technicians([5_000.0 * cell for cell in columns.get("cell", [1] * m)])
    merit_s = np.array(columns.get("merit_s", [0.0] * m))
    is_idle = np.array(columns.get("is_idle", [True] * m))
    who = replace(
        who,
        skills=np.array(columns.get("skills", [1] * m), dtype=np.uint64),
        gender=np.array(columns.get("gender", [1] * m), dtype=np.uint8),
    )
    found = turns.too_many(who, np.array(had), merit_s, is_idle).tolist()
    return found or [0.0] * m


def test_turns_are_compared_with_idle_equals_only() -> None:
    assert excess([3.0, 1.0, 2.0]) == [2.0, 0.0, 1.0]
    assert excess([3.0, 1.0, 2.0], cell=[1, 2, 1]) == [1.0, 0.0, 0.0]
    assert excess([3.0, 1.0, 2.0], skills=[1, 3, 1]) == [1.0, 0.0, 0.0]
    assert excess([3.0, 1.0, 2.0], gender=[1, 2, 1]) == [1.0, 0.0, 0.0]
    assert excess([3.0, 1.0, 2.0], is_idle=[True, False, True]) == [1.0, 0.0, 0.0]


@given(st.floats(-0.999, 0.999), st.floats(-0.999, 0.999), st.floats(0, 1e5), st.floats(0, 1e5))
def test_no_border_lies_between_neighbours(north: float, east: float, at_north: float, at_east: float) -> None:
    near = [at_north, at_north + north * turns.NEAR_M], [at_east, at_east + east * turns.NEAR_M * 0.99]
    who = technicians(*near)
    found = turns.too_many(who, np.array([3.0, 1.0]), np.zeros(2), np.ones(2, dtype=np.bool_))
    assert found.tolist() == [2.0, 0.0]


def test_whoever_is_far_is_no_neighbour() -> None:
    who = technicians([0.0, 2.01 * turns.NEAR_M])
    assert not len(turns.too_many(who, np.array([3.0, 1.0]), np.zeros(2), np.ones(2, dtype=np.bool_)))


def test_a_tier_or_a_rating_keeps_its_rank_whatever_the_turns() -> None:
    assert excess([5.0, 0.0], merit_s=[90.0, 0.0]) == [0.0, 0.0]
    assert excess([0.0, 5.0], merit_s=[90.0, 0.0]) == [0.0, 5.0]
    assert excess([5.0, 0.0], merit_s=[90.0, 90.0 - turns.EQUAL_S + 1.0]) == [5.0, 0.0]


@given(
    st.lists(
        st.tuples(
            st.floats(0, 100), st.floats(0, 300), st.integers(0, 3), st.integers(0, 1), st.integers(0, 1), st.booleans()
        ),
        min_size=1,
        max_size=30,
    )
)
def test_too_many_agrees_with_the_words(people: list[tuple[float, float, int, int, int, bool]]) -> None:
    had, merit_s, cell, skills, gender, idle = (list(column) for column in zip(*people, strict=True))
    found = excess(had, merit_s=merit_s, cell=cell, skills=skills, gender=gender, is_idle=idle)
    for i, one in enumerate(people):
        equals = [
            other[0] for other in people if other[2:5] == one[2:5] and other[5] and other[1] >= one[1] - turns.EQUAL_S
        ]
        expected = max(one[0] - min(equals), 0.0) if equals else 0.0
        assert found[i] == pytest.approx(expected, abs=1e-4)
