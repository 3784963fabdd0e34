"""The Python client against a real server: a tap outlives the app, nobody is left in doubt, and alarms are answered."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from doorstep_client.connection import Client
from doorstep_client.events import DrillChanged, Event, IncidentRaised, SosNotReceived, SosProgress, SosStage
from doorstep_client.outbox import Outbox
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
