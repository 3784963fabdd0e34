"""People outside the hub on a real server: real HTTP to programs that answer well, badly, late, or with a trap."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from core.ids import TenantId, UserId
from server.config import ConfigError
from server.system import SystemClock
from tests.integration.receiver import Receiver, receiving
from tests.integration.served import CITY, SECRET, Served, served
from tests.unit.webhooks.test_signature import verifier

pytestmark = pytest.mark.slow
Answer = Callable[[int, web.Request], Awaitable[web.StreamResponse]]
LOCAL = {"webhooks__private_hosts": "[127.0.0.1]", "safety__reach__attempt_timeout_s": "0.4"}
SOON = {
    "safety__reach__push_after_s": "1", "safety__reach__sms_after_s": "2", "safety__reach__voice_after_s": "3",
    "safety__abort_window_s": "0",
}  # fmt: skip


def says(body: bytes, status: int = 200, **headers: str) -> Answer:
    async def answer(nth: int, request: web.Request) -> web.Response:
        return web.Response(body=body, status=status, headers=headers)

    return answer


async def hangs(nth: int, request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


FAULTS: dict[str, tuple[Answer, str]] = {
    "310000": (says(b'{"errcode":310000,"errmsg":"sign not match"}'), "refused"),
    "45009": (says(b'{"errcode":45009}'), "refused"),
    "429": (says(b"", 429), "throttled"),
    "500": (says(b"", 500), "failed"),
    "timeout": (hangs, "timeout"),
    "redirect": (says(b"", 302, Location="http://169.254.169.254/latest/meta-data"), "redirected"),
    "not json": (says(b"ok"), "failed"),
}


def robot(receiver: Receiver, kind: str = "dingtalk") -> dict[str, str]:
    url = receiver.url
    return {"safety__reach__robots": f'{{hq: {{tenant: demo, kind: {kind}, secret_env: X, url: "{url}"}}}}'}


def gateways(sms: Receiver, voice: Receiver) -> dict[str, str]:
    return {
        "safety__reach__sms": f'{{url: "{sms.url}", secret_env: X}}',
        "safety__reach__voice": f'{{url: "{voice.url}", secret_env: X}}',
        "safety__reach__supervisors": '{night: {tenant: demo, phone: "13900000000"}}',
    }


async def sos(server: Served, user: str = "tec_1") -> str:
    status, ack, _ = await server.call("POST", "/v1/sos", server.token(user, "technician"), {"key": "k1"})
    assert status == 200
    return str(ack["incident"])


async def deliveries(server: Served, incident: str) -> dict[tuple[str, str], dict[str, Any]]:
    token = server.token("ops_1", "ops")
    status, answer, _ = await server.call("GET", f"/v1/incidents/{incident}/deliveries", token)
    assert status == 200, answer
    return {(page["recipient"], hop["channel"]): hop for page in answer["pages"] for hop in page["hops"]}


async def test_a_robot_hears_of_it_at_once_and_its_answer_is_read(tmp_path: Path) -> None:
    async with receiving() as hq, served(tmp_path, **LOCAL, **robot(hq)) as server:
        hq.answer = says(b'{"errcode":0}')
        began = SystemClock().monotonic()
        incident = await sos(server)
        await hq.until(1)
        assert SystemClock().monotonic() - began < 2
        said = json.loads(hq.got[0][1])
        assert "SOS" in said["markdown"]["text"]
        await asyncio.sleep(0.1)
        hop = (await deliveries(server, incident))["robot:hq", "robot"]
        assert (hop["state"], hop["outcome"], hop["attempts"]) == ("taken", "taken", 1)


@pytest.mark.parametrize("fault", FAULTS)
async def test_row_74_whatever_a_robot_answers_the_next_channel_takes_over_on_the_clock(
    tmp_path: Path, fault: str
) -> None:
    answer, outcome = FAULTS[fault]
    async with receiving() as hq, receiving() as sms, receiving() as voice:
        hq.answer = answer
        config = LOCAL | SOON | robot(hq) | gateways(sms, voice)
        async with served(tmp_path, **config) as server:
            began = SystemClock().monotonic()
            incident = await sos(server)
            # No console is connected: the supervisor is called at once, whatever becomes of the robot.
            await sms.until(1)
            await voice.until(1)
            assert SystemClock().monotonic() - began < 2
            headers, raw = sms.got[0]
            assert json.loads(raw)["phone"] == "13900000000"
            assert verifier()(headers["Doorstep-Signature"], raw, SECRET, now=SystemClock().now())
            await hq.until(1)
            await asyncio.sleep(0.6)
            hop = (await deliveries(server, incident))["robot:hq", "robot"]
            assert (hop["state"], hop["outcome"]) == ("waiting", outcome)
            assert hop["due_at"] > hop["settled_at"]  # it is tried again
            assert len(hq.got) == 1  # and the trap was not followed


async def _with_phone(server: Served, user: str) -> None:
    body = {"phone": "13800000000", "name": f"Name of {user}"}
    status, answer, _ = await server.call("PUT", f"/v1/people/{user}/safety", server.token("prog", "service"), body)
    assert status in (200, 204), answer


async def test_row_34_a_frozen_console_counts_for_nothing_and_its_user_is_woken_written_to_and_called(
    tmp_path: Path,
) -> None:
    async with receiving() as push, receiving() as sms, receiving() as voice:
        config = LOCAL | SOON | gateways(sms, voice) | {"push__url": push.url, "push__secret_env": "X"}
        async with served(tmp_path, **config) as server:
            await _with_phone(server, "ops_1")
            frozen = await server.session("ops_1", "ops")  # its tab lives, and reads and confirms nothing
            incident = await sos(server)
            began = SystemClock().monotonic()
            for channel, expected_s in ((push, 1.0), (sms, 2.0), (voice, 3.0)):
                await channel.until(1)
                assert SystemClock().monotonic() - began == pytest.approx(expected_s, abs=0.5)
            assert json.loads(push.got[0][1])["user"] == "ops_1"
            token = server.token("tec_1", "technician")
            _, ack, _ = await server.call("POST", "/v1/sos", token, {"key": "k1"})
            assert ack["delivered"] == 0  # three messages were taken, no device has confirmed
            await frozen.until("incident", incident=incident)
            await asyncio.sleep(0.2)
            _, ack, _ = await server.call("POST", "/v1/sos", token, {"key": "k1"})
            assert ack["delivered"] == 1


async def test_row_32_a_responder_on_a_dead_line_is_woken_and_written_to_and_the_socket_is_dropped(
    tmp_path: Path,
) -> None:
    async with receiving() as push, receiving() as sms, receiving() as voice:
        config = LOCAL | SOON | gateways(sms, voice) | {"push__url": push.url, "push__secret_env": "X"}
        async with served(tmp_path, **config) as server:
            await _with_phone(server, "tec_2")
            phone = await server.technician("tec_2")
            responder = await server.session("tec_2", "technician", roles=("responder",))
            for session in (phone, responder):
                session.socket.transport.pause_reading()  # the line takes bytes and gives none back
            await sos(server)
            began = SystemClock().monotonic()
            for channel, expected_s in ((push, 1.0), (sms, 2.0)):
                async with asyncio.timeout(5):
                    while not any(_is_for(raw, "tec_2") for _, raw in channel.got):
                        await asyncio.sleep(0.02)
                assert SystemClock().monotonic() - began == pytest.approx(expected_s, abs=0.6)
            hub = server.app.house.hub
            async with asyncio.timeout(40):
                while hub.online(TenantId("demo"), UserId("tec_2")):
                    await asyncio.sleep(0.2)


def _is_for(raw: bytes, user: str) -> bool:
    return bool(json.loads(raw).get("user") == user)


async def test_row_75_an_attempt_that_is_made_again_has_the_same_id_and_a_new_signature(tmp_path: Path) -> None:
    async with receiving() as guards:
        hook = f'{{guards: {{tenant: demo, url: "{guards.url}", secret_env: X, external: false}}}}'
        config = LOCAL | {"safety__reach__webhooks": hook, "safety__reach__retry_first_s": "1.1"}
        async with served(tmp_path, **config) as server:

            async def answer(nth: int, request: web.Request) -> web.Response:
                return web.Response(status=500 if nth == 0 else 204)

            guards.answer = answer
            incident = await sos(server)
            await guards.until(2)
            (first, raw), (second, raw_2) = guards.got[:2]
            assert first["Doorstep-Delivery"] == second["Doorstep-Delivery"] == json.loads(raw)["id"]
            assert first["Doorstep-Signature"] != second["Doorstep-Signature"]
            assert json.loads(raw_2)["incidents"] == [incident]
            genuine = verifier()
            sent_at = int(second["Doorstep-Signature"].split(",")[0].removeprefix("t="))
            assert genuine(second["Doorstep-Signature"], raw_2, SECRET, now=sent_at + 299)
            assert not genuine(second["Doorstep-Signature"], raw_2, SECRET, now=sent_at + 301)  # somebody's replay
            assert not genuine(second["Doorstep-Signature"], raw_2, b"f" * 32, now=sent_at)  # a forger's


async def test_a_host_that_leads_into_the_house_is_not_called(tmp_path: Path) -> None:
    config = LOCAL | {"webhooks__private_hosts": "[]", "safety__reach__attempt_timeout_s": "3"}
    hook = '{guards: {tenant: demo, url: "https://169.254.169.254/x", secret_env: X, external: false}}'
    async with served(tmp_path, **config, safety__reach__webhooks=hook) as server:
        incident = await sos(server)
        await asyncio.sleep(0.5)
        hop = (await deliveries(server, incident))["webhook:guards", "webhook"]
        assert hop["outcome"] == "forbidden_address"


async def test_an_answer_without_an_end_is_cut_off(tmp_path: Path) -> None:
    async with receiving() as hq, served(tmp_path, **LOCAL, **robot(hq)) as server:

        async def flood(nth: int, request: web.Request) -> web.StreamResponse:
            answer = web.StreamResponse()
            await answer.prepare(request)
            for _ in range(40):
                await answer.write(b" " * 65_536)
            return answer

        hq.answer = flood
        incident = await sos(server)
        await hq.until(1)
        await asyncio.sleep(0.6)
        assert (await deliveries(server, incident))["robot:hq", "robot"]["outcome"] in ("failed", "timeout")


async def test_what_was_under_way_at_a_crash_is_made_again_after_the_start(tmp_path: Path) -> None:
    async with receiving() as hq:
        hq.answer = hangs
        config = LOCAL | robot(hq) | {"safety__reach__attempt_timeout_s": "10"}
        async with served(tmp_path, **config) as server:
            incident = await sos(server)
            await hq.until(1)
        hq.answer = says(b'{"errcode":0}')
        async with served(tmp_path, **config) as server:
            await hq.until(2)
            await asyncio.sleep(0.2)
            assert (await deliveries(server, incident))["robot:hq", "robot"]["state"] == "taken"


async def test_who_may_not_see_the_incident_sees_no_deliveries(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        incident = await sos(server)
        path = f"/v1/incidents/{incident}/deliveries"
        for user, role in (("tec_2", "technician"), ("cus_1", "customer"), ("tec_1", "technician")):
            status, _, _ = await server.call("GET", path, server.token(user, role))
            assert status in (403, 404)
        status, _, _ = await server.call("GET", path, server.token("ops_9", "ops", tenant="other"))
        assert status == 404
        assert CITY


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"safety__reach__last_resort__log": "false"}, "safety.reach.last_resort"),
        ({"safety__reach__push_after_s": "0"}, "safety.reach.push_after_s"),
        ({"safety__reach__sms_after_s": "2"}, "safety.reach.sms_after_s"),
        ({"safety__level_1_after_s": "0"}, "safety.level_1_after_s"),
        ({"safety__level_2_after_s": "10"}, "safety.level_2_after_s"),
        ({"safety__repeat_s": "0"}, "safety.repeat_s"),
        ({"safety__reach__last_resort__fone": "138"}, "safety.reach.last_resort.fone"),
        ({"safety__reach__robots": "{hq: {tenant: dmo, secret_env: X}}"}, "did you mean 'demo'"),
    ],
)
async def test_row_78_a_ladder_that_cannot_work_does_not_start(
    tmp_path: Path, changes: dict[str, str], key: str
) -> None:
    with pytest.raises(ConfigError) as error:
        async with served(tmp_path, **changes):
            pass
    assert key in str(error.value)
