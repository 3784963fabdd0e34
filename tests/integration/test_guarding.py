"""What a real server must not tell, to whom it must not listen, and what whoever guards it is told."""

import asyncio
import json
import logging
import statistics
import time
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

import geo
from core.principal import Role
from sim.local_server import LocalCity, LocalServer
from tests.integration.served import LAT, LNG, Served, Session, order, served

pytestmark = pytest.mark.slow
BOUNDARY = Path(geo.__file__).parent / "cities" / "shenzhen.geojson"


async def _metrics(admin_url: str) -> str:
    async with aiohttp.ClientSession() as http, http.get(f"{admin_url}/metrics") as answer:
        return await answer.text()


async def _events(server: Served) -> dict[str, float]:
    lines = (await _metrics(server.app.admin_url)).splitlines()
    found = [line for line in lines if line.startswith("doorstep_security_events_total{")]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in found}


async def test_no_log_and_no_metric_holds_a_token_or_a_ticket(tmp_path: Path) -> None:
    """Everything that a client can do with a token is done, rightly and wrongly, with every line of the log written."""
    with LocalServer([LocalCity("shenzhen", BOUNDARY)], {"log": {"level": "debug"}}, folder=tmp_path) as server:
        tokens = [server.token(f"cus_canary_{n}", Role.CUSTOMER) for n in range(4)]
        tickets = []
        async with aiohttp.ClientSession(server.http_url) as http:
            for token in tokens:
                head = {"Authorization": f"Bearer {token}"}
                await http.get("/v1/orders", headers=head)
                await http.get(f"/v1/orders?token={token}")
                await http.get(f"/v1/orders/{token}", headers=head)
                await http.get("/v1/orders", headers={"Authorization": token})
                await http.get("/v1/orders", headers={"Authorization": f"Bearer {token}x", "Cookie": f"token={token}"})
                await http.post("/v1/sos", headers=head, data=json.dumps({"key": "k", "note": token}))
                async with http.post("/v1/tickets", headers=head, json={"device": "browser"}) as answer:
                    tickets.append((await answer.json())["ticket"])
            frames = [
                {"type": "hello", "token": tokens[0], "device": "d"},
                {"type": "hello", "token": tokens[1] + "x", "device": "d"},
                {"type": "hello", "ticket": tickets[0], "device": "browser"},
                {"type": "hello", "ticket": tickets[0], "device": "browser"},
                {"type": "hello", "ticket": tickets[1], "device": "another"},
                {"type": "hello", "token": tokens[2], "ticket": tickets[2], "device": "d"},
                {"type": tokens[3]},
            ]
            for frame in frames:
                async with connect(server.hub_url, subprotocols=["doorstep.v1.json"], proxy=None) as socket:  # type: ignore[list-item]
                    with suppress(ConnectionClosed):
                        await socket.send(json.dumps(frame))
                        await socket.recv()
                        await socket.send(json.dumps({"type": "refresh", "token": tokens[0]}))
            with pytest.raises(InvalidStatus):
                await connect(f"{server.hub_url}/x?token={tokens[0]}", proxy=None)
            await http.post("/v1/sign-out", headers={"Authorization": f"Bearer {tokens[0]}"})
        told = (tmp_path / "server.log").read_text(errors="replace")
        told += await _metrics(server.admin_url)
        server.stop()
    told += (tmp_path / "server.log").read_text(errors="replace")
    assert "request answered" in told
    assert "doorstep_http_requests_total" in told
    parts = {part for token in tokens for part in token.split(".")[1:]}  # the head is the same for all
    for secret in (*tokens, *parts, *tickets):
        assert secret not in told


async def test_labels_of_metrics_come_from_short_lists(tmp_path: Path) -> None:
    """A label that a client could fill would name people, and grow without end."""
    async with served(tmp_path) as server:
        await server.technician("tec_canary")
        token = server.token("cus_canary", "customer")
        _, placed, _ = await server.call("POST", "/v1/orders", token, order())
        _, raised, _ = await server.call("POST", "/v1/sos", token, {"key": "key-canary"})
        await server.call("GET", "/v1/nothing-canary", token)
        await server.call("CANARY", "/v1/orders", token)
        text = await _metrics(server.app.admin_url)
    for secret in ("canary", placed["order"], raised["incident"], "ops_", "13800000000", str(LAT), str(LNG)):
        assert secret not in text, secret


async def test_the_world_hears_of_no_metrics_and_no_version_in_headers(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        for path in ("/metrics", "/healthz", "/readyz", "/docs", "/debug", "/debug/pprof", "/admin", "/.git/config"):
            status, told, headers = await server.call("GET", path, server.token("ops_1", "ops"))
            assert (status, told["code"]) == (404, "not_found")
            assert headers["Server"] == "doorstep"
        hub = server.app.hub_url.replace("ws://", "http://").rsplit("/", 1)[0]
        async with server.http.get(f"{hub}/metrics") as answer:
            assert answer.status == 404
            assert "picows" not in str(answer.headers)


async def test_no_cookie_opens_a_route_and_no_origin_is_let_in(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        token = server.token("cus_1", "customer")
        elsewhere = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        for method, path in (
            ("GET", "/config.json"),
            ("GET", "/v1/orders"),
            ("POST", "/v1/tickets"),
            ("OPTIONS", "/v1/sos"),
        ):
            status, _, headers = await server.call(method, path, None, None, Cookie=f"token={token}", **elsewhere)
            assert path == "/config.json" or status in (401, 405)
            assert "Set-Cookie" not in headers
            assert not [name for name in headers if name.lower().startswith("access-control-")]


async def test_whoever_raises_an_sos_sets_nothing_but_what_they_saw(tmp_path: Path) -> None:
    """Fields that would make it smaller, somebody else's or a drill are not read."""
    wanted = {
        "level": 3, "kind": "duress", "cap_status": "exercise", "source": "system", "tenant": "other", "user": "cus_2",
        "subject": "cus_2", "role": "ops", "state": "resolved", "raised_at": 1, "provisional_until": 9e9,
        "disposition": "false_test", "incident": "inc_mine", "cause": "checkin_missed", "raised_by": "ops_1",
    }  # fmt: skip
    async with served(tmp_path) as server:
        ops = await server.session("ops_1", "ops")
        plain = await server.call("POST", "/v1/sos", server.token("cus_1", "customer"), {"key": "plain"})
        first = await ops.until("incident", incident=plain[1]["incident"])
        status, ack, _ = await server.call("POST", "/v1/sos", server.token("cus_3", "customer"), {"key": "k", **wanted})
        assert status == 200
        second = await ops.until("incident", incident=ack["incident"])
        own = {
            "incident",
            "raised_at",
            "subject",
            "seq",
            "type",
            "stream",
            "epoch",
            "received_at",
            "changed_at",
            "name",
        }
        differing = {name for name in first | second if first.get(name) != second.get(name)} - own
        assert differing == set(), (first, second)
        assert second["subject"] == "cus_3"
        assert second["incident"] != "inc_mine"
        assert ack["level"] == plain[1]["level"]
        _, placed, _ = await server.call(
            "POST",
            "/v1/orders",
            server.token("cus_1", "customer"),
            order(customer="cus_2", tenant="other", state="finished"),
        )
        assert "code" in placed or placed["customer"] == "cus_1"


async def test_foreign_and_absent_take_the_same_time(tmp_path: Path) -> None:
    """Interleaved requests: a look-up more or less is far below what a network blurs."""
    async with served(tmp_path, api__requests_burst="100000", api__requests_per_s="100000") as server:
        _, placed, _ = await server.call("POST", "/v1/orders", server.token("cus_1", "customer"), order())
        token = server.token("cus_2", "customer")
        took: dict[str, list[float]] = {"foreign": [], "absent": []}
        for _ in range(150):
            for kind, name in (("foreign", placed["order"]), ("absent", placed["order"][:-4] + "none")):
                began = time.perf_counter()
                status, _, _ = await server.call("GET", f"/v1/orders/{name}", token)
                took[kind].append(time.perf_counter() - began)
                assert status == 404
        # The quicker half of the requests: what waited for another process says nothing of the look-up.
        foreign_s, absent_s = (statistics.median(sorted(times)[:75]) for times in took.values())
        assert abs(foreign_s - absent_s) < max(0.001, 0.25 * absent_s), took


async def test_a_way_is_shown_only_after_a_fresh_sign_in(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        await server.technician("tec_1")
        now = time.time()
        for path in ("/v1/technicians/tec_1/track", "/v1/orders/ord_none/track"):
            stale = server.token("ops_1", "ops", signed_in_at=now - 601)  # its token is young: it was renewed
            status, told, _ = await server.call("GET", path, stale)
            assert (status, told["code"]) == (403, "sign_in_again")
            fresh = server.token("ops_1", "ops", signed_in_at=now - 500)
            assert (await server.call("GET", path, fresh))[0] in (200, 404)
            assert (await server.call("GET", path, server.token("ops_1", "ops", signed_in_at=now + 999)))[0] in (
                200,
                404,
            )
        stale = server.token("ops_1", "ops", signed_in_at=now - 601)
        assert (await server.call("GET", "/v1/incidents", stale))[0] == 200  # an emergency is not put off by it


async def test_refusals_are_counted_and_summed_up_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "server.security_events")
    async with served(tmp_path, log__security_every_s="1", api__requests_burst="10", api__requests_per_s="1") as server:
        before = await _events(server)
        assert set(before.values()) == {0.0}
        await server.call("GET", "/v1/orders", "x.y.z")
        await server.call("GET", "/v1/orders")
        await server.call("GET", "/v1/incidents", server.token("cus_1", "customer"))
        await server.call("GET", "/v1/orders/ord_none", server.token("cus_1", "customer"))
        for _ in range(12):
            await server.call("GET", "/v1/orders", server.token("cus_9", "customer"))
        with pytest.raises(InvalidStatus):
            await connect(server.app.hub_url, origin="https://evil.example", proxy=None)  # type: ignore[arg-type]
        bad = Session(await connect(server.app.hub_url, subprotocols=["doorstep.v1.json"], proxy=None))  # type: ignore[list-item]
        await bad.send("hello", token="nonsense", device="d")
        await bad.until("error")
        open_one = await server.session("cus_5", "customer")
        await server.call("POST", "/v1/sign-out", server.token("cus_7", "customer"))
        await open_one.socket.close()
        after = await _events(server)
        await asyncio.sleep(1.2)
        assert after["sign_in_refused"] == 3
        assert after["right_denied"] == 1
        assert after["not_found"] >= 1
        assert after["limit_met"] >= 1
        assert after["upgrade_refused"] == 1
        lines = [record for record in caplog.records if record.message == "security events"]
        assert sum(getattr(line, "sign_in_refused", 0) for line in lines) == 3
        assert "cus_" not in str([vars(line) for line in lines])


async def test_a_weakness_can_be_told_to_somebody(tmp_path: Path) -> None:
    async with served(tmp_path, api__security_contact="mailto:security@example.org") as server:
        status, text, headers = await server.call("GET", "/.well-known/security.txt")
        assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
        fields = dict(line.split(": ", 1) for line in text.decode().splitlines())
        assert fields["Contact"] == "mailto:security@example.org"
        expires = time.mktime(time.strptime(fields["Expires"], "%Y-%m-%dT%H:%M:%SZ"))
        assert 86_400 < expires - time.time() < 365 * 86_400


async def test_one_tenant_cannot_take_the_hub(tmp_path: Path) -> None:
    async with served(tmp_path, realtime__sessions__sessions_per_tenant_max="2") as server:
        first = await server.session("cus_1", "customer")
        await server.session("cus_2", "customer")
        third = Session(await connect(server.app.hub_url, subprotocols=["doorstep.v1.json"], proxy=None))  # type: ignore[list-item]
        await third.send("hello", token=server.token("cus_3", "customer"), device="d")
        assert (await third.until("error"))["code"] == "too_many"
        assert (await server.call("POST", "/v1/sos", server.token("cus_3", "customer"), {"key": "k"}))[1]["durable"]
        await server.session("cus_1", "customer", tenant="other")
        await first.socket.close()
        await server.session("cus_4", "customer")


async def test_a_bound_token_that_has_expired_raises_an_sos_from_its_own_device_only(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        stale = server.token("cus_1", "customer", device="phone", life_s=-3_600)
        for device, code in ((None, "device_needed"), ("laptop", "token_invalid")):
            named = {} if device is None else {"Doorstep-Device": device}
            status, told, _ = await server.call("POST", "/v1/sos", stale, {"key": "k"}, **named)
            assert (status, told["code"]) == (401, code)
        status, ack, _ = await server.call("POST", "/v1/sos", stale, {"key": "k"}, **{"Doorstep-Device": "phone"})
        assert (status, ack["durable"]) == (200, True)
        for device, kind in (("laptop", "error"), ("phone", "welcome")):
            session = Session(await connect(server.app.hub_url, subprotocols=["doorstep.v1.json"], proxy=None))  # type: ignore[list-item]
            await session.send("hello", token=stale, device=device)
            assert (await session.until(kind))["type"] == kind
            await session.socket.close()
        # It is good for nothing else, and for nobody once a day has passed.
        own = {"Doorstep-Device": "phone"}
        assert (await server.call("GET", "/v1/orders", stale, None, **own))[1]["code"] == "token_expired"
        old = server.token("cus_1", "customer", device="phone", life_s=-86_500)
        assert (await server.call("POST", "/v1/sos", old, {"key": "k"}, **own))[1]["code"] == "token_expired"


async def test_whoever_was_called_sees_nobody_any_more_once_it_is_over(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        ops = await server.session("ops_1", "ops")
        responder = await server.session("res_1", "responder")
        await responder.ask("duty", on=True, city="shenzhen")
        phone = await server.technician("tec_1")
        await phone.send("sos", key="help")
        incident = (await phone.until("sos_ack", key="help"))["incident"]
        await responder.until("incident", incident=incident)
        await responder.ask("watch", topic=f"incident:{incident}")
        await server.ping(phone, 2, LAT + 0.011, LNG)
        await responder.until("position", topic=f"incident:{incident}")
        path = f"/v1/incidents/{incident}/resolve"
        body = {"disposition": "false_test", "note": "a test"}
        assert (await server.call("POST", path, server.token("ops_1", "ops"), body))[0] == 200
        over_at = time.time()
        await responder.until("unwatched", topic=f"incident:{incident}")
        assert time.time() - over_at <= 1.0
        await server.ping(phone, 3, LAT + 0.012, LNG)
        responder.seen.clear()
        await responder.ask("unwatch", topic="order:none")
        assert not [message for message in responder.seen if message["type"] == "position"]
        await responder.send("watch", topic=f"incident:{incident}", ref="again")
        assert (await responder.until("error", ref="again"))["code"] == "not_found"
        called, staff = server.token("res_1", "responder"), server.token("ops_1", "ops")
        status, end, _ = await server.call("GET", f"/v1/incidents/{incident}", called)
        assert (status, set(end)) == (
            200, {"type", "incident", "state", "level", "changed_at", "why", "disposition", "version"},
        )  # fmt: skip
        for part in ("trail", "call-text", "timeline"):
            assert (await server.call("GET", f"/v1/incidents/{incident}/{part}", called))[0] == 404
            assert (await server.call("GET", f"/v1/incidents/{incident}/{part}", staff))[0] == 200
        await ops.ask("unwatch", topic="order:none")
