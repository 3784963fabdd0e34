"""The round's solver against brute force."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch import candidates, cost, matching
from dispatch.problem import Problem, Solver
from tests.unit.dispatch.problems import excluded, orders, problem, random_problem, technicians


def cost_matrix(p: Problem) -> np.ndarray:
    rows = np.arange(len(p.orders.ids))
    distance_m = candidates.distances_m(p, rows)
    costs = cost.travel_s(p.policy, distance_m) - sum(cost.head_starts(p.policy, p.technicians, p.at).values())
    costs[excluded(p, rows) != 0] = np.inf
    costs[distance_m > p.policy.radius_steps_m[-1]] = np.inf
    return costs


def brute_force(costs: np.ndarray, unmatched_s: float) -> float:
    """Cheapest total by trying every way; absent technicians stand for not matching."""
    n, m = costs.shape
    best = np.inf
    for columns in permutations([*range(m), *([-1] * n)], n):
        total = sum(unmatched_s if c < 0 else min(costs[r, c], 1e12) for r, c in enumerate(columns))
        best = min(best, total)
    return best


@settings(max_examples=60)
@given(st.integers(1, 4), st.integers(0, 4), st.integers(0, 10_000), st.data())
def test_a_rounds_pairs_equal_the_brute_force_optimum(n: int, m: int, seed: int, data: st.DataObject) -> None:
    p = random_problem(n, m, seed, radius_steps_m=(5_000.0,))
    p.orders.step_max[:] = 0
    hard = data.draw(st.lists(st.sampled_from([0, 0, 0, 2]), min_size=m, max_size=m))
    p.technicians.hard[:] = hard
    solution = matching.solve(p)
    total = sum(pair.cost_s for pair in solution.pairs) + (n - len(solution.pairs)) * p.policy.unmatched_s
    assert total == pytest.approx(brute_force(cost_matrix(p), p.policy.unmatched_s), abs=1e-3)
    assert len({pair.technician for pair in solution.pairs}) == len(solution.pairs)


@settings(max_examples=40)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 10_000))
def test_components_and_the_whole_matrix_agree(n: int, m: int, seed: int) -> None:
    from scipy.optimize import linear_sum_assignment

    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((n, m)) < 0.1, rng.uniform(-100, 5_000, (n, m)), 7_200.0)
    row, column = np.nonzero(dense < 7_200.0)
    rows, columns, chosen = matching.assign(row, column, dense[row, column], n, m, 7_200.0)
    padded = np.hstack([dense, np.full((n, n), 7_200.0)])
    best = padded[linear_sum_assignment(padded)].sum()
    assert dense[rows, columns].sum() + (n - len(rows)) * 7_200.0 == pytest.approx(best)
    assert (row[chosen] == rows).all()
    assert (column[chosen] == columns).all()
    assert len(set(columns.tolist())) == len(columns)


def test_the_second_pass_finds_somebody_for_orders_whose_candidates_were_all_taken() -> None:
    # Four orders at one door; each keeps two candidates only, the same two.
    p = problem(orders([0.0] * 4), technicians([100.0, 200.0, 300.0, 400.0]), candidates_len_max=2)
    solution = matching.solve(p)
    assert sorted(pair.technician for pair in solution.pairs) == ["tec_0", "tec_1", "tec_2", "tec_3"]


def test_the_second_pass_widens_the_circle() -> None:
    p = problem(orders([0.0, 0.0]), technicians([100.0, 9_000.0]))
    solution = matching.solve(p)
    assert len(solution.pairs) == 2
    assert sorted(solution.steps) == [0, 2]


def test_more_orders_are_served_rather_than_cheaper_ones() -> None:
    # tec_0 is best for both, tec_1 reaches only ord_0.
    p = problem(orders([0.0, -2_000.0]), technicians([0.0, 2_500.0]), radius_steps_m=(3_000.0,))
    p.orders.step_max[:] = 0
    pairs = {pair.order_id: pair.technician for pair in matching.solve(p).pairs}
    assert pairs == {"ord_0": "tec_1", "ord_1": "tec_0"}


def test_a_way_that_costs_more_than_waiting_is_not_made() -> None:
    assert matching.solve(problem(orders([0.0]), technicians([2_000.0]), unmatched_s=100.0)).pairs == ()


def test_a_pair_tells_its_terms_and_they_add_up() -> None:
    (pair,) = matching.solve(problem(orders([0.0]), technicians([1_000.0], tier_s=[45.0]))).pairs
    assert dict(pair.terms)["tier"] == -45.0
    assert pair.cost_s == pytest.approx(sum(seconds for _, seconds in pair.terms))
    assert pair.travel_s == pytest.approx(90 + 0.27 * 1_000, rel=1e-3)


def test_nobody_and_nothing_are_solved_too() -> None:
    assert matching.solve(problem(orders([]), technicians([]))).pairs == ()
    assert matching.solve(problem(orders([]), technicians([1.0]))).pairs == ()
    assert matching.solve(problem(orders([0.0]), technicians([]))).candidates == (0,)


def test_the_same_problem_has_the_same_solution() -> None:
    p = random_problem(40, 40, 3)
    assert matching.solve(p) == matching.solve(p)


@settings(max_examples=40)
@given(st.integers(1, 25), st.integers(1, 25), st.integers(0, 10_000))
def test_the_greedy_solution_takes_the_cheapest_pair_that_is_left_and_is_never_better_than_the_exact_one(
    n: int, m: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((n, m)) < 0.3, rng.uniform(-100, 5_000, (n, m)), 7_200.0)
    row, column = np.nonzero(dense < 7_200.0)
    rows, columns, _ = matching.assign_greedily(row, column, dense[row, column])
    expected, free = {}, dense.copy()
    while free.min(initial=7_200.0) < 7_200.0:
        i, j = np.unravel_index(int(np.argmin(free)), free.shape)
        expected[int(i)] = int(j)
        free[i, :] = free[:, j] = 7_200.0
    assert dict(zip(rows.tolist(), columns.tolist(), strict=True)) == expected
    best, best_columns, _ = matching.assign(row, column, dense[row, column], n, m, 7_200.0)

    def total(of: np.ndarray, to: np.ndarray) -> float:
        return float(dense[of, to].sum() + (n - len(of)) * 7_200.0)

    assert total(rows, columns) >= total(best, best_columns) - 1e-6


def test_a_greedy_round_obeys_the_same_filters_and_says_that_it_was_greedy() -> None:
    p = random_problem(12, 9, 3)
    p.technicians.hard[:4] = 2
    solution = matching.solve(p, Solver.GREEDY)
    assert solution.solver is Solver.GREEDY
    assert len(solution.pairs) == 5
    assert not {pair.technician for pair in solution.pairs} & {f"tec_{i}" for i in range(4)}
    assert solution == matching.solve(p, Solver.GREEDY)


def test_greedy_pays_for_the_second_order_what_the_exact_solution_saves() -> None:
    # The nearest pair is the middle one, and taking it sends the second technician past everyone.
    p = problem(orders([0.0, 1_000.0]), technicians([900.0, 3_000.0]), rating_max_s=0.0)
    exact, greedy = matching.solve(p), matching.solve(p, Solver.GREEDY)
    assert {q.order_id: q.technician for q in exact.pairs} == {"ord_0": "tec_0", "ord_1": "tec_1"}
    assert {q.order_id: q.technician for q in greedy.pairs} == {"ord_0": "tec_1", "ord_1": "tec_0"}


def test_a_solution_that_nobody_waits_for_is_given_up() -> None:
    with pytest.raises(matching.GivenUp):
        matching.solve(random_problem(5, 5, 1), Solver.EXACT, lambda: False)
