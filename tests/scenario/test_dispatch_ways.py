"""Rounds whose ways a road engine tells before they are solved."""

from dataclasses import replace

import numpy as np

from core.ids import UserId
from dispatch import events as e
from dispatch import explaining, matching, rounds
from dispatch.problem import WayColumns
from dispatch.settings import DispatchSettings, RoundSettings
from tests.unit.dispatch.world import ANNA, World, asks


def roads(**settings: object) -> World:
    world = World(replace(DispatchSettings(), **settings))  # type: ignore[arg-type]
    world.asks_roads = True
    world.restart()
    return world


def tell(world: World, seconds: dict[str, float], source: str = "osrm") -> list[e.Effect]:
    """Answer the question that waits: seconds by technician, to every order."""
    ask = world.to_tell.pop(0)
    names = [ask.problem.technicians.ids[row] for row in ask.technician]
    told = np.array([seconds[name] for name in names])
    return world.feed(e.WaysTold(ask.round_id, WayColumns(ask.order, ask.technician, told), source))


def test_the_road_decides_and_not_the_distance() -> None:
    world = roads()
    world.join("across", 400)  # the river
    world.join("along", 1_500)
    world.place()
    assert world.engine.live_offers() == []
    assert asks("along") in tell(world, {"across": 900.0, "along": 300.0})
    offer = world.offer_of("along")
    assert offer.travel_s == 300.0


def test_a_round_with_told_ways_is_explained_and_repeated_from_what_was_stored() -> None:
    world = roads()
    world.join("across", 400)
    world.join("along", 1_500)
    order = world.place()
    tell(world, {"across": 900.0, "along": 300.0}, "osrm")
    stored = world.ledger.rounds[-1]
    told = explaining.explain(stored, order.order_id)
    assert {c.technician: c.travel_s for c in told.ranking} == {"across": 900.0, "along": 300.0}
    problem = rounds.decode(stored.inputs)
    assert problem.ways_from == "osrm"
    assert [pair.technician for pair in matching.solve(problem).pairs] == ["along"]
    edited = replace(problem, ways=replace(problem.ways, seconds=problem.ways.seconds[::-1].copy()))
    assert [pair.technician for pair in matching.solve(edited).pairs] == ["across"]


def test_when_nobody_could_say_distances_decide() -> None:
    world = roads()
    world.join("near", 400)
    world.join("far", 1_500)
    world.place()
    ask = world.to_tell.pop()
    assert asks("near") in world.feed(e.WaysTold(ask.round_id, WayColumns(), ""))


def test_two_questions_at_a_time_and_what_comes_meanwhile_is_asked_in_one() -> None:
    world = roads()
    for number in range(6):
        world.join(f"t{number}", 400 + 300 * number)
    for _ in range(4):
        world.place()
    assert len(world.to_tell) == 2  # one round, and a small one beside it
    answers = 0
    while world.to_tell:
        tell(world, {f"t{number}": 100.0 for number in range(6)})
        answers += 1
    assert answers == 3
    assert len(world.engine.live_offers()) == 4


def test_what_changed_while_the_roads_were_asked_counts() -> None:
    world = roads()
    world.join("near", 400)
    order = world.place()
    world.feed(e.OrderCancelled(order.order_id, ANNA))
    effects = tell(world, {"near": 100.0})
    assert not any(isinstance(effect, e.SendOffer) for effect in effects)
    assert world.feed(e.WaysTold("rnd_unknown", WayColumns(), "")) == []


def test_without_a_candidate_nobody_is_asked() -> None:
    world = roads()
    world.place()
    assert world.to_tell == []


def test_a_large_round_is_solved_elsewhere_with_its_ways() -> None:
    world = roads(round=replace(RoundSettings(), inline_cells_max=1))
    world.join("across", 400)
    world.join("along", 1_500)
    world.place()
    assert asks("along") in tell(world, {"across": 900.0, "along": 300.0})
    assert world.offer_of("along").technician == UserId("along")
