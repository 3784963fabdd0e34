"""The HTTP edge on the real wiring: every service, SQLite in a temporary folder, real sockets."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from core.ids import CityId, OrderId, TenantId, UserId
from dispatch import events
from tests.integration.served import CITY, LAT, LNG, Served, order, served

pytestmark = pytest.mark.slow


async def _problem(server: Served, method: str, path: str, *args: Any, **headers: str) -> tuple[int, str]:
    status, body, sent = await server.call(method, path, *args, **headers)
    assert sent["Content-Type"] == "application/problem+json"
    assert body["status"] == status
    assert body["request_id"] == sent["X-Request-Id"]
    return status, body["code"]


async def test_answers_carry_a_request_id_and_no_cors(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        _, _, headers = await server.call(
            "GET", "/config.json", **{"X-Request-Id": "mine-123456", "Origin": "http://evil"}
        )
        assert headers["X-Request-Id"] == "mine-123456"
        assert not [name for name in headers if name.lower().startswith("access-control")]
        _, _, headers = await server.call("GET", "/config.json", **{"X-Request-Id": "bad id"})
        assert headers["X-Request-Id"].startswith("req_")


async def test_what_the_router_refuses_is_a_problem_too(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        assert await _problem(server, "GET", "/nowhere") == (404, "not_found")
        assert await _problem(server, "DELETE", "/v1/orders") == (405, "method_not_allowed")
        assert await _problem(server, "OPTIONS", "/v1/orders") == (405, "method_not_allowed")
        assert await _problem(server, "GET", "/v1/orders") == (401, "token_missing")
        assert await _problem(server, "GET", "/v1/orders", "nonsense") == (401, "token_invalid")


async def test_the_pages_and_documents_are_public_and_strict(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        status, page, headers = await server.call("GET", "/")
        assert status == 200
        assert b"Shenzhen" in page or b"shenzhen" in page
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert b"http://" not in page.replace(server.app.admin_url.encode(), b"")
        assert (await server.call("GET", "/style.css"))[0] == 200
        config = (await server.call("GET", "/config.json"))[1]
        assert config["hub_url"] == server.app.hub_url
        openapi = (await server.call("GET", "/openapi.json"))[1]
        assert {"/v1/orders", "/v1/sos", "/v1/technicians/{id}"} <= set(openapi["paths"])
        asyncapi = (await server.call("GET", "/asyncapi.json"))[1]
        assert {"Hello", "Sos", "OfferAccept", "Welcome", "Offer"} <= set(asyncapi["components"]["messages"])


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [ref for value in node.values() for ref in _references(value)]
    return [ref for item in node for ref in _references(item)] if isinstance(node, list) else []


@pytest.mark.parametrize("path", ["/openapi.json", "/asyncapi.json"])
async def test_every_reference_of_a_document_points_to_something(tmp_path: Path, path: str) -> None:
    async with served(tmp_path) as server:
        document = (await server.call("GET", path))[1]
        references = _references(document)
        assert len(references) > 20
        for reference in references:
            node = document
            for part in reference.removeprefix("#/").split("/"):
                node = node[part]


async def test_bodies_that_do_not_fit_name_the_field(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        token = server.token("cus_1", "customer")
        for changes, field in (
            ({"duration_s": -1}, "duration_s"),
            ({"location": {"lat": 91, "lng": 0, "address": "x"}}, "location.lat"),
            ({"location": {"lat": True, "lng": 0, "address": "x"}}, "location.lat"),
            ({"service": "mas\x00sage"}, "service"),
            ({"skills": ["x" * 65]}, "skills[0]"),
            ({"mode": "loud"}, "mode"),
            ({"mode": "manual"}, "mode"),
            ({"mode": "directed"}, "technician"),
            ({"technician": "tec_1"}, "technician"),
            ({"mode": "directed", "technician": "tec_1", "fallback": "never"}, "fallback"),
            ({"scheduled_for": 1}, "scheduled_for"),
            ({"price": {"service_fen": -1}}, "price.service_fen"),
        ):
            status, body, _ = await server.call("POST", "/v1/orders", token, order(**changes))
            assert (status, body["field"]) == (422, field), body
        for raw in (b"", b"{", b"[1]", b'{"a":' * 5000, b"\xff\xfe", b'{"duration_s": NaN}', b'{"duration_s": 1e999}'):
            status, body, _ = await server.call("POST", "/v1/orders", token, raw)
            assert status in (400, 422), (raw[:20], body)
        status, body, _ = await server.call("POST", "/v1/orders", token, b"x" * 300_000)
        assert (status, body["code"]) == (413, "too_large")


async def test_one_rule_for_control_characters_over_http_and_on_the_hub(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        token = server.token("cus_1", "customer")
        phone = await server.technician()
        noted = order()
        noted["location"]["entrance_note"] = "gate B\n\tring twice"
        status, placed, _ = await server.call("POST", "/v1/orders", token, noted)
        assert status == 201
        assert placed["location"]["entrance_note"] == "gate B\n\tring twice"
        ops = server.token("ops_1", "ops")
        tec = server.token("tec_1", "technician")
        for path, caller, body, field in (
            (f"/v1/orders/{placed['order']}/cancel", token, {"reason": "late\n"}, "reason"),
            (f"/v1/orders/{placed['order']}/step", tec, {"step": "en_route", "evidence": "a\u0000"}, "evidence"),
            ("/v1/incidents/inc_1/resolve", ops, {"disposition": "real_handled", "note": "a\u001b[31m"}, "note"),
        ):
            status, told, _ = await server.call("POST", path, caller, body)
            assert (status, told["code"], told["field"]) == (422, "invalid", field), path
        offer = await phone.until("offer")
        await phone.send("offer.decline", ref="r", offer=offer["offer"], reason="too\nfar")
        assert (await phone.until("error", ref="r"))["field"] == "reason"
        await phone.ask("offer.accept", offer=offer["offer"])
        await phone.send("job.step", ref="s", order=placed["order"], step="en_route", evidence="a\rb")
        assert (await phone.until("error", ref="s"))["field"] == "evidence"
        await phone.ask("job.step", order=placed["order"], step="en_route", evidence="a\nb")


async def test_an_order_outside_every_open_city_is_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        place = {"lat": 31.23, "lng": 121.47, "address": "x"}
        answer = await server.call("POST", "/v1/orders", server.token("cus_1", "customer"), order(location=place))
        assert (answer[0], answer[1]["code"]) == (422, "outside_service_area")


async def test_a_closed_city_takes_no_orders(tmp_path: Path) -> None:
    closed = "[{tenant: demo, city: shenzhen, open: false}]"
    async with served(tmp_path, cities=closed) as server:
        answer = await server.call("POST", "/v1/orders", server.token("cus_1", "customer"), order())
        assert (answer[0], answer[1]["code"]) == (422, "outside_service_area")


async def test_one_idempotency_key_makes_one_order(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        token = server.token("cus_1", "customer")
        key = {"Idempotency-Key": "k"}
        first, second = await asyncio.gather(
            server.call("POST", "/v1/orders", token, order(), **key),
            server.call("POST", "/v1/orders", token, order(), **key),
        )
        assert sorted((first[0], second[0])) == [200, 201]
        assert first[1]["order"] == second[1]["order"]
        misuse = await server.call("POST", "/v1/orders", token, order(duration_s=7200), **key)
        assert (misuse[0], misuse[1]["code"]) == (409, "idempotency_key_reused")
        stranger = await server.call("POST", "/v1/orders", server.token("cus_2", "customer"), order(), **key)
        assert stranger[0] == 201
        assert stranger[1]["order"] != first[1]["order"]


async def test_orders_are_listed_newest_first_in_pages_without_gaps(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        token = server.token("cus_1", "customer")
        placed = [(await server.call("POST", "/v1/orders", token, order()))[1]["order"] for _ in range(5)]
        await server.call("POST", "/v1/orders", server.token("cus_2", "customer"), order())
        found: list[str] = []
        after = ""
        for _ in range(3):
            _, page, headers = await server.call("GET", f"/v1/orders?limit=2{after}", token)
            assert headers["Cache-Control"] == "no-store"
            found += [row["order"] for row in page["orders"]]
            if "next" not in page:
                break
            after = f"&after={page['next']}"
        assert found == placed[::-1]
        everything = (await server.call("GET", "/v1/orders", server.token("ops_1", "ops")))[1]["orders"]
        assert len(everything) == 6
        assert (await server.call("GET", "/v1/orders?limit=0", token))[0] == 422
        assert (await server.call("GET", "/v1/orders?after=nan~x", token))[0] == 422
        assert (await server.call("GET", "/v1/orders?state=gone", token))[0] == 422


async def test_a_customer_hears_cells_and_never_places_of_technicians_near(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        for number in range(3):
            await server.technician(f"tec_{number}", LAT + 0.002 * number)
        path = f"/v1/technicians/nearby?lat={LAT}&lng={LNG}"
        _, answer, headers = await server.call("GET", path, server.token("cus_1", "customer"))
        assert headers["Cache-Control"] == "no-store"
        assert len(answer["cards"]) == 3
        for card in answer["cards"]:
            assert set(card) <= {"pick", "distance_band", "services", "earliest_s", "rating"}
        assert "tec_" not in json.dumps(answer)
        other = (await server.call("GET", path, server.token("cus_2", "customer")))[1]
        assert not {c["pick"] for c in other["cards"]} & {c["pick"] for c in answer["cards"]}
        _, ops, _ = await server.call("GET", path, server.token("ops_1", "ops"))
        assert {row["technician"] for row in ops["technicians"]} == {"tec_0", "tec_1", "tec_2"}
        assert all(row["crs"] == "gcj02" for row in ops["technicians"])


async def test_positions_over_http_are_judged_as_on_the_hub(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        await server.technician()
        token = server.token("tec_1", "technician")
        now = time.time()
        body = {"device": "tec_1-phone", "sent_at": now, "pings": [[5, now, LAT + 0.01, LNG, 10, None, None]] * 2}
        status, answer, _ = await server.call("POST", "/v1/positions", token, body)
        assert status == 200
        assert answer["verdicts"] == {"live": 1, "duplicate": 1}
        bound = server.token("tec_1", "technician", device="another")
        assert (await server.call("POST", "/v1/positions", bound, body))[0] == 422


async def test_on_a_job_positions_over_http_are_answered_when_they_may_be_forgotten(tmp_path: Path) -> None:
    async with served(tmp_path, store__tracks__flush_interval_s="0.2") as server:
        phone = await server.technician()
        status, placed, _ = await server.call("POST", "/v1/orders", server.token("cus_1", "customer"), order())
        assert status == 201
        await phone.ask("offer.accept", offer=(await phone.until("offer"))["offer"])
        await phone.ask("job.step", order=placed["order"], step="en_route")
        token = server.token("tec_1", "technician")
        for seq in (5, 8):
            now = time.time()
            rows = [[seq + i, now - 2 + i, LAT + 0.01, LNG, 10, None, None] for i in range(3)]
            body = {"device": "tec_1-other", "sent_at": now, "pings": rows}
            status, answer, _ = await server.call("POST", "/v1/positions", token, body)
            assert status == 200
            assert sum(answer["verdicts"].values()) == 3
            assert answer["stored_seq"] == seq + 2, answer
            _, track, _ = await server.call("GET", f"/v1/orders/{placed['order']}/track", server.token("ops_1", "ops"))
            assert len(track["points"]) >= 3, "what may be forgotten is stored"


async def test_an_sos_is_taken_with_anything_in_it_and_with_an_expired_token(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        ops = await server.session("ops_1", "ops")
        expired = server.token("tec_1", "technician", life_s=-60)
        assert await _problem(server, "GET", "/v1/orders", expired) == (401, "token_expired")
        status, ack, _ = await server.call("POST", "/v1/sos", expired, b'{"key": "k1", "lat": "north", "note": 5')
        assert status == 200
        assert ack["durable"] is True
        seen = await ops.until("incident", incident=ack["incident"])
        assert seen["restricted"] is True
        for damaged in (b"", b"\xff\xff", b"null", b"[" * 100_000, b'{"key": 5, "lat": 1e999}', b"x" * 400_000):
            status, again, _ = await server.call("POST", "/v1/sos", expired, damaged)
            assert status == 200, again
            assert again["incident"] == ack["incident"]
        assert await _problem(server, "POST", "/v1/sos", None, {"key": "k"}) == (401, "token_missing")


async def test_a_ticket_opens_one_session_of_its_device(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        token = server.token("cus_1", "customer")
        status, ticket, headers = await server.call("POST", "/v1/tickets", token, {"device": "browser"})
        assert status == 201
        assert headers["Cache-Control"] == "no-store"
        from websockets.asyncio.client import connect

        for expected in ("welcome", "error"):
            async with connect(ticket["hub_url"], subprotocols=["doorstep.v1.json"]) as socket:  # type: ignore[list-item]
                await socket.send(json.dumps({"type": "hello", "ticket": ticket["ticket"], "device": "browser"}))
                assert json.loads(await socket.recv())["type"] == expected


async def test_staff_changes_technicians_of_their_own_cities_only(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        record = {"name": "W", "cities": [CITY], "skills": ["massage"], "verified": True}
        put = "/v1/technicians/tec_1"
        assert (await server.call("PUT", put, server.token("s", "service", cities=["elsewhere"]), record))[0] == 403
        assert (await server.call("PUT", put, server.token("s", "service"), record))[0] == 201
        assert (await server.call("PUT", put, server.token("s", "service"), record | {"name": "X"}))[0] == 200
        assert (await server.call("GET", put, server.token("s", "service", cities=["elsewhere"])))[0] == 404
        status, body, _ = await server.call("PUT", put, server.token("s", "service"), record | {"cities": ["mars"]})
        assert (status, body["field"]) == (422, "cities")
        status, body, _ = await server.call("PUT", put, server.token("s", "service"), record | {"name": "X\x00"})
        assert (status, body["field"]) == (422, "name")
        assert (await server.call("GET", put, server.token("tec_1", "technician")))[1]["name"] == "X"


async def test_duty_over_http_by_the_technician_and_by_ops(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        record = {"name": "W", "cities": [CITY], "verified": True}
        await server.call("PUT", "/v1/technicians/tec_1", server.token("s", "service"), record)
        path = "/v1/technicians/tec_1/duty"
        own, ops = server.token("tec_1", "technician"), server.token("ops_1", "ops")
        assert (await server.call("POST", path, own, {"on": True}))[1]["result"] == {"duty": "on", "city": CITY}
        assert (await server.call("GET", "/v1/technicians/tec_1", ops))[1]["duty"] == "on"
        assert (await server.call("POST", path, ops, {"on": False}))[1]["result"] == {"duty": "off", "city": CITY}
        assert (await server.call("POST", path, server.token("tec_2", "technician"), {"on": False}))[0] == 404


async def test_incidents_are_acknowledged_and_resolved_over_http(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        await server.session("ops_1", "ops")
        _, ack, _ = await server.call("POST", "/v1/sos", server.token("cus_1", "customer"), {"key": "k"})
        ops = server.token("ops_1", "ops")
        path = f"/v1/incidents/{ack['incident']}"
        assert (await server.call("GET", path, ops))[1]["state"] == "open"
        assert (await server.call("POST", f"{path}/ack", ops))[0] == 200
        late = await server.call("POST", f"{path}/ack", server.token("ops_2", "ops"))
        assert (late[0], late[1]["code"]) == (409, "already_acknowledged")
        done = await server.call("POST", f"{path}/resolve", ops, {"disposition": "false_test", "note": "drill"})
        assert done[0] == 200
        assert (await server.call("GET", path, ops))[1]["state"] == "resolved"
        assert [i["incident"] for i in (await server.call("GET", "/v1/incidents", ops))[1]["incidents"]] == [
            ack["incident"]
        ]
        assert (await server.call("GET", f"{path}/timeline", ops))[1]["events"]
        assert (await server.call("GET", path, server.token("cus_1", "customer")))[0] == 403


async def test_slow_heads_and_slow_bodies_do_not_hold_the_server(tmp_path: Path) -> None:
    async with served(tmp_path, http__header_timeout_s="0.3") as server:
        port = int(server.app.http_url.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /config.json HTTP/1.1\r\nHost: x\r\n")
        assert await asyncio.wait_for(reader.read(), 3) == b""
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /config.json HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.write(b"GET /config")  # the second request of a kept connection is held to the same
        await asyncio.wait_for(reader.read(), 3)
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        token = server.token("cus_1", "customer")
        head = f"POST /v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 100\r\n\r\n{{"
        writer.write(head.encode())
        answer = await asyncio.wait_for(reader.readline(), 3)
        assert b"503" in answer
        writer.close()


async def test_too_many_connections_push_out_the_idle_and_not_the_newest(tmp_path: Path) -> None:
    async with served(tmp_path, http__connections_max="5") as server:
        port = int(server.app.http_url.rsplit(":", 1)[1])
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(12)]
        status, _, _ = await server.call("POST", "/v1/sos", server.token("cus_1", "customer"), {"key": "k"})
        assert status == 200
        for _, writer in idle:
            writer.close()


async def test_the_admin_listener_tells_health_and_every_metric_of_the_table(tmp_path: Path) -> None:
    from server.metrics import METRICS

    async with served(tmp_path) as server:
        await server.technician()
        await server.call("GET", "/config.json")
        async with server.http.get(f"{server.app.admin_url}/metrics") as answer:
            text = await answer.text()
        for row in METRICS:
            assert row.name in text, row.name
        read = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert float(read['doorstep_commit_seconds_count{file="doorstep.db"}']) >= 1
        assert float(read['doorstep_database_bytes{file="safety.db"}']) > 0
        assert read["doorstep_incidents_unacknowledged"] == "0.0"
        async with server.http.get(f"{server.app.admin_url}/readyz") as answer:
            assert answer.status == 200


async def test_state_survives_a_restart(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        token = server.token("cus_1", "customer")
        placed = (await server.call("POST", "/v1/orders", token, order()))[1]["order"]
    async with served(tmp_path) as server:
        assert (await server.call("GET", f"/v1/orders/{placed}", server.token("cus_1", "customer")))[1]["state"] in (
            "placed",
            "matching",
        )


async def test_after_a_restart_an_sos_without_a_place_has_the_last_one_and_nobody_is_near_by_it(tmp_path: Path) -> None:
    near = f"/v1/technicians/nearby?lat={LAT}&lng={LNG}"
    async with served(tmp_path) as server:
        await server.technician()
        assert len((await server.call("GET", near, server.token("o", "ops")))[1]["technicians"]) == 1
    async with served(tmp_path) as server:
        ops = server.token("o", "ops")
        assert (await server.call("GET", "/v1/technicians/tec_1", ops))[1]["duty"] == "on"
        assert (await server.call("GET", near, ops))[1]["technicians"] == []
        _, ack, _ = await server.call("POST", "/v1/sos", server.token("tec_1", "technician"), {"key": "k"})
        fix = (await server.call("GET", f"/v1/incidents/{ack['incident']}", ops))[1]["fix"]
        assert fix["source"] == "last_seen"
        assert fix["lat"] == pytest.approx(LAT + 0.01, abs=0.01)
        assert 0 <= fix["age_s"] < 60


async def test_a_technician_of_two_cities_can_go_on_duty_in_either(tmp_path: Path) -> None:
    ring = [[113.0, 22.0], [113.5, 22.0], [113.5, 22.4], [113.0, 22.4], [113.0, 22.0]]
    feature = {
        "type": "Feature",
        "properties": {"kind": "city", "id": "zhuhai", "name": "Zhuhai"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    (tmp_path / "zhuhai.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    cities = "[{tenant: demo, city: shenzhen}, {tenant: demo, city: zhuhai, boundary_file: zhuhai.geojson}]"
    async with served(tmp_path, cities=cities) as server:
        both = ("shenzhen", "zhuhai")
        record = {"name": "W", "cities": list(both), "skills": ["massage"], "verified": True}
        put = await server.call("PUT", "/v1/technicians/tec_1", server.token("s", "service", cities=both), record)
        assert put[0] == 201, put
        phone = await server.session("tec_1", "technician", cities=both)
        assert (await phone.ask("duty", on=True, city="zhuhai"))["result"] == {"duty": "on", "city": "zhuhai"}
        await phone.send("duty", on=True, city="shenzhen", ref="x")
        assert (await phone.until("error", ref="x"))["code"] == "on_duty_elsewhere"
        await phone.ask("duty", on=False)
        assert (await phone.ask("duty", on=True, city="shenzhen"))["result"]["city"] == "shenzhen"
        await phone.ask("duty", on=False)
        changed = record | {"cities": ["shenzhen"], "name": "V"}
        program = server.token("s", "service", cities=both)
        assert (await server.call("PUT", "/v1/technicians/tec_1", program, changed))[0] == 200
        await phone.send("duty", on=True, city="zhuhai", ref="y")
        assert (await phone.until("error", ref="y"))["code"] == "city_not_allowed"
        # What happens in the one city that is left is told to the other as well: it still knows the record.
        await phone.ask("duty", on=True, city="shenzhen")
        left = server.app.house.cities.require(TenantId("demo"), CityId("zhuhai")).dispatch
        await left.drain()
        copy = left.technician(UserId("tec_1"))
        assert copy is not None
        assert (copy.cities, copy.duty_city, copy.name) == (("shenzhen",), "shenzhen", "V")


async def test_an_order_in_one_frame_is_offered_and_shown_in_the_platforms(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        token = server.token("cus_1", "customer")
        shown = {}
        for crs in ("wgs84", "gcj02", "bd09"):
            place = {"lat": LAT, "lng": LNG, "address": "x", "crs": crs}
            shown[crs] = (await server.call("POST", "/v1/orders", token, order(location=place)))[1]["location"]
            assert shown[crs]["crs"] == "gcj02"
        assert (shown["gcj02"]["lat"], shown["gcj02"]["lng"]) == (LAT, LNG)
        assert 0.001 < abs(shown["wgs84"]["lat"] - LAT) < 0.01
        assert shown["bd09"]["lat"] < LAT


@pytest.mark.parametrize("bearer", ["", "Authorization: Bearer nonsense\r\n"])
async def test_an_sos_gets_in_while_nobodys_slow_bodies_fill_every_place(tmp_path: Path, bearer: str) -> None:
    async with served(tmp_path, http__connections_max="8") as server:
        host, port = server.app.http_url.removeprefix("http://").split(":")
        slow = []
        for _ in range(12):
            reader, writer = await asyncio.open_connection(host, int(port))
            head = f"POST /v1/sos HTTP/1.1\r\nHost: {host}\r\n{bearer}Content-Length: 900\r\n\r\n{{"
            writer.write(head.encode())
            slow.append((reader, writer))
        answered = await asyncio.wait_for(slow[-1][0].readline(), 5)
        assert answered.startswith(b"HTTP/1.1 401")  # by the head alone
        token = server.token("cus_1", "customer")
        assert (await server.call("POST", "/v1/sos", token, {"key": "k"}))[1]["durable"] is True
        for _, writer in slow:
            writer.close()


async def test_one_user_cannot_ask_without_end_and_an_sos_is_never_counted(tmp_path: Path) -> None:
    async with served(tmp_path, api__requests_per_s="0.1", api__requests_burst="3") as server:
        token = server.token("cus_1", "customer")
        answers = [(await server.call("GET", "/v1/orders", token))[0] for _ in range(4)]
        assert answers == [200, 200, 200, 429]
        assert (await server.call("GET", "/v1/orders", server.token("cus_2", "customer")))[0] == 200
        for n in range(5):
            assert (await server.call("POST", "/v1/sos", token, {"key": f"k{n}"}))[0] == 200
        guesses = [(await server.call("GET", "/v1/orders", "nonsense"))[0] for _ in range(4)]
        assert guesses == [401, 401, 401, 429]


TWO_CITIES = "[{tenant: demo, city: shenzhen}, {tenant: demo, city: shanghai}]"


async def test_a_technician_is_on_duty_in_one_city_however_quickly_two_are_asked_for(tmp_path: Path) -> None:
    async with served(tmp_path, cities=TWO_CITIES) as server:
        cities = ["shenzhen", "shanghai"]
        record = {"name": "Name", "cities": cities, "verified": True}
        assert (await server.call("PUT", "/v1/technicians/tec_1", server.token("prog", "service", cities=()), record))[
            0
        ] == 201
        phone = await server.session("tec_1", "technician", cities=cities)
        for number in range(5):
            for city in cities:
                await phone.send("duty", on=True, city=city, ref=f"{number}-{city}")
            await phone.until("ok", ref=f"{number}-shenzhen")
            refused = await phone.until("error", ref=f"{number}-shanghai")
            assert refused["code"] == "on_duty_elsewhere"
            on_duty = [
                part.shard.city
                for part in server.app.house.cities.all()
                if part.dispatch.technician(UserId("tec_1")) and UserId("tec_1") in part.positions.index
            ]
            assert on_duty == ["shenzhen"]
            await phone.ask("duty", on=False)


async def test_a_record_that_one_of_its_cities_cannot_know_is_refused_and_the_server_starts_again(
    tmp_path: Path,
) -> None:
    token: dict[str, Any] = {"cities": ()}
    async with served(tmp_path, cities=TWO_CITIES) as server:
        program = server.token("prog", "service", **token)
        for part in range(4):
            record = {"name": "N", "cities": ["shenzhen"], "skills": [f"s{part}-{n}" for n in range(16)]}
            assert (await server.call("PUT", f"/v1/technicians/full_{part}", program, record))[0] == 201
        record = {"name": "N", "cities": ["shanghai", "shenzhen"], "skills": ["one too many"]}
        status, answer, _ = await server.call("PUT", "/v1/technicians/tec_1", program, record)
        assert (status, answer["field"]) == (422, "skills")
        record["cities"] = ["shanghai"]
        assert (await server.call("PUT", "/v1/technicians/tec_1", program, record))[0] == 201
    async with served(tmp_path, cities=TWO_CITIES) as server:
        assert (await server.call("GET", "/v1/technicians/tec_1", server.token("prog", "service", **token)))[0] == 200


async def test_people_of_a_city_that_is_served_no_more_work_in_their_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cities = ["shenzhen", "shanghai"]
    shanghai = {"lat": 31.23, "lng": 121.47, "address": "1 Road"}
    async with served(tmp_path, cities=TWO_CITIES) as server:
        program = server.token("prog", "service", cities=())
        record = {"name": "Name", "cities": cities, "verified": True}
        assert (await server.call("PUT", "/v1/technicians/tec_1", program, record))[0] == 201
        phone = await server.session("tec_1", "technician", cities=cities)
        await phone.ask("duty", on=True, city="shanghai")
        placed = await server.call("POST", "/v1/orders", server.token("cus_1", "customer"), order(location=shanghai))
        assert placed[0] == 201, placed
    caplog.clear()
    async with served(tmp_path, cities="[{tenant: demo, city: shenzhen}]") as server:
        (warning,) = [entry for entry in caplog.records if "not served" in entry.getMessage()]
        assert (warning.levelname, warning.__dict__["city"], warning.__dict__["orders"]) == ("ERROR", "shanghai", 1)
        program = server.token("prog", "service", cities=())
        assert (await server.call("GET", "/v1/technicians/tec_1", program))[1]["duty"] == "off"
        phone = await server.session("tec_1", "technician", cities=cities)
        assert (await phone.ask("duty", on=True, city="shenzhen"))["result"]["city"] == "shenzhen"
        await phone.ask("duty", on=False)


async def test_the_cancellation_preview_is_what_cancelling_costs(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        token, ops = server.token("cus_1", "customer"), server.token("ops_1", "ops")
        placed = (await server.call("POST", "/v1/orders", token, order()))[1]
        path = f"/v1/orders/{placed['order']}"
        price_fen = placed["price_fen"]
        preview = (await server.call("GET", f"{path}/cancellation", token))[1]
        assert preview == {"stage": "unassigned", "fee_fen": 0, "refund_fen": price_fen}
        stranger = server.token("cus_2", "customer")
        assert (await server.call("GET", f"{path}/cancellation", stranger))[0] == 404
        assert (await server.call("GET", f"{path}/cancellation", server.token("tec_1", "technician")))[0] == 403
        assert await _problem(server, "POST", f"{path}/cancel", token, {"waive_fee": True}) == (403, "forbidden")
        cancelled = (await server.call("POST", f"{path}/cancel", token, {"fee_fen_max": preview["fee_fen"]}))[1]
        assert cancelled["cancellation"] == preview
        assert await _problem(server, "GET", f"{path}/cancellation", token) == (409, "order_cancelled")
        assert (await server.call("GET", path, ops))[1]["cancellation"]["technician_fen"] == 0


async def test_a_customer_picks_by_card_and_ops_give_the_order_to_another(tmp_path: Path) -> None:
    async with served(tmp_path, dispatch__directed__remind_every_s="1") as server:
        near, far = await server.technician("tec_1"), await server.technician("tec_2", LAT + 0.03)
        customer, ops = server.token("cus_1", "customer"), server.token("ops_1", "ops")
        _, shown, _ = await server.call("GET", f"/v1/technicians/nearby?lat={LAT}&lng={LNG}", customer)
        picks = [card["pick"] for card in shown["cards"]]
        status, placed, _ = await server.call(
            "POST", "/v1/orders", customer, order(mode="directed", technician=picks[1])
        )
        assert (status, placed["mode"]) == (201, "directed")
        offer = await far.until("offer", order=placed["order"])
        assert "reminder" not in offer
        reminder = await far.until("offer", order=placed["order"], reminder=1)
        assert (reminder["offer"], reminder["remaining_ms"] < offer["remaining_ms"]) == (offer["offer"], True)

        path = f"/v1/orders/{placed['order']}"
        given = {"technician": "tec_1", "reason": "the customer telephoned"}
        assert await _problem(server, "POST", f"{path}/assign", customer, given) == (403, "forbidden")
        blank = {"technician": "tec_1", "reason": "  "}
        assert await _problem(server, "POST", f"{path}/assign", ops, blank) == (422, "invalid")
        status, given_order, _ = await server.call("POST", f"{path}/assign", ops, given)
        assert (status, given_order["state"], given_order["mode"]) == (200, "assigned", "manual")
        assert (await far.until("offer.closed"))["reason"] == "taken"
        mine = await near.until("order", order=placed["order"])
        assert mine["location"]["address"] == "1 Secret Road"
        assert "reason" not in mine

        _, second, _ = await server.call("POST", "/v1/orders", ops, order(mode="manual", customer="cus_2"))
        again = f"/v1/orders/{second['order']}"
        assert await _problem(server, "POST", f"{again}/assign", ops, given) == (409, "filter_holds")
        assert await _problem(server, "POST", f"{path}/mode", ops, {"mode": "auto"}) == (409, "already_assigned")
        status, changed, _ = await server.call("POST", f"{again}/mode", ops, {"mode": "broadcast"})
        assert (status, changed["mode"]) == (200, "broadcast")
        assert (await far.until("offer", order=second["order"]))["remaining_ms"] > 0
        assert await _problem(
            server, "POST", "/v1/orders", customer, order(mode="directed", technician="pck_nobody")
        ) == (422, "pick_unknown")


async def test_a_customer_is_told_of_coming_near_and_steps_need_the_place(tmp_path: Path) -> None:
    async with served(tmp_path, dispatch__arrival__dwell_s="0.5", positions__speed_max_mps="1000") as server:
        phone = await server.technician(lat=LAT + 0.01)
        customer = await server.session("cus_1", "customer")
        placed = (await server.call("POST", "/v1/orders", server.token("cus_1", "customer"), order()))[1]["order"]
        await phone.ask("offer.accept", offer=(await phone.until("offer"))["offer"])
        await phone.ask("job.step", order=placed, step="en_route")
        await phone.send("job.step", ref="far", order=placed, step="arrived")
        assert (await phone.until("error", ref="far"))["code"] == "not_at_place"
        for seq, metres in enumerate((450, 90, 15), start=2):
            await asyncio.sleep(1.1)
            await server.ping(phone, seq, LAT + metres / 111_195, LNG)
            near = await customer.until("job.news", what="near")
            assert near["within_m"] == {450: 500, 90: 100, 15: 40}[metres]
            assert near["technician"] == "tec_1"
            assert not {"lat", "lng"} & set(near)
        await asyncio.sleep(0.6)
        await server.ping(phone, 9, LAT + 15 / 111_195, LNG)
        await phone.ask("job.step", order=placed, step="arrived")
        await customer.until("job.news", what="at_place")
        arrived = await customer.until("order", state="arrived")
        assert arrived["waits_until"] == pytest.approx(arrived["changed_at"] + 600, abs=0.01)
        await phone.send("job.step", ref="early", order=placed, step="no_show")
        assert (await phone.until("error", ref="early"))["code"] == "no_show_too_early"
        path = f"/v1/orders/{placed}/step"
        ops = server.token("ops_1", "ops")
        assert await _problem(server, "POST", path, ops, {"step": "in_service"}) == (422, "invalid")
        stranger = server.token("cus_1", "customer")
        assert await _problem(server, "POST", path, stranger, {"step": "in_service"}) == (403, "forbidden")
        blank = {"step": "in_service", "reason": "   "}
        assert await _problem(server, "POST", path, ops, blank) == (422, "invalid")
        body = {"step": "in_service", "reason": "the phone is broken"}
        assert (await server.call("POST", path, ops, body))[1]["result"]["state"] == "in_service"
        timeline = (await server.call("GET", f"/v1/orders/{placed}/timeline", ops))[1]["events"]
        details = {event["what"]: event.get("detail", {}) for event in timeline}
        assert details["in_service"]["said"] == "the phone is broken"
        assert details["arrived"]["distance_m"] == pytest.approx(15, abs=1)


async def test_after_a_reassignment_no_position_of_the_former_technician_reaches_the_customer(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        first = await server.technician("tec_1", lat=LAT + 0.004)
        customer = await server.session("cus_1", "customer")
        placed = (await server.call("POST", "/v1/orders", server.token("cus_1", "customer"), order()))[1]["order"]
        await first.ask("offer.accept", offer=(await first.until("offer"))["offer"])
        await first.ask("job.step", order=placed, step="en_route")
        await customer.ask("watch", topic=f"order:{placed}")
        assert (await customer.until("position"))["technician"] == "tec_1"
        second = await server.technician("tec_2", lat=LAT - 0.004)
        part = server.app.house.cities.require(TenantId("demo"), CityId(CITY))
        await part.dispatch.ask(events.OrderReassigned(OrderId(placed), UserId("ops_1"), "flat tyre"))
        await customer.until("order", state="matching")
        await second.ask("offer.accept", offer=(await second.until("offer"))["offer"])
        await second.ask("job.step", order=placed, step="en_route")
        customer.seen.clear()
        shown = []
        for seq in range(2, 6):
            await server.ping(first, seq, LAT + 0.004 - seq / 10_000, LNG)
            await server.ping(second, seq, LAT - 0.004 + seq / 10_000, LNG)
            shown.append(await customer.until("position"))
        shown += [message for message in customer.seen if message["type"] == "position"]
        assert {message["technician"] for message in shown} == {"tec_2"}
        assert all(message["lat"] < LAT for message in shown)
