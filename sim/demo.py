"""A small city at work on a real server: technicians, customers, orders, a console, and one call for help."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import numpy as np
from doorstep_client.http import Api, ApiError
from doorstep_client.load import Swarm
from doorstep_client.protocol import ClientProtocol
from doorstep_client.settings import Encoding

from core.ids import CityId
from core.principal import Role
from geo.city import City, CityMap
from geo.point import Frame, LatLng
from sim.agent import Tally
from sim.clock import python_random, stream_of
from sim.local_server import LocalCity, LocalServer
from sim.motion import Inside, Mover, offset
from sim.pause import pause
from sim.phones import Behaviour, ResponderPhone, TechnicianPhone
from sim.watchers import CustomerPhone, OpsConsole

CITY: Final = "shenzhen"
BOUNDARY: Final = Path(__file__).resolve().parent.parent / "geo" / "cities" / f"{CITY}.geojson"
CENTRE: Final = (22.5431, 114.0579)
"""Civic Centre, Futian (WGS-84)."""
REACH_M: Final = 4_000.0
YOU: Final = "you"
"""Of whoever looks at the demo: nobody who is simulated."""
SKILLS: Final = ("swedish", "tuina", "foot", "thai")
TIERS: Final = ("", "", "silver", "gold")
SERVED: Final = frozenset({"finished", "departed_safe", "confirmed"})
DEMO_BEHAVIOUR: Final = Behaviour(
    think_s=(0.5, 2.5), set_out_s=(0.5, 1.5), drive_speed_mps=30.0, settle_s=(0.5, 1.5), service_s=(2.0, 6.0),
    ping_interval_s=1.0,
)  # fmt: skip
"""A job in a quarter of a minute: a demo shows lives of orders, not of people."""


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """How big the demo is.

    Attributes:
        sos_after_s: When one technician taps SOS.
        order_every_s: Pause between two orders.
    """

    technicians: int = 200
    customers: int = 40
    responders: int = 5
    order_every_s: float = 1.0
    sos_after_s: float = 15.0
    seed: int = 1


@dataclass(slots=True)
class DemoState:
    """What a view shows of a running demo."""

    tally: Tally = field(default_factory=Tally)
    connected: int = 0
    elapsed_s: float = 0.0
    pings_per_s: float = 0.0
    orders: dict[str, str] = field(default_factory=dict)
    order_errors: int = 0
    sos_incident: str = ""
    server_cpu: float = 0.0
    server_rss_mib: float = 0.0
    synthetic_runs: int = 0
    """Synthetic SOS that came through everything but the last hop."""
    synthetic_s: float | None = None
    """Round trip of the last one."""

    @property
    def open_orders(self) -> int:
        """Orders that are not over."""
        return sum(state not in SERVED and state not in ("cancelled", "unfilled") for state in self.orders.values())

    @property
    def served_orders(self) -> int:
        """Orders whose service was done."""
        return sum(state in SERVED for state in self.orders.values())

    @property
    def missing(self) -> list[str]:
        """What a good demo has shown and this one has not yet; empty when it has succeeded."""
        counts = self.tally.counts
        wanted = {
            "no order was finished": self.served_orders,
            "nobody came through a drill": counts["drill.ok"],
            "the SOS was not stored": counts["sos_acked"],
            "nobody acknowledged the SOS": counts["incidents_acknowledged"],
        }
        return [text for text, seen in wanted.items() if not seen]


def demo_server(http_port: int, hub_port: int) -> LocalServer:
    """The server of the demo: real city boundary, fresh data, keys made now."""
    # One each five seconds, so that a short demo shows several.
    synthetic = {"first_s": 2.0, "every_s": 5.0}
    overrides = {
        "log": {"level": "warning"},
        "safety": {"reach": {"synthetic": synthetic}},
        # Whoever looks at the demo opens its pages when they like.
        "sign_in": {"code_life_s": 3_600.0},
    }
    return LocalServer([LocalCity(CITY, BOUNDARY)], overrides, http_port=http_port, hub_port=hub_port)


async def sign_in_links(server: LocalServer) -> dict[str, str]:
    """Links by which whoever looks at the demo signs in on its pages, by page; each is good once."""
    record = {"name": "You", "cities": [CITY], "skills": list(SKILLS), "verified": True}
    service, ops = server.token("svc_demo", Role.SERVICE), server.token(f"ops_{YOU}", Role.OPS)
    asked = {
        "console": (ops, {"user": f"ops_{YOU}", "role": "ops", "name": "You"}),
        "technician": (service, {"user": f"tec_{YOU}", "role": "technician"}),
        "customer": (service, {"user": f"cus_{YOU}", "role": "customer", "name": "You"}),
    }
    async with Api(server.http_url, service) as api:
        await api.call("PUT", f"/v1/technicians/tec_{YOU}", record)
        made = {
            about: await api.call("POST", "/v1/sign-in/codes", body, token=token)
            for about, (token, body) in asked.items()
        }
    return {about: str(answer["link"]) for about, answer in made.items()}


def load_city() -> City:
    """The demo's city in the coordinates of phones."""
    return CityMap.from_geojson(json.loads(BOUNDARY.read_text()), frame=Frame.WGS84).city(CityId(CITY))


def inside_near(city: City) -> Inside:
    """Points of the city within reach of its centre."""

    def inside(lat: float, lng: float) -> bool:
        north_m, east_m = (lat - CENTRE[0]) * 111_195.0, (lng - CENTRE[1]) * 102_700.0
        return north_m**2 + east_m**2 < REACH_M**2 and city.contains(LatLng(lat, lng))

    return inside


class Demo:
    """Runs people against a started server."""

    def __init__(self, server: LocalServer, plan: DemoPlan) -> None:
        self.state = DemoState()
        self._server = server
        self._plan = plan
        self._city = load_city()
        self._inside = inside_near(self._city)
        self._swarm = Swarm(server.hub_url)
        self._technicians: list[TechnicianPhone] = []
        self._customers: list[CustomerPhone] = []
        self._console: OpsConsole | None = None
        self._rng = stream_of(plan.seed, "demo")
        self._sos_at: float | None = None
        self._confirmed: set[str] = set()

    async def run(self, seconds: float | None, tick: Callable[[], None]) -> DemoState:
        """Register everybody, connect them, and let them live.

        Args:
            seconds: When to stop; None for never.
            tick: Called twice a second, for a view.
        """
        service = self._server.token("svc_demo", Role.SERVICE)
        async with Api(self._server.http_url, service) as api:
            await self._register(api)
            self._connect()
            async with asyncio.TaskGroup() as group:
                everything = [
                    group.create_task(self._swarm.run()),
                    group.create_task(self._order_stream(api)),
                    group.create_task(self._call_for_help()),
                    group.create_task(self._confirm_stream(api)),
                ]
                try:
                    await self._watch(seconds, tick)
                    await self._read_synthetic()
                finally:
                    for task in everything[1:]:
                        task.cancel()
                    self._swarm.stop()
        return self.state

    async def _read_synthetic(self) -> None:
        """What the server says of its own SOS of nobody."""
        found: dict[str, float] = {}
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self._server.admin_url}/metrics") as answer:
                for line in (await answer.text()).splitlines():
                    if line.startswith("doorstep_synthetic_sos"):
                        name, _, value = line.rpartition(" ")
                        found[name] = float(value)
        except (aiohttp.ClientError, TimeoutError):
            return
        self.state.synthetic_runs = int(found.get('doorstep_synthetic_sos_total{result="came_through"}', 0))
        self.state.synthetic_s = found.get("doorstep_synthetic_sos_seconds")

    # -- the people -----------------------------------------------------------------------------------

    def _place(self, rng: np.random.Generator) -> tuple[float, float]:
        while True:
            place = offset(*CENTRE, *(float(v) for v in rng.uniform(-REACH_M, REACH_M, 2)))
            if self._inside(*place):
                return place

    async def _register(self, api: Api) -> None:
        waiting = list(range(self._plan.technicians))

        async def work() -> None:
            while waiting:
                n = waiting.pop()
                rng = stream_of(self._plan.seed, "profile", n)
                body = {
                    "name": f"Technician {n + 1}",
                    "cities": [CITY],
                    "skills": sorted(rng.choice(SKILLS, size=int(rng.integers(1, 5)), replace=False).tolist()),
                    "gender": ("female", "male")[int(rng.integers(2))],
                    "tier": TIERS[int(rng.integers(len(TIERS)))],
                    "verified": True,
                }
                await api.call("PUT", f"/v1/technicians/{_technician(n)}", body)

        async with asyncio.TaskGroup() as group:
            for _ in range(16):
                group.create_task(work())

    def _protocol(self, user: str, role: Role, encoding: Encoding = Encoding.JSON) -> ClientProtocol:
        rng = python_random(self._plan.seed, user)
        token = self._server.token(user, role)
        return ClientProtocol(device="demo", token=token, encoding=encoding, crs="wgs84", app="demo", rng=rng)

    def _connect(self) -> None:
        seed, tally, now = self._plan.seed, self.state.tally, self._swarm.now()
        for n in range(self._plan.technicians):
            rng = stream_of(seed, "technician", n)
            mover = Mover(self._place(rng), self._inside, rng, now=now)
            encoding = Encoding.MSGPACK if n % 4 == 0 else Encoding.JSON
            protocol = self._protocol(_technician(n), Role.TECHNICIAN, encoding)
            phone = TechnicianPhone(protocol, rng, tally, mover, DEMO_BEHAVIOUR, CITY)
            self._technicians.append(phone)
            self._swarm.add(phone)
        for n in range(self._plan.responders):
            rng = stream_of(seed, "responder", n)
            mover = Mover(self._place(rng), self._inside, rng, now=now)
            protocol = self._protocol(f"rsp_{n:03d}", Role.RESPONDER)
            self._swarm.add(ResponderPhone(protocol, rng, tally, mover, DEMO_BEHAVIOUR, CITY))
        for n in range(self._plan.customers):
            customer = CustomerPhone(self._protocol(_customer(n), Role.CUSTOMER), stream_of(seed, "customer", n), tally)
            self._customers.append(customer)
            self._swarm.add(customer)
        console = self._protocol("ops_demo", Role.OPS)
        self._console = OpsConsole(console, stream_of(seed, "console"), tally, CITY, self._city.box)
        self._swarm.add(self._console)

    # -- what they do ---------------------------------------------------------------------------------

    async def _order_stream(self, api: Api) -> None:
        n = 0
        await pause(3.0)  # first positions
        while True:
            n += 1
            await self._place_order(api, n)
            await pause(float(self._rng.exponential(self._plan.order_every_s)))

    async def _place_order(self, api: Api, n: int) -> None:
        customer = int(self._rng.integers(len(self._customers)))
        near = self._technicians[int(self._rng.integers(len(self._technicians)))]
        while True:
            lat, lng = offset(*near.mover.at(self._swarm.now()), *(float(v) for v in self._rng.uniform(-350, 350, 2)))
            if self._inside(lat, lng):
                break
        body: dict[str, Any] = {
            "customer": _customer(customer),
            "service": "massage-60",
            "skills": [SKILLS[int(self._rng.integers(len(SKILLS)))]],
            "duration_s": 3600,
            "location": {
                "lat": lat,
                "lng": lng,
                "crs": "wgs84",
                "address": f"Fuhua Road {n}",
                "unit": f"{n % 30 + 1}F",
            },
            "contact": {"name": f"Customer {customer + 1}", "phone": "13800000000"},
            "mode": "auto",
            "price": {"service_fen": 29800, "travel_fen": 1000},
        }
        asked_at = self._swarm.now()
        try:
            answer = await api.call("POST", "/v1/orders", body, idempotency_key=f"demo-{self._plan.seed}-{n}")
        except (ApiError, aiohttp.ClientError, TimeoutError):
            self.state.order_errors += 1
            return
        self.state.tally.took("order_post", self._swarm.now() - asked_at)
        self._customers[customer].placed(answer["order"], asked_at)
        self.state.orders.setdefault(answer["order"], "placed")

    async def _call_for_help(self) -> None:
        await pause(self._plan.sos_after_s)
        busy = [t for t in self._technicians if t.order is not None and t.online]
        online = busy or [t for t in self._technicians if t.online]
        if online:
            self._sos_at = self._swarm.now()
            online[0].call_for_help(self._sos_at)
            self._swarm.touch(online[0])

    async def _confirm_stream(self, api: Api) -> None:
        """Customers confirm and rate what is done."""
        while True:
            await pause(1.0)
            for n, customer in enumerate(self._customers):
                for order, state in list(customer.orders.items()):
                    if state == "departed_safe" and order not in self._confirmed:
                        self._confirmed.add(order)
                        await self._confirm(api, order, self._server.token(_customer(n), Role.CUSTOMER))

    async def _confirm(self, api: Api, order: str, token: str) -> None:
        try:
            await api.call("POST", f"/v1/orders/{order}/confirm", {}, token=token)
            await api.call("POST", f"/v1/orders/{order}/rating", {"stars": int(self._rng.integers(3, 6))}, token=token)
            self.state.tally.add("rated")
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            self.state.tally.add(f"confirm.{getattr(error, 'code', 'no_answer')}")

    # -- what is seen ---------------------------------------------------------------------------------

    async def _watch(self, seconds: float | None, tick: Callable[[], None]) -> None:
        state, began_at = self.state, self._swarm.now()
        pings, looked_at = 0, began_at
        cpu_s = self._server.usage().cpu_s
        while seconds is None or state.elapsed_s < seconds:
            await pause(0.5)
            now = self._swarm.now()
            state.elapsed_s = now - began_at
            state.connected = self._swarm.open
            if now - looked_at >= 2.0:
                usage = self._server.usage()
                state.pings_per_s = (state.tally.counts["pings"] - pings) / (now - looked_at)
                state.server_cpu = (usage.cpu_s - cpu_s) / (now - looked_at)
                state.server_rss_mib = usage.rss_kib / 1024
                pings, looked_at, cpu_s = state.tally.counts["pings"], now, usage.cpu_s
            for customer in self._customers:
                state.orders.update(customer.orders)
            if self._console is not None and self._sos_at is not None and not state.sos_incident:
                for incident, seen_at in self._console.seen_at.items():
                    state.sos_incident = incident
                    state.tally.took("sos_console", seen_at - self._sos_at)
            tick()


def _technician(n: int) -> str:
    return f"tec_{n:05d}"


def _customer(n: int) -> str:
    return f"cus_{n:05d}"
