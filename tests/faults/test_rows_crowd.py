"""Rows 60 to 63: many who want nothing, and one who wants too much; whoever calls for help does not notice."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from core.principal import Role
from sim.local_server import LocalCity, LocalServer, world_boundary
from tests.faults.town import CITY, OVERRIDES, Town, json_bytes
from tests.raw_client import CLOSE, PING, PONG, TEXT, RawClient, encode, request

pytestmark = [pytest.mark.slow, pytest.mark.alone]
WORST_S = 1.5
"""An SOS beside a crowd that takes longer is held up by it; the budget is 50 ms, this machine is shared."""
_keys = itertools.count()


def p99(times_s: list[float]) -> float:
    return sorted(times_s)[min(len(times_s) - 1, int(len(times_s) * 0.99))]


async def call_for_help(town: Town, user: str, count: int, pause_s: float) -> list[float]:
    """SOS by turns over the hub and on new connections over HTTP; seconds until each durable ack, all stored."""
    took: list[float] = []
    keys = []
    async with town.caller(user) as one:
        for n in range(count):
            key = f"crowd-{next(_keys)}"
            keys.append(key)
            began = time.monotonic()
            if n % 2:
                await one.say("sos", key=key, lat=31.2, lng=121.4)
                ack = await one.until("sos_ack", key=key)
            else:
                status, ack = await town.post(user, json_bytes({"key": key, "lat": 31.2, "lng": 121.4}))
                assert status == 200, ack
            took.append(time.monotonic() - began)
            assert ack["durable"] is True
            await asyncio.sleep(pause_s)
    taps = town.stored().taps
    assert all((user, key) in taps for key in keys)
    return took


def show(what: str, took: list[float]) -> None:
    ordered = sorted(took)
    middle, last = ordered[len(ordered) // 2], ordered[-1]
    print(f"{what}: {len(took)} SOS, p50 {middle * 1e3:.1f} ms, p99 {p99(took) * 1e3:.1f} ms, max {last * 1e3:.1f} ms")


# -- slow and silent ----------------------------------------------------------------------------------------


async def drip(port: int, begun: bytes) -> float:
    """Begin a request and send another byte each second; seconds until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()
    try:
        writer.write(begun)
        while True:
            try:
                await asyncio.wait_for(reader.read(), 1.0)
                break
            except TimeoutError:
                writer.write(b"x")
    except ConnectionError:
        pass
    writer.transport.abort()
    return time.monotonic() - began


async def test_row_60_five_hundred_slow_requests_are_cut_off_and_hold_up_no_sos(town: Town) -> None:
    beginnings = (
        (town.server.http_port, b"GET /config.json HT", 5.0),
        (town.server.http_port, b"POST /v1/sos HTTP/1.1\r\nHost: x\r\nX: ", 5.0),
        (town.server.hub_port, request()[:60], 2.0),
        (town.server.hub_port, b"G", 2.0),
    )
    alone = await call_for_help(town, "row60_before", 20, 0.01)
    async with asyncio.TaskGroup() as group:
        slow = [(bound_s, group.create_task(drip(port, begun))) for port, begun, bound_s in beginnings * 125]
        await asyncio.sleep(0.5)
        beside = await call_for_help(town, "row60_beside", 40, 0.02)
    show("alone", alone)
    show("beside 500 slow requests", beside)
    assert p99(beside) < WORST_S
    for bound_s, task in slow:
        assert task.result() < bound_s + 1.5


async def test_row_61_sockets_that_never_say_who_they_are_are_closed_within_five_seconds(town: Town) -> None:
    async def silent(upgrades: bool) -> tuple[float, int]:
        async with RawClient(town.server.hub_port) as client:
            began = time.monotonic()
            if upgrades:
                assert await client.upgrade() == 101
            code = await client.read_close(8)
            return time.monotonic() - began, code

    async with asyncio.TaskGroup() as group:
        upgraded = [group.create_task(silent(True)) for _ in range(50)]
        bare = [group.create_task(silent(False)) for _ in range(50)]
        took = await group.create_task(call_for_help(town, "row61", 20, 0.05))
    assert max(took) < WORST_S
    assert all(task.result()[0] < 5.5 and task.result()[1] == 4408 for task in upgraded)
    assert all(task.result()[0] < 2.5 and task.result()[1] == 1006 for task in bare)


# -- loud ---------------------------------------------------------------------------------------------------

PER_S, SECONDS, BLOB = 10_000, 3, 500


class Flooder:
    """One authenticated client that sends ten thousand frames a second and comes back whenever it is closed."""

    def __init__(self, town: Town, user: str, role: Role, frames: list[bytes]) -> None:
        self._town, self._user, self._role = town, user, role
        self._blob = b"".join(encode(TEXT, frame) for frame in frames)
        self.sent = 0
        self.heard: Counter[str] = Counter()
        self.codes: Counter[int] = Counter()
        self.acked: list[str] = []
        self.tap: bytes = b""

    async def run(self) -> None:
        began = time.monotonic()
        until_at = began + SECONDS
        while time.monotonic() < until_at:
            async with RawClient(self._town.server.hub_port) as client:
                assert await client.upgrade() == 101
                hello = {"type": "hello", "device": "loud", "token": self._town.server.token(self._user, self._role)}
                client.send(TEXT, json_bytes(hello))
                async with asyncio.TaskGroup() as group:
                    reading = group.create_task(self._read(client))
                    while not reading.done() and time.monotonic() < until_at:
                        if self.tap:
                            client.send(TEXT, self.tap)
                            self.tap = b""
                        client.writer.write(self._blob)
                        self.sent += BLOB
                        ahead_s = self.sent / PER_S - (time.monotonic() - began)
                        await asyncio.sleep(max(0.0, ahead_s))
                    reading.cancel()

    async def _read(self, client: RawClient) -> None:
        try:
            while True:
                frame = await client.read_frame(10)
                if frame.opcode == CLOSE:
                    self.codes[frame.close_code] += 1
                    return
                if frame.opcode == PING:
                    client.send(PONG, frame.payload)
                elif frame.opcode == TEXT:
                    told: dict[str, Any] = msgspec.json.decode(frame.payload)
                    self.heard[told.get("code", told["type"])] += 1
                    self.heard.update(told.get("verdicts", {}))
                    if told["type"] == "sos_ack" and told["durable"]:
                        self.acked.append(told["key"])
        except (ConnectionError, asyncio.IncompleteReadError):
            self.codes[1006] += 1


def pings() -> list[bytes]:
    now = time.time()
    good = {"type": "ping", "sent_at": now, "lat": 31.2, "lng": 121.4, "accuracy_m": 9}
    return [json_bytes({**good, "seq": n, "fixed_at": now + n / 1e4}) for n in range(1, BLOB + 1)]


def requests() -> list[bytes]:
    return [json_bytes({"type": "unwatch", "topic": "area:none", "ref": f"r{n}"}) for n in range(BLOB)]


def unreadable() -> list[bytes]:
    return [b"[" * 100] * BLOB


@pytest.mark.parametrize("frames", [pings, requests, unreadable])
async def test_row_62_a_flood_is_refused_with_a_notice_and_every_sos_passes(town: Town, frames: Any) -> None:
    kind = frames.__name__
    user, other = f"row62_{kind}", f"row62_{kind}_other"
    await town.put_technician(user)
    status, _ = await town.call("POST", f"/v1/technicians/{user}/duty", "ops_1", Role.OPS, {"on": True, "city": CITY})
    assert status == 200
    flooder = Flooder(town, user, Role.TECHNICIAN, frames())
    async with asyncio.TaskGroup() as group:
        flood = group.create_task(flooder.run())
        await asyncio.sleep(0.5)
        took = await call_for_help(town, other, 30, 0.03)
        while not flooder.acked and not flood.done():
            flooder.tap = json_bytes({"type": "sos", "key": "loud", "lat": 31.2, "lng": 121.4})
            await asyncio.sleep(0.1)
    print(f"{flooder.sent} frames in {SECONDS} s: {dict(flooder.heard)}, closed {dict(flooder.codes)}")
    show(f"beside a flood of {kind}", took)
    assert p99(took) < WORST_S
    assert flooder.acked, "the first SOS of the one who floods"
    assert (user, "loud") in town.stored().taps
    if kind == "pings":
        assert flooder.heard["rate_limited"] + flooder.heard["shed"] > flooder.heard["live"]
    else:
        assert flooder.heard["rate_limited"] > 0
        assert flooder.codes[4429] > 0


# -- many ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def device(town: Town, user: str, role: Role, number: int) -> AsyncIterator[str]:
    """One more device at the hub: ``welcome``, or the code with which it was sent away."""
    async with connect(
        town.server.hub_url,
        subprotocols=["doorstep.v1.json"],  # type: ignore[list-item]
        compression=None,
        proxy=None,
    ) as socket:
        hello = {"type": "hello", "device": f"many-{number}", "token": town.server.token(user, role)}
        try:
            await socket.send(json_bytes(hello), text=True)
            told = msgspec.json.decode(await socket.recv())
            yield str(told.get("code", told["type"]))
        except ConnectionClosed as closed:
            yield str(closed.rcvd.code if closed.rcvd is not None else 1006)


async def test_row_63_one_user_gets_so_many_devices_and_no_more_and_their_sos_passes(town: Town) -> None:
    async with AsyncExitStack() as stack:
        ends = [await stack.enter_async_context(device(town, "row63", Role.CUSTOMER, n)) for n in range(20)]
        assert Counter(ends) == {"welcome": 16, "too_many": 4}
        status, ack = await town.post("row63", json_bytes({"key": "full"}))
        assert (status, ack["durable"]) == (200, True)


async def test_row_63_a_full_house_has_room_for_ops_and_for_an_sos(tmp_path: Path) -> None:
    small = {
        **OVERRIDES,
        "hub": {"connections_max": 40},
        "http": {"connections_max": 20},
        "realtime": {"sessions": {"sessions_reserved_share": 0.1}},
    }
    with LocalServer([LocalCity(CITY, world_boundary(CITY))], small, folder=tmp_path) as server:
        town = Town(server)
        async with AsyncExitStack() as stack:
            ends = [await stack.enter_async_context(device(town, f"crowd_{n}", Role.CUSTOMER, n)) for n in range(38)]
            assert Counter(ends) == {"welcome": 36, "too_many": 2}
            assert await stack.enter_async_context(device(town, "ops_1", Role.OPS, 99)) == "welcome"
            idle = [await asyncio.open_connection("127.0.0.1", server.http_port) for _ in range(60)]
            status, ack = await town.post("row63_full", json_bytes({"key": "k"}))
            assert (status, ack["durable"]) == (200, True)
            status, _ = await town.call("GET", "/v1/incidents", "ops_1", Role.OPS)
            assert status == 200
            for _, writer in idle:
                writer.transport.abort()
            assert ("row63_full", "k") in town.stored().taps
        await asyncio.sleep(0)


async def test_row_63_more_requests_than_anybody_may_make_are_refused_and_an_sos_is_not(town: Town) -> None:
    user = "row63_requests"
    headers = {"Authorization": f"Bearer {town.server.token(user, Role.CUSTOMER)}"}
    statuses: Counter[int] = Counter()
    async with aiohttp.ClientSession(town.server.http_url) as http:

        async def ask() -> None:
            async with http.get("/v1/orders", headers=headers) as answer:
                statuses[answer.status] += 1

        for _ in range(16):
            await asyncio.gather(*(ask() for _ in range(50)))
        async with http.post("/v1/sos", data=b'{"key":"after"}', headers=headers) as answer:
            assert (answer.status, (await answer.json())["durable"]) == (200, True)
    assert set(statuses) == {200, 429}
