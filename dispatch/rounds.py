"""Rounds on paper: what a round saw, compressed; and what it must have decided, recomputed from that alone."""

import zlib
from dataclasses import dataclass, fields
from typing import Any, Final

import msgspec
import numpy as np

from core.errors import Invalid
from dispatch import candidates, cost, matching
from dispatch.model import OfferTerm, StoredRound
from dispatch.problem import Exclusion, OrderColumns, Policy, Problem, Solution, TechnicianColumns

POLICY: Final = "auto/3"
"""Name and version of the rules by which rounds decide; a change of rules raises the number."""

_REPEATABLE: Final = frozenset({"auto/1", "auto/2", POLICY})
"""Rules whose rounds are recomputed exactly, as these rules without what their rounds lack: ``auto/2`` knew no
``OrderColumns.only`` and ``unmatched_s``, ``auto/1`` no ``Problem.own`` either."""

_ZLIB_LEVEL: Final = 1
"""Level 6 saves 5 % more bytes and costs 4 times as long; both were tried on a round of 1,000 technicians."""


@dataclass(frozen=True, slots=True)
class RankedCandidate:
    """An eligible technician of a round, as it saw them."""

    technician: str
    cost_s: float
    travel_s: float
    distance_m: float
    terms: tuple[OfferTerm, ...]


@dataclass(frozen=True, slots=True)
class ExcludedTechnician:
    """A technician in reach who was no candidate. ``reason`` is an ``Exclusion`` in small letters."""

    technician: str
    reason: str
    distance_m: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """One round's view of one order, recomputed from what was stored.

    Attributes:
        radius_m: Search radius that the order came to.
        chosen: Who got the offer, None for nobody.
        ranking: Candidates, cheapest first. The chosen one is not always the first: another order may have
            needed that one more.
        excluded: Everyone else the round knew of, nearest first.
    """

    round_id: str
    at: float
    policy: str
    seed: int
    radius_m: float
    chosen: str | None
    ranking: tuple[RankedCandidate, ...]
    excluded: tuple[ExcludedTechnician, ...]


def solve_and_encode(problem: Problem) -> tuple[Solution, bytes]:
    """Both halves of a round's work, for a thread."""
    return matching.solve(problem), encode(problem)


def _columns_to_plain(columns: Any) -> dict[str, Any]:
    # Any: either kind of columns; both are dataclasses of ids and arrays.
    plain: dict[str, Any] = {"ids": list(columns.ids)}
    for f in fields(columns):
        if f.name != "ids":
            array: np.ndarray[Any, np.dtype[Any]] = getattr(columns, f.name)
            plain[f.name] = [array.dtype.str, array.tobytes()]
    return plain


def _array(plain: list[Any]) -> Any:
    return np.frombuffer(plain[1], dtype=np.dtype(plain[0])).copy()


def encode(problem: Problem) -> bytes:
    """Compress a problem: columns as raw bytes, so that the same floats come back."""
    plain = {
        "at": problem.at,
        "seed": problem.seed,
        "policy": {f.name: getattr(problem.policy, f.name) for f in fields(problem.policy)},
        "orders": _columns_to_plain(problem.orders),
        "technicians": _columns_to_plain(problem.technicians),
        "refused": [problem.refused_order.tobytes(), problem.refused_technician.tobytes()],
        "own": [problem.own_order.tobytes(), problem.own_technician.tobytes()],
    }
    return zlib.compress(msgspec.msgpack.encode(plain), _ZLIB_LEVEL)


def decode(inputs: bytes) -> Problem:
    """The problem that ``encode`` was given."""
    plain: dict[str, Any] = msgspec.msgpack.decode(zlib.decompress(inputs))
    policy = dict(plain["policy"], radius_steps_m=tuple(plain["policy"]["radius_steps_m"]))

    own = plain.get("own", (b"", b""))  # policy auto/1 did not know of it

    def columns(part: dict[str, Any]) -> dict[str, Any]:
        return {name: tuple(value) if name == "ids" else _array(value) for name, value in part.items()}

    return Problem(
        at=plain["at"],
        seed=plain["seed"],
        policy=Policy(**policy),
        orders=OrderColumns(**columns(plain["orders"])),
        technicians=TechnicianColumns(**columns(plain["technicians"])),
        refused_order=np.frombuffer(plain["refused"][0], dtype=np.int64).copy(),
        refused_technician=np.frombuffer(plain["refused"][1], dtype=np.int64).copy(),
        own_order=np.frombuffer(own[0], dtype=np.int64).copy(),
        own_technician=np.frombuffer(own[1], dtype=np.int64).copy(),
    )


def explain(stored: StoredRound, order_id: str) -> Explanation:
    """Recompute what the round found out about one order.

    Raises:
        Invalid: The round did not look at this order, or its rules are not these (``policy_unknown``).
    """
    if stored.policy not in _REPEATABLE:
        raise Invalid(f"the round was decided by {stored.policy}, this is {POLICY}", code="policy_unknown")
    problem = decode(stored.inputs)
    if order_id not in problem.orders.ids:
        raise Invalid("the round did not look at this order", field="order")
    row = problem.orders.ids.index(order_id)
    solution = matching.solve(problem)
    radius_m = problem.policy.radius_steps_m[solution.steps[row]]
    chosen = next((pair.technician for pair in solution.pairs if pair.order_id == order_id), None)
    ranking, excluded = _judge_all(problem, row, radius_m, chosen)
    return Explanation(stored.round_id, stored.at, stored.policy, stored.seed, radius_m, chosen, ranking, excluded)


def _judge_all(
    problem: Problem, row: int, radius_m: float, chosen: str | None
) -> tuple[tuple[RankedCandidate, ...], tuple[ExcludedTechnician, ...]]:
    rows = np.asarray([row])
    distance_m = candidates.distances_m(problem, rows)[0]
    codes = candidates.exclusions(problem, rows)[0]
    codes[(codes == 0) & (distance_m > radius_m)] = Exclusion.TOO_FAR
    travel_s = cost.travel_s(problem.policy, distance_m)
    starts = cost.head_starts(problem.policy, problem.technicians, problem.at)
    ties = cost.tie_breaks(problem.technicians.ids, problem.seed)
    ranking, excluded = [], []
    for i, technician in enumerate(problem.technicians.ids):
        if codes[i]:
            reason = Exclusion(int(codes[i])).name.lower()
            excluded.append(ExcludedTechnician(technician, reason, float(distance_m[i])))
            continue
        terms = (
            OfferTerm("travel", float(travel_s[i])),
            *(OfferTerm(name, -float(seconds[i])) for name, seconds in starts.items()),
        )
        total_s = sum(term.seconds for term in terms)
        candidate = RankedCandidate(technician, total_s, float(travel_s[i]), float(distance_m[i]), terms)
        ranking.append((total_s + float(ties[i]), candidate))
    ranking.sort(key=lambda pair: pair[0])
    excluded.sort(key=lambda e: (e.distance_m, e.technician))
    return tuple(candidate for _, candidate in ranking), tuple(excluded)
