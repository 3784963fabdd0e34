"""A simulated run: the real services in virtual time, phones on in-memory connections, one seed for everything.

The same seed gives the same run, event by event, whatever the machine and whatever Python's hash seed: ids,
randomness and time come from here; the store's jobs run on the loop in the order in which they were asked for.
"""

import asyncio
import hashlib
import json
from concurrent.futures import Executor
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

from doorstep_client.events import Event
from doorstep_client.protocol import ClientProtocol, State
from doorstep_client.settings import Encoding

from api.exchange import Request
from core.errors import DoorstepError
from core.ids import CityId, TenantId
from core.principal import Role
from geo.city import CityMap
from geo.point import Frame
from geo.settings import CoordinateSettings
from realtime.ports import Connection
from realtime.settings import PositionSettings, RealtimeSettings
from server.house import House
from server.keys import Key
from server.pin_hasher import Argon2Pins
from server.root import Settings
from server.settings import Algorithm, CitySettings
from server.tokens import Tokens, issue
from server.wiring import StoreSet, build_house
from sim.agent import Agent, Tally
from sim.clock import SeededIds, VirtualClock, python_random, stream_of
from sim.loop import run as run_loop
from sim.motion import Mover, offset
from sim.pause import pause
from sim.phones import Behaviour, ResponderPhone, TechnicianPhone
from sim.watchers import CustomerPhone, OpsConsole
from store.memory import MemoryStores
from store.sqlite import open_stores
from transport.memory import MemoryConnection, connect

TENANT: Final = "sim"
CITY: Final = "town"
CENTRE: Final = (22.5431, 114.0579)
HALF_SIDE_DEG: Final = 0.03
"""The town is a square of about 6.6 km."""
TICK_MS: Final = 100.0
"""Coarser than on a real server: most of a quiet run's cost is ticks in which nothing happens."""
LINK_DELAY_S: Final = 0.03
SECRET: Final = b"simulated-runs-sign-with-this-key"


class StoreKind(StrEnum):
    """What the run keeps its state in."""

    MEMORY = "memory"
    SQLITE = "sqlite"


@dataclass(frozen=True, slots=True)
class WorldPlan:
    """What happens in a run. Durations in virtual seconds."""

    seed: int = 1
    seconds: float = 600.0
    technicians: int = 12
    customers: int = 5
    responders: int = 2
    order_every_s: float = 25.0
    cut_every_s: float = 60.0
    """Mean pause between two lost connections of random phones; 0 for none."""
    sos_at_s: float = 200.0
    store: StoreKind = StoreKind.MEMORY
    behaviour: Behaviour = field(default_factory=Behaviour)


@dataclass(slots=True)
class WorldReport:
    """What a run left behind.

    Attributes:
        log: Everything that every agent was told, one line each, in order.
        orders: Last state of each order as its customer heard it.
    """

    log: bytes
    tally: Tally
    orders: dict[str, str]

    @property
    def digest(self) -> str:
        """Short name of the whole run."""
        return hashlib.blake2b(self.log, digest_size=16).hexdigest()


def town() -> dict[str, Any]:
    """The boundary as GeoJSON: a square around the centre."""
    (lat, lng), half = CENTRE, HALF_SIDE_DEG
    ring = [[lng - half, lat - half], [lng + half, lat - half], [lng + half, lat + half], [lng - half, lat + half]]
    geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    feature = {"type": "Feature", "properties": {"kind": "city", "id": CITY, "name": "Town"}, "geometry": geometry}
    return {"type": "FeatureCollection", "features": [feature]}


class _RunningStores(StoreSet, Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class _Line:
    """One agent's device on an in-memory link: what ``load.Swarm`` is for sockets."""

    def __init__(self, world: "World", name: str, agent: Agent) -> None:
        self._world = world
        self._name = name
        self.agent = agent
        self.link: MemoryConnection | None = None
        self._timer: asyncio.TimerHandle | None = None

    # -- realtime.ports.ConnectionHandler -------------------------------------------------------------

    def on_message(self, payload: bytes) -> None:
        """A frame of the server."""
        now = self._world.clock.now()
        self._tell(self.agent.protocol.receive(payload, now), now)
        self.flush()

    def takes_damaged(self) -> bool:
        """A server sends none."""
        return False

    def on_damaged(self, payload: bytes, close_code: int) -> bool:
        """A server sends none."""
        return False

    def on_pong(self, payload: bytes) -> None:
        """Not asked for."""

    def on_paused(self) -> None:
        """Links have room enough."""

    def on_writable(self) -> None:
        """Links have room enough."""

    def on_closed(self, code: int) -> None:
        """The link is gone."""
        self.link = None
        now = self._world.clock.now()
        self._tell(self.agent.protocol.lost(code, now), now)
        self._arm()

    # -- driving --------------------------------------------------------------------------------------

    def dial(self) -> None:
        """Connect; a refusal counts as a lost connection."""
        protocol = self.agent.protocol

        def handler(link: Connection) -> "_Line":
            del link
            return self

        try:
            self.link = connect(self._world.house.hub, handler, subprotocol=protocol.subprotocol, delay_s=LINK_DELAY_S)
        except DoorstepError:
            now = self._world.clock.now()
            self._tell(protocol.lost(1006, now), now)
            self._arm()
            return
        protocol.connected(self._world.clock.now())
        self.flush()

    def flush(self) -> None:
        """Write what is queued and set the timer."""
        link, protocol = self.link, self.agent.protocol
        if link is not None:
            for frame in protocol.frames_to_send(self._world.clock.now()):
                link.send(frame)
            if protocol.must_close:
                link.close(1000)
        self._arm()

    def _tell(self, events: list[Event], now: float) -> None:
        for event in events:
            self._world.note(self._name, event, now)
            self.agent.handle(event, now)

    def _arm(self) -> None:
        protocol = self.agent.protocol
        due = [self.agent.next_deadline(), protocol.next_deadline()]
        if self.link is None and protocol.state is not State.ENDED:
            due.append(protocol.reconnect_at)
        times = [t for t in due if t is not None]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if times:
            loop = asyncio.get_running_loop()
            wait_s = max(min(times) - self._world.clock.now(), 0.0)
            self._timer = loop.call_at(loop.time() + wait_s, self._due)

    def _due(self) -> None:
        self._timer = None
        now, protocol = self._world.clock.now(), self.agent.protocol
        at = self.agent.next_deadline()
        if at is not None and at <= now:
            self.agent.on_deadline(now)
        at = protocol.next_deadline()
        if at is not None and at <= now:
            self._tell(protocol.on_deadline(now), now)
        if self.link is None and protocol.reconnect_at is not None and protocol.reconnect_at <= now:
            self.dial()
        else:
            self.flush()

    def stop(self) -> None:
        """End the device for good."""
        self.agent.protocol.end()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.link is not None:
            self.link.close(1000)


class World:
    """One run. Made and used inside a virtual-time loop; see ``simulate``."""

    def __init__(self, plan: WorldPlan, folder: Path | None = None) -> None:
        self.plan = plan
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.ids = SeededIds(plan.seed)
        self.tally = Tally()
        self.house: House
        self._folder = folder
        self._log: list[str] = []
        self._lines: list[_Line] = []
        self._technicians: list[TechnicianPhone] = []
        self._customers: list[CustomerPhone] = []
        self._key = Key("main", Algorithm.HS256, SECRET, SECRET)
        self._settings = Settings(
            coordinates=CoordinateSettings(frame=Frame.WGS84),
            cities=(CitySettings(tenant=TENANT, city=CITY, boundary_file="town"),),
            realtime=RealtimeSettings(positions=PositionSettings(tick_ms=TICK_MS)),
        )

    # -- the house ------------------------------------------------------------------------------------

    async def run(self) -> WorldReport:
        """Build, live for the planned time, stop."""
        stores = self._open_stores()
        await stores.start()
        places = CityMap.from_geojson(town(), frame=Frame.WGS84)
        tokens = Tokens(self._settings.auth, {"main": self._key}, self.ids)
        self.house = build_house(
            self._settings,
            tokens=tokens,
            stores=stores,
            maps={TenantId(TENANT): places},
            clock=self.clock,
            ids=self.ids,
            seed=self.plan.seed,
            pick_key=SECRET,
            pin_hasher=Argon2Pins(self._settings.safety.pins, _Inline()),
        )
        await self.house.load()
        async with asyncio.TaskGroup() as group:
            self.house.run(group)
            await self._live(places)
            for line in self._lines:
                line.stop()
            await pause(5.0)
            await self.house.stop()
        await stores.stop()
        orders = {order: state for customer in self._customers for order, state in sorted(customer.orders.items())}
        return WorldReport("".join(self._log).encode(), self.tally, orders)

    def _open_stores(self) -> _RunningStores:
        if self.plan.store is StoreKind.MEMORY:
            return MemoryStores(self.clock, self.ids)
        if self._folder is None:
            raise ValueError("a run on SQLite needs a folder")
        return open_stores(self._folder, self.clock, self.ids, executor=_Inline())

    def token(self, user: str, role: Role) -> str:
        """A token of the run's own key."""
        return issue(
            self._key, self._settings.auth, self.clock, self.ids,
            user=user, role=role, tenant=TENANT, cities=[CITY], life_s=172_800.0,
        )  # fmt: skip

    async def call(self, method: str, path: str, user: str, role: Role, body: Any, **parts: str) -> dict[str, Any]:
        """An HTTP request as a plain call; ``path`` is the route's own template. Raises ``ApiRefused``."""
        route = next(r for r in self.house.api.routes if (r.method, r.path) == (method, path))
        headers = {"authorization": f"Bearer {self.token(user, role)}"}
        if "key" in parts:
            headers["idempotency-key"] = parts.pop("key")
        request = Request(
            now=self.clock.now(), request_id=self.ids.new("req_"), path=parts, headers=headers,
            body=json.dumps(body).encode(),
        )  # fmt: skip
        response = await self.house.api.answer(route, request)
        answer: dict[str, Any] = json.loads(response.body) if response.body else {}
        if response.status >= 400:
            raise ApiRefused(f"{response.status} {answer.get('code')}: {answer.get('detail')}")
        return answer

    def note(self, name: str, event: Event, now: float) -> None:
        """Write down what an agent was told."""
        self._log.append(f"{now:.6f} {name} {event!r}\n")

    # -- the people -----------------------------------------------------------------------------------

    def _inside(self, lat: float, lng: float) -> bool:
        return abs(lat - CENTRE[0]) < HALF_SIDE_DEG and abs(lng - CENTRE[1]) < HALF_SIDE_DEG

    def _protocol(self, user: str, role: Role, n: int) -> ClientProtocol:
        encoding = Encoding.MSGPACK if n % 3 == 0 else Encoding.JSON
        rng = python_random(self.plan.seed, user)
        return ClientProtocol(device="phone", token=self.token(user, role), encoding=encoding, crs="wgs84", rng=rng)

    def _mover(self, *name: str | int) -> Mover:
        rng = stream_of(self.plan.seed, "mover", *name)
        start = offset(*CENTRE, *(float(v) for v in rng.uniform(-2_500, 2_500, 2)))
        return Mover(start, self._inside, rng, now=self.clock.now())

    def _add(self, name: str, agent: Agent) -> None:
        line = _Line(self, name, agent)
        self._lines.append(line)
        line.dial()

    async def _live(self, places: CityMap) -> None:
        plan, seed = self.plan, self.plan.seed
        for n in range(plan.technicians):
            user = f"tec_{n:03d}"
            body = {"name": user, "cities": [CITY], "skills": ["tuina"], "gender": ("female", "male")[n % 2]}
            await self.call(
                "PUT", "/v1/technicians/{id}", "svc", Role.SERVICE, {**body, "verified": True, "tier": ""}, id=user
            )
            protocol, rng = self._protocol(user, Role.TECHNICIAN, n), stream_of(seed, "technician", n)
            phone = TechnicianPhone(protocol, rng, self.tally, self._mover("tec", n), plan.behaviour, CITY)
            self._technicians.append(phone)
            self._add(user, phone)
        for n in range(plan.responders):
            user = f"rsp_{n:03d}"
            protocol, rng = self._protocol(user, Role.RESPONDER, n), stream_of(seed, "responder", n)
            self._add(user, ResponderPhone(protocol, rng, self.tally, self._mover("rsp", n), plan.behaviour, CITY))
        for n in range(plan.customers):
            user = f"cus_{n:03d}"
            customer = CustomerPhone(self._protocol(user, Role.CUSTOMER, n), stream_of(seed, user), self.tally)
            self._customers.append(customer)
            self._add(user, customer)
        box = places.city(CityId(CITY)).box
        console = self._protocol("ops_000", Role.OPS, 0)
        self._add("ops_000", OpsConsole(console, stream_of(seed, "ops"), self.tally, CITY, box))
        await self._events()

    async def _events(self) -> None:
        """Orders, lost connections and one SOS, until the time is over."""
        plan, rng = self.plan, stream_of(self.plan.seed, "events")
        ends_at = self.clock.now() + plan.seconds
        agenda: list[tuple[float, str]] = [(self.clock.now() + 10.0, "order"), (ends_at, "end")]
        if plan.sos_at_s < plan.seconds:
            agenda.append((self.clock.now() + plan.sos_at_s, "sos"))
        if plan.cut_every_s:
            agenda.append((self.clock.now() + plan.cut_every_s, "cut"))
        orders = 0
        while True:
            agenda.sort()
            at, what = agenda.pop(0)
            await pause(at - self.clock.now())
            if what == "end":
                return
            if what == "order":
                orders += 1
                await self._order(orders, int(rng.integers(plan.customers)), rng.uniform(-2_000, 2_000, 2).tolist())
                agenda.append((at + float(rng.exponential(plan.order_every_s)), "order"))
            elif what == "cut":
                line = self._lines[int(rng.integers(len(self._lines)))]
                if line.link is not None:
                    line.link.abort()
                agenda.append((at + float(rng.exponential(plan.cut_every_s)), "cut"))
            else:
                victim = self._technicians[int(rng.integers(len(self._technicians)))]
                victim.call_for_help(self.clock.now())
                next(line for line in self._lines if line.agent is victim).flush()

    async def _order(self, n: int, customer: int, where_m: list[float]) -> None:
        lat, lng = offset(*CENTRE, *where_m)
        user = f"cus_{customer:03d}"
        body = {
            "customer": user,
            "service": "massage-60",
            "skills": ["tuina"],
            "duration_s": 3600,
            "location": {"lat": lat, "lng": lng, "crs": "wgs84", "address": f"{n} Lane"},
            "contact": {"name": user, "phone": "13800000000"},
            "mode": "auto",
            "price": {"service_fen": 100, "travel_fen": 0},
        }
        placed_at = self.clock.now()
        answer = await self.call("POST", "/v1/orders", "svc", Role.SERVICE, body, key=f"order-{n}")
        self._customers[customer].placed(answer["order"], placed_at)
        self.tally.add("placed")


class ApiRefused(RuntimeError):
    """A request of the simulated world was refused: the world is wrong, not the server."""


class _Inline(Executor):
    """Stands for an executor whose jobs the virtual-time loop runs itself."""


def simulate(plan: WorldPlan, folder: Path | None = None) -> WorldReport:
    """Run a world in virtual time.

    Args:
        folder: Where SQLite keeps its files; must be empty. Not used for memory.
    """

    async def main() -> WorldReport:
        return await World(plan, folder).run()

    return run_loop(main())
