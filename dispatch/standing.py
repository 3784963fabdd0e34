"""Whether an order and a technician still fit each other, when somebody acts on what was found a while ago.

The rule itself is the round's (``pairs.py`` names its doors); which of its reasons counts when is ``exclusions.RULES``.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from core.ids import OrderId, UserId
from dispatch import candidates, chaining, reach
from dispatch.book import Book
from dispatch.calendar import Calendars
from dispatch.errors import conflict
from dispatch.exclusions import RULES, Moment, labels
from dispatch.model import Order, OrderState
from dispatch.pairs import Pairs
from dispatch.places import Places
from dispatch.ports import TravelRate
from dispatch.problem import Exclusion, Pair
from dispatch.settings import DispatchSettings

_CHUNK_LEN: Final = 64
"""Pairs that are looked at together: all of their orders are compared with all of their technicians."""


class Standing:
    """Pairs of one shard. Part of the engine; pure."""

    def __init__(
        self,
        book: Book,
        places: Places,
        travel: TravelRate,
        calendars: Calendars,
        pairs: Pairs,
        settings: DispatchSettings,
    ) -> None:
        self._book = book
        self._places = places
        self._travel = travel
        self._calendars = calendars
        self._pairs = pairs
        self._settings = settings

    # -- one pair -------------------------------------------------------------------------------------------

    def against(
        self, order: Order, user: UserId, now: float, moments: Moment, *, by_staff: bool = False
    ) -> list[Exclusion]:
        """What speaks against the pair, of that which counts at any of these moments; the most telling first.

        What staff passed over by name when they gave the order to the technician does not count.

        Args:
            by_staff: Staff stand behind it: whatever they could have passed over does not count either.
        """
        who = self._book.technicians.get(user)
        if who is None:
            return [Exclusion.CITY]
        found, _ = self._pairs.against_now(order, who, now)
        return [
            reason
            for reason in found
            if RULES[reason].asked & moments
            and reason.label not in order.override
            and not (by_staff and RULES[reason].is_overridable)
        ]

    def misfits(self, user: UserId, now: float) -> dict[OrderId, list[Exclusion]]:
        """Orders that the technician has not arrived at and that their record does not fit, with what it lacks."""
        found = {}
        for order in self._book.open_orders_of(user):
            if order.technician == user and order.state in (OrderState.ASSIGNED, OrderState.EN_ROUTE):
                reasons = self.against(order, user, now, Moment.CHANGE)
                if reasons:
                    found[order.order_id] = reasons
        return found

    def check(self, order: Order, user: UserId, now: float, moments: Moment, *, by_staff: bool = False) -> None:
        """Raise ``Conflict`` (``no_longer_fits``), naming each reason of ``against``."""
        reasons = self.against(order, user, now, moments, by_staff=by_staff)
        if reasons:
            raise conflict("no_longer_fits", f"the technician does not fit the order any more: {labels(reasons)}")

    # -- many pairs -----------------------------------------------------------------------------------------

    def holding(self, pairs: Sequence[Pair], now: float) -> set[tuple[str, str]]:
        """Which pairs of a round no filter speaks against now, as (order, technician). Cost: about 20 us a pair.

        The calendar is judged by the way that the round knew.
        """
        known = [pair for pair in pairs if self._is_known(pair)]
        return {
            (pair.order_id, pair.technician)
            for at in range(0, len(known), _CHUNK_LEN)
            for pair in self._fitting(known[at : at + _CHUNK_LEN], now)
            if self._calendars.clash(
                self._book.orders[OrderId(pair.order_id)], UserId(pair.technician), now, now + pair.travel_s
            )
            is None
        }

    def _is_known(self, pair: Pair) -> bool:
        user = UserId(pair.technician)
        is_here = user in self._book.technicians and self._places.slot(user) is not None
        return is_here and OrderId(pair.order_id) in self._book.waiting

    def _fitting(self, pairs: Sequence[Pair], now: float) -> list[Pair]:
        order_ids = list(dict.fromkeys(OrderId(pair.order_id) for pair in pairs))
        users = list(dict.fromkeys(UserId(pair.technician) for pair in pairs))
        problem = reach.build(
            [self._book.orders[order_id] for order_id in order_ids],
            self._book,
            self._places,
            now=now,
            seed=0,
            travel=self._travel.rate(now),
            hours=self._calendars.hours,
            settings=self._settings,
            users=users,
            finishing=chaining.finishing(self._book, now, self._settings.schedule.chain_s, among=users),
        )
        # An order that is offered to several has several rows: they are alike in this.
        row_of = {order_id: row for row, order_id in reversed(list(enumerate(problem.orders.ids)))}
        rows = np.array([row_of[order_id] for order_id in order_ids], dtype=np.int64)
        against = np.zeros((len(rows), len(users)), dtype=np.bool_)
        against |= problem.technicians.hard[None, :] != 0
        for reason, mask in candidates.filters(problem, rows, candidates.distances_m(problem, rows)):
            if reason is not Exclusion.CALENDAR:
                against |= mask
        row, column = ({id_: i for i, id_ in enumerate(ids)} for ids in (order_ids, users))
        return [p for p in pairs if not against[row[OrderId(p.order_id)], column[UserId(p.technician)]]]
