"""The default travel estimate as the two numbers that a round takes along."""

from geo.travel_time import EstimateTravelTimes


class EstimatedRate:
    """``TravelRate`` from the estimate, which is a straight line in the distance."""

    def __init__(self, estimate: EstimateTravelTimes) -> None:
        self._estimate = estimate

    def rate(self, now: float) -> tuple[float, float]:
        """See ``TravelRate``."""
        start_s, per_km_s = self._estimate.duration_s([0.0, 1_000.0], now).tolist()
        return start_s, (per_km_s - start_s) / 1_000.0
