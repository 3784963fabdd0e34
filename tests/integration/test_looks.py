"""Whoever looks at somebody's position is told to them, except while telling it would betray an alarm."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from safety.looks import BULK_PEOPLE
from tests.integration.served import CITY, LAT, LNG, Served, order, served

pytestmark = pytest.mark.slow


async def looks_of(server: Served, user: str, role: str = "technician", query: str = "") -> list[dict[str, Any]]:
    await asyncio.sleep(1.3)  # stored within a second
    status, page, headers = await server.call("GET", f"/v1/me/looks{query}", server.token(user, role))
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    return list(page["looks"])


async def test_every_kind_of_look_is_told_to_whom_it_concerns(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        phone = await server.technician("tec_1")
        ops, customer = await server.session("ops_1", "ops"), await server.session("cus_1", "customer")
        ops_token = server.token("ops_1", "ops")
        status, placed, _ = await server.call("POST", "/v1/orders", server.token("cus_1", "customer"), order())
        assert status == 201
        offer = await phone.until("offer")
        await phone.ask("offer.accept", offer=offer["offer"])
        await phone.ask("job.step", order=placed["order"], step="en_route")
        await customer.ask("watch", topic=f"order:{placed['order']}")
        await ops.ask("watch", topic="technician:tec_1")
        await ops.ask("watch", topic=f"area:{CITY}")
        why = "/v1/technicians/tec_1/track?reason=the%20customer%20complained"
        for path in (why, why, f"/v1/orders/{placed['order']}/track", f"/v1/technicians/nearby?lat={LAT}&lng={LNG}"):
            status, told, _ = await server.call("GET", path, ops_token)
            assert status == 200, told
        found = await looks_of(server, "tec_1")
        assert {(k["kind"], k["about"], k["role"], k.get("by"), k.get("reason", "")) for k in found} == {
            ("track", "tec_1", "ops", "ops_1", "the customer complained"),
            ("track", placed["order"], "ops", "ops_1", ""),
            ("watch", "technician:tec_1", "ops", "ops_1", ""),
            ("watch", f"order:{placed['order']}", "customer", None, ""),
            ("area", f"area:{CITY}", "ops", "ops_1", ""),
            ("nearby", CITY, "ops", "ops_1", ""),
        }
        page = await looks_of(server, "tec_1", query="?limit=2")
        rest = await looks_of(server, "tec_1", query=f"?before={page[-1]['at']}")
        assert len(page) == 2
        assert len(rest) < len(found)
        assert await looks_of(server, "cus_1", "customer") == []
        assert await looks_of(server, "tec_2") == [k for k in found if k["kind"] in ("area", "nearby")]


async def test_while_somebodys_alarm_is_on_nobody_who_holds_their_phone_learns_who_looks(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        await server.technician("tec_1")
        ops = server.token("ops_1", "ops")
        await server.call("GET", "/v1/technicians/tec_1/track", ops)
        before = await looks_of(server, "tec_1")
        _, ack, _ = await server.call("POST", "/v1/sos", server.token("tec_1", "technician"), {"key": "k-1"})
        path = f"/v1/incidents/{ack['incident']}"
        assert (await server.call("GET", path, ops))[0] == 200
        assert await looks_of(server, "tec_1") == before
        body = {"disposition": "false_test", "note": "seen"}
        assert (await server.call("POST", f"{path}/resolve", ops, body))[0] == 200
        after = await looks_of(server, "tec_1")
        assert [k["kind"] for k in after] == ["incident", "track"]


async def test_reading_of_many_people_is_an_alarm_for_the_other_ops(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path) as server:
        other = await server.session("ops_2", "ops")
        service, ops = server.token("prog", "service"), server.token("ops_1", "ops")
        for number in range(BULK_PEOPLE + 1):
            record = {"name": f"T {number}", "cities": [CITY], "skills": ["massage"], "verified": True}
            await server.call("PUT", f"/v1/technicians/tec_{number}", service, record)
            assert (await server.call("GET", f"/v1/technicians/tec_{number}/track", ops))[0] == 200
        told = await other.until("bulk_read")
        assert (told["by"], told["people"]) == ("ops_1", BULK_PEOPLE + 1)
        assert [r for r in caplog.records if r.levelno == logging.CRITICAL and "many people" in r.message]
