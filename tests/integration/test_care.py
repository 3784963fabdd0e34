"""Care on a real server: a shared trip shows what its sharer may see and no more, a drill comes back with its time."""

import asyncio
import json
from pathlib import Path

import pytest

from core.ids import IncidentId, OrderId, TenantId
from safety.care_model import JobState
from safety.model import CapStatus, IncidentKind, IncidentState
from tests.integration.served import LAT, LNG, Served, Session, order, served

pytestmark = pytest.mark.slow
DEMO = TenantId("demo")


async def _assigned(server: Served) -> tuple[str, Session]:
    phone = await server.technician("tec_1")
    placed = (await server.call("POST", "/v1/orders", server.token("cus_1", "customer"), order()))[1]["order"]
    offer = await phone.until("offer")
    await phone.ask("offer.accept", offer=offer["offer"])
    return placed, phone


async def _step(server: Served, placed: str, step: str) -> None:
    token = server.token("ops_1", "ops")
    status, body, _ = await server.call("POST", f"/v1/orders/{placed}/step", token, {"step": step, "reason": "test"})
    assert status == 200, body


async def test_a_shared_trip_shows_the_way_but_never_the_address_until_it_is_taken_back(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        placed, phone = await _assigned(server)
        customer = server.token("cus_1", "customer")
        share = f"/v1/orders/{placed}/share"
        status, link, _ = await server.call("POST", share, customer, {"contact": "<b>Ma</b>"})
        assert status == 201
        assert len(link["token"]) >= 22  # 128 bits in base 64
        read = f"/v1/shared/{link['token']}"
        _, seen, _ = await server.call("GET", read, None)
        assert (seen["state"], "position" in seen) == ("waiting", False)
        await _step(server, placed, "en_route")
        await server.ping(phone, 50, LAT + 0.004, LNG)
        await asyncio.sleep(0.2)
        status, seen, headers = await server.call("GET", read, None)
        assert (status, seen["state"], seen["position"]["crs"]) == (200, "on_the_way", "gcj02")
        assert abs(seen["position"]["lat"] - LAT) < 0.02
        assert headers["Cache-Control"] == "no-store"
        assert "noindex" in headers["X-Robots-Tag"]
        assert headers["Referrer-Policy"] == "no-referrer"
        secrets = {order()["location"]["address"], order()["contact"]["name"], order()["contact"]["phone"]}
        assert not any(secret in json.dumps(seen, ensure_ascii=False) for secret in secrets)
        async with server.http.get(link["path"]) as page:
            text = await page.text()
            assert page.headers["Cache-Control"] == "no-store"
            assert "script" not in text
            assert "is on the way" in text
            assert not any(secret in text for secret in secrets)
        _, listed, _ = await server.call("GET", share, customer)
        assert [(row["trip"], row["views"]) for row in listed["links"]] == [(link["trip"], 3)]
        assert link["token"] not in json.dumps(listed)
        # The other side's link is its own.
        technician = server.token("tec_1", "technician")
        assert (await server.call("GET", share, technician))[1]["links"] == []
        assert (await server.call("DELETE", f"{share}/{link['trip']}", technician))[0] == 404
        assert (await server.call("DELETE", f"{share}/{link['trip']}", customer))[0] == 200
        assert (await server.call("GET", read, None))[0] == 404
        async with server.http.get(link["path"]) as page:
            assert page.status == 404
            assert "shows nothing" in await page.text()


async def test_a_link_shows_nothing_of_the_way_once_its_sharer_may_not_see_it(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        placed, phone = await _assigned(server)
        links = {}
        for user, role in (("cus_1", "customer"), ("tec_1", "technician")):
            _, link, _ = await server.call("POST", f"/v1/orders/{placed}/share", server.token(user, role), {})
            links[role] = f"/v1/shared/{link['token']}"
        told: dict[str, list[tuple[str, bool]]] = {role: [] for role in links}
        for step in ("en_route", "arrived", "in_service", "finished", "departed_safe"):
            await _step(server, placed, step)
            await server.ping(phone, 60 + len(told["customer"]), LAT, LNG)
            await asyncio.sleep(0.1)
            for role, path in links.items():
                _, seen, _ = await server.call("GET", path, None)
                told[role].append((seen["state"], "position" in seen))
        assert told["technician"] == [
            ("on_the_way", True), ("there", True), ("there", True), ("leaving", True), ("over", False)
        ]  # fmt: skip
        assert told["customer"] == [
            ("on_the_way", True), ("there", True), ("there", True), ("leaving", False), ("over", False)
        ]  # fmt: skip
        status, refused, _ = await server.call(
            "POST", f"/v1/orders/{placed}/share", server.token("cus_1", "customer"), {}
        )
        assert (status, refused["code"]) == (409, "conflict")


async def test_where_a_drill_is_required_nobody_goes_on_duty_before_theirs_has_worked(tmp_path: Path) -> None:
    async with served(tmp_path, safety__care__drill__required="true") as server:
        responder = await server.session("res_1", "responder")
        await responder.send("duty", on=True, city="shenzhen", ref="early")
        assert (await responder.until("error", ref="early"))["code"] == "drill_needed"
        await responder.ask("duty", on=False, city="shenzhen")
        await responder.ask("drill.tap")
        assert (await responder.ask("duty", on=True, city="shenzhen"))["result"]["duty"] == "on"
        # A phone whose alarm does not come through is a matter for staff, who may decide otherwise.
        body = {"name": "Li", "cities": ["shenzhen"], "skills": ["massage"], "verified": True}
        staff = server.token("prog", "service")
        assert (await server.call("PUT", "/v1/technicians/tec_2", staff, body))[0] in (200, 201)
        path, on = "/v1/technicians/tec_2/duty", {"on": True, "city": "shenzhen"}
        own = server.token("tec_2", "technician")
        assert (await server.call("POST", path, own, on))[1]["code"] == "drill_needed"
        assert (await server.call("POST", path, server.token("ops_1", "ops"), on))[0] == 200


async def test_who_goes_on_duty_is_asked_for_a_drill_that_calls_nobody_out(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        ops = await server.session("ops_1", "ops")
        phone = await server.technician("tec_1")
        asked = await phone.until("drill")
        assert asked["state"] == "asked"
        done = await phone.ask("drill.tap")
        assert done["type"] == "ok", done
        assert done["result"]["drill"] == asked["drill"]
        assert 0.0 < done["result"]["round_trip_ms"] < 5_000.0
        assert (await phone.until("drill", state="passed"))["round_trip_ms"] == done["result"]["round_trip_ms"]
        await asyncio.sleep(0.3)
        known = server.app.house.safety._engine._book.incidents.values()
        assert [(i.cap_status, i.state, i.subject) for i in known] == [
            (CapStatus.EXERCISE, IncidentState.RESOLVED, "tec_1")
        ]
        _, seen, _ = await server.call("GET", "/v1/drills", server.token("ops_1", "ops"))
        assert [(row["user"], row["state"]) for row in seen["of_cities"]] == [("tec_1", "passed")]
        await phone.send("sos", key="real")
        ack = await phone.until("sos_ack", key="real")
        told = await ops.until("incident")
        assert told["incident"] == ack["incident"]  # the drill did not come before it


async def test_a_watched_job_is_asked_about_and_its_cry_reaches_the_console_and_not_its_phone(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        ops = await server.session("ops_1", "ops")
        placed, phone = await _assigned(server)
        for step in ("en_route", "arrived", "in_service"):
            await _step(server, placed, step)
        care = server.app.house.care
        watch = care._engine.watch(OrderId(placed))
        assert watch is not None
        assert (watch.job.state, care.watched) == (JobState.IN_SERVICE, 1)
        answers, check_id = {}, ""
        for answer in ("ok", "no"):
            now = care._engine.watch(OrderId(placed))
            assert now is not None
            check_id = next(c.check_id for c in now.checks if c.is_open and c.kind == "check_in")
            token = server.token("tec_1", "technician")
            status, body, _ = await server.call("POST", f"/v1/checkins/{check_id}", token, {"answer": answer})
            answers[answer] = (status, json.dumps(body).replace(check_id, "CHECK"))
        assert answers["ok"] == answers["no"]
        told = await ops.until("incident", subject="tec_1")
        incident = server.app.house.safety.incident(DEMO, IncidentId(told["incident"]))
        assert incident is not None
        assert (incident.kind, incident.silent, incident.order_id) == (IncidentKind.DURESS, True, placed)
        await ops.ask("incident.ack", incident=told["incident"])
        await server.ping(phone, 90, LAT, LNG)  # what came before it has been read
        assert not [frame for frame in phone.seen if frame["type"] in ("sos_ack", "incident", "incident.update")]
        key = next(a.key for a in care._engine.watch(OrderId(placed)).alarms)  # type: ignore[union-attr]  # watched
        assert key.startswith(check_id)
        # A second cry feeds the same incident.
        status, _, _ = await server.call(
            "POST", f"/v1/checkins/{check_id}", server.token("tec_1", "technician"), {"answer": "help"}
        )
        assert status == 200
        await asyncio.sleep(0.2)
        again = server.app.house.safety.incident(DEMO, IncidentId(told["incident"]))
        assert again is not None
        assert again.triggers == 2
        _, seen, _ = await server.call("GET", "/v1/checkins", server.token("ops_1", "ops"))
        assert {row["order"] for row in seen["of_cities"]} == {placed}
