"""H3 cells: the public language for "about where" (offers, logs, cards). Not here: the index's own grid.

Logs and metrics use resolution 7 (about 5 km2), offers 9 (0.1 km2), public cards 8 (0.7 km2).
"""

from itertools import pairwise
from typing import Final

import h3
import numpy as np
from numpy.typing import ArrayLike

from geo.distance import distance_m
from geo.point import LatLng

OFFER_RESOLUTION: Final = 9
CARD_RESOLUTION: Final = 8
LOG_RESOLUTION: Final = 7

_BAND_EDGES_M: Final = (500.0, 1_000.0, 2_000.0, 3_000.0, 5_000.0, 8_000.0, 12_000.0, 20_000.0, 30_000.0, 50_000.0)


def cell_of(point: LatLng, resolution: int = OFFER_RESOLUTION) -> str:
    """The H3 cell that holds a point, as its hexadecimal name; about 1 us."""
    return str(h3.latlng_to_cell(point.lat_deg, point.lng_deg, resolution))


def cells_of(lat_deg: ArrayLike, lng_deg: ArrayLike, resolution: int = OFFER_RESOLUTION) -> list[str]:
    """``cell_of`` for arrays; one call of the library for each point."""
    lats = np.asarray(lat_deg, dtype=np.float64).tolist()
    lngs = np.asarray(lng_deg, dtype=np.float64).tolist()
    return [str(h3.latlng_to_cell(lat, lng, resolution)) for lat, lng in zip(lats, lngs, strict=True)]


def cell_center(cell: str) -> LatLng:
    """Middle of a cell.

    Raises:
        ValueError: ``cell`` is not the name of an H3 cell.
    """
    if not h3.is_valid_cell(cell):
        raise ValueError(f"must be an H3 cell, is {cell[:32]!r}")
    lat, lng = h3.cell_to_latlng(cell)
    return LatLng(lat, lng)


def snapped_distance_m(a: LatLng, b: LatLng, resolution: int = CARD_RESOLUTION) -> float:
    """Distance between the centres of the two cells: any number of questions tells no more than the cell."""
    return distance_m(cell_center(cell_of(a, resolution)), cell_center(cell_of(b, resolution)))


def distance_band(distance_m: float) -> str:
    """A distance as people may be told it before they have a right to more: ``<500 m``, ``1-2 km``, ``>50 km``."""
    if distance_m < _BAND_EDGES_M[0]:
        return "<500 m"
    if distance_m < _BAND_EDGES_M[1]:
        return "0.5-1 km"
    for low, high in pairwise(_BAND_EDGES_M[1:]):
        if distance_m < high:
            return f"{low / 1000:.0f}-{high / 1000:.0f} km"
    return ">50 km"
