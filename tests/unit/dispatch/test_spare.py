"""Several offers of one order never leave another without any: turns among rows of a round, and offers taken back."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dispatch import events as e
from dispatch import explaining, matching, replaying, rounds
from dispatch.events import CloseReason
from dispatch.model import Fallback, Mode, OfferState, Order, OrderState
from dispatch.problem import Solver
from dispatch.settings import BroadcastSettings
from geo.point import LatLng
from tests.unit.dispatch.problems import orders, problem, technicians
from tests.unit.dispatch.ways_to_give import THREE, WINDOW, a_city, closed, directed, everybody_acknowledges, live
from tests.unit.dispatch.world import ANNA, CENTRE, T0, World, draft, heard, north

FIVE = BroadcastSettings(offers_len=5)


def broadcast_at(place: LatLng) -> e.OrderDraft:
    return draft(place, ANNA, mode=Mode.BROADCAST)


def placed(world: World, at: LatLng = CENTRE, **facts: Any) -> Order:
    """An order, after the round that may have had to wait for it."""
    order = world.place(at, **facts)
    pass_time(world)
    return order


def pass_time(world: World) -> None:
    everybody_acknowledges(world)
    world.tick(world.now - T0 + 1.0)
    everybody_acknowledges(world)


def offers_of(world: World, *placed: Order) -> list[int]:
    count = Counter(offer.order_id for offer in world.engine.live_offers())
    return [count[order.order_id] for order in placed]


def test_a_third_broadcast_gets_somebody_although_two_hold_everyone() -> None:
    world = a_city(8, broadcast=FIVE)
    first = placed(world, mode=Mode.BROADCAST)
    second = placed(world, mode=Mode.BROADCAST)
    assert offers_of(world, first, second) == [5, 3]
    third = placed(world, mode=Mode.BROADCAST)
    assert sum(offers_of(world, first, second, third)) == 8
    assert offers_of(world, third) == [1]
    fourth = placed(world)
    assert offers_of(world, fourth) == [1]
    assert min(offers_of(world, first, second)) >= 1


def test_broadcasts_of_one_round_are_served_in_turn_until_nobody_is_left() -> None:
    world = World(broadcast=FIVE)
    wanted = [e.OrderPlaced(broadcast_at(north(10.0 * number)), ANNA) for number in range(3)]
    for number in range(8):
        world.join(f"t{number}", 100.0 * number)
    world.batch(wanted)
    count = Counter(offer.order_id for offer in world.engine.live_offers())
    assert sorted(count.values()) == [2, 3, 3]


def test_a_broadcast_that_has_fewer_than_it_may_is_offered_to_whoever_comes_free() -> None:
    world = a_city(5, broadcast=FIVE)
    first = placed(world, mode=Mode.BROADCAST)
    second = placed(world, mode=Mode.BROADCAST)
    assert offers_of(world, first, second) == [4, 1]
    world.join("late", 300.0)
    pass_time(world)
    assert offers_of(world, first, second) in ([5, 1], [4, 2])


def test_the_best_offer_of_an_order_is_never_taken_back() -> None:
    world = a_city(3, broadcast=THREE)
    first = placed(world, mode=Mode.BROADCAST)
    others = [placed(world) for _ in range(3)]
    assert offers_of(world, first, *others) == [1, 1, 1, 0]
    assert world.offer_of("t1").order_id == first.order_id


def test_whose_offer_is_taken_back_hears_it_before_the_other_and_has_refused_nothing() -> None:
    world = a_city(3, broadcast=THREE)
    first = placed(world, mode=Mode.BROADCAST)
    everybody_acknowledges(world)
    effects = heard(world.feed(e.OrderPlaced(broadcast_at(north(1_200.0)), ANNA)))
    assert closed(effects) == {"t3": CloseReason.REVOKED}
    kinds = [type(x).__name__ for x in effects]
    assert kinds.index("CloseOffer") < kinds.index("SendOffer")
    assert [x.detail["reason"] for x in world.ledger.events if x.what == "revoked"] == ["needed"]
    states = {o.state for o in world.ledger.offers.values() if o.technician == "t3" and o.order_id == first.order_id}
    assert states == {OfferState.REVOKED}
    # The other order goes; the first may be offered to them again.
    other = world.offer_of("t3").order_id
    world.feed(e.OrderCancelled(other, ANNA))
    pass_time(world)
    assert offers_of(world, first) == [3]


def test_a_free_technician_is_asked_before_an_offer_is_taken_back_unless_they_are_far() -> None:
    for metres, is_taken_back in ((4_000.0, False), (15_000.0, True)):
        world = a_city(3, broadcast=THREE)
        placed(world, mode=Mode.BROADCAST)
        world.join("free", metres)
        other = placed(world, north(1_200.0))
        asked = [o.technician for o in world.engine.live_offers() if o.order_id == other.order_id]
        assert asked == (["t3"] if is_taken_back else ["free"])


def test_a_picked_technician_s_offer_of_a_broadcast_is_taken_back_for_who_picked_them() -> None:
    world = a_city(3, broadcast=THREE, directed=WINDOW)
    placed(world, mode=Mode.BROADCAST)
    order = directed(world, "t3", Fallback.CANCEL)
    pass_time(world)
    assert world.offer_of("t3").order_id == order.order_id


def test_a_restart_in_the_middle_keeps_who_has_what() -> None:
    world = a_city(8, broadcast=FIVE)
    orders_ = [placed(world, mode=Mode.BROADCAST) for _ in range(3)]
    everybody_acknowledges(world)
    before = offers_of(world, *orders_)
    world.restart()
    assert offers_of(world, *orders_) == before
    for order in orders_:
        winner = next(o.technician for o in world.engine.live_offers() if o.order_id == order.order_id)
        world.accept(winner)
        assert world.order(order.order_id).state is OrderState.ASSIGNED
    assert live(world) == []


def test_an_explanation_tells_what_taking_back_costs_and_is_recomputed_the_same() -> None:
    world = a_city(3, broadcast=THREE)
    placed(world, mode=Mode.BROADCAST)
    order = placed(world, north(1_200.0))
    stored = world.ledger.rounds[-1]
    found = explaining.explain(stored, order.order_id)
    assert found.chosen == ("t3",)
    best = found.ranking[0]
    assert {t.name: t.seconds for t in best.terms}["take_back"] == 1_800.0
    assert best.cost_s == pytest.approx(sum(term.seconds for term in best.terms))
    assert stored.decision is not None
    pair = stored.decision.pairs[0]
    assert pair.cost_s == pytest.approx(best.cost_s)
    # The broadcast's best offer is not for others.
    assert [(x.technician, x.reason) for x in found.excluded] == [("t1", "offered")]
    assert replaying.replay(stored).differences == ()


def test_rows_of_a_higher_wave_take_nobody_s_first_however_cheap() -> None:
    def rounds_of(**columns: Any) -> tuple[tuple[str, str], ...]:
        o = orders([0.0, 0.0, 3_000.0])
        o = replace(o, ids=("a", "a", "b"), unmatched_s=np.array([7_200.0, 7_200.0, 7_200.0]), **columns)
        found = matching.solve(problem(o, technicians([0.0, 100.0])), Solver.EXACT)
        return tuple((pair.order_id, pair.technician) for pair in found.pairs)

    assert sorted(order for order, _ in rounds_of()) == ["a", "a"]
    assert sorted(order for order, _ in rounds_of(wave=np.array([0, 1, 0]))) == ["a", "b"]


def test_a_stored_round_keeps_waves_and_who_could_be_taken_back() -> None:
    o = replace(orders([0.0, 0.0]), wave=np.array([0, 1]))
    p = problem(o, technicians([0.0, 100.0]), take_back_s=1_800.0)
    p.people.spare = np.array([False, True])
    again = rounds.decode(rounds.encode(p))
    assert again.orders.wave.tolist() == [0, 1]
    assert again.people.spare.tolist() == [False, True]
    assert matching.solve(again) == matching.solve(p)
    assert [pair.technician for pair in matching.solve(p).pairs] == ["tec_0"]  # a second one takes nothing back
