"""Whether an order and a technician still fit each other, when somebody acts on what was found a while ago.

The rule itself is the round's (``pairs.py`` names its doors); which of its reasons counts when is ``exclusions.RULES``.
"""

from collections.abc import Sequence
from math import inf
from typing import Final

import numpy as np

from core.errors import Conflict
from core.ids import OrderId, UserId
from dispatch import candidates, chaining, eligibility, reach, spare
from dispatch.book import Book
from dispatch.calendar import Calendars, ends_at, service_begins_at
from dispatch.exclusions import RULES, Moment, labels
from dispatch.model import Order, OrderState, Technician
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
        found, travel_s = self._pairs.against_now(order, who, now)
        if travel_s is None and self._walks_home_at_night(order, who, now):
            found.append(Exclusion.NIGHT_TRANSPORT)
        return [
            reason
            for reason in found
            if RULES[reason].asked & moments
            and reason.label not in order.override
            and not (by_staff and RULES[reason].is_overridable)
        ]

    def _walks_home_at_night(self, order: Order, who: Technician, now: float) -> bool:
        """As ``eligibility.walks_at_night`` of somebody whose place is not known, by the way that the order knows."""
        rules = self._settings.eligibility
        if not eligibility.walks_far(who, order.way_m, rules):
            return False
        way_s = self._way_s(order, now)
        begins_at = service_begins_at(order, now + way_s)
        out_at, home_at = begins_at - way_s, begins_at + order.duration_s + way_s
        return bool(self._calendars.hours.nights(rules.night_begins_h, rules.night_ends_h, out_at, home_at))

    def _way_s(self, order: Order, now: float) -> float:
        start_s, s_per_m = self._travel.rate(now)
        return start_s + s_per_m * (order.way_m or 0.0)

    def fits_until(self, order: Order, now: float) -> dict[Exclusion, float]:
        """Until when the running service of an order may last before each rule of ``Moment.TIME`` speaks against it.

        The way home is taken to be as long as the way there.
        """
        who = self._book.technicians.get(order.technician) if order.technician is not None else None
        if who is None:
            return {}
        rules = self._settings.eligibility
        needed = eligibility.papers_needed(self._book.shard.city, rules)
        found = {Exclusion.PAPERS: eligibility.papers_until(who, needed)}
        way_s = self._way_s(order, now)
        walks = eligibility.walks_far(who, order.way_m, rules)
        lit_until = eligibility.lit_until(ends_at(order, now) + way_s, self._calendars.hours, rules) if walks else inf
        found[Exclusion.NIGHT_TRANSPORT] = lit_until - way_s
        return {reason: until_at for reason, until_at in found.items() if reason.label not in order.override}

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
            raise Conflict(
                f"the technician does not fit the order any more: {labels(reasons)}",
                code="no_longer_fits",
                facts={"lacking": [reason.label for reason in reasons]},
            )

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
            and not self._is_longer(pair, now)
        }

    def _is_longer(self, pair: Pair, now: float) -> bool:
        """Whether their running service was made longer while a thread was solving, beyond when they would be there."""
        left_s = chaining.remaining_s(self._book, UserId(pair.technician), now, self._settings.schedule.chain_s)
        return left_s is not None and left_s > pair.travel_s

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
            spare=spare.among(self._book, users),
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
