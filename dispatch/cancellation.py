"""What it costs to call an order off, now: one table for the preview, for cancelling and for a customer who is absent.

Amounts are whole fen. A part of an amount is rounded down, and so is time used to whole minutes: in the customer's
favour. Fee and refund always add up to what the order costs.
"""

from typing import Final

from dispatch.errors import OVER, conflict
from dispatch.model import Cancellation, CancellationStage, Order, OrderState
from dispatch.settings import CancellationSettings, StageFee

NO_SHOW: Final = CancellationStage.NO_SHOW.value
"""Reason of an order whose customer was not there."""

_S = CancellationStage
_MIN_S: Final = 60

_REFUSALS: Final = {
    OrderState.IN_SERVICE: ("order_in_service", "the service has begun: only staff can end it early"),
    **OVER,
    OrderState.UNFILLED: ("order_unfilled", "nobody took the order"),
}

_STAGES: Final = {
    OrderState.EN_ROUTE: _S.EN_ROUTE,
    OrderState.ARRIVED: _S.ARRIVED,
    OrderState.IN_SERVICE: _S.IN_SERVICE,
}


def check(order: Order, *, staff: bool) -> None:
    """Raise ``Conflict`` when the order cannot be called off: by anybody, or not by its customer."""
    if order.state in _REFUSALS and not (staff and order.state is OrderState.IN_SERVICE):
        raise conflict(*_REFUSALS[order.state])


def stage_of(order: Order, now: float, settings: CancellationSettings) -> CancellationStage:
    """Which row of the table an order that can be called off stands in."""
    if order.state in _STAGES:
        return _STAGES[order.state]
    if order.state is not OrderState.ASSIGNED:
        return _S.UNASSIGNED
    begins_at = order.placed_at if order.scheduled_for is None else order.scheduled_for
    return _S.ASSIGNED_EARLY if begins_at - now > settings.late_s else _S.ASSIGNED_LATE


def quote(
    order: Order, now: float, settings: CancellationSettings, stage: CancellationStage | None = None
) -> Cancellation:
    """Fee and refund if the order were called off now.

    Args:
        stage: The row to go by; None for the one in which the order stands.
    """
    stage = stage or stage_of(order, now, settings)
    row: StageFee = getattr(settings, stage.value)
    service_fen = order.service_fen if stage is not _S.IN_SERVICE else _used_fen(order, now)
    fee_fen = _part(service_fen, row.service_percent) + _part(order.travel_fen, row.travel_percent)
    return Cancellation(
        stage=stage,
        fee_fen=fee_fen,
        refund_fen=order.service_fen + order.travel_fen - fee_fen,
        technician_fen=_part(fee_fen, row.technician_percent),
        rises_at=order.scheduled_for - settings.late_s
        if stage is _S.ASSIGNED_EARLY and order.scheduled_for is not None
        else None,
    )


def waived(order: Order, now: float, settings: CancellationSettings) -> Cancellation:
    """Called off at the platform's cost: everything is refunded."""
    return Cancellation(
        stage=stage_of(order, now, settings),
        fee_fen=0,
        refund_fen=order.service_fen + order.travel_fen,
        technician_fen=0,
        is_waived=True,
    )


def free(order: Order) -> Cancellation:
    """An order whose customer wanted only somebody who does not come: everything is refunded."""
    return Cancellation(
        stage=_S.UNASSIGNED, fee_fen=0, refund_fen=order.service_fen + order.travel_fen, technician_fen=0
    )


def _used_fen(order: Order, now: float) -> int:
    """The service's price for the whole minutes of it that have passed."""
    begun_at = order.changed_at if order.started_at is None else order.started_at
    used_s = int(max(now - begun_at, 0.0)) // _MIN_S * _MIN_S
    return min(order.service_fen * used_s // max(int(order.duration_s), 1), order.service_fen)


def _part(fen: int, percent: int) -> int:
    return fen * percent // 100
