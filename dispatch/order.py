"""An order's life as a table. Who may cause an arrow is the engine's business, whether it exists is decided here.

::

    placed -> matching -> assigned -> en_route -> arrived -> in_service -> finished -> departed_safe -> confirmed
       |       ^ |  ^        |  |         |
       |       | |  +--------|--+---------+  (taken from its technician)
       |       | +-> unfilled|
       +-> scheduled <-------+               cancelled: from everything before finished
                      (taken from its technician long before its time, or its pick was asked early in vain)
"""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any, Final

from dispatch.errors import ImpossibleMove
from dispatch.model import Order, OrderReason, OrderState


class OrderMove(StrEnum):
    """What can happen to an order."""

    OPEN = "open"
    SCHEDULE = "schedule"
    """Wait for the lead time before the service."""
    ASSIGN = "assign"
    EN_ROUTE = "en_route"
    ARRIVE = "arrived"
    START = "in_service"
    FINISH = "finished"
    DEPART = "departed_safe"
    CONFIRM = "confirm"
    CANCEL = "cancel"
    GIVE_UP = "give_up"
    TAKE_BACK = "take_back"
    SHELVE = "shelve"
    """Taken back while its lead time has not begun."""
    POSTPONE = "postpone"
    """It waits for its lead time again: it was moved to a later time, or its pick was asked early, in vain."""
    SWITCH = "switch"
    """Its mode changes."""
    REOPEN = "reopen"
    """Staff have it looked for again."""


_S = OrderState
_M = OrderMove

TABLE: Final[dict[tuple[OrderState, OrderMove], OrderState]] = {
    (_S.PLACED, _M.OPEN): _S.MATCHING,
    (_S.PLACED, _M.SCHEDULE): _S.SCHEDULED,
    (_S.PLACED, _M.CANCEL): _S.CANCELLED,
    (_S.SCHEDULED, _M.OPEN): _S.MATCHING,
    (_S.SCHEDULED, _M.ASSIGN): _S.ASSIGNED,
    (_S.SCHEDULED, _M.SWITCH): _S.SCHEDULED,
    (_S.SCHEDULED, _M.GIVE_UP): _S.UNFILLED,
    (_S.SCHEDULED, _M.CANCEL): _S.CANCELLED,
    (_S.MATCHING, _M.ASSIGN): _S.ASSIGNED,
    (_S.MATCHING, _M.SWITCH): _S.MATCHING,
    (_S.MATCHING, _M.POSTPONE): _S.SCHEDULED,
    (_S.MATCHING, _M.GIVE_UP): _S.UNFILLED,
    (_S.MATCHING, _M.CANCEL): _S.CANCELLED,
    (_S.ASSIGNED, _M.EN_ROUTE): _S.EN_ROUTE,
    (_S.ASSIGNED, _M.TAKE_BACK): _S.MATCHING,
    (_S.ASSIGNED, _M.SHELVE): _S.SCHEDULED,
    (_S.ASSIGNED, _M.CANCEL): _S.CANCELLED,
    (_S.EN_ROUTE, _M.ARRIVE): _S.ARRIVED,
    (_S.EN_ROUTE, _M.TAKE_BACK): _S.MATCHING,
    # Staff gave it to somebody early, who set out at once.
    (_S.EN_ROUTE, _M.SHELVE): _S.SCHEDULED,
    (_S.EN_ROUTE, _M.CANCEL): _S.CANCELLED,
    (_S.ARRIVED, _M.START): _S.IN_SERVICE,
    (_S.ARRIVED, _M.CANCEL): _S.CANCELLED,
    (_S.IN_SERVICE, _M.FINISH): _S.FINISHED,
    (_S.IN_SERVICE, _M.CANCEL): _S.CANCELLED,
    (_S.FINISHED, _M.DEPART): _S.DEPARTED_SAFE,
    # The customer may be quicker than the technician's last tap.
    (_S.FINISHED, _M.CONFIRM): _S.CONFIRMED,
    (_S.DEPARTED_SAFE, _M.CONFIRM): _S.CONFIRMED,
    (_S.UNFILLED, _M.REOPEN): _S.MATCHING,
}

STEPS: Final = (_M.EN_ROUTE, _M.ARRIVE, _M.START, _M.FINISH, _M.DEPART)
"""The technician's own moves in order; their values are the states they lead to."""

PATH: Final = (
    _S.PLACED,
    _S.MATCHING,
    _S.ASSIGNED,
    _S.EN_ROUTE,
    _S.ARRIVED,
    _S.IN_SERVICE,
    _S.FINISHED,
    _S.DEPARTED_SAFE,
    _S.CONFIRMED,
)
"""The way of an order that goes well."""

JOB_STATES: Final = frozenset({_S.ASSIGNED, _S.EN_ROUTE, _S.ARRIVED, _S.IN_SERVICE, _S.FINISHED})
"""States in which the order has a technician who has not left yet."""

SETTLED_STATES: Final = frozenset({_S.CONFIRMED, _S.CANCELLED, _S.UNFILLED})
"""States that dispatch itself never leaves; staff may reopen an unfilled order."""

_REASONS: Final = frozenset(OrderReason)


def can(order: Order, move: OrderMove) -> bool:
    """Whether the table has this arrow."""
    return (order.state, move) in TABLE


def is_booking(order: Order) -> bool:
    """Whether the order is in its technician's calendar while they do something else until they set out."""
    return order.state is OrderState.ASSIGNED and order.booked_for is not None


def is_job(order: Order) -> bool:
    """Whether the order keeps its technician busy now."""
    return order.state in JOB_STATES and order.freed_at is None and not is_booking(order)


def is_coming(order: Order) -> bool:
    """Whether its technician is about to set out or on the way: only then does a travel time say anything."""
    return order.state in (OrderState.ASSIGNED, OrderState.EN_ROUTE) and not is_booking(order)


def reason_of(order: Order) -> OrderReason | None:
    """The stable word why it is as it is, None for none: never what somebody wrote."""
    return OrderReason(order.reason) if order.reason in _REASONS else None


def advance(order: Order, move: OrderMove, now: float, story: Sequence[str] = (), **facts: Any) -> Order:
    """The order after ``move``; ``facts`` are other fields that change with it. The version is the book's.

    Raises:
        ImpossibleMove: The table has no such arrow.
    """
    state = TABLE.get((order.state, move))
    if state is None:
        raise ImpossibleMove(f"order {order.order_id}", order.state, move, story)
    return replace(order, state=state, changed_at=now, **facts)
