"""A phone that an offer does not find is woken through the platform's push service."""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from core.ids import OfferId, TenantId, UserId
from dispatch.model import Wake, WakeOutcome, WakeReason
from server.system import SystemClock
from tests.integration.receiver import Receiver, receiving
from tests.integration.served import LAT, LNG, SECRET, Served, order, served
from tests.unit.webhooks.test_signature import verifier
from transport.guarded_post import GuardedPost
from transport.notifiers import NoNotifier, PushWebhook

pytestmark = pytest.mark.slow


def _config(receiver: Receiver) -> dict[str, str]:
    return {"push__url": receiver.url, "push__secret_env": "X", "webhooks__private_hosts": "[127.0.0.1]"}


async def _wakes(server: Served) -> dict[str, float]:
    async with server.http.get(f"{server.app.admin_url}/metrics") as answer:
        lines = [line for line in (await answer.text()).splitlines() if line.startswith("doorstep_wakes_total{")]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}


async def test_a_phone_whose_socket_is_dead_is_woken_and_finds_the_next_offer(tmp_path: Path) -> None:
    async with receiving() as receiver:
        config = _config(receiver) | {"dispatch__undelivered_s": "0.3"}
        async with served(tmp_path, **config) as server:
            await server.technician("tec_1")  # and from here on it reads nothing
            _, placed, _ = await server.call("POST", "/v1/orders", server.token("cus_1", "customer"), order())
            await receiver.until(1)
            headers, raw = receiver.got[0]
            wake = json.loads(raw)
            assert (wake["type"], wake["user"], wake["reason"]) == ("wake", "tec_1", "undelivered")
            assert b"Secret" not in raw
            assert verifier()(headers["Doorstep-Signature"], raw, SECRET, now=SystemClock().now())
            again = await server.session("tec_1", "technician")
            await server.ping(again, 2, LAT + 0.01, LNG)
            offer = await again.until("offer", order=placed["order"])
            await again.ask("offer.accept", offer=offer["offer"])
            assert (await _wakes(server))["sent"] == 1


async def test_an_offer_to_a_phone_without_a_socket_wakes_it(tmp_path: Path) -> None:
    """Rounds choose phones with a session; one that lost it in the same moment is woken at once."""
    async with receiving() as receiver, served(tmp_path, **_config(receiver)) as server:
        await server.technician("tec_1")
        hub = server.app.house.hub
        hub.online = lambda tenant, user: False  # type: ignore[method-assign]
        await server.call("POST", "/v1/orders", server.token("cus_1", "customer"), order())
        await receiver.until(1)
        wake = json.loads(receiver.got[0][1])
        assert (wake["user"], wake["reason"]) == ("tec_1", "no_socket")
        assert wake["expires_at"] > wake["at"]


async def test_a_phone_with_a_socket_is_left_alone(tmp_path: Path) -> None:
    async with receiving() as receiver, served(tmp_path, **_config(receiver)) as server:
        phone = await server.technician("tec_1")
        await server.call("POST", "/v1/orders", server.token("cus_1", "customer"), order())
        await phone.until("offer")
        assert (await _wakes(server))["connected"] == 1
        assert receiver.got == []


async def _wake(receiver: Receiver, last_s: float = 20.0, timeout_s: float = 0.3) -> WakeOutcome:
    clock = SystemClock()
    poster = GuardedPost(private_hosts=("127.0.0.1",), timeout_s=5.0)
    push = PushWebhook(poster, clock, url=receiver.url, secrets=(SECRET,), timeout_s=timeout_s)
    found: asyncio.Future[WakeOutcome] = asyncio.get_running_loop().create_future()
    now = clock.now()
    wake = Wake(TenantId("demo"), UserId("tec_1"), OfferId("ofr_1"), WakeReason.NO_SOCKET, now, now + last_s)
    push.wake(wake, found.set_result)
    outcome = await asyncio.wait_for(found, 3)
    await push.close()
    await poster.close()
    return outcome


@pytest.mark.parametrize("status", [301, 404, 429, 500])
async def test_what_the_push_service_does_not_take_has_failed(status: int) -> None:
    async with receiving() as receiver:

        async def answer(nth: int, request: web.Request) -> web.Response:
            return web.Response(status=status)

        receiver.answer = answer
        assert await _wake(receiver) is WakeOutcome.FAILED
        assert len(receiver.got) == 1


async def test_a_push_service_that_hangs_is_not_waited_for_and_not_longer_than_the_offer_lasts() -> None:
    async with receiving() as receiver:

        async def answer(nth: int, request: web.Request) -> web.Response:
            await asyncio.Event().wait()
            return web.Response()

        receiver.answer = answer
        assert await _wake(receiver) is WakeOutcome.FAILED
        assert await _wake(receiver, last_s=0.2, timeout_s=60) is WakeOutcome.FAILED


async def test_a_wake_that_is_under_way_at_the_end_is_told_as_failed() -> None:
    async with receiving() as receiver:

        async def answer(nth: int, request: web.Request) -> web.Response:
            await asyncio.Event().wait()
            return web.Response()

        receiver.answer = answer
        poster = GuardedPost(private_hosts=("127.0.0.1",), timeout_s=60.0)
        push = PushWebhook(poster, SystemClock(), url=receiver.url, secrets=(SECRET,), timeout_s=60)
        told: list[WakeOutcome] = []
        now = SystemClock().now()
        push.wake(Wake(TenantId("d"), UserId("t"), OfferId("o"), WakeReason.NO_SOCKET, now, now + 60), told.append)
        await receiver.until(1)
        await push.close()
        await poster.close()
        assert told == [WakeOutcome.FAILED]


def test_without_a_push_service_it_is_said_that_nobody_was_woken() -> None:
    told: list[WakeOutcome] = []
    NoNotifier().wake(Wake(TenantId("d"), UserId("t"), OfferId("o"), WakeReason.NO_SOCKET, 1.0, 2.0), told.append)
    assert told == [WakeOutcome.OFF]
