"""Why an order is as it is: a word of ours for everybody, and apart from it what somebody wrote."""

from dataclasses import replace

import pytest

from core.ids import UserId
from dispatch import events as e
from dispatch.events import Step
from dispatch.model import Mode, Order, OrderReason, OrderState
from dispatch.order import is_coming, reason_of
from tests.unit.dispatch.world import ANNA, OPS, World

TINA = UserId("tina")
WORDS = "the customer is a creep"


def taken(world: World) -> Order:
    world.join("tina")
    order = world.place()
    world.accept("tina")
    return order


def why(world: World, order: Order) -> tuple[str, str, str | None]:
    now = world.order(order.order_id)
    return now.reason, now.said, now.said_by


def last(world: World, what: str) -> dict[str, object]:
    return next(dict(event.detail) for event in reversed(world.ledger.events) if event.what == what)


@pytest.mark.parametrize(("by", "staff"), [(TINA, False), (OPS, True)])
def test_what_was_said_when_an_order_was_taken_from_somebody_is_no_reason(by: UserId, staff: bool) -> None:
    world = World()
    order = taken(world)
    world.feed(e.OrderReassigned(order.order_id, by, WORDS, staff=staff))
    assert why(world, order) == ("reassigned", WORDS, by)
    assert last(world, "take_back") == {"reason": "reassigned", "said": WORDS}
    world.restart()
    assert why(world, order) == ("reassigned", WORDS, by)


def test_nobody_has_said_anything_when_nothing_was_written() -> None:
    world = World()
    order = taken(world)
    world.feed(e.OrderReassigned(order.order_id, TINA, staff=False))
    assert why(world, order) == ("reassigned", "", None)
    assert last(world, "take_back") == {"reason": "reassigned"}


def test_what_was_said_is_over_with_its_reason() -> None:
    world = World()
    order = taken(world)
    world.join("ben", 2_000)
    world.feed(e.OrderReassigned(order.order_id, TINA, WORDS, staff=False))
    world.accept("ben")
    assert why(world, order) == ("", "", None)
    world.feed(e.OrderReassigned(order.order_id, UserId("ben"), WORDS, staff=False))
    world.feed(e.OrderCancelled(order.order_id, ANNA))
    assert why(world, order) == ("cancelled_by_customer", "", None)


def test_an_order_of_staff_that_is_given_back_keeps_why_while_it_is_looked_for() -> None:
    world = World()
    world.join("tina")
    order = world.place(mode=Mode.MANUAL)
    world.feed(e.OrderAssigned(order.order_id, TINA, OPS, "only she has the key"))
    assert why(world, order) == ("", "", None)
    assert last(world, "assigned")["said"] == "only she has the key"
    world.feed(e.OrderReassigned(order.order_id, TINA, WORDS, staff=False))
    assert why(world, order) == ("reassigned", WORDS, TINA)


@pytest.mark.parametrize(
    ("by", "staff", "word"), [(ANNA, False, "cancelled_by_customer"), (OPS, True, "cancelled_by_staff")]
)
def test_a_cancelled_order_says_who_called_it_off_and_apart_what_they_said(by: UserId, staff: bool, word: str) -> None:
    world = World()
    order = taken(world)
    world.feed(e.OrderCancelled(order.order_id, by, WORDS, staff=staff))
    assert why(world, order) == (word, WORDS, by)
    assert {name: last(world, "cancelled")[name] for name in ("reason", "said")} == {"reason": word, "said": WORDS}


def test_an_order_given_to_somebody_else_by_hand_has_no_reason_and_its_history_has_the_words() -> None:
    world = World()
    order = taken(world)
    world.join("ben")
    world.feed(e.OrderAssigned(order.order_id, UserId("ben"), OPS, WORDS))
    assert why(world, order) == ("", "", None)
    assert last(world, "take_back") == {"reason": "reassigned", "said": WORDS}
    assert last(world, "assigned") == {"technician": "ben", "said": WORDS}


def test_words_of_a_change_of_mode_and_of_a_decline_are_words_in_the_history() -> None:
    world = World()
    world.join("tina")
    order = world.place()
    world.feed(e.OfferDeclined(world.offer_of("tina").offer_id, TINA, WORDS))
    assert last(world, "declined")["said"] == WORDS
    world.feed(e.ModeSet(order.order_id, Mode.MANUAL, OPS, WORDS))
    assert last(world, "switch") == {"mode": "manual", "said": WORDS}
    assert why(world, order) == ("", "", None)


@pytest.mark.parametrize("stored", ["", WORDS])
def test_an_old_row_that_holds_words_in_place_of_a_reason_has_none(stored: str) -> None:
    world = World()
    order = world.place()
    assert reason_of(replace(order, reason=stored)) is None
    assert [reason_of(replace(order, reason=word.value)) for word in OrderReason] == list(OrderReason)


def test_a_travel_time_belongs_to_the_way() -> None:
    world = World()
    order = taken(world)
    coming = []
    for step in (None, Step.EN_ROUTE, Step.ARRIVED, Step.IN_SERVICE, Step.FINISHED, Step.DEPARTED_SAFE):
        if step is not None:
            world.steps(order, step)
        coming.append(is_coming(world.order(order.order_id)))
    assert coming == [True, True, False, False, False, False]
    assert not is_coming(replace(order, state=OrderState.ASSIGNED, booked_for=world.now + 9_000.0))
    assert not is_coming(order), "nobody has it"
