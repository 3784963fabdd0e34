"""The Python client against a real server: a tap outlives the app, nobody is left in doubt, and alarms are answered."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from doorstep_client.connection import Client
from doorstep_client.events import (
    DrillChanged,
    Event,
    IncidentRaised,
    PingsJudged,
    SosNotReceived,
    SosProgress,
    SosStage,
)
from doorstep_client.http_sender import HttpSender
from doorstep_client.outbox import Outbox
from doorstep_client.ping_buffer import Fix
from doorstep_client.ping_file import PingFile
from doorstep_client.protocol import State
from doorstep_client.settings import ClientSettings

from tests.integration.served import CITY, LAT, LNG, Served, served

pytestmark = pytest.mark.slow
QUICK = ClientSettings(sos_retry_s=0.1, sos_not_received_s=0.3, reconnect_base_s=0.05, reconnect_max_s=0.2)
E = TypeVar("E", bound=Event)


async def until(client: Client, kind: type[E], is_it: Callable[[E], bool] = lambda event: True) -> E:
    async with asyncio.timeout(10.0):
        async for event in client.events():
            if isinstance(event, kind) and is_it(event):
                return event
    raise AssertionError(f"the client ended without {kind.__name__}")


def client(server: Served, user: str, role: str, outbox: Outbox | None = None) -> Client:
    token = server.token(user, role)
    return Client(server.app.hub_url, token=token, device=user, settings=QUICK, outbox=outbox)


async def test_a_tap_without_a_network_is_told_so_and_the_next_start_of_the_app_delivers_it(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "phone" / "sos.json")
    async with served(tmp_path) as server, client(server, "ops_1", "ops") as console:
        await console.ready()
        async with Client("ws://127.0.0.1:9", device="cus_1", settings=QUICK, outbox=outbox) as offline:
            calling = asyncio.create_task(offline.sos(lat=LAT, lng=LNG, note="help"))
            told = await until(offline, SosNotReceived)
        assert calling.cancelled() or not calling.done()
        calling.cancel()
        (kept,) = outbox.read()
        assert (kept.key, kept.epoch) == (told.key, None)
        async with client(server, "cus_1", "customer", outbox) as phone:
            assert (await until(phone, SosProgress)).stage is SosStage.RECEIVED
            durable = await until(phone, SosProgress, lambda e: e.stage is SosStage.DURABLE)
            raised = await until(console, IncidentRaised)
            assert (raised.incident, raised.rings, raised.body["note"]) == (durable.incident, True, "help")
            await until(phone, SosProgress, lambda e: e.stage is SosStage.DELIVERED)
            state = await console.answer(console.protocol.handle_incident.acknowledge(raised.incident, console.now()))
            assert state["state"] == "acknowledged"
            await until(phone, SosProgress, lambda e: e.stage is SosStage.SEEN)
        (kept,) = outbox.read()
        assert kept.incident == durable.incident
        assert kept.epoch


async def test_a_tap_that_finds_no_socket_goes_over_http_and_the_next_socket_tells_what_becomes_of_it(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as server, client(server, "ops_1", "ops") as console:
        await console.ready()
        token = server.token("cus_1", "customer")
        http = HttpSender(server.app.http_url)
        nowhere = Client("ws://127.0.0.1:9", token=token, device="cus_1", settings=QUICK, http=http)
        async with nowhere as phone:
            acked = await phone.sos(lat=LAT, lng=LNG)
            assert acked.durable
            raised = await until(console, IncidentRaised)
            assert raised.incident == acked.incident
            phone.url = server.app.hub_url
            progress = await until(phone, SosProgress, lambda e: e.stage is SosStage.DELIVERED)
            assert progress.incident == acked.incident
        _, listed, _ = await server.call("GET", "/v1/incidents", server.token("ops_1", "ops"))
        assert [incident["incident"] for incident in listed["incidents"]] == [acked.incident]


async def test_a_tap_goes_on_over_http_after_the_server_has_sent_the_device_away(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        http = HttpSender(server.app.http_url)
        mine = Client(
            server.app.hub_url, token=server.token("cus_1", "customer"), device="d", settings=QUICK, http=http
        )
        async with mine as phone, client(server, "ops_1", "ops"):
            await phone.ready()
            async with Client(
                server.app.hub_url, token=server.token("cus_1", "customer"), device="d", settings=QUICK
            ) as other:
                await other.ready()
                async with asyncio.timeout(10):
                    while phone.protocol.state is not State.ENDED:
                        await asyncio.sleep(0.01)
                    assert (await phone.sos(lat=LAT, lng=LNG)).durable


async def test_pings_reach_the_server_over_http_where_no_socket_lives(tmp_path: Path) -> None:
    settings = replace(QUICK, pings_over_http=True, pings_http_after_s=0.1)
    async with served(tmp_path) as server:
        control = await server.technician("tec_1")
        token = server.token("tec_1", "technician")
        http = HttpSender(server.app.http_url)
        nowhere = Client("ws://127.0.0.1:9", token=token, device="app", settings=settings, http=http)
        async with nowhere as phone:
            at = time.time()
            for n in range(5):
                phone.ping(Fix(LAT + 0.01, LNG, at + n))
            judged = await until(phone, PingsJudged)
            assert judged.verdicts.get("rate_limited") is None
            assert sum(judged.verdicts.values()) == 5
            assert phone.protocol.pings_waiting == 0
        await control.socket.close()


async def test_pings_of_a_killed_app_are_stored_before_those_of_the_next_and_the_jump_in_numbers_holds_up_nobody(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as server:
        control = await server.technician("tec_1")
        at = time.time()
        killed = PingFile(tmp_path / "pings")
        killed.rewrite([(seq, Fix(LAT + 0.01, LNG, at + seq)) for seq in range(3)], 1_000)
        killed.leave()
        token = server.token("tec_1", "technician")
        file = PingFile(tmp_path / "pings")
        mine = Client(server.app.hub_url, token=token, device="app", settings=QUICK, ping_file=file)
        async with mine as phone:
            phone.ping(Fix(LAT + 0.01, LNG, at + 4.0))
            async with asyncio.timeout(5):
                async for event in phone.events():
                    if isinstance(event, PingsJudged) and not phone.protocol.pings_waiting:
                        break
        kept = PingFile(tmp_path / "pings").read()
        assert (kept.rows, kept.is_clean) == ([], True)
        await control.socket.close()


async def test_who_begins_to_work_tries_the_alarm_through_the_client(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        body = {"name": "Li", "cities": [CITY], "skills": ["massage"], "verified": True}
        await server.call("PUT", "/v1/technicians/tec_1", server.token("prog", "service"), body)
        async with client(server, "tec_1", "technician") as phone:
            await phone.ready()
            await phone.duty(True, CITY)
            await until(phone, DrillChanged, lambda e: e.state == "asked")
            took_ms = await phone.tap_drill()
            passed = await until(phone, DrillChanged, lambda e: e.state == "passed")
            assert passed.round_trip_ms == took_ms > 0
