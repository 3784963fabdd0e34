"""Rounds of many orders do not hold the loop: rows, ways and offers are taken in turns, and nothing is lost by it."""

from dataclasses import replace
from typing import Any

import pytest

from core.ids import OfferId, UserId
from dispatch import engine, learned_ways, matchmaker, reach, replaying
from dispatch import events as e
from dispatch.model import DutyState, OrderState
from dispatch.settings import DispatchSettings, RoundSettings
from dispatch.sheets import Sheets
from tests.unit.dispatch.world import T0, World, draft, north


def full_city(technicians: int, orders: int, **settings: Any) -> World:
    """So many technicians come on duty in the turn in which orders are waiting already."""
    world = World(replace(DispatchSettings(), **settings))
    world.check_every = 5
    names = [UserId(f"t{number:03}") for number in range(technicians)]
    for name in names:
        world.put(name)
    placed = [
        e.OrderPlaced(draft(north(20.0 * number), UserId(f"c{number}")), UserId(f"c{number}"))
        for number in range(orders)
    ]
    world.batch(placed)
    world.batch([e.DutySet(name, DutyState.ON) for name in names])
    for number, name in enumerate(names):
        world.seen(name, north(20.0 * number + 5.0))
    return world


def offers_of_turns(world: World, seconds: float) -> list[int]:
    """How many offers each turn makes until so much later."""
    found: list[int] = []
    end = world.now + seconds
    while (due := world.engine.next_deadline()) is not None and due <= end:
        world.now = max(world.now, due)
        turn = world.engine.on_deadline(world.now) + world.engine.settle(world.now)
        world.ledger.commit(world.engine.changes)
        world.engine.committed()
        world._perform(list(turn))
        found.append(sum(isinstance(x, e.SendOffer) for x in turn))
        while world.to_solve:
            world.solve()
    return found


def test_a_round_of_many_offers_makes_some_in_each_turn_and_all_in_the_end() -> None:
    world = full_city(80, 80, round=RoundSettings(inline_cells_max=1_000_000))
    found = offers_of_turns(world, 2.5)
    assert max(found) == matchmaker.MADE_AT_ONCE
    assert len(world.engine.live_offers()) == 80
    stored = world.ledger.rounds[-1]
    assert stored.decision is not None
    assert sum(pair.made for pair in stored.decision.pairs) == 80
    assert replaying.replay(stored).differences == ()
    world.engine.check()


def test_offers_that_are_still_to_be_made_are_checked_again() -> None:
    world = full_city(80, 80, round=RoundSettings(inline_cells_max=1_000_000))
    while not world.engine.live_offers():
        due = world.engine.next_deadline()
        assert due is not None
        world.now = max(world.now, due)
        turn = world.engine.on_deadline(world.now) + world.engine.settle(world.now)
        world.ledger.commit(world.engine.changes)
        world.engine.committed()
        world._perform(turn)
    asked = {offer.order_id for offer in world.engine.live_offers()}
    assert len(asked) == matchmaker.MADE_AT_ONCE
    unasked = next(o for o in world.engine.open_orders() if o.order_id not in asked)
    world.feed(e.OrderCancelled(unasked.order_id, unasked.customer))
    gone = next(t.technician for t in world.engine.technicians() if t.technician == UserId("t079"))
    world.feed(e.DutySet(gone, DutyState.PAUSED))
    world.tick(world.now - T0 + 1.0)
    live = world.engine.live_offers()
    assert world.order(unasked.order_id).state is OrderState.CANCELLED
    assert unasked.order_id not in {offer.order_id for offer in live}
    assert gone not in {offer.technician for offer in live}
    assert len(live) >= 78


def test_rows_are_worked_out_some_in_each_turn_before_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matchmaker, "WORKED_OUT_AT_ONCE", 40)
    worked_out: list[int] = []
    refresh = Sheets.refresh

    def noted(*args: Any) -> int:
        worked_out.append(refresh(*args))
        return worked_out[-1]

    monkeypatch.setattr(Sheets, "refresh", noted)
    world = full_city(90, 30)
    offers_of_turns(world, 2.5)
    assert max(worked_out) <= 80
    assert worked_out.count(40) >= 2
    assert len(world.engine.live_offers()) == 30


def test_a_round_in_columns_looks_its_ways_up_in_another_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    world = full_city(30, 30)
    travel = world.engine._matchmaker._travel
    monkeypatch.setattr(travel, "has_learned", lambda: True, raising=False)
    filled: list[int] = []
    fill = learned_ways.fill

    def noted(problem: Any, rate: Any) -> Any:
        filled.append(len(problem.orders.ids))
        return fill(problem, rate)

    monkeypatch.setattr(learned_ways, "fill", noted)
    offers_of_turns(world, 2.5)
    assert 30 in filled
    assert len(world.engine.live_offers()) == 30


def test_rows_that_change_again_and_again_do_not_put_a_round_off_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sheets, "refresh", lambda *args: args[-1])
    world = full_city(30, 30)
    offers_of_turns(world, 2.5)
    assert len(world.engine.live_offers()) == 30


@pytest.mark.parametrize(
    ("waiting_len", "on_duty_len", "taken_len"), [(10, 9_000, 10), (30, 9_000, 24), (300, 150, 50), (300, 190, 24)]
)
def test_orders_and_technicians_together_bound_a_round_in_columns(
    waiting_len: int, on_duty_len: int, taken_len: int
) -> None:
    rules = DispatchSettings(round=RoundSettings(columns_len_max=200))
    assert reach.slice_len(waiting_len, on_duty_len, rules) == taken_len


def test_offers_that_lapse_at_one_moment_are_closed_some_in_each_turn_and_all_in_the_end() -> None:
    world = full_city(80, 80, round=RoundSettings(inline_cells_max=1_000_000))
    offers_of_turns(world, 2.5)
    lapsing = {offer.offer_id for offer in world.engine.live_offers()}
    assert len(lapsing) == 80
    world.now += 60.0
    closed: list[set[OfferId]] = []
    while (due := world.engine.next_deadline()) is not None and due <= world.now:
        turn = world.engine.on_deadline(world.now)
        world.ledger.commit(world.engine.changes)
        world.engine.committed()
        closed.append({x.offer.offer_id for x in turn if isinstance(x, e.CloseOffer)})
    assert set().union(*closed) >= lapsing
    assert max(map(len, closed)) == engine.DEADLINES_AT_ONCE
    world.engine.check()


def test_rounds_that_cannot_take_all_orders_are_counted() -> None:
    for columns_len_max, is_cut in ((100, False), (60, True)):
        world = full_city(30, 60, round=RoundSettings(columns_len_max=columns_len_max))
        offers_of_turns(world, 2.5)
        assert (world.engine.rounds_cut() > 0) == is_cut
        assert len(world.engine.live_offers()) == 30
