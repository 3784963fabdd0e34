"""When rounds run: gathering under shortage, beside one that is out, and when a phone comes back."""

from dataclasses import replace
from typing import Any

import pytest

from core.ids import UserId
from dispatch import events as e
from dispatch.matchmaker import BESIDE_LEN_MAX
from dispatch.model import DutyState
from dispatch.problem import WayColumns
from dispatch.settings import RoundSettings
from tests.unit.dispatch.world import CENTRE, T0, World, draft, north


def world(**numbers: Any) -> World:
    return World(round=replace(RoundSettings(), **numbers))


def place_all(w: World, count: int, at_m: float = 0.0) -> list[e.Effect]:
    """Several orders in one turn."""
    customers = [UserId(f"cus_{number}") for number in range(count)]
    return w.batch([e.OrderPlaced(draft(north(at_m), who), who) for who in customers])


def sent(effects: list[e.Effect]) -> list[tuple[str, str]]:
    return [(x.offer.technician, x.offer.order_id) for x in effects if isinstance(x, e.SendOffer)]


# -- gathering --------------------------------------------------------------------------------------------


def test_by_default_a_round_under_shortage_runs_at_once() -> None:
    assert RoundSettings().round_max_ms == 0
    w = world()
    w.join("tina", 400)
    assert len(sent(place_all(w, 2))) == 1


def test_under_shortage_a_round_gathers_and_then_takes_the_order_that_is_nearer() -> None:
    w = world(round_max_ms=1_500)
    w.join("tina", 400)
    assert sent(place_all(w, 2, at_m=3_000)) == []
    w.tick(1)
    near = w.place(at=north(400), by=UserId("cus_near"))
    assert sent(w.tick(1.499)) == []
    assert sent(w.tick(1.5)) == [("tina", near.order_id)]


def test_with_technicians_for_all_a_round_never_waits() -> None:
    w = world(round_max_ms=60_000)
    w.join("tina", 400)
    w.join("lea", 500)
    assert len(sent(place_all(w, 2))) == 2


def test_a_round_that_gathers_runs_as_soon_as_there_are_technicians_for_all() -> None:
    w = world(round_max_ms=60_000)
    w.join("tina", 400)
    assert sent(place_all(w, 2)) == []
    w.tick(5)
    w.seen(UserId("tina"), north(400))
    w.put("lea")
    w.index.claim(UserId("lea"))
    w.seen(UserId("lea"), north(500))
    w.feed(e.DutySet(UserId("lea"), DutyState.ON))
    assert {technician for technician, _ in sent(w.tick(5.3))} | {
        offer.technician for offer in w.engine.live_offers()
    } == {"tina", "lea"}


@pytest.mark.parametrize("wrong", [-1, 60_001])
def test_gathering_is_bounded(wrong: int) -> None:
    with pytest.raises(ValueError, match="round_max_ms"):
        RoundSettings(round_max_ms=wrong)


# -- beside a round that is out -----------------------------------------------------------------------------


def large_round_out(technicians: int = 40, orders: int = 12) -> World:
    """A city whose round of many orders is in a thread."""
    w = world(inline_cells_max=330)
    for number in range(technicians):
        w.join(f"tec_{number:02}", 300 + number)
    w.solve_later = True
    place_all(w, orders)
    assert len(w.to_solve) == 1
    assert w.engine.live_offers() == []
    return w


def test_an_order_that_comes_while_a_large_round_is_out_is_offered_at_once() -> None:
    w = large_round_out()
    late = w.place(at=north(340), by=UserId("cus_late"))
    (offer,) = w.engine.live_offers()
    assert offer.order_id == late.order_id
    assert len(w.to_solve) == 1


def test_both_rounds_together_ask_nobody_twice_and_leave_no_order_out() -> None:
    w = large_round_out()
    late = w.place(at=north(320), by=UserId("cus_late"))
    w.solve()
    w.tick(1)
    live = w.engine.live_offers()
    assert late.order_id in {offer.order_id for offer in live}
    assert len({offer.technician for offer in live}) == len({offer.order_id for offer in live}) == len(live) == 13


def test_with_fewer_technicians_than_orders_the_new_order_waits_for_the_large_round() -> None:
    w = large_round_out(technicians=40, orders=40)
    w.place(by=UserId("cus_late"))
    assert w.engine.live_offers() == []
    w.solve()
    w.tick(1)
    assert len(w.engine.live_offers()) == 40


def test_a_small_round_is_tried_once_for_each_order_and_takes_a_few_at_a_time() -> None:
    w = large_round_out()
    customers = [UserId(f"new_{number}") for number in range(BESIDE_LEN_MAX + 2)]
    w.batch([e.OrderPlaced(draft(CENTRE, who), who) for who in customers])
    assert len(w.engine.live_offers()) == BESIDE_LEN_MAX + 2
    before = len(w.ledger.rounds)
    nobody = w.place(by=UserId("cus_yoga"), skills=("yoga",))
    for number in range(5):
        w.put(f"other_{number}")  # turns that want a round
    assert len([r for r in w.ledger.rounds[before:] if nobody.order_id in r.orders]) == 1


def test_a_round_whose_ways_are_asked_for_has_another_one_beside_it() -> None:
    w = World()
    w.asks_roads = True
    w.engine = w._new_engine()
    for number in range(4):
        w.join(f"tec_{number}", 300 + number)
    first = w.place()
    second = w.place(by=UserId("cus_2"))
    assert [ask.problem.orders.ids for ask in w.to_tell] == [(first.order_id,), (second.order_id,)]
    third = w.place(by=UserId("cus_3"))
    assert len(w.to_tell) == 2  # no more than two are out
    w.feed(e.WaysTold(w.to_tell[1].round_id, WayColumns(), "roads"))
    assert second.order_id in {offer.order_id for offer in w.engine.live_offers()}
    assert w.to_tell[2].problem.orders.ids == (third.order_id,)
    for ask in (w.to_tell[0], w.to_tell[2]):
        w.feed(e.WaysTold(ask.round_id, WayColumns(), "roads"))
    w.tick(1)
    for ask in w.to_tell[3:]:
        w.feed(e.WaysTold(ask.round_id, WayColumns(), "roads"))
    live = w.engine.live_offers()
    assert len({offer.technician for offer in live}) == len({offer.order_id for offer in live}) == 3


# -- phones that come back ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["reconnected", "position", "heard"])
def test_a_phone_that_comes_back_while_an_order_waits_starts_a_round_soon(how: str) -> None:
    w = world(retry_s=600.0)
    tina = w.join("tina", 400)
    if how == "reconnected":
        w.seen(tina, north(400), connected=False)
    elif how == "position":
        w.tick(100)
    order = w.place()
    if how == "heard":
        w.tick(3.5)  # its phone does not take the offer
    w.tick(w.now - T0 + 30.1)
    assert w.engine.live_offers() == []
    w.seen(tina, north(400))
    effects = w.tick(w.now - T0 + RoundSettings().look_ms / 1000.0)
    assert sent(effects) == [("tina", order.order_id)]


def test_phones_that_come_and_go_start_no_more_rounds_than_looks() -> None:
    w = world(retry_s=600.0, keep_every_s=0.0)
    tina = w.join("tina", 400)
    w.place(skills=("yoga",))
    before = len(w.ledger.rounds)
    for step in range(100):
        w.seen(tina, north(400), connected=bool(step % 2))
        w.tick(1 + step * 0.05)
    assert len(w.ledger.rounds) - before <= 5 / (RoundSettings().look_ms / 1000.0)


def test_nothing_is_looked_at_while_no_order_waits() -> None:
    w = world()
    w.join("tina", 400)
    assert w.engine.next_deadline() is None
    order = w.place(skills=("yoga",))
    assert w.engine.next_deadline() is not None
    w.feed(e.OrderCancelled(order.order_id, order.customer))
    w.tick(RoundSettings().retry_s)
    due = w.engine.next_deadline()
    assert due is None or due > w.now + 60.0
