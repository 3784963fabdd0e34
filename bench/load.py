"""A city at full size: ``python -m bench.load --connections 5000 --seconds 60 --orders-per-s 50``.

Afterwards the books are compared: every message of every stream of every connected user must have reached their
phone, no order may have two accepted offers, no technician two jobs at once. Anything else is exit code 1.
"""

import argparse
import asyncio
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
from doorstep_client.events import Event, IncidentRaised, OfferReceived, ProtocolFault
from doorstep_client.http import Api, ApiError
from doorstep_client.load import Swarm
from doorstep_client.protocol import ClientProtocol
from doorstep_client.settings import Encoding

from bench.ingest import cpu_s
from core.principal import Role
from sim import fast_loop
from sim.agent import Agent, Tally
from sim.clock import python_random, stream_of
from sim.demo import BOUNDARY, CENTRE, CITY, inside_near, load_city
from sim.local_server import LocalCity, LocalServer
from sim.motion import Mover, offset
from sim.phones import Behaviour, ResponderPhone, TechnicianPhone
from sim.watchers import CustomerPhone, OpsConsole

CUSTOMERS = 250
RESPONDERS = 20
CONSOLES = 2
SOS_EVERY_S = 3.0
DRAIN_S = 90.0
BEHAVIOUR = Behaviour(
    accept_probability=0.9, ignore_probability=0.0, think_s=(0.1, 1.0), set_out_s=(0.2, 1.0), drive_speed_mps=20.0,
    settle_s=(0.2, 1.0), service_s=(2.0, 6.0), ping_interval_s=1.0,
)  # fmt: skip
CONFIG: dict[str, Any] = {"log": {"level": "warning"}, "hub": {"backlog": 4096}}


class Timed(TechnicianPhone):
    """Also notes when the first offer of an order arrives."""

    city_run: "CityRun"

    def handle(self, event: Event, now: float) -> None:
        if isinstance(event, OfferReceived):
            self.city_run.offered_at.setdefault(event.order, now)
        elif isinstance(event, ProtocolFault):
            self.city_run.faults.append(event.message)
        super().handle(event, now)


class TimedConsole(OpsConsole):
    """Also measures how long an SOS took to come here."""

    city_run: "CityRun"

    def handle(self, event: Event, now: float) -> None:
        if isinstance(event, IncidentRaised) and event.incident not in self.seen_at:
            tapped_at = self.city_run.tapped_at.get(event.body["subject"])
            if tapped_at is not None:
                self._tally.took("sos_console", now - tapped_at)
        super().handle(event, now)


class CityRun:
    """Everybody of one run."""

    def __init__(self, server: LocalServer, connections: int, orders_per_s: float) -> None:
        self.server = server
        self.tally = Tally()
        self.swarm = Swarm(server.hub_url, dials_at_once=200)
        self.offered_at: dict[str, float] = {}
        self.tapped_at: dict[str, float] = {}
        self.faults: list[str] = []
        self.users: dict[str, Agent] = {}
        self._placed_at: dict[str, float] = {}
        self._orders_per_s = orders_per_s
        self._count = connections - CUSTOMERS - RESPONDERS - CONSOLES
        self._technicians: list[Timed] = []
        self._customers: list[CustomerPhone] = []
        self._city = load_city()
        self._inside = inside_near(self._city)

    def _protocol(self, user: str, role: Role, n: int) -> ClientProtocol:
        return ClientProtocol(
            device="load", token=self.server.token(user, role), crs="wgs84", rng=python_random(n, user),
            encoding=Encoding.MSGPACK if n % 2 else Encoding.JSON,
        )  # fmt: skip

    def _mover(self, kind: str, n: int) -> Mover:
        rng = stream_of(1, kind, n)
        while True:
            start = offset(*CENTRE, *(float(v) for v in rng.uniform(-6_000, 6_000, 2)))
            if self._inside(*start):
                return Mover(start, self._inside, rng, now=self.swarm.now())

    async def _register(self, api: Api) -> None:
        waiting = list(range(self._count))

        async def work() -> None:
            while waiting:
                n = waiting.pop()
                body = {"name": f"T {n}", "cities": [CITY], "skills": ["tuina"], "verified": True}
                await api.call("PUT", f"/v1/technicians/tec_{n:05d}", body)

        async with asyncio.TaskGroup() as group:
            for _ in range(32):
                group.create_task(work())

    def _connect(self) -> None:
        def add(user: str, agent: Agent) -> None:
            self.users[user] = agent
            self.swarm.add(agent)

        for n in range(self._count):
            user, rng = f"tec_{n:05d}", stream_of(1, "tec", n)
            protocol = self._protocol(user, Role.TECHNICIAN, n)
            phone = Timed(protocol, rng, self.tally, self._mover("tec", n), BEHAVIOUR, CITY)
            phone.city_run = self
            self._technicians.append(phone)
            add(user, phone)
        for n in range(RESPONDERS):
            user, rng = f"rsp_{n:03d}", stream_of(1, "rsp", n)
            protocol = self._protocol(user, Role.RESPONDER, n)
            add(user, ResponderPhone(protocol, rng, self.tally, self._mover("rsp", n), BEHAVIOUR, CITY))
        for n in range(CUSTOMERS):
            user = f"cus_{n:03d}"
            customer = CustomerPhone(self._protocol(user, Role.CUSTOMER, n), stream_of(1, user), self.tally)
            self._customers.append(customer)
            add(user, customer)
        for n in range(CONSOLES):
            user = f"ops_{n:03d}"
            console = TimedConsole(
                self._protocol(user, Role.OPS, n), stream_of(1, user), self.tally, CITY, self._city.box
            )
            console.city_run = self
            add(user, console)

    async def run(self, seconds: float) -> dict[str, Any]:
        """Everything; returns the figures."""
        async with Api(self.server.http_url, self.server.token("svc_load", Role.SERVICE)) as api:
            await self._register(api)
            self._connect()
            async with asyncio.TaskGroup() as group:
                group.create_task(self.swarm.run())
                began = time.perf_counter()
                while self.tally.counts["welcomes"] < len(self.users) and time.perf_counter() - began < 120:
                    await asyncio.sleep(0.2)
                connect_s = time.perf_counter() - began
                await asyncio.sleep(3.0)
                figures = await self._measured(api, seconds, group)
                figures["connect_s"] = connect_s
                await self._drain()
                await asyncio.sleep(3.0)  # last acks
                figures["open_at_end"] = self.swarm.open
                figures["places"] = {
                    u: {s: p.seq for s, p in a.protocol.streams.items()} for u, a in self.users.items()
                }
                self.swarm.stop()
        return figures

    async def _measured(self, api: Api, seconds: float, group: asyncio.TaskGroup) -> dict[str, Any]:
        pings, cpu = self.tally.counts["pings"], cpu_s(self.server.pid)
        began = time.perf_counter()
        placed = taps = 0
        while (elapsed_s := time.perf_counter() - began) < seconds:
            while placed < elapsed_s * self._orders_per_s:
                placed += 1
                group.create_task(self._order(api, placed))
            if taps < elapsed_s / SOS_EVERY_S:
                taps += 1
                self._tap(taps)
            await asyncio.sleep(0.01)
        usage = self.server.usage()
        took_s = time.perf_counter() - began
        pings = self.tally.counts["pings"] - pings
        used_s = cpu_s(self.server.pid) - cpu
        return {
            "pings_per_s": round(pings / took_s),
            "cpu_s_per_100000_pings": round(used_s / pings * 100_000, 2),
            "server_cpu": round(used_s / took_s, 3),
            "rss_mib": round(usage.rss_kib / 1024),
            "orders_placed": placed,
        }

    def _tap(self, n: int) -> None:
        victim = self._technicians[(n * 7919) % len(self._technicians)]
        now = self.swarm.now()
        self.tapped_at[f"tec_{(n * 7919) % len(self._technicians):05d}"] = now
        victim.call_for_help(now)
        self.swarm.touch(victim)

    async def _order(self, api: Api, n: int) -> None:
        near = self._technicians[(n * 104_729) % len(self._technicians)]
        lat, lng = offset(*near.mover.at(self.swarm.now()), 120.0, 90.0)
        customer = n % CUSTOMERS
        body = {
            "customer": f"cus_{customer:03d}",
            "service": "massage-60",
            "skills": ["tuina"],
            "duration_s": 3600,
            "location": {"lat": lat, "lng": lng, "address": f"{n} Road"},
            "contact": {"name": "C", "phone": "13800000000"},
            "mode": "auto",
            "price": {"service_fen": 100, "travel_fen": 0},
        }
        asked_at = self.swarm.now()
        try:
            answer = await api.call("POST", "/v1/orders", body, idempotency_key=f"load-{n}")
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            self.tally.add(f"order_refused.{getattr(error, 'code', type(error).__name__)}")
            return
        self.tally.took("order_post", self.swarm.now() - asked_at)
        self._placed_at[answer["order"]] = asked_at
        self._customers[customer].placed(answer["order"], asked_at)

    async def _drain(self) -> None:
        """Wait until every order is over."""
        over = {"departed_safe", "confirmed", "cancelled", "unfilled"}
        deadline = time.perf_counter() + DRAIN_S
        while time.perf_counter() < deadline:
            states = {o: s for c in self._customers for o, s in c.orders.items()}
            if len(states) == len(self._placed_at) and all(s in over for s in states.values()):
                return
            await asyncio.sleep(0.5)

    def order_to_offer(self) -> None:
        """Turn moments into durations."""
        for order, at in self.offered_at.items():
            if order in self._placed_at:
                self.tally.took("order_to_offer", at - self._placed_at[order])

    @property
    def placed(self) -> set[str]:
        """Orders that the server acknowledged."""
        return set(self._placed_at)


def compare_books(folder: Path, run: CityRun, places: dict[str, dict[str, int]]) -> dict[str, Any]:
    """What the databases say against what the phones have."""
    lost: list[str] = []
    for file, stream in (("doorstep.db", "main"), ("safety.db", "safety")):
        with closing(sqlite3.connect(f"file:{folder / 'data' / file}?mode=ro", uri=True)) as database:
            for user, seq in database.execute("SELECT recipient, seq FROM streams"):
                has = places.get(user, {}).get(stream, 0)
                if user in run.users and has != seq:
                    lost.append(f"{user} {stream}: has {has} of {seq}")
    with closing(sqlite3.connect(f"file:{folder / 'data' / 'doorstep.db'}?mode=ro", uri=True)) as database:
        accepted = (
            "SELECT order_id, count(*) FROM offers WHERE state = 'accepted' GROUP BY order_id HAVING count(*) > 1"
        )
        twice = database.execute(accepted).fetchall()
        states = dict(database.execute("SELECT state, count(*) FROM orders GROUP BY state").fetchall())
        stored = {row[0] for row in database.execute("SELECT order_id FROM orders")}
    return {
        "reliable_events_lost": len(lost),
        "lost": lost[:10],
        "orders_given_twice": len(twice),
        "second_jobs": run.tally.counts["second_job"],
        "orders_missing": len(run.placed - stored),
        "order_states": states,
        "stream_faults": run.faults[:10],
    }


def load_run(connections: int, seconds: float, orders_per_s: float) -> dict[str, Any]:
    """Run and compare; see the module."""
    with LocalServer([LocalCity(CITY, BOUNDARY)], CONFIG) as server:
        run = CityRun(server, connections, orders_per_s)
        figures = fast_loop.run(run.run(seconds))
        places = figures.pop("places")
        server.stop()
        run.order_to_offer()
        figures |= compare_books(server.folder, run, places)
    for name in ("order_post", "order_to_offer", "sos_ack", "sos_console", "accept"):
        figures[f"{name}_ms"] = run.tally.quantiles_ms(name)
    figures["counts"] = dict(sorted(run.tally.counts.items()))
    return figures


def main() -> int:
    """Parse, run, print; 1 when anything was lost or given twice."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--orders-per-s", type=float, default=50.0)
    given = parser.parse_args()
    figures = load_run(given.connections, given.seconds, given.orders_per_s)
    print(json.dumps(figures, indent=1))
    bad = ("reliable_events_lost", "orders_given_twice", "second_jobs", "orders_missing")
    return int(any(figures[name] for name in bad) or bool(figures["stream_faults"]))


if __name__ == "__main__":
    raise SystemExit(main())
