"""What weighs in a choice, and what forbids one."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch import candidates, cost, matching
from dispatch.problem import Exclusion
from geo.distance import haversine_m
from tests.unit.dispatch.problems import POLICY, excluded, orders, problem, random_problem, technicians
from tests.unit.dispatch.world import T0

TWO = [0.0, 0.0]


def winner(metres: list[float], **columns: Any) -> str:
    return matching.solve(problem(orders([0.0]), technicians(metres, **columns))).pairs[0].technician


def test_at_equal_distance_the_better_rated_comes_first() -> None:
    assert winner([500, 500], rating=[4.6, 4.9]) == "tec_1"
    assert winner([500, 500], rating=[4.9, 4.6]) == "tec_0"


def test_a_perfect_rating_far_away_loses_to_a_good_one_near() -> None:
    assert winner([6_000, 500], rating=[5.0, 4.6]) == "tec_1"


def test_tier_and_waiting_are_head_starts_with_a_limit() -> None:
    assert winner([500, 700], tier_s=[0.0, 90.0]) == "tec_1"
    assert winner([500, 1_000], tier_s=[0.0, 90.0]) == "tec_0"
    assert winner([500, 600], idle_at=[T0, T0 - 3_600]) == "tec_1"
    assert winner([500, 800], idle_at=[T0, T0 - 1e9]) == "tec_0"


@given(st.floats(1, 5), st.floats(0, 1e9), st.floats(0, 1e6))
def test_every_head_start_is_bounded_by_the_policy(stars: float, waited_s: float, tier_s: float) -> None:
    t = technicians([0.0], rating=[stars], idle_at=[T0 - waited_s], tier_s=[tier_s])
    starts = cost.head_starts(POLICY, t, T0)
    assert 0 <= starts["rating"][0] <= POLICY.rating_max_s
    assert 0 <= starts["idle"][0] <= POLICY.idle_max_s
    assert starts["tier"][0] == tier_s


def test_somebody_whose_wait_is_unknown_has_no_head_start_for_it() -> None:
    assert cost.head_starts(POLICY, technicians([0.0], idle_at=[np.inf]), T0)["idle"][0] == 0.0


def test_ties_are_broken_by_the_seed_and_not_by_name() -> None:
    ids = tuple(f"tec_{i}" for i in range(50))
    firsts = {ids[int(np.argmin(cost.tie_breaks(ids, seed)))] for seed in range(60)}
    assert len(firsts) > 20
    assert (cost.tie_breaks(ids, 3) == cost.tie_breaks(ids, 3)).all()
    assert ((cost.tie_breaks(ids, 3) >= 0) & (cost.tie_breaks(ids, 3) <= cost.TIE_S)).all()


def test_distances_are_those_of_geo() -> None:
    p = random_problem(9, 11, 5, side_m=30_000.0)
    expected = haversine_m(
        p.orders.lat_deg[:, None], p.orders.lng_deg[:, None], p.technicians.lat_deg, p.technicians.lng_deg
    )
    assert np.allclose(candidates.distances_m(p, np.arange(9)), expected, rtol=0, atol=1e-6)


def test_each_exclusion_has_its_reason_and_the_most_telling_one_is_told() -> None:
    t = technicians(
        [0.0] * 9,
        hard=[0, Exclusion.BUSY, Exclusion.OFFERED, 0, 0, 0, 0, 0, Exclusion.OFF_DUTY],
        skills=np.array([1, 1, 1, 0, 1, 1, 1, 1, 0], dtype=np.uint64),
        gender=np.array([1, 1, 1, 1, 2, 1, 1, 1, 2], dtype=np.uint8),
        connected=[True, True, True, True, True, False, True, True, False],
        heard_at=[T0] * 6 + [T0 - 5, T0, T0],
        unheard_at=[-np.inf] * 6 + [T0 - 4, -np.inf, -np.inf],
        seen_at=[T0] * 7 + [T0 - 61, T0],
    )
    o = orders([0.0])
    o.skills[:] = 1
    o.gender[:] = 1
    found = excluded(problem(o, t), np.array([0]))[0].tolist()
    assert found == [
        Exclusion.NONE,
        Exclusion.BUSY,
        Exclusion.OFFERED,
        Exclusion.SKILL,
        Exclusion.GENDER,
        Exclusion.DISCONNECTED,
        Exclusion.UNHEARD,
        Exclusion.STALE_POSITION,
        Exclusion.OFF_DUTY,
    ]


def test_a_refusal_concerns_its_own_order_only() -> None:
    p = problem(orders(TWO), technicians(TWO), refused=[(0, 1)])
    assert excluded(p, np.array([0, 1])).tolist() == [[0, Exclusion.REFUSED], [0, 0]]
    assert excluded(p, np.array([1])).tolist() == [[0, 0]]


def test_a_skill_that_nobody_has_excludes_everybody() -> None:
    o = orders(TWO)
    o.skill_unknown[0] = True
    found = excluded(problem(o, technicians(TWO)), np.array([0, 1]))
    assert found.tolist() == [[Exclusion.SKILL] * 2, [0, 0]]


@pytest.mark.parametrize(("metres", "step"), [(100, 0), (3_500, 1), (9_000, 2), (19_000, 3), (50_000, 3)])
def test_the_circle_is_the_smallest_that_holds_somebody(metres: float, step: int) -> None:
    solution = matching.solve(problem(orders([0.0]), technicians([metres])))
    assert solution.steps == (step,)
    assert len(solution.pairs) == (metres < 20_000)


def test_the_circle_stays_within_what_is_allowed() -> None:
    o = orders([0.0])
    o.step_max[:] = 1
    solution = matching.solve(problem(o, technicians([9_000.0])))
    assert (solution.steps, solution.pairs) == ((1,), ())
