"""How long a way takes: the port, and the estimate that needs no map but learns from the fleet's own trips.

Not here: adapters for road engines (OSRM, Valhalla); they implement ``TravelTimes`` and fall back to the estimate.
What is learned, and how, is in ``speed_map.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from enum import StrEnum
from typing import Final, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.units import KMH_PER_MPS
from geo.arrays import FloatArray
from geo.distance import haversine_m
from geo.local_time import hour_of
from geo.point import LatLng
from geo.settings import TravelSettings
from geo.speed_map import HOURS, SpeedMap

Points = Sequence[LatLng] | NDArray[np.float64]
"""Points, or an array of shape (n, 2): latitude, longitude."""

LEARNED_PAIRS_MAX: Final = 20_000
"""Larger tables use the city's learned speed instead of each cell's: one may take 80 ms of the loop, not more."""


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
        source: What was used: ``estimate``, ``learned``, ``osrm``, ``valhalla``.
        detail: One line for people who ask why.
        instead_of: The engine that should have answered and did not, and why; or how many ways were not believed;
            empty when nothing is amiss.
    """

    duration_s: FloatArray
    distance_m: FloatArray
    source: str
    detail: str
    instead_of: str = ""


class TravelTimes(Protocol):
    """A travel-time oracle. Never fails: what it cannot learn in time it estimates, and says so in ``source``."""

    async def table(
        self, origins: Points, destinations: Points, now: float, mode: TravelMode | None = None
    ) -> TravelTable:
        """All ways from n origins to m destinations, leaving at ``now`` (UTC epoch seconds)."""
        ...


class EstimateTravelTimes:
    """Great circle x detour factor / speed by mode and hour, plus the time to set out and find the door.

    Detour and speed are those of the config until ``learn_from`` brings a map of what the fleet really does. The map
    is of the default mode, in which the fleet goes: who asks for another mode gets the config's speeds.

    Args:
        zone: Clock of the city; rush hours and learned hours go by it.
        settings: The config.
    """

    def __init__(self, zone: tzinfo, settings: TravelSettings | None = None) -> None:
        self.zone: Final = zone
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
        self._learned: SpeedMap | None = None

    @property
    def learned(self) -> SpeedMap | None:
        """What was learned; None while there is too little."""
        return self._learned

    def learn_from(self, speeds: SpeedMap | None) -> None:
        """Use these speeds from now on; None for those of the config."""
        self._learned = speeds

    def _map_for(self, mode: TravelMode | None) -> SpeedMap | None:
        return self._learned if mode is None or mode is self._default else None

    def speed_mps(self, now: float, mode: TravelMode | None = None) -> float:
        """The config's speed along the way at a moment; cars are slower in the rush hours."""
        return self._speed_mps(hour_of(now, self.zone), mode)

    def _speed_mps(self, hour: float, mode: TravelMode | None) -> float:
        mode = mode or self._default
        speed = self._speed_kmh[mode] / KMH_PER_MPS
        if mode is TravelMode.CAR and any(begin <= hour < end for begin, end in self._rush):
            speed *= self._settings.rush_factor
        return speed

    def hour_speeds_mps(self) -> FloatArray:
        """The config's speed of the default mode at each local hour, shape (24,): what a map is learned against."""
        return np.array([self._speed_mps(hour, None) for hour in range(HOURS)])

    def s_per_m(self, now: float, mode: TravelMode | None = None) -> float:
        """Seconds for each great-circle metre in the city as a whole."""
        speeds = self._map_for(mode)
        if speeds is not None:
            return speeds.s_per_m(now)
        return self._settings.detour_factor / self.speed_mps(now, mode)

    def duration_s(self, distance_m: ArrayLike, now: float, mode: TravelMode | None = None) -> FloatArray:
        """Seconds for great-circle distances somewhere in the city, any shape."""
        direct_m = np.asarray(distance_m, dtype=np.float64)
        result: FloatArray = direct_m * self.s_per_m(now, mode) + self._settings.setup_s
        return result

    def between_s(self, origin: LatLng, destination: LatLng, now: float, mode: TravelMode | None = None) -> float:
        """Seconds for one way."""
        speeds = self._map_for(mode)
        if speeds is None:
            return float(self.duration_s(haversine_m(*origin, *destination), now, mode))
        return self._settings.setup_s + speeds.way_between_s(origin, destination, now)

    def learned_s(self, origins: FloatArray, destinations: FloatArray, now: float) -> FloatArray | None:
        """``between_s`` of n ways by the default mode, rows of latitude and longitude; None while nothing is learned.

        Cost:
            4 us a way.
        """
        if self._learned is None:
            return None
        way_s = self._learned.way_s(origins[:, 0], origins[:, 1], destinations[:, 0], destinations[:, 1], now)
        return way_s + self._settings.setup_s

    def table_now(
        self, origins: Points, destinations: Points, now: float, mode: TravelMode | None = None
    ) -> TravelTable:
        """``table`` without waiting. Cost: 0.1 us a pair, 4 us with learned speeds."""
        start = np.asarray(origins, dtype=np.float64).reshape(-1, 2)
        goal = np.asarray(destinations, dtype=np.float64).reshape(-1, 2)
        direct_m = haversine_m(start[:, 0:1], start[:, 1:2], goal[:, 0], goal[:, 1])
        speeds = self._map_for(mode)
        if speeds is None:
            speed_kmh = self.speed_mps(now, mode) * KMH_PER_MPS
            factor = self._settings.detour_factor
            detail = f"great circle x {factor:g} by {mode or self._default} at {speed_kmh:.3g} km/h"
            return TravelTable(self.duration_s(direct_m, now, mode), direct_m * factor, "estimate", detail)
        detail = f"great circle x {speeds.detour:.3g} at speeds learned from {speeds.trips} trips"
        if direct_m.size > LEARNED_PAIRS_MAX:
            duration_s = self.duration_s(direct_m, now, mode)
            detail += " in the city as a whole"
        else:
            way_s = speeds.way_s(start[:, 0:1], start[:, 1:2], goal[:, 0], goal[:, 1], now)
            duration_s = way_s + self._settings.setup_s
        return TravelTable(duration_s, direct_m * speeds.detour, "learned", detail)

    async def table(
        self, origins: Points, destinations: Points, now: float, mode: TravelMode | None = None
    ) -> TravelTable:
        """See ``TravelTimes.table``; never waits."""
        return self.table_now(origins, destinations, now, mode)
