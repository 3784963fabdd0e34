"""Values of the position log: one stored point of a job or incident, and the last place of a technician."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from core.ids import CityId, TenantId, UserId
from core.shard import Shard

COLUMNS: Final = ("fixed_at", "received_at", "lat", "lng", "accuracy_m", "speed_mps", "heading_deg")
"""Columns of ``PositionLog.append``, in the order of ``TrackPoint``. NaN means unknown in the last two."""


@dataclass(frozen=True, slots=True)
class TrackPoint:
    """One stored position, in the platform's frame. ``order`` is an order's or an incident's id."""

    tenant: TenantId
    city: CityId
    technician: UserId
    order: str
    fixed_at: float
    received_at: float
    lat: float
    lng: float
    accuracy_m: float
    speed_mps: float | None
    heading_deg: float | None


@dataclass(frozen=True, slots=True)
class LastPosition:
    """Where a technician was last seen, in the platform's frame. ``received_at`` is the server's time of the fix."""

    tenant: TenantId
    city: CityId
    technician: UserId
    fixed_at: float
    received_at: float
    lat: float
    lng: float
    accuracy_m: float


def track_rows(columns: Mapping[str, Sequence[float]]) -> Iterator[tuple[float | None, ...]]:
    """Rows of ``COLUMNS`` from columns (lists or arrays of equal length); NaN becomes None.

    Raises:
        KeyError: A column is missing.
        ValueError: Columns differ in length, or a time or coordinate is NaN.
    """
    table = [np.asarray(columns[name], dtype=np.float64) for name in COLUMNS]
    if any(np.isnan(column).any() for column in table[:5]):
        raise ValueError("times, coordinates and accuracy of a stored position must be numbers")
    lists: list[list[float | None]] = [column.tolist() for column in table]
    for values, column in zip(lists[5:], table[5:], strict=True):
        for index in np.flatnonzero(np.isnan(column)).tolist():
            values[index] = None
    return zip(*lists, strict=True)


def track_points(
    shard: Shard, technician: UserId, order: str, columns: Mapping[str, Sequence[float]]
) -> Iterator[TrackPoint]:
    """The same rows as values."""
    for row in track_rows(columns):
        yield TrackPoint(shard.tenant, shard.city, technician, order, *row)  # type: ignore[arg-type]  # first five are floats
