"""Where Chinese maps are shifted: an outline of mainland China, Hong Kong and Macau.

Not here: the shift itself (``frames.py``).

Taiwan (with Kinmen and Matsu), Korea, Vietnam, India and all other neighbours are outside. Hong Kong and Macau are
inside: Tencent's and Amap's documents say that their maps use GCJ-02 there too. The outline is our own, drawn by
hand through well-known border places for this one purpose; it is not a statement about borders. Its error along
land borders is mostly under 30 km in inhabited places and up to about 120 km in mountains and desert; cities on both
sides of the border are tested by name. At sea it runs a few tens of kilometres off the coast.
"""

from typing import Final

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from geo.arrays import BoolArray

# (lng, lat), counter-clockwise seen from the south-east.
_OUTLINE: Final = (
    # South coast, from the Vietnamese border eastwards; Hainan and Hong Kong are inside.
    (108.03, 21.50), (107.95, 20.60), (108.00, 18.90), (108.40, 17.95), (109.60, 17.90), (111.50, 18.80),
    (112.50, 20.80), (113.60, 21.60), (114.60, 21.80), (116.00, 22.30), (117.30, 23.00), (118.15, 24.10),
    # Between Xiamen and Kinmen, and along the strait inside Matsu.
    (118.20, 24.42), (118.19, 24.52), (118.50, 24.53), (119.00, 24.70), (119.60, 25.20), (119.95, 25.60),
    (119.85, 26.05), (119.92, 26.40), (120.80, 26.80),
    # East coast; Zhoushan is inside, Jeju and Korea are not.
    (122.00, 27.80), (122.90, 29.30), (123.20, 30.80), (122.60, 32.00), (121.60, 33.50), (121.20, 35.00),
    (122.60, 36.40), (123.10, 37.40), (122.80, 38.20), (122.00, 38.50), (122.80, 39.10), (123.80, 39.55),
    # Yalu (Dandong inside, Sinuiju outside) and Tumen up to the Sea of Japan.
    (124.15, 39.80), (124.345, 40.02), (124.375, 40.105), (124.45, 40.20), (125.00, 40.50), (125.70, 40.87),
    (126.10, 41.05), (126.24, 41.145), (126.55, 41.35), (126.95, 41.76), (127.60, 41.44), (128.15, 41.38),
    (128.10, 42.00), (128.90, 42.02), (129.30, 42.38), (129.75, 42.43),
    (129.86, 42.93), (129.855, 42.965), (130.15, 42.90),
    (130.25, 42.70), (130.60, 42.42),
    # Russia: Hunchun, Suifenhe, Khanka, Ussuri, Khabarovsk (outside), Amur with Heihe and Blagoveshchensk.
    (130.42, 42.75), (131.10, 42.93), (131.30, 43.50), (131.22, 44.00), (131.17, 44.42), (131.00, 44.85),
    (131.80, 45.30), (132.90, 45.05), (133.45, 45.65), (134.00, 46.60), (134.75, 47.70), (134.72, 48.25),
    (134.30, 48.38), (133.10, 48.10), (132.50, 47.72), (131.00, 47.75), (130.85, 48.30), (130.50, 48.85),
    (129.50, 49.40), (127.85, 49.60), (127.52, 49.85), (127.52, 50.20),
    (127.51, 50.262), (127.33, 50.33), (127.30, 50.75), (126.90, 51.30),
    (126.00, 52.60), (125.00, 53.20), (123.60, 53.53), (121.20, 53.32), (120.05, 52.70), (120.70, 52.00),
    (119.95, 51.40), (119.20, 50.30), (117.85, 49.53), (117.35, 49.63), (116.70, 49.85),
    # Mongolia.
    (115.60, 47.90), (117.40, 47.65), (118.50, 47.98), (119.80, 47.00), (119.90, 46.65), (117.50, 46.40),
    (116.60, 46.30), (115.70, 45.45), (114.50, 45.40), (113.60, 44.75),
    (112.00, 45.05), (111.40, 44.35), (112.00, 43.80), (111.98, 43.70), (111.80, 43.685),
    (110.40, 42.75), (107.40, 42.42), (105.00, 41.60), (103.00, 42.05), (100.80, 42.65), (96.40, 42.72),
    (95.40, 44.25), (93.50, 44.95), (91.00, 45.20), (90.90, 46.60), (90.00, 47.85), (88.00, 48.60), (87.80, 49.17),
    # Kazakhstan, Kyrgyzstan, Tajikistan.
    (86.80, 49.10), (85.60, 48.40), (85.55, 47.15), (83.00, 47.20), (82.30, 45.55), (82.55, 45.15),
    (81.80, 45.35), (79.90, 44.90), (80.40, 44.60), (80.385, 44.20), (80.75, 43.15), (80.25, 42.05), (78.40, 41.40),
    (76.90, 41.00), (76.35, 40.35), (75.60, 40.60), (74.80, 40.45), (73.85, 39.85), (73.60, 39.45), (73.85, 38.60),
    (74.80, 38.45), (74.90, 37.25),
    # Karakoram, Himalaya.
    (76.00, 35.90), (77.80, 35.50), (78.30, 34.60), (78.90, 34.30),
    (78.75, 33.10), (79.40, 32.50), (78.70, 31.50), (79.20, 31.00),
    (80.20, 30.55), (81.20, 30.05), (82.20, 30.05), (84.10, 29.20),
    (85.30, 28.32), (85.98, 27.98), (86.70, 28.00), (88.00, 27.90),
    (88.80, 28.00), (88.90, 27.35), (89.60, 28.15), (91.00, 27.95), (92.10, 27.75), (93.30, 28.40), (94.50, 29.10),
    (96.00, 29.20), (97.30, 28.20), (98.20, 28.15),
    # Myanmar, Laos, Vietnam: Ruili, Mohan, Hekou and Pingxiang inside; Muse, Boten, Lao Cai and Dong Dang outside.
    (98.65, 27.50), (98.70, 25.90), (97.75, 25.00), (97.55, 24.75),
    (97.55, 23.95), (97.85, 23.99), (98.20, 24.10), (98.65, 24.10),
    (98.88, 23.45), (99.50, 22.95), (99.25, 22.15), (99.90, 22.05), (100.60, 21.45), (101.15, 21.55),
    (101.25, 21.20), (101.75, 21.20), (101.80, 22.30), (102.45, 22.75), (103.00, 22.45), (103.50, 22.60),
    (103.95, 22.508), (103.985, 22.520), (104.10, 22.78), (104.80, 22.85),
    (105.40, 23.25), (106.20, 22.95), (106.60, 22.90), (106.62, 22.35),
    (106.72, 21.98), (107.05, 21.83), (107.45, 21.62), (107.90, 21.535), (107.975, 21.535),
)  # fmt: skip

_AREA: Final = shapely.Polygon(_OUTLINE)
shapely.prepare(_AREA)


_RASTER_DEG: Final = 0.25
_SOUTH, _NORTH, _WEST, _EAST = 17.0, 54.0, 73.0, 135.5
_OUTSIDE, _MIXED, _INSIDE = 0, 1, 2


def _rasterise() -> NDArray[np.int8]:
    """Which quarter-degree cells lie wholly inside or outside, so that only those on the outline need geometry."""
    south = np.arange(_SOUTH, _NORTH, _RASTER_DEG)[:, None]
    west = np.arange(_WEST, _EAST, _RASTER_DEG)[None, :]
    boxes = shapely.box(west, south, west + _RASTER_DEG, south + _RASTER_DEG)
    cells = np.where(shapely.intersects(_AREA, boxes), _MIXED, _OUTSIDE).astype(np.int8)
    cells[shapely.contains_properly(_AREA, boxes)] = _INSIDE
    return cells


_RASTER: Final = _rasterise()


def inside_china(lat_deg: ArrayLike, lng_deg: ArrayLike) -> BoolArray:
    """Whether maps shift these points. Arguments broadcast; NaN is outside. Cost: about 0.05 us a point in bulk."""
    lat, lng = np.broadcast_arrays(np.asarray(lat_deg, np.float64), np.asarray(lng_deg, np.float64))
    inside: BoolArray = np.zeros(lat.shape, dtype=np.bool_)
    near = (lat > _SOUTH) & (lat < _NORTH) & (lng > _WEST) & (lng < _EAST)
    if not near.any():
        return inside
    near_lat, near_lng = lat[near], lng[near]
    rows = ((near_lat - _SOUTH) / _RASTER_DEG).astype(np.intp)
    columns = ((near_lng - _WEST) / _RASTER_DEG).astype(np.intp)
    cells = _RASTER[rows, columns]
    found = cells == _INSIDE
    mixed = cells == _MIXED
    if mixed.any():
        found[mixed] = shapely.contains_xy(_AREA, near_lng[mixed], near_lat[mixed])
    inside[near] = found
    return inside


def is_in_china(lat_deg: float, lng_deg: float) -> bool:
    """``inside_china`` of one point."""
    if not (_SOUTH < lat_deg < _NORTH and _WEST < lng_deg < _EAST):
        return False
    cell = _RASTER[int((lat_deg - _SOUTH) / _RASTER_DEG), int((lng_deg - _WEST) / _RASTER_DEG)]
    return bool(cell == _INSIDE or (cell == _MIXED and shapely.contains_xy(_AREA, lng_deg, lat_deg)))
