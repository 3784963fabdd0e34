"""Matching policies beside each other in the toy city, every policy on the same days."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from dispatch import matching
from dispatch.problem import FloatArray, IntArray
from sim.clock import stream_of
from sim.policies.xu2018 import FLEETS, ORDERS, REACH_CELLS, STEPS, Day, distance_cells, draw_day

UNMATCHED_CELLS: Final = 1e4
"""Price of leaving an order out: above any sum of pickups, so that serving more always wins."""
TIE_CELLS: Final = 1e-6
"""Largest weight of the random tie-break: all of a step's together stay far below one cell."""


class Policy(StrEnum):
    """Who decides, and when."""

    GREEDY = "greedy"
    """Each step: the oldest order first, its nearest driver."""
    BATCHED = "batched"
    """Each step: all open orders at once, the least total pickup."""
    BATCHED2 = "batched2"
    """The same, but only each second step, beginning with the first: what a fixed window costs."""


class Figures(NamedTuple):
    """What a policy achieved, or how far that may be off.

    Attributes:
        served: Share of the orders that got a driver.
        pickup: Cells from driver to order, mean over the served orders.
        wait: Steps from placing to pickup, mean over the served orders; a cell takes a step.
    """

    served: float
    pickup: float
    wait: float


REFERENCE: Final = {
    (25, Policy.GREEDY): Figures(0.458, 1.397, 2.151),
    (25, Policy.BATCHED): Figures(0.465, 1.220, 1.671),
    (25, Policy.BATCHED2): Figures(0.429, 1.207, 1.919),
    (50, Policy.GREEDY): Figures(0.729, 1.182, 1.551),
    (50, Policy.BATCHED): Figures(0.738, 1.096, 1.318),
    (50, Policy.BATCHED2): Figures(0.686, 1.072, 1.641),
    (75, Policy.GREEDY): Figures(0.878, 0.966, 1.137),
    (75, Policy.BATCHED): Figures(0.887, 0.932, 1.034),
    (75, Policy.BATCHED2): Figures(0.834, 0.910, 1.417),
    (100, Policy.GREEDY): Figures(0.953, 0.787, 0.863),
    (100, Policy.BATCHED): Figures(0.961, 0.777, 0.825),
    (100, Policy.BATCHED2): Figures(0.908, 0.749, 1.232),
}
"""An independent implementation of the same city with scipy's dense solver, 200 days; its batched rows lie on the bars
that the published re-implementation (github.com/callmespring/MDPOD) draws for matching by distance."""
REFERENCE_DAYS: Final = 200
SERVED_WITHIN, PICKUP_WITHIN = 0.01, 0.02
"""How far greedy and batched may be from their reference rows when as many days are run."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        error: Standard error of each figure, from the spread between days; nan for a single day.
    """

    drivers: int
    policy: Policy
    figures: Figures
    error: Figures


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the n orders of a day, each column of length n; pickup and wait are 0 where not served."""

    served: FloatArray
    pickup: FloatArray
    wait: FloatArray


def live_day(day: Day, policy: Policy, ties: np.random.Generator) -> Outcome:
    """Let one policy decide a whole day.

    Args:
        ties: Decides between drivers and orders that are equally good.
    """
    place, free_at = day.start.copy(), np.zeros(len(day.start), dtype=np.int64)
    trip = distance_cells(day.origin, day.destination)
    taken_at = np.full(len(day.placed), -1, dtype=np.int64)
    pickup = np.zeros(len(day.placed), dtype=np.int64)
    # Orders of one step stand in the order in which they were drawn, which is random.
    by_age = np.argsort(day.placed, kind="stable")
    for step in range(0, STEPS, 2 if policy is Policy.BATCHED2 else 1):
        waiting = (taken_at < 0) & (day.placed <= step) & (step <= day.placed + day.patience)
        orders, drivers = by_age[waiting[by_age]], np.flatnonzero(free_at <= step)
        distance = distance_cells(day.origin[orders][:, None], place[drivers][None, :])
        row, column = np.nonzero(distance <= REACH_CELLS)
        rows, columns = _match(policy, row, column, distance[row, column], distance.shape, ties)
        who, by = orders[rows], drivers[columns]
        taken_at[who], pickup[who] = step, distance[rows, columns]
        free_at[by] = step + 1 + pickup[who] + trip[who]
        place[by] = day.destination[who]
    served = taken_at >= 0
    return Outcome(
        served.astype(np.float64),
        pickup.astype(np.float64),
        np.where(served, taken_at - day.placed + pickup, 0).astype(np.float64),
    )


def _match(
    policy: Policy,
    row: IntArray,
    column: IntArray,
    distance: IntArray,
    shape: tuple[int, ...],
    ties: np.random.Generator,
) -> tuple[IntArray, IntArray]:
    """Rows and columns that are matched, by the code that matches orders in production."""
    n, m = shape
    cost = distance + TIE_CELLS * ties.random(len(distance))
    if policy is Policy.GREEDY:
        # A higher place in the line outweighs every distance, so the cheapest edge is always one of the oldest order.
        return matching.assign_greedily(row, column, UNMATCHED_CELLS * row + cost)[:2]
    return matching.assign(row, column, cost, n, m, UNMATCHED_CELLS)[:2]


def table(days: int, seed: int, progress: Callable[[int], None] = lambda _day: None) -> list[Row]:
    """Every policy with every number of drivers on ``days`` days; the same arguments give the same rows.

    Args:
        progress: Told after each day how many are done.

    Cost:
        About 50 ms for each day.
    """
    kinds = [(drivers, policy) for drivers in FLEETS for policy in Policy]
    sums = {kind: np.zeros((days, 3)) for kind in kinds}
    for number in range(days):
        days_of = {drivers: draw_day(seed, number, drivers) for drivers in FLEETS}
        for drivers, policy in kinds:
            outcome = live_day(
                days_of[drivers], policy, stream_of(seed, "xu2018", "ties", number, drivers, policy.value)
            )
            sums[drivers, policy][number] = outcome.served.sum(), outcome.pickup.sum(), outcome.wait.sum()
        progress(number + 1)
    return [_row(drivers, policy, sums[drivers, policy]) for drivers, policy in kinds]


def _row(drivers: int, policy: Policy, sums: FloatArray) -> Row:
    """Figures from each day's sums of served, pickup and wait, shape (days, 3)."""
    days = len(sums)
    served = sums[:, 0]
    whole = max(served.sum(), 1.0)
    pickup, wait = sums[:, 1].sum() / whole, sums[:, 2].sum() / whole
    return Row(
        drivers,
        policy,
        Figures(float(served.sum() / (days * ORDERS)), float(pickup), float(wait)),
        Figures(
            _standard_error(served / ORDERS),
            # A ratio of two sums: to first order its error is that of the mean of what each day adds to it.
            _standard_error((sums[:, 1] - pickup * served) * days / whole),
            _standard_error((sums[:, 2] - wait * served) * days / whole),
        ),
    )


def _standard_error(of_days: FloatArray) -> float:
    return float(np.std(of_days, ddof=1)) / math.sqrt(len(of_days)) if len(of_days) > 1 else math.nan


def faults(rows: list[Row]) -> list[str]:
    """What of the table is not as the reference says, in words; meant for ``REFERENCE_DAYS`` days and more."""
    figures = {(row.drivers, row.policy): row.figures for row in rows}
    found = []
    for drivers in FLEETS:
        greedy, batched = figures[drivers, Policy.GREEDY], figures[drivers, Policy.BATCHED]
        for policy, got in ((Policy.GREEDY, greedy), (Policy.BATCHED, batched)):
            wanted = REFERENCE[drivers, policy]
            at = f"{drivers} drivers, {policy}"
            if abs(got.served - wanted.served) > SERVED_WITHIN:
                found.append(f"{at}: served {got.served:.4f} is not within {SERVED_WITHIN} of {wanted.served}")
            if abs(got.pickup - wanted.pickup) > PICKUP_WITHIN:
                found.append(f"{at}: pickup {got.pickup:.4f} is not within {PICKUP_WITHIN} of {wanted.pickup}")
        if batched.served < greedy.served:
            found.append(f"{drivers} drivers: batched serves {batched.served:.4f}, greedy {greedy.served:.4f}")
    return found
