"""The two shells over real loopback sockets, against a hub of a few lines."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from doorstep_client import connection
from doorstep_client.clock import SteadyClock
from doorstep_client.connection import Client, RequestRefused
from doorstep_client.events import Disconnected, Event, OrderChanged, PositionReceived, Welcomed
from doorstep_client.load import Swarm
from doorstep_client.outbox import Outbox
from doorstep_client.ping_buffer import Fix
from doorstep_client.protocol import ClientProtocol, State
from doorstep_client.settings import ClientSettings, Encoding
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

FAST = ClientSettings(reconnect_base_s=0.01, reconnect_max_s=0.02)


class TinyHub:
    """Welcomes, sends one order at each connection, answers requests."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.sockets: list[ServerConnection] = []
        self.sent = 0
        self.sos_ignored = 0
        self.expired: set[str] = set()

    async def talk(self, socket: ServerConnection) -> None:
        is_text = str(socket.subprotocol) == Encoding.JSON.value
        codec = msgspec.json if is_text else msgspec.msgpack
        self.sockets.append(socket)

        async def say(body: dict[str, Any]) -> None:
            await socket.send(codec.encode(body), text=is_text)

        async for raw in socket:
            body = codec.decode(raw.encode() if isinstance(raw, str) else raw)
            self.frames.append(body)
            if body["type"] == "hello" and body["token"] in self.expired:
                await say({"type": "error", "code": "token_expired", "message": "old"})
                await socket.close(4401, "token")
            elif body["type"] == "hello":
                at = body.get("resume", {}).get("main", {}).get("seq", 0)
                place = {"epoch": "e", "seq": at, "how": "replayed"}
                await say(
                    {"type": "welcome", "session": "s", "user": "u", "role": "customer", "restricted": False}
                    | {"heartbeat_s": 30, "limits": {"pings_per_s": 1000}, "streams": {"main": place}}
                )
                self.sent = at + 1
                order = {"type": "order", "order": f"o{self.sent}", "state": "placed"}
                await say(order | {"stream": "main", "seq": self.sent, "epoch": "e"})
            elif body["type"] == "watch":
                await say({"type": "error", "ref": body["ref"], "code": "not_found", "message": "no"})
            elif body["type"] == "sos" and self.sos_ignored:
                self.sos_ignored -= 1
            elif body["type"] == "sos":
                ack = {"type": "sos_ack", "key": body["key"], "incident": "i", "durable": True, "delivered": 0}
                await say(ack | {"seen": False, "level": 1})
            elif "ref" in body:
                await say({"type": "ok", "ref": body["ref"], "result": {"n": 1}})


@pytest.fixture
async def hub() -> AsyncIterator[tuple[TinyHub, str]]:
    tiny = TinyHub()
    server: Server
    async with serve(tiny.talk, "127.0.0.1", 0, subprotocols=[Subprotocol(e.value) for e in Encoding]) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield tiny, f"ws://127.0.0.1:{port}"


async def until(condition: Any, *, tries: int = 500) -> None:
    for _ in range(tries):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", list(Encoding))
async def test_a_client_asks_calls_for_help_and_resumes_after_a_cut(
    hub: tuple[TinyHub, str], encoding: Encoding
) -> None:
    tiny, url = hub
    async with Client(url, token="t", device="d", encoding=encoding, settings=FAST) as client:
        await client.ready()
        assert await client.ask("duty", on=True) == {"n": 1}
        with pytest.raises(RequestRefused):
            await client.watch("order:x")
        assert (await client.sos(lat=1.0)).durable
        client.ping(Fix(1.0, 2.0, 1e9))
        await until(lambda: any(f["type"] == "ping" for f in tiny.frames))
        tiny.sockets[0].transport.abort()
        await until(lambda: len(tiny.sockets) == 2)
        kinds = []
        async for event in client.events():
            kinds.append(type(event))
            if isinstance(event, OrderChanged) and event.order == "o2":
                break
        assert kinds.count(Disconnected) == 1
        assert kinds.count(Welcomed) == 2
    assert client.protocol.state is State.ENDED


@pytest.mark.slow
async def test_a_connection_that_takes_no_bytes_any_more_is_dropped_and_nothing_asked_is_lost(
    hub: tuple[TinyHub, str],
) -> None:
    tiny, url = hub
    settings = replace(FAST, send_timeout_s=0.2, close_timeout_s=0.1)
    async with Client(url, token="t", device="d", settings=settings) as client:
        await client.ready()
        tiny.sockets[0].transport.pause_reading()
        for _ in range(16):
            client.protocol.request("note", client.now(), text="x" * 900_000)
        asking = asyncio.create_task(client.ask("last"))
        await until(lambda: len(tiny.sockets) > 1)
        tiny.sockets[0].transport.abort()
        async with asyncio.timeout(10):
            assert await asking == {"n": 1}


@pytest.mark.slow
async def test_a_slow_caller_loses_positions_first_and_is_told_how_many(
    hub: tuple[TinyHub, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "EVENTS_MAX", 4)
    async with Client(hub[1], token="t", device="d", settings=FAST) as client:
        await client.ready()
        await until(lambda: len(client._events) == 2)
        moved = PositionReceived("order:x", {})
        news = [OrderChanged(f"n{n}", "placed", {}) for n in range(3)]
        client._tell([moved, moved, news[0]])
        assert client.events_dropped == 2
        client._tell([news[1], news[2]])
        assert client.events_dropped == 3
        assert list(client._events)[-3:] == news


class Keeper:
    """An agent that remembers."""

    def __init__(self, name: str, encoding: Encoding) -> None:
        self.protocol = ClientProtocol(
            device=name, token="t", encoding=encoding, settings=FAST, rng=random.Random(name)
        )
        self.events: list[Event] = []
        self.ping_at: float | None = None

    def handle(self, event: Event, now: float) -> None:
        self.events.append(event)
        if isinstance(event, Welcomed):
            self.ping_at = now + 0.01

    def next_deadline(self) -> float | None:
        return self.ping_at

    def on_deadline(self, now: float) -> None:
        self.ping_at = None
        self.protocol.send_ping(Fix(1.0, 2.0, now), now)


@pytest.mark.slow
async def test_a_swarm_carries_many_agents_and_brings_them_back(hub: tuple[TinyHub, str]) -> None:
    tiny, url = hub
    swarm = Swarm(url, dials_at_once=8)
    agents = [Keeper(f"d{n}", Encoding.JSON if n % 2 else Encoding.MSGPACK) for n in range(40)]
    for agent in agents:
        swarm.add(agent)
    running = asyncio.create_task(swarm.run())
    await until(lambda: sum(f["type"] == "ping" for f in tiny.frames) == 40)
    swarm.cut(agents[3])
    await until(lambda: sum(isinstance(e, Welcomed) for e in agents[3].events) == 2)
    await until(lambda: sum(isinstance(e, OrderChanged) for e in agents[3].events) == 2)
    assert swarm.open == 40
    swarm.stop()
    await running
    assert swarm.open == 0


@pytest.mark.slow
async def test_a_hub_that_is_not_there_is_tried_again_until_it_is() -> None:
    client = Client("ws://127.0.0.1:9", token="t", device="d", settings=FAST)
    async with client:
        await until(lambda: client.protocol._returning.failures > 3)
    assert client.protocol.state is State.ENDED


@pytest.mark.slow
async def test_an_sos_is_repeated_although_the_phones_clock_was_set_back(
    hub: tuple[TinyHub, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny, url = hub
    tiny.sos_ignored = 1
    settings = replace(FAST, sos_retry_s=0.2)
    async with Client(url, token="t", device="d", settings=settings) as client:
        await client.ready()
        calling = asyncio.create_task(client.sos())
        await until(lambda: any(f["type"] == "sos" for f in tiny.frames))
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() - 3_600)
        async with asyncio.timeout(3):
            assert (await calling).durable


@pytest.mark.slow
async def test_fetching_a_token_is_tried_again_until_it_works(hub: tuple[TinyHub, str]) -> None:
    tiny, url = hub
    tiny.expired = {"old"}
    attempts = 0

    async def new_token() -> str:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise OSError("no network yet")
        return "new"

    async with Client(url, token="old", device="d", settings=FAST, new_token=new_token) as client:
        await client.ready(5)
    assert attempts == 3


def test_the_steady_clock_goes_with_the_monotonic_one() -> None:
    wall, monotonic = 1_000.0, 50.0
    clock = SteadyClock(lambda: wall, lambda: monotonic)
    assert clock.now() == 1_000.0
    wall, monotonic = 0.0, 53.0
    assert clock.now() == 1_003.0


@pytest.mark.slow
async def test_an_outbox_that_cannot_be_written_holds_up_no_tap_and_is_not_tried_with_every_frame(
    hub: tuple[TinyHub, str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "sos.json.new").mkdir()
    outbox = Outbox(tmp_path / "sos.json")
    async with Client(hub[1], token="t", device="d", settings=FAST, outbox=outbox) as client:
        for _ in range(3):
            assert (await client.sos()).durable
            await asyncio.sleep(0.05)
    assert [r.message for r in caplog.records].count("the outbox cannot be written; tried again in a while") == 1
