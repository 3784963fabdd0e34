"""Clients that this project did not write, each through one whole session against a real server."""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from doorstep_client.http import Api
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from core.principal import Role
from sim.demo import BOUNDARY, CENTRE, CITY
from sim.local_server import LocalCity, LocalServer
from tests.needs import missing

HERE = Path(__file__).resolve().parent
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    # Without these it talks to the world at every start.
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Report = Callable[[str], Awaitable[None]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(110)]


def tool(name: str) -> str:
    return shutil.which(name) or missing(f"{name} is not installed; `make test` installs it where it can")


class Stage:
    """A server with one technician, and an order that is placed when the technician is on duty."""

    def __init__(self, server: LocalServer, api: Api, user: str) -> None:
        self.server, self.api, self.user = server, api, user
        self.order = ""

    def config(self, secret: str, kind: str) -> dict[str, Any]:
        lat, lng = CENTRE
        return {
            "hub_url": self.server.hub_url,
            "device": "interop",
            "secret": secret,
            "secret_kind": kind,
            "city": CITY,
            "lat": lat,
            "lng": lng,
        }

    @property
    def token(self) -> str:
        return self.server.token(self.user, Role.TECHNICIAN)

    async def place_order(self) -> None:
        lat, lng = CENTRE
        body = {
            "customer": "cus_interop",
            "service": "massage-60",
            "skills": [self.user],
            "duration_s": 3600,
            "location": {"lat": lat + 0.003, "lng": lng, "address": "1 Fuhua Road"},
            "contact": {"name": "C", "phone": "13800000000"},
            "mode": "auto",
            "price": {"service_fen": 100, "travel_fen": 0},
        }
        answer = await self.api.call("POST", "/v1/orders", body, idempotency_key=f"order-of-{self.user}")
        self.order = answer["order"]

    async def report(self, what: str) -> None:
        assert what == "on duty"
        await self.place_order()

    async def check(self, result: dict[str, Any]) -> None:
        assert "error" not in result, result
        assert result["subprotocol"] == "doorstep.v1.json"
        assert result["user"] == self.user
        assert result["unknown"] == "unknown_type"
        assert result["verdicts"] == {"live": 1}
        assert result["order"] == self.order
        assert result["durable"] is True
        assert result["closed"] == 1000
        ops = self.server.token("ops_interop", Role.OPS)
        order = await self.api.call("GET", f"/v1/orders/{self.order}", token=ops)
        assert order["state"] == "assigned"
        incident = await self.api.call("GET", f"/v1/incidents/{result['incident']}", token=ops)
        assert incident["subject"] == self.user


@pytest.fixture(scope="module")
def server() -> Any:
    with LocalServer([LocalCity(CITY, BOUNDARY)], {"realtime": {"positions": {"ack_idle_s": 0.2}}}) as running:
        yield running


@pytest.fixture
async def stage(server: LocalServer, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    # A skill that only this technician has, so that no other test's order comes here.
    user = f"tec_{request.node.originalname.removeprefix('test_')[:20]}"
    async with Api(server.http_url, server.token("svc", Role.SERVICE)) as api:
        body = {"name": "I", "cities": [CITY], "skills": [user], "verified": True}
        await api.call("PUT", f"/v1/technicians/{user}", body)
        yield Stage(server, api, user)


async def test_websockets_completes_a_session(stage: Stage) -> None:
    result: dict[str, Any] = {}
    config = stage.config(stage.token, "token")
    async with connect(stage.server.hub_url, subprotocols=[Subprotocol("doorstep.v1.json")], proxy=None) as socket:

        async def say(**body: Any) -> None:
            await socket.send(json.dumps(body))

        passed: list[dict[str, Any]] = []

        async def until(kind: str, **fields: Any) -> dict[str, Any]:
            """The next such message, or one that came while another was waited for."""

            def fits(body: dict[str, Any]) -> bool:
                return body["type"] == kind and all(body.get(k) == v for k, v in fields.items())

            for earlier in passed:
                if fits(earlier):
                    passed.remove(earlier)
                    return earlier
            while True:
                async with asyncio.timeout(20):
                    body: dict[str, Any] = json.loads(await socket.recv())
                if "stream" in body:
                    await say(type="ack", **{body["stream"]: body["seq"]})
                if fits(body):
                    return body
                assert body["type"] != "error", body
                passed.append(body)

        result["subprotocol"] = socket.subprotocol
        await say(type="hello", device="interop", token=config["secret"])
        result["user"] = (await until("welcome"))["user"]
        await say(type="duty", on=True, city=CITY, ref="d")
        await until("ok", ref="d")
        await say(type="horoscope")
        result["unknown"] = (await until("error"))["code"]
        now = time.time()
        await say(type="ping", seq=1, fixed_at=now, sent_at=now, lat=config["lat"], lng=config["lng"], accuracy_m=8)
        result["verdicts"] = (await until("ping_ack"))["verdicts"]
        await stage.report("on duty")
        await say(type="offer.accept", offer=(await until("offer"))["offer"], ref="a")
        await until("ok", ref="a")
        result["order"] = (await until("order", state="assigned"))["order"]
        await say(type="sos", key="tap-1", lat=config["lat"], lng=config["lng"], fixed_at=now)
        ack = await until("sos_ack")
        result |= {"durable": ack["durable"], "incident": ack["incident"]}
    result["closed"] = socket.close_code
    await stage.check(result)


async def test_node_ws_completes_a_session(stage: Stage) -> None:
    node = tool("node")
    if not (HERE / "node_modules" / "ws").is_dir():
        missing("`npm ci` was not run in tests/interop; `make test` does it")
    process = await asyncio.create_subprocess_exec(
        node, "node_client.mjs", cwd=HERE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(stage.config(stage.token, "token")).encode())
    process.stdin.close()
    async with asyncio.timeout(60):
        await stage.report((await process.stdout.readline()).decode().strip())
        result = json.loads(await process.stdout.readline())
        assert await process.wait() == 0
    await stage.check(result)


async def test_chromium_completes_a_session_with_a_ticket(stage: Stage, tmp_path: Path) -> None:
    chromium = tool("chromium")
    ticket = await stage.api.call("POST", "/v1/tickets", {"device": "interop"}, token=stage.token)
    done: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    async def config(_: web.Request) -> web.Response:
        return web.json_response(stage.config(ticket["ticket"], "ticket"))

    async def report(request: web.Request) -> web.Response:
        await stage.report(json.loads(await request.text()))
        return web.Response()

    async def result(request: web.Request) -> web.Response:
        done.set_result(json.loads(await request.text()))
        return web.Response()

    async def page(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(HERE / "page.html")

    async def script(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(HERE / "session.mjs", headers={"Content-Type": "text/javascript"})

    application = web.Application()
    application.add_routes([web.get("/", page), web.get("/session.mjs", script), web.get("/config", config)])
    application.add_routes([web.post("/report", report), web.post("/result", result)])
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    command = [*CHROMIUM_FLAGS, f"--user-data-dir={tmp_path}", f"http://127.0.0.1:{port}/"]
    with (tmp_path / "chromium.log").open("wb") as log:
        browser = await asyncio.create_subprocess_exec(chromium, *command, stdout=log, stderr=log)
    try:
        async with asyncio.timeout(90):
            await stage.check(await done)
    finally:
        browser.terminate()
        await browser.wait()
        await runner.cleanup()
