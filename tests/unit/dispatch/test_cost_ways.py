from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch import candidates, cost, matching, rounds
from dispatch.problem import WayColumns
from tests.unit.dispatch.problems import random_problem


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(1, 12), st.integers(0, 1000))
def test_told_ways_are_used_the_others_follow_their_distance(n: int, m: int, seed: int) -> None:
    plain = random_problem(n, m, seed)
    rng = np.random.default_rng(seed)
    order, technician = np.nonzero(rng.random((n, m)) < 0.5)
    mixed = rng.permutation(len(order))
    told = WayColumns(order[mixed], technician[mixed], rng.random(len(order)) * 1_000)
    p = replace(plain, ways=told, ways_from="osrm")
    distance_m = candidates.distances_m(p, np.arange(n))
    expected = cost.travel_s(p.policy, distance_m)
    expected[told.order, told.technician] = told.seconds
    assert (cost.ways_s(p, np.arange(n), distance_m) == expected).all()
    some = rng.permutation(n)[: max(n // 2, 1)]
    assert (cost.ways_s(p, some, distance_m[some]) == expected[some]).all()
    columns = rng.integers(m, size=n)
    rows = np.arange(n)
    assert (cost.chosen_ways_s(p, rows, columns, distance_m[rows, columns]) == expected[rows, columns]).all()
    again = rounds.decode(rounds.encode(p))
    assert matching.solve(again) == matching.solve(p)
    assert again.ways_from == "osrm"
    order, technician = matching.likely(plain)
    asked = {(p.orders.ids[i], p.technicians.ids[j]) for i, j in zip(order, technician, strict=True)}
    # Orders left over by the first pass look at technicians farther away, whose ways nobody asked for.
    first = [pair for pair in matching.solve(plain).pairs if (pair.order_id, pair.technician) in asked]
    assert bool(first) is bool(asked)
