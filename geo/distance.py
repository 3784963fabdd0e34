"""Great-circle distance and bearing, for arrays and for two points. Not here: travel distance (``travel_time.py``).

Source: haversine formula (R. W. Sinnott, "Virtues of the Haversine", Sky and Telescope 68, 1984) on the IUGG mean
radius R1. A sphere differs from the WGS-84 ellipsoid by at most 0.56 %.
"""

from math import asin, atan2, cos, degrees, radians, sin, sqrt
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from geo.arrays import FloatArray
from geo.point import LatLng

EARTH_RADIUS_M: Final = 6_371_008.8
"""IUGG mean radius R1."""


def haversine_m(lat1_deg: ArrayLike, lng1_deg: ArrayLike, lat2_deg: ArrayLike, lng2_deg: ArrayLike) -> FloatArray:
    """Great-circle distance in metres; arguments in degrees, broadcast against each other."""
    lat1 = np.radians(np.asarray(lat1_deg, dtype=np.float64))
    lat2 = np.radians(np.asarray(lat2_deg, dtype=np.float64))
    half_lat = np.sin((lat2 - lat1) * 0.5)
    half_lng = np.sin(np.radians(np.asarray(lng2_deg, dtype=np.float64) - np.asarray(lng1_deg, dtype=np.float64)) * 0.5)
    square = half_lat * half_lat + np.cos(lat1) * np.cos(lat2) * (half_lng * half_lng)
    distance: FloatArray = (2.0 * EARTH_RADIUS_M) * np.arcsin(np.sqrt(np.minimum(square, 1.0)))
    return distance


def table_m(lat1_deg: FloatArray, lng1_deg: FloatArray, lat2_deg: FloatArray, lng2_deg: FloatArray) -> FloatArray:
    """Great-circle metres from each of n places to each of m others, shape (n, m).

    By chords between unit vectors: the same to a nanometre as ``haversine_m``, and three times as fast, because
    sines are taken for each place and not for each pair.
    """
    square = np.zeros((len(lat1_deg), len(lat2_deg)))
    for here, there in zip(_unit(lat1_deg, lng1_deg), _unit(lat2_deg, lng2_deg), strict=True):
        difference = here[:, None] - there[None, :]
        difference *= difference
        square += difference
    np.sqrt(square, out=square)
    square *= 0.5
    np.minimum(square, 1.0, out=square)
    np.arcsin(square, out=square)
    square *= 2.0 * EARTH_RADIUS_M
    return square


def _unit(lat_deg: FloatArray, lng_deg: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Places as points of the unit sphere."""
    lat, lng = np.radians(lat_deg), np.radians(lng_deg)
    ring = np.cos(lat)
    return ring * np.cos(lng), ring * np.sin(lng), np.sin(lat)


def distance_m(a: LatLng, b: LatLng) -> float:
    """Great-circle distance of two points of one frame, metres."""
    return distance_of(a.lat_deg, a.lng_deg, b.lat_deg, b.lng_deg)


def distance_of(lat1_deg: float, lng1_deg: float, lat2_deg: float, lng2_deg: float) -> float:
    """``distance_m`` without the points: about 1 us, for the filter's slow path."""
    lat1, lat2 = radians(lat1_deg), radians(lat2_deg)
    half_lat = sin((lat2 - lat1) * 0.5)
    half_lng = sin(radians(lng2_deg - lng1_deg) * 0.5)
    square = half_lat * half_lat + cos(lat1) * cos(lat2) * half_lng * half_lng
    return 2.0 * EARTH_RADIUS_M * asin(sqrt(min(square, 1.0)))


def bearing_deg(lat1_deg: ArrayLike, lng1_deg: ArrayLike, lat2_deg: ArrayLike, lng2_deg: ArrayLike) -> FloatArray:
    """Initial course from the first to the second point, degrees clockwise from true north in [0, 360)."""
    lat1 = np.radians(np.asarray(lat1_deg, dtype=np.float64))
    lat2 = np.radians(np.asarray(lat2_deg, dtype=np.float64))
    lng = np.radians(np.asarray(lng2_deg, dtype=np.float64) - np.asarray(lng1_deg, dtype=np.float64))
    east = np.sin(lng) * np.cos(lat2)
    north = np.cos(lat1) * np.sin(lat2) - np.sin(lat1) * np.cos(lat2) * np.cos(lng)
    course = np.degrees(np.arctan2(east, north)) % 360.0
    # A tiny negative angle becomes 360.0 exactly in floating point.
    result: FloatArray = np.where(course >= 360.0, 0.0, course)
    return result


def bearing_between_deg(a: LatLng, b: LatLng) -> float:
    """``bearing_deg`` of two points."""
    lat1, lat2, lng = radians(a.lat_deg), radians(b.lat_deg), radians(b.lng_deg - a.lng_deg)
    course = degrees(atan2(sin(lng) * cos(lat2), cos(lat1) * sin(lat2) - sin(lat1) * cos(lat2) * cos(lng))) % 360.0
    return 0.0 if course >= 360.0 else course
