"""How fast the fleet really gets along, by place and hour, learned from its own trips.

What is learned is not the speed itself but its ratio to the speed that the default estimate assumes at that hour.
So an hour that was never seen keeps the default's idea of its rush, and a place that was never seen the city's idea
of its streets: with few data the map says what the default says, corrected for the city as a whole.

From coarse to fine, each level takes over as far as its own time on the way outweighs the level above it::

    city -> coarse cell -> cell -> cell at that hour        city at that hour: a factor of all cells without that hour

Way and speed are measured on the same fixes: those a minute apart cut the corners, which makes the speed too low by
as much as the detour, so both are learned together and the error cancels. Pure.
"""

from dataclasses import dataclass
from datetime import tzinfo
from enum import StrEnum
from typing import Final

import numpy as np
from h3.api import basic_int as h3_int
from numpy.typing import ArrayLike, NDArray

from geo.arrays import BoolArray, FloatArray, IntArray
from geo.distance import distance_m, haversine_m
from geo.local_time import hour_of, hours_of
from geo.point import LatLng
from geo.trips import SPEED_RESOLUTION, Trips, speed_cells

COARSE_RESOLUTION: Final = 6
"""H3 resolution of the level above cells: 36 km2, a district."""
HOURS: Final = 24
_SAMPLES: Final = (1 / 6, 1 / 2, 5 / 6)
"""Places on the straight line that a way is priced by: thirds of it. More made no difference on real trips."""

_MOVING_SHARE_MIN: Final = 0.25
"""However short a trip, so much of it is the way."""


class SpeedLevel(StrEnum):
    """What a speed rests on."""

    CELL_HOUR = "cell and hour"
    CELL = "cell"
    COARSE = "coarse cell"
    CITY = "city"


@dataclass(frozen=True, slots=True)
class SpeedRules:
    """How much evidence counts as much.

    Attributes:
        trips_min: With fewer trips nothing is learned.
        level_s: Time on the way in a cell that weighs as much as the cell above it.
        hour_s: Likewise for one hour of a cell.
        city_hour_s: Likewise for one hour of the city.
        cells_max: Bound on cells, fine and coarse; those with the least time on the way are left to the level above.
    """

    trips_min: int = 50
    level_s: float = 3_000.0
    hour_s: float = 1_000.0
    city_hour_s: float = 3_600.0
    cells_max: int = 20_000


@dataclass(frozen=True, slots=True)
class SpeedMap:
    """Learned speeds of one city. Bounded: 200 bytes a cell, 4 MB at ``cells_max``.

    Attributes:
        trips: How many it was learned from.
        detour: Length of the way divided by the great circle, median of the trips.
        hour_mps: Speed of the city at each local hour, m/s: all metres by all seconds, so fast roads count most.
        direct_s_per_m: Seconds for each great-circle metre at each local hour: that of the median trip.
        cells, coarse: Sorted H3 cells that have a speed of their own.
        cell_mps, coarse_mps: Their speeds, shape (cells, 24).
        seen: Whether a cell was travelled at an hour, shape (cells, 24).
        zone: By whose clock hours are local.
    """

    trips: int
    detour: float
    hour_mps: FloatArray
    direct_s_per_m: FloatArray
    cells: IntArray
    cell_mps: NDArray[np.float32]
    seen: BoolArray
    coarse: IntArray
    coarse_mps: NDArray[np.float32]
    zone: tzinfo

    def hour(self, now: float) -> int:
        """Local hour of a moment, 0 to 23."""
        return int(hour_of(now, self.zone))

    def s_per_m(self, now: float) -> float:
        """Seconds for each great-circle metre of the median trip of the city."""
        return float(self.direct_s_per_m[self.hour(now)])

    def speed(self, cell: int, hour: int) -> tuple[float, SpeedLevel]:
        """Speed along the way in a cell (resolution ``SPEED_RESOLUTION``) at a local hour, and what it rests on."""
        row = int(self.cells.searchsorted(cell))
        if row < len(self.cells) and self.cells[row] == cell:
            level = SpeedLevel.CELL_HOUR if self.seen[row, hour] else SpeedLevel.CELL
            return float(self.cell_mps[row, hour]), level
        parent = h3_int.cell_to_parent(cell, COARSE_RESOLUTION)
        row = int(self.coarse.searchsorted(parent))
        if row < len(self.coarse) and self.coarse[row] == parent:
            return float(self.coarse_mps[row, hour]), SpeedLevel.COARSE
        return float(self.hour_mps[hour]), SpeedLevel.CITY

    def speeds_mps(self, cells: IntArray, hour: int) -> FloatArray:
        """``speed`` for an array of cells."""
        if not len(cells):
            return np.zeros(0)
        speeds = np.full(len(cells), self.hour_mps[hour])
        rows = np.minimum(np.searchsorted(self.cells, cells), len(self.cells) - 1)
        known = self.cells[rows] == cells
        speeds[known] = self.cell_mps[rows[known], hour]
        strangers, back = np.unique(cells[~known], return_inverse=True)
        if len(strangers):
            speeds[~known] = np.array([self.speed(cell, hour)[0] for cell in strangers.tolist()])[back]
        return speeds

    def way_s(
        self, lat1_deg: ArrayLike, lng1_deg: ArrayLike, lat2_deg: ArrayLike, lng2_deg: ArrayLike, now: float
    ) -> FloatArray:
        """Seconds on the way for each pair of points; arguments in degrees, broadcast against each other.

        Cost:
            4 us a pair: three H3 cells.
        """
        columns = (np.asarray(column, dtype=np.float64) for column in (lat1_deg, lng1_deg, lat2_deg, lng2_deg))
        lat1, lng1, lat2, lng2 = np.broadcast_arrays(*columns)
        hour = self.hour(now)
        slowness = np.zeros(lat1.shape)
        for share in _SAMPLES:
            lat, lng = lat1 + (lat2 - lat1) * share, lng1 + (lng2 - lng1) * share
            speeds = self.speeds_mps(speed_cells(lat.ravel(), lng.ravel()), hour)
            slowness += 1.0 / speeds.reshape(lat1.shape)
        direct_m = haversine_m(lat1, lng1, lat2, lng2)
        result: FloatArray = direct_m * self.detour * slowness / len(_SAMPLES)
        return result

    def way_between_s(self, origin: LatLng, destination: LatLng, now: float) -> float:
        """``way_s`` of one pair, without arrays: about 15 us."""
        hour = self.hour(now)
        slowness = 0.0
        for share in _SAMPLES:
            lat = origin.lat_deg + (destination.lat_deg - origin.lat_deg) * share
            lng = origin.lng_deg + (destination.lng_deg - origin.lng_deg) * share
            slowness += 1.0 / self.speed(h3_int.latlng_to_cell(lat, lng, SPEED_RESOLUTION), hour)[0]
        return distance_m(origin, destination) * self.detour * slowness / len(_SAMPLES)


def learn(
    trips: Trips,
    default_mps: FloatArray,
    *,
    zone: tzinfo,
    setup_s: float = 0.0,
    rules: SpeedRules | None = None,
) -> SpeedMap | None:
    """The map that these trips make.

    Args:
        trips: Of the whole city.
        default_mps: Speed that the default estimate assumes at each local hour, shape (24,).
        zone: By whose clock hours are local.
        setup_s: What each trip holds of setting out and finding the door; taken off, since an estimate adds it
            again. Zero for trips that were cut where somebody moves.
        rules: Weights and bounds.

    Returns:
        None when the trips are too few.

    Cost:
        About 1 us a leg.
    """
    rules = rules or SpeedRules()
    if len(trips) < rules.trips_min:
        return None
    hour = hours_of(trips.leg_at, zone)
    assumed_s = trips.leg_m / default_mps[hour]
    moving_share = np.maximum(1.0 - setup_s / trips.duration_s, _MOVING_SHARE_MIN)
    spent_s = trips.leg_s * moving_share[trips.leg_trip]
    begun = hours_of(trips.started_at, zone)
    city = float(assumed_s.sum() / spent_s.sum())
    city_hour = _leaning(
        _sums(hour, assumed_s, HOURS), _sums(hour, spent_s, HOURS), np.full(HOURS, city), rules.city_hour_s
    )
    by_hour = city_hour / city  # what an hour does to all places

    cells, row = np.unique(trips.leg_cell, return_inverse=True)
    parents = np.array([h3_int.cell_to_parent(cell, COARSE_RESOLUTION) for cell in cells.tolist()], dtype=np.int64)
    coarse, parent_row = np.unique(parents, return_inverse=True)
    cell_assumed, cell_spent = _sums(row, assumed_s, len(cells)), _sums(row, spent_s, len(cells))
    coarse_spent = _sums(parent_row, cell_spent, len(coarse))
    coarse_ratio = _leaning(
        _sums(parent_row, cell_assumed, len(coarse)), coarse_spent, np.full(len(coarse), city), rules.level_s
    )
    cell_ratio = _leaning(cell_assumed, cell_spent, coarse_ratio[parent_row], rules.level_s)
    key = row * HOURS + hour
    shape = (len(cells), HOURS)
    hour_spent = _sums(key, spent_s, len(cells) * HOURS).reshape(shape)
    ratio = _leaning(
        _sums(key, assumed_s, len(cells) * HOURS).reshape(shape),
        hour_spent,
        cell_ratio[:, None] * by_hour,
        rules.hour_s,
    )
    hour_mps = city_hour * default_mps
    slowness = trips.duration_s * moving_share / trips.direct_m * hour_mps[begun]
    kept, kept_coarse = _most(cell_spent, rules.cells_max), _most(coarse_spent, rules.cells_max)
    return SpeedMap(
        trips=len(trips),
        detour=float(np.median(trips.way_m / trips.direct_m)),
        hour_mps=hour_mps,
        direct_s_per_m=float(np.median(slowness)) / hour_mps,
        cells=cells[kept],
        cell_mps=(ratio[kept] * default_mps).astype(np.float32),
        seen=hour_spent[kept] > 0.0,
        coarse=coarse[kept_coarse],
        coarse_mps=(coarse_ratio[kept_coarse, None] * by_hour * default_mps).astype(np.float32),
        zone=zone,
    )


def _most(spent_s: FloatArray, rows_max: int) -> IntArray:
    """Rows with the most time on the way, ascending."""
    return np.sort(np.argsort(-spent_s, kind="stable")[:rows_max])


def _leaning(assumed_s: FloatArray, spent_s: FloatArray, above: FloatArray, weight_s: float) -> FloatArray:
    """Ratio of assumed to spent time, leaning on the level above as if that were ``weight_s`` of evidence."""
    result: FloatArray = (assumed_s + above * weight_s) / (spent_s + weight_s)
    return result


def _sums(row: IntArray, amount: FloatArray, rows: int) -> FloatArray:
    """Sum of the amounts of each row."""
    return np.bincount(row, amount, rows).astype(np.float64)
