"""When a job should have come to its next step: who holds it is reminded, staff are told, and what then. Pure."""

from dispatch.model import Order, OrderState
from dispatch.settings import OverdueSettings


def due_at(order: Order, settings: OverdueSettings) -> float | None:
    """When a job that stands where it stands is next looked at; None for what no technician holds up."""
    if order.overdue_at is not None:
        return order.overdue_at + (settings.redispatch_s if may_be_taken(order, settings) else settings.again_s)
    match order.state:
        case OrderState.ASSIGNED:
            soonest_at = order.changed_at + settings.grace_s
            if order.booked_for is None:
                return soonest_at
            # What follows a running service has an estimate that counts the rest of that service: it is no way.
            way_s = order.eta_s or 0.0 if order.scheduled_for is not None else 0.0
            return max(soonest_at, order.booked_for - way_s)
        case OrderState.EN_ROUTE:
            there_at = order.changed_at + (order.eta_s or 0.0)
            return max(there_at, order.scheduled_for or there_at) + settings.grace_s
        case OrderState.ARRIVED:
            # Everybody was told when the wait for an absent customer was over.
            waited_at = max(order.waits_until or order.changed_at, order.scheduled_for or 0.0)
            return waited_at + settings.again_s
        case OrderState.IN_SERVICE:
            return (order.started_at or order.changed_at) + order.duration_s + settings.grace_s
        case _:
            return None


def may_be_taken(order: Order, settings: OverdueSettings) -> bool:
    """Whether somebody else is looked for when the technician has not set out; never for whom staff have chosen."""
    return settings.repair and order.state is OrderState.ASSIGNED and order.pinned_by is None


def again_at(order: Order, now: float, settings: OverdueSettings) -> float:
    """When staff are told once more of a job that still stands: each time the pause is twice as long."""
    since_at = order.overdue_at if order.overdue_at is not None else now
    return now + max(settings.again_s, now - since_at)
