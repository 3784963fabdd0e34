"""Buckets of slots on nested grids of latitude and longitude: what the position index searches.

Not here: positions, filters, distances (``position_index.py``).

Level 0 has cells of 360/2**17 degrees (305 m north-south); each level above doubles the side, up to 39 km. Every
placed slot is a member of one bucket on each level. A bucket is an ``array('i')``, so that one query joins the
buckets of a block of cells into one numpy array with ``bytes.join``: about 0.1 us a cell, where H3's ``grid_disk``
needs a list of 91 to 271 cells for the same circle. Columns of cells wrap around the antimeridian; near the poles,
where cells become slivers, a block grows so wide that the caller scans everything instead.
"""

from array import array
from collections.abc import Iterable
from math import asin, cos, pi, radians, sin
from typing import Final

import numpy as np
from numpy.typing import NDArray

from geo.distance import EARTH_RADIUS_M

LEVELS: Final = 8
COLUMN_BITS: Final = 17
_COLUMNS: Final = 1 << COLUMN_BITS
_ROWS: Final = _COLUMNS // 2
CELLS_PER_DEG: Final = _COLUMNS / 360.0
CELL_HEIGHT_M: Final = 2 * pi * EARTH_RADIUS_M / _COLUMNS
_BLOCK_CELLS_MAX: Final = 144
"""Beyond this many look-ups a coarser level is cheaper."""

Block = tuple[int, int, int, int, int]
"""level, first row, last row, first column, number of columns; columns count modulo the level's width."""


def cell_keys(lat_deg: NDArray[np.float64], lng_deg: NDArray[np.float64]) -> NDArray[np.int64]:
    """Level-0 cell of each point: row * 2**17 + column; latitude in [-90, 90], any finite longitude."""
    rows = ((lat_deg + 90.0) * CELLS_PER_DEG).astype(np.int64)
    np.minimum(rows, _ROWS - 1, out=rows)
    columns = np.floor((lng_deg + 180.0) * CELLS_PER_DEG).astype(np.int64) & (_COLUMNS - 1)
    keys: NDArray[np.int64] = (rows << COLUMN_BITS) | columns
    return keys


def _level_key(key: int, level: int) -> int:
    return ((key >> (COLUMN_BITS + level)) << COLUMN_BITS) | ((key & (_COLUMNS - 1)) >> level)


class NestedGrid:
    """Which slots stand in which cell, on every level. Memory: 8 bytes a slot and level, and 0.1 KB a bucket."""

    def __init__(self, capacity: int) -> None:
        self._buckets: list[dict[int, array[int]]] = [{} for _ in range(LEVELS)]
        self._places: list[array[int]] = [array("i", bytes(4 * capacity)) for _ in range(LEVELS)]

    def grow(self, capacity: int) -> None:
        """Make room for slots below ``capacity``."""
        for places in self._places:
            places.extend(array("i", bytes(4 * (capacity - len(places)))))

    def add(self, slot: int, key: int) -> None:
        """File a slot under its level-0 cell, on all levels. Cost: about 2 us."""
        for level in range(LEVELS):
            self._add(level, _level_key(key, level), slot)

    def remove(self, slot: int, key: int) -> None:
        """Take a slot out of all levels."""
        for level in range(LEVELS):
            self._remove(level, _level_key(key, level), slot)

    def move(self, slot: int, old: int, new: int) -> None:
        """Refile a slot, on those levels only where its cell changed (two on average)."""
        for level in range(LEVELS):
            old_key, new_key = _level_key(old, level), _level_key(new, level)
            if old_key == new_key:
                return
            self._remove(level, old_key, slot)
            self._add(level, new_key, slot)

    def _add(self, level: int, key: int, slot: int) -> None:
        bucket = self._buckets[level].get(key)
        if bucket is None:
            self._buckets[level][key] = array("i", (slot,))
            self._places[level][slot] = 0
        else:
            self._places[level][slot] = len(bucket)
            bucket.append(slot)

    def _remove(self, level: int, key: int, slot: int) -> None:
        bucket = self._buckets[level][key]
        places = self._places[level]
        place = places[slot]
        last = bucket.pop()
        if last != slot:
            bucket[place] = last
            places[last] = place
        elif not bucket:
            del self._buckets[level][key]

    def density_near(self, lat_deg: float, lng_deg: float) -> float:
        """Members per square metre around a point, from the finest level with enough of them; 0 for nobody."""
        row = min(int((lat_deg + 90.0) * CELLS_PER_DEG), _ROWS - 1)
        column = int((lng_deg + 180.0) * CELLS_PER_DEG) & (_COLUMNS - 1)
        for level in (2, 4, 6):
            bucket = self._buckets[level].get(((row >> level) << COLUMN_BITS) | (column >> level))
            if bucket is not None and (len(bucket) >= 16 or level == 6):
                side = CELL_HEIGHT_M * (1 << level)
                return len(bucket) / (side * side * max(cos(radians(lat_deg)), 0.01))
        return 0.0

    def block_around(self, lat_deg: float, lng_deg: float, radius_m: float) -> tuple[Block, float] | None:
        """The cells that cover a circle, on the finest level where they are few.

        Returns:
            The block and a radius (``radius_m`` or more) within which it is complete; None when the circle is so
            large, or so near a pole, that looking at everybody is as cheap.
        """
        angle = radius_m / EARTH_RADIUS_M
        lat = radians(lat_deg)
        cos_lat = cos(lat)
        if angle > 0.5 or abs(lat) + angle > pi / 2 - 0.01:
            return None
        lat_half = angle / pi * 180.0
        # The cap's widest parallel is not its middle one: asin(sin a / cos lat) is the exact half-width.
        lng_half = asin(min(1.0, sin(angle) / cos_lat)) / pi * 180.0
        south = (lat_deg - lat_half + 90.0) * CELLS_PER_DEG
        north = (lat_deg + lat_half + 90.0) * CELLS_PER_DEG
        west = (lng_deg - lng_half + 180.0) * CELLS_PER_DEG
        east = (lng_deg + lng_half + 180.0) * CELLS_PER_DEG
        for level in range(LEVELS):
            scale = 1.0 / (1 << level)
            # Shifting by 2**17 keeps the truncation of int() a floor for longitudes west of -180.
            row_0, row_1 = int(south * scale), int(north * scale)
            column_0 = int((west + _COLUMNS) * scale)
            column_1 = int((east + _COLUMNS) * scale)
            width = column_1 - column_0 + 1
            if (row_1 - row_0 + 1) * width <= (16 if level < LEVELS - 1 else _BLOCK_CELLS_MAX):
                if width >= _COLUMNS >> level:
                    return None
                block = (level, row_0, row_1, column_0, width)
                return block, max(radius_m * (1.0 - 1e-9), self._complete_m(block, lat_deg, lng_deg, cos_lat))
        return None

    @staticmethod
    def _complete_m(block: Block, lat_deg: float, lng_deg: float, cos_lat: float) -> float:
        """Metres from a point to the nearest edge of its block: a lower bound for everybody outside.

        An edge along a meridian at longitude difference d is at least asin(cos lat * sin d) away (spherical
        right triangle), an edge along a parallel exactly the difference of latitude.
        """
        level, row_0, row_1, column_0, width = block
        side_deg = (1 << level) / CELLS_PER_DEG
        south = lat_deg - (row_0 * side_deg - 90.0)
        north = ((row_1 + 1) * side_deg - 90.0) - lat_deg
        west = lng_deg + 180.0 + 360.0 - column_0 * side_deg
        east = (column_0 + width) * side_deg - (lng_deg + 180.0 + 360.0)
        across = min(west, east, 90.0)
        return min(
            radians(min(south, north)) * EARTH_RADIUS_M,
            asin(min(1.0, cos_lat * sin(radians(across)))) * EARTH_RADIUS_M,
        ) * (1.0 - 1e-9)

    def members(self, block: Block) -> NDArray[np.int32]:
        """Slots in a block of cells, in no particular order."""
        level, row_0, row_1, column_0, width = block
        buckets = self._buckets[level]
        last_column = (_COLUMNS >> level) - 1
        columns = [column & last_column for column in range(column_0, column_0 + width)]
        found: Iterable[array[int] | None] = [
            buckets.get(base + column)
            for base in range(row_0 << COLUMN_BITS, (row_1 + 1) << COLUMN_BITS, _COLUMNS)
            for column in columns
        ]
        return np.frombuffer(b"".join(filter(None, found)), dtype=np.int32)

    def check(self, keys: dict[int, int]) -> None:
        """Assert that exactly these slots are filed, each under its own cell on each level (tests call it)."""
        for level, buckets in enumerate(self._buckets):
            filed = {slot: key for key, bucket in buckets.items() for slot in bucket}
            assert filed == {slot: _level_key(key, level) for slot, key in keys.items()}, level  # noqa: S101 - invariant
            assert sum(map(len, buckets.values())) == len(keys), level  # noqa: S101 - invariant
            assert all(bucket for bucket in buckets.values()), level  # noqa: S101 - invariant
