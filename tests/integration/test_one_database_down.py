"""The house with one of its databases down: what the other one carries goes on, over sessions that begin meanwhile."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from core.outbox import Stream
from core.principal import Role
from realtime.ports import Connection
from server.config import load
from server.house import House
from server.root import DERIVED, Settings
from server.system import SystemClock, SystemIds
from server.tokens import issue
from store.memory import MemoryStores
from store.memory_outbox import Faults
from tests.integration.memory_house import KEY, memory_house
from transport.memory import connect

SETTINGS = load(Settings, None, {"DOORSTEP__REALTIME__STREAMS__RETRY_S": "0.05"}, derived=DERIVED)


class Client:
    """Somebody with a session: keeps what comes and acknowledges it."""

    def __init__(self, house: House, user: str, role: Role) -> None:
        self.frames: list[dict[str, Any]] = []
        self._came = asyncio.Event()
        self.wire = connect(house.hub, self._take)
        token = issue(
            KEY, SETTINGS.auth, house.clock, SystemIds(), user=user, role=role, tenant="demo", cities=["shenzhen"]
        )
        self.say(type="hello", token=token, device="phone")

    def _take(self, connection: Connection) -> "Client":
        self.connection = connection
        return self

    def say(self, **message: Any) -> None:
        self.connection.send(json.dumps(message).encode())

    async def next(self, kind: str, is_right: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        async with asyncio.timeout(3):
            while True:
                for frame in self.frames:
                    if frame["type"] == kind and is_right(frame):
                        return frame
                self._came.clear()
                await self._came.wait()

    def on_message(self, payload: bytes) -> None:
        frame = json.loads(payload)
        self.frames.append(frame)
        self._came.set()
        if "stream" in frame:
            self.say(type="ack", **{frame["stream"]: frame["seq"]})

    def takes_damaged(self) -> bool:
        return False

    def on_damaged(self, payload: bytes, close_code: int) -> bool:
        return False

    def on_pong(self, payload: bytes) -> None: ...

    def on_paused(self) -> None: ...

    def on_writable(self) -> None: ...

    def on_closed(self, code: int) -> None:
        self.frames.append({"type": "closed", "code": code})
        self._came.set()


def _stores() -> MemoryStores:
    return MemoryStores(SystemClock(), SystemIds())


def _fail(*databases: Faults, count: int = 10**9) -> None:
    for faults in databases:
        faults.fail_commits(count)
        faults.fail_reads(count)


async def test_with_the_orders_database_down_an_sos_finds_a_console_that_comes_and_is_acknowledged() -> None:
    stores = _stores()
    async with memory_house(stores, SETTINGS) as house:
        orders = (stores.dispatch.faults, stores.streams.faults[Stream.MAIN])
        _fail(*orders)
        console, customer = Client(house, "ops_1", Role.OPS), Client(house, "cus_1", Role.CUSTOMER)
        for client in (console, customer):
            assert set((await client.next("welcome"))["streams"]) == {"safety"}
        customer.say(type="sos", key="k")
        ack = await customer.next("sos_ack")
        assert ack["durable"] is True
        incident = await console.next("incident")
        assert (incident["stream"], incident["incident"]) == ("safety", ack["incident"])
        console.say(type="incident.ack", incident=ack["incident"], ref="r")
        await console.next("ok", lambda frame: frame.get("ref") == "r")
        await customer.next("sos_ack", lambda frame: bool(frame.get("seen")) or bool(frame.get("delivered")))
        _fail(*orders, count=0)
        await console.next("snapshot", lambda frame: frame["stream"] == "main")
        assert "closed" not in {frame["type"] for frame in console.frames + customer.frames}


@pytest.mark.parametrize("journal", ["", "failed"])
async def test_with_the_safety_database_down_sessions_begin_and_an_sos_is_heard_all_the_same(journal: str) -> None:
    stores = _stores()
    stores.journal.refuses = journal
    async with memory_house(stores, SETTINGS) as house:
        _fail(stores.safety.faults, stores.streams.faults[Stream.SAFETY])
        console, customer = Client(house, "ops_1", Role.OPS), Client(house, "cus_1", Role.CUSTOMER)
        for client in (console, customer):
            assert set((await client.next("welcome"))["streams"]) == {"main"}
        customer.say(type="sos", key="k")
        ack = await customer.next("sos_ack")
        assert ack["durable"] is not bool(journal)
        assert (await console.next("incident"))["incident"] == ack["incident"]
        _fail(stores.safety.faults, stores.streams.faults[Stream.SAFETY], count=0)
        await customer.next("sos_ack", lambda frame: frame["durable"])
        await console.next("snapshot", lambda frame: frame["stream"] == "safety")
        async with asyncio.timeout(6):
            while stores.journal.payloads:
                await asyncio.sleep(0.02)
        assert house.safety.unstored == 0
