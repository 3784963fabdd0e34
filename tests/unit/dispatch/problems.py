"""Random and hand-made rounds as columns."""

from dataclasses import replace
from typing import Any

import numpy as np

from dispatch import candidates
from dispatch.problem import CodeArray, IntArray, OrderColumns, Policy, Problem, TechnicianColumns
from tests.unit.dispatch.world import CENTRE, M_PER_DEG, T0

POLICY = Policy(
    position_fresh_s=60.0,
    radius_steps_m=(3_000.0, 5_000.0, 10_000.0, 20_000.0),
    candidates_len_max=30,
    unmatched_s=7_200.0,
    travel_s_per_m=0.27,
    travel_start_s=90.0,
    rating_max_s=120.0,
    rating_floor=4.0,
    rating_best=5.0,
    idle_s_per_s=2.0 / 60.0,
    idle_max_s=60.0,
)


def orders(metres_north: list[float], metres_east: list[float] | None = None) -> OrderColumns:
    n = len(metres_north)
    east = np.array(metres_east if metres_east is not None else [0.0] * n)
    return OrderColumns(
        ids=tuple(f"ord_{i}" for i in range(n)),
        lat_deg=CENTRE.lat_deg + np.array(metres_north, dtype=np.float64) / M_PER_DEG,
        lng_deg=CENTRE.lng_deg + east / (M_PER_DEG * np.cos(np.radians(CENTRE.lat_deg))),
        step_max=np.full(n, 3),
        skills=np.zeros(n, dtype=np.uint64),
        skill_unknown=np.zeros(n, dtype=np.bool_),
        gender=np.zeros(n, dtype=np.uint8),
    )


def technicians(metres_north: list[float], metres_east: list[float] | None = None, **columns: Any) -> TechnicianColumns:
    m = len(metres_north)
    east = np.array(metres_east if metres_east is not None else [0.0] * m)
    made = TechnicianColumns(
        ids=tuple(f"tec_{i}" for i in range(m)),
        lat_deg=CENTRE.lat_deg + np.array(metres_north, dtype=np.float64) / M_PER_DEG,
        lng_deg=CENTRE.lng_deg + east / (M_PER_DEG * np.cos(np.radians(CENTRE.lat_deg))),
        seen_at=np.full(m, T0),
        heard_at=np.full(m, T0),
        unheard_at=np.full(m, -np.inf),
        connected=np.ones(m, dtype=np.bool_),
        skills=np.zeros(m, dtype=np.uint64),
        gender=np.ones(m, dtype=np.uint8),
        rating=np.full(m, 4.7),
        tier_s=np.zeros(m),
        idle_at=np.full(m, T0),
        hard=np.zeros(m, dtype=np.uint8),
    )
    arrays: dict[str, Any] = {name: np.asarray(values) for name, values in columns.items()}
    return replace(made, **arrays)


def problem(
    o: OrderColumns, t: TechnicianColumns, refused: list[tuple[int, int]] | None = None, **policy: Any
) -> Problem:
    pairs = np.array(refused or [], dtype=np.int64).reshape(-1, 2)
    return Problem(T0, 7, replace(POLICY, **policy), o, t, pairs[:, 0].copy(), pairs[:, 1].copy())


def random_problem(n: int, m: int, seed: int, side_m: float = 10_000.0, **policy: Any) -> Problem:
    """``n`` orders and ``m`` technicians, spread over a square."""
    rng = np.random.default_rng(seed)

    def spread(k: int) -> list[float]:
        return [float(metres) for metres in rng.uniform(0, side_m, k)]

    o = orders(spread(n), spread(n))
    t = technicians(
        spread(m),
        spread(m),
        rating=rng.uniform(3.5, 5.0, m),
        tier_s=rng.choice([0.0, 45.0, 90.0], m),
        idle_at=T0 - rng.uniform(0, 3600, m),
    )
    return problem(o, t, **policy)


def excluded(p: Problem, rows: IntArray) -> CodeArray:
    """Reasons against each pair of these orders."""
    return candidates.exclusions(p, rows, candidates.distances_m(p, rows))
