"""A server to which something happens, two consoles that are told, people who tap until they are promised."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

import geo
from core.principal import Role
from sim.local_server import LocalCity, merged
from tests.faults.ledger import Ledger
from tests.faults.oracle import Oracle, Stored, look
from tests.faults.people import CITY, LAT, LNG, Line, Tasks
from tests.faults.zygote import Node, Zygote

BOUNDARY = Path(geo.__file__).parent / "cities" / f"{CITY}.geojson"
OVERRIDES: dict[str, Any] = {"log": {"level": "warning"}, "realtime": {"drain": {"over_s": 0.0}}}
AGAIN_S = 0.1
CONSOLES = ("left", "right")


class Console(Line):
    """Hears of incidents, and when."""

    oracle: Oracle

    def handle(self, message: dict[str, Any]) -> None:
        # An alarm without a number (its database failed) is no row of a stream.
        if message["type"] == "incident":
            self.oracle.received[self.device].add(message["incident"])
            self.heard_at.setdefault(message["incident"], time.monotonic())
        elif message["type"] == "snapshot":
            for incident in message.get("incidents", ()):
                self.oracle.received[self.device].add(incident["incident"])

    async def _take(self, message: dict[str, Any]) -> None:
        await self.reads.wait()
        await super()._take(message)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.reads = asyncio.Event()
        self.reads.set()
        self.heard_at: dict[str, float] = {}


class Plant:
    """One server and everybody around it."""

    def __init__(self, folder: Path, zygote: Zygote, overrides: dict[str, Any] | None = None) -> None:
        self.folder = folder
        (folder / "server").mkdir()
        self.node = Node([LocalCity(CITY, BOUNDARY)], merged(OVERRIDES, overrides or {}), folder=folder / "server")
        self.node.zygote = zygote
        self.data = folder / "server" / "data"
        self.oracle = Oracle()
        self.ledger = Ledger()
        self.consoles: list[Console] = []
        self.may_fail = False
        """Whether an SOS may be answered with an error of the server: the fault leaves it no other way."""
        self._tokens: dict[str, str] = {}
        self.http: aiohttp.ClientSession

    @asynccontextmanager
    async def people(self, *, online: bool = True) -> AsyncIterator["Plant"]:
        """Consoles that come back after every loss; a client for HTTP."""
        timeout = aiohttp.ClientTimeout(total=40)
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector) as self.http,
            asyncio.TaskGroup() as group,
        ):
            tasks = Tasks(group)
            token = self.token("ops_1", Role.OPS)
            for device in CONSOLES:
                console = Console(self.node.hub_url, token, "ops_1", device, self.ledger, 1, tasks, True)
                console.oracle = self.oracle
                self.consoles.append(console)
                tasks.start(console.run())
            if online:
                await self.consoles_online()
            yield self
            tasks.cancel()
        assert not self.ledger.faults, self.ledger.faults

    async def consoles_online(self, timeout_s: float = 15.0) -> None:
        async with asyncio.timeout(timeout_s):
            for console in self.consoles:
                await console.online.wait()

    def token(self, user: str, role: Role = Role.CUSTOMER) -> str:
        if user not in self._tokens:
            self._tokens[user] = self.node.token(user, role)
        return self._tokens[user]

    async def tap_once(self, key: str, user: str = "cus_1", note: str = "") -> dict[str, Any] | None:
        """One SOS over HTTP: the answer, None when there was none."""
        self.oracle.tap(key, user)
        headers = {"Authorization": f"Bearer {self.token(user)}"}
        body = {"key": key, "lat": LAT, "lng": LNG, "accuracy_m": 10, "note": note}
        try:
            async with self.http.post(f"{self.node.http_url}/v1/sos", json=body, headers=headers) as answer:
                if self.may_fail and answer.status >= 500:
                    return None
                assert answer.status == 200, await answer.text()
                ack: dict[str, Any] = await answer.json()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None
        self.oracle.answer(key, ack)
        return ack

    async def tap(self, key: str, user: str = "cus_1", timeout_s: float = 30.0) -> dict[str, Any]:
        """Until it is promised."""
        deadline = time.monotonic() + timeout_s
        while True:
            ack = await self.tap_once(key, user)
            if ack is not None and ack["durable"]:
                return ack
            assert time.monotonic() < deadline, f"{key} is only ever answered {ack}: {self.node.log_tail()}"
            await asyncio.sleep(AGAIN_S)

    async def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        async with self.http.get(f"{self.node.admin_url}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        found = [line for line in lines if line.startswith((f"{name} ", f"{name}{{", f"{name}_total"))]
        assert found, f"there is no metric {name}"
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    async def until(self, name: str, value: float, timeout_s: float = 15.0) -> None:
        """Wait until a metric has this value."""
        deadline = time.monotonic() + timeout_s
        while (found := await self.metric(name)) != value:
            assert time.monotonic() < deadline, f"{name} is {found}, not {value}: {self.node.log_tail()}"
            await asyncio.sleep(0.05)

    async def heard(self, incident: str, timeout_s: float = 5.0) -> float:
        """Wait until every console has heard of an incident; the monotonic time at which the last one did."""
        deadline = time.monotonic() + timeout_s
        while not all(incident in console.heard_at for console in self.consoles):
            assert time.monotonic() < deadline, f"nobody heard of {incident}: {self.node.log_tail()}"
            await asyncio.sleep(0.01)
        return max(console.heard_at[incident] for console in self.consoles)

    async def dead(self, timeout_s: float = 15.0) -> int:
        """Wait until the server has died; its exit code. Not while it is traced: see ``ended``."""
        await self.ended(timeout_s)
        return self.node.wait()

    async def ended(self, timeout_s: float = 15.0) -> None:
        """Wait until the server has ended. Nobody can take its exit code while a tracer has not let it go."""
        deadline = time.monotonic() + timeout_s
        while self.node.is_running:
            assert time.monotonic() < deadline, f"it lives: {self.node.log_tail()}"
            await asyncio.sleep(0.01)

    def configure(self, **safety: Any) -> None:
        """Change safety's part of the config; for the next start."""
        self.node._overrides = merged(self.node._overrides, {"safety": safety})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Another program holds the lock of ``safety.db``."""
        other = sqlite3.connect(self.data / "safety.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")
            other.close()

    def history(self, incident: str) -> list[dict[str, Any]]:
        """The stored events of an incident, of a running server."""
        with closing(sqlite3.connect(f"file:{self.data / 'safety.db'}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT body FROM incident_events WHERE incident_id = ? ORDER BY seq", (incident,))
            return [msgspec.msgpack.decode(row[0]) for row in rows]

    def look(self) -> Stored:
        return look(self.data, self.folder / "copy")

    async def start(self, crash: str = "") -> None:
        await asyncio.to_thread(self.node.start, crash=crash)

    async def end(self) -> None:
        """The fault is over: everybody taps on until promised, then all is compared."""
        for key, user in self.oracle.tapped.items():
            await self.tap(key, user)
        await self.until("doorstep_safety_unstored", 0)
        for incident in set(self.oracle.promised.values()):
            deadline = time.monotonic() + 10
            while not all(incident in found for found in (self.oracle.received[device] for device in CONSOLES)):
                assert time.monotonic() < deadline, f"not everybody heard of {incident}"
                await asyncio.sleep(0.02)
        assert self.node.stop() == 0, self.node.log_tail()
        self.oracle.check_recovered(self.look())
