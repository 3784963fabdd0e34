"""A shard's state as committed: what everybody but the engine may read while a turn is on its way to the store.

A turn writes the book first and commits after; until then ``Book.aside`` has what its values were. Whoever shows
state to people reads it here: a commit may still fail, and then what was shown never happened.
"""

from core.ids import OfferId, OrderId, UserId
from dispatch import rating
from dispatch.book import Book, in_order
from dispatch.model import Offer, OfferState, Order, Technician
from dispatch.order import SETTLED_STATES
from dispatch.settings import RatingSettings


class Stored:
    """Look-ups in the book as it was when it was last committed. Cost: as the book's, plus what the turn changed."""

    def __init__(self, book: Book, settings: RatingSettings) -> None:
        self._book = book
        self._settings = settings

    def order(self, order_id: OrderId) -> Order | None:
        """An open or recently settled order."""
        aside = self._book.aside.orders
        return aside[order_id] if order_id in aside else self._book.orders.get(order_id)

    def offer(self, offer_id: OfferId) -> Offer | None:
        """An offer of such an order."""
        aside = self._book.aside.offers
        return aside[offer_id] if offer_id in aside else self._book.offers.get(offer_id)

    def technician(self, user: UserId) -> Technician | None:
        """A technician of the city."""
        aside = self._book.aside.technicians
        return aside[user] if user in aside else self._book.technicians.get(user)

    def orders(self) -> list[Order]:
        """All orders in memory, open and settled, oldest first."""
        aside = self._book.aside.orders
        untouched = (order for order_id, order in self._book.orders.items() if order_id not in aside)
        return in_order([*untouched, *(order for order in aside.values() if order is not None)])

    def open_orders(self) -> list[Order]:
        """All orders that are not settled, oldest first."""
        return [order for order in self.orders() if order.state not in SETTLED_STATES]

    def orders_of(self, user: UserId) -> list[Order]:
        """Open orders of a customer or technician, oldest first."""
        aside = self._book.aside.orders
        untouched = [order for order in self._book.open_orders_of(user) if order.order_id not in aside]
        before = [
            order
            for order in aside.values()
            if order is not None and order.state not in SETTLED_STATES and user in (order.customer, order.technician)
        ]
        return in_order([*untouched, *before])

    def live_offer(self, user: UserId) -> Offer | None:
        """The offer that this technician may take."""
        aside = self._book.aside.offers
        offer_id = self._book.live_of_technician.get(user)
        if offer_id is not None and offer_id not in aside:
            return self._book.offers[offer_id]
        before = (offer for offer in aside.values() if offer is not None and offer.technician == user)
        return next((offer for offer in before if offer.state is OfferState.PENDING), None)

    def shown_rating(self, user: UserId, now: float) -> float | None:
        """Mean rating as customers see it: None without ratings."""
        known = self.technician(user)
        if known is None or known.rating_weight == 0.0:
            return None
        stars = self._book.aside.city or self._book.city
        city = rating.city_mean(stars.at_time(now, self._settings.half_life_days), self._settings)
        return rating.mean(known, city, now, self._settings)
