"""Everything personal that goes into a server is looked for in what its keepers see: each line of the log, metrics."""

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect

import geo
from core.principal import Role
from sim.local_server import LocalCity, LocalServer
from tests.integration.test_profiles import OWN

pytestmark = pytest.mark.slow
BOUNDARY = Path(geo.__file__).parent / "cities" / "shenzhen.geojson"
LAT, LNG = 22.543178, 114.057864
CANARIES = {
    "technician": "Canary Technician", "customer": "Canary Customer", "phone": "13987654321",
    "address": "1 Canary Road",
    "unit": "Canary7B", "entrance": "Canary at the back", "note": "Canary is hurt", "device": "canary-device",
    "reason": "because of Canary",
}  # fmt: skip
PINS: dict[str, str] = json.loads(json.dumps(OWN["pins"]))
KEYS = {*OWN, *PINS, "name", "phone", "email"}
ORDER: dict[str, Any] = {
    "service": "massage", "skills": ["massage"], "duration_s": 3600, "price": {"service_fen": 20_000},
    "location": {
        "lat": LAT, "lng": LNG, "address": CANARIES["address"], "unit": CANARIES["unit"],
        "entrance_note": CANARIES["entrance"],
    },
    "contact": {"name": CANARIES["customer"], "phone": CANARIES["phone"]},
}  # fmt: skip


async def _until(socket: ClientConnection, kind: str, **fields: Any) -> dict[str, Any]:
    async with asyncio.timeout(15):
        while True:
            message: dict[str, Any] = json.loads(await socket.recv())
            if "stream" in message:
                await socket.send(json.dumps({"type": "ack", message["stream"]: message["seq"]}))
            if message["type"] == kind and all(message.get(name) == value for name, value in fields.items()):
                return message


async def _job_with_an_alarm(server: LocalServer) -> None:
    """An order from its placing to an SOS in it, with everything that goes wrong on the way."""
    tokens = {role: server.token(f"{role.value}_1", role) for role in Role}
    person = tokens[Role.TECHNICIAN]

    def head(role: Role) -> dict[str, str]:
        return {"Authorization": f"Bearer {tokens[role]}"}

    async with (
        aiohttp.ClientSession(server.http_url) as http,
        connect(server.hub_url, subprotocols=["doorstep.v1.json"], proxy=None) as phone,  # type: ignore[list-item]
    ):

        async def call(method: str, path: str, role: Role, body: Any = None) -> tuple[int, Any]:
            async with http.request(method, path, headers=head(role), json=body) as answer:
                return answer.status, await answer.json()

        record = {"name": CANARIES["technician"], "cities": ["shenzhen"], "skills": ["massage"], "verified": True}
        assert (await call("PUT", "/v1/technicians/technician_1", Role.SERVICE, record))[0] in (200, 201)
        assert (await call("PUT", "/v1/me/safety", Role.TECHNICIAN, OWN | {"name": CANARIES["technician"]}))[0] == 200
        await phone.send(json.dumps({"type": "hello", "token": person, "device": CANARIES["device"]}))
        await _until(phone, "welcome")
        await phone.send(json.dumps({"type": "duty", "on": True, "city": "shenzhen", "ref": "d"}))
        await _until(phone, "ok", ref="d")
        now = time.time()
        ping = {"type": "ping", "seq": 1, "fixed_at": now, "sent_at": now, "lat": LAT, "lng": LNG, "accuracy_m": 10}
        await phone.send(json.dumps(ping))
        await phone.send(json.dumps(ping | {"seq": 2, "lat": LAT + 50}))
        await phone.send(json.dumps(ping | {"seq": 3, "lat": str(LAT)}))
        await phone.send(json.dumps({"type": CANARIES["note"], "note": CANARIES["note"]}))
        status, placed = await call("POST", "/v1/orders", Role.CUSTOMER, ORDER)
        assert status == 201
        offer = await _until(phone, "offer")
        await phone.send(json.dumps({"type": "offer.accept", "offer": offer["offer"], "ref": "a"}))
        await _until(phone, "ok", ref="a")
        order = f"/v1/orders/{placed['order']}"
        for wrong in (
            ORDER | {"contact": {"name": CANARIES["customer"], "phone": [CANARIES["phone"]]}},
            ORDER | {"duration_s": CANARIES["note"]},
            ORDER | {"location": {"lat": LAT, "lng": "x", "address": CANARIES["address"]}},
        ):
            assert (await call("POST", "/v1/orders", Role.CUSTOMER, wrong))[0] == 422
        for suffix in ("timeline", "track", "explain"):
            await call("GET", f"{order}/{suffix}", Role.OPS)
        await call("GET", "/v1/technicians/technician_1/track?reason=Canary", Role.OPS)
        await call("GET", f"/v1/technicians/nearby?lat={LAT}&lng={LNG}", Role.CUSTOMER)
        await call("GET", f"/v1/orders/{CANARIES['address']}?note={CANARIES['note']}", Role.CUSTOMER)
        tap = {"key": "k", "lat": LAT, "lng": LNG, "accuracy_m": 5, "note": CANARIES["note"], "fixed_at": now}
        await phone.send(json.dumps({"type": "sos", **tap}))
        ack = await _until(phone, "sos_ack", key="k")
        await phone.send(json.dumps({"type": "sos", **tap})[:-4])
        for pin in ("111222", PINS["pin"]):
            message = {"type": "sos.cancel", "incident": ack["incident"], "pin": pin, "ref": pin}
            await phone.send(json.dumps(message))
            await asyncio.sleep(0.3)
        await call("POST", f"/v1/incidents/{ack['incident']}/ack", Role.OPS)
        wrong_end = {"disposition": CANARIES["reason"], "note": CANARIES["note"]}
        assert (await call("POST", f"/v1/incidents/{ack['incident']}/resolve", Role.OPS, wrong_end))[0] == 422
        await call("POST", f"{order}/cancel", Role.OPS, {"reason": CANARIES["reason"]})


async def test_no_line_of_the_log_and_no_metric_holds_anything_personal(tmp_path: Path) -> None:
    with LocalServer([LocalCity("shenzhen", BOUNDARY)], {"log": {"level": "debug"}}, folder=tmp_path) as server:
        await _job_with_an_alarm(server)
        async with aiohttp.ClientSession() as http, http.get(f"{server.admin_url}/metrics") as answer:
            told = await answer.text()
        server.stop()
    told += (tmp_path / "server.log").read_text(errors="replace")
    assert "request answered" in told
    words = {word for word in re.findall(r'"([^"]+)"', json.dumps(OWN)) if word not in KEYS}
    pins = {*PINS.values(), "111222"}
    places = {f"{LAT:.3f}", f"{LNG:.3f}", str(LAT), str(LNG)}
    for secret in {*CANARIES.values(), *words, *pins, *places}:
        if len(secret) > 3:
            # Not in the middle of a number: times and durations have many digits.
            found = re.search(rf"(?<![\d]){re.escape(secret)}", told, re.IGNORECASE)
            assert found is None, (secret, told[max(found.start() - 200, 0) : found.end() + 200])
    assert "canary" not in told.lower()
