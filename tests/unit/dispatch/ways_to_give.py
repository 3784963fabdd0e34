"""What tests of the modes, of picks and of the desk have in common: a small city, and orders given in it."""

from collections.abc import Sequence
from typing import Any

import pytest

from core.errors import DoorstepError
from core.ids import UserId
from dispatch import events as e
from dispatch.events import CloseReason
from dispatch.model import Fallback, Mode, Order
from dispatch.settings import BroadcastSettings, DirectedSettings
from tests.unit.dispatch.world import OPS, T0, World

THREE = BroadcastSettings(offers_len=3)
WINDOW = DirectedSettings(window_s=100.0, remind_every_s=30.0)
TOMORROW = T0 + 86_400.0


def a_city(technicians: int = 4, **settings: Any) -> World:
    """Technicians ``t1``, ``t2`` … at 400 m, 800 m … north."""
    world = World(**settings)
    for number in range(1, technicians + 1):
        world.join(f"t{number}", 400.0 * number)
    return world


def everybody_acknowledges(world: World) -> None:
    """All phones acknowledge their offers."""
    for offer in world.engine.live_offers():
        world.feed(e.OfferReceived(offer.offer_id, offer.technician))


def live(world: World) -> list[str]:
    """Who has a live offer."""
    return sorted(offer.technician for offer in world.engine.live_offers())


def closed(effects: Sequence[e.Effect]) -> dict[str, CloseReason]:
    """Whose offers end, and why."""
    return {x.offer.technician: x.reason for x in effects if isinstance(x, e.CloseOffer)}


def directed(world: World, picked: str, fallback: Fallback = Fallback.AUTO) -> Order:
    """A directed order."""
    return world.place(mode=Mode.DIRECTED, technician=UserId(picked), fallback=fallback)


def give(world: World, order: Order, to: str, *override: str) -> list[e.Effect]:
    """Staff give an order to somebody."""
    return world.feed(e.OrderAssigned(order.order_id, UserId(to), OPS, "the customer asked", override))


def refused(world: World, event: e.DispatchEvent) -> DoorstepError:
    """The refusal of an event, which has changed nothing."""
    with pytest.raises(DoorstepError) as caught:
        world.engine.handle(event, world.now)
    assert not world.engine.changes
    return caught.value


def switch(world: World, order: Order, mode: Mode, **facts: Any) -> list[e.Effect]:
    """Staff change the mode of an order."""
    return world.feed(e.ModeSet(order.order_id, mode, OPS, "busy evening", **facts))
