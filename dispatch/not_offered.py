"""Why a technician got no offer: each stored round that had them in reach, from their side."""

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np

from core.ids import OrderId, UserId
from dispatch import bystanders, candidates, rounds
from dispatch.explaining import judge, recomputed
from dispatch.model import OfferTerm, RoundDecision, StoredRound
from dispatch.problem import Exclusion, Problem
from geo.distance import table_m

ORDERS_TOLD_MAX: Final = 10
"""Orders of a round that are told one by one, the nearest; all are counted."""


@dataclass(frozen=True, slots=True)
class OrderSeen:
    """One order of a round, as it looked to the technician.

    Attributes:
        outcome: ``chosen``; ``given`` (to another order in this round); ``dearer`` than the chosen; ``too_dear``; or
            the ``Exclusion`` in small letters.
        detail: What it is in their calendar, when that speaks against them.
        cost_s, travel_s, terms: Of a candidate; None and empty for one who was none.
        rank: Place among the order's candidates by cost, from 1.
        chosen: Who was chosen for the order.
        best_cost_s: The least cost of those, None for nobody.
    """

    order_id: str
    distance_m: float
    outcome: str
    cost_s: float | None
    travel_s: float | None
    terms: tuple[OfferTerm, ...]
    rank: int | None
    chosen: tuple[str, ...]
    best_cost_s: float | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RoundSeen:
    """One stored round that had the technician in reach.

    Attributes:
        outcomes: How many of its orders came out how for them.
        nearest: The nearest of these orders, nearest first.
    """

    round_id: str
    at: float
    policy: str
    solver: str
    outcomes: dict[str, int]
    nearest: tuple[OrderSeen, ...]


@dataclass(frozen=True, slots=True)
class NotOffered:
    """A page of stored rounds.

    Attributes:
        rounds_len: Stored rounds of the page, in reach or not.
        outcomes: Sums over ``seen``.
        seen: Those that had the technician in reach, oldest first.
        last: (at, round_id) of the last round looked at when more may follow.
        unnamed_len: Rounds that had more people in reach than they name, none of whom is the technician: whether they
            were in reach is not known.
    """

    rounds_len: int
    outcomes: dict[str, int]
    seen: tuple[RoundSeen, ...]
    last: tuple[float, str] | None
    unnamed_len: int = 0


def page(stored: list[StoredRound], technician: UserId, limit: int) -> NotOffered:
    """The answer from one page of stored rounds; ``limit`` is what was asked of the store. For a thread."""
    looks = [look(round_, technician) for round_ in stored]
    seen = [found for found in looks if isinstance(found, RoundSeen)]
    unnamed_len = sum(found is Absent.UNNAMED for found in looks)
    total: Counter[str] = Counter()
    for found in seen:
        total.update(found.outcomes)
    last = (stored[-1].at, stored[-1].round_id) if len(stored) == limit else None
    return NotOffered(len(stored), dict(sorted(total.items())), tuple(seen), last, unnamed_len)


class Absent(Enum):
    """Why a round says nothing of a technician."""

    OUT_OF_REACH = "out_of_reach"
    UNNAMED = "unnamed"
    """It had more people in reach than it names."""


def look(stored: StoredRound, technician: UserId) -> RoundSeen | Absent:
    """One round from the technician's side, or why there is none.

    Raises:
        Invalid: The round was decided by rules that this version does not have (``policy_unknown``).
    """
    problem = rounds.problem_of(stored)
    decided = stored.decision or recomputed(problem)
    if technician not in problem.technicians.ids:
        return _beside(stored, problem, decided, technician)
    column = problem.technicians.ids.index(technician)
    first_row = {id_: row for row, id_ in reversed(list(enumerate(problem.orders.ids)))}
    ids = list(dict.fromkeys(problem.orders.ids))
    rows = np.asarray([first_row[id_] for id_ in ids], dtype=np.int64)
    table_m = candidates.distances_m(problem, rows)
    codes, distance_m = candidates.exclusions(problem, rows, table_m)[:, column], table_m[:, column]
    outcomes = [
        _outcome(problem, decided, technician, OrderId(id_), Exclusion(int(code)), float(metres))
        for id_, code, metres in zip(ids, codes, distance_m, strict=True)
    ]
    by_distance = np.argsort(distance_m, kind="stable")[:ORDERS_TOLD_MAX].tolist()
    return RoundSeen(
        round_id=stored.round_id,
        at=stored.at,
        policy=stored.policy,
        solver=decided.solver,
        outcomes=dict(sorted(Counter(outcomes).items())),
        nearest=tuple(
            _order_seen(problem, decided, technician, int(rows[i]), float(distance_m[i]), outcomes[i])
            for i in by_distance
        ),
    )


def _beside(stored: StoredRound, problem: Problem, decided: RoundDecision, technician: UserId) -> RoundSeen | Absent:
    """A round that had the technician in reach without weighing them."""
    found = bystanders.decode(stored.bystanders)
    if technician not in found.ids:
        return Absent.UNNAMED if any(found.others_len) else Absent.OUT_OF_REACH
    column = found.ids.index(technician)
    rows = [problem.orders.ids.index(order_id) for order_id in stored.orders]
    lat, lng = problem.orders.lat_deg[rows], problem.orders.lng_deg[rows]
    distance_m = table_m(lat, lng, found.lat_deg[[column]], found.lng_deg[[column]])[:, 0]
    outcomes = [Exclusion(code).label for code in found.codes[:, column].tolist()]
    nearest = [
        OrderSeen(
            order_id=stored.orders[i],
            distance_m=float(distance_m[i]),
            outcome=outcomes[i],
            cost_s=None,
            travel_s=None,
            terms=(),
            rank=None,
            chosen=tuple(pair.technician for pair in decided.pairs if pair.order_id == stored.orders[i]),
            best_cost_s=min((pair.cost_s for pair in decided.pairs if pair.order_id == stored.orders[i]), default=None),
        )
        for i in np.argsort(distance_m, kind="stable")[:ORDERS_TOLD_MAX].tolist()
    ]
    counted = dict(sorted(Counter(outcomes).items()))
    return RoundSeen(stored.round_id, stored.at, stored.policy, decided.solver, counted, tuple(nearest))


def _radius_m(problem: Problem, decided: RoundDecision, order_id: str) -> float:
    steps = [step for id_, step in zip(problem.orders.ids, decided.steps, strict=True) if id_ == order_id]
    return problem.policy.radius_steps_m[max(steps)]


def _outcome(
    problem: Problem,
    decided: RoundDecision,
    technician: UserId,
    order_id: OrderId,
    reason: Exclusion,
    distance_m: float,
) -> str:
    if reason is Exclusion.NONE and distance_m > _radius_m(problem, decided, order_id):
        reason = Exclusion.TOO_FAR
    if reason is not Exclusion.NONE:
        return reason.label
    for pair in decided.pairs:
        if pair.technician == technician:
            return "chosen" if pair.order_id == order_id else "given"
    return "dearer" if any(pair.order_id == order_id for pair in decided.pairs) else "too_dear"


def _order_seen(
    problem: Problem, decided: RoundDecision, technician: UserId, row: int, distance_m: float, outcome: str
) -> OrderSeen:
    order_id = problem.orders.ids[row]
    pairs = [pair for pair in decided.pairs if pair.order_id == order_id]
    ranking, excluded = judge(problem, row, _radius_m(problem, decided, order_id))
    rank = next((place for place, c in enumerate(ranking, 1) if c.technician == technician), None)
    own = ranking[rank - 1] if rank is not None else None
    return OrderSeen(
        order_id=order_id,
        distance_m=distance_m,
        outcome=outcome,
        cost_s=own.cost_s if own is not None else None,
        travel_s=own.travel_s if own is not None else None,
        terms=own.terms if own is not None else (),
        rank=rank,
        chosen=tuple(pair.technician for pair in pairs),
        best_cost_s=min((pair.cost_s for pair in pairs), default=None),
        detail=next((other.detail for other in excluded if other.technician == technician), ""),
    )
