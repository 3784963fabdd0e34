"""A shadow policy: the same round by other numbers, decided beside the live one and compared with it. Pure.

It sees what the live round saw: numbers that the live policy leaves out are stored with a round all the same while a
shadow is named that has them, and a wider radius finds nobody whom the round did not know of.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from core.ids import OrderId
from dispatch import cost, matching, rounds
from dispatch.model import RoundDecision, ShadowDecision, StoredRound
from dispatch.problem import OrderColumns, Problem
from dispatch.settings import ShadowSettings


@dataclass(frozen=True, slots=True)
class Comparison:
    """Live and shadow decisions of the same orders in the same rounds.

    Attributes:
        rounds, orders: What was compared.
        same: Orders for which both chose the same (or nobody).
        other: Orders for which both chose somebody, and not the same.
        live_only, shadow_only: Orders for which only one of them chose somebody.
        live_travel_s, shadow_travel_s: Mean way of the chosen, seconds; None for nobody.
        live_technicians, shadow_technicians: How many different people were chosen.
    """

    rounds: int
    orders: int
    same: int
    other: int
    live_only: int
    shadow_only: int
    live_travel_s: float | None
    shadow_travel_s: float | None
    live_technicians: int
    shadow_technicians: int


def decide(problem: Problem, settings: ShadowSettings) -> ShadowDecision:
    """Decide a round by the shadow's numbers."""
    live = problem.policy
    prefers = cost.prefers_newcomers(problem.seed, settings.newcomer_share)
    policy = replace(
        live,
        rating_max_s=settings.rating_max_s,
        idle_s_per_s=settings.idle_s_per_min / 60.0,
        idle_max_s=settings.idle_max_s,
        decline_max_s=settings.decline_max_s,
        newcomer_s=settings.newcomer_s if prefers else 0.0,
        waiting_s_per_s=settings.waiting_s_per_min / 60.0,
        waiting_max_s=settings.waiting_max_s,
        turn_s=settings.turn_s,
        turn_max_s=settings.turn_max_s,
        unmatched_s=settings.unmatched_s,
        radius_steps_m=settings.radius_steps_m,
    )
    people = replace(problem.technicians, tier_s=problem.technicians.tier_s * settings.tier_factor)
    orders = _orders(problem, settings)
    solution = matching.solve(replace(problem, policy=policy, technicians=people, orders=orders))
    return ShadowDecision(settings.name, numbers_of(settings), rounds.decision(solution, b"", ()), digest_of(settings))


def _orders(problem: Problem, settings: ShadowSettings) -> OrderColumns:
    """The orders with the shadow's last radius step and its cost of leaving a row out."""
    orders, live = problem.orders, problem.policy
    live_last, last = len(live.radius_steps_m) - 1, len(settings.radius_steps_m) - 1
    steps = np.where(orders.step_max == live_last, last, np.minimum(orders.step_max, last))
    own = orders.unmatched_s
    # Rows for a second technician have a cost of their own, below that of the first.
    first = own >= live.unmatched_s
    unmatched_s = np.where(first, own - live.unmatched_s + settings.unmatched_s, own)
    return replace(orders, step_max=steps.astype(np.int64), unmatched_s=unmatched_s)


def numbers_of(settings: ShadowSettings) -> dict[str, float | tuple[float, ...]]:
    """The shadow's numbers by their names in the config."""
    numbers = asdict(settings)
    del numbers["name"]
    return {name: value if isinstance(value, tuple) else float(value) for name, value in numbers.items()}


def digest_of(settings: ShadowSettings) -> str:
    """Tells whether a decision was made by these numbers, whatever they are called."""
    return rounds.digest(json.dumps(numbers_of(settings), sort_keys=True).encode())


def settings_of(decided: ShadowDecision) -> ShadowSettings | None:
    """The shadow that decided, from the stored numbers; None for one of an earlier version, which had others.

    Raises:
        ValueError: The numbers are none that a config may hold.
    """
    numbers: dict[str, Any] = dict(decided.numbers)  # Any: what they must be is what ShadowSettings checks
    known = {f.name for f in fields(ShadowSettings)} - {"name"}
    return ShadowSettings(name=decided.name, **numbers) if decided.digest and numbers.keys() == known else None


def shadow_of(stored: StoredRound, settings: ShadowSettings) -> ShadowDecision | None:
    """The shadow's decision as stored, or computed now from the inputs where there is none by these numbers.

    None for a round without a decision or by rules that this version does not have.
    """
    if stored.shadow is not None and stored.shadow.digest == digest_of(settings):
        return stored.shadow
    if stored.decision is None or not rounds.is_repeatable(stored):
        return None
    return decide(rounds.problem_of(stored), settings)


def compare(decided: Iterable[tuple[StoredRound, ShadowDecision]]) -> Comparison:
    """Sum up."""
    count = dict.fromkeys(("rounds", "orders", "same", "other", "live_only", "shadow_only"), 0)
    travel_s: tuple[list[float], list[float]] = ([], [])
    people: tuple[set[str], set[str]] = (set(), set())
    for stored, shadow in decided:
        if stored.decision is None:
            continue
        count["rounds"] += 1
        both = (stored.decision, shadow.decision)
        for order_id in stored.orders:
            live, other = (_chosen(decision, order_id) for decision in both)
            count["orders"] += 1
            if live == other:
                count["same"] += 1
            elif live and other:
                count["other"] += 1
            else:
                count["live_only" if live else "shadow_only"] += 1
        for side, decision in enumerate(both):
            travel_s[side].extend(pair.travel_s for pair in decision.pairs)
            people[side].update(pair.technician for pair in decision.pairs)
    means = [sum(found) / len(found) if found else None for found in travel_s]
    return Comparison(
        **count,
        live_travel_s=means[0],
        shadow_travel_s=means[1],
        live_technicians=len(people[0]),
        shadow_technicians=len(people[1]),
    )


def _chosen(decision: RoundDecision, order_id: OrderId) -> set[str]:
    return {pair.technician for pair in decision.pairs if pair.order_id == order_id}
