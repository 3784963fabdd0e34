"""When an order that is not for now begins to look for its technician, and how far ahead it may be placed. Pure."""

from core.errors import Invalid
from dispatch.model import Order
from dispatch.order import OrderMove
from dispatch.settings import ScheduleSettings


def check(scheduled_for: float | None, now: float, settings: ScheduleSettings) -> None:
    """Raise ``Invalid`` (``scheduled_in_past``, ``scheduled_too_far``) for a time that no order may have."""
    if scheduled_for is None:
        return
    if scheduled_for < now:
        raise Invalid(
            f"must not be in the past: it is {now - scheduled_for:.0f} s before the server's clock",
            code="scheduled_in_past",
            field="scheduled_for",
        )
    if scheduled_for > now + settings.ahead_max_s:
        raise Invalid(
            f"must be at most {settings.ahead_max_s:.0f} s ahead", code="scheduled_too_far", field="scheduled_for"
        )


def opens_at(order: Order, settings: ScheduleSettings) -> float:
    """When matching begins: at once, or a lead time before the service."""
    return order.placed_at if order.scheduled_for is None else order.scheduled_for - settings.lead_s


def opening(order: Order, now: float, settings: ScheduleSettings) -> OrderMove:
    """What a new order does first."""
    return OrderMove.SCHEDULE if opens_at(order, settings) > now else OrderMove.OPEN


def taking_back(order: Order, now: float, settings: ScheduleSettings) -> OrderMove:
    """Where an order goes that its technician has lost: an early one waits for its lead time again."""
    return OrderMove.SHELVE if opens_at(order, settings) > now else OrderMove.TAKE_BACK
