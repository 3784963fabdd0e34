"""Every open order has a next event of its own: the check that tells which has none."""

from collections.abc import Callable

import pytest

from core.ids import UserId
from dispatch import events as e
from dispatch.deadlines import Deadlines, Due
from dispatch.invariants import BrokenInvariant, check_next_events
from dispatch.model import Mode
from tests.unit.dispatch.world import ALL_STEPS, OPS, World

TINA = UserId("tina")


def waiting(world: World) -> None:
    world.place(mode=Mode.MANUAL)


def asked(world: World) -> None:
    world.join("tina")
    world.place()


def accepted(world: World) -> None:
    asked(world)
    world.accept("tina")


def set_out(world: World) -> None:
    accepted(world)
    world.steps(world.engine.open_orders()[0], *ALL_STEPS[:1])


def finished(world: World) -> None:
    accepted(world)
    world.steps(world.engine.open_orders()[0], *ALL_STEPS[:4])


def left(world: World) -> None:
    accepted(world)
    world.steps(world.engine.open_orders()[0], *ALL_STEPS)


@pytest.mark.parametrize(
    ("come_so_far", "due", "said"),
    [
        (waiting, Due.GIVE_UP, "an order without a next event"),
        (accepted, Due.LEASE, "an order without a next event"),
        (set_out, Due.LEASE, "an order without a next event"),
        (finished, Due.CONFIRM, "an order without a next event"),
        (left, Due.CONFIRM, "an order without a next event"),
        (asked, Due.EXPIRE, "an offer that never expires"),
        (asked, Due.UNDELIVERED, "an offer that may be lost"),
    ],
)
def test_a_deadline_that_is_missing_is_told(come_so_far: Callable[[World], None], due: Due, said: str) -> None:
    world = World()
    come_so_far(world)
    world.engine.check()
    order = world.engine.open_orders()[0]
    offers = world.engine.live_offers()
    world.engine._deadlines.drop(due, offers[0].offer_id if offers else order.order_id)
    with pytest.raises(BrokenInvariant, match=said):
        world.engine.check()


def test_a_deadline_of_another_order_does_not_count() -> None:
    world = World()
    orders = [world.place(mode=Mode.MANUAL), world.place(mode=Mode.MANUAL)]
    world.engine._deadlines.drop(Due.GIVE_UP, orders[0].order_id)
    assert world.engine.next_deadline() is not None
    with pytest.raises(BrokenInvariant, match="without a next event"):
        world.engine.check()


def test_an_order_that_no_round_will_look_at_is_told() -> None:
    world = World()
    world.place()
    book = world.engine._book
    check_next_events(book, world.engine._deadlines, is_looking=True)
    with pytest.raises(BrokenInvariant, match="nobody looks at"):
        check_next_events(book, world.engine._deadlines, is_looking=False)


def test_an_order_at_its_end_needs_none() -> None:
    world = World()
    order = world.place()
    world.feed(e.OrderCancelled(order.order_id, OPS, staff=True))
    check_next_events(world.engine._book, Deadlines(), is_looking=False)
