"""One job after the other: who is about to finish may be asked for the next order, from where they are. Pure."""

from collections.abc import Iterable, Mapping

from core.ids import OrderId, UserId
from dispatch.book import Book
from dispatch.calendar import ends_at
from dispatch.endings import agreed_end_at
from dispatch.model import DutyState


def remaining_s(book: Book, user: UserId, now: float, chain_s: float, following: OrderId | None = None) -> float | None:
    """How long the technician's running service still takes; None unless they may be asked for what follows it.

    Args:
        following: An order of which an open offer is none in the way: they are asked for it already.
    """
    order_id = book.job_of.get(user)
    order = book.orders[order_id] if order_id is not None else None
    if order is None or agreed_end_at(order) is None:
        return None
    left_s = ends_at(order, now) - now
    technician = book.technicians.get(user)
    offer = book.live_offer(user)
    if left_s > chain_s or technician is None or (offer is not None and offer.order_id != following):
        return None
    if technician.duty is not DutyState.ON:
        return None
    return left_s if book.on_duty_here(technician) else None


def finishing(book: Book, now: float, chain_s: float, among: Iterable[UserId] | None = None) -> Mapping[UserId, float]:
    """Everyone who may be asked before their job is over, with the seconds that are left of it; nobody when 0.

    Args:
        among: Whom to look at; None for everyone.
    """
    if chain_s <= 0.0:
        return {}
    users = book.endings.within(chain_s, now) if among is None else among
    found = ((user, remaining_s(book, user, now, chain_s)) for user in users)
    return {user: left_s for user, left_s in found if left_s is not None}
