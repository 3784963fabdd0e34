"""Where somebody is who called for help: their way before the tap and after it, and what is said when it ends."""

import asyncio
import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.served import LAT, LNG, Served, Session, order, served

pytestmark = pytest.mark.slow
KEYS = itertools.count()


async def walk(server: Served, phone: Session, first: int, count: int) -> None:
    for seq in range(first, first + count):
        await server.ping(phone, seq, LAT + 0.01 + seq * 1e-5, LNG)


async def raised(server: Served, user: str, **fields: Any) -> str:
    body = {"key": f"k-{user}-{next(KEYS)}", **fields}
    status, ack, _ = await server.call("POST", "/v1/sos", server.token(user, "technician"), body)
    assert status == 200, ack
    return str(ack["incident"])


async def test_the_way_before_the_tap_is_kept_and_goes_on_after_it(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        phone = await server.technician("tec_1")
        await walk(server, phone, 2, 4)
        ops = server.token("ops_1", "ops")
        incident = await raised(server, "tec_1")
        policy = await phone.until("ping_policy", reason="sos")
        assert policy["interval_s"] == 2.0
        await walk(server, phone, 6, 3)
        await asyncio.sleep(1.3)  # until the log is flushed
        status, trail, headers = await server.call("GET", f"/v1/incidents/{incident}/trail", ops)
        assert status == 200
        assert headers["Cache-Control"] == "no-store"
        assert [point["before"] for point in trail["points"] if point.get("before")] == [True] * 5
        assert len(trail["points"]) == 8
        assert trail["points"][0]["r95_m"] == 16.2
        assert trail["fix"]["source"] == "live"
        assert trail["fix"]["lat"] == trail["points"][-1]["lat"]
        assert (trail["fix"]["freshness"], trail["fix"]["r95_m"]) == ("live", 16.2)
        assert "lost_at" not in trail
        rest = trail["points"][5]["at"]
        status, later, _ = await server.call("GET", f"/v1/incidents/{incident}/trail?from={rest}", ops)
        assert len(later["points"]) == 3


async def test_after_a_while_the_phone_reports_less_often_until_it_taps_again_or_all_is_over(tmp_path: Path) -> None:
    async with served(tmp_path, safety__trail_fast_s="8", realtime__attention__sos_late__interval_s="5") as server:
        phone = await server.technician("tec_1")
        incident = await raised(server, "tec_1")
        await phone.until("ping_policy", reason="sos", interval_s=2.0)
        await phone.until("ping_policy", timeout_s=25, reason="sos", interval_s=5.0)
        assert await raised(server, "tec_1") == incident
        await phone.until("ping_policy", reason="sos", interval_s=2.0)
        ops = server.token("ops_1", "ops")
        path = f"/v1/incidents/{incident}/resolve"
        status, told, _ = await server.call("POST", path, ops, {"disposition": "false_test", "note": "seen"})
        assert status == 200, told
        await phone.until("ping_policy", reason="idle")


async def test_when_the_phone_falls_silent_those_who_were_told_hear_it_once(tmp_path: Path) -> None:
    async with served(tmp_path, safety__contact_lost_s="5") as server:
        phone = await server.technician("tec_1")
        ops = await server.session("ops_1", "ops")
        incident = await raised(server, "tec_1")
        await ops.until("incident", incident=incident)
        await phone.socket.close()
        lost = await ops.until("incident.contact", timeout_s=20, incident=incident)
        assert lost["lost"] is True
        assert lost["fix"]["source"] == "live"
        status, read, _ = await server.call("GET", f"/v1/incidents/{incident}", server.token("ops_1", "ops"))
        assert (status, read["lost_at"]) == (200, lost["heard_at"])
        await asyncio.sleep(6)
        again = await server.session("tec_1", "technician")
        await server.ping(again, 50, LAT + 0.02, LNG)
        back = await ops.until("incident.contact", timeout_s=20, incident=incident)
        assert back.get("lost", False) is False  # told once: the next one is that they are back


async def test_a_customer_and_whoever_goes_off_duty_are_followed_in_their_alarm_and_not_after_it(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as server:
        token = server.token("ops_1", "ops")
        ops = await server.session("ops_1", "ops")
        customer = await server.session("cus_1", "customer")
        assert (await server.ping(customer, 1, LAT, LNG))["verdicts"] == {"off_duty": 1}
        phone = await server.technician("tec_1")

        async def tapped(session: Session, key: str) -> str:
            await session.send("sos", key=key)
            incident = str((await session.until("sos_ack", key=key))["incident"])
            await ops.until("incident", incident=incident)
            await ops.ask("watch", topic=f"incident:{incident}")
            return incident

        async def report(seq: int) -> dict[str, int]:
            row = [seq, time.time(), LAT + seq * 1e-5, LNG, 10, None, None]
            body = {"device": "tracker", "sent_at": row[1], "pings": [row]}
            own = server.token("cus_1", "customer")
            status, answer, _ = await server.call("POST", "/v1/positions", own, body)
            assert status == 200, answer
            return dict(answer["verdicts"])

        theirs = await tapped(customer, "k1")
        assert (await customer.until("ping_policy", reason="sos"))["interval_s"] == 2.0
        assert (await server.ping(customer, 2, LAT + 2e-5, LNG))["verdicts"] == {"live": 1}
        seen = await ops.until("position", topic=f"incident:{theirs}")
        assert seen["technician"] == "cus_1"
        assert await report(3) == {"live": 1}
        nearby = f"/v1/technicians/nearby?lat={LAT}&lng={LNG}"
        near = (await server.call("GET", nearby, token))[1]
        assert "cus_1" not in {row["technician"] for row in near["technicians"]}

        other = await tapped(phone, "k2")
        assert (await phone.ask("duty", on=False))["result"]["duty"] == "off"
        told = await ops.until("incident.update", incident=other, why="noted")
        assert told["state"] == "open"
        assert (await server.ping(phone, 2, LAT + 0.01, LNG))["verdicts"] == {"live": 1}
        assert (await ops.until("position", topic=f"incident:{other}"))["technician"] == "tec_1"
        near = (await server.call("GET", nearby, token))[1]
        assert near["technicians"] == []
        story = (await server.call("GET", f"/v1/incidents/{other}/timeline", token))[1]
        assert "off_duty" in json.dumps(story)

        for session, incident, points in ((customer, theirs, 2), (phone, other, 2)):
            status, trail, _ = await server.call("GET", f"/v1/incidents/{incident}/trail", token)
            assert (status, trail["fix"]["source"], trail["fix"]["freshness"]) == (200, "live", "live")
            path = f"/v1/incidents/{incident}/resolve"
            told = (await server.call("POST", path, token, {"disposition": "false_test", "note": "seen"}))[1]
            assert told["result"]["state"] == "resolved", told
            await session.until("ping_policy", reason="idle")
            ack = await server.ping(session, 9, LAT + 9e-5, LNG)
            if ack["seq"] != 9:  # it told what is on the disk of those before
                ack = await session.until("ping_ack", seq=9)
            assert ack["verdicts"] == {"off_duty": 1}
            await asyncio.sleep(0.8)  # until the log is flushed
            status, trail, _ = await server.call("GET", f"/v1/incidents/{incident}/trail", token)
            assert len(trail["points"]) == points
        assert await report(10) == {"off_duty": 1}


@pytest.mark.parametrize("lang", ["en", "zh"])
async def test_the_text_for_the_emergency_call_names_everything(tmp_path: Path, lang: str) -> None:
    async with served(tmp_path) as server:
        phone = await server.technician("tec_1", name="Wang Fang")
        customer = server.token("cus_1", "customer")
        placed_at = {"lat": LAT, "lng": LNG, "address": "1 Secret Road", "unit": "7B", "entrance_note": "code 42"}
        status, placed, _ = await server.call("POST", "/v1/orders", customer, order(location=placed_at))
        assert status == 201, placed
        offer = await phone.until("offer")
        await phone.ask("offer.accept", offer=offer["offer"])
        contact = {"name": "Wang Fang", "phone": "13900000000"}
        status, told, _ = await server.call("PUT", "/v1/me/safety", server.token("tec_1", "technician"), contact)
        assert status == 200, told
        incident = await raised(server, "tec_1", order=placed["order"])
        ops = server.token("ops_1", "ops")
        status, told, headers = await server.call("GET", f"/v1/incidents/{incident}/call-text?lang={lang}", ops)
        assert (status, headers["Cache-Control"]) == (200, "no-store")
        for fact in ("Wang Fang", "13900000000", "1 Secret Road", "7B", "code 42", placed["order"], "Li", incident):
            assert fact in told["text"], told["text"]
        status, problem, _ = await server.call("GET", f"/v1/incidents/{incident}/call-text?lang=fr", ops)
        assert (status, problem["field"]) == (422, "lang")
