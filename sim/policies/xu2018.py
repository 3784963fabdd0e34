"""The toy city of Xu et al.: a grid of 9 x 9 cells, a day of 20 steps, 100 orders. What a day holds, not who decides.

Source: Z. Xu et al., "Large-Scale Order Dispatch in On-Demand Ride-Hailing Platforms: A Learning and Planning
Approach", KDD 2018, section 6.1. Where the paper leaves room, docs/benchmarks.md says how it is read here.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import ndtr, ndtri

from dispatch.problem import FloatArray, IntArray
from sim.clock import stream_of

SIDE_CELLS: Final = 9
STEPS: Final = 20
ORDERS: Final = 100
REACH_CELLS: Final = 2
"""A driver farther away than this (Manhattan distance) cannot be given the order."""
FLEETS: Final = (25, 50, 75, 100)
"""Numbers of drivers in the table."""

_FIRST_SHARE: Final = 1 / 3
_PEAKS: Final = np.array([[3.0, 3.0, 5.0], [6.0, 6.0, 15.0]])
"""Means of the two Gaussians in x, y and step: a morning here, an evening there."""
_SPREAD: Final = np.array([2.0, 2.0, 3.0])
_LAST: Final = np.array([SIDE_CELLS - 1.0, SIDE_CELLS - 1.0, STEPS - 1.0])
_PATIENCE_MEAN, _PATIENCE_SPREAD, _PATIENCE_MAX = 2.5, 2.0, 5.0


@dataclass(frozen=True, slots=True)
class Day:
    """One day of n orders and m drivers, the same for every policy.

    Attributes:
        origin, destination: Cells of each order, shape (n, 2).
        placed: Step at which each order is placed, shape (n,).
        patience: Steps an order stays open after that one, shape (n,).
        start: Cell in which each driver begins, shape (m, 2).
    """

    origin: IntArray
    destination: IntArray
    placed: IntArray
    patience: IntArray
    start: IntArray


def draw_day(seed: int, number: int, drivers: int) -> Day:
    """Day ``number`` of a seed: the same orders for every fleet; a small fleet is the beginning of a large one."""
    orders = stream_of(seed, "xu2018", "orders", number)
    peak = _PEAKS[(orders.random(ORDERS) >= _FIRST_SHARE).astype(np.int64)]
    sampled = np.rint(_truncated_normal(orders.random((ORDERS, 3)), peak, _SPREAD, _LAST)).astype(np.int64)
    patience = _truncated_normal(
        orders.random(ORDERS), np.array(_PATIENCE_MEAN), np.array(_PATIENCE_SPREAD), np.array(_PATIENCE_MAX)
    )
    return Day(
        origin=sampled[:, :2],
        destination=orders.integers(0, SIDE_CELLS, (ORDERS, 2)),
        placed=sampled[:, 2],
        patience=np.rint(patience).astype(np.int64),
        start=stream_of(seed, "xu2018", "drivers", number).integers(0, SIDE_CELLS, (drivers, 2)),
    )


def _truncated_normal(uniform: FloatArray, mean: FloatArray, spread: FloatArray, last: FloatArray) -> FloatArray:
    """Normal draws kept to [0, ``last``], by inversion of ``uniform`` draws from [0, 1)."""
    below, above = ndtr(-mean / spread), ndtr((last - mean) / spread)
    drawn: FloatArray = mean + spread * ndtri(below + (above - below) * uniform)
    return np.clip(drawn, 0.0, last)  # inversion may miss a border by a rounding error


def distance_cells(one: IntArray, other: IntArray) -> IntArray:
    """Manhattan distance between cells whose last axis is (x, y); the rest broadcasts."""
    distance: IntArray = np.abs(one - other).sum(axis=-1)
    return distance
