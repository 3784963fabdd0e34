"""How a simulated phone moves: from waypoint to waypoint inside a city, at the speed of a scooter."""

import math
from collections.abc import Callable
from typing import Final

import numpy as np

METRES_PER_DEG: Final = 111_195.0
"""Of latitude on a sphere of 6,371 km; also of longitude at the equator."""
TRIES: Final = 24

Inside = Callable[[float, float], bool]
"""(lat_deg, lng_deg) -> whether the point lies in the city."""


def offset(lat: float, lng: float, north_m: float, east_m: float) -> tuple[float, float]:
    """A point some metres away; good to a metre within a few kilometres, not at the poles."""
    return (
        lat + north_m / METRES_PER_DEG,
        lng + east_m / (METRES_PER_DEG * max(math.cos(math.radians(lat)), 0.01)),
    )


def metres_between(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Flat distance of two near points."""
    north_m = (b[0] - a[0]) * METRES_PER_DEG
    east_m = (b[1] - a[1]) * METRES_PER_DEG * math.cos(math.radians(a[0]))
    return math.hypot(north_m, east_m)


class Mover:
    """A point on the move. Time only goes forward.

    Args:
        start: (lat, lng) inside the city.
        inside: The city; every leg ends inside it and passes it at its middle.
        rng: This mover's own randomness.
        speed_mps: Range from which each leg draws its speed.
    """

    def __init__(
        self,
        start: tuple[float, float],
        inside: Inside,
        rng: np.random.Generator,
        *,
        speed_mps: tuple[float, float] = (5.0, 10.0),
        now: float = 0.0,
    ) -> None:
        self._inside = inside
        self._rng = rng
        self._speed_range_mps = speed_mps
        self.target: tuple[float, float] | None = None
        """Where it is sent; None for wandering."""
        self.heading_deg = 0.0
        self.speed_mps = 0.0
        self._from = self._to = start
        self._began_at = self._ends_at = now

    def send_to(self, target: tuple[float, float] | None, now: float, speed_mps: float | None = None) -> None:
        """Drive straight to a target and stay there, or wander again (None)."""
        here = self.at(now)
        self.target = target
        self._from = self._to = here
        self._began_at = self._ends_at = now
        if target is not None:
            self._leg(target, now, speed_mps or self._speed_range_mps[1])

    def arrives_at(self) -> float:
        """When the present leg ends."""
        return self._ends_at

    def at(self, now: float) -> tuple[float, float]:
        """Where it is; plans new legs as needed."""
        while now >= self._ends_at and self.target is None:
            self._wander()
        if now >= self._ends_at:
            self.speed_mps = 0.0
            return self._to
        part = (now - self._began_at) / (self._ends_at - self._began_at)
        return (
            self._from[0] + (self._to[0] - self._from[0]) * part,
            self._from[1] + (self._to[1] - self._from[1]) * part,
        )

    def _wander(self) -> None:
        lat, lng = self._to
        began_at = self._ends_at
        for _ in range(TRIES):
            heading = float(self._rng.uniform(0, 2 * math.pi))
            length_m = float(self._rng.uniform(200, 1500))
            north_m, east_m = length_m * math.cos(heading), length_m * math.sin(heading)
            target = offset(lat, lng, north_m, east_m)
            middle = offset(lat, lng, north_m / 2, east_m / 2)
            if self._inside(*target) and self._inside(*middle):
                self._from = self._to
                self._leg(target, began_at, float(self._rng.uniform(*self._speed_range_mps)))
                return
        # Boxed in: wait a minute where it is.
        self._from = self._to
        self._began_at, self._ends_at = began_at, began_at + 60.0

    def _leg(self, target: tuple[float, float], now: float, speed_mps: float) -> None:
        length_m = metres_between(self._from, target)
        self._to = target
        self._began_at = now
        self._ends_at = now + max(length_m / speed_mps, 0.001)
        self.speed_mps = speed_mps
        east = (target[1] - self._from[1]) * math.cos(math.radians(self._from[0]))
        self.heading_deg = math.degrees(math.atan2(east, target[0] - self._from[0])) % 360.0
