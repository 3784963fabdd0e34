"""Order events at a program outside, from a real server: signed, again after failures, and after a kill."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from core.principal import Role
from server.root import Settings
from server.system import SystemClock, SystemIds
from server.tokens import issue
from tests.integration.receiver import Receiver, receiving
from tests.integration.served import CITY, KEY, SECRET, Served, order, served
from tests.unit.webhooks.test_signature import verifier

pytestmark = pytest.mark.slow


def _config(receiver: Receiver, **changes: Any) -> dict[str, str]:
    endpoint = {"tenant": "demo", "url": receiver.url, "secret_env": "HOOK_SECRET", **changes}
    return {
        "webhooks__endpoints": json.dumps({"billing": endpoint}),
        "webhooks__private_hosts": "[127.0.0.1]",
        "webhooks__retry_first_s": "0.1",
        "webhooks__breaker_first_s": "0.2",
        "webhooks__timeout_s": "1",
    }


async def _place(server: Served, tenant: str = "demo") -> str:
    token = server.token("cus_1", "customer", tenant=tenant)
    status, placed, _ = await server.call("POST", "/v1/orders", token, order())
    assert status == 201, placed
    return str(placed["order"])


async def _metric(server: Served, name: str) -> float:
    async with server.http.get(f"{server.app.admin_url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


async def test_every_event_of_an_order_arrives_signed_and_without_an_address(tmp_path: Path) -> None:
    async with receiving() as receiver, served(tmp_path, **_config(receiver)) as server:
        phone = await server.technician("tec_1")
        placed = await _place(server)
        await _place(server, tenant="other")
        offer = await phone.until("offer")
        await phone.ask("offer.accept", offer=offer["offer"])
        await phone.ask("job.step", order=placed, step="en_route")
        await receiver.until(3)
        kinds = [kind for kind, _ in receiver.events()]
        assert {"order.placed", "order.assigned", "order.en_route"} <= set(kinds)
        for headers, body in receiver.got:
            event = json.loads(body)
            assert event["order"]["order"] == placed
            assert event["tenant"] == "demo"
            assert b"Secret" not in body
            assert b"13800000000" not in body
            assert headers["Doorstep-Event"] == event["type"]
            assert headers["Doorstep-Delivery"] == event["id"]
            assert verifier()(headers["Doorstep-Signature"], body, SECRET, now=SystemClock().now())


async def test_only_the_kinds_and_details_that_are_asked_for(tmp_path: Path) -> None:
    async with receiving() as receiver:
        config = _config(receiver, events=["order.cancelled"], details=True, cities=[CITY])
        async with served(tmp_path, **config) as server:
            placed = await _place(server)
            await server.call("POST", f"/v1/orders/{placed}/cancel", server.token("cus_1", "customer"), {})
            await receiver.until(1)
            assert [kind for kind, _ in receiver.events()] == ["order.cancelled"]
            assert b"1 Secret Road" in receiver.got[0][1]


async def test_after_failures_of_every_kind_each_event_arrives(tmp_path: Path) -> None:
    async with receiving() as receiver, receiving() as elsewhere:

        async def answer(nth: int, request: web.Request) -> web.StreamResponse:
            match nth:
                case 0:
                    return web.Response(status=500)
                case 1:
                    return web.Response(status=302, headers={"Location": elsewhere.url})
                case 2:
                    await asyncio.sleep(1.5)
                case 3:
                    assert request.transport is not None
                    request.transport.abort()
                case 4:
                    return web.Response(status=400)
            return web.Response()

        receiver.answer = answer
        async with served(tmp_path, **_config(receiver, events=["order.placed"])) as server:
            orders = [await _place(server) for _ in range(3)]
            async with asyncio.timeout(20):
                while await _metric(server, 'doorstep_webhook_waiting{endpoint="billing"}') > 0:
                    await asyncio.sleep(0.1)
            ids = [event_id for _, event_id in receiver.events()]
            assert len(set(ids)) == len(orders)
            assert len(ids) == len(orders) + 5
            assert elsewhere.got == []
            assert await _metric(server, 'doorstep_webhook_attempts_total{endpoint="billing",outcome="delivered"}') == 3
            assert await _metric(server, 'doorstep_webhook_attempts_total{endpoint="billing",outcome="timeout"}') == 1


async def test_an_event_that_nobody_takes_is_dead_and_counted_and_does_not_hold_others_up(tmp_path: Path) -> None:
    async with receiving() as receiver:
        poison: list[str] = []

        async def answer(nth: int, request: web.Request) -> web.StreamResponse:
            event = json.loads(receiver.got[nth][1])
            poison[:] = poison or [event["id"]]
            return web.Response(status=422 if event["id"] == poison[0] else 200)

        receiver.answer = answer
        config = _config(receiver, events=["order.placed"]) | {"webhooks__attempts_max": "3"}
        async with served(tmp_path, **config) as server:
            for _ in range(3):
                await _place(server)
            async with asyncio.timeout(20):
                while await _metric(server, "doorstep_webhook_dead_total") < 1:
                    await asyncio.sleep(0.05)
            ids = [event_id for _, event_id in receiver.events()]
            assert ids.count(poison[0]) == 3
            assert len(ids) == 5
            assert await _metric(server, "doorstep_webhook_waiting") == 0


async def test_a_full_queue_drops_new_events_and_says_so_and_orders_go_on(tmp_path: Path) -> None:
    async with receiving() as receiver:

        async def answer(nth: int, request: web.Request) -> web.StreamResponse:
            return web.Response(status=500)

        receiver.answer = answer
        config = _config(receiver, events=["order.placed"]) | {"webhooks__queue_len_max": "2"}
        async with served(tmp_path, **config) as server:
            for _ in range(4):
                await _place(server)
            assert await _metric(server, "doorstep_webhook_dropped_total") == 2
            assert await _metric(server, "doorstep_webhook_waiting") == 2


async def test_a_process_that_is_killed_delivers_every_event_after_its_restart(tmp_path: Path) -> None:
    async with receiving() as receiver:

        async def hang(nth: int, request: web.Request) -> web.StreamResponse:
            await asyncio.Event().wait()
            return web.Response()

        receiver.answer = hang
        names = {"http__port": "0", "hub__port": "0", "admin__port": "0", "data_folder": str(tmp_path / "data")}
        names |= _config(receiver, events=["order.placed"]) | {"webhooks__timeout_s": "60"}
        environ = os.environ | {f"DOORSTEP__{name.upper()}": value for name, value in names.items()}
        environ |= {
            "DOORSTEP_JWT_SECRET": SECRET.decode(),
            "DOORSTEP_AUDIT_KEY": "kR4u7w2pX9-an-audit-key-with-enough-letters",
            "HOOK_SECRET": "VQ3p9c1xM7s-a-secret-with-enough-letters",
            "DOORSTEP__LOG__FORMAT": "json",
            "DOORSTEP__SAFETY__REACH__LAST_RESORT__LOG": "true",
        }

        async def start() -> tuple[asyncio.subprocess.Process, str]:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "cli.main", "serve", env=environ, stderr=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL, cwd=Path(__file__).parents[2],
            )  # fmt: skip
            assert process.stderr is not None
            async with asyncio.timeout(30):
                while line := await process.stderr.readline():
                    if b'"http"' in line:
                        return process, str(json.loads(line)["http"])
            raise AssertionError("it did not start")

        process, url = await start()
        token = issue(
            KEY, Settings().auth, SystemClock(), SystemIds(), user="cus_1", role=Role.CUSTOMER, tenant="demo",
            cities=[CITY],
        )  # fmt: skip
        placed = set()
        async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {token}"}) as http:
            for _ in range(20):
                async with http.post("/v1/orders", json=order()) as answer:
                    placed.add((await answer.json())["order"])
        await receiver.until(4)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        before = len(receiver.got)
        receiver.answer = None
        process, _ = await start()
        await receiver.until(before + 20)
        arrived = {json.loads(body)["order"]["order"] for _, body in receiver.got[before:]}
        assert arrived == placed
        first_ids = {event_id for _, event_id in receiver.events()[:before]}
        assert first_ids <= {event_id for _, event_id in receiver.events()[before:]}
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
