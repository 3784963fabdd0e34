"""Offers that may be taken back: all but the best of an order that is offered to several. Pure.

Each of them is one chance more for an order that has one already. So an order that nobody is asked for may have its
technician instead, at the price of what a second technician is worth (``broadcast.extra_max_s``): somebody free
who is less than that farther away is asked before anybody's offer is taken back.
"""

from collections.abc import Iterable

from core.ids import OrderId, UserId
from dispatch.book import Book


def technicians(book: Book) -> dict[UserId, None]:
    """Everyone whose open offer may be taken back. Cost: one pass over the orders with open offers."""
    found: dict[UserId, None] = {}
    for order_id, live in book.live_of_order.items():
        if len(live) > 1:
            found.update(dict.fromkeys(_of_order(book, order_id)))
    return found


def among(book: Book, users: Iterable[UserId]) -> dict[UserId, None]:
    """Which of these are."""
    held = [(user, book.live_of_technician[user]) for user in users if user in book.live_of_technician]
    return {user: None for user, offer_id in held if user in _of_order(book, book.offers[offer_id].order_id)}


def _of_order(book: Book, order_id: OrderId) -> list[UserId]:
    offers = book.live_offers_of(order_id)
    best = min(offers, key=lambda offer: (offer.cost_s, offer.offered_at, offer.offer_id))
    return [o.technician for o in offers if o is not best and o.technician not in book.job_of]
