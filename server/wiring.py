"""Puts the parts together: the only place that says which adapter fills which port.

``build_house`` makes everything that decides and delivers, on any clock and any store; ``house.py`` is its life,
``app.py`` adds sockets and the life of the process, the simulator adds phones in memory. Each part is made by one
function below, in the order in which they need each other::

    ground (positions, rights, fleet) -> hub -> cities (dispatch of each shard) -> safety -> hub's ports -> page, api
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast
from zoneinfo import ZoneInfo

from api.app import Api
from api.browser_sessions import BrowserSessions
from api.cancels import Cancels
from api.care import CareOutbound
from api.cities import Cities, ShardParts
from api.house import ApiParts, build_api
from api.inbound import Inbound
from api.notices import OrderNotices
from api.outbound import DispatchOutbound, SafetyOutbound
from api.ports import BrowserSessionStore, SignOuts, Staff, Tickets, Tracks
from api.replay import ReplayedRows
from api.rights import Rights
from api.snapshots import OpenThings
from core.clock import Clock
from core.errors import Unavailable
from core.ids import CityId, IdSource, TenantId, UserId
from core.shard import Shard
from dispatch.places import Places
from dispatch.ports import DispatchStore, Listings, Notifier
from dispatch.service import DispatchService
from dispatch.wakes import WakeDesk
from geo.city import CityMap
from geo.point import Frame
from geo.shard_positions import ShardPositions
from realtime.ports import PositionLog, RealtimePorts, StreamStore
from realtime.service import RealtimeService
from safety.care_ports import CareStore
from safety.care_service import CareService
from safety.events import PageSettled, SubjectOffDuty
from safety.holds import Holds, HoldStore
from safety.looks import LookStore
from safety.pages import Channel
from safety.pin_desk import PinDesk
from safety.pins import PinHasher
from safety.ports import Journal, Outside, SafetyStore
from safety.profiles import Profiles, ProfileStore
from safety.service import SafetyService
from server.aside import Aside, aside_of
from server.care_house import IncidentAlarms, JobWatchers, OpenJobs, PhoneContacts
from server.fleet import Fleet
from server.front_page import FrontPage
from server.house import Addresses, House
from server.last_seen import LastPositions, LastSeen
from server.looking import Looking
from server.raisers import RaiserWatch
from server.roads import Roads
from server.root import Settings, derived
from server.safety_watch import SafetyWatch
from server.surroundings import CitySurroundings
from server.tracker_book import TrackerBook
from server.travel import SpeedLearner, Travel
from server.version import version
from trackers.counts import Counts
from trackers.ports import DeviceStore
from trackers.registry import Registry
from transport.page_channel import Asker, PageChannel
from transport.pager import Pager
from web.files import page_files, shipped_files
from web.page import STYLE
from web.report_page import HEADERS, report_page
from web.sos_page import sos_page
from webhooks.ports import DeliveryQueue, Poster
from webhooks.service import WebhookService


class KeptTracks(PositionLog, Tracks, LastPositions, Protocol):
    """The position log, written and read, with the last position of each technician.

    Attributes:
        held: What of it must stay; set by wiring.
    """

    held: Callable[[float], frozenset[tuple[str, str]] | None]


class StoreSet(Protocol):
    """What a folder of databases gives: ``store.sqlite.Stores`` or ``store.memory.MemoryStores``.

    Attributes:
        held: What of incidents must stay; set by wiring.
    """

    held: Callable[[float], frozenset[tuple[str, str]] | None]

    @property
    def dispatch(self) -> DispatchStore: ...  # noqa: D102 - named by its type
    @property
    def listings(self) -> Listings: ...  # noqa: D102
    @property
    def webhooks(self) -> DeliveryQueue: ...  # noqa: D102
    @property
    def sign_outs(self) -> SignOuts: ...  # noqa: D102
    @property
    def tracker_devices(self) -> DeviceStore: ...  # noqa: D102
    @property
    def browser_sessions(self) -> BrowserSessionStore: ...  # noqa: D102
    @property
    def safety(self) -> SafetyStore: ...  # noqa: D102
    @property
    def profiles(self) -> ProfileStore: ...  # noqa: D102
    @property
    def care(self) -> CareStore: ...  # noqa: D102
    @property
    def journal(self) -> Journal: ...  # noqa: D102
    @property
    def holds(self) -> HoldStore: ...  # noqa: D102
    @property
    def looks(self) -> LookStore: ...  # noqa: D102
    @property
    def streams(self) -> StreamStore: ...  # noqa: D102
    @property
    def tracks(self) -> KeptTracks: ...  # noqa: D102
    @property
    def directory(self) -> Staff: ...  # noqa: D102


class _RaiserLink:
    """``safety.ports.RaiserLink`` over the hub."""

    def __init__(self, hub: RealtimeService) -> None:
        self._hub = hub

    def send_direct(self, tenant: TenantId, user: UserId, body: bytes) -> None:
        """Send to every connected device of the user, at most once."""
        self._hub.send_direct(tenant, user, body)

    def answer_raiser(self, tenant: TenantId, user: UserId, body: bytes) -> None:
        """Likewise, also to devices whose token has expired."""
        self._hub.send_direct(tenant, user, body, restricted=True)


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
    pin_hasher: PinHasher,
    executor: Executor | None = None,
    poster: Poster | None = None,
    webhook_secrets: Mapping[str, Sequence[bytes]] | None = None,
    notifier: Notifier | None = None,
    roads: Roads | None = None,
    channels: Mapping[str, PageChannel] | None = None,
    asker: Asker | None = None,
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
        pin_hasher: Hashes and compares PINs away from the loop.
        executor: Solves large matching rounds; None for the loop's own.
        poster: Reaches programs outside; without one nobody is told.
        webhook_secrets: Of each endpoint in the config; ready to sign.
        notifier: Wakes phones; None for nobody.
        roads: Makes the road engine that rounds ask; without one distances decide.
        channels: Ways out of the house for incidents, by line (``outside.make_channels``); with them safety is watched
            over: without, there is nobody who could be told.
        asker: Sends the heartbeat of safety.
    """
    given = _Given(
        derived(settings),
        tokens,
        stores,
        maps,
        clock,
        ids,
        seed,
        pick_key,
        pin_hasher,
        executor,
        poster,
        webhook_secrets or {},
        notifier,
        roads,
        channels or {},
    )
    ground = _lay_ground(given)
    hub, hub_ports = _make_hub(given, ground)
    webhooks = _make_webhooks(given)
    wakes = _make_wakes(given, hub)
    watchers = JobWatchers(ground.fleet)
    cities = _make_cities(given, ground, hub, webhooks, wakes, watchers)
    profiles = Profiles(stores.profiles, ground.fleet.consent_changed)
    looking = Looking(stores.looks, stores.directory, hub.send_direct, clock)
    hub_ports.looks = looking
    raisers = RaiserWatch(
        ground.fleet, ground.everywhere, hub, stores.tracks, settings.safety, given.frame, clock, ground.holds
    )
    safety, pager = _make_safety(given, ground, hub, cities, profiles, raisers)
    raisers.incident = safety.incident
    watchers.care = ground.fleet.care = care = _make_care(given, hub, cities, safety)
    pins = PinDesk(profiles, given.pin_hasher, settings.safety.pins)
    cancels = Cancels(safety, pins, settings.safety.pins.answer_after_s)
    inbound = Inbound(cities, safety, cancels, care, ground.fleet, given.frame)
    _complete_hub(hub_ports, given.frame, inbound, cities, safety, care)
    addresses = Addresses()
    trackers = Registry(settings.trackers), Counts()
    page = _make_page(given, hub, cities, addresses)
    browsers = BrowserSessions(settings.sign_in, ids)
    return House(
        clock=clock,
        cities=cities,
        hub=hub,
        safety=safety,
        care=care,
        profiles=profiles,
        pager=pager,
        watch=SafetyWatch(clock, settings.safety.reach, safety, care, pager, asker) if channels is not None else None,
        fleet=ground.fleet,
        raisers=raisers,
        looking=looking,
        holds=ground.holds,
        rights=ground.rights,
        inbound=inbound,
        api=_make_api(
            given,
            hub,
            cities,
            safety,
            care,
            profiles,
            raisers,
            looking,
            ground.holds,
            pins,
            inbound,
            addresses,
            page,
            *trackers,
            browsers,
        ),
        trackers=TrackerBook(trackers[0], stores.tracker_devices, trackers[1]),
        directory=stores.directory,
        listings=stores.listings,
        tokens=tokens,
        sign_outs=stores.sign_outs,
        browser_store=stores.browser_sessions,
        browsers=browsers,
        webhooks=webhooks,
        wakes=wakes,
        last_seen=ground.last_seen,
        travel=ground.travel,
        learner=SpeedLearner(
            ground.travel,
            listings=stores.listings,
            orders=stores.dispatch,
            tracks=stores.tracks,
            clock=clock,
            settings=given.settings.travel,
            executor=executor,
        ),
        addresses=addresses,
    )


@dataclass(frozen=True, slots=True)
class _Given:
    """What ``build_house`` was called with."""

    settings: Settings
    tokens: Tickets
    stores: StoreSet
    maps: Mapping[TenantId, CityMap]
    clock: Clock
    ids: IdSource
    seed: int
    pick_key: bytes
    pin_hasher: PinHasher
    executor: Executor | None
    poster: Poster | None
    webhook_secrets: Mapping[str, Sequence[bytes]]
    notifier: Notifier | None
    roads: Roads | None
    channels: Mapping[str, PageChannel]

    @property
    def frame(self) -> Frame:
        return self.settings.coordinates.frame

    def timezone(self, shard: Shard) -> str:
        """IANA name of a served city's clock."""
        return next(c.timezone for c in self.settings.cities if (c.tenant, c.city) == shard)

    def zone(self, shard: Shard) -> ZoneInfo:
        """A served city's clock: shifts, nights, rush hours and learned speeds go by it."""
        return ZoneInfo(self.timezone(shard))


@dataclass(frozen=True, slots=True)
class _Ground:
    """What the services stand on: where everybody is, who may see it, and how far it is.

    Attributes:
        positions: Of every served shard, in the order of the config.
        aside: Of those who have an alarm outside duty.
    """

    positions: Mapping[Shard, ShardPositions]
    aside: Aside
    rights: Rights
    last_seen: LastSeen
    fleet: Fleet
    travel: Travel
    holds: Holds

    @property
    def everywhere(self) -> Mapping[Shard, ShardPositions]:
        """Everybody whose positions are taken."""
        return {**self.positions, **self.aside.positions}


def _lay_ground(given: _Given) -> _Ground:
    settings, stores = given.settings, given.stores
    shards = [Shard(TenantId(city.tenant), CityId(city.city)) for city in settings.cities]
    positions = {shard: ShardPositions(settings.positions, given.frame) for shard in shards}
    rights = Rights(frozenset(shards), aside_of)
    last_seen = LastSeen(positions, stores.tracks)
    aside = Aside({shard.tenant: None for shard in shards}, settings.positions, given.frame)
    fleet = Fleet(
        positions,
        rights,
        last_seen,
        stores.directory,
        given.clock,
        aside,
        settings.safety.trail_fast_s,
        settings.safety.trail_after_cancel_s,
    )
    travel = Travel(settings.travel, {shard: given.zone(shard) for shard in shards})
    holds = Holds(stores.holds, settings.safety.hold_days)
    stores.held = stores.tracks.held = holds.jobs
    return _Ground(positions, aside, rights, last_seen, fleet, travel, holds)


def _make_hub(given: _Given, ground: _Ground) -> tuple[RealtimeService, RealtimePorts]:
    """The hub, and its ports for ``_complete_hub``: it is needed by what it needs itself."""
    ports = RealtimePorts(
        authenticator=given.tokens,
        inbound=cast(Any, None),
        snapshots=cast(Any, None),
        store=given.stores.streams,
        rights=ground.rights,
        log=given.stores.tracks,
        arrivals=ground.travel,
    )
    hub = RealtimeService(given.clock, given.ids, given.settings.realtime, ports, ground.everywhere, seed=given.seed)
    return hub, ports


def _complete_hub(
    ports: RealtimePorts, frame: Frame, inbound: Inbound, cities: Cities, safety: SafetyService, care: CareService
) -> None:
    """Before anything runs."""
    ports.inbound = inbound
    ports.snapshots = OpenThings(frame, cities, safety, care)
    ports.rows = ReplayedRows(cities, safety)


def _make_webhooks(given: _Given) -> WebhookService | None:
    """The queue of events for programs outside; None when nobody is to be told."""
    settings = given.settings.webhooks
    if given.poster is None or not settings.endpoints:
        return None
    return WebhookService(
        given.clock,
        settings=settings,
        queue=given.stores.webhooks,
        poster=given.poster,
        secrets=given.webhook_secrets,
        seed=given.seed,
    )


def _make_wakes(given: _Given, hub: RealtimeService) -> WakeDesk | None:
    settings = given.settings.push
    if given.notifier is None:
        return None
    return WakeDesk(given.notifier, hub, quiet_s=settings.quiet_s, under_way_max=settings.under_way_max)


def _make_cities(
    given: _Given,
    ground: _Ground,
    hub: RealtimeService,
    webhooks: WebhookService | None,
    wakes: WakeDesk | None,
    watchers: JobWatchers,
) -> Cities:
    """Dispatch of each shard, known to the fleet, beside its positions and under its map."""
    outbound = DispatchOutbound(given.frame, given.stores.directory)
    outside = OrderNotices(given.settings.webhooks.endpoints, webhooks, given.frame) if webhooks is not None else None
    dispatch = {
        shard: _make_dispatch(shard, given, ground, hub, outbound, outside, wakes, watchers)
        for shard in ground.positions
    }
    ground.fleet.connect(hub, dispatch)
    parts = [
        ShardParts(shard, dispatch[shard], positions, given.timezone(shard))
        for shard, positions in ground.positions.items()
    ]
    return Cities(parts, given.maps)


def _make_dispatch(
    shard: Shard,
    given: _Given,
    ground: _Ground,
    hub: RealtimeService,
    outbound: DispatchOutbound,
    outside: OrderNotices | None,
    wakes: WakeDesk | None,
    watchers: JobWatchers,
) -> DispatchService:
    return DispatchService(
        shard,
        store=given.stores.dispatch,
        outbound=outbound,
        watchers=watchers,
        delivery=hub,
        fleet=ground.fleet,
        places=Places(ground.positions[shard].index),
        travel=ground.travel.cities[shard],
        roads=None if given.roads is None else given.roads.of(ground.travel.cities[shard].estimate),
        clock=given.clock,
        ids=given.ids,
        settings=given.settings.dispatch,
        executor=given.executor,
        served=frozenset(other.city for other in ground.positions if other.tenant == shard.tenant),
        outside=outside,
        zone=given.zone(shard),
        wakes=wakes,
        holds=ground.holds,
    )


def _make_safety(
    given: _Given,
    ground: _Ground,
    hub: RealtimeService,
    cities: Cities,
    profiles: Profiles,
    raisers: RaiserWatch,
) -> tuple[SafetyService, Pager]:
    """Safety with its pager, which need each other."""

    def settled(event: PageSettled) -> None:
        with suppress(Unavailable):  # stopping, or flooded: the attempt counts as lost and is made again
            safety.post(event)

    def went_off_duty(tenant: TenantId, user: UserId) -> None:
        with suppress(Unavailable):  # stopping: it is a line in a story, and no alarm depends on it
            safety.post(SubjectOffDuty(tenant, user), urgent=True)

    surroundings = CitySurroundings(
        cities,
        ground.fleet,
        given.stores.directory,
        ground.last_seen,
        given.clock,
        hub.online,
        profiles,
        ground.aside,
    )
    raisers.surroundings = surroundings
    pager = Pager(given.clock, given.settings.safety.reach, given.channels, profiles, settled)
    safety = SafetyService(
        given.clock,
        settings=given.settings.safety,
        ids=given.ids,
        store=given.stores.safety,
        surroundings=surroundings,
        outbound=SafetyOutbound(given.frame),
        delivery=hub,
        link=_RaiserLink(hub),
        watchers=raisers,
        journal=given.stores.journal,
        outside=Outside(pager, profiles, hub, with_push=Channel.PUSH in given.channels),
    )
    ground.fleet.went_off_duty = went_off_duty
    return safety, pager


def _make_care(given: _Given, hub: RealtimeService, cities: Cities, safety: SafetyService) -> CareService:
    alarms = IncidentAlarms(safety)
    return CareService(
        given.clock,
        settings=given.settings.safety,
        ids=given.ids,
        store=given.stores.care,
        phones=PhoneContacts(cities),
        jobs=OpenJobs(cities),
        alarms=alarms,
        drills=alarms,
        outbound=CareOutbound(given.stores.directory),
        delivery=hub,
        link=_RaiserLink(hub),
    )


def _make_page(given: _Given, hub: RealtimeService, cities: Cities, addresses: Addresses) -> FrontPage:
    settings = given.settings
    return FrontPage(
        clock=given.clock,
        cities=cities,
        maps=given.maps,
        hub=hub,
        addresses=addresses,
        frame=given.frame.value,
        is_local=settings.is_local,
    )


def _make_api(
    given: _Given,
    hub: RealtimeService,
    cities: Cities,
    safety: SafetyService,
    care: CareService,
    profiles: Profiles,
    raisers: RaiserWatch,
    looking: Looking,
    holds: Holds,
    pins: PinDesk,
    inbound: Inbound,
    addresses: Addresses,
    page: FrontPage,
    registry: Registry,
    tracker_counts: Counts,
    browsers: BrowserSessions,
) -> Api:
    files = page_files if given.settings.web.reload else shipped_files
    files()  # now, so that no request waits for it
    return build_api(
        ApiParts(
            clock=given.clock,
            ids=given.ids,
            tokens=given.tokens,
            sign_outs=given.stores.sign_outs,
            browser_store=given.stores.browser_sessions,
            browsers=browsers,
            cities=cities,
            maps=given.maps,
            hub=hub,
            safety=safety,
            care=care,
            inbound=inbound,
            dispatch_store=given.stores.dispatch,
            listings=given.stores.listings,
            safety_store=given.stores.safety,
            profiles=profiles,
            pins=pins,
            tracks=given.stores.tracks,
            raisers=raisers,
            looks=looking,
            look_store=given.stores.looks,
            holds=holds,
            frame=given.frame,
            settings=given.settings.api,
            sign_in=given.settings.sign_in,
            web=given.settings.web,
            public_url=given.settings.http.public_url,
            is_secure=given.settings.is_secure,
            files=files,
            token_key=given.pick_key,
            version=version(),
            hub_url=lambda: addresses.hub_url,
            http_url=lambda: addresses.http_url,
            tracker_registry=registry,
            tracker_store=given.stores.tracker_devices,
            tracker_settings=given.settings.trackers,
            tracker_counts=tracker_counts,
            page=page.text,
            style=STYLE,
            report_page=report_page,
            report_headers=HEADERS,
            sos_page=sos_page(given.settings.api.emergency_number),
        )
    )
