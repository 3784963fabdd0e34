"""Nobody starves: what an order's waiting is worth, in a round and in its explanation."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.ids import UserId
from dispatch import cost, explaining, matching, rounds
from dispatch import events as e
from dispatch.model import DutyState, Mode, Order
from dispatch.settings import BroadcastSettings, DispatchSettings, WaitingSettings
from tests.unit.dispatch.problems import orders, problem, technicians
from tests.unit.dispatch.world import ALL_STEPS, CENTRE, T0, World, north

ONE = UserId("t1")


def served_at(far_m: float, settings: DispatchSettings) -> float | None:
    """When an order so far away is offered to the one technician, who is freed every four minutes beside new ones."""
    w = World(replace(settings, unfilled_after_s=3_600.0))
    w.join("t1", 0)
    current = w.place(by=UserId("first"))
    far: Order | None = None
    for number in range(12):
        w.receive("t1")
        w.accept("t1")
        far = far or w.place(at=north(far_m), by=UserId("far"))
        w.place(by=UserId(f"near{number}"))
        w.steps(current, *ALL_STEPS)
        w.tick(w.now - T0 + 240)
        w.seen(ONE, CENTRE)
        w.tick(w.now - T0 + 3)
        current = w.order(w.offer_of("t1").order_id)
        if current.order_id == far.order_id:
            return w.now - far.placed_at
    return None


def test_one_order_far_away_is_served_though_new_ones_are_always_nearer() -> None:
    assert served_at(2_500, DispatchSettings(waiting=WaitingSettings(s_per_min=0.0))) is None
    waited_s = served_at(2_500, DispatchSettings())
    assert waited_s is not None
    assert waited_s < 1_200


def test_what_waiting_is_worth_is_bounded_and_named() -> None:
    o = replace(orders([0.0, 0.0, 0.0]), waiting_at=np.array([T0 - 60.0, T0 - 1e6, np.inf]))
    p = problem(o, technicians([0.0, 0.0, 0.0]), waiting_s_per_s=1.5, waiting_max_s=600.0)
    assert cost.waiting_s(p, np.arange(3)).tolist() == [90.0, 600.0, 0.0]
    again = rounds.decode(rounds.encode(p))
    assert cost.waiting_s(again, np.array([1])).tolist() == [600.0]
    pairs = {pair.order_id: pair for pair in matching.solve(p).pairs}
    for row, worth_s in enumerate([90.0, 600.0, 0.0]):
        pair = pairs[f"ord_{row}"]
        assert dict(pair.terms)["waiting"] == -worth_s
        assert pair.cost_s == pytest.approx(sum(seconds for _, seconds in pair.terms))


def test_waiting_decides_between_orders_and_not_between_technicians() -> None:
    o = replace(orders([0.0, 2_000.0]), waiting_at=np.array([T0, T0 - 600.0]))
    numbers: dict[str, Any] = {"waiting_s_per_s": 1.0, "waiting_max_s": 1_800.0}
    alone = problem(o, technicians([0.0]), **numbers)
    assert [pair.order_id for pair in matching.solve(alone).pairs] == ["ord_1"]
    both = problem(o, technicians([0.0, 1_900.0]), **numbers)
    assert {p.order_id: p.technician for p in matching.solve(both).pairs} == {"ord_0": "tec_0", "ord_1": "tec_1"}


def test_the_explanation_has_the_same_term_as_the_offer() -> None:
    w = World()
    order = w.place()
    w.tick(420)
    w.join("t1", 500)
    w.tick(422.5)
    offer = w.offer_of("t1")
    told = explaining.explain(w.ledger.rounds[-1], order.order_id)
    assert told.ranking[0].terms == offer.terms
    waited_s = offer.offered_at - T0 - w.settings.waiting.after_s
    assert {t.name: t.seconds for t in offer.terms}["waiting"] == pytest.approx(-waited_s)
    assert offer.cost_s == pytest.approx(told.ranking[0].cost_s)


def test_a_second_technician_for_an_old_broadcast_goes_before_no_other_order() -> None:
    w = World(broadcast=BroadcastSettings(offers_len=2))
    w.place(mode=Mode.BROADCAST)
    w.tick(500)
    w.place(at=north(8_000), by=UserId("cus_bob"))
    for name in ("t1", "t2"):
        w.put(name)
    w.batch([e.DutySet(UserId(name), DutyState.ON) for name in ("t1", "t2")])
    for name in ("t1", "t2"):
        w.seen(UserId(name), CENTRE)
    w.tick(502.5)
    assert len({o.order_id for o in w.engine.live_offers()}) == 2


def test_a_later_orders_waiting_begins_with_its_search() -> None:
    w = World()
    order = w.place(scheduled_for=T0 + 7_200.0)
    w.tick(3_600)
    w.tick(3_960)
    w.join("t1", 500)
    w.tick(3_963)
    terms = {t.name: t.seconds for t in w.offer_of("t1").terms}
    assert w.offer_of("t1").order_id == order.order_id
    assert -64.0 <= terms["waiting"] <= -60.0


def test_the_first_minutes_count_nothing_so_that_a_short_shortage_is_served_by_the_nearest() -> None:
    for waited_s, is_first in ((240.0, False), (360.0, True)):
        w = World()
        old = w.place(at=north(600), by=UserId("old"))
        w.tick(waited_s)
        new = w.place(at=north(500), by=UserId("new"))
        w.join("t1", 0)
        w.tick(waited_s + 2.5)
        asked = old if is_first else new
        assert w.offer_of("t1").order_id == asked.order_id
