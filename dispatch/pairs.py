"""One order and one technician: everything that speaks against the two, now or at the order's time. Pure."""

from typing import Final

from dispatch import candidates, chaining, leases, reach
from dispatch.book import Book
from dispatch.calendar import Calendars
from dispatch.model import Order, Technician
from dispatch.places import Places
from dispatch.ports import TravelRate
from dispatch.problem import Exclusion
from dispatch.settings import DispatchSettings

_OF_NOW: Final = frozenset(
    {Exclusion.OFF_DUTY, Exclusion.BUSY, Exclusion.OFFERED, *candidates.BY_INDEX, *candidates.BY_WAY}
)
"""Filters that say nothing about an order whose time is far off."""


class Pairs:
    """Judges pairs of one shard, outside of rounds."""

    def __init__(
        self, book: Book, places: Places, travel: TravelRate, calendars: Calendars, settings: DispatchSettings
    ) -> None:
        self._book = book
        self._places = places
        self._travel = travel
        self._calendars = calendars
        self._settings = settings

    def against(self, order: Order, who: Technician, now: float) -> tuple[list[Exclusion], float | None]:
        """Everything that speaks against the pair, and in how many seconds they could be there; None for unknown.

        For an order of tomorrow it means nothing where somebody is now and what they do, only what else they have
        then.
        """
        reasons, travel_s = self.against_now(order, who, now)
        if leases.is_judged_later(order, now, self._settings.lost):
            reasons, travel_s = [reason for reason in reasons if reason not in _OF_NOW], None
            job = self._book.job_of.get(who.technician)
            if job is not None and self._calendars.keeps_from(self._book.orders[job], order, now):
                reasons.insert(0, Exclusion.BUSY)
        if travel_s is None and self._calendars.clash(order, who.technician, now, now) is not None:
            reasons.append(Exclusion.CALENDAR)
        return reasons, travel_s

    def against_now(self, order: Order, who: Technician, now: float) -> tuple[list[Exclusion], float | None]:
        """The same as of this moment; who finishes soon counts as free from there, as in a round."""
        book, settings = self._book, self._settings
        left_s = chaining.remaining_s(book, who.technician, now, settings.schedule.chain_s)
        reasons, travel_s = reach.against(
            order,
            who,
            book,
            self._places,
            now=now,
            travel=self._travel,
            hours=self._calendars.hours,
            settings=settings,
            finishing={} if left_s is None else {who.technician: left_s},
        )
        own = book.live_offer(who.technician)
        if own is not None and own.order_id == order.order_id:
            reasons.remove(Exclusion.OFFERED)  # of this very order
        return reasons, travel_s
