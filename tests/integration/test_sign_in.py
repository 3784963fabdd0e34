"""How a sign-in ends on a real server: its token runs out, it is revoked, or its owner leaves; and how keys change."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from server.keys import Key
from server.outgoing_secrets import OutgoingSecrets
from server.renewal import FreshSecrets
from server.settings import Algorithm
from server.system import SystemClock
from tests.integration.receiver import receiving
from tests.integration.served import KEY, SECRET, Served, Session, order, served
from tests.unit.webhooks.test_signature import verifier

pytestmark = pytest.mark.slow
NEXT_SECRET = b"another test secret of more than thirty-two bytes"
NEXT = Key("next", Algorithm.HS256, NEXT_SECRET, NEXT_SECRET)


async def _open(server: Served, token: str, device: str) -> Session:
    session = Session(await connect(server.app.hub_url, subprotocols=["doorstep.v1.json"]))  # type: ignore[list-item]
    await session.send("hello", token=token, device=device)
    await session.until("welcome")
    return session


async def _end(session: Session) -> tuple[int, float]:
    """The code by which it is closed, and when."""
    with pytest.raises(ConnectionClosed) as closed:
        await session.until("never", timeout_s=15)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, time.time()


async def test_the_stream_stops_within_five_seconds_of_the_tokens_end(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        expires_at = time.time() + 2
        session = await _open(server, server.token("ops_1", "ops", life_s=2), "console")
        renewed = await _open(server, server.token("ops_1", "ops", life_s=2), "second console")
        await renewed.ask("refresh", token=server.token("ops_1", "ops"))
        code, ended_at = await _end(session)
        assert code == 4401
        assert expires_at - 1 <= ended_at <= expires_at + 5
        await renewed.ask("watch", topic="area:shenzhen")  # the same socket goes on
        status, told, _ = await server.call("GET", "/v1/orders", server.token("ops_1", "ops", life_s=-1))
        assert (status, told["code"]) == (401, "token_expired")


async def test_a_revocation_holds_within_a_second_of_the_change_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "revoked"
    file.write_text("")
    async with served(tmp_path, auth__revoked_file="revoked") as server:
        token = server.token("cus_1", "customer")
        session = await _open(server, token, "phone")
        other = await _open(server, server.token("cus_2", "customer"), "phone")
        await asyncio.sleep(1)
        fresh = tmp_path / "fresh"
        fresh.write_text("demo/cus_1\n")
        fresh.replace(file)
        changed_at = time.time()
        code, ended_at = await _end(session)
        assert code == 4510
        assert ended_at - changed_at <= 1.0
        status, told, _ = await server.call("GET", "/v1/orders", token)
        assert (status, told["code"]) == (401, "token_revoked")
        await other.ask("unwatch", topic="order:none")


async def test_leaving_ends_every_socket_of_the_sign_in_and_stays_ended_after_a_restart(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        tokens = [server.token("tec_1", "technician", sid="sign-in-1") for _ in range(2)]
        sessions = [await _open(server, token, f"d{n}") for n, token in enumerate(tokens)]
        ticket = (await server.call("POST", "/v1/tickets", tokens[0], {"device": "browser"}))[1]["ticket"]
        unused = (await server.call("POST", "/v1/tickets", tokens[0], {"device": "late"}))[1]["ticket"]
        browser = Session(await connect(server.app.hub_url, subprotocols=["doorstep.v1.json"]))  # type: ignore[list-item]
        await browser.send("hello", ticket=ticket, device="browser")
        await browser.until("welcome")
        elsewhere = server.token("tec_1", "technician", sid="sign-in-2")
        kept = await _open(server, elsewhere, "d9")
        same_name = server.token("cus_9", "customer", tenant="other", sid="sign-in-1")

        status, told, _ = await server.call("POST", "/v1/sign-out", tokens[0])
        assert (status, told) == (200, {"result": {"sessions_closed": 3}})
        left_at = time.time()
        for session in (*sessions, browser):
            code, ended_at = await _end(session)
            assert code == 4510
            assert ended_at - left_at <= 1.0
        await kept.ask("unwatch", topic="order:none")
        assert (await server.call("GET", "/v1/orders", same_name))[0] == 200
        late = Session(await connect(server.app.hub_url, subprotocols=["doorstep.v1.json"]))  # type: ignore[list-item]
        await late.send("hello", ticket=unused, device="late")
        assert (await late.until("error"))["code"] == "token_revoked"
        fresh = server.token("tec_1", "technician", sid="sign-in-1")
        await late.socket.close()
    async with served(tmp_path) as server:
        for token in (*tokens, fresh):
            assert (await server.call("GET", "/v1/orders", token))[1]["code"] == "token_revoked"
        assert (await server.call("GET", "/v1/orders", elsewhere))[0] == 200


async def test_a_token_without_a_sign_in_ends_alone(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        token, other = (server.token("cus_1", "customer") for _ in range(2))
        assert (await server.call("POST", "/v1/sign-out", token))[0] == 200
        assert (await server.call("POST", "/v1/sign-out", token))[1]["code"] == "token_revoked"
        assert (await server.call("GET", "/v1/orders", other))[0] == 200


async def test_keys_and_secrets_are_changed_without_dropping_a_socket(tmp_path: Path) -> None:
    said = FreshSecrets({"main": KEY, "next": NEXT}, OutgoingSecrets({"billing": (SECRET, b"n" * 40)}))
    async with receiving() as receiver:
        hook = {"tenant": "demo", "url": receiver.url, "secret_env": "HOOK_SECRET"}
        config = {
            "webhooks__endpoints": json.dumps({"billing": hook}), "webhooks__private_hosts": "[127.0.0.1]",
        }  # fmt: skip
        async with served(tmp_path, lambda: said, **config) as server:
            old = await _open(server, server.token("cus_1", "customer"), "old")
            newer = server.token("cus_2", "customer", key=NEXT)
            assert (await server.call("GET", "/v1/orders", newer))[1]["code"] == "token_invalid"

            async def renewed() -> None:
                server.app.read_again()
                await asyncio.sleep(0.3)

            await renewed()
            assert (await server.call("GET", "/v1/orders", newer))[0] == 200  # both keys are good
            assert (await server.call("GET", "/v1/orders", server.token("cus_1", "customer")))[0] == 200
            await server.call("POST", "/v1/orders", newer, order())
            await receiver.until(1)
            headers, body = receiver.got[0]
            for secret in (SECRET, b"n" * 40):
                assert verifier()(headers["Doorstep-Signature"], body, secret, now=SystemClock().now())

            said = FreshSecrets({"next": NEXT}, OutgoingSecrets({"billing": (b"n" * 40,)}))
            await renewed()
            assert (await server.call("GET", "/v1/orders", server.token("cus_1", "customer")))[1]["code"] == (
                "token_invalid"
            )
            await old.ask("unwatch", topic="order:none")  # its token was good when it came
            await old.ask("refresh", token=server.token("cus_1", "customer", key=NEXT))
            count = len(receiver.got)
            await server.call("POST", "/v1/orders", newer, order())
            await receiver.until(count + 1)
            headers, body = receiver.got[-1]
            assert not verifier()(headers["Doorstep-Signature"], body, SECRET, now=SystemClock().now())
