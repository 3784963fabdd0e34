"""The first page of a running house: what is served, where, and how much of it there is now."""

from collections.abc import Mapping

from api.cities import Cities, ShardParts
from core.clock import Clock
from core.ids import TenantId
from geo.city import CityMap
from realtime.service import RealtimeService
from server.house import Addresses
from server.version import version
from web.page import CityFacts, PageFacts, first_page

PAGE_KEPT_S = 1.0
"""The first page counts orders and people: once a second is enough, however often it is read."""


class FrontPage:
    """Gathers the facts of ``web.page`` and keeps the page that was made of them for a moment.

    Args:
        frame: Name of the platform's coordinate frame.
        is_local: Whether only this machine reads the page, so that it may name what is not for strangers.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        cities: Cities,
        maps: Mapping[TenantId, CityMap],
        hub: RealtimeService,
        addresses: Addresses,
        frame: str,
        is_local: bool,
    ) -> None:
        self._clock = clock
        self._cities = cities
        self._maps = maps
        self._hub = hub
        self._addresses = addresses
        self._frame = frame
        self._is_local = is_local
        self._started_at = clock.now()
        self._made = (0.0, "")
        self._made_ready = False

    def text(self) -> str:
        """The first page as it is now, or was less than ``PAGE_KEPT_S`` ago: anybody may ask for it all day."""
        now = self._clock.now()
        made_at, text = self._made
        if not text or now - made_at >= PAGE_KEPT_S or self._made_ready is not self._addresses.ready:
            text = self._make()
            self._made, self._made_ready = (now, text), self._addresses.ready
        return text

    def _make(self) -> str:
        facts = [self._city_facts(part) for part in self._cities.all()]
        return first_page(
            PageFacts(
                version=version(),
                ready=self._addresses.ready,
                uptime_s=self._clock.now() - self._started_at,
                hub_url=self._addresses.hub_url,
                admin_url=self._addresses.admin_url,
                frame=self._frame,
                connections=self._hub.counts().get("sessions", 0),
                cities=facts,
                is_local=self._is_local,
            )
        )

    def _city_facts(self, part: ShardParts) -> CityFacts:
        city = self._maps[part.shard.tenant].city(part.shard.city)
        orders = len(part.dispatch.open_orders())
        return CityFacts(part.shard.tenant, part.shard.city, city.name, city.is_open, len(part.positions), orders)
