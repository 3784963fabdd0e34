"""The client of webhooks against a real server: where it goes, where it never goes, and how long it waits."""

import asyncio
import socket
import time
from contextlib import suppress

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.integration.receiver import Receiver, receiving
from transport.guarded_post import BODY_BYTES_MAX, GuardedPost
from webhooks.model import Answer, Outcome

pytestmark = pytest.mark.slow


class Names(AbstractResolver):
    """A name server that may say something else each time it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in answer
        ]

    async def close(self) -> None:
        """Nothing is open."""


async def post(receiver: Receiver, url: str = "", timeout_s: float = 5.0, names: Names | None = None) -> Answer:
    client = GuardedPost(private_hosts=("127.0.0.1", "hooks.internal"), timeout_s=timeout_s, resolver=names)
    try:
        return await client.post(url or receiver.url, {"X": "1"}, b"{}")
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.DELIVERED), (204, Outcome.DELIVERED), (301, Outcome.REDIRECTED), (400, Outcome.REFUSED),
        (404, Outcome.REFUSED), (408, Outcome.THROTTLED), (410, Outcome.GONE), (429, Outcome.THROTTLED),
        (500, Outcome.FAILED), (503, Outcome.FAILED), (599, Outcome.FAILED),
    ],
)  # fmt: skip
async def test_each_status_has_its_outcome(status: int, outcome: Outcome) -> None:
    async with receiving() as receiver:

        async def answer(nth: int, request: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Retry-After": "7"})

        receiver.answer = answer
        assert await post(receiver) == Answer(outcome, status, 7.0)


async def test_a_redirect_is_never_followed() -> None:
    async with receiving() as receiver, receiving() as inner:

        async def answer(nth: int, request: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": inner.url})

        receiver.answer = answer
        assert (await post(receiver)).outcome is Outcome.REDIRECTED
        assert inner.got == []


async def test_a_server_that_hangs_or_drips_is_given_up_in_time() -> None:
    async with receiving() as receiver:

        async def hang(nth: int, request: web.Request) -> web.Response:
            await asyncio.Event().wait()
            return web.Response()

        receiver.answer = hang
        began = time.monotonic()
        assert (await post(receiver, timeout_s=0.5)).outcome is Outcome.TIMEOUT
        assert time.monotonic() - began < 2

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for byte in b"HTTP/1.1 200 OK\r\n" * 1_000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    assert (await post(Receiver(), url, timeout_s=0.5)).outcome is Outcome.TIMEOUT
    server.close()


async def test_an_answer_without_end_is_not_read() -> None:
    sent = 0

    async def endless(nth: int, request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65_536)
                sent += 65_536
        except ConnectionError:
            pass
        return response

    async with receiving() as receiver:
        receiver.answer = endless
        began = time.monotonic()
        assert (await post(receiver)).outcome is Outcome.DELIVERED
        assert time.monotonic() - began < 2
    assert sent < 16_000_000


async def test_what_is_not_http_and_nobody_there() -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n")
        writer.close()

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert (await post(Receiver(), f"http://127.0.0.1:{port}/")).outcome is Outcome.FAILED
    server.close()
    await server.wait_closed()
    assert (await post(Receiver(), f"http://127.0.0.1:{port}/")).outcome is Outcome.UNREACHABLE
    assert (await post(Receiver(), "http://[::1/")).outcome is Outcome.FAILED


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1"])
async def test_a_name_that_leads_into_a_private_network_is_not_connected_to(address: str) -> None:
    async with receiving() as receiver:
        for answer in ([address], ["8.8.8.8", address]):
            url = f"http://evil.example:{receiver.port}/"
            assert (await post(receiver, url, names=Names(answer))).outcome is Outcome.FORBIDDEN_ADDRESS
        assert receiver.got == []


async def test_an_address_in_the_url_is_checked_although_nothing_is_looked_up() -> None:
    async with receiving() as receiver:
        for host in ("127.0.0.2", "[::1]", "[::ffff:127.0.0.1]", "localhost", "2130706433", "127.1", "0x7f000001"):
            answer = await post(receiver, f"http://{host}:{receiver.port}/")
            assert answer.outcome in (Outcome.FORBIDDEN_ADDRESS, Outcome.UNREACHABLE, Outcome.FAILED), host
        assert receiver.got == []


async def test_a_name_that_changes_between_check_and_use_gains_nothing() -> None:
    """The name is asked once for each connection, and what was checked is what is connected to."""
    async with receiving() as receiver:
        names = Names(["192.88.99.1"], ["127.0.0.1"])
        url = f"http://rebinding.example:{receiver.port}/"
        first = await post(receiver, url, timeout_s=0.3, names=names)
        assert first.outcome in (Outcome.TIMEOUT, Outcome.UNREACHABLE)
        assert names.asked == 1
        assert (await post(receiver, url, names=names)).outcome is Outcome.FORBIDDEN_ADDRESS
        assert receiver.got == []


async def test_a_host_that_the_config_names_may_be_anywhere() -> None:
    async with receiving() as receiver:
        names = Names(["127.0.0.1"])
        url = f"http://hooks.internal:{receiver.port}/x"
        assert (await post(receiver, url, names=names)).outcome is Outcome.DELIVERED
        headers, body = receiver.got[0]
        assert (headers["X"], headers["User-Agent"], body) == ("1", "doorstep", b"{}")


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as receiver, receiving() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        assert (await post(receiver)).outcome is Outcome.DELIVERED
        assert proxy.got == []


async def test_a_body_is_read_where_it_counts_and_never_beyond_64_kib() -> None:
    async with receiving() as receiver:

        async def answer(nth: int, request: web.Request) -> web.Response:
            return web.Response(body=b"x" * (10 if nth == 0 else BODY_BYTES_MAX + 5_000))

        receiver.answer = answer
        client = GuardedPost(private_hosts=("127.0.0.1",), timeout_s=5.0)
        assert (await client.ask(receiver.url, {}, b"{}")).body == b"x" * 10
        assert len((await client.ask(receiver.url, {}, b"{}")).body) == BODY_BYTES_MAX
        assert (await client.post(receiver.url, {}, b"{}")).body == b""
        await client.close()


async def test_a_body_that_drips_is_not_waited_for() -> None:
    async with receiving() as receiver:

        async def drip(nth: int, request: web.Request) -> web.StreamResponse:
            answer = web.StreamResponse()
            await answer.prepare(request)
            with suppress(ConnectionError):
                for _ in range(100):
                    await answer.write(b" ")
                    await asyncio.sleep(0.1)
            return answer

        receiver.answer = drip
        client = GuardedPost(private_hosts=("127.0.0.1",), timeout_s=0.5)
        before = time.monotonic()
        assert (await client.ask(receiver.url, {}, b"{}")).outcome is Outcome.TIMEOUT
        assert time.monotonic() - before < 2
        await client.close()


async def test_reaching_a_host_says_nothing_to_it_and_obeys_the_same_rule() -> None:
    async with receiving() as receiver:
        client = GuardedPost(private_hosts=("127.0.0.1",), timeout_s=1.0)
        assert await client.reach(receiver.url) is Outcome.DELIVERED
        assert receiver.got == []
        assert await client.reach("http://127.0.0.1:1/") is Outcome.UNREACHABLE
        assert await client.reach("http://169.254.169.254/") is Outcome.FORBIDDEN_ADDRESS
        await client.close()
        strict = GuardedPost(private_hosts=(), timeout_s=1.0, resolver=Names(["93.184.216.34", "10.0.0.1"]))
        assert await strict.reach("https://hooks.example/") is Outcome.FORBIDDEN_ADDRESS
        await strict.close()
