"""Puts the parts together: the only place that says which adapter fills which port.

``build_house`` makes everything that decides and delivers, on any clock and any store; ``app.py`` adds sockets and
the life of the process, the simulator adds phones in memory.
"""

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Protocol, cast

from api.app import Api
from api.cities import Cities, ShardParts
from api.house import ApiParts, build_api
from api.inbound import Inbound
from api.outbound import DispatchOutbound, SafetyOutbound
from api.ports import Staff, Tickets, Tracks
from api.replay import ReplayedRows
from api.rights import Rights
from api.snapshots import OpenThings
from core.clock import Clock
from core.ids import CityId, IdSource, TenantId
from core.principal import Role
from core.shard import Shard
from dispatch.places import Places
from dispatch.ports import DispatchStore
from dispatch.service import DispatchService
from dispatch.unserved import open_orders_unserved
from geo.city import CityMap
from geo.point import LatLng
from geo.settings import TravelSettings
from geo.shard_positions import ShardPositions
from geo.travel_time import EstimateTravelTimes
from realtime.ports import PositionLog, RealtimePorts, StreamStore
from realtime.service import RealtimeService
from safety.ports import SafetyStore
from safety.service import SafetyService
from server.fleet import Fleet
from server.last_seen import LastPositions, LastSeen
from server.root import Settings, derived
from server.settings import is_loopback
from server.surroundings import CitySurroundings
from web.page import STYLE, CityFacts, PageFacts, first_page

_log = logging.getLogger(__name__)
PAGE_KEPT_S = 1.0
"""The first page counts orders and people: once a second is enough, however often it is read."""
EXPIRE_EVERY_S = 5.0
"""How often positions that are too old leave the indexes, and moved ones are noted."""


class StaffDirectory(Staff, Protocol):
    """The store's directory of devices, as far as it is needed here."""


class KeptTracks(PositionLog, Tracks, LastPositions, Protocol):
    """The position log, written and read, with the last position of each technician."""


class StoreSet(Protocol):
    """What a folder of databases gives: ``store.sqlite.Stores`` or ``store.memory.MemoryStores``."""

    @property
    def dispatch(self) -> DispatchStore: ...  # noqa: D102 - named by its type
    @property
    def safety(self) -> SafetyStore: ...  # noqa: D102
    @property
    def streams(self) -> StreamStore: ...  # noqa: D102
    @property
    def tracks(self) -> KeptTracks: ...  # noqa: D102
    @property
    def directory(self) -> StaffDirectory: ...  # noqa: D102


class LinearTravel:
    """The default travel estimate, as a rate for matching rounds and as arrival times for watchers."""

    def __init__(self, settings: TravelSettings) -> None:
        """Keep the numbers."""
        self._settings = settings
        self._estimate = EstimateTravelTimes(settings)

    def rate(self, now: float) -> tuple[float, float]:
        """See ``dispatch.ports.TravelRate``."""
        return self._settings.setup_s, self._settings.detour_factor / self._estimate.speed_mps(now)

    def eta_s(self, shard: Shard, origin: LatLng, destination: LatLng, now: float) -> float | None:
        """See ``realtime.ports.Arrivals``."""
        del shard
        return self._estimate.between_s(origin, destination, now)


@dataclass(slots=True)
class Addresses:
    """Where the process can be reached; filled in when the listeners are bound."""

    http_url: str = ""
    hub_url: str = ""
    admin_url: str = ""
    connections: int = 0
    ready: bool = False
    closed_cities: list[str] = field(default_factory=list)
    """Cities whose orders could not be read at the start."""


class House:
    """Everything that decides and delivers, not yet running. Made by ``build_house``."""

    def __init__(
        self,
        *,
        clock: Clock,
        cities: Cities,
        maps: Mapping[TenantId, CityMap],
        hub: RealtimeService,
        safety: SafetyService,
        fleet: Fleet,
        rights: Rights,
        inbound: Inbound,
        directory: StaffDirectory,
        last_seen: LastSeen,
        addresses: Addresses,
        frame: str,
        is_local: bool,
        orders: DispatchStore,
    ) -> None:
        """Keep the parts; ``api`` is set by ``build_house``."""
        self.clock = clock
        self.cities = cities
        self.hub = hub
        self.safety = safety
        self.rights = rights
        self.inbound = inbound
        self.addresses = addresses
        self.api: Api
        self._maps = maps
        self._fleet = fleet
        self._directory = directory
        self._last_seen = last_seen
        self._frame = frame
        self._is_local = is_local
        self._page = (0.0, "")
        self._page_ready = False
        self._orders = orders
        self._started_at = clock.now()
        self._expiry: asyncio.TimerHandle | None = None

    async def load(self) -> None:
        """Read open orders, offers and incidents with their deadlines.

        A city that cannot be read is closed and the others work: an SOS must not wait for somebody to mend orders.

        Raises:
            Unavailable: Incidents cannot be read.
        """
        now = self.clock.now()
        for tenant in sorted({part.shard.tenant for part in self.cities.all()}):
            users = self._directory.users(tenant, Role.RESPONDER, None, now)
            self._fleet.know_responders(tenant, dict.fromkeys(users))
            await self._warn_of_unserved(tenant)
        try:
            await self._last_seen.load(now)
        except Exception:  # noqa: BLE001 - they come in again with the phones' next positions
            _log.exception("the last positions cannot be read")
        for part in self.cities.all():
            try:
                await part.dispatch.load()
            except Exception:  # noqa: BLE001 - whatever it is, it concerns this city only
                _log.critical("a city cannot be read and is closed", extra={"city": part.shard.channel}, exc_info=True)
                part.dispatch.close("could not be read at the start")
                self.addresses.closed_cities.append("/".join(part.shard))
        await self.safety.start()

    async def _warn_of_unserved(self, tenant: TenantId) -> None:
        served = {part.shard.city for part in self.cities.of(tenant)}
        for city, orders in (await open_orders_unserved(self._orders, tenant, served)).items():
            _log.error(
                "a city with open orders is not served: nobody decides about them until it is in the config again",
                extra={"tenant": tenant, "city": city, "orders": orders},
            )

    def run(self, group: asyncio.TaskGroup) -> None:
        """Start every service in ``group``; an error in one ends them all."""
        group.create_task(self.hub.run(), name="hub")
        group.create_task(self.safety.run(), name="safety")
        for part in self.cities.all():
            if "/".join(part.shard) not in self.addresses.closed_cities:
                group.create_task(part.dispatch.run(), name=f"dispatch {part.shard.channel}")
        self._expire()

    async def stop(self) -> None:
        """Let the services finish what they were given, in the order in which work flows. Idempotent."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        for part in self.cities.all():
            await part.dispatch.drain()
            part.dispatch.stop()
        self._last_seen.note_all()
        await self.safety.drain()
        self.safety.stop()
        self.hub.stop()

    def _expire(self) -> None:
        # Armed first: one turn that fails (the loop logs it) must not be the last.
        self._expiry = asyncio.get_running_loop().call_later(EXPIRE_EVERY_S, self._expire)
        now = self.clock.now()
        self._last_seen.turn()
        for part in self.cities.all():
            part.positions.expire(now)

    def page(self) -> str:
        """The first page as it is now, or was less than ``PAGE_KEPT_S`` ago: anybody may ask for it all day."""
        now = self.clock.now()
        made_at, text = self._page
        if not text or now - made_at >= PAGE_KEPT_S or self._page_ready is not self.addresses.ready:
            text = self._make_page()
            self._page, self._page_ready = (now, text), self.addresses.ready
        return text

    def _make_page(self) -> str:
        facts = [self._city_facts(part) for part in self.cities.all()]
        return first_page(
            PageFacts(
                version=version(),
                ready=self.addresses.ready,
                uptime_s=self.clock.now() - self._started_at,
                hub_url=self.addresses.hub_url,
                admin_url=self.addresses.admin_url,
                frame=self._frame,
                connections=self.hub.counts().get("sessions", 0),
                cities=facts,
                is_local=self._is_local,
            )
        )

    def _city_facts(self, part: ShardParts) -> CityFacts:
        city = self._maps[part.shard.tenant].city(part.shard.city)
        orders = len(part.dispatch.open_orders())
        return CityFacts(part.shard.tenant, part.shard.city, city.name, city.is_open, len(part.positions), orders)


def build_house(
    settings: Settings,
    *,
    tokens: Tickets,
    stores: StoreSet,
    maps: Mapping[TenantId, CityMap],
    clock: Clock,
    ids: IdSource,
    seed: int,
    pick_key: bytes,
    executor: Executor | None = None,
) -> House:
    """Make every service and connect them.

    Args:
        settings: The whole config.
        tokens: Verifies tokens and makes tickets.
        stores: Opened and started by the caller, who also stops them.
        maps: Cities of each tenant, in the platform's frame.
        clock: Real or virtual.
        ids: Real or seeded.
        seed: For jitter.
        pick_key: Secret of the customers' pick tokens.
        executor: Solves large matching rounds; None for the loop's own.
    """
    settings = derived(settings)
    frame = settings.coordinates.frame
    shards = [Shard(TenantId(city.tenant), CityId(city.city)) for city in settings.cities]
    positions = {shard: ShardPositions(settings.positions, frame) for shard in shards}
    travel = LinearTravel(settings.travel)
    rights = Rights(frozenset(shards))
    last_seen = LastSeen(positions, stores.tracks)
    fleet = Fleet(positions, rights, last_seen, stores.directory, clock)
    surroundings = CitySurroundings(fleet, stores.directory, last_seen, clock)
    # The hub is needed by what it needs itself: its ports are completed below, before anything runs.
    ports = RealtimePorts(
        authenticator=tokens,
        inbound=cast(Any, None),
        snapshots=cast(Any, None),
        store=stores.streams,
        rights=rights,
        log=stores.tracks,
        arrivals=travel,
    )
    hub = RealtimeService(clock, ids, settings.realtime, ports, positions, seed=seed)
    outbound = DispatchOutbound(frame, stores.directory)
    dispatch = {
        shard: DispatchService(
            shard,
            store=stores.dispatch,
            outbound=outbound,
            watchers=fleet,
            delivery=hub,
            fleet=fleet,
            places=Places(positions[shard].index),
            travel=travel,
            clock=clock,
            ids=ids,
            settings=settings.dispatch,
            executor=executor,
            served=frozenset(other.city for other in shards if other.tenant == shard.tenant),
        )
        for shard in shards
    }
    fleet.connect(hub, dispatch)
    cities = Cities([ShardParts(shard, dispatch[shard], positions[shard]) for shard in shards], maps)
    surroundings.connect(cities)
    safety = SafetyService(
        clock,
        settings=settings.safety,
        ids=ids,
        store=stores.safety,
        surroundings=surroundings,
        outbound=SafetyOutbound(frame),
        delivery=hub,
        link=_RaiserLink(hub),
        watchers=fleet,
    )
    ports.inbound = inbound = Inbound(cities, safety, fleet, frame)
    ports.snapshots = OpenThings(frame, cities, safety)
    ports.rows = ReplayedRows(cities, safety)
    addresses = Addresses()
    house = House(
        clock=clock,
        cities=cities,
        maps=maps,
        hub=hub,
        safety=safety,
        fleet=fleet,
        rights=rights,
        inbound=inbound,
        directory=stores.directory,
        last_seen=last_seen,
        addresses=addresses,
        frame=frame.value,
        is_local=is_loopback(settings.http.host) and not settings.trusted_proxies and not settings.http.public_url,
        orders=stores.dispatch,
    )
    house.api = build_api(
        ApiParts(
            clock=clock,
            ids=ids,
            tokens=tokens,
            cities=cities,
            hub=hub,
            safety=safety,
            inbound=inbound,
            dispatch_store=stores.dispatch,
            safety_store=stores.safety,
            tracks=stores.tracks,
            frame=frame,
            settings=settings.api,
            token_key=pick_key,
            version=version(),
            hub_url=lambda: addresses.hub_url,
            page=house.page,
            style=STYLE,
        )
    )
    return house


class _RaiserLink:
    """``safety.ports.RaiserLink`` over the hub."""

    def __init__(self, hub: RealtimeService) -> None:
        self._hub = hub

    def send_direct(self, tenant: TenantId, user: Any, body: bytes) -> None:
        """Send to every connected device of the user, at most once."""
        self._hub.send_direct(tenant, user, body)

    def answer_raiser(self, tenant: TenantId, user: Any, body: bytes) -> None:
        """Likewise, also to devices whose token has expired."""
        self._hub.send_direct(tenant, user, body, restricted=True)


def version() -> str:
    """The installed version; ``0`` when the package runs from a folder that was never installed."""
    try:
        return metadata.version("doorstep")
    except metadata.PackageNotFoundError:
        return "0"
