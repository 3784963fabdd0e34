"""How long a way takes: the port, and the estimate that needs no map.

Not here: adapters for road engines (OSRM, Valhalla); they implement ``TravelTimes`` and fall back to the estimate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.units import KMH_PER_MPS
from geo.arrays import FloatArray
from geo.distance import haversine_m
from geo.point import LatLng
from geo.settings import TravelSettings

Points = Sequence[LatLng] | NDArray[np.float64]
"""Points, or an array of shape (n, 2): latitude, longitude."""


class TravelMode(StrEnum):
    """How somebody gets about."""

    WALK = "walk"
    EBIKE = "ebike"
    TRANSIT = "transit"
    CAR = "car"


@dataclass(frozen=True, slots=True)
class TravelTable:
    """Answer of a travel-time oracle.

    Attributes:
        duration_s: Seconds from each origin (rows) to each destination (columns); inf where there is no way.
        distance_m: Metres of the way.
        source: What was used: ``estimate``, ``osrm``, ...
        detail: One line for people who ask why.
    """

    duration_s: FloatArray
    distance_m: FloatArray
    source: str
    detail: str


class TravelTimes(Protocol):
    """A travel-time oracle. Never fails: what it cannot learn in time it estimates, and says so in ``source``."""

    async def table(
        self, origins: Points, destinations: Points, now: float, mode: TravelMode | None = None
    ) -> TravelTable:
        """All ways from n origins to m destinations, leaving at ``now`` (UTC epoch seconds)."""
        ...


class EstimateTravelTimes:
    """Great circle x detour factor / speed by mode and hour, plus the time to set out and find the door."""

    def __init__(self, settings: TravelSettings | None = None) -> None:
        self._settings = settings = settings or TravelSettings()
        self._speed_kmh: Final = {
            TravelMode.WALK: settings.walk_kmh,
            TravelMode.EBIKE: settings.ebike_kmh,
            TravelMode.TRANSIT: settings.transit_kmh,
            TravelMode.CAR: settings.car_kmh,
        }
        self._rush = [
            (float(begin), float(end)) for begin, _, end in (span.partition("-") for span in settings.rush_hours)
        ]
        self._default = TravelMode(settings.default_mode)

    def speed_mps(self, now: float, mode: TravelMode | None = None) -> float:
        """Speed along the way at a moment; cars are slower in the rush hours."""
        mode = mode or self._default
        speed = self._speed_kmh[mode] / KMH_PER_MPS
        if mode is TravelMode.CAR and self._is_rush(now):
            speed *= self._settings.rush_factor
        return speed

    def _is_rush(self, now: float) -> bool:
        hour = (now / 3600.0 + self._settings.utc_offset_h) % 24.0
        return any(begin <= hour < end for begin, end in self._rush)

    def duration_s(self, distance_m: ArrayLike, now: float, mode: TravelMode | None = None) -> FloatArray:
        """Seconds for great-circle distances, any shape."""
        way_m = np.asarray(distance_m, dtype=np.float64) * self._settings.detour_factor
        result: FloatArray = way_m / self.speed_mps(now, mode) + self._settings.setup_s
        return result

    def between_s(self, origin: LatLng, destination: LatLng, now: float, mode: TravelMode | None = None) -> float:
        """Seconds for one way."""
        return float(self.duration_s(haversine_m(*origin, *destination), now, mode))

    def table_now(
        self, origins: Points, destinations: Points, now: float, mode: TravelMode | None = None
    ) -> TravelTable:
        """``table`` without waiting. Cost: 0.1 us a pair."""
        start = np.asarray(origins, dtype=np.float64).reshape(-1, 2)
        goal = np.asarray(destinations, dtype=np.float64).reshape(-1, 2)
        direct_m = haversine_m(start[:, 0:1], start[:, 1:2], goal[:, 0], goal[:, 1])
        speed_kmh = self.speed_mps(now, mode) * KMH_PER_MPS
        factor = self._settings.detour_factor
        detail = f"great circle x {factor:g} by {mode or self._default} at {speed_kmh:.3g} km/h"
        return TravelTable(self.duration_s(direct_m, now, mode), direct_m * factor, "estimate", detail)

    async def table(
        self, origins: Points, destinations: Points, now: float, mode: TravelMode | None = None
    ) -> TravelTable:
        """See ``TravelTimes.table``; never waits."""
        return self.table_now(origins, destinations, now, mode)
