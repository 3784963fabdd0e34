"""A technician holds an order until they arrive as long as they are heard: when that ends, and what then. Pure."""

from typing import Final

from dispatch.model import Order, OrderState
from dispatch.settings import LostSettings

HELD_STATES: Final = frozenset({OrderState.ASSIGNED, OrderState.EN_ROUTE})
"""States in which an order can be given to somebody else."""


def is_judged_later(order: Order, now: float, settings: LostSettings) -> bool:
    """Whether it does not matter yet who is on duty, free or near: their lease is looked at before the order's time."""
    return order.scheduled_for is not None and order.scheduled_for - now > settings.booked_check_s


def looked_at(order: Order, settings: LostSettings) -> float:
    """When it is first looked whether the technician is still there: of a booked job shortly before its time."""
    soonest_at = order.changed_at + settings.silent_s
    return soonest_at if order.booked_for is None else max(soonest_at, order.booked_for - settings.booked_check_s)


def held_until(heard_at: float, settings: LostSettings, *, on_duty: bool) -> float:
    """Until when somebody last heard at ``heard_at`` holds their order; who is not on duty holds none."""
    return heard_at + settings.silent_s if on_duty else float("-inf")
