"""Who may be asked at all, by what is known of the person: tier, papers, an open alarm, blocks, a way home at night.

Built into columns on the loop (``columns``), judged wherever the round is solved (``filters``): both pure.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import inf

import numpy as np

from core.errors import Invalid
from core.ids import CityId, UserId
from dispatch.barred import Barred
from dispatch.model import Order, Technician
from dispatch.problem import BoolArray, Exclusion, IntArray, PersonColumns, Problem
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


def has_papers(technician: Technician, needed: Iterable[str], now: float) -> bool:
    """Whether all these papers are there and still valid."""
    return all(technician.papers.get(name, -inf) > now for name in needed)


def walk_max_m(hour: float, settings: EligibilitySettings) -> float:
    """Distance beyond which only technicians with their own transport are asked; inf while the rule rests.

    ``hour`` is the city's hour of the day, in [0, 24).
    """
    if settings.night_walk_max_m == 0.0:
        return inf
    begins, ends = settings.night_begins_h, settings.night_ends_h
    is_night = begins <= hour < ends if begins <= ends else hour >= begins or hour < ends
    return settings.night_walk_max_m if is_night else inf


def unfit(
    order: Order, people: Iterable[Technician], needed: Sequence[str], now: float, settings: EligibilitySettings
) -> list[UserId]:
    """Whom a look-up of neighbours need not find: their tier or papers speak against them. Cost: one pass."""
    rank = tier_rank(order.tier_min, settings)
    if not rank and not needed:
        return []
    return [
        person.technician
        for person in people
        if tier_rank(person.tier, settings) < rank or not has_papers(person, needed, now)
    ]


def columns(
    orders: Sequence[Order],
    people: Sequence[Technician],
    alarmed: BoolArray,
    barred: Barred,
    city: CityId,
    now: float,
    hour: float,
    settings: EligibilitySettings,
) -> PersonColumns:
    """What the filters below look at; a column that speaks against nobody is left empty.

    Args:
        orders: The rows of the round.
        people: The technicians of the round.
        alarmed: Who has an open alarm, shape (len(people),).
        barred: Who is kept apart from whom.
        city: Whose papers are needed.
        now: UTC epoch seconds.
        hour: The same by the city's clock, hour of the day.
        settings: The rules.
    """
    found = PersonColumns(alarmed=alarmed if alarmed.any() else PersonColumns().alarmed)
    ranks = np.array([tier_rank(order.tier_min, settings) for order in orders], dtype=np.int64)
    if ranks.any():
        found.tier_min = ranks
        found.tier = np.array([tier_rank(person.tier, settings) for person in people], dtype=np.int64)
    needed = papers_needed(city, settings)
    if needed:
        found.lapsed = np.array([not has_papers(person, needed, now) for person in people], dtype=np.bool_)
    if walk_max_m(hour, settings) < inf:
        found.walks = np.array([not person.own_transport for person in people], dtype=np.bool_)
    row_of = {person.technician: row for row, person in enumerate(people)}
    apart = [
        (i, row_of[user])
        for i, order in enumerate(orders)
        for user in barred.technicians(order.customer)
        if user in row_of
    ]
    if apart:
        pairs = np.asarray(apart, dtype=np.int64)
        found.barred_order, found.barred_technician = pairs[:, 0].copy(), pairs[:, 1].copy()
    return found


def filters(problem: Problem, rows: IntArray) -> Iterator[tuple[Exclusion, BoolArray]]:
    """See ``candidates.filters``; the distance at night is judged there."""
    who = problem.people
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
