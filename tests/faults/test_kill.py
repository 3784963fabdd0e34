"""kill -9 of the real server at random moments under load: what was acknowledged is there, what is owed arrives."""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import geo
from core.principal import Role
from sim.local_server import LocalCity, LocalServer
from tests.faults.ledger import RANK, Ledger, check_files, heads
from tests.faults.people import CITY, Line, Ops, Tasks, Technician, Web, place_orders, tap_over_http

SEED = int(os.environ.get("DOORSTEP_FAULT_SEED", "20260101"))
TECHNICIANS, CUSTOMERS = 14, 6
BOUNDARY = Path(geo.__file__).parent / "cities" / f"{CITY}.geojson"
OVERRIDES = {
    "log": {"level": "warning"},
    # A second's pause in this busy process must not turn into `durable: false`, nor the test into one of the clock.
    "safety": {"commit_wait_s": 5.0},
    # These phones do one job after the other: nobody is asked before the running one is over.
    "dispatch": {"offer_ttl_s": 5.0, "schedule": {"chain_s": 0}},
}


class World:
    """A server that is killed, and people who notice."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        (folder / "server").mkdir()
        self.server = LocalServer([LocalCity(CITY, BOUNDARY)], OVERRIDES, folder=folder / "server")
        self.ledger = Ledger()
        self.rng = random.Random(seed)
        self.lines: list[Line] = []
        self.down_s: list[float] = []
        self._seed = seed
        self.tokens: dict[str, str] = {}
        self._checked: set[str] = set()

    def token(self, user: str, role: Role) -> str:
        if user not in self.tokens:
            self.tokens[user] = self.server.token(user, role)
        return self.tokens[user]

    # -- people -----------------------------------------------------------------------------------------

    def line(self, kind: Callable[..., Any], user: str, role: Role, device: str, tasks: Tasks) -> Any:
        line = kind(self.server.hub_url, self.token(user, role), user, device, self.ledger, self._seed, tasks)
        self.lines.append(line)
        tasks.start(line.run())
        return line

    @asynccontextmanager
    async def load(self) -> AsyncIterator[Web]:
        """Everybody at work; at the end the connections stay until the caller has left."""
        timeout = aiohttp.ClientTimeout(total=20)
        async with aiohttp.ClientSession(timeout=timeout) as http, asyncio.TaskGroup() as group:
            tasks = Tasks(group)
            web = Web(self.server.http_url, http, self.ledger)
            service = self.token("prog", Role.SERVICE)
            technicians: list[Technician] = []
            for n in range(TECHNICIANS):
                user = f"tec_{n}"
                record = {"name": user, "cities": [CITY], "skills": ["massage"], "verified": True}
                status, _ = await web.call("PUT", f"/v1/technicians/{user}", service, record)
                assert status == 201
                technicians.append(self.line(Technician, user, Role.TECHNICIAN, "phone", tasks))
            for user, device in (("ops_1", "left"), ("ops_1", "right"), ("ops_2", "only")):
                self.line(Ops, user, Role.OPS, device, tasks)
            customers = {f"cus_{n}": self.token(f"cus_{n}", Role.CUSTOMER) for n in range(CUSTOMERS)}
            for user in customers:
                self.line(Line, user, Role.CUSTOMER, "phone", tasks)
            async with asyncio.timeout(15):
                for line in self.lines:
                    await line.online.wait()
            for technician in technicians:
                tasks.start(technician.live())
            demands = [
                tasks.start(place_orders(web, user, token, random.Random(f"{self._seed}/{user}")))
                for user, token in customers.items()
            ]
            demands.append(tasks.start(self._call_for_help(web, technicians, customers, tasks)))
            yield web
            for task in demands:
                task.cancel()
            for technician in technicians:
                technician.is_retired = True
            await self._settle()
            tasks.cancel()

    async def _call_for_help(
        self, web: Web, technicians: list[Technician], customers: dict[str, str], tasks: Tasks
    ) -> None:
        n = 0
        while True:
            n += 1
            if self.rng.random() < 0.5:
                tasks.start(self.rng.choice(technicians).tap(f"hub-{n}"))
            else:
                user = self.rng.choice(sorted(customers))
                tasks.start(tap_over_http(web, user, customers[user], f"http-{n}"))
            await asyncio.sleep(self.rng.uniform(0.05, 0.4))

    # -- faults -----------------------------------------------------------------------------------------

    async def kill(self, web: Web) -> None:
        """SIGKILL at a random moment, look at the files, start on the same folder and ports, look over HTTP."""
        orders, sos = len(self.ledger.orders), len(self.ledger.sos)
        started = time.monotonic()
        while len(self.ledger.orders) < orders + 3 or len(self.ledger.sos) < sos + 1:
            assert time.monotonic() < started + 30, f"nothing is acknowledged any more: {self.server.log_tail()}"
            await asyncio.sleep(0.02)
        await asyncio.sleep(self.rng.uniform(0.2, 1.5))
        self.server.kill()
        # Answers that were on their way still count: they were given.
        await asyncio.sleep(0.1)
        died = time.monotonic()
        check_files(self.server.folder / "data", self.folder / "copy", self.ledger)
        await asyncio.to_thread(self.server.start)
        self.down_s.append(time.monotonic() - died)
        await self._check_over_http(web)

    async def _check_over_http(self, web: Web) -> None:
        ops = self.token("ops_1", Role.OPS)
        for order in [order for order in self.ledger.orders if order not in self._checked]:
            self._checked.add(order)
            customer, key, body = self.ledger.orders[order]
            told = self.ledger.states[order]
            status, again = await web.call("POST", "/v1/orders", self.token(customer, Role.CUSTOMER), body, key)
            assert (status, again["order"]) == (200, order), f"the key {key} made another order"
            status, view = await web.call("GET", f"/v1/orders/{order}", ops)
            assert status == 200
            assert view["state"] not in RANK or RANK[view["state"]] >= RANK[told]
        for technician, order in list(self.ledger.accepts.values())[-20:]:
            _, view = await web.call("GET", f"/v1/orders/{order}", ops)
            assert view["technician"]["technician"] == technician
        for key, (subject, incident) in list(self.ledger.sos.items())[-10:]:
            status, _ = await web.call("GET", f"/v1/incidents/{incident}", ops)
            assert status == 200
            role = Role.TECHNICIAN if subject.startswith("tec_") else Role.CUSTOMER
            status, ack = await web.call("POST", "/v1/sos", self.token(subject, role), {"key": key})
            assert (status, ack["incident"]) == (200, incident), f"tap {key} made another incident"

    async def _settle(self) -> None:
        """Until every line has everything that was ever numbered for it, by the files and by the server's own word.

        Timers go on numbering after that, so that no later head may be asked of a line. What the server tells is
        therefore asked while the lines still read, and they read on up to it.
        """
        if await self._read_on(lambda: heads(self.server.folder / "data")):
            told = await self._heads_as_told()
            await self._read_on(lambda: told)

    async def _read_on(self, wanted: Callable[[], dict[tuple[str, str], int]]) -> bool:
        """Until no line is behind these heads; False, and a fault, when that does not come."""
        behind: list[str] = []
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            await asyncio.sleep(0.2)
            stored = wanted()
            behind = [
                f"{user}/{device} has {stream} up to {got.last} of {stored.get((user, stream), 0)}"
                for (user, device, stream), got in self.ledger.received.items()
                if got.last < stored.get((user, stream), 0)
            ]
            if not behind:
                return True
        self.ledger.fault(f"not delivered: {behind}")
        return False

    async def _heads_as_told(self) -> dict[tuple[str, str], int]:
        """user, stream -> head, as the server says it to a device that was never there."""
        ledger = Ledger()
        async with asyncio.TaskGroup() as group:
            tasks = Tasks(group)
            probes = [
                Line(self.server.hub_url, self.tokens[user], user, "probe", ledger, 0, tasks)
                for user in {line.user for line in self.lines}
            ]
            for probe in probes:
                tasks.start(probe.run())
            async with asyncio.timeout(15):
                for probe in probes:
                    await probe.online.wait()
            tasks.cancel()
        for fault in ledger.faults:
            self.ledger.fault(f"probe: {fault}")
        told = {(user, stream): got.base for (user, _, stream), got in ledger.received.items()}
        assert told.keys() >= {(user, stream) for user, _, stream in self.ledger.received}
        return told


async def kill_and_look(folder: Path, times: int) -> None:
    print(f"seed {SEED} (DOORSTEP_FAULT_SEED), {times} kills")
    world = World(folder, SEED)
    ledger = world.ledger
    world.server.start()
    try:
        async with world.load() as web:
            for _ in range(times):
                await world.kill(web)
                assert not ledger.faults, ledger.faults
            await asyncio.sleep(1.0)
        assert not ledger.faults, ledger.faults
        for (user, device, stream), got in ledger.received.items():
            assert not got.missing, f"{device} of {user} lacks {stream} {got.missing[:5]}"
        assert world.server.stop() == 0
        check_files(world.server.folder / "data", folder / "copy", ledger)
    finally:
        world.server.kill()
        log = world.server.log_tail()
    assert "Traceback" not in log, log
    assert '"error"' not in log, log
    _report(world)


def _report(world: World) -> None:
    ledger = world.ledger
    rows = sum(len(got.rows) for got in ledger.received.values())
    repeats = sum(got.repeats for got in ledger.received.values())
    states = Counter(ledger.incidents.values())
    print(
        f"{len(ledger.orders)} orders, {len(ledger.accepts)} accepts, {len(ledger.declines)} declines, "
        f"{len(ledger.sos)} SOS ({dict(states)}), {rows} rows to {len(world.lines)} lines, {repeats} repeated, "
        f"{sum(line.welcomes for line in world.lines)} welcomes, "
        f"down at most {max(world.down_s):.1f} s\n{dict(sorted(ledger.answers.items()))}"
    )
    # Without these the test would prove nothing.
    assert len(ledger.accepts) >= 3
    assert len(ledger.sos) >= 3
    assert any(line.welcomes > 1 for line in world.lines)


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_three_kills_under_load_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    await kill_and_look(tmp_path, 3)


@pytest.mark.full
@pytest.mark.timeout(1200)
async def test_twenty_kills_under_load_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    await kill_and_look(tmp_path, 20)
