"""Proof that stored decisions follow from stored inputs, and that what no input gives is as it was stored.

A round is solved again and compared: who was chosen, at which cost and after how long a way, the radii, what a shadow
policy decided. Who stood by, which offers were made and which rounds were skipped cannot be computed; they, the time,
the seed and the rules are under the round's seal (``rounds.seal_of``). A seal is a digest without a key: it shows that
a stored value was changed or damaged, and not who forges a whole round, seal and all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from core.errors import DoorstepError
from core.ids import OrderId
from dispatch import matching, rounds, shadow
from dispatch.model import DecidedPair, RoundDecision, RoundFiling, StoredRound
from dispatch.problem import Problem, Solver

SECONDS_TOLERANCE: Final = 1e-6
"""Sums of the same terms on another processor may differ in their last bits; who is chosen may not."""

_Differs = Callable[[str | None, str, object, object], None]
"""Takes the order, what differs, what was stored and what was computed."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that was stored and does not come out again.

    Attributes:
        order: Whose decision, None for the round as a whole.
        what: ``seal`` (the row is not as it was stored), ``inputs`` (likewise), ``filing`` (it is found under another
            city, time or order than its own), ``unreadable``, ``policy`` (rules that
            this version does not have), ``at`` and ``seed`` (not those of the inputs), ``order`` (the round's list of
            orders), ``decision`` (none), ``technician``, ``cost``, ``travel``, ``radius``; the last four with
            ``shadow_`` before them for the shadow's decision, ``shadow_numbers`` and ``shadow_unreadable``.
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
    is_sealed: bool = True
    """False for a round of an earlier version, of which only the inputs and what follows from them are proven."""


def replay(stored: StoredRound, filing: RoundFiling | None = None) -> Replayed:
    """Solve a stored round again. Never raises for what the store holds: what cannot be solved is a difference.

    Args:
        filing: By what the store finds it; None where that is not known.
    """
    found: list[Difference] = []

    def differs(order: str | None, what: str, was: object, now: object) -> None:
        found.append(Difference(stored.round_id, order, what, str(was), str(now)))

    is_sealed = rounds.is_sealed(stored)
    if is_sealed and (seal := rounds.seal_of(stored)) != stored.seal:
        differs(None, "seal", stored.seal, seal)
    due = filing_of(stored)
    if filing is not None and filing != due:
        differs(None, "filing", filing, due)
    is_old = stored.decision is None and rounds.may_be_undecided(stored)
    try:
        problem = rounds.problem_of(stored)
        _compare_round(stored, problem, differs)
        if stored.decision is not None:
            solution = matching.solve(problem, Solver(stored.decision.solver))
            _compare(stored.decision, rounds.decision(solution, stored.inputs, ()), differs)
            _compare_shadow(stored, problem, differs)
        elif not is_old:
            differs(None, "decision", "", "one")
    except DoorstepError:
        differs(None, "policy", stored.policy, rounds.POLICY)
    except Exception as error:  # noqa: BLE001 - whatever the bytes are, the other rounds are still to be replayed
        differs(None, "unreadable", "", type(error).__name__)
    return Replayed(stored.round_id, 0 if is_old else len(stored.orders), tuple(found), is_old, is_sealed)


def filing_of(stored: StoredRound) -> RoundFiling:
    """By what the round is to be found."""
    return RoundFiling(stored.tenant, stored.city, stored.round_id, stored.at, tuple(sorted(set(stored.orders))))


def _compare_round(stored: StoredRound, problem: Problem, differs: _Differs) -> None:
    """What a round says beside its decision, with its inputs."""
    if stored.decision is not None and (now := rounds.digest(stored.inputs)) != stored.decision.digest:
        differs(None, "inputs", stored.decision.digest, now)
    if stored.at != problem.at:
        differs(None, "at", stored.at, problem.at)
    if stored.seed != problem.seed:
        differs(None, "seed", stored.seed, problem.seed)
    ids = tuple(OrderId(id_) for id_ in dict.fromkeys(problem.orders.ids))
    if ids != stored.orders:
        differs(None, "order", " ".join(stored.orders), " ".join(ids))


def _compare(was: RoundDecision, now: RoundDecision, differs: _Differs, prefix: str = "") -> None:
    """Two decisions of a round; whether an offer was made is no part of it."""
    before, after = _by_order(was), _by_order(now)
    for order_id in before | after:
        stored, computed = before.get(order_id, []), after.get(order_id, [])
        if [pair.technician for pair in stored] != [pair.technician for pair in computed]:
            differs(order_id, f"{prefix}technician", _names(stored), _names(computed))
            continue
        for mine, other in zip(stored, computed, strict=True):
            if not _is_same(mine.cost_s, other.cost_s):
                differs(order_id, f"{prefix}cost", mine.cost_s, other.cost_s)
            if not _is_same(mine.travel_s, other.travel_s):
                differs(order_id, f"{prefix}travel", mine.travel_s, other.travel_s)
    if was.steps != now.steps:
        differs(None, f"{prefix}radius", was.steps, now.steps)


def _compare_shadow(stored: StoredRound, problem: Problem, differs: _Differs) -> None:
    """What a shadow policy decided, with what its stored numbers give; nothing of one of an earlier version."""
    if stored.shadow is None:
        return
    try:
        settings = shadow.settings_of(stored.shadow)
        if settings is None:
            return
        again = shadow.decide(problem, settings)
    except Exception as error:  # noqa: BLE001 - as above
        differs(None, "shadow_unreadable", "", type(error).__name__)
        return
    if stored.shadow.digest != again.digest:
        differs(None, "shadow_numbers", stored.shadow.digest, again.digest)
    _compare(stored.shadow.decision, again.decision, differs, "shadow_")


def _is_same(stored_s: float, computed_s: float) -> bool:
    return abs(stored_s - computed_s) <= SECONDS_TOLERANCE  # and False for what is no number


def _by_order(decided: RoundDecision) -> dict[OrderId, list[DecidedPair]]:
    found: dict[OrderId, list[DecidedPair]] = {}
    for pair in decided.pairs:
        found.setdefault(pair.order_id, []).append(pair)
    return found


def _names(pairs: list[DecidedPair]) -> str:
    return " ".join(pair.technician for pair in pairs)
