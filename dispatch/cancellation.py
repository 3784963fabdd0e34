"""What it costs to call an order off, now: one table for the preview, for cancelling and for a customer who is absent.

Amounts are whole fen. A part of an amount is rounded down, and so is time used to whole minutes: in the customer's
favour. Fee and refund always add up to what the order costs.
"""

from dataclasses import replace
from math import ceil, inf
from typing import Final

from dispatch.errors import OVER, conflict
from dispatch.model import Cancellation, CancellationStage, Order, OrderState
from dispatch.settings import CancellationSettings, StageFee

_S = CancellationStage
_MIN_S: Final = 60

_REFUSALS: Final = {
    OrderState.IN_SERVICE: ("order_in_service", "the service has begun: only staff can end it early"),
    **OVER,
    OrderState.UNFILLED: ("order_unfilled", "nobody took the order"),
}

_REACHED: Final = {
    OrderState.ASSIGNED: _S.ASSIGNED_LATE,
    OrderState.EN_ROUTE: _S.EN_ROUTE,
    OrderState.ARRIVED: _S.ARRIVED,
}
_RISING: Final = (_S.ASSIGNED_EARLY, _S.ASSIGNED_LATE, _S.EN_ROUTE, _S.ARRIVED)
"""Rows that an accepted order comes to before its service, in their order."""


def check(order: Order, *, staff: bool) -> None:
    """Raise ``Conflict`` when the order cannot be called off: by anybody, or not by its customer."""
    if order.state in _REFUSALS and not (staff and order.state is OrderState.IN_SERVICE):
        raise conflict(*_REFUSALS[order.state])


def stage_of(order: Order, now: float, settings: CancellationSettings) -> CancellationStage:
    """Which row of the table an order that can be called off stands in.

    Steps alone raise nothing: however early a technician has set out or come, an order for a time goes by the row
    that its time has come to. One that its customer's own block has released stands where it stood then: whoever does
    not want their technician any more has called off what was agreed.
    """
    if order.state is OrderState.IN_SERVICE:
        return _S.IN_SERVICE
    reached = _REACHED.get(order.state)
    if reached is None:
        return order.released_stage or _S.UNASSIGNED
    rows = _RISING[: _RISING.index(reached) + 1]
    return [row for row in rows if _counts_from(row, order, settings) <= now][-1]


def _counts_from(row: CancellationStage, order: Order, settings: CancellationSettings) -> float:
    """From when the row can count for an accepted order; of two rows the dearer never sooner."""
    begins_at = order.scheduled_for
    if begins_at is None or row is _S.ASSIGNED_EARLY:
        return -inf
    ahead_s = {_S.ASSIGNED_LATE: settings.late_s, _S.EN_ROUTE: min(order.eta_s or 0.0, settings.late_s)}
    return begins_at - ahead_s.get(row, 0.0)


def quote(
    order: Order, now: float, settings: CancellationSettings, stage: CancellationStage | None = None
) -> Cancellation:
    """Fee and refund if the order were called off now.

    Args:
        stage: The row to go by; None for the one in which the order stands.
    """
    row = stage or stage_of(order, now, settings)
    fee_fen = _fee_fen(order, row, now, settings)
    percents: StageFee = getattr(settings, row.value)
    return Cancellation(
        stage=row,
        fee_fen=fee_fen,
        refund_fen=order.service_fen + order.travel_fen - fee_fen,
        technician_fen=_part(fee_fen, percents.technician_percent),
        rises_at=None if stage is not None else _rises_at(order, now, settings, fee_fen),
    )


def _fee_fen(order: Order, row: CancellationStage, now: float, settings: CancellationSettings) -> int:
    percents: StageFee = getattr(settings, row.value)
    service_fen = order.service_fen if row is not _S.IN_SERVICE else _used_fen(order, now)
    return _part(service_fen, percents.service_percent) + _part(order.travel_fen, percents.travel_percent)


def _rises_at(order: Order, now: float, settings: CancellationSettings, fee_fen: int) -> float | None:
    """The next moment from which the order costs more while nothing but time passes."""
    if order.state is OrderState.IN_SERVICE:
        begun_at = _begun_at(order)
        for minute in range(int(max(now - begun_at, 0.0)) // _MIN_S + 1, ceil(order.duration_s / _MIN_S) + 1):
            if _fee_fen(order, _S.IN_SERVICE, begun_at + minute * _MIN_S, settings) > fee_fen:
                return begun_at + minute * _MIN_S
        return None
    reached = _REACHED.get(order.state)
    rows = () if reached is None else _RISING[: _RISING.index(reached) + 1]
    moments = ((_counts_from(row, order, settings), row) for row in rows)
    dearer = (at for at, row in moments if at > now and _fee_fen(order, row, at, settings) > fee_fen)
    return min(dearer, default=None)


def waived(order: Order, now: float, settings: CancellationSettings) -> Cancellation:
    """Called off at the platform's cost: everything is refunded."""
    return Cancellation(
        stage=stage_of(order, now, settings),
        fee_fen=0,
        refund_fen=order.service_fen + order.travel_fen,
        technician_fen=0,
        is_waived=True,
    )


def released(order: Order, now: float, settings: CancellationSettings) -> Order:
    """The order as its customer's own block takes it from its technician: what that costs is kept with it."""
    return replace(order, released_stage=stage_of(order, now, settings)) if settings.own_block_counts else order


def unserved(order: Order, now: float, settings: CancellationSettings) -> Cancellation:
    """An order whose customer wanted only somebody who does not come: refunded whole, but where they are the reason."""
    if order.released_stage is not None:
        return quote(order, now, settings)
    return Cancellation(
        stage=_S.UNASSIGNED, fee_fen=0, refund_fen=order.service_fen + order.travel_fen, technician_fen=0
    )


def _used_fen(order: Order, now: float) -> int:
    """The service's price for the whole minutes of it that have passed."""
    used_s = int(max(now - _begun_at(order), 0.0)) // _MIN_S * _MIN_S
    return min(order.service_fen * used_s // max(int(order.duration_s), 1), order.service_fen)


def _begun_at(order: Order) -> float:
    return order.changed_at if order.started_at is None else order.started_at


def _part(fen: int, percent: int) -> int:
    return fen * percent // 100
