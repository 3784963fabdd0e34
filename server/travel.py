"""How long ways take in each city: the estimate that rounds and watchers use, and what it learns from.

Each city has an estimate of its own, because each learns its own speeds. ``SpeedLearner`` reads the ways of the newest
orders from the kept tracks, cuts them into trips and gives the estimate the map that they make, at the start and every
``learn_every_s`` anew: nothing is stored, a restart loses nothing, and old habits leave with old orders.
Hours, of the rush and of what is learned, are those of the city's own clock.
"""

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from datetime import tzinfo
from functools import partial
from typing import Final

from api.ports import Point, Tracks
from core.clock import Clock
from core.service import pause
from core.shard import Shard
from dispatch.listing import ListFilter, Place
from dispatch.model import Order, OrderState
from dispatch.ports import DispatchStore, Listings
from geo.arrays import FloatArray
from geo.point import LatLng
from geo.settings import TravelSettings
from geo.speed_map import SpeedMap, SpeedRules, learn
from geo.travel_time import EstimateTravelTimes
from geo.trips import Trips, cut, joined

_log = logging.getLogger(__name__)
_PAGE_LEN: Final = 50
_TRACK_LEN_MAX: Final = 10_000
_LEGS_MAX: Final = 500_000
"""Legs that are learned from, at most a page of orders more: 40 MB for a moment."""
_REST_S: Final = 0.05
"""Pause after each order that is read: the reading takes the readers and the loop a few milliseconds at a time."""
_UNDER_WAY: Final = frozenset(
    {OrderState.PLACED, OrderState.SCHEDULED, OrderState.MATCHING, OrderState.ASSIGNED, OrderState.EN_ROUTE}
)
"""Nobody has arrived yet."""


class CityTravel:
    """``dispatch.ports.TravelRate`` of one city."""

    def __init__(self, zone: tzinfo, settings: TravelSettings) -> None:
        """Begin with the speeds of the config, by the city's clock."""
        self.estimate = EstimateTravelTimes(zone, settings)
        self._setup_s = settings.setup_s

    def rate(self, now: float) -> tuple[float, float]:
        """See ``dispatch.ports.TravelRate``."""
        return self._setup_s, self.estimate.s_per_m(now)

    def between_s(self, origin: LatLng, destination: LatLng, now: float) -> float:
        """See ``dispatch.ports.TravelRate``. Watchers of a position are told the same."""
        return self.estimate.between_s(origin, destination, now)

    def has_learned(self) -> bool:
        """See ``dispatch.ports.TravelRate``."""
        return self.estimate.learned is not None

    def learned_s(self, origins: FloatArray, destinations: FloatArray, now: float) -> FloatArray | None:
        """See ``dispatch.ports.TravelRate``."""
        return self.estimate.learned_s(origins, destinations, now)


class Travel:
    """The estimates of all cities. Also ``realtime.ports.Arrivals``."""

    def __init__(self, settings: TravelSettings, zones: Mapping[Shard, tzinfo]) -> None:
        """One estimate for each shard that is served, by the clock of its city."""
        self.cities: Mapping[Shard, CityTravel] = {shard: CityTravel(zone, settings) for shard, zone in zones.items()}

    def eta_s(self, shard: Shard, origin: LatLng, destination: LatLng, now: float) -> float | None:
        """See ``realtime.ports.Arrivals``."""
        city = self.cities.get(shard)
        return None if city is None else city.estimate.between_s(origin, destination, now)

    def trips_learned(self) -> dict[tuple[str, ...], float]:
        """Trips that each city's speeds rest on; 0 while they are those of the config."""
        maps = {shard: city.estimate.learned for shard, city in self.cities.items()}
        return {shard: float(found.trips if found is not None else 0) for shard, found in maps.items()}


class SpeedLearner:
    """Reads the ways of past orders and learns from them. ``run`` is a task of its own that never fails."""

    def __init__(
        self,
        travel: Travel,
        *,
        listings: Listings,
        orders: DispatchStore,
        tracks: Tracks,
        clock: Clock,
        settings: TravelSettings,
        executor: Executor | None = None,
    ) -> None:
        """Nothing is read before ``run``."""
        self._travel = travel
        self._listings = listings
        self._orders = orders
        self._tracks = tracks
        self._clock = clock
        self._settings = settings
        self._executor = executor
        self._rules = SpeedRules(trips_min=settings.learn_trips_min)

    async def run(self) -> None:
        """Learn now and every ``learn_every_s``, until cancelled."""
        if not self._settings.learn_every_s:
            return
        while True:
            for shard in self._travel.cities:
                try:
                    await self.learn_city(shard)
                except Exception:  # noqa: BLE001 - the speeds in use go on; orders must not stop for it
                    _log.exception("speeds could not be learned", extra={"city": shard.channel})
            await pause(self._settings.learn_every_s)

    async def learn_city(self, shard: Shard) -> None:
        """Give one city's estimate what its newest orders teach. Raises ``Unavailable``."""
        parts = [trips for trips in await self._trips(shard) if len(trips)]
        estimate = self._travel.cities[shard].estimate
        speeds: SpeedMap | None = None
        if parts:
            work = partial(
                learn,
                joined(parts),
                estimate.hour_speeds_mps(),
                zone=estimate.zone,
                setup_s=self._settings.setup_s,
                rules=self._rules,
            )
            speeds = await asyncio.get_running_loop().run_in_executor(self._executor, work)
        estimate.learn_from(speeds)
        facts = {"city": shard.channel, "trips": sum(map(len, parts)), "used": speeds is not None}
        _log.info("speeds were learned", extra=facts)

    async def _trips(self, shard: Shard) -> list[Trips]:
        wanted = ListFilter(cities=frozenset({shard.city}))
        found: list[Trips] = []
        seen, legs = 0, 0
        before: Place | None = None
        while seen < self._settings.learn_orders_max and legs < _LEGS_MAX:
            limit = min(_PAGE_LEN, self._settings.learn_orders_max - seen)
            page = await self._listings.orders(shard.tenant, wanted, before=before, limit=limit)
            if not page:
                break
            seen += len(page)
            before = page[-1].placed_at, page[-1].order_id
            for order in page:
                if order.state not in _UNDER_WAY and order.technician is not None:
                    found.append(await self._way(order))
                    legs += len(found[-1].leg_s)
                    await pause(_REST_S)
        return found

    async def _way(self, order: Order) -> Trips:
        """The way to the customer: from the moment the technician set out to their arrival."""
        events = await self._orders.events(order.tenant, order.order_id)
        at = {event.what: event.at for event in events}  # the last of each: an order may be given to another
        set_out_at, arrived_at = at.get(OrderState.EN_ROUTE), at.get(OrderState.ARRIVED)
        points: list[Point] = []
        behind_s = 0.0
        if set_out_at is not None and arrived_at is not None:
            found = await self._tracks.track(order.tenant, order.order_id, limit=_TRACK_LEN_MAX)
            found = [p for p in found if set_out_at <= p.received_at <= arrived_at]
            # The fixes' own time is the phone's, whose clock may be hours off: what came fastest tells by how much.
            behind_s = min((p.received_at - p.fixed_at for p in found), default=0.0)
            points = [p for p in found if p.fixed_at + behind_s >= set_out_at]
        seconds = [p.fixed_at + behind_s for p in points]
        return cut([0] * len(points), seconds, [p.lat for p in points], [p.lng for p in points])
