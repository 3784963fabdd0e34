"""Phone trackers on a real server: every recorded payload, the exact answers, alarms, registration."""

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import pytest

from tests.integration.served import CITY, LAT, LNG, Served, order, served
from trackers.model import App

pytestmark = pytest.mark.slow

PAYLOADS: Final = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "data" / "trackers" / "payloads.jsonl").read_text("utf-8").splitlines()
]
"""Source, kind, payload and what the decoder upstream says of it; see ``tests/data/README.md``."""


class Row(NamedTuple):
    """What one payload is answered, and what is counted of it."""

    app: App
    status: int
    counted: str
    why: str = ""
    """Where there is no verdict upstream, or ours is another."""


_TEMPLATE: Final = "a template of the docs with words for values: not JSON"
_KIND: Final = "upstream decodes positions only, and acknowledges every other kind as we do"
_OSMAND, _TRACCAR = App.OSMAND, App.TRACCAR
TABLE: Final = (
    Row(_TRACCAR, 200, "accepted"),
    Row(_TRACCAR, 200, "accepted"),
    Row(_TRACCAR, 200, "accepted"),
    Row(_TRACCAR, 200, "accepted"),
    Row(
        _OSMAND, 200, "poison no_place",
        "upstream makes a position without a place of it, to ask a network service about cells; we ask nobody",
    ),
    Row(_OSMAND, 401, "refused unknown_device"),
    *[Row(_OSMAND, 200, "accepted")] * 9,
    *[Row(App.OWNTRACKS, 200, "accepted")] * 6,
    *[Row(App.OWNTRACKS, 200, "poison unreadable", _TEMPLATE)] * 14,
    Row(App.OWNTRACKS, 200, "poison unreadable", "a page of the docs"),
    Row(App.OWNTRACKS, 200, "accepted", "upstream passes over transitions; they tell a place and a time"),
    Row(App.OWNTRACKS, 200, "poison no_position", _KIND),
    Row(App.OWNTRACKS, 200, "poison no_position", _KIND),
    Row(App.OWNTRACKS, 200, "poison no_position", _KIND),
    Row(App.OWNTRACKS, 200, "poison encrypted", "upstream acknowledges it as a kind that it does not know"),
    Row(App.OVERLAND, 200, "poison unreadable", _TEMPLATE),
    Row(App.OVERLAND, 200, "nothing", "an answer, not a request: no locations are in it"),
    Row(App.OVERLAND, 200, "poison unreadable", _TEMPLATE),
)  # fmt: skip
UPSTREAM: Final = {"verifyPosition": "accepted", "verifyAttribute": "accepted", "verifyNull": "refused"}
"""``verifyNotNull`` says only that there is a value, and is explained in the table."""
ANSWERS: Final = {
    App.OSMAND: b"", App.TRACCAR: b"", App.GPSLOGGER: b"", App.OWNTRACKS: b"[]", App.OVERLAND: b'{"result":"ok"}',
}  # fmt: skip


class Phone:
    """One registered app."""

    def __init__(self, server: Served, app: App, added: dict[str, Any]) -> None:
        self.server, self.app, self.added = server, app, added
        self.secret: str = added["secret"]

    async def send(
        self, *, query: str = "", body: bytes = b"", method: str = "POST", secret: str | None = None, **more: str
    ) -> tuple[int, bytes, dict[str, str]]:
        headers = dict(more)
        secret = self.secret if secret is None else secret
        if self.app is App.OWNTRACKS and secret:
            headers["Authorization"] = (
                "Basic " + base64.b64encode(f"{self.added['username']}:{secret}".encode()).decode()
            )
        if self.app is App.OVERLAND and secret:
            headers["Authorization"] = f"Bearer {secret}"
        path = f"/in/{self.app.value}" + (f"?{query}" if query else "")
        async with self.server.http.request(method, path, data=body or None, headers=headers) as answer:
            return answer.status, await answer.read(), dict(answer.headers)

    async def point(self, lat: float, lng: float, at: float, **more: Any) -> tuple[int, bytes, dict[str, str]]:
        """One position in the app's own form."""
        said = {"lat": lat, "lon": lng, **more}
        match self.app:
            case App.OSMAND | App.GPSLOGGER:
                fields = {"id": self.secret, **said, "timestamp": int(at)}
                return await self.send(query="&".join(f"{k}={quote(str(v))}" for k, v in fields.items()), method="GET")
            case App.TRACCAR:
                when = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at))
                location = {"timestamp": when, "coords": {"latitude": lat, "longitude": lng, "accuracy": 5}}
                location["extras"] = {k: v for k, v in more.items() if k == "alarm"}
                return await self.send(body=json.dumps({"location": location, "device_id": self.secret}).encode())
            case App.OWNTRACKS:
                return await self.send(body=json.dumps({"_type": "location", **said, "tst": int(at)}).encode())
            case App.OVERLAND:
                return await self.send(body=batch([(lat, lng, at)], **more))


def feature(lat: float, lng: float, at: float, **more: Any) -> dict[str, Any]:
    when = time.strftime("%Y-%m-%dT%H:%M:%S-0700", time.gmtime(at - 7 * 3600))
    properties = {"timestamp": when, "speed": 4, "horizontal_accuracy": 30, "battery_level": 0.8, **more}
    return {"type": "Feature", "geometry": {"type": "Point", "coordinates": [lng, lat]}, "properties": properties}


def batch(points: list[tuple[float, float, float]], **more: Any) -> bytes:
    return json.dumps({"locations": [feature(*point, **more) for point in points]}).encode()


async def registered(server: Served, app: App, technician: str = "tec_1") -> Phone:
    path = f"/v1/technicians/{technician}/trackers"
    status, added, _ = await server.call("POST", path, server.token("ops_1", "ops"), {"app": app.value})
    assert status == 201, added
    return Phone(server, app, added)


def counted(server: Served) -> dict[str, int]:
    """Points so far by kind, and poison and refusals by outcome."""
    found: dict[str, int] = {}
    for (_, kind, outcome), number in server.app.house.trackers.counts.points.items():
        name = kind if kind == "accepted" else f"{kind} {outcome}"
        found[name] = found.get(name, 0) + number
    return found


@asynccontextmanager
async def on_duty(folder: Path, **overrides: str) -> AsyncIterator[Served]:
    async with served(folder, **overrides) as server:
        await server.technician("tec_1")
        yield server


def with_secret(payload: str, secret: str) -> str:
    payload = re.sub(r'("device_id": ?")[^"]*', rf"\g<1>{secret}", payload)
    return re.sub(r"([?&](?:device)?id=)[^&]*", rf"\g<1>{secret}", payload)


async def test_every_recorded_payload_gets_the_verdict_that_upstream_gives_it(tmp_path: Path) -> None:
    assert len(PAYLOADS) == len(TABLE) == 44
    async with on_duty(tmp_path, trackers__steer="false") as server:
        phones = {app: await registered(server, app) for app in App}
        for number, (row, known) in enumerate(zip(TABLE, PAYLOADS, strict=True), start=1):
            phone, payload = phones[row.app], with_secret(known["payload"], phones[row.app].secret)
            before = counted(server)
            if known["kind"] == "http-query":
                path, _, query = payload.partition("?")
                assert path == "/"
                status, answer, _ = await phone.send(query=query, method="GET")
            else:
                status, answer, _ = await phone.send(body=payload.encode())
            after = counted(server)
            news = {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name, 0)}
            wanted = {} if row.counted == "nothing" else {row.counted: 1}
            assert (status, news) == (row.status, wanted), (number, known)
            if status == 200:
                assert answer == ANSWERS[row.app], number
            upstream = UPSTREAM.get(known["upstream_check"])
            assert row.why or (upstream is not None and row.counted.startswith(upstream)), number


@pytest.mark.parametrize("app", list(App))
async def test_each_app_is_answered_byte_for_byte_what_it_needs(tmp_path: Path, app: App) -> None:
    async with on_duty(tmp_path, trackers__steer="false") as server:
        phone, now = await registered(server, app), time.time()
        for place, (lat, at) in enumerate([(LAT, now), (LAT, now), (91.0, now), (LAT, 0.0), (0.0, now)]):
            status, answer, headers = await phone.point(lat, LNG if lat else 0.0, at)
            assert (status, answer) == (200, ANSWERS[app]), place
            kind = "application/json" if ANSWERS[app] else "text/plain"
            assert headers["Content-Type"] == kind
            assert int(headers["Content-Length"]) == len(ANSWERS[app])
        told = counted(server)
        assert told == {"accepted": 2, "poison bad_place": 1, "poison bad_time": 1, "poison null_island": 1}


@pytest.mark.parametrize("app", list(App))
async def test_an_unknown_device_is_refused_counted_and_slowed_down_alone(tmp_path: Path, app: App) -> None:
    async with on_duty(tmp_path, trackers__guesses_burst="3") as server:
        phone = await registered(server, app)
        good, phone.secret = phone.secret, "trs_nobody"
        statuses = [(await phone.point(LAT, LNG, time.time()))[0] for _ in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        assert counted(server) == {"refused unknown_device": 5}
        phone.secret = good
        assert (await phone.point(LAT, LNG, time.time()))[0] == 200, "others behind the address are not slowed"
        assert server.app.house.api.refusals["tracker_unknown"] == 3


async def test_what_cannot_be_read_is_acknowledged_to_a_known_device(tmp_path: Path) -> None:
    async with on_duty(tmp_path, trackers__steer="false") as server:
        for app in (App.OWNTRACKS, App.OVERLAND):
            phone = await registered(server, app)
            for body in (
                b"",
                b"{",
                b"\xff\xfe",
                b"[[[[",
                b"null",
                b"7",
                b'{"locations":{}}',
                b'{"locations":[1,null]}',
            ):
                assert (await phone.send(body=body))[:2] == (200, ANSWERS[app]), (app, body)


async def test_a_body_beyond_its_bound_is_refused_by_name(tmp_path: Path) -> None:
    async with on_duty(tmp_path) as server:
        phone = await registered(server, App.OWNTRACKS)
        status, answer, _ = await phone.send(body=b" " * 65_537)
        assert (status, json.loads(answer)["code"]) == (413, "too_large")
        phone = await registered(server, App.OVERLAND)
        rows = [(LAT + place / 1e6, LNG, time.time() - 2_100 + place) for place in range(2_100)]
        assert (await phone.send(body=batch(rows)))[0] == 200
        assert counted(server) == {"accepted": 2_000, "poison over_limit": 100}


async def test_a_batch_may_take_longer_to_arrive_than_other_bodies(tmp_path: Path) -> None:
    async with on_duty(tmp_path, http__header_timeout_s="0.2", trackers__steer="false") as server:
        phone = await registered(server, App.OVERLAND)
        whole = batch([(LAT, LNG, time.time())])

        async def slowly() -> AsyncIterator[bytes]:
            yield whole[:50]
            await asyncio.sleep(0.5)
            yield whole[50:]

        headers = {"Authorization": f"Bearer {phone.secret}"}
        async with server.http.post("/in/overland", data=slowly(), headers=headers) as answer:
            assert (answer.status, await answer.read()) == (200, b'{"result":"ok"}')
        async with server.http.post(f"/in/osmand?id={phone.secret}", data=slowly()) as answer:
            assert answer.status == 503


# -- alarms -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("app", list(App))
@pytest.mark.parametrize("lat", [LAT, 95.0])
async def test_an_alarm_is_an_sos_once_and_with_any_position(tmp_path: Path, app: App, lat: float) -> None:
    async with on_duty(tmp_path) as server:
        console = await server.session("ops_1", "ops")
        phone, at = await registered(server, app), time.time()
        assert (await phone.point(lat, LNG, at, alarm="sos"))[0] == 200
        incident = await console.until("incident")
        assert incident["subject"] == "tec_1"
        assert ("fix" in incident) == (lat == LAT) or incident["fix"]["source"] != "sos"
        assert (await phone.point(lat, LNG, at, alarm="sos"))[0] == 200
        listed = (await server.call("GET", "/v1/incidents", server.token("ops_1", "ops")))[1]["incidents"]
        assert [known["incident"] for known in listed] == [incident["incident"]]
        assert server.app.house.trackers.counts.alarms[app.value, "raised"] == 2


async def test_an_alarm_about_a_battery_is_none_and_one_in_a_broken_body_is(tmp_path: Path) -> None:
    async with on_duty(tmp_path) as server:
        phone = await registered(server, App.OSMAND)
        await phone.point(LAT, LNG, time.time(), alarm="lowBattery")
        await phone.point(LAT, LNG, time.time(), alarm="false")
        assert (await server.call("GET", "/v1/incidents", server.token("ops_1", "ops")))[1]["incidents"] == []
        phone = await registered(server, App.TRACCAR)
        broken = b'{"location":{"extras":{"alarm":"sos"},'
        assert (await phone.send(query=f"id={phone.secret}", body=broken))[0] == 200
        listed = (await server.call("GET", "/v1/incidents", server.token("ops_1", "ops")))[1]["incidents"]
        assert [known["subject"] for known in listed] == ["tec_1"]


async def test_an_alarm_counts_off_duty_and_beyond_every_rate(tmp_path: Path) -> None:
    async with served(tmp_path, api__requests_per_s="0.1", api__requests_burst="5") as server:
        record = {"name": "Name", "cities": [CITY], "verified": True}
        await server.call("PUT", "/v1/technicians/tec_1", server.token("prog", "service"), record)
        phone, at = await registered(server, App.OSMAND), time.time()
        statuses = [(await phone.point(LAT, LNG, at + place))[0] for place in range(7)]
        assert statuses == [200] * 5 + [429] * 2
        assert (await phone.point(LAT, LNG, at, alarm="sos"))[0] == 200
        assert counted(server) == {"accepted": 6}  # off duty: looked at, and kept by nobody


# -- steering ---------------------------------------------------------------------------------------------


async def test_answers_steer_the_phone_to_the_job_and_let_it_go_after(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        hub = await server.technician("tec_1")
        overland, owntracks = await registered(server, App.OVERLAND), await registered(server, App.OWNTRACKS)
        idle = json.loads((await overland.point(LAT, LNG, time.time()))[1])
        assert (await owntracks.point(LAT, LNG, time.time()))[1] == b"[]"
        placed = (await server.call("POST", "/v1/orders", server.token("cus_1", "customer"), order()))[1]["order"]
        await hub.ask("offer.accept", offer=(await hub.until("offer"))["offer"])
        busy = json.loads((await overland.point(LAT, LNG, time.time() + 1))[1])
        assert idle == {"result": "ok", "set": {"send_interval": "15s"}}
        assert busy == {"result": "ok", "set": {"send_interval": "1s"}}
        (command,) = json.loads((await owntracks.point(LAT, LNG, time.time() + 1))[1])
        (place,) = command["waypoints"]["waypoints"]
        assert (command["_type"], command["action"]) == ("cmd", "setWaypoints")
        assert (place["_type"], place["rid"], place["rad"]) == ("waypoint", placed, 100)
        # The phone's GPS speaks WGS-84, whatever the platform's frame is.
        assert (place["lat"], place["lon"]) == (pytest.approx(LAT, abs=2e-6), pytest.approx(LNG, abs=2e-6))
        assert (await owntracks.point(LAT, LNG, time.time() + 2))[1] == b"[]", "it was told"
        await server.call(
            "POST", f"/v1/orders/{placed}/cancel", server.token("cus_1", "customer"), {"reason": "changed_mind"}
        )
        assert json.loads((await owntracks.point(LAT, LNG, time.time() + 3))[1]) == [
            {"_type": "cmd", "action": "clearWaypoints"}
        ]
        assert (await owntracks.point(LAT, LNG, time.time() + 4))[1] == b"[]"


# -- registration -----------------------------------------------------------------------------------------


async def test_a_registration_is_listed_without_its_secret_and_ends_when_it_is_taken_back(tmp_path: Path) -> None:
    async with on_duty(tmp_path) as server:
        ops = server.token("ops_1", "ops")
        phone = await registered(server, App.OWNTRACKS)
        await phone.point(LAT, LNG, time.time())
        path = "/v1/technicians/tec_1/trackers"
        (seen,) = (await server.call("GET", path, ops))[1]["devices"]
        assert (seen["device"], seen["app"], seen["added_by"]) == (phone.added["device"], "owntracks", "ops_1")
        assert seen["heard_at"] == pytest.approx(time.time(), abs=5)
        assert phone.secret not in json.dumps(seen)
        statuses = [(await server.call("POST", path, ops, {"app": "osmand"}))[0] for _ in range(5)]
        assert statuses == [201, 201, 201, 201, 409]
        removed = [await server.call("DELETE", f"{path}/{seen['device']}", ops) for _ in range(2)]
        assert [answer["result"]["removed"] for _, answer, _ in removed] == [True, False]
        assert (await phone.point(LAT, LNG, time.time()))[0] == 401


async def test_registrations_outlive_a_restart_and_an_old_place_is_taken_from_the_phone(tmp_path: Path) -> None:
    async with on_duty(tmp_path) as server:
        phone = await registered(server, App.OWNTRACKS)
    async with served(tmp_path) as server:
        phone.server = server
        assert json.loads((await phone.point(LAT, LNG, time.time()))[1])[0]["action"] == "clearWaypoints"
        assert (await phone.point(LAT, LNG, time.time()))[1] == b"[]"
    assert phone.secret.encode() not in b"".join(p.read_bytes() for p in (tmp_path / "data").glob("doorstep.db*"))


async def test_without_trackers_their_paths_do_not_exist(tmp_path: Path) -> None:
    async with served(tmp_path, trackers__enabled="false") as server:
        assert (await server.call("GET", "/in/osmand?id=x"))[0] == 404


async def test_no_secret_is_ever_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with on_duty(tmp_path) as server:
        phones = [await registered(server, app) for app in App]
        for phone in phones:
            for at in (time.time(), 0.0):
                await phone.point(LAT, LNG, at, alarm="sos")
            await phone.send(body=b"{" * 70_000)
            await phone.send(query=f"id={phone.secret}&" + "x" * 20_000, method="GET")
    assert "request answered" in caplog.text
    told = [str(vars(record)) for record in caplog.records if not record.name.startswith(("aiohttp.client", "tests"))]
    assert [line for line in told if any(phone.secret in line for phone in phones)] == []
