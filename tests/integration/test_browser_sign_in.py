"""Signing in on a page of a real server: codes, cookies, tokens, and everything that must not work."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from websockets.asyncio.client import connect

from tests.integration.served import Served, Session, served

pytestmark = pytest.mark.slow
FRESH = {"page": "app", "device": "browser-1"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as running:
        record = {"name": "Mei", "cities": ["shenzhen"], "verified": True}
        await running.call("PUT", "/v1/technicians/tec_1", running.token("prog", "service"), record)
        yield running


async def code(server: Served, user: str = "tec_1", role: str = "technician", **more: Any) -> str:
    body = {"user": user, "role": role, **more}
    status, told, _ = await server.call("POST", "/v1/sign-in/codes", server.token("ops_1", "ops"), body)
    assert status == 201, told
    return str(told["code"])


async def post(
    server: Served, path: str, body: Any, *, cookie: str = "", origin: str | None = "", **headers: str
) -> tuple[int, Any, Any]:
    if origin is not None:
        headers["Origin"] = origin or server.app.http_url
    if cookie:
        headers["Cookie"] = cookie
    return await server.call("POST", path, None, body, **headers)


def jar(headers: Any) -> str:
    return str(headers["Set-Cookie"]).partition(";")[0]


async def sign_in(server: Served, **more: Any) -> tuple[dict[str, Any], str]:
    status, told, headers = await post(server, "/v1/sign-in", {"code": await code(server), **FRESH, **more})
    assert status == 201, told
    return told, jar(headers)


async def test_a_code_becomes_a_session_its_cookie_a_token_and_that_a_connection(server: Served) -> None:
    ops = server.token("ops_1", "ops")
    status, made, headers = await server.call(
        "POST", "/v1/sign-in/codes", ops, {"user": "tec_1", "role": "technician", "also": ["responder"]}
    )
    assert (status, headers["Cache-Control"]) == (201, "no-store")
    assert re.fullmatch(r"[2-9A-HJKMNP-Z]{5}-[2-9A-HJKMNP-Z]{5}", made["code"])
    assert made["link"] == f"{server.app.http_url}/app/#code={made['code']}"
    assert made["qr"].startswith("data:image/svg+xml")

    typed = made["code"].lower().replace("-", " ")
    status, told, headers = await post(server, "/v1/sign-in", {"code": typed, **FRESH}, **{"User-Agent": "Test/1"})
    assert status == 201
    assert {name: told[name] for name in ("user", "name", "role", "roles", "cities", "device")} == {
        "user": "tec_1", "name": "Mei", "role": "technician", "roles": ["responder", "technician"],
        "cities": ["shenzhen"], "device": "browser-1",
    }  # fmt: skip
    cookie = headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert cookie.startswith("doorstep-app=")
    assert told["token"] not in cookie

    status, again, headers = await post(server, "/v1/session/token", {"page": "app"}, cookie=jar(headers))
    assert (status, again["session"], headers["Cache-Control"]) == (200, told["session"], "no-store")
    claims = jwt.decode(again["token"], options={"verify_signature": False})
    assert (claims["sid"], claims["device"]) == (told["session"], "browser-1")
    assert claims["exp"] - claims["iat"] <= 600

    status, ticket, _ = await server.call("POST", "/v1/tickets", again["token"], {"device": "browser-1"})
    assert status == 201
    session = Session(await connect(server.app.hub_url, subprotocols=["doorstep.v1.json"]))  # type: ignore[list-item]
    await session.send("hello", ticket=ticket["ticket"], device="browser-1")
    assert (await session.until("welcome"))["user"] == "tec_1"
    await session.ask("refresh", token=again["token"])

    rows = (await server.call("GET", "/v1/sessions", again["token"]))[1]["sessions"]
    assert [(row["session"], row["agent"], row["made_by"], row["is_this"]) for row in rows] == [
        (told["session"], "Test/1", "ops_1", True)
    ]
    status, _, headers = await server.call("POST", "/v1/sign-out", again["token"])
    assert status == 200
    assert "Max-Age=0" in headers["Set-Cookie"]
    await asyncio.wait_for(session.socket.wait_closed(), 5)
    assert session.socket.close_code == 4510
    assert (await post(server, "/v1/session/token", {"page": "app"}, cookie=jar(headers)))[1]["code"] == (
        "session_missing"
    )
    for token in (told["token"], again["token"]):
        assert (await server.call("GET", "/v1/sessions", token))[1]["code"] == "token_revoked"


async def test_a_session_that_staff_end_ends_at_once_with_its_live_connection(server: Served) -> None:
    told, cookie = await sign_in(server)
    session = Session(await connect(server.app.hub_url, subprotocols=["doorstep.v1.json"]))  # type: ignore[list-item]
    await session.send("hello", token=told["token"], device="browser-1")
    await session.until("welcome")
    path = f"/v1/sessions/{told['session']}"
    for stranger in (("tec_2", "technician", "demo"), ("ops_1", "ops", "other")):
        token = server.token(stranger[0], stranger[1], tenant=stranger[2])
        assert (await server.call("DELETE", path, token))[0] == 404
    far = server.token("ops_2", "ops", cities=("beijing",))
    assert (await server.call("DELETE", path, far))[0] == 404
    assert (await server.call("GET", "/v1/sessions?user=tec_1", far))[1]["sessions"] == []
    ops = server.token("ops_1", "ops")
    assert len((await server.call("GET", "/v1/sessions?user=tec_1", ops))[1]["sessions"]) == 1
    assert (await server.call("DELETE", path, ops))[0] == 200
    await asyncio.wait_for(session.socket.wait_closed(), 5)
    assert session.socket.close_code == 4510
    assert (await server.call("GET", "/v1/sessions", told["token"]))[1]["code"] == "token_revoked"
    assert (await post(server, "/v1/session/token", {"page": "app"}, cookie=cookie))[1]["code"] == "session_over"
    assert (await server.call("DELETE", path, ops))[0] == 404


async def test_a_code_is_good_once_and_the_newest_of_a_person_alone(server: Served) -> None:
    first, second = await code(server), await code(server)
    assert (await post(server, "/v1/sign-in", {"code": first, **FRESH}))[1]["code"] == "code_invalid"
    tries = [post(server, "/v1/sign-in", {"code": second, **FRESH}) for _ in range(5)]
    assert sorted(status for status, _, _ in await asyncio.gather(*tries)) == [201, 422, 422, 422, 422]


async def test_a_secret_that_was_there_before_is_not_taken_over(server: Served) -> None:
    """Session fixation: whoever planted a cookie has nothing of the sign-in that follows."""
    planted = "doorstep-app=planted-by-somebody"
    status, _, headers = await post(server, "/v1/sign-in", {"code": await code(server), **FRESH}, cookie=planted)
    assert status == 201
    assert jar(headers) != planted
    assert (await post(server, "/v1/session/token", {"page": "app"}, cookie=planted))[1]["code"] == "session_over"
    # Signing in again ends what this browser had, and gives another secret.
    mine = jar(headers)
    status, _, headers = await post(server, "/v1/sign-in", {"code": await code(server), **FRESH}, cookie=mine)
    assert status == 201
    assert (await post(server, "/v1/session/token", {"page": "app"}, cookie=mine))[1]["code"] == "session_over"
    # Of two cookies of one name, one is not ours: neither counts.
    twice = f"{jar(headers)}; {planted}"
    assert (await post(server, "/v1/session/token", {"page": "app"}, cookie=twice))[1]["code"] == "session_missing"


async def test_pages_of_others_and_pages_of_nobody_are_refused_even_with_the_cookie(server: Served) -> None:
    _, cookie = await sign_in(server)
    host = server.app.http_url
    for origin in (None, "null", "https://evil.example", host + ".evil.example", host + "/", "http://127.0.0.1"):
        for path, body in (("/v1/session/token", {"page": "app"}), ("/v1/sign-in", {"code": "X", **FRESH})):
            status, told, _ = await post(server, path, body, cookie=cookie, origin=origin)
            assert (status, told["code"]) == (403, "origin_refused"), (origin, path)
    cross = {"Sec-Fetch-Site": "cross-site"}
    assert (await post(server, "/v1/session/token", {"page": "app"}, cookie=cookie, **cross))[0] == 403
    form = {"Content-Type": "text/plain"}
    assert (await post(server, "/v1/session/token", b'{"page":"app"}', cookie=cookie, **form))[1]["code"] == (
        "json_needed"
    )
    # The cookie opens nothing but the next token.
    for method, path in (("GET", "/v1/orders"), ("POST", "/v1/tickets"), ("GET", "/v1/sessions")):
        async with server.http.request(method, path, headers={"Cookie": cookie, "Origin": host}) as answer:
            assert answer.status == 401
    assert (await post(server, "/v1/session/token", {"page": "console"}, cookie=cookie))[1]["code"] == (
        "session_missing"
    )
    renamed = cookie.replace("doorstep-app", "doorstep-console")
    assert (await post(server, "/v1/session/token", {"page": "console"}, cookie=renamed))[1]["code"] == "session_over"


async def test_guesses_run_out_for_an_address_also_for_the_right_code(tmp_path: Path) -> None:
    async with served(tmp_path, sign_in__guesses_per_address="3") as server:
        right = await code(server, "cus_1", "customer")
        for _ in range(3):
            assert (await post(server, "/v1/sign-in", {"code": "AAAAA-AAAAA", **FRESH}))[1]["code"] == "code_invalid"
        for typed in ("AAAAA-AAAAA", right):
            status, told, _ = await post(server, "/v1/sign-in", {"code": typed, **FRESH})
            assert (status, told["code"]) == (429, "rate_limited")


async def test_whom_a_code_may_sign_in(server: Served) -> None:
    ops, program = server.token("ops_1", "ops"), server.token("prog", "service")
    far = server.token("ops_2", "ops", cities=("beijing",))

    async def asked(token: str, user: str, role: str, **more: Any) -> int:
        return (await server.call("POST", "/v1/sign-in/codes", token, {"user": user, "role": role, **more}))[0]

    assert await asked(program, "tec_1", "technician") == 201
    assert await asked(program, "cus_1", "customer") == 201
    assert await asked(ops, "ops_1", "ops") == 201
    assert await asked(ops, "ops_9", "ops") == 403
    assert await asked(program, "ops_1", "ops") == 403
    assert await asked(program, "prog", "service") == 422
    assert await asked(ops, "ops_1", "ops", also=["customer"]) == 403
    assert await asked(ops, "tec_none", "technician") == 404
    assert await asked(far, "tec_1", "technician") == 404
    for role in ("technician", "customer", "responder"):
        assert await asked(server.token("somebody", role), "somebody", "customer") == 403
    old = server.token("ops_1", "ops", signed_in_at=1.0)
    assert await asked(old, "ops_1", "ops") == 403


async def test_a_session_outlives_a_restart_and_one_that_ended_does_not(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        kept = await post(server, "/v1/sign-in", {"code": await code(server, "cus_1", "customer"), **FRESH})
        over = await post(server, "/v1/sign-in", {"code": await code(server, "cus_2", "customer"), **FRESH})
        await server.call("POST", "/v1/sign-out", over[1]["token"])
        unused = await code(server, "cus_3", "customer")
    for path in (tmp_path / "data").iterdir():
        assert jar(kept[2]).partition("=")[2].encode() not in path.read_bytes(), "secrets are stored hashed"
    async with served(tmp_path) as server:
        assert (await server.call("GET", "/v1/orders", kept[1]["token"]))[0] == 200
        assert (await post(server, "/v1/session/token", {"page": "app"}, cookie=jar(kept[2])))[0] == 200
        assert (await post(server, "/v1/session/token", {"page": "app"}, cookie=jar(over[2])))[1]["code"] == (
            "session_over"
        )
        assert (await post(server, "/v1/sign-in", {"code": unused, **FRESH}))[1]["code"] == "code_invalid"


async def test_behind_tls_the_cookie_is_of_this_host_alone(tmp_path: Path) -> None:
    own = "https://dispatch.example"
    async with served(tmp_path, http__public_url=own, web__origins="[https://console.example]") as server:
        for origin, wanted in ((own, 201), ("https://console.example", 201), ("http://127.0.0.1", 403)):
            async with aiohttp.ClientSession(f"http://127.0.0.1:{server.app._http.port}") as http:
                server.http = http
                body = {"code": await code(server, "cus_1", "customer"), **FRESH}
                status, _, headers = await post(server, "/v1/sign-in", body, origin=origin)
                assert status == wanted
                if wanted == 201:
                    assert headers["Set-Cookie"].startswith("__Host-doorstep-app=")
                    assert {"Secure", "Path=/", "HttpOnly"} <= set(headers["Set-Cookie"].split("; "))
                    assert "Domain" not in headers["Set-Cookie"]


async def test_what_nobody_knows_may_be_sent_is_short(server: Served) -> None:
    status, told, _ = await post(server, "/v1/sign-in", b'{"code":"' + b"x" * 20_000 + b'"}')
    assert (status, told["code"]) == (413, "too_large")


async def test_the_command_prints_a_link_that_signs_in(tmp_path: Path) -> None:
    secret, server = "a test secret of more than thirty-two bytes", served(tmp_path)
    async with server as running:

        async def asked(*words: str) -> tuple[int, str, str]:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "cli.main", "sign-in", "--tenant", "demo",
                "--server", running.app.http_url, *words,
                env={**os.environ, "DOORSTEP_JWT_SECRET": secret}, cwd=Path(__file__).parents[2],
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            out, error = await process.communicate()
            return process.returncode or 0, out.decode(), error.decode()

        for role, page in (("ops", "console"), ("customer", "order")):
            status, out, error = await asked("--user", f"{role}_1", "--role", role, "--name", "Li")
            assert status == 0, error
            link = re.search(rf"{running.app.http_url}/{page}/#code=(\S+)", out)
            assert link is not None
            body = {"code": link[1], "page": page, "device": "d"}
            status, told, _ = await post(running, "/v1/sign-in", body)
            assert (status, told["role"], told["name"]) == (201, role, "Li")
        status, _, error = await asked("--user", "tec_none", "--role", "technician")
        assert status == 1
        assert "not_found" in error
