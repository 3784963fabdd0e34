"""The path of an SOS is proved each minute; what breaks it is noticed and told by a channel that still works."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from safety import synthetic
from server.system import SystemClock
from tests.integration.receiver import Receiver, receiving
from tests.integration.served import Served, served
from transport.page_channel import PageChannel

pytestmark = pytest.mark.slow
LOCAL = {"webhooks__private_hosts": "[127.0.0.1]", "safety__reach__attempt_timeout_s": "0.4"}
FAST = {
    "safety__reach__synthetic__first_s": "0", "safety__reach__synthetic__every_s": "1",
    "safety__reach__synthetic__timeout_s": "1",
}  # fmt: skip


def config(robot: Receiver, sms: Receiver) -> dict[str, str]:
    return LOCAL | FAST | {
        "safety__reach__robots": f'{{hq: {{tenant: demo, secret_env: X, url: "{robot.url}"}}}}',
        "safety__reach__sms": f'{{url: "{sms.url}", secret_env: X}}',
        "safety__reach__last_resort__phone": "+8613900000000",
    }  # fmt: skip


async def ready(server: Served) -> int:
    async with server.http.get(f"{server.app.admin_url}/readyz") as answer:
        return answer.status


async def metric(server: Served, name: str) -> float:
    async with server.http.get(f"{server.app.admin_url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), 0.0)


class Muted:
    """A channel whose program hangs: it takes everything and answers nothing."""

    async def send(self, message: Any, *, dry: bool) -> Any:
        await asyncio.Event().wait()


def mute(server: Served, line: str, channel: PageChannel | None = None) -> PageChannel:
    """Put another channel in a line's place; returns the one that was there."""
    found = server.app.house.pager._lines[line]
    before, found.channel = found.channel, channel or Muted()
    return before


async def test_a_synthetic_sos_passes_every_channel_and_nobody_hears_of_it(tmp_path: Path) -> None:
    async with receiving() as robot, receiving() as sms, served(tmp_path, **config(robot, sms)) as server:
        console = await server.session("ops_1", "ops")
        watch = server.app.house.watch
        assert watch is not None
        async with asyncio.timeout(20):
            while watch.synthetic.came_through < 2:
                await asyncio.sleep(0.1)
        assert watch.synthetic.missed == 0
        assert watch.is_well
        assert robot.got == sms.got == []  # up to the last hop, and no further
        assert [m for m in console.seen if m["type"].startswith("incident")] == []
        status, page, _ = await server.call("GET", "/v1/incidents", server.token("ops_1", "ops"))
        assert (status, page["incidents"]) == (200, [])
        assert await metric(server, 'doorstep_synthetic_sos_total{result="came_through"}') >= 2
        assert 0 < await metric(server, "doorstep_synthetic_sos_seconds") < 2
        assert await metric(server, "doorstep_incidents_unacknowledged") == 0
        # They are stored like any other, and ended by a reserved user.
        await asyncio.sleep(0.3)
        stored = await server.app.house.safety._store.incidents(synthetic.TENANT)
        assert stored
        assert all(not incident.is_active and incident.resolved_by == synthetic.WATCH for incident in stored[1:])


async def test_row_79_a_muted_channel_is_noticed_and_told_by_another_one(tmp_path: Path) -> None:
    async with receiving() as robot, receiving() as sms, served(tmp_path, **config(robot, sms)) as server:

        async def answer(nth: int, request: web.Request) -> web.Response:
            return web.Response(body=b'{"errcode":0}')

        robot.answer = answer
        assert await ready(server) == 200
        working = mute(server, "robot:hq")
        began = SystemClock().monotonic()
        await sms.until(1)
        # Two runs of a second each here; the time with the defaults is in tests/unit/server/test_safety_watch.py.
        assert SystemClock().monotonic() - began < 10
        said = json.loads(sms.got[0][1])
        assert said["phone"] == "+8613900000000"
        assert "robot:hq" in said["title"]
        assert robot.got == []
        assert await ready(server) == 503
        assert await metric(server, "doorstep_safety_well") == 0
        mute(server, "robot:hq", working)
        async with asyncio.timeout(15):
            while await ready(server) != 200:
                await asyncio.sleep(0.1)
        await sms.until(2)
        assert "works again" in json.loads(sms.got[-1][1])["title"]


async def test_a_pager_that_does_nothing_at_all_is_noticed(tmp_path: Path) -> None:
    async with receiving() as robot, receiving() as sms, served(tmp_path, **config(robot, sms)) as server:
        server.app.house.pager.send = lambda effect: None  # type: ignore[method-assign]
        async with asyncio.timeout(15):
            while await ready(server) == 200:
                await asyncio.sleep(0.1)
        watch = server.app.house.watch
        assert watch is not None
        assert watch.synthetic.last is not None
        assert {"robot:hq", "sms"} <= watch.synthetic.last.broken


async def test_timers_that_are_late_withhold_the_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.safety_watch.AUDIT_EVERY_S", 0.2)
    monkeypatch.setattr("server.safety_watch.HEARTBEAT_EVERY_S", 0.2)
    async with receiving() as heart, receiving() as sms:
        more = config(heart, sms) | {"safety__reach__heartbeat_url": heart.url, "safety__reach__robots": "{}"}
        async with served(tmp_path, **more) as server:
            await heart.until(2)
            safety = server.app.house.safety
            late = {"s": 7.0}
            monkeypatch.setattr(type(safety), "overdue_s", lambda self, now: late["s"])
            await sms.until(1)
            assert "7 s late" in json.loads(sms.got[0][1])["title"]
            assert await ready(server) == 503
            before = len(heart.got)
            await asyncio.sleep(2.5)
            assert len(heart.got) == before
            late["s"] = 0.0
            await heart.until(before + 1)
            assert await ready(server) == 200
