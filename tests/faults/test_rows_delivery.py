"""Rows 31, 33 to 35, 37 and 43: what becomes of an SOS on its way to those who must see it."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from core.principal import Role
from sim.local_server import LocalCity, LocalServer, ServerFailed, world_boundary
from tests.faults.one_way import OneWay
from tests.faults.town import CITY, OVERRIDES, Town, json_bytes, start_town, stored_in
from tests.integration.served import Session
from tests.raw_client import TEXT, RawClient

pytestmark = pytest.mark.slow
LAT, LNG = 31.2, 121.4
AT: dict[str, Any] = {"lat": LAT, "lng": LNG, "accuracy_m": 8.0}


async def raised(town: Town, user: str, key: str = "k", **fields: Any) -> dict[str, Any]:
    status, ack = await town.post(user, json_bytes({"key": key, **AT, **fields}))
    assert (status, ack["durable"]) == (200, True), ack
    return ack


# -- one way ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def through(town: Town, line: OneWay, user: str, role: Role, device: str) -> AsyncIterator[Session]:
    url = town.server.hub_url.replace(str(town.server.hub_port), str(line.port))
    async with connect(
        url,
        subprotocols=["doorstep.v1.json"],  # type: ignore[list-item]
        proxy=None,
        close_timeout=0.5,
    ) as socket_:
        session = Session(socket_)
        await session.send("hello", token=town.server.token(user, role), device=device)
        await session.until("welcome")
        yield session


async def test_row_31_what_a_deaf_console_says_counts_and_there_is_one_owner(town: Town) -> None:
    async with OneWay(town.server.hub_port) as line, town.console("row31_hears") as hears:
        async with through(town, line, "row31_deaf", Role.OPS, "deaf") as deaf:
            line.cut("down")
            ack = await raised(town, "row31_a")
            await hears.until("incident", incident=ack["incident"])
            await deaf.send("incident.ack", ref="a", incident=ack["incident"])
            told = await hears.until("incident.update", incident=ack["incident"], state="acknowledged")
            assert told["owner"] == "row31_deaf"
            await hears.send("incident.ack", ref="b", incident=ack["incident"])
            refused = await hears.until("error", ref="b")
            assert refused["code"] == "already_acknowledged"
        # It comes back over a line that works and learns that it is the owner.
        async with town.console("row31_deaf", device="deaf") as back:
            await back.send("watch", ref="w", topic=f"incident:{ack['incident']}")
            status, seen = await town.call("GET", f"/v1/incidents/{ack['incident']}", "row31_deaf", Role.OPS)
            assert (status, seen["owner"]) == (200, "row31_deaf")
    assert town.stored().incidents[ack["incident"]]["owner"] == "row31_deaf"


async def test_row_31_a_phone_that_hears_and_is_not_heard_owns_nothing_and_its_sos_comes_when_it_can(
    town: Town,
) -> None:
    async with (
        OneWay(town.server.hub_port) as line,
        town.console("row31_b") as console,
        through(town, line, "row31_mute", Role.CUSTOMER, "mute") as mute,
    ):
        line.cut("up")
        await mute.send("sos", key="mute", **AT)
        await asyncio.sleep(0.3)
        assert ("row31_mute", "mute") not in town.stored().taps
        line.heal()
        assert (await mute.until("sos_ack", key="mute"))["durable"] is True
        await console.until("incident", subject="row31_mute")
        await mute.send("sos", key="mute", **AT)
        again = await mute.until("sos_ack", key="mute")
    (incident,) = town.stored().active_of("row31_mute")
    assert (incident["incident_id"], incident["triggers"]) == (again["incident"], 1)


async def test_row_31_two_servers_never_own_one_folder(town: Town, tmp_path: Path) -> None:
    settings = {**OVERRIDES, "data_folder": str(town.server.folder / "data")}
    second = LocalServer([LocalCity(CITY, world_boundary(CITY))], settings, folder=tmp_path)
    with pytest.raises(ServerFailed, match="in use by process"):
        await asyncio.to_thread(second.start)
    await raised(town, "row31_two")


# -- slow and frozen ----------------------------------------------------------------------------------------


async def test_row_33_a_console_that_reads_a_byte_a_second_costs_nobody_and_misses_no_sos(town: Town) -> None:
    hello = {"type": "hello", "device": "slow", "token": town.server.token("row33_ops", Role.OPS)}
    incidents: list[str] = []
    took: list[float] = []
    async with (
        town.console("row33_quick") as quick,
        walking(town, "row33_tec"),
        RawClient(town.server.hub_port, receive_buffer_bytes=4_096) as slow,
    ):
        assert await slow.upgrade() == 101
        slow.send(TEXT, json_bytes(hello))
        slow.send(TEXT, json_bytes({"type": "watch", "topic": f"area:{CITY}", "bbox": [-180, -90, 180, 90]}))
        await asyncio.sleep(0.3)
        before_kib = town.server.usage().rss_kib
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
        began, taken = time.monotonic(), 0
        with socket.fromfd(
            slow.writer.get_extra_info("socket").fileno(), socket.AF_INET, socket.SOCK_STREAM
        ) as trickle:
            while (passed_s := time.monotonic() - began) < 6:
                tapped = time.monotonic()
                ack = await raised(town, f"row33_{len(incidents)}", note="x" * 500)
                incidents.append(ack["incident"])
                await quick.until("incident", incident=ack["incident"])
                took.append(time.monotonic() - tapped)
                await asyncio.sleep(0.1)
                if passed_s > taken:
                    taken += len(trickle.recv(1, socket.MSG_DONTWAIT))
        assert town.server.usage().rss_kib - before_kib < 8 * 1_024
        print(
            f"{len(incidents)} SOS beside a reader of {taken} bytes, the slowest shown after {max(took) * 1e3:.0f} ms"
        )
        assert max(took) < 1.5
    # On its next line every incident is there, before anything else.
    async with town.console("row33_ops", device="slow") as back:
        assert {i["incident"] for i in await shown(back)} >= set(incidents)


@asynccontextmanager
async def walking(town: Town, user: str) -> AsyncIterator[None]:
    """A technician who reports a position twenty times a second."""
    await town.put_technician(user)
    async with town.session(user, Role.TECHNICIAN) as phone:
        await phone.ask("duty", on=True, city=CITY)

        async def walk() -> None:
            n = 0
            while True:
                n, now = n + 1, time.time()
                await phone.send("ping", seq=n, fixed_at=now, sent_at=now, lat=LAT + n * 1e-5, lng=LNG, accuracy_m=8)
                await asyncio.sleep(0.05)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(walk())
            yield
            task.cancel()


async def shown(console: Session) -> list[dict[str, Any]]:
    """The active incidents that a console gets when it comes without a past."""
    snapshot = await console.until("snapshot", stream="safety")
    found: list[dict[str, Any]] = snapshot["incidents"]
    return found


async def test_row_34_a_frozen_console_counts_as_not_delivered_and_the_incident_escalates(town: Town) -> None:
    ops = "row34_ops"
    async with connect(
        town.server.hub_url,
        subprotocols=["doorstep.v1.json"],  # type: ignore[list-item]
        proxy=None,
        max_queue=None,
    ) as frozen:
        # Its browser answers pings; the page behind it does nothing any more.
        await frozen.send(
            json_bytes({"type": "hello", "device": "f", "token": town.server.token(ops, Role.OPS)}), text=True
        )
        async with town.caller("row34") as one:
            await one.say("sos", key="k", **AT)
            ack = await one.until("sos_ack", key="k")
            assert (ack["delivered"], ack["seen"]) == (0, False)
            incident = ack["incident"]
            levels = set()
            async with asyncio.timeout(12):
                while 3 not in levels:
                    await asyncio.sleep(0.2)
                    stored = town.stored().incidents[incident]
                    levels.add(stored["level"])
                    (target,) = (t for t in stored["targets"] if t["user"] == ops)
                    assert target["received_at"] is None
            assert levels == {0, 1, 2, 3}
            async with town.console(ops, device="g") as awake:
                assert incident in {i["incident"] for i in await shown(awake)}


async def test_row_35_who_comes_back_gets_active_incidents_before_anything_else(town: Town) -> None:
    ops = "row35_ops"
    async with town.console(ops, device="desk") as first:
        one = await raised(town, "row35_a")
        told = await first.until("incident", incident=one["incident"])
        welcome = first.seen[0]
    resume = {name: {"epoch": state["epoch"], "seq": state.get("seq", 0)} for name, state in welcome["streams"].items()}
    resume["safety"] = {"epoch": told["epoch"], "seq": told["seq"]}
    two = await raised(town, "row35_b")
    async with connect(
        town.server.hub_url,
        subprotocols=["doorstep.v1.json"],  # type: ignore[list-item]
        proxy=None,
    ) as socket_:
        session = Session(socket_)
        await session.send("hello", device="desk", token=town.server.token(ops, Role.OPS), resume=resume)
        welcome = await session.until("welcome")
        assert welcome["streams"]["safety"]["how"] == "replayed"
        await session.until("incident", incident=two["incident"])
        rows = [message for message in session.seen if "stream" in message]
        assert {message["stream"] for message in rows} <= {"safety"}
        seqs = [message["seq"] for message in rows]
        assert seqs == sorted(seqs)
        assert all(seq > told["seq"] for seq in seqs)
    async with connect(
        town.server.hub_url,
        subprotocols=["doorstep.v1.json"],  # type: ignore[list-item]
        proxy=None,
    ) as socket_:
        session = Session(socket_)
        await session.send("hello", device="new desk", token=town.server.token(ops, Role.OPS))
        await session.until("welcome")
        snapshot = await session.until("snapshot")
        assert snapshot["stream"] == "safety", "before the snapshot of orders"
        assert {one["incident"], two["incident"]} <= {i["incident"] for i in snapshot["incidents"]}


# -- two devices --------------------------------------------------------------------------------------------


async def test_row_43_two_devices_of_one_person_are_one_incident_with_two_triggers(town: Town) -> None:
    user = "row43"
    async with (
        town.console("row43_ops") as console,
        town.session(user, Role.CUSTOMER, device="phone") as phone,
        town.session(user, Role.CUSTOMER, device="watch") as watch,
    ):
        await asyncio.gather(phone.send("sos", key="a", **AT), watch.send("sos", key="b", **AT))
        first, second = await phone.until("sos_ack", key="a"), await watch.until("sos_ack", key="b")
        assert first["incident"] == second["incident"]
        assert first["durable"] is second["durable"] is True
        assert (await console.until("incident", subject=user))["incident"] == first["incident"]
    stored = town.stored()
    (incident,) = stored.active_of(user)
    assert incident["triggers"] == 2
    assert {stored.taps[user, key]["device"] for key in ("a", "b")} == {"phone", "watch"}


# -- restarts -----------------------------------------------------------------------------------------------


async def insist(town: Town, user: str, key: str, acks: dict[str, str]) -> None:
    """Send an SOS again and again with its key until it is acknowledged as durable."""
    while key not in acks:
        try:
            status, ack = await town.post(user, json_bytes({"key": key, **AT}))
        except Exception:
            status, ack = 0, {}
        if status == 200 and ack["durable"]:
            acks[key] = ack["incident"]
        else:
            await asyncio.sleep(0.1)


class Watcher:
    """A console that comes back after every loss and keeps every incident that it was told of."""

    def __init__(self, town: Town, user: str) -> None:
        self._town, self._user = town, user
        self.told: set[str] = set()

    async def run(self) -> None:
        while True:
            try:
                async with self._town.console(self._user, device="desk") as console:
                    while True:
                        message = json.loads(await console.socket.recv())
                        if "stream" in message:
                            await console.send("ack", **{message["stream"]: message["seq"]})
                        if message["type"] == "incident":
                            self.told.add(message["incident"])
                        elif message["type"] == "snapshot":
                            self.told |= {i["incident"] for i in message.get("incidents", ())}
            except Exception:
                await asyncio.sleep(0.1)


async def test_row_37_restarts_lose_no_sos(tmp_path: Path) -> None:
    server = start_town(tmp_path)
    server.start()
    town = Town(server)
    acks: dict[str, str] = {}
    try:
        watcher = Watcher(town, "row37_ops")
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watcher.run())
            taps: list[asyncio.Task[None]] = []

            async def tap_each_second() -> None:
                while True:
                    n = len(taps)
                    taps.append(group.create_task(insist(town, f"row37_{n}", f"k{n}", acks)))
                    await asyncio.sleep(1.0)

            tapping = group.create_task(tap_each_second())
            for _ in range(2):
                await asyncio.sleep(1.0)
                assert await asyncio.to_thread(server.stop) == 0
                await asyncio.to_thread(server.start)
            await asyncio.sleep(1.0)
            tapping.cancel()
            async with asyncio.timeout(20):
                while not all(task.done() for task in taps) or not set(acks.values()) <= watcher.told:
                    await asyncio.sleep(0.1)
            watching.cancel()
        stored = stored_in(server.folder / "data")
    finally:
        server.stop()
    print(f"{len(acks)} SOS over 2 restarts")
    assert len(acks) >= 5
    assert {key: stored.taps[f"row37_{key[1:]}", key]["incident_id"] for key in acks} == acks
    assert stored.incidents.keys() == set(acks.values()), "one incident each, none that nobody was told of"
    assert set(acks.values()) == watcher.told
