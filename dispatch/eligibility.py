"""Who may be asked at all, by what is known of the person: tier, papers, an open alarm, blocks, a way home at night.

Built into columns on the loop (``columns``), judged wherever the round is solved (``filters``): both pure.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf

import numpy as np

from core.errors import Invalid
from core.ids import CityId, UserId
from dispatch import calendar, cost, limits
from dispatch.barred import Barred
from dispatch.calendar import Hours
from dispatch.model import Order, Technician
from dispatch.problem import BoolArray, Exclusion, FloatArray, IntArray, PersonColumns, Problem, Table
from dispatch.settings import EligibilitySettings


def check_tier(tier: str, settings: EligibilitySettings) -> None:
    """Raise ``Invalid`` (``tier_unknown``) for a tier that nobody could be compared with."""
    if tier and tier not in settings.tiers:
        known = ", ".join(settings.tiers) or "none"
        raise Invalid(f"must be one of the ranked tiers ({known})", code="tier_unknown", field="tier_min")


def tier_rank(tier: str, settings: EligibilitySettings) -> int:
    """Place of a tier among the ranked ones, 0 for one that is not ranked."""
    return settings.tiers.index(tier) + 1 if tier in settings.tiers else 0


def papers_needed(city: CityId, settings: EligibilitySettings) -> tuple[str, ...]:
    """Names of the papers without which nobody works in the city."""
    return settings.papers_of_city.get(city, settings.papers)


def papers_until(technician: Technician, needed: Iterable[str]) -> float:
    """Until when all these papers are valid; -inf while one is missing, inf when none is needed."""
    return min((technician.papers.get(name, -inf) for name in needed), default=inf)


def ends_at_least(order: Order, now: float) -> float:
    """The earliest moment at which the order's service could be over."""
    return max(order.scheduled_for or now, now) + order.duration_s


def nights(
    orders: Sequence[Order], now: float, hours: Hours, reach_s: float, settings: EligibilitySettings
) -> list[tuple[float, float]]:
    """Nights that these orders may touch, with the way there and home of ``reach_s`` at most; none without the rule."""
    if settings.night_walk_max_m == 0.0 or not orders:
        return []
    until_at = max(ends_at_least(order, now) for order in orders) + 2.0 * reach_s
    return hours.nights(settings.night_begins_h, settings.night_ends_h, now, until_at)


def walks_far(technician: Technician, way_m: float | None, settings: EligibilitySettings) -> bool:
    """Whether a way is too far for somebody to walk at night; never without the rule, or one that is not known."""
    most_m = settings.night_walk_max_m
    return most_m > 0.0 and not technician.own_transport and way_m is not None and way_m > most_m


def lit_until(home_at: float, hours: Hours, settings: EligibilitySettings) -> float:
    """When the night begins that somebody who would be home at ``home_at`` is in, or else the next; inf for none."""
    spans = hours.nights(settings.night_begins_h, settings.night_ends_h, home_at, home_at + calendar.DAY_S)
    return min((from_at for from_at, _ in spans), default=inf)


def walks_at_night(problem: Problem, rows: IntArray, distance_m: FloatArray) -> BoolArray:
    """Who would have to go far at night without transport of their own, shape (len(rows), m).

    It is night when the way there, the service or the way home, which is taken to be as long, touches one.
    """
    who = problem.people
    against: BoolArray = (distance_m > problem.policy.walk_max_m) & who.walks[None, :]
    if not len(who.night_from_at) or not against.any():
        return against
    ways_s = cost.ways_s(problem, rows, distance_m)
    begins_at, ends_at = calendar.service_times(problem, rows, ways_s)
    sets_out_at, home_at = begins_at - ways_s, ends_at + ways_s
    at_night = np.zeros_like(against)
    for from_at, until_at in zip(who.night_from_at.tolist(), who.night_until_at.tolist(), strict=True):
        at_night |= (sets_out_at < until_at) & (home_at > from_at)
    return against & at_night


def unfit(
    order: Order, people: Iterable[Technician], needed: Sequence[str], now: float, settings: EligibilitySettings
) -> list[UserId]:
    """Whom a look-up of neighbours need not find: their tier or papers speak against them. Cost: one pass."""
    rank, ends_at = tier_rank(order.tier_min, settings), ends_at_least(order, now)
    if not rank and not needed:
        return []
    return [
        person.technician
        for person in people
        if tier_rank(person.tier, settings) < rank or papers_until(person, needed) < ends_at
    ]


def columns(
    o: Table,
    t: Table,
    tiers: Iterable[str],
    alarmed: BoolArray,
    city: CityId,
    dark: Sequence[tuple[float, float]],
    settings: EligibilitySettings,
) -> PersonColumns:
    """What the filters below look at; a column that speaks against nobody is left empty.

    Args:
        o, t: Rows of the round's orders and technicians (``sheets.py``).
        tiers: What the numbers of tiers in these stand for.
        alarmed: Who has an open alarm, shape (len(t),).
        city: Whose papers are needed.
        dark: The ``nights`` of these orders.
        settings: The rules.
    """
    found = PersonColumns(alarmed=alarmed if alarmed.any() else PersonColumns().alarmed)
    rank = np.array([tier_rank(tier, settings) for tier in tiers], dtype=np.int64)
    tier_min = rank[o["tier_min"]]
    if tier_min.any():
        found.tier_min, found.tier = tier_min, rank[t["tier"]]
    if papers_needed(city, settings):
        found.papers_until = t["papers_until"].copy()
    if dark:
        found.walks = t["walks"].copy()
        found.night_from_at, found.night_until_at = np.array(dark, dtype=np.float64).T.copy()
    return found


def keep_apart(found: PersonColumns, orders: Sequence[Order], row_of: Mapping[UserId, int], barred: Barred) -> None:
    """Fill in which pairs of these orders and technicians are kept apart.

    Args:
        found: Is written to.
        orders: The rows of the round.
        row_of: Row of each technician of the round.
        barred: Who is kept apart from whom.
    """
    apart = [
        (i, row_of[user])
        for i, order in (enumerate(orders) if barred else ())
        for user in barred.technicians(order.customer)
        if user in row_of
    ]
    if apart:
        pairs = np.asarray(apart, dtype=np.int64)
        found.barred_order, found.barred_technician = pairs[:, 0].copy(), pairs[:, 1].copy()


def filters(problem: Problem, rows: IntArray) -> Iterator[tuple[Exclusion, BoolArray]]:
    """See ``candidates.filters``; the distance at night is judged there."""
    who = problem.people
    yield from limits.filters(problem, rows)
    if len(who.tier_min):
        yield Exclusion.TIER, who.tier[None, :] < who.tier_min[rows][:, None]
    if len(who.lapsed):
        yield Exclusion.PAPERS, who.lapsed[None, :]
    if len(who.alarmed):
        yield Exclusion.SOS, who.alarmed[None, :]
    if len(who.barred_order):
        row_of = np.full(len(problem.orders.ids), -1, dtype=np.int64)
        row_of[rows] = np.arange(len(rows))
        here = row_of[who.barred_order] >= 0
        against = np.zeros((len(rows), len(problem.technicians.ids)), dtype=np.bool_)
        against[row_of[who.barred_order[here]], who.barred_technician[here]] = True
        yield Exclusion.BLOCKED, against
