"""Whom the customer picked had accepted, and the order is taken from them: why, who comes now, and what is told."""

from collections.abc import Callable

import pytest

from core.ids import UserId
from dispatch import events as e
from dispatch.events import Effect, Step
from dispatch.model import Cancellation, CancellationStage, Fallback, Mode, Order, OrderState
from dispatch.settings import DirectedSettings, LostSettings, OverdueSettings
from tests.unit.dispatch.world import ANNA, OPS, T0, World, asks, heard, north, tells

TINA, BEN = UserId("tina"), UserId("ben")


def picked(fallback: Fallback, *, is_set_out: bool = True) -> tuple[World, Order]:
    """Anna has picked Tina, who has accepted; Ben is there, too."""
    world = World(
        directed=DirectedSettings(window_s=100.0),
        lost=LostSettings(silent_s=300.0),
        overdue=OverdueSettings(grace_s=60.0, redispatch_s=60.0),
    )
    world.join("tina")
    order = world.place(mode=Mode.DIRECTED, technician=TINA, fallback=fallback)
    world.accept("tina")
    if is_set_out:
        world.steps(order, Step.EN_ROUTE)
    world.join("ben", 2_000)
    return world, order


def falls_silent(world: World, order: Order) -> list[Effect]:
    world.tick(290)
    world.seen(BEN, north(2_000))
    return world.tick(300)


def does_not_set_out(world: World, order: Order) -> list[Effect]:
    world.tick(60)
    for user in (TINA, BEN):
        world.seen(user, north(700))
    return world.tick(120)


def gives_it_away(world: World, order: Order) -> list[Effect]:
    return world.feed(e.OrderReassigned(order.order_id, TINA, "unwell", staff=False))


def staff_take_it(world: World, order: Order) -> list[Effect]:
    return world.feed(e.OrderReassigned(order.order_id, OPS, "she fell ill"))


CAUSES = [
    (falls_silent, "", "technician_lost"),
    (does_not_set_out, "", "not_set_out"),
    (gives_it_away, "unwell", "reassigned"),
]
STAFF = (staff_take_it, "she fell ill", "reassigned")


def lost(fallback: Fallback, cause: Callable[[World, Order], list[Effect]]) -> tuple[World, Order, list[Effect]]:
    world, order = picked(fallback, is_set_out=cause is not does_not_set_out)
    return world, order, heard(cause(world, order))


def reasons(world: World) -> list[tuple[str, object]]:
    told = ("take_back", "switch", "cancelled", "unfilled")
    return [(x.what, x.detail.get("reason")) for x in world.ledger.events if x.what in told]


@pytest.mark.parametrize(("cause", "words", "why"), [*CAUSES, STAFF])
def test_somebody_else_is_looked_for_and_the_order_keeps_its_place(
    cause: Callable[[World, Order], list[Effect]], words: str, why: str
) -> None:
    world, order, effects = lost(Fallback.AUTO, cause)
    reassigned = tells("reassigned", previous_technician="tina", order__reason=why, order__said=words)
    assert effects == [reassigned, tells("switched", order__mode=Mode.AUTO, order__reason=why), asks("ben")]
    assert reasons(world) == [("take_back", why), ("switch", why)]
    again = world.order(order.order_id)
    assert (again.state, again.placed_at, again.lost_by) == (OrderState.MATCHING, T0, (TINA,))
    assert world.ledger.rounds[-1].orders == (order.order_id,)


@pytest.mark.parametrize(("cause", "words", "why"), CAUSES)
def test_who_wanted_nobody_else_gets_everything_back_and_reads_the_true_reason(
    cause: Callable[[World, Order], list[Effect]], words: str, why: str
) -> None:
    world, order, effects = lost(Fallback.CANCEL, cause)
    assert effects == [tells("reassigned", order__reason=why, order__said=words), tells("cancelled", order__reason=why)]
    assert reasons(world) == [("take_back", why), ("cancelled", why)]
    ended = world.order(order.order_id)
    assert ended.cancellation == Cancellation(CancellationStage.UNASSIGNED, 0, 32_000, 0)
    assert (ended.said, ended.said_by) == ((words, TINA) if words else ("", None))


def test_staff_who_take_it_from_the_pick_want_somebody_else_whatever_the_customer_chose() -> None:
    world, order, effects = lost(Fallback.CANCEL, staff_take_it)
    assert effects == [tells("reassigned"), tells("switched", order__mode=Mode.AUTO), asks("ben")]
    assert world.order(order.order_id).state is OrderState.MATCHING


def test_who_lost_an_order_has_not_refused_it() -> None:
    world = World(unfilled_after_s=600.0, lost=LostSettings(silent_s=300.0))
    world.join("tina")
    order = world.place()
    world.accept("tina")
    world.tick(300)
    assert tells("unfilled", order__reason="nobody_available") in world.tick(900)
    assert world.order(order.order_id).lost_by == (TINA,)


def test_a_second_pick_who_is_not_there_has_not_refused_because_the_first_did() -> None:
    world = World(directed=DirectedSettings(window_s=100.0))
    world.join("tina")
    order = world.place(mode=Mode.DIRECTED, technician=TINA)
    world.feed(e.OfferDeclined(world.offer_of("tina").offer_id, TINA))
    world.put("ben")
    world.feed(e.ModeSet(order.order_id, Mode.DIRECTED, OPS, technician=BEN, fallback=Fallback.CANCEL))
    assert tells("cancelled", order__reason="picked_unavailable") in world.tick(100)
    assert world.order(order.order_id).customer == ANNA
