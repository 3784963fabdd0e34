"""Proof that stored decisions follow from stored inputs: solve again, compare."""

from dataclasses import dataclass

from core.errors import DoorstepError
from core.ids import OrderId
from dispatch import matching, rounds
from dispatch.model import RoundDecision, StoredRound
from dispatch.problem import Solver

COST_S_TOLERANCE = 1e-6
"""Sums of the same terms on another processor may differ in their last bits; who is chosen may not."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that was stored and does not come out again.

    Attributes:
        order: Whose decision, None for the round as a whole.
        what: ``inputs`` (not those that were stored), ``unreadable``, ``policy`` (rules that this version does not
            have), ``order`` (the round's list of orders), ``technician``, ``cost``, ``radius``.
    """

    round_id: str
    order: str | None
    what: str
    stored: str
    computed: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """One round, solved again. ``decisions`` counts its orders, with or without a technician."""

    round_id: str
    decisions: int
    differences: tuple[Difference, ...]
    is_old: bool = False
    """Stored without its decision, by an earlier version: there is nothing to compare."""


def replay(stored: StoredRound) -> Replayed:
    """Solve a stored round again. Never raises for what the store holds: what cannot be solved is a difference."""
    try:
        problem = rounds.problem_of(stored)
    except DoorstepError:
        return _broken(stored, "policy", stored.policy, rounds.POLICY)
    except Exception as error:  # noqa: BLE001 - whatever the bytes are, the other rounds are still to be replayed
        return _broken(stored, "unreadable", "", type(error).__name__)
    decided = stored.decision
    if decided is None:
        return Replayed(stored.round_id, 0, (), is_old=True)
    found: list[Difference] = []

    def differs(order: str | None, what: str, was: object, now: object) -> None:
        found.append(Difference(stored.round_id, order, what, str(was), str(now)))

    if (now := rounds.digest(stored.inputs)) != decided.digest:
        differs(None, "inputs", decided.digest, now)
    ids = tuple(OrderId(id_) for id_ in dict.fromkeys(problem.orders.ids))
    if ids != stored.orders:
        differs(None, "order", " ".join(stored.orders), " ".join(ids))
    try:
        solution = matching.solve(problem, Solver(decided.solver))
    except Exception as error:  # noqa: BLE001 - as above
        return _broken(stored, "unreadable", "", type(error).__name__)
    computed = rounds.decision(solution, stored.inputs, ())
    rows = dict.fromkeys((*stored.orders, *ids))
    for order_id in rows:
        was, now_s = _costs_s(decided, order_id), _costs_s(computed, order_id)
        if was.keys() != now_s.keys():
            differs(order_id, "technician", " ".join(sorted(was)), " ".join(sorted(now_s)))
        elif any(abs(was[user] - now_s[user]) > COST_S_TOLERANCE for user in was):
            differs(order_id, "cost", was, now_s)
    if decided.steps != computed.steps:
        differs(None, "radius", decided.steps, computed.steps)
    return Replayed(stored.round_id, len(stored.orders), tuple(found))


def _costs_s(decided: RoundDecision, order_id: OrderId) -> dict[str, float]:
    """Who was chosen for an order, at which cost."""
    return {pair.technician: pair.cost_s for pair in decided.pairs if pair.order_id == order_id}


def _broken(stored: StoredRound, what: str, was: str, now: str) -> Replayed:
    difference = Difference(stored.round_id, None, what, was, now)
    return Replayed(stored.round_id, len(stored.orders), (difference,))
