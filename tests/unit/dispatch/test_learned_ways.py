"""What the city's own trips have taught of single ways decides rounds, is stored with them, and is one estimate."""

from typing import Any

import numpy as np
import pytest

from core.ids import UserId
from dispatch import cost, learned_ways, matching, replaying, rounds
from dispatch import events as e
from dispatch.problem import Problem
from geo.arrays import FloatArray
from geo.point import LatLng
from tests.unit.dispatch.problems import random_problem
from tests.unit.dispatch.world import CENTRE, OPS, Walk, World, north

TINA, BEN = UserId("tina"), UserId("ben")


class Taught(Walk):
    """The walk, and a jam in the north that takes ten minutes more."""

    def __init__(self) -> None:
        self.asked = 0

    def has_learned(self) -> bool:
        return True

    def between_s(self, origin: LatLng, destination: LatLng, now: float) -> float:
        return super().between_s(origin, destination, now) + (600.0 if origin.lat_deg > CENTRE.lat_deg else 0.0)

    def learned_s(self, origins: FloatArray, destinations: FloatArray, now: float) -> FloatArray | None:
        self.asked += len(origins)
        ways = zip(origins.tolist(), destinations.tolist(), strict=True)
        return np.array([self.between_s(LatLng(*a), LatLng(*b), now) for a, b in ways])


def town(travel: Walk) -> World:
    """Tina is near, in the north; Ben is farther, in the south."""
    world = World()
    world.travel = travel
    world.restart()
    world.join("tina", 500.0)
    world.join("ben", -1_500.0)
    return world


def decided(world: World) -> Problem:
    return rounds.decode(world.ledger.rounds[-1].inputs)


def test_who_is_asked_follows_what_was_learned_of_the_places_between() -> None:
    straight, taught = town(Walk()), town(Taught())
    straight.place()
    taught.place()
    assert straight.engine.live_offer(TINA) is not None
    offer = taught.offer_of("ben")
    assert offer.travel_s == pytest.approx(60.0 + 0.25 * 1_500.0, abs=1.0)
    assert decided(straight).ways_from == ""
    assert decided(taught).ways_from == "learned"


def test_a_round_decided_by_learned_ways_is_decided_the_same_again_when_the_map_has_changed() -> None:
    world = town(Taught())
    world.place()
    stored = world.ledger.rounds[-1]
    world.travel = Walk()
    assert len(decided(world).ways.order) == 2
    assert not replaying.replay(stored).differences


def test_one_position_gives_one_estimate_of_arrival() -> None:
    travel = Taught()
    world = town(travel)
    order = world.place()
    world.accept("ben")
    world.steps(order, e.Step.EN_ROUTE)
    world.seen(BEN, north(700.0))
    now = world.order(order.order_id)
    expected = travel.between_s(north(700.0), CENTRE, world.now)
    assert world.engine.eta_s(now, world.now) == pytest.approx(expected)


def test_an_order_given_by_hand_has_the_learned_estimate_too() -> None:
    world = town(Taught())
    order = world.place()
    world.feed(e.OrderAssigned(order.order_id, TINA, OPS, "asked for her", ()))
    assert world.order(order.order_id).eta_s == pytest.approx(60.0 + 0.25 * 500.0 + 600.0, abs=1.0)


def test_a_question_about_an_order_is_answered_by_learned_ways() -> None:
    world = town(Taught())
    order = world.order(world.place().order_id)
    problem = world.engine.question(order, world.now, world.settings, ())
    assert problem.ways_from == "learned"


def test_a_round_with_too_many_ways_goes_by_the_citys_rate() -> None:
    travel = Taught()
    problem = random_problem(80, 60, 7)
    assert len(matching.likely(problem)[0]) > learned_ways.WAYS_MAX // 4
    assert learned_ways.fill(problem, travel).ways_from == "learned"
    assert travel.asked <= learned_ways.WAYS_MAX
    large = random_problem(400, 60, 7)
    assert len(matching.likely(large)[0]) > learned_ways.WAYS_MAX
    assert learned_ways.fill(large, travel) is large


def test_nothing_is_looked_up_while_nothing_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(problem: Any) -> Any:
        raise AssertionError("looked up")

    monkeypatch.setattr(matching, "likely", never)
    problem = random_problem(3, 5, 1)
    assert learned_ways.fill(problem, Walk()) is problem
    assert cost.ways_s(problem, np.arange(3), np.zeros((3, 5))).shape == (3, 5)
