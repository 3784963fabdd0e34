"""The life of everything that decides and delivers: loaded, run, expired in turns, stopped in the order of work.

Who is connected to whom is in ``wiring.py``; sockets and the process are in ``app.py``.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field

from api.app import Api
from api.browser_sessions import BrowserSessions
from api.cities import Cities, ShardParts
from api.inbound import Inbound
from api.ports import BrowserSessionStore, SignOuts, Staff, Tickets
from api.rights import Rights
from core.clock import Clock
from core.errors import DoorstepError, Unavailable
from core.ids import TenantId
from core.principal import Role
from core.service import pause
from core.shard import Shard
from dispatch.ports import Listings
from dispatch.unserved import open_orders_unserved
from dispatch.wakes import WakeDesk
from realtime.service import RealtimeService
from safety.care_service import CareService
from safety.holds import Holds
from safety.profiles import Profiles
from safety.service import SafetyService
from server.fleet import Fleet
from server.last_seen import LastSeen
from server.looking import Looking
from server.raisers import RaiserWatch
from server.safety_watch import SafetyWatch
from server.tracker_book import TrackerBook
from server.travel import SpeedLearner, Travel
from transport.pager import Pager
from webhooks.service import WebhookService

_log = logging.getLogger(__name__)
EXPIRE_EVERY_S = 5.0
"""How often positions that are too old leave the indexes, and moved ones are noted."""
REOPEN_WAIT_MIN_S = 2.0
REOPEN_WAIT_MAX_S = 60.0
"""Pause before a city that could not be read is tried again, doubled each time: each try may read all that it has."""


@dataclass(slots=True)
class Addresses:
    """Where the process can be reached; filled in when the listeners are bound."""

    http_url: str = ""
    hub_url: str = ""
    admin_url: str = ""
    connections: int = 0
    ready: bool = False
    closed_cities: list[str] = field(default_factory=list)
    """Cities whose orders could not be read so far."""


class House:
    """Everything that decides and delivers, not yet running. Made by ``wiring.build_house``."""

    def __init__(
        self,
        *,
        clock: Clock,
        cities: Cities,
        hub: RealtimeService,
        safety: SafetyService,
        care: CareService,
        profiles: Profiles,
        pager: Pager,
        watch: SafetyWatch | None,
        fleet: Fleet,
        raisers: RaiserWatch,
        looking: Looking,
        holds: Holds,
        rights: Rights,
        inbound: Inbound,
        api: Api,
        directory: Staff,
        listings: Listings,
        tokens: Tickets,
        sign_outs: SignOuts,
        browser_store: BrowserSessionStore,
        browsers: BrowserSessions,
        webhooks: WebhookService | None,
        wakes: WakeDesk | None,
        last_seen: LastSeen,
        travel: Travel,
        learner: SpeedLearner,
        trackers: TrackerBook,
        addresses: Addresses,
    ) -> None:
        """Keep the parts."""
        self.clock = clock
        self.cities = cities
        self.hub = hub
        self.safety = safety
        self.care = care
        self.profiles = profiles
        self.pager = pager
        self.watch = watch
        self._watching: asyncio.Task[None] | None = None
        self.rights = rights
        self.inbound = inbound
        self.api = api
        self.addresses = addresses
        self._fleet = fleet
        self._raisers = raisers
        self.looking = looking
        self._holds = holds
        self._directory = directory
        self._listings = listings
        self._tokens = tokens
        self._sign_outs = sign_outs
        self._browser_store = browser_store
        self._browsers = browsers
        self.webhooks = webhooks
        self.wakes = wakes
        self._last_seen = last_seen
        self.travel = travel
        self._learner = learner
        self.trackers = trackers
        self._looking: asyncio.Task[None] | None = None
        self._learning: asyncio.Task[None] | None = None
        self._reading_trackers: asyncio.Task[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._closed: dict[Shard, asyncio.Task[None] | None] = {}
        """Cities that are not open yet, each with what tries to open it."""

    async def load(self) -> None:
        """Read open orders, offers and incidents with their deadlines.

        A city that cannot be read is closed and the others work: an SOS must not wait for somebody to mend orders. It
        is tried again while the house runs.

        Raises:
            Unavailable: Incidents or safety profiles cannot be read.
        """
        now = self.clock.now()
        try:
            self._tokens.know_ended(await self._sign_outs.load(now))
        except Unavailable:
            # An SOS must not wait for it; whoever stole a phone meanwhile is the smaller harm.
            _log.critical("who has signed out cannot be read: their tokens are taken until the next start")
        await self.trackers.load()
        try:
            self._browsers.load(await self._browser_store.load(now))
        except Unavailable:
            _log.error("who is signed in on the pages cannot be read: they must sign in again")
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
                part.dispatch.close("could not be read yet")
                self._closed[part.shard] = None
        self._tell_closed()
        await self.profiles.load()
        try:
            await self._holds.load(now)
        except DoorstepError:
            _log.exception("what is held as evidence cannot be read: no positions are deleted until the next start")
        await self.safety.start()
        await self.care.start()

    async def _warn_of_unserved(self, tenant: TenantId) -> None:
        served = {part.shard.city for part in self.cities.of(tenant)}
        for city, orders in (await open_orders_unserved(self._listings, tenant, served)).items():
            _log.error(
                "a city with open orders is not served: nobody decides about them until it is in the config again",
                extra={"tenant": tenant, "city": city, "orders": orders},
            )

    def run(self, group: asyncio.TaskGroup) -> None:
        """Start every service in ``group``; an error in one ends them all."""
        group.create_task(self.hub.run(), name="hub")
        group.create_task(self.safety.run(), name="safety")
        if self.watch is not None:
            self._watching = group.create_task(self.watch.run(), name="safety watch")
        group.create_task(self.care.run(), name="care")
        if self.webhooks is not None:
            group.create_task(self.webhooks.run(), name="webhooks")
        self._looking = group.create_task(self.looking.run(), name="looks")
        self._learning = group.create_task(self._learner.run(), name="speeds")
        self._reading_trackers = group.create_task(self.trackers.run(), name="trackers")
        for part in self.cities.all():
            is_closed = part.shard in self._closed
            work = self._open_and_run(part) if is_closed else part.dispatch.run()
            task = group.create_task(work, name=f"dispatch {part.shard.channel}")
            if is_closed:
                self._closed[part.shard] = task
        self._expire()

    async def _open_and_run(self, part: ShardParts) -> None:
        """Try to read a closed city until that works, then be its dispatch."""
        wait_s = REOPEN_WAIT_MIN_S
        while True:
            await pause(wait_s)
            try:
                await part.dispatch.load()
                break
            except Exception as error:  # noqa: BLE001 - as at the start
                wait_s = min(2 * wait_s, REOPEN_WAIT_MAX_S)
                facts = {"city": part.shard.channel, "reason": str(error), "wait_s": wait_s}
                _log.error("a city still cannot be read", extra=facts)
        await part.dispatch.open()
        del self._closed[part.shard]
        self._tell_closed()
        _log.info("a city could be read and is open", extra={"city": part.shard.channel})
        await part.dispatch.run()

    def _tell_closed(self) -> None:
        self.addresses.closed_cities[:] = ["/".join(shard) for shard in self._closed]

    async def stop(self) -> None:
        """Let the services finish what they were given, in the order in which work flows. Idempotent."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        for task in (*self._closed.values(), self._reading_trackers, self._learning, self._looking, self._watching):
            if task is not None:
                task.cancel()
        for part in self.cities.all():
            await part.dispatch.drain()
            part.dispatch.stop()
        if self.webhooks is not None:
            self.webhooks.stop()
        self._last_seen.note_all()
        with suppress(DoorstepError):  # told by whoever waits for it; what was not stored yet is lost with the process
            await self.looking.flush()
        await self.care.drain()
        self.care.stop()
        await self.pager.close()  # what it has under way is made again after the start
        await self.safety.drain()
        self.safety.stop()
        self.hub.stop()

    def _expire(self) -> None:
        # Armed first: one turn that fails (the loop logs it) must not be the last.
        self._expiry = asyncio.get_running_loop().call_later(EXPIRE_EVERY_S, self._expire)
        now = self.clock.now()
        self._last_seen.turn()
        self._raisers.turn(now)
        for part in self.cities.all():
            part.positions.expire(now)
