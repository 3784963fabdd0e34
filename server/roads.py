"""Makes the road engine of the config: one adapter for each city, over one kind of engine."""

from collections import Counter

from core.clock import Clock
from geo.point import Frame
from geo.settings import RoadEngine, TravelSettings
from geo.travel_time import EstimateTravelTimes, TravelMode, TravelTimes
from transport.osrm import OsrmDialect
from transport.road_engine import RoadTravelTimes
from transport.valhalla import ValhallaDialect


class Roads:
    """Adapters made so far. Each city has its own estimate behind the engine, so it has its own adapter."""

    def __init__(self, travel: TravelSettings, frame: Frame, clock: Clock) -> None:
        """Nothing connects before it is asked."""
        self._travel = travel
        self._frame = frame
        self._clock = clock
        self._made: list[RoadTravelTimes] = []

    def of(self, estimate: EstimateTravelTimes) -> TravelTimes | None:
        """The engine in front of this estimate; None when the config names none."""
        travel, engine = self._travel, self._travel.engine
        if engine.use is RoadEngine.ESTIMATE:
            return None
        mode = TravelMode(travel.default_mode)
        dialect = OsrmDialect(engine.profile, mode) if engine.use is RoadEngine.OSRM else ValhallaDialect(travel)
        made = RoadTravelTimes(dialect, estimate, settings=engine, travel=travel, frame=self._frame, clock=self._clock)
        self._made.append(made)
        return made

    def tables(self) -> dict[tuple[str, ...], float]:
        """Tables by what became of them."""
        total: Counter[str] = Counter()
        for made in self._made:
            total.update(made.counts)
        return {(outcome,): float(count) for outcome, count in total.items()}

    async def stop(self) -> None:
        """Close the connections. Idempotent."""
        for made in self._made:
            await made.stop()
