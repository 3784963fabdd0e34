"""Why a round decided as it did: everyone in reach with their terms in seconds or the reason against them.

Terms and reasons are computed again from the inputs that the round stored; who was chosen is what it stored.
``replaying.py`` proves that the two belong together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from core.errors import Invalid
from core.ids import OrderId, UserId
from dispatch import bystanders, calendar, candidates, cost, matching, rounds
from dispatch.model import DecidedPair, OfferTerm, RoundDecision, SkippedRounds, StoredRound
from dispatch.problem import Exclusion, FloatArray, Problem, Solution
from geo.distance import table_m

_TOO_FAR: Final = Exclusion.TOO_FAR.label
UNKNOWN_ROUND = ""
"""Id of a round that was never run: of a question (``what_if``)."""


@dataclass(frozen=True, slots=True)
class RankedCandidate:
    """An eligible technician of a round, as it saw them.

    Attributes:
        outcome: ``chosen``; ``given`` to ``other_order``, which needed them more; ``dearer`` than the chosen one;
            ``too_dear`` for anybody to be sent.
        other_order: The order that got them in this round, None for none.
    """

    technician: str
    cost_s: float
    travel_s: float
    distance_m: float
    terms: tuple[OfferTerm, ...]
    outcome: str
    other_order: str | None = None


@dataclass(frozen=True, slots=True)
class ExcludedTechnician:
    """A technician in reach who was no candidate.

    Attributes:
        reason: An ``Exclusion`` in small letters.
        detail: Of ``calendar``: ``booking``, ``rest``, ``off_shift`` or ``too_late``; empty where it is not known.
    """

    technician: str
    reason: str
    distance_m: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One round's view of one order.

    Attributes:
        solver: How the pairs were found, a ``Solver``.
        radius_m: Search radius that the order came to.
        chosen: Who was chosen; several for an order that is offered to several at once.
        why: ``cheapest``; ``cheapest_left`` (others were cheaper, and went to orders that needed them more);
            ``withdrawn`` (chosen, but no longer to be had when the round had been solved); ``all_given``;
            ``too_dear``; ``nobody_eligible``; ``nobody_in_reach``.
        ranking: Candidates, cheapest first.
        excluded: Everyone else the round knew of, nearest first.
        ways_from: Which road engine told the likely ways, or what failed; empty when none was asked.
        others_len: How many were in reach besides, and are not named.
        repeated: Rounds like this one that followed and were not stored, until ``repeated_until``.
    """

    round_id: str
    at: float
    policy: str
    seed: int
    solver: str
    radius_m: float
    chosen: tuple[str, ...]
    why: str
    ranking: tuple[RankedCandidate, ...]
    excluded: tuple[ExcludedTechnician, ...]
    ways_from: str = ""
    others_len: int = 0
    repeated: int = 0
    repeated_until: float | None = None


def explain_all(
    stored: Sequence[StoredRound], order_id: OrderId, skipped_now: SkippedRounds | None
) -> list[Explanation]:
    """Each stored round of an order, oldest first, with how often it was repeated without being stored.

    Args:
        skipped_now: Rounds since the last one of ``stored``.
    """
    told = []
    for number, round_ in enumerate(stored):
        following = stored[number + 1] if number + 1 < len(stored) else None
        skipped = skipped_now if following is None else following.skipped.get(order_id)
        found = explain(round_, order_id)
        if skipped is not None:
            found = replace(found, repeated=skipped.count, repeated_until=skipped.until_at)
        told.append(found)
    return told


def explain(stored: StoredRound, order_id: OrderId) -> Explanation:
    """What the round found out about one order.

    Raises:
        Invalid: The round did not look at this order, or its rules are not these (``policy_unknown``).
    """
    problem = rounds.problem_of(stored)
    decided = stored.decision or recomputed(problem)
    found = explain_problem(problem, decided, order_id)
    beside, others_len = _beside(stored, problem, order_id)
    excluded = sorted([*found.excluded, *beside], key=lambda e: (e.distance_m, e.technician))
    why = found.why
    if why == "nobody_in_reach" and any(person.reason != _TOO_FAR for person in beside):
        why = "nobody_eligible"
    return replace(
        found,
        round_id=stored.round_id,
        policy=stored.policy,
        why=why,
        excluded=tuple(excluded),
        others_len=others_len,
    )


def _beside(stored: StoredRound, problem: Problem, order_id: OrderId) -> tuple[list[ExcludedTechnician], int]:
    """Who was in reach without having been weighed, and how many more."""
    found = bystanders.decode(stored.bystanders)
    if not found.others_len:
        return [], 0
    place, row = stored.orders.index(order_id), problem.orders.ids.index(order_id)
    lat, lng = problem.orders.lat_deg[[row]], problem.orders.lng_deg[[row]]
    metres = table_m(lat, lng, found.lat_deg, found.lng_deg)[0].tolist()
    people = zip(found.ids, found.codes[place].tolist(), metres, strict=True)
    return [ExcludedTechnician(u, Exclusion(code).label, m) for u, code, m in people], found.others_len[place]


def recomputed(problem: Problem, solution: Solution | None = None) -> RoundDecision:
    """What the problem gives when it is solved (again); every offer counts as made."""
    solution = solution or matching.solve(problem)
    return rounds.decision(solution, b"", {(pair.order_id, pair.technician) for pair in solution.pairs})


def explain_problem(problem: Problem, decided: RoundDecision, order_id: OrderId) -> Explanation:
    """The same for a problem that need not have been stored. Raises ``Invalid`` for an order it does not hold."""
    if order_id not in problem.orders.ids:
        raise Invalid("the round did not look at this order", field="order")
    row = problem.orders.ids.index(order_id)
    steps = [step for id_, step in zip(problem.orders.ids, decided.steps, strict=True) if id_ == order_id]
    radius_m = problem.policy.radius_steps_m[max(steps)]
    given = {pair.technician: pair for pair in decided.pairs}
    pairs = [pair for pair in decided.pairs if pair.order_id == order_id]
    ranking, excluded = judge(problem, row, radius_m)
    told = []
    for candidate in ranking:
        taken = given.get(UserId(candidate.technician))
        if taken is None:
            outcome = "dearer" if pairs else "too_dear"
            told.append(replace(candidate, outcome=outcome))
        elif taken.order_id == order_id:
            told.append(replace(candidate, outcome="chosen"))
        else:
            told.append(replace(candidate, outcome="given", other_order=taken.order_id))
    return Explanation(
        round_id=UNKNOWN_ROUND,
        at=problem.at,
        policy=rounds.POLICY,
        seed=problem.seed,
        solver=decided.solver,
        radius_m=radius_m,
        chosen=tuple(pair.technician for pair in pairs),
        why=_why(pairs, told, excluded),
        ranking=tuple(told),
        excluded=tuple(excluded),
        ways_from=problem.ways_from,
    )


def _why(pairs: list[DecidedPair], ranking: list[RankedCandidate], excluded: list[ExcludedTechnician]) -> str:
    if pairs:
        if not any(pair.made for pair in pairs):
            return "withdrawn"
        first = ranking[: len(pairs)]
        return "cheapest" if all(candidate.outcome == "chosen" for candidate in first) else "cheapest_left"
    if ranking:
        return "all_given" if all(candidate.outcome == "given" for candidate in ranking) else "too_dear"
    return "nobody_in_reach" if all(e.reason == _TOO_FAR for e in excluded) else "nobody_eligible"


def judge(problem: Problem, row: int, radius_m: float) -> tuple[list[RankedCandidate], list[ExcludedTechnician]]:
    """Everyone whom the round knew of, weighed for one order: candidates by cost, the others by distance."""
    rows = np.asarray([row])
    table_m = candidates.distances_m(problem, rows)
    codes, distance_m = candidates.exclusions(problem, rows, table_m)[0], table_m[0]
    codes[(codes == 0) & (distance_m > radius_m)] = Exclusion.TOO_FAR
    travel_s = cost.ways_s(problem, rows, table_m)[0]
    wait_s = cost.wait_s(problem.technicians)
    decline_s = cost.decline_s(problem, rows)[0]
    turns_s = cost.turns_s(problem)
    waiting_s = float(cost.waiting_s(problem, rows)[0])
    starts = cost.starts(problem)
    take_back_s = cost.take_back_s(problem)
    ties: FloatArray = cost.tie_breaks(problem.technicians.ids, problem.seed)
    details = calendar.reasons(problem, row, table_m) if (codes == Exclusion.CALENDAR).any() else {}
    ranking, excluded = [], []
    for i, technician in enumerate(problem.technicians.ids):
        if codes[i]:
            reason = Exclusion(int(codes[i]))
            detail = details.get(i, "") if reason is Exclusion.CALENDAR else ""
            excluded.append(ExcludedTechnician(technician, reason.label, float(distance_m[i]), detail))
            continue
        terms = (
            OfferTerm("travel", float(travel_s[i])),
            OfferTerm("wait", float(wait_s[i])),
            OfferTerm("decline", float(decline_s[i])),
            OfferTerm("turns", float(turns_s[i])),
            OfferTerm("waiting", -waiting_s),
            *(OfferTerm(name, -float(seconds[i])) for name, seconds in starts.items()),
            *((OfferTerm("take_back", float(take_back_s[i])),) if len(problem.people.spare) else ()),
        )
        total_s = sum(term.seconds for term in terms)
        candidate = RankedCandidate(
            technician, total_s, float(travel_s[i] + wait_s[i]), float(distance_m[i]), terms, ""
        )
        ranking.append((total_s + float(ties[i]), candidate))
    ranking.sort(key=lambda pair: pair[0])
    excluded.sort(key=lambda e: (e.distance_m, e.technician))
    return [candidate for _, candidate in ranking], excluded
