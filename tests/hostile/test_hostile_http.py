"""Whatever a client sends over HTTP ends in problem+json with a named code, never in `internal`."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import pytest

from core.codes import MEANINGS
from core.principal import Role
from tests.hostile.attacker import UNREADABLE, Target, put_technician
from tests.hostile.damage import BODIES, FRAMES_MSGPACK, Damaged, damaged, fields_of, malformed_files
from tests.hostile.test_hostile_frames import LAT, LNG, each, same_field

pytestmark = pytest.mark.slow
DECODED = [route for route, (struct, _) in BODIES.items() if struct is not None]
BODY_BYTES_MAX = 262_144


@dataclass
class Caller:
    """Somebody for each route, with things of their own to aim at."""

    http: aiohttp.ClientSession
    tokens: dict[Role, str]
    order: str
    incident: str

    def token(self, path: str) -> str:
        if path.endswith("/step") or path == "/v1/positions":
            return self.tokens[Role.TECHNICIAN]
        if path.startswith("/v1/incidents") or path.endswith(("/assign", "/mode", "/what-if", "/reassign")):
            return self.tokens[Role.OPS]
        is_record = path.startswith(("/v1/technicians", "/v1/customers", "/v1/people", "/v1/sign-in"))
        return self.tokens[Role.SERVICE if is_record else Role.CUSTOMER]

    def aimed(self, path: str) -> str:
        kind = path.split("/")[2]
        things = {
            "orders": self.order, "incidents": self.incident, "sos": self.incident, "technicians": "tec_http",
            "customers": "cus_far", "people": "tec_http",
        }  # fmt: skip
        path = path.replace("{technician}", "tec_http").replace("{customer}", "cus_far")
        return path.replace("{id}", things.get(kind, "none"))

    async def send(
        self, method: str, path: str, body: bytes, content_type: str = "application/json"
    ) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self.token(path)}", "Content-Type": content_type}
        async with self.http.request(method.upper(), self.aimed(path), data=body, headers=headers) as answer:
            told = await answer.json(content_type=None)
            assert answer.headers["X-Request-Id"]
            if answer.status >= 400:
                assert answer.content_type == "application/problem+json"
                assert told["code"] in MEANINGS
                assert told["code"] != "internal"
            assert answer.status < 500, told
            return answer.status, told


@asynccontextmanager
async def caller(target: Target) -> AsyncIterator[Caller]:
    put_technician(target, "tec_http")
    tokens = {
        role: target.server.token("tec_http" if role is Role.TECHNICIAN else f"http_{role.value}", role)
        for role in Role
    }
    base = aiohttp.ClientSession(target.server.http_url, timeout=aiohttp.ClientTimeout(total=20))
    async with base as http:
        one = Caller(http, tokens, "", "")
        good = BODIES["post", "/v1/orders"][1]
        status, order = await one.send("post", "/v1/orders", json.dumps(good).encode())
        assert status == 201
        status, ack = await one.send("post", "/v1/sos", b'{"key":"http"}')
        assert status == 200
        one.order, one.incident = order["order"], ack["incident"]
        yield one


async def test_no_route_that_takes_a_body_is_forgotten(target: Target) -> None:
    async with aiohttp.ClientSession(target.server.http_url) as http, http.get("/openapi.json") as answer:
        document = await answer.json()
    routes = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert {route for route in routes if route[0] in ("post", "put", "patch")} == BODIES.keys()
    for struct, good in BODIES.values():
        if struct is not None:
            assert good.keys() == fields_of(struct)
            msgspec.convert(good, struct)


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@pytest.mark.parametrize(("method", "path"), BODIES)
async def test_any_body_ends_in_a_named_problem(target: Target, method: str, path: str, encoding: str) -> None:
    ends: Counter[str] = Counter()
    is_decoded = (method, path) in DECODED
    empty_is_good = path.endswith(
        (
            "/cancel",
            "/reassign",
            "/what-if",
            "/calendar",
            "/safety",
            "/respond",
            "/on-scene",
            "/reopen",
            "/close",
            "/share",
            "/arrival-link",
        )
    )  # every field may be left out

    async def one_body(item: tuple[str, bytes]) -> None:
        name, body = item
        status, told = await one.send(method, path, body, f"application/{encoding}")
        ends[told.get("code", str(status))] += 1
        if not is_decoded:
            return  # SOS has its own tests; the others take no body and ignore it
        if empty_is_good and status in (200, 201, 403, 409):  # read, and then done or refused
            assert _is_object(body), name
            return
        assert status in (400, 413, 422), (name, told)
        assert told["code"] in UNREADABLE | {"too_large"}, (name, told)

    bodies = malformed_files() | {"too large": b'{"a":"' + b"x" * BODY_BYTES_MAX + b'"}'}
    async with caller(target) as one:
        count = await each((bodies if encoding == "json" else FRAMES_MSGPACK).items(), one_body)
    print(f"{method} {path}: {count} bodies: {dict(ends)}")


def _is_object(body: bytes) -> bool:
    return not body.strip() or isinstance(json.loads(body.decode()), dict)


@pytest.mark.parametrize(("method", "path"), DECODED)
async def test_a_bad_value_in_any_field_of_a_body_is_refused_by_name(target: Target, method: str, path: str) -> None:
    ends: Counter[str] = Counter()
    struct, good = BODIES[method, path]
    assert struct is not None

    async def one_body(bad: Damaged) -> None:
        assert not (bad.is_valid and bad.must_fail), f"{path}: the route takes {bad.name}"
        status, told = await one.send(method, path, bad.payload)
        ends[told.get("code", str(status))] += 1
        if bad.is_valid:
            return
        if told.get("type") == "alarm_ack":  # taken whatever it says; the positions beside it are refused as ever
            status = 422 if told["refused"] == "invalid" else 400
            told = {"code": told["refused"], "field": "alarm"}
        assert status in (400, 422), (bad.name, told)
        assert told["code"] in UNREADABLE, (bad.name, told)
        if told["code"] == "invalid":
            assert same_field(told.get("field"), bad.field), (bad.name, told)

    async with caller(target) as one:
        count = await each(damaged(struct, good, is_json=True), one_body)
    print(f"{method} {path}: {count} bad values: {dict(ends)}")


async def test_places_that_are_no_place_are_refused_by_name(target: Target) -> None:
    good = BODIES["post", "/v1/orders"][1]
    for place, code in (
        ({"lat": LNG, "lng": LAT}, "invalid"),
        ({"lat": 0.0, "lng": 0.0}, "outside_service_area"),
        ({"lat": LAT, "lng": -LNG}, "outside_service_area"),
        ({"lat": 90.0, "lng": 180.0}, "outside_service_area"),
    ):
        async with caller(target) as one:
            body = good | {"location": good["location"] | place}
            status, told = await one.send("post", "/v1/orders", json.dumps(body).encode())
            assert (status, told["code"]) == (422, code), told


async def test_a_body_that_breaks_off_or_never_comes_holds_nobody(target: Target) -> None:
    token = target.server.token("http_slow", Role.CUSTOMER)
    head = f"POST /v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 500\r\n\r\n"
    for sent in (head, head + '{"service":', head.replace("Content-Length: 500", "Transfer-Encoding: chunked") + "zz"):
        reader, writer = await asyncio.open_connection("127.0.0.1", target.server.http_port)
        writer.write(sent.encode())
        await writer.drain()
        if sent.endswith("zz"):
            async with asyncio.timeout(10):
                assert b" 400 " in await reader.readline()
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("app", ["osmand", "traccar", "owntracks", "overland", "gpslogger"])
async def test_a_registered_tracker_is_answered_with_success_whatever_it_sends(target: Target, app: str) -> None:
    put_technician(target, "tec_http")
    service = {"Authorization": f"Bearer {target.server.token('program', Role.SERVICE)}"}
    async with aiohttp.ClientSession(target.server.http_url) as http:
        registered = "/v1/technicians/tec_http/trackers"
        async with http.post(registered, json={"app": app}, headers=service) as answer:
            added = await answer.json()

        async def one_body(item: tuple[str, bytes]) -> None:
            url, headers = f"/in/{app}?id={added['secret']}", {"Content-Type": "application/json"}
            async with http.post(url, data=item[1], headers=headers) as answer:
                wanted = {"owntracks": b"[", "overland": b'{"result":"ok"'}.get(app, b"")
                assert answer.status == (413 if len(item[1]) > 65_536 and app != "overland" else 200), item[0]
                assert answer.status != 200 or (await answer.read()).startswith(wanted), item[0]

        await each(malformed_files().items(), one_body)
        await http.delete(f"{registered}/{added['device']}", headers=service)
