"""What of an order stands in its technician's record: time given away, as every city of theirs sees it. Pure.

A booked job begins later. A job that is being done stands there too, for the other cities alone: its own city knows the
job itself, and may offer what follows it without a buffer.
"""

from dispatch.endings import agreed_end_at, begun_at
from dispatch.model import Booking, Order, OrderState
from dispatch.order import is_booking, is_job


def booking(order: Order) -> Booking | None:
    """The time that an order takes of its technician, by what is known of it; None when it takes none any more.

    A running job is estimated at each of its steps: on the way, then the whole service, then what is left of it. What
    has not begun by its time takes as long as ever (``until_at``).
    """
    if is_booking(order) and order.booked_for is not None:
        return Booking(order.order_id, order.city, order.site.point, order.booked_for, order.duration_s)
    if not is_job(order):
        return None
    begins_at, duration_s = order.changed_at, order.duration_s
    match order.state:
        case OrderState.ASSIGNED | OrderState.EN_ROUTE:
            begins_at = max(order.changed_at + (order.eta_s or 0.0), order.scheduled_for or 0.0)
        case OrderState.ARRIVED:
            begins_at = max(order.changed_at, order.scheduled_for or 0.0)
        case OrderState.IN_SERVICE:
            begins_at = begun_at(order)
        case _:
            duration_s = 0.0  # finished: they only have to leave
    return Booking(
        order.order_id,
        order.city,
        order.site.point,
        begins_at,
        duration_s,
        busy_since=min(order.changed_at, begins_at),
        is_begun=agreed_end_at(order) is not None,
    )


def from_at(taken: Booking) -> float:
    """Since when the time is given away."""
    return taken.begins_at if taken.busy_since is None else taken.busy_since


def until_at(taken: Booking, now: float) -> float:
    """Until when, as seen now: what has not begun in time takes as long as ever; a service is over or about to be."""
    if taken.is_begun:
        return max(taken.begins_at + taken.duration_s, now)
    return max(taken.begins_at, now) + taken.duration_s
