"""What a pair costs, in seconds: the way there, minus head starts. Every head start is bounded by the policy.

What an order's waiting is worth is the same whoever comes: it decides between orders, not between technicians.

So "ratings first" reads as *someone rated 5.0 may be up to two minutes farther*, and nobody is ever sent across
the city for a tenth of a star.
"""

import zlib

import numpy as np

from dispatch.problem import FloatArray, IntArray, Policy, Problem, TechnicianColumns

_NEWCOMERS = "newcomers"
TIE_S = 1e-6
"""Largest weight of the seeded tie-break: far below any real difference, far above float noise in sums."""


def travel_s(policy: Policy, distance_m: FloatArray) -> FloatArray:
    """Seconds to cover great-circle distances; any shape."""
    return policy.travel_start_s + policy.travel_s_per_m * distance_m


def ways_s(problem: Problem, rows: IntArray, distance_m: FloatArray) -> FloatArray:
    """Seconds of every way to these orders, shape (len(rows), m): as told, the others by their distance."""
    seconds = travel_s(problem.policy, distance_m)
    told = problem.ways
    if len(told.order):
        row_of = np.full(len(problem.orders.ids), -1, dtype=np.int64)
        row_of[rows] = np.arange(len(rows))
        here = row_of[told.order] >= 0
        seconds[row_of[told.order[here]], told.technician[here]] = told.seconds[here]
    return seconds


def chosen_ways_s(problem: Problem, rows: IntArray, columns: IntArray, distance_m: FloatArray) -> FloatArray:
    """``ways_s`` of single pairs: order ``rows[i]`` and technician ``columns[i]``."""
    seconds = travel_s(problem.policy, distance_m)
    told, m = problem.ways, len(problem.technicians.ids)
    if len(told.order):
        key = told.order * m + told.technician
        by_key = np.argsort(key, kind="stable")
        at = np.minimum(np.searchsorted(key[by_key], rows * m + columns), len(key) - 1)
        found = key[by_key[at]] == rows * m + columns
        seconds[found] = told.seconds[by_key[at[found]]]
    return seconds


def wait_s(technicians: TechnicianColumns) -> FloatArray:
    """Seconds until each technician may set out, shape (m,)."""
    return technicians.wait_s if len(technicians.wait_s) else np.zeros(len(technicians.ids))


def head_starts(policy: Policy, technicians: TechnicianColumns, at: float) -> dict[str, FloatArray]:
    """Named head starts of each technician, seconds >= 0, each of shape (m,)."""
    share = (technicians.rating - policy.rating_floor) / (policy.rating_best - policy.rating_floor)
    waited_s = np.maximum(at - technicians.idle_at, 0.0)
    return {
        "rating": policy.rating_max_s * np.clip(share, 0.0, 1.0),
        "tier": technicians.tier_s,
        "idle": np.minimum(policy.idle_s_per_s * waited_s, policy.idle_max_s),
    }


def starts(problem: Problem) -> dict[str, FloatArray]:
    """``head_starts`` of a round's technicians, with that of newcomers in a round that prefers them."""
    found = head_starts(problem.policy, problem.technicians, problem.at)
    if len(problem.people.newcomer) and problem.policy.newcomer_s > 0.0:
        found["newcomer"] = np.where(problem.people.newcomer, problem.policy.newcomer_s, 0.0)
    return found


def turns_s(problem: Problem) -> FloatArray:
    """What it costs that each technician had turns while equals were idle, seconds >= 0, shape (m,)."""
    turns = problem.technicians.turns
    if not len(turns):
        return np.zeros(len(problem.technicians.ids))
    cost_s: FloatArray = np.minimum(problem.policy.turn_s * turns, problem.policy.turn_max_s)
    return cost_s


def take_back_s(problem: Problem) -> FloatArray:
    """What it costs that each technician's open offer must be taken back, seconds >= 0, shape (m,)."""
    spare = problem.people.spare
    if not len(spare):
        return np.zeros(len(problem.technicians.ids))
    return np.where(spare, problem.policy.take_back_s, 0.0)


def decline_s(problem: Problem, rows: IntArray) -> FloatArray:
    """What the probable refusal of each technician costs these orders, seconds >= 0, shape (len(rows), m)."""
    m = len(problem.technicians.ids)
    if not len(problem.people.decline):
        return np.zeros((len(rows), m))
    of_service = problem.people.decline.reshape(-1, m)
    cost_s: FloatArray = problem.policy.decline_max_s * of_service[problem.people.service[rows]]
    return cost_s


def waiting_s(problem: Problem, rows: IntArray) -> FloatArray:
    """What the waiting of these orders is worth, seconds >= 0, shape (len(rows),)."""
    since_at = problem.orders.waiting_at
    if not len(since_at):
        return np.zeros(len(rows))
    worth_s: FloatArray = problem.policy.waiting_s_per_s * np.maximum(problem.at - since_at[rows], 0.0)
    return np.minimum(worth_s, problem.policy.waiting_max_s)


def prefers_newcomers(seed: int, share: float) -> bool:
    """Whether the round of this seed does; over many rounds, the share of them that do."""
    return float(tie_breaks((_NEWCOMERS,), seed)[0]) < share * TIE_S


def tie_breaks(ids: tuple[str, ...], seed: int) -> FloatArray:
    """A number in [0, ``TIE_S``) for each id, the same for the same seed: nobody is first by name.

    Source: the finaliser of SplitMix64 (Steele, Lea, Flood 2014) over CRC-32 of the id.
    """
    x = np.fromiter((zlib.crc32(i.encode()) for i in ids), dtype=np.uint64, count=len(ids))
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15) * np.uint64(seed + 1)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return x.astype(np.float64) * (TIE_S / 2.0**64)
