"""Stars into a mean: old ones fade, and few ones say little.

Each technician keeps two numbers, the sum of stars and the number of stars, both decayed to ``rating_at``.
Exponential decay makes that exact: decaying the sums equals decaying each rating.
"""

from dataclasses import dataclass, replace
from math import ceil

from dispatch.model import Technician
from dispatch.settings import RatingSettings

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Tally:
    """Decayed stars: of a technician, or of a city (the sum over its technicians)."""

    total: float = 0.0
    weight: float = 0.0
    at: float = 0.0

    def at_time(self, now: float, half_life_days: float) -> "Tally":
        """The same tally seen later. A clock that stepped back changes nothing."""
        if now <= self.at or self.weight == 0.0:
            return replace(self, at=max(now, self.at))
        factor = 0.5 ** ((now - self.at) / (half_life_days * DAY_S))
        return Tally(self.total * factor, self.weight * factor, now)

    def add(self, other: "Tally", half_life_days: float) -> "Tally":
        """Both together, at the later of their times."""
        now = max(self.at, other.at)
        a, b = self.at_time(now, half_life_days), other.at_time(now, half_life_days)
        return Tally(a.total + b.total, a.weight + b.weight, now)

    def take_out(self, other: "Tally", half_life_days: float) -> "Tally":
        """Without ``other``; never below nothing."""
        now = max(self.at, other.at)
        a, b = self.at_time(now, half_life_days), other.at_time(now, half_life_days)
        return Tally(max(0.0, a.total - b.total), max(0.0, a.weight - b.weight), now)


def tally_of(technician: Technician) -> Tally:
    """The technician's stars as they are kept."""
    return Tally(technician.rating_sum, technician.rating_weight, technician.rating_at)


def rated(technician: Technician, stars: int, now: float, settings: RatingSettings) -> Technician:
    """The technician with one rating more."""
    tally = tally_of(technician).add(Tally(float(stars), 1.0, now), settings.half_life_days)
    return replace(
        technician,
        rating_sum=tally.total,
        rating_weight=tally.weight,
        rating_at=tally.at,
        rated_len=rated_len(technician) + 1,
        changed_at=now,
    )


def rated_len(technician: Technician) -> int:
    """How many ratings somebody has had, ever; of those before they were counted, what is left of them."""
    return max(technician.rated_len, ceil(technician.rating_weight - 1e-6))


def city_mean(city: Tally, settings: RatingSettings) -> float:
    """Mean of a city, pulled towards the configured one while it has few ratings. Between 1 and 5."""
    return (settings.prior_weight * settings.city_mean + city.total) / (settings.prior_weight + city.weight)


def mean(technician: Technician, city_mean_stars: float, now: float, settings: RatingSettings) -> float:
    """Bayesian mean: the technician's stars with the city's mean as so many more of them.

    A new technician has the city's mean; 5.0 of one rating is barely above it.
    """
    tally = tally_of(technician).at_time(now, settings.half_life_days)
    return (settings.prior_weight * city_mean_stars + tally.total) / (settings.prior_weight + tally.weight)
