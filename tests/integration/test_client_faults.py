"""The Python client through a network that cuts, holds, delays and repeats, against a real server: what must arrive
comes to the caller once and in order, no ping is lost, and a tap is stored once."""

import asyncio
import random
import sqlite3
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from doorstep_client.connection import Client
from doorstep_client.events import (
    Disconnected,
    Event,
    IncidentRaised,
    IncidentUpdated,
    PingsJudged,
    SnapshotReceived,
    SosAcked,
)
from doorstep_client.http_sender import HttpSender
from doorstep_client.ping_buffer import Fix
from doorstep_client.ping_file import PingFile
from doorstep_client.settings import ClientSettings, Encoding

from tests.integration.fault_proxy import Fate, FaultProxy, fates
from tests.integration.served import LAT, LNG, Served, order, served

PINGS = 60
ORDERS = 4
PLANS = 5
AT_ONCE = 8
HEARTBEATS = {f"realtime__attention__{level}__heartbeat_s": "0.5" for level in ("idle", "job", "sos", "sos_late")} | {
    "realtime__sessions__pings_per_s": "1000"
}
QUICK = ClientSettings(
    welcome_timeout_s=0.8,
    silence_heartbeats=2.0,
    reconnect_base_s=0.02,
    reconnect_max_s=0.2,
    steady_after_s=0.5,
    sos_retry_s=0.2,
    sos_retry_max_s=0.5,
    sos_http_after_s=0.5,
    ping_resend_s=0.7,
    pings_http_after_s=0.3,
    close_timeout_s=0.3,
    send_timeout_s=1.0,
    ping_batch_max=16,
)
OVER_HTTP = {name: getattr(QUICK, name) for name in QUICK.__slots__} | {"pings_over_http": True}


class Phone:
    """A client behind a proxy of its own, and what its caller was told."""

    def __init__(
        self,
        server: Served,
        user: str,
        role: str,
        rng: random.Random,
        folder: Path,
        plans: int = PLANS,
        pause_s: float = 0.0,
    ) -> None:
        self.proxy = FaultProxy(urlsplit(server.app.hub_url).port or 0, fates(rng, plans))
        self.user = user
        self._pause_s = pause_s
        self._rng = random.Random(rng.random())
        self._token = server.token(user, role)
        self._is_over_http = rng.random() < 0.3
        self._encoding = rng.choice(list(Encoding))
        self._file = PingFile(folder / f"{user}.pings")
        self._http_url = server.app.http_url
        self.events: list[Event] = []

    async def enter(self, stack: AsyncExitStack) -> None:
        await stack.enter_async_context(self.proxy)
        self.client = Client(
            f"ws://127.0.0.1:{self.proxy.port}/ws",
            token=self._token,
            device=f"{self.user}-app",
            encoding=self._encoding,
            settings=ClientSettings(**OVER_HTTP) if self._is_over_http else QUICK,
            ping_file=self._file,
            http=HttpSender(self._http_url) if self._is_over_http else None,
        )
        await stack.enter_async_context(self.client)
        listening = asyncio.get_running_loop().create_task(self._listen())
        stack.callback(listening.cancel)

    async def _listen(self) -> None:
        async for event in self.client.events():
            self.events.append(event)
            # A caller takes its time: what was acknowledged must still be there when it comes back.
            await asyncio.sleep(self._rng.choice((0.0, 0.0, self._pause_s)))

    def reliable(self) -> list[tuple[int, str, str]]:
        """Number, kind and state of all messages of the stream ``main`` that came, as they came."""
        bodies = [body for event in self.events if (body := getattr(event, "body", {})).get("stream") == "main"]
        return [(body["seq"], body["type"], body.get("state", "")) for body in bodies]


def rows(server: Served, file: str, query: str, *values: Any) -> list[Any]:
    path = Path(server.app.settings.data_folder) / file
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query, values).fetchall()


async def until(condition: Any, timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


async def customer_orders(server: Served, phone: Phone, rng: random.Random) -> tuple[str, asyncio.Task[SosAcked]]:
    """Orders come and go, and the customer calls for help, while the network does what it wants."""
    token = server.token(phone.user, "customer")
    key = f"tap-{phone.user}"

    tap_after = rng.randrange(ORDERS)
    calling: asyncio.Task[SosAcked] | None = None
    for n in range(ORDERS):
        if n == tap_after:
            calling = asyncio.get_running_loop().create_task(phone.client.sos(key=key, lat=LAT, lng=LNG))
        status, placed, _ = await server.call("POST", "/v1/orders", token, order())
        assert status == 201, placed
        await asyncio.sleep(rng.random() * 0.3)
        status, answer, _ = await server.call("POST", f"/v1/orders/{placed['order']}/cancel", token, {"reason": "x"})
        assert status == 200, answer
    assert calling is not None
    return key, calling


async def technician_walks(phone: Phone, rng: random.Random, start_at: float) -> dict[int, float]:
    """Pings, by number the time of each."""
    sent = {}
    for n in range(PINGS):
        fixed_at = round(start_at + n * 0.02, 3)
        seq = phone.client.ping(Fix(LAT + 0.01 + n * 1e-7, LNG, fixed_at, accuracy_m=5))
        sent[seq] = fixed_at
        if rng.random() < 0.5:
            await asyncio.sleep(rng.random() * 0.05)
    return sent


async def one_schedule(server: Served, folder: Path, seed: int) -> None:
    rng = random.Random(seed)
    control = await server.technician(f"tec_{seed}")
    await control.send("sos", key=f"control-{seed}")
    await control.until("ping_policy", reason="sos")
    async with AsyncExitStack() as stack:
        customer = Phone(server, f"cus_{seed}", "customer", rng, folder, pause_s=0.3)
        technician = Phone(server, f"tec_{seed}", "technician", rng, folder)
        await customer.enter(stack)
        await technician.enter(stack)
        await customer.client.ready(30)
        (key, calling), sent = await asyncio.gather(
            customer_orders(server, customer, rng), technician_walks(technician, rng, server._clock.now())
        )
        check_pings(server, technician, sent)
        customer.proxy.heals.set()
        technician.proxy.heals.set()
        await until(lambda: technician.client.protocol.pings_waiting == 0)
        expected = stored_messages(server, customer)
        await until(lambda: [seq for seq, _, _ in customer.reliable()][-1:] == [expected[-1]])
        async with asyncio.timeout(20):
            assert (await calling).durable
        check_messages(customer, expected)
        check_stored(server, technician, sent)
        check_tap(server, customer, key)


def check_pings(server: Served, phone: Phone, sent: dict[int, float]) -> None:
    """Each was acknowledged, and then it is stored, or it waits. None has a number that another had."""
    assert len(sent) == PINGS
    buffer = phone.client.protocol.ping_buffer
    assert buffer is not None
    waiting = {seq for seq, _ in buffer.newer_than(-1)}
    acked = max((e.stored_seq for e in phone.events if isinstance(e, PingsJudged)), default=-1)
    told = max((e.stored_seq for e in phone.client._events if isinstance(e, PingsJudged)), default=-1)
    assert {seq for seq in sent if seq > max(acked, told)} <= waiting
    assert {sent[seq] for seq in sent if seq not in waiting} <= stored_fixes(server, phone)


def check_stored(server: Served, phone: Phone, sent: dict[int, float]) -> None:
    """Now that all are acknowledged, all are in the file of the server."""
    assert set(sent.values()) <= stored_fixes(server, phone)


def stored_fixes(server: Served, phone: Phone) -> set[float]:
    query = "SELECT fixed_at FROM points WHERE technician = ?"
    return {round(at, 3) for (at,) in rows(server, "tracks.db", query, phone.user)}


def stored_messages(server: Served, phone: Phone) -> list[int]:
    query = "SELECT seq FROM outbox WHERE recipient = ? ORDER BY seq"
    return [seq for (seq,) in rows(server, "doorstep.db", query, phone.user)]


def check_messages(phone: Phone, expected: list[int]) -> None:
    assert not any(isinstance(event, SnapshotReceived) for event in phone.events)
    assert [seq for seq, _, _ in phone.reliable()] == expected
    assert len(expected) >= 2 * ORDERS


def check_tap(server: Served, phone: Phone, key: str) -> None:
    incidents = rows(server, "safety.db", "SELECT incident_id FROM incidents WHERE subject = ?", phone.user)
    assert len(incidents) == 1
    triggers = rows(server, "safety.db", "SELECT body FROM triggers WHERE incident_id = ?", *incidents[0])
    assert sum(key in str(body) for (body,) in triggers) == 1


async def check_alarms(server: Served, console: Phone) -> None:
    """Each incident rang once, and no message came twice or out of order."""
    console.proxy.heals.set()
    ((last,),) = rows(server, "safety.db", "SELECT max(seq) FROM outbox WHERE recipient = ?", console.user)
    client = console.client
    await until(lambda: client.protocol.streams["safety"].seq == last and not client._events)
    bodies = [body for event in console.events if (body := getattr(event, "body", {})).get("stream") == "safety"]
    seqs = [body["seq"] for body in bodies]
    assert seqs == sorted(set(seqs))
    rung = [e.incident for e in console.events if isinstance(e, IncidentRaised | IncidentUpdated) and e.rings]
    raised = rows(server, "safety.db", "SELECT incident_id FROM incidents WHERE cap_status = 'actual'")
    assert sorted(rung) == sorted(incident for (incident,) in raised)


async def run(folder: Path, seeds: range) -> None:
    async with served(folder, **HEARTBEATS) as server:
        gate = asyncio.Semaphore(AT_ONCE)

        async def guarded(seed: int) -> None:
            async with gate:
                await one_schedule(server, folder, seed)

        async with AsyncExitStack() as stack:
            # The console of all of them, on a network that is bad to the end.
            console = Phone(server, "ops_1", "ops", random.Random(seeds[0]), folder, plans=10 * len(seeds))
            await console.enter(stack)
            await console.client.ready(30)
            outcomes = await asyncio.gather(*(guarded(seed) for seed in seeds), return_exceptions=True)
            if not any(outcomes):
                await check_alarms(server, console)
    failures = {seed: error for seed, error in zip(seeds, outcomes, strict=True) if error is not None}
    for seed, error in failures.items():
        error.add_note(f"schedule {seed}, of {len(failures)} that failed: {sorted(failures)}")
        raise error


@pytest.mark.slow
async def test_everything_arrives_once_through_a_bad_network(tmp_path: Path) -> None:
    await run(tmp_path, range(6))


@pytest.mark.slow
async def test_a_hello_that_arrives_after_the_next_one_ends_nobody(tmp_path: Path) -> None:
    async with served(tmp_path, **HEARTBEATS) as server, AsyncExitStack() as stack:
        phone = Phone(server, "cus_1", "customer", random.Random(1), tmp_path, plans=0)
        # The upgrade passes; of the hello the second half comes when another connection has taken over.
        phone.proxy.plan(Fate(hole_at=("up", 400), hole_s=2.0, half_open_s=5.0))
        await phone.enter(stack)
        await until(lambda: any(isinstance(e, Disconnected) and e.code == 4509 for e in phone.events))
        await phone.client.ready()
        assert phone.proxy.connections == 3


@pytest.mark.slow
@pytest.mark.full
async def test_everything_arrives_once_through_two_hundred_bad_networks(tmp_path: Path) -> None:
    await run(tmp_path, range(1_000, 1_240))
