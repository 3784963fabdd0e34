"""What a day of the toy city holds."""

import numpy as np
import pytest
from scipy.stats import truncnorm

from sim.policies.xu2018 import FLEETS, ORDERS, distance_cells, draw_day

DAYS = [draw_day(3, number, 75) for number in range(200)]


def shares(values: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(values.ravel(), minlength=count) / values.size


def rounded_normal(mean: float, spread: float, last: int) -> np.ndarray:
    """Chance of each whole number in 0..last: a normal kept to [0, last] and rounded."""
    law = truncnorm(-mean / spread, (last - mean) / spread, loc=mean, scale=spread)
    return np.diff(law.cdf(np.append(np.arange(last + 1) - 0.5, last + 0.5)))


def agree(found: np.ndarray, wanted: np.ndarray, draws: int) -> bool:
    """Within five standard errors everywhere: a bound that chance passes once in a hundred thousand tables."""
    return bool((np.abs(found - wanted) <= 5 * np.sqrt(wanted * (1 - wanted) / draws)).all())


def test_places_times_and_patience_follow_their_laws() -> None:
    def mixed(axis: int, last: int) -> np.ndarray:
        first, second = ((3, 2), (6, 2)) if axis < 2 else ((5, 3), (15, 3))
        return rounded_normal(*first, last) / 3 + rounded_normal(*second, last) * 2 / 3

    draws = len(DAYS) * ORDERS
    for axis in (0, 1):
        assert agree(shares(np.array([d.origin[:, axis] for d in DAYS]), 9), mixed(axis, 8), draws)
    assert agree(shares(np.array([d.placed for d in DAYS]), 20), mixed(2, 19), draws)
    assert agree(shares(np.array([d.patience for d in DAYS]), 6), rounded_normal(2.5, 2, 5), draws)


def test_destinations_and_drivers_are_spread_evenly() -> None:
    even = np.full(81, 1 / 81)
    for places in ([d.destination for d in DAYS], [d.start for d in DAYS]):
        cells = np.concatenate(places)
        assert agree(shares(cells[:, 0] * 9 + cells[:, 1], 81), even, len(cells))


def test_a_mornings_orders_are_elsewhere_than_an_evenings() -> None:
    placed = np.concatenate([d.placed for d in DAYS])
    x = np.concatenate([d.origin[:, 0] for d in DAYS])
    assert x[placed <= 3].mean() < 4.0
    assert x[placed >= 13].mean() > 5.0


@pytest.mark.parametrize("drivers", FLEETS)
def test_every_fleet_meets_the_same_orders_and_begins_the_larger_ones(drivers: int) -> None:
    small, large = draw_day(0, 5, drivers), draw_day(0, 5, 100)
    assert np.array_equal(small.origin, large.origin)
    assert np.array_equal(small.patience, large.patience)
    assert np.array_equal(small.start, large.start[:drivers])


def test_days_and_seeds_differ_and_repeat() -> None:
    day = draw_day(0, 0, 25)
    assert np.array_equal(day.origin, draw_day(0, 0, 25).origin)
    assert not np.array_equal(day.origin, draw_day(0, 1, 25).origin)
    assert not np.array_equal(day.origin, draw_day(1, 0, 25).origin)


def test_distances_are_manhattan() -> None:
    assert distance_cells(np.array([[1, 2], [8, 0]]), np.array([3, 1])).tolist() == [3, 6]
