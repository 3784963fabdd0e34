"""Rows 66 to 69 and 72: who may raise an alarm, by which token, and who may take it back."""

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.integration.served import SECRET, Served, Session, served

pytestmark = pytest.mark.slow
PINS = {"phone": "138", "pins": {"pin": "482193", "duress_pin": "730568"}}


def _claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    plain = {"sub": "cus_1", "role": "customer", "tenant": "demo", "cities": ["shenzhen"], "iss": "doorstep"}
    return {**plain, "aud": "doorstep", "iat": now, "exp": now + 600, **changes}


def _signed(claims: dict[str, Any] | None = None, secret: bytes = SECRET, **header: Any) -> str:
    return jwt.encode(claims or _claims(), secret, "HS256", {"kid": "main", **header})


def _forged() -> dict[str, str]:
    """Each a token that is not one of ours, by what is wrong with it."""
    good = _signed()
    head, body, mac = good.split(".")

    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return {
        "alg none": f"{part({'alg': 'none', 'typ': 'JWT', 'kid': 'main'})}.{body}.",
        "alg none with a signature": f"{part({'alg': 'none', 'typ': 'JWT', 'kid': 'main'})}.{body}.{mac}",
        "another alg": f"{part({'alg': 'EdDSA', 'typ': 'JWT', 'kid': 'main'})}.{body}.{mac}",
        "RS256 over the secret": f"{part({'alg': 'RS256', 'typ': 'JWT', 'kid': 'main'})}.{body}.{mac}",
        "unknown kid": _signed(kid="../../etc/passwd"),
        "no kid that is text": f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': 7})}.{body}.{mac}",
        "jku of theirs": _signed(secret=b"theirs" * 8, jku="https://evil.example/keys"),
        "jwk of theirs": _signed(secret=b"theirs" * 8, jwk={"kty": "oct", "k": "dGhlaXJz"}),
        "x5u and crit": _signed(x5u="https://evil.example", crit=["x5u"]),
        "wrong iss": _signed(_claims(iss="evil")),
        "wrong aud": _signed(_claims(aud="evil")),
        "wrong typ": _signed(typ="secevent+jwt"),
        "signature cut": good[:-6],
        "signature empty": f"{head}.{body}.",
        "body changed": f"{head}.{part(_claims(sub='ops_1', role='ops'))}.{mac}",
        "a role that is none": _signed(_claims(role="root")),
        "no tenant": _signed({k: v for k, v in _claims().items() if k != "tenant"}),
        "no token": "x",
        "a pass that is none": "sop_e30.00",
    }


async def _greeted(server: Served, token: str, device: str = "phone") -> tuple[int, str]:
    """Close code and its last error of a hub session with this token; 0 while it is open."""
    async with connect(server.app.hub_url, subprotocols=["doorstep.v1.json"]) as socket:  # type: ignore[list-item]
        await socket.send(json.dumps({"type": "hello", "token": token, "device": device}))
        code = ""
        try:
            while True:
                told = json.loads(await asyncio.wait_for(socket.recv(), 10))
                if told["type"] == "welcome":
                    return 0, "restricted" if told["restricted"] else ""
                code = told.get("code", code)
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006, code


async def _answer_of(session: Session, ref: str) -> dict[str, Any]:
    """The ``ok`` or ``error`` of a request."""
    async with asyncio.timeout(10):
        while True:
            told: dict[str, Any] = json.loads(await session.socket.recv())
            if told.get("ref") == ref:
                return told


async def test_row_66_forged_tokens_raise_nothing_and_are_all_answered_alike(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        for name, token in _forged().items():
            told = []
            for path, body in (("/v1/sos", {"key": name}), ("/v1/orders", {})):
                status, answer, _ = await server.call("POST", path, token, body)
                told.append((status, answer["code"]))
            assert told == [(401, "token_invalid")] * 2, name
            assert await _greeted(server, token) == (4501, "token_invalid"), name
        listed = await server.call("GET", "/v1/incidents", server.token("ops_1", "ops"))
        assert listed[1]["incidents"] == []
        assert (await server.call("POST", "/v1/sos", _signed(), {"key": "real"}))[0] == 200


async def test_row_67_an_expired_token_raises_an_sos_and_nothing_else(tmp_path: Path) -> None:
    async with served(tmp_path, auth__restricted_for_s="3600") as server:
        ops = await server.session("ops_1", "ops")
        now = int(time.time())
        stale = _signed(_claims(iat=now - 1_200, exp=now - 600))
        status, ack, _ = await server.call("POST", "/v1/sos", stale, {"key": "stale"})
        assert (status, ack["durable"]) == (200, True)
        told = await ops.until("incident", incident=ack["incident"])
        assert told["restricted"] is True, "flagged"
        # No order, no profile, and not where anybody is.
        for method, path in (
            ("GET", "/v1/orders"),
            ("GET", "/v1/me/safety"),
            ("GET", f"/v1/incidents/{ack['incident']}"),
        ):
            assert (await server.call(method, path, stale))[0] in (401, 403), path
        assert "lat" not in json.dumps((await server.call("GET", f"/v1/sos/{ack['incident']}", stale))[1])
        assert await _greeted(server, stale) == (0, "restricted")
        for name, bad, code in (
            ("too old", _claims(iat=now - 9_000, exp=now - 3_700), "token_expired"),
            ("not yet", _claims(nbf=now + 600), "token_invalid"),
            ("begins after its end", _claims(iat=now + 600), "token_invalid"),
        ):
            status, answer, _ = await server.call("POST", "/v1/sos", _signed(bad), {"key": name})
            assert (status, answer["code"]) == (401, code), name


async def test_row_67_a_stale_token_that_is_bound_is_good_on_its_device_only(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        now = int(time.time())
        bound = _signed(_claims(iat=now - 1_200, exp=now - 600, device="phone"))
        assert await _greeted(server, bound, "phone") == (0, "restricted")
        assert await _greeted(server, bound, "laptop") == (4501, "token_invalid")
        answers = {}
        for device in ("phone", "laptop", None):
            headers = {} if device is None else {"Doorstep-Device": device}
            status, answer, _ = await server.call("POST", "/v1/sos", bound, {"key": "k"}, **headers)
            answers[device] = (status, answer.get("code"))
        assert answers == {"phone": (200, None), "laptop": (401, "token_invalid"), None: (401, "device_needed")}
        # One that is not bound says nothing of a device, and a fresh one needs not say it: it may have no other way.
        free = _signed(_claims(iat=now - 1_200, exp=now - 600))
        assert (await server.call("POST", "/v1/sos", free, {"key": "k2"}))[0] == 200
        fresh = _signed(_claims(device="phone"))
        assert (await server.call("POST", "/v1/sos", fresh, {"key": "k3"}))[0] == 200


async def test_row_68_a_stream_ends_with_its_token_and_an_sos_still_works(tmp_path: Path) -> None:
    async with served(tmp_path, realtime__sessions__expiry_grace_s="1") as server:
        ops = await server.session("ops_1", "ops")
        token = server.token("ops_2", "ops", life_s=2.0)
        async with connect(server.app.hub_url, subprotocols=["doorstep.v1.json"]) as socket:  # type: ignore[list-item]
            await socket.send(json.dumps({"type": "hello", "token": token, "device": "console"}))
            began = time.monotonic()
            closed_after_s, code = 0.0, 0
            try:
                while True:
                    await asyncio.wait_for(socket.recv(), 15)
            except ConnectionClosed as closed:
                closed_after_s, code = time.monotonic() - began, closed.rcvd.code if closed.rcvd else 0
            assert code == 4401
            assert closed_after_s <= 2.0 + 5.0
        status, ack, _ = await server.call("POST", "/v1/sos", token, {"key": "late"})
        assert (status, ack["durable"]) == (200, True)
        assert (await ops.until("incident", incident=ack["incident"]))["subject"] == "ops_2"


async def test_row_69_replays_are_the_same_tap_and_keys_belong_to_one_person(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        ops = await server.session("ops_1", "ops")
        mine, other = await server.session("cus_1", "customer"), await server.session("cus_2", "customer")
        frame = {"key": "captured", "lat": 22.54, "lng": 114.05}
        acks = []
        for nth in range(3):
            session = mine if nth < 2 else await server.session("cus_1", "customer")
            await session.send("sos", **frame)
            acks.append((await session.until("sos_ack", key="captured"))["incident"])
        assert len(set(acks)) == 1
        await other.send("sos", **frame)
        foreign = (await other.until("sos_ack", key="captured"))["incident"]
        assert foreign != acks[0]
        view = (await server.call("GET", f"/v1/incidents/{acks[0]}", server.token("ops_1", "ops")))[1]
        assert view["triggers"] == 1
        # What somebody else raised is for nobody else to take back, or to see.
        for kind, fields in (("sos.cancel", {"pin": "482193"}), ("incident.ack", {})):
            await other.send(kind, ref=kind, incident=acks[0], **fields)
            assert (await other.until("error", ref=kind))["code"] in ("not_found", "forbidden")
        assert (await server.call("GET", f"/v1/sos/{acks[0]}", server.token("cus_2", "customer")))[0] == 404
        assert (await ops.until("incident", incident=foreign))["subject"] == "cus_2"


async def test_row_72_wrong_pins_on_all_sockets_together_become_duress_and_lock_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        ops = await server.session("ops_1", "ops")
        await server.call("PUT", "/v1/me/safety", server.token("cus_1", "customer"), PINS)
        tapped = await server.session("cus_1", "customer")
        await tapped.send("sos", key="k")
        incident = (await tapped.until("sos_ack", key="k"))["incident"]
        await ops.until("incident", incident=incident)
        answers = []
        for nth, pin in enumerate(("111222", "333444", "555666", "777888", "482193", "730568")):
            if nth % 2:
                token = server.token("cus_1", "customer")
                _, told, _ = await server.call("POST", f"/v1/sos/{incident}/cancel", token, {"pin": pin})
            else:
                socket = await server.session("cus_1", "customer")  # a new one each time
                await socket.send("sos.cancel", ref="c", incident=incident, pin=pin)
                told = await _answer_of(socket, "c")
            answers.append(told.get("code") or told["result"]["state"])
        assert answers == ["pin_wrong", "pin_wrong"] + ["cancel_asked"] * 4
        told = await ops.until("incident", incident=incident, level=3)
        assert told["kind"] == "duress"
        # The next need is heard all the same.
        _, ack, _ = await server.call("POST", "/v1/sos", server.token("cus_1", "customer"), {"key": "again"})
        assert ack["durable"]
        view = (await server.call("GET", f"/v1/incidents/{incident}", server.token("ops_1", "ops")))[1]
        assert (view["kind"], view["triggers"]) == ("duress", 2)
