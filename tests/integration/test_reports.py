"""What remains of an incident: the report as JSON and as a page, and the message for other centres."""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.cap_rules import broken_rules
from tests.integration.served import LAT, LNG, order, served

pytestmark = pytest.mark.slow


async def test_a_whole_incident_is_in_its_report(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        phone = await server.technician("tec_1")
        ops = await server.session("ops_1", "ops")
        ops_token = server.token("ops_1", "ops")
        placed_at = {"lat": LAT, "lng": LNG, "address": "1 <b>Secret</b> Road", "unit": "7B"}
        customer = server.token("cus_1", "customer")
        _, placed, _ = await server.call("POST", "/v1/orders", customer, order(location=placed_at))
        offer = await phone.until("offer")
        await phone.ask("offer.accept", offer=offer["offer"])
        await server.ping(phone, 2, LAT + 0.0101, LNG)
        body = {"key": "k-1", "order": placed["order"], "note": "help <script>"}
        _, ack, _ = await server.call("POST", "/v1/sos", server.token("tec_1", "technician"), body)
        incident = ack["incident"]
        await ops.until("incident", incident=incident)
        for seq in range(3, 6):
            await server.ping(phone, seq, LAT + 0.0101 + seq * 1e-4, LNG)
        path = f"/v1/incidents/{incident}"
        status, alert, headers = await server.call("GET", f"{path}/cap", ops_token)
        assert (status, headers["Cache-Control"]) == (200, "no-store")
        assert headers["Content-Type"] == "application/cap+xml"
        assert broken_rules(alert.decode()) == []
        assert (await server.call("POST", f"{path}/ack", ops_token))[0] == 200
        body = {"disposition": "false_test", "note": "seen"}
        assert (await server.call("POST", f"{path}/resolve", ops_token, body))[0] == 200
        await asyncio.sleep(1.3)
        status, report, headers = await server.call("GET", f"{path}/report", ops_token)
        assert (status, headers["Cache-Control"]) == (200, "no-store")
        assert report["timeline"][0]["what"] == "raised"
        assert report["timeline"][-1]["what"] == "resolved"
        assert [span["kept"] for span in report["times"][:2]] == [True, True]
        assert [spot.get("before", False) for spot in report["trail"]] == [True, True, False, False, False]
        assert [person["user"] for person in report["deliveries"]["told"]] == ["ops_1"]
        assert {look["kind"] for look in report["looks"]} == {"incident"}
        assert report["audit"]["seq"] >= len(report["timeline"])
        assert len(report["audit"]["mac"]) == 64
        status, page, headers = await server.call("GET", f"{path}/report.html", ops_token)
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert b"<script" not in page
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        (tmp_path / "report.html").write_bytes(page)
        status, cancel, _ = await server.call("GET", f"{path}/cap", ops_token)
        assert broken_rules(cancel.decode()) == []
        assert b"<msgType>Cancel</msgType>" in cancel


async def test_the_way_of_an_incident_that_is_over_needs_a_fresh_sign_in_and_of_an_active_one_none(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as server:
        body = {"key": "k-1", "lat": LAT, "lng": LNG}
        _, ack, _ = await server.call("POST", "/v1/sos", server.token("tec_1", "technician"), body)
        path = f"/v1/incidents/{ack['incident']}"
        stale = server.token("ops_1", "ops", signed_in_at=time.time() - 700)
        fresh = server.token("ops_1", "ops")
        ways = ("trail", "report", "report.html", "cap")
        assert [(await server.call("GET", f"{path}/{way}", stale))[0] for way in ways] == [200] * 4
        ending = {"disposition": "false_test", "note": "seen"}
        assert (await server.call("POST", f"{path}/resolve", fresh, ending))[0] == 200
        for way in ways:
            status, told, _ = await server.call("GET", f"{path}/{way}", stale)
            assert (status, told["code"]) == (403, "sign_in_again"), way
            assert (await server.call("GET", f"{path}/{way}", fresh))[0] == 200, way
        assert (await server.call("GET", path, stale))[0] == 200


async def test_of_a_duress_that_is_over_nothing_is_exported_by_one_person(tmp_path: Path) -> None:
    quick = {"safety__pins__memory_kib": "8", "safety__pins__answer_after_s": "0.05"}
    async with served(tmp_path, **quick) as server:
        own, one, two = server.token("cus_1", "customer"), server.token("ops_1", "ops"), server.token("ops_2", "ops")
        await server.call("PUT", "/v1/me/safety", own, {"pins": {"pin": "482193", "duress_pin": "730568"}})
        _, ack, _ = await server.call("POST", "/v1/sos", own, {"key": "k-1", "lat": LAT, "lng": LNG})
        path = f"/v1/incidents/{ack['incident']}"
        await server.call("POST", f"/v1/sos/{ack['incident']}/cancel", own, {"pin": "730568"})
        await server.call("POST", f"{path}/ack", one)
        for ops in (one, two):
            assert (await server.call("GET", f"{path}/report", ops))[0] == 200, "nothing is in the way of help"
            ending = {"disposition": "real_handled", "note": "seen"}
            assert (await server.call("POST", f"{path}/resolve", ops, ending))[0] in (200, 409)
        ways = ("trail", "report", "report.html", "cap")
        for way in ways:
            status, told, _ = await server.call("GET", f"{path}/{way}", one)
            assert (status, told["code"]) == (403, "second_person_needed"), way
        assert (await server.call("POST", f"{path}/export", one, {"reason": "asked by the police"}))[0] == 200
        _, listed, _ = await server.call("GET", f"{path}/export", two)
        assert [(ask["by"], ask["reason"]) for ask in listed["exports"]] == [("ops_1", "asked by the police")]
        allow = f"{path}/export/allow"
        assert (await server.call("POST", allow, one, {"by": "ops_1"}))[1]["code"] == "second_person_needed"
        stale = server.token("ops_2", "ops", signed_in_at=time.time() - 700)
        assert (await server.call("POST", allow, stale, {"by": "ops_1"}))[1]["code"] == "sign_in_again"
        assert (await server.call("POST", allow, two, {"by": "ops_1"}))[1]["allowed_by"] == "ops_2"
        assert [(await server.call("GET", f"{path}/{way}", one))[0] for way in ways] == [200] * 4
        assert (await server.call("GET", f"{path}/cap", two))[0] == 403
        # The person's own export never shows that it was one.
        _, taken, _ = await server.call("GET", "/v1/me/safety/export", own)
        assert "duress" not in str(taken)
    with closing(sqlite3.connect(tmp_path / "data" / "safety.db")) as file:
        steps = "SELECT actor, action, subject FROM audit WHERE action LIKE 'export.%' ORDER BY seq"
        found = file.execute(steps).fetchall()
    assert found == [
        ("ops_1", "export.asked", ack["incident"]), ("ops_2", "export.allowed", ack["incident"]),
    ]  # fmt: skip
