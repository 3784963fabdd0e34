"""The matching round: all open orders and all technicians in reach, solved at once. Pure; sees numpy columns only.

Each order keeps its cheapest candidates as edges; the graph falls into components; a component of one order takes
the cheapest, a larger one is solved exactly and densely (docs/adr/0005). Orders left over are weighed against
whoever is left, in wider circles if need be, until nothing more is found. An order that may be offered to several has
a row for each, and all second rows choose after all first ones, and so on. A round over its time budget is solved
again greedily, which takes milliseconds at any size (docs/adr/0016).

An order may stay unmatched at a price. The usual private dummy column for each order is not built: edges are priced
by what they are worth above leaving their order out, and a missing edge is worth nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dispatch import candidates, cost
from dispatch.problem import BoolArray, FloatArray, IntArray, Pair, Problem, Solution, Solver

CHUNK_CELLS = 131_072
"""Cells of the pair matrix computed at a time: 1 MiB of float64, which stays in the cache and bounds memory."""
PASSES_MAX = 8
"""More than radius steps that are ever used; a bound, not a tuning."""


class GivenUp(Exception):
    """Nobody waits for this solution any more."""


@dataclass(slots=True)
class _Edges:
    order: IntArray
    technician: IntArray
    cost_s: FloatArray
    distance_m: FloatArray


def solve(problem: Problem, solver: Solver = Solver.EXACT, is_wanted: Callable[[], bool] | None = None) -> Solution:
    """Decide one round. The same problem and solver always give the same solution.

    Args:
        is_wanted: Asked between components; once it says no, nothing more is computed.

    Raises:
        GivenUp: ``is_wanted`` said no.

    Cost:
        O(n*m) for the columns, then for ``EXACT`` O(k^3) for each component of k orders, which releases the GIL in
        the large parts, and for ``GREEDY`` O(e log e) for e edges, 30 an order.
    """
    n, m = len(problem.orders.ids), len(problem.technicians.ids)
    steps = problem.orders.step_max.copy()
    counts = np.zeros(n, dtype=np.int64)
    refused = np.zeros(n, dtype=np.bool_)
    chosen = np.full(n, -1, dtype=np.int64)
    chosen_m = np.zeros(n)
    if n and m:
        refused[problem.refused_order] = True
        base_s, unmatched_s = _base_s(problem), _unmatched_s(problem)
        free = np.ones(m, dtype=np.bool_)
        for wave in _waves(problem):
            for number in range(PASSES_MAX):
                left = wave[chosen[wave] < 0]
                edges = _edges(problem, left, free, base_s, unmatched_s, steps, counts if number == 0 else None)
                if solver is Solver.GREEDY:
                    worth_s = edges.cost_s - unmatched_s[edges.order]
                    rows, columns, picked = assign_greedily(edges.order, edges.technician, worth_s)
                else:
                    rows, columns, picked = assign(
                        edges.order, edges.technician, edges.cost_s, n, m, unmatched_s, is_wanted
                    )
                if not len(rows):
                    break
                chosen[rows], chosen_m[rows] = columns, edges.distance_m[picked]
                free[columns] = False
                if len(rows) == len(left) or not free.any():
                    break
    return Solution(
        pairs=_pairs(problem, chosen, chosen_m),
        steps=tuple(steps.tolist()),
        candidates=tuple(counts.tolist()),
        refused=tuple(refused.tolist()),
        solver=solver,
    )


def _waves(problem: Problem) -> Iterator[IntArray]:
    """Rows that choose at the same time: every order's first technician is chosen before anybody's second."""
    wave = problem.orders.wave
    if not len(wave):
        yield np.arange(len(problem.orders.ids))
        return
    for number in np.unique(wave).tolist():
        yield np.flatnonzero(wave == number)


def likely(problem: Problem) -> tuple[IntArray, IntArray]:
    """Each order's cheapest candidates by the policy's rate, as rows of order and technician: ways worth asking for."""
    n, m = len(problem.orders.ids), len(problem.technicians.ids)
    if not (n and m):
        none = np.zeros(0, dtype=np.int64)
        return none, none
    everybody, steps = np.ones(m, dtype=np.bool_), problem.orders.step_max.copy()
    edges = _edges(problem, np.arange(n), everybody, _base_s(problem), _unmatched_s(problem), steps, None)
    return edges.order, edges.technician


def _base_s(problem: Problem) -> FloatArray:
    """What a technician costs before the way: their wait and turns, minus head starts, plus the tie-break."""
    base = cost.tie_breaks(problem.technicians.ids, problem.seed)
    for seconds in cost.starts(problem).values():
        base -= seconds
    return base + cost.wait_s(problem.technicians) + cost.turns_s(problem) + cost.take_back_s(problem)


def _unmatched_s(problem: Problem) -> FloatArray:
    """What each row costs if it is left out, its waiting included.

    That is the same as taking the waiting off the cost of each of its edges, without a pass over all pairs.
    """
    n, own = len(problem.orders.ids), problem.orders.unmatched_s
    base_s = own if len(own) else np.full(n, problem.policy.unmatched_s)
    return base_s + cost.waiting_s(problem, np.arange(n))


def _edges(
    problem: Problem,
    left: IntArray,
    free: BoolArray,
    base_s: FloatArray,
    unmatched_s: FloatArray,
    steps: IntArray,
    counts: IntArray | None,
) -> _Edges:
    """Cheapest candidates of each order in ``left``; writes ``steps`` and (where given) ``counts``."""
    m = len(base_s)
    chunk = max(1, CHUNK_CELLS // m)
    parts: list[_Edges] = []
    for start in range(0, len(left), chunk):
        rows = left[start : start + chunk]
        distance_m = candidates.distances_m(problem, rows)
        fit = candidates.exclusions(problem, rows, distance_m) == 0
        step = candidates.widen(problem, rows, fit & free, distance_m)
        steps[rows] = step
        fit &= distance_m <= np.asarray(problem.policy.radius_steps_m)[step][:, None]
        if counts is not None:
            counts[rows] = fit.sum(axis=1)
        eligible = fit & free
        cost_s = cost.ways_s(problem, rows, distance_m) + base_s
        if len(problem.people.decline):
            cost_s += cost.decline_s(problem, rows)
        eligible &= cost_s < unmatched_s[rows][:, None]
        parts.append(_cheapest(rows, eligible, cost_s, distance_m, problem.policy.candidates_len_max))
    return _Edges(
        np.concatenate([p.order for p in parts]),
        np.concatenate([p.technician for p in parts]),
        np.concatenate([p.cost_s for p in parts]),
        np.concatenate([p.distance_m for p in parts]),
    )


def _cheapest(rows: IntArray, eligible: BoolArray, cost_s: FloatArray, distance_m: FloatArray, k: int) -> _Edges:
    if cost_s.shape[1] > k:
        priced = np.where(eligible, cost_s, np.inf)
        kept = np.argpartition(priced, k - 1, axis=1)[:, :k]
        mask = np.zeros_like(eligible)
        np.put_along_axis(mask, kept, np.take_along_axis(eligible, kept, axis=1), axis=1)
        eligible = mask
    local, columns = np.nonzero(eligible)
    return _Edges(rows[local], columns, cost_s[local, columns], distance_m[local, columns])


def assign(
    order: IntArray,
    technician: IntArray,
    cost_s: FloatArray,
    n: int,
    m: int,
    unmatched_s: FloatArray | float,
    is_wanted: Callable[[], bool] | None = None,
) -> tuple[IntArray, IntArray, IntArray]:
    """The cheapest set of edges in which nobody appears twice, leaving an order out costing ``unmatched_s``.

    It knows edges and no city: rounds give it seconds, ``sim.policies`` the cells of a published toy city.

    Args:
        order, technician, cost_s: The edges; costs below their order's ``unmatched_s``, of either sign, any one unit.
        n, m: How many orders and technicians the indexes count.
        unmatched_s: For each order, or one for all.
        is_wanted: See ``solve``.

    Returns:
        Orders, their technicians, and the index of each chosen edge; orders ascending.

    Raises:
        GivenUp: See ``solve``.
    """
    if not len(order):
        none = np.zeros(0, dtype=np.int64)
        return none, none, none
    if (order == order[0]).all():
        # "The best one, now": the usual round needs no graph, which would cost more than all the rest.
        best = np.argmin(cost_s, keepdims=True)
        return order[best], technician[best], best
    unmatched_s = np.broadcast_to(np.asarray(unmatched_s, dtype=np.float64), (n,))
    graph = coo_matrix((np.ones(len(order), dtype=np.int8), (order, technician + n)), shape=(n + m, n + m))
    _, label = connected_components(graph.tocsr(), directed=False)
    by_label = np.argsort(label[order], kind="stable")
    cuts = np.flatnonzero(np.diff(label[order][by_label])) + 1
    picked = []
    for edges in np.split(by_label, cuts):
        if is_wanted is not None and not is_wanted():
            raise GivenUp
        picked.append(_solve_component(order[edges], technician[edges], cost_s[edges], edges, unmatched_s))
    chosen = np.concatenate(picked)
    chosen = chosen[np.argsort(order[chosen], kind="stable")]
    return order[chosen], technician[chosen], chosen


def assign_greedily(order: IntArray, technician: IntArray, cost_s: FloatArray) -> tuple[IntArray, IntArray, IntArray]:
    """The cheapest edge, then the cheapest among those whose ends are both free, and so on. Answers as ``assign``."""
    by_cost = np.argsort(cost_s, kind="stable")
    taken_orders: set[int] = set()
    taken_technicians: set[int] = set()
    picked = []
    rows, columns = order[by_cost].tolist(), technician[by_cost].tolist()
    for edge, row, column in zip(by_cost.tolist(), rows, columns, strict=True):
        if row not in taken_orders and column not in taken_technicians:
            taken_orders.add(row)
            taken_technicians.add(column)
            picked.append(edge)
    chosen = np.asarray(picked, dtype=np.int64)
    chosen = chosen[np.argsort(order[chosen], kind="stable")]
    return order[chosen], technician[chosen], chosen


def _solve_component(
    order: IntArray, technician: IntArray, cost_s: FloatArray, edges: IntArray, unmatched_s: FloatArray
) -> IntArray:
    """Indexes of the chosen edges of one connected component."""
    if order[0] == order[-1] and (order == order[0]).all():
        return edges[[int(np.argmin(cost_s))]]
    rows, row = np.unique(order, return_inverse=True)
    columns, column = np.unique(technician, return_inverse=True)
    # What an edge is worth above leaving its order out; so an order left out, or one too many, counts nothing.
    matrix = np.zeros((len(rows), len(columns)))
    matrix[row, column] = cost_s - unmatched_s[order]
    edge_of = np.full(matrix.shape, -1, dtype=np.int64)
    edge_of[row, column] = edges
    taken = edge_of[linear_sum_assignment(matrix)]
    return taken[taken >= 0]


def _pairs(problem: Problem, chosen: IntArray, distance_m: FloatArray) -> tuple[Pair, ...]:
    """Chosen pairs with their terms, for offers and explanations."""
    rows = np.flatnonzero(chosen >= 0)
    if not len(rows):
        return ()
    columns = chosen[rows]
    travel_s = cost.chosen_ways_s(problem, rows, columns, distance_m[rows])
    wait_s = cost.wait_s(problem.technicians)[columns]
    decline_s = cost.decline_s(problem, rows)[np.arange(len(rows)), columns]
    starts = cost.starts(problem)
    named = [
        ("travel", travel_s),
        ("wait", wait_s),
        ("decline", decline_s),
        ("turns", cost.turns_s(problem)[columns]),
        ("waiting", -cost.waiting_s(problem, rows)),
        *((name, -seconds[columns]) for name, seconds in starts.items()),
    ]
    if len(problem.people.spare):
        named.append(("take_back", cost.take_back_s(problem)[columns]))
    lists = [(name, seconds.tolist()) for name, seconds in named]
    return tuple(
        Pair(
            order_id=problem.orders.ids[row],
            technician=problem.technicians.ids[column],
            cost_s=sum(seconds[i] for _, seconds in lists),
            travel_s=lists[0][1][i] + lists[1][1][i],
            distance_m=float(distance_m[row]),
            terms=tuple((name, seconds[i]) for name, seconds in lists),
        )
        for i, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True))
    )
