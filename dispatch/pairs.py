"""One order and one technician: everything that speaks against the two, now or at the order's time. Pure.

There is one rule, the round's: ``reach.build`` makes columns, ``reach.hard_reasons`` and ``candidates.filters`` say
what speaks against whom in them. Its doors:

- rounds, their explanations and ``what-if`` go through it as they are, all orders by all technicians;
- ``Pairs`` is for a decision about one order and one person: a round of one pair, in full. Staff who assign and
  customers who pick go through it;
- ``Standing`` is for pairs that were found a while ago: of single ones it asks ``Pairs`` for what counts at that moment
  (``exclusions.Moment``), of the many that a thread has solved it asks the columns, 64 at a time.

A test holds the doors against each other.
"""

from dataclasses import replace
from math import inf

import numpy as np

from core.ids import UserId
from dispatch import candidates, chaining, cost, eligibility, learned_ways, leases, reach
from dispatch.book import Book
from dispatch.calendar import Calendars
from dispatch.exclusions import BY_INDEX, BY_WAY, OF_NOW
from dispatch.model import Order, Technician
from dispatch.places import Places
from dispatch.ports import TravelRate
from dispatch.problem import Exclusion, FloatArray, IntArray, Problem
from dispatch.settings import DispatchSettings


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
            reasons, travel_s = [reason for reason in reasons if reason not in OF_NOW], None
            job = self._book.job_of.get(who.technician)
            if job is not None and self._calendars.keeps_from(self._book.orders[job], order, now):
                reasons.insert(0, Exclusion.BUSY)
        if travel_s is None and self._calendars.clash(order, who.technician, now, now) is not None:
            reasons.append(Exclusion.CALENDAR)
        return reasons, travel_s

    def against_now(self, order: Order, who: Technician, now: float) -> tuple[list[Exclusion], float | None]:
        """The same as of this moment, the most telling first. Cost: about 0.2 ms.

        Who finishes soon counts as free from there, as in a round, and an offer of this very order is none in the way.
        Of somebody who is not on duty here, or has not sent a position since, the place is not known: then nothing is
        said of what depends on it, not even their calendar, and the seconds are None.
        """
        user = who.technician
        left_s = chaining.remaining_s(self._book, user, now, self._settings.schedule.chain_s, order.order_id)
        finishing = {} if left_s is None else {user: left_s}
        problem, row = self._round_of_one(order, user, finishing, now)
        distance_m = candidates.distances_m(problem, row)
        filtered = [reason for reason, mask in candidates.filters(problem, row, distance_m) if mask.any()]
        found = [*reach.hard_reasons(who, self._book, finishing), *reversed(filtered)]
        own = self._book.live_offer(user)
        if own is not None and own.order_id == order.order_id:
            found.remove(Exclusion.OFFERED)
        is_here = self._places.slot(user) is not None
        if not is_here or problem.technicians.seen_at[0] == -inf:
            return self._without_place(found, order, who, now, is_here=is_here), None
        if distance_m[0, 0] > self._settings.round.radius_steps_m[-1]:
            found.append(Exclusion.TOO_FAR)
        return found, _there_s(problem, row, distance_m)

    def _round_of_one(
        self, order: Order, user: UserId, finishing: dict[UserId, float], now: float
    ) -> tuple[Problem, IntArray]:
        problem = reach.build(
            [replace(order, picked=None)],
            self._book,
            self._places,
            now=now,
            seed=0,
            travel=self._travel.rate(now),
            hours=self._calendars.hours,
            settings=self._settings,
            users=[user],
            finishing=finishing,
        )
        row = np.zeros(1, dtype=np.int64)
        return learned_ways.fill_pairs(problem, row, row, self._travel), row

    def _without_place(
        self, found: list[Exclusion], order: Order, who: Technician, now: float, *, is_here: bool
    ) -> list[Exclusion]:
        """What is left of the reasons when nobody knows where the technician is."""
        needed = eligibility.papers_needed(self._book.shard.city, self._settings.eligibility)
        if eligibility.papers_until(who, needed) >= eligibility.ends_at_least(order, now):
            found = [reason for reason in found if reason is not Exclusion.PAPERS]
        unknown = BY_WAY if is_here else BY_INDEX | BY_WAY
        return [reason for reason in found if reason not in unknown]


def _there_s(problem: Problem, row: IntArray, distance_m: FloatArray) -> float:
    return float((cost.ways_s(problem, row, distance_m) + cost.wait_s(problem.technicians))[0, 0])
