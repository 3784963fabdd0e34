"""How an order finds its technician, as rules: whom it may ask at once, for how long, and what follows.

::

    auto        one offer at a time, best first
    broadcast   several at once; the first accept wins
    directed    only whom the customer picked may be asked, for a while; then auto, or the end
    manual      nobody is asked: staff give it to somebody

All four live in the same tables and events (docs/adr/0013); a change of mode is the arrow ``switch`` of ``order.py``.
"""

from collections.abc import Collection

from core.ids import UserId
from dispatch import schedule
from dispatch.model import Mode, Offer, Order, OrderReason
from dispatch.settings import DispatchSettings


def offers_len_max(mode: Mode, settings: DispatchSettings) -> int:
    """How many technicians an order in this mode may be offered to at once."""
    match mode:
        case Mode.BROADCAST:
            return settings.broadcast.offers_len
        case Mode.MANUAL:
            return 0
        case Mode.AUTO | Mode.DIRECTED:
            return 1


def search_ends_at(order: Order, settings: DispatchSettings) -> float:
    """When an order in matching is given up in its mode, unless a live offer is still open then."""
    # While an order is in matching, changed_at is when its matching began, or when its mode was changed.
    if order.mode is Mode.DIRECTED:
        window_ends_at = order.changed_at + order.down_s + settings.directed.window_s
        if order.scheduled_for is None or order.scheduled_for <= order.changed_at:
            return window_ends_at
        # Half of the time is left for somebody else to be found and to come. Before its lead time an order is asked
        # for as soon as its pick can be; then it waits for the pick to become free.
        half_at = (order.changed_at + order.scheduled_for) / 2.0
        is_early = order.changed_at < schedule.opens_at(order, settings.schedule)
        return min(window_ends_at, half_at) if is_early else half_at
    search_s = settings.manual.unfilled_after_s if order.mode is Mode.MANUAL else settings.unfilled_after_s
    latest_at = 0.0 if order.scheduled_for is None else order.scheduled_for + settings.schedule.late_max_s
    return max(order.changed_at + order.down_s + search_s, latest_at)


def offer_ends_at(order: Order, now: float, settings: DispatchSettings) -> float:
    """Until when an offer made now may be answered: the whole window for whom the customer picked."""
    usual_at = now + settings.offer_ttl_s
    if order.mode is not Mode.DIRECTED:
        return usual_at
    return max(usual_at, min(now + settings.directed.window_s, search_ends_at(order, settings)))


def reminders_due(offer: Offer, now: float, settings: DispatchSettings) -> int:
    """How many reminders of an offer are due by now."""
    # A deadline that fires at its very moment must count as reached whatever the subtraction rounds to.
    return int((now - offer.offered_at) / settings.directed.remind_every_s + 1e-3)


def keeps(order: Order, mode: Mode, picked: UserId | None, settings: DispatchSettings) -> int:
    """How many of its live offers, the cheapest, an order keeps that is looked for in ``mode`` from now on.

    An offer of a first refusal is longer than others, so it is kept only by the one it was made to.
    """
    if mode is Mode.DIRECTED:
        return int(order.picked == picked)
    return 0 if order.mode is Mode.DIRECTED else offers_len_max(mode, settings)


def why_unfilled(order: Order, refused: Collection[UserId]) -> OrderReason:
    """Why the search has failed.

    Args:
        refused: Who was asked for it and would not.
    """
    match order.mode:
        case Mode.DIRECTED:
            return OrderReason.PICKED_REFUSED if order.picked in refused else OrderReason.PICKED_UNAVAILABLE
        case Mode.MANUAL:
            return OrderReason.NOBODY_ASSIGNED
        case Mode.AUTO | Mode.BROADCAST:
            return OrderReason.NOBODY_ACCEPTED if refused else OrderReason.NOBODY_AVAILABLE
