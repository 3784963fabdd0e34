"""Time in which the server was down is held against nobody: no refusal, and no end of a search."""

from typing import Any

import pytest

from core.ids import UserId
from dispatch import events as e
from dispatch.events import CloseReason, Step
from dispatch.model import Fallback, Mode, OfferState, Order, OrderState, RequestState, TimeRequest
from dispatch.settings import DirectedSettings, ManualSettings
from tests.unit.dispatch.world import ANNA, T0, World, asks, closes, north, tells

TINA = UserId("tina")


def down_until(world: World, at: float) -> list[e.Effect]:
    """The server is gone until then."""
    world.now = T0 + at
    world.restart()
    return world.tick(at + 0.01)


def test_an_offer_that_ended_while_the_server_was_down_is_no_refusal() -> None:
    world = World()
    world.join("tina")
    order = world.place()
    offer = world.receive("tina")
    before = world.engine.technician(TINA)
    assert before is not None
    effects = down_until(world, 60)
    assert closes("tina", CloseReason.REVOKED) in effects
    assert world.ledger.offers[offer.offer_id].state is OfferState.REVOKED
    after = world.engine.technician(TINA)
    assert after is not None
    assert after.answers == before.answers
    world.seen(TINA, north(500))
    assert asks("tina") in [*effects, *world.tick(65)]
    assert world.order(order.order_id).state is OrderState.MATCHING


def test_an_offer_that_nobody_answers_is_still_a_refusal_when_the_server_was_there() -> None:
    world = World()
    world.join("tina")
    world.place()
    offer = world.receive("tina")
    down_until(world, 2)
    world.tick(20.5)
    assert world.ledger.offers[offer.offer_id].state is OfferState.EXPIRED


@pytest.mark.parametrize("facts", [{}, {"mode": Mode.DIRECTED, "technician": TINA, "fallback": Fallback.CANCEL}])
def test_an_offer_that_ends_before_phones_can_be_back_is_no_refusal(facts: dict[str, Any]) -> None:
    world = World(offer_ttl_s=120.0, directed=DirectedSettings(window_s=120.0))
    world.join("tina")
    order = world.place(**facts)
    offer = world.receive("tina")
    down_until(world, 112)
    world.seen(TINA, north(500))
    assert asks("tina") in world.tick(125)
    assert world.ledger.offers[offer.offer_id].state is OfferState.REVOKED
    assert world.order(order.order_id).state is OrderState.MATCHING


def test_an_order_for_later_is_not_given_up_before_anybody_can_be_heard() -> None:
    world = World()
    world.put("tina")
    order = world.place(scheduled_for=T0 + 3_600)
    down_until(world, 1_800)
    assert world.order(order.order_id).state is OrderState.MATCHING
    down_until(world, 4_300)
    assert world.order(order.order_id).state is OrderState.MATCHING
    world.join("tina")
    assert asks("tina", order__order_id=order.order_id) in world.tick(4_303)


@pytest.mark.parametrize(
    ("facts", "window_s"),
    [({}, 600.0), ({"mode": Mode.DIRECTED, "technician": TINA}, 150.0), ({"mode": Mode.MANUAL}, 300.0)],
    ids=["auto", "directed", "manual"],
)
def test_a_search_goes_on_for_as_long_as_the_server_was_down(facts: dict[str, Any], window_s: float) -> None:
    world = World(
        unfilled_after_s=600.0, directed=DirectedSettings(window_s=150.0), manual=ManualSettings(unfilled_after_s=300.0)
    )
    world.put("tina")
    order = world.place(**facts)
    world.tick(100)  # the last mark
    down_until(world, 5_100)
    ends_s = 5_000 + window_s
    assert world.order(order.order_id).changed_at == T0
    world.tick(5_110)
    down_until(world, 5_111)  # a restart that takes no time, and is not taken for a long one
    quiet = world.tick(ends_s - 0.1)
    assert tells("unfilled") not in quiet
    assert world.order(order.order_id).mode is order.mode
    world.tick(ends_s + 0.1)
    ended = world.order(order.order_id)
    assert ended.state is OrderState.UNFILLED or ended.mode is not order.mode
    assert ended.down_s == 0.0 or ended.state is OrderState.MATCHING


def test_a_city_in_which_nobody_is_looked_for_stores_no_marks() -> None:
    world = World()
    world.put("tina")
    order = world.place()
    world.tick(25)
    assert world.ledger.alive_at == T0 + 20
    world.feed(e.OrderCancelled(order.order_id, order.customer))
    world.tick(100)
    assert world.ledger.alive_at == T0 + 20


@pytest.mark.parametrize("down_s", [5.0, 15.0])
def test_a_search_that_ends_in_a_short_restart_goes_on_until_phones_are_back(down_s: float) -> None:
    world = World()
    world.put("tina")
    order = world.place()
    world.tick(597)
    assert tells("unfilled") not in down_until(world, 597 + down_s)
    back_s = 597 + down_s
    assert tells("unfilled") not in world.tick(back_s + 29.9)
    assert tells("unfilled") in world.tick(back_s + 30.1)
    assert world.order(order.order_id).reason == "nobody_available"


# -- what the customer is asked -----------------------------------------------------------------------------


def asked() -> tuple[World, Order]:
    """Tina, in service, asks for half an hour more at the beginning of the world; Anna has five minutes."""
    world = World()
    world.join("tina")
    order = world.place()
    world.accept("tina")
    world.steps(order, Step.EN_ROUTE, Step.ARRIVED, Step.IN_SERVICE)
    world.feed(e.TimeAdded(order.order_id, TINA, 1_800.0))
    assert request(world, order).expires_at == T0 + 300
    return world, order


def request(world: World, order: Order) -> TimeRequest:
    found = world.order(order.order_id).time_request
    assert found is not None
    return found


def test_who_is_asked_has_after_a_downtime_what_they_had_left_before_it_and_is_told() -> None:
    world, order = asked()
    world.tick(100)  # the last mark
    effects = down_until(world, 5_100)
    assert tells("time_asked", order__time_request__expires_at=T0 + 5_300) in effects
    assert tells("time_expired") not in [*effects, *world.tick(5_299.9)]
    assert world.ledger.orders[order.order_id].time_request == request(world, order)
    line = next(event for event in world.ledger.events if event.what == "served_again")
    assert line.detail["down_s"] == 5_000.0
    world.feed(e.TimeAnswered(order.order_id, ANNA, request(world, order).request_id, agrees=True))
    assert world.order(order.order_id).added_s == 1_800.0


@pytest.mark.parametrize(("last_s", "down_s"), [(290.0, 1_000.0), (299.0, 5.0), (280.0, 15.0), (250.0, 5.0)])
def test_nobodys_time_to_answer_ends_before_they_can_be_back(last_s: float, down_s: float) -> None:
    world, order = asked()
    world.tick(last_s)
    back_s = last_s + down_s
    down_until(world, back_s)
    ends_at = max(T0 + back_s + 30.0, T0 + 300.0)
    assert request(world, order).expires_at == pytest.approx(ends_at, abs=0.02)
    assert tells("time_expired") not in world.tick(ends_at - T0 - 0.1)
    assert tells("time_expired") in world.tick(ends_at - T0 + 0.1)
    assert request(world, order).state is RequestState.EXPIRED


def test_a_restart_that_takes_no_time_lengthens_nothing_and_tells_nobody() -> None:
    world, order = asked()
    world.tick(100)
    assert tells("time_asked") not in down_until(world, 103)
    assert request(world, order).expires_at == T0 + 300
    assert tells("time_expired") in world.tick(300.1)


def test_marks_end_when_nobody_is_asked_any_more() -> None:
    world, order = asked()
    world.tick(25)
    assert world.ledger.alive_at == T0 + 20
    world.feed(e.TimeAnswered(order.order_id, ANNA, request(world, order).request_id, agrees=False))
    world.tick(100)
    assert world.ledger.alive_at == T0 + 20
