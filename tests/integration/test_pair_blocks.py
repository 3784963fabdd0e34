"""Blocks between people and open alarms on a real server: nobody is asked who must not be, and nobody learns why."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.served import LAT, LNG, Served, Session, order, served

pytestmark = pytest.mark.slow
SHENZHEN_AND_SHANGHAI = "[{tenant: demo, city: shenzhen}, {tenant: demo, city: shanghai}]"


async def place(server: Served, user: str = "cus_1", **changes: Any) -> str:
    status, placed, _ = await server.call("POST", "/v1/orders", server.token(user, "customer"), order(**changes))
    assert status == 201, placed
    return str(placed["order"])


async def meet(server: Served, phone: Session, user: str = "cus_1") -> str:
    """The customer's order is accepted by this technician."""
    placed = await place(server, user)
    await phone.ask("offer.accept", offer=(await phone.until("offer", order=placed))["offer"])
    return placed


async def cancel(server: Served, placed: str, user: str = "cus_1") -> None:
    token = server.token(user, "customer")
    assert (await server.call("POST", f"/v1/orders/{placed}/cancel", token, {}))[0] == 200


async def excluded(server: Served, placed: str) -> dict[str, str]:
    """Everyone who was no candidate in the last stored round of an order, with the reason, as soon as there is one."""
    async with asyncio.timeout(5):
        while True:
            told = (await server.call("GET", f"/v1/orders/{placed}/explain", server.token("ops_1", "ops")))[1]
            if told["rounds"] and told["rounds"][-1]["excluded"]:
                return {row["technician"]: row["reason"] for row in told["rounds"][-1]["excluded"]}
            await asyncio.sleep(0.05)  # under shortage a round waits a moment for more orders


def codes(answer: tuple[int, Any, Any]) -> tuple[int, str]:
    return answer[0], answer[1].get("code", "")


@pytest.mark.parametrize("side", ["customer", "technician"])
async def test_whoever_blocks_the_other_both_are_kept_apart_until_it_is_lifted(tmp_path: Path, side: str) -> None:
    async with served(tmp_path) as server:
        phone, other = await server.technician("tec_1"), await server.technician("tec_2", LAT + 0.03)
        ops = await server.session("ops_1", "ops")
        customer, technician = server.token("cus_1", "customer"), server.token("tec_1", "technician")
        path = "/v1/customers/cus_1/blocks/tec_1" if side == "customer" else "/v1/technicians/tec_1/blocks/cus_1"
        setter, blocked = (customer, technician) if side == "customer" else (technician, customer)

        assert codes(await server.call("PUT", path, setter, {"reason": "rude"})) == (404, "not_found")  # never met
        placed = await meet(server, phone)
        status, answer, _ = await server.call("PUT", path, setter, {"reason": "rude"})
        assert (status, answer["result"]) == (
            200,
            {"customer": "cus_1", "technician": "tec_1", "by": side, "orders": [placed]},
        )
        news = await ops.until("job.news", what="blocked")
        assert (news["order"], news["technician"]) == (placed, "tec_1")
        assert (await server.call("GET", f"/v1/orders/{placed}", customer))[1]["state"] == "assigned"
        await cancel(server, placed)

        # A new order, and an open one while its offer is out.
        placed = await place(server)
        offer = await other.until("offer", order=placed)
        assert await excluded(server, placed) == {"tec_1": "blocked"}
        assert (await server.call("DELETE", path, setter))[0] == 200
        await other.ask("offer.decline", offer=offer["offer"], reason="far")
        offer = await phone.until("offer", order=placed)
        assert (await server.call("PUT", path, setter, {"reason": "still rude"}))[0] == 200
        assert (await phone.until("offer.closed", offer=offer["offer"]))["reason"] == "revoked"
        await cancel(server, placed)

        # Each sees only their own.
        (mine,) = (await server.call("GET", "/v1/blocks", setter))[1]["blocks"]
        assert {name: mine.get(name) for name in ("by", "reason", "by_staff", "set_by")} == {
            "by": side, "reason": "still rude", "by_staff": False, "set_by": None,
        }  # fmt: skip
        assert (await server.call("GET", "/v1/blocks", blocked))[1] == {"blocks": []}
        (seen,) = (await server.call("GET", "/v1/blocks?technician=tec_1", server.token("ops_1", "ops")))[1]["blocks"]
        assert seen["set_by"] == ("cus_1" if side == "customer" else "tec_1")

        # The pick is refused and the card is gone, both without a word of who wanted it.
        picked = await server.call("POST", "/v1/orders", customer, order(mode="directed", technician="tec_1"))
        assert codes(picked) == (409, "pick_unavailable")
        assert "block" not in json.dumps(picked[1])
        cards = (await server.call("GET", f"/v1/technicians/nearby?lat={LAT}&lng={LNG}", customer))[1]["cards"]
        assert len(cards) == 1
        for session in (phone, other):
            assert "block" not in json.dumps(session.seen)

    async with served(tmp_path) as server:
        phone = await server.technician("tec_1")
        placed = await place(server)
        assert await excluded(server, placed) == {"tec_1": "blocked"}
        given = {"technician": "tec_1", "reason": "they made it up"}
        token = server.token("ops_1", "ops")
        refused = await server.call("POST", f"/v1/orders/{placed}/assign", token, given)
        assert codes(refused) == (409, "filter_failed")
        assert "blocked" in refused[1]["detail"]
        given["override"] = ["blocked"]  # type: ignore[assignment]
        assert (await server.call("POST", f"/v1/orders/{placed}/assign", token, given))[0] == 200
        await phone.until("order", order=placed, state="assigned")


async def test_what_staff_set_stands_until_staff_lift_it_and_their_words_stay_with_them(tmp_path: Path) -> None:
    async with served(tmp_path, dispatch__blocks_len_max="1") as server:
        await server.technician("tec_1")
        await server.technician("tec_2")
        ops, customer = server.token("ops_1", "ops"), server.token("cus_1", "customer")
        path = "/v1/customers/cus_1/blocks/tec_1"
        for blank in ({}, {"reason": "  "}):
            assert codes(await server.call("PUT", path, ops, blank)) == (422, "invalid")  # staff say why
        assert (await server.call("PUT", path, ops, {"reason": "case 17"}))[0] == 200
        (mine,) = (await server.call("GET", "/v1/blocks", customer))[1]["blocks"]
        assert (mine["by_staff"], "reason" in mine, "set_by" in mine) == (True, False, False)
        assert codes(await server.call("DELETE", path, customer)) == (409, "block_held")
        full = await server.call("PUT", "/v1/customers/cus_1/blocks/tec_2", ops, {"reason": "too"})
        assert codes(full) == (409, "blocks_full")
        far = server.token("ops_2", "ops", cities=("beijing",))
        assert (await server.call("GET", "/v1/blocks", far))[1] == {"blocks": []}
        assert codes(await server.call("DELETE", path, far)) == (404, "not_found")
        assert (await server.call("DELETE", path, ops))[0] == 200
        assert (await server.call("GET", "/v1/blocks", ops))[1] == {"blocks": []}
        everybody = server.token("prog", "service", cities=())
        for number in range(3):
            path = f"/v1/customers/cus_{number}/blocks/tec_1"
            assert (await server.call("PUT", path, everybody, {"reason": "x"}))[0] == 200
        seen: list[str] = []
        after = ""
        while True:
            page = (await server.call("GET", f"/v1/blocks?technician=tec_1&limit=2{after}", ops))[1]
            seen += [block["customer"] for block in page["blocks"]]
            if "next" not in page:
                break
            after = f"&after={page['next']}"
        assert seen == ["cus_2", "cus_1", "cus_0"]


async def test_a_block_holds_in_every_city_of_the_technician(tmp_path: Path) -> None:
    cities = ["shenzhen", "shanghai"]
    async with served(tmp_path, cities=SHENZHEN_AND_SHANGHAI) as server:
        program = server.token("prog", "service", cities=())
        record = {"name": "Name", "cities": cities, "skills": ["massage"], "verified": True}
        assert (await server.call("PUT", "/v1/technicians/tec_1", program, record))[0] == 201
        path = "/v1/technicians/tec_1/blocks/cus_1"
        assert (await server.call("PUT", path, program, {"reason": "case 17"}))[0] == 200  # decided in Shenzhen
        phone = await server.session("tec_1", "technician", cities=cities)
        await phone.ask("duty", on=True, city="shanghai")
        await server.ping(phone, 1, 31.2304, 121.4737)
        there = {"lat": 31.2304, "lng": 121.4737, "address": "1 Road"}
        placed = await place(server, location=there)
        ops = server.token("ops_1", "ops", cities=cities)
        told = (await server.call("GET", f"/v1/orders/{placed}/explain", ops))[1]
        assert [(r["technician"], r["reason"]) for r in told["rounds"][-1]["excluded"]] == [("tec_1", "blocked")]
        assert (await server.call("DELETE", path, program))[0] == 200
        assert (await phone.until("offer", order=placed))["order"] == placed


async def test_whoever_has_an_open_alarm_is_asked_for_nothing_until_it_is_resolved(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        phone, ops = await server.technician("tec_1"), await server.session("ops_1", "ops")
        first = await place(server)
        offer = await phone.until("offer", order=first)
        await phone.send("sos", key="help", lat=LAT + 0.01, lng=LNG)
        incident = (await phone.until("sos_ack", key="help"))["incident"]
        assert (await phone.until("offer.closed", offer=offer["offer"]))["reason"] == "revoked"
        second = await place(server, "cus_2")
        assert await excluded(server, second) == {"tec_1": "sos"}
        assert await excluded(server, first) == {"tec_1": "sos"}
        token = server.token("ops_1", "ops")
        given = {"technician": "tec_1", "reason": "nobody else", "override": ["sos"]}
        refused = await server.call("POST", f"/v1/orders/{second}/assign", token, given)
        assert codes(refused) == (422, "filter_holds")
        await server.ping(phone, 2, LAT + 0.01, LNG)
        assert not [message for message in phone.seen if message["type"] == "offer"]

        # Seen by a human is not over; resolved is.
        path = f"/v1/incidents/{incident}"
        assert (await server.call("POST", f"{path}/ack", token, {}))[0] == 200
        third = await place(server, "cus_3")
        assert await excluded(server, third) == {"tec_1": "sos"}
        await ops.until("incident.update", state="acknowledged")
        assert (await server.call("POST", f"{path}/resolve", token, {"disposition": "false_test"}))[0] == 200
        assert (await phone.until("offer"))["order"] in {first, second, third}


async def test_a_block_that_releases_a_booked_order_makes_calling_it_off_no_cheaper(tmp_path: Path) -> None:
    rules = {"dispatch__blocks_release": "true", "dispatch__cancellation__late_s": "86400"}
    later = round(time.time()) + 1_800.0  # within its lead time, and long after the way
    async with served(tmp_path, **rules) as server:
        phone = await server.technician("tec_1")
        placed = await place(server, scheduled_for=later)
        await phone.ask("offer.accept", offer=(await phone.until("offer", order=placed))["offer"])
        token, path = server.token("cus_1", "customer"), f"/v1/orders/{placed}"
        before = (await server.call("GET", f"{path}/cancellation", token))[1]
        assert (before["stage"], before["fee_fen"] > 0) == ("assigned_late", True)
        assert (await server.call("PUT", "/v1/customers/cus_1/blocks/tec_1", token, {}))[0] == 200
        assert (await server.call("GET", path, token))[1]["state"] == "matching"
    async with served(tmp_path, **rules) as server:
        after = (await server.call("GET", f"{path}/cancellation", token))[1]
        assert (after["stage"], after["fee_fen"]) == ("assigned_late", before["fee_fen"])
        status, ended, _ = await server.call("POST", f"{path}/cancel", token, {"fee_fen_max": before["fee_fen"]})
        assert (status, ended["cancellation"]["fee_fen"]) == (200, before["fee_fen"])


async def test_an_alarm_that_was_open_when_the_server_ended_still_counts(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        phone = await server.technician("tec_1")
        await phone.send("sos", key="help", lat=LAT + 0.01, lng=LNG)
        incident = (await phone.until("sos_ack", key="help"))["incident"]
    async with served(tmp_path) as server:
        phone = await server.technician("tec_1")
        placed = await place(server)
        assert await excluded(server, placed) == {"tec_1": "sos"}
        token = server.token("ops_1", "ops")
        path = f"/v1/incidents/{incident}/resolve"
        assert (await server.call("POST", path, token, {"disposition": "false_test"}))[0] == 200
        assert (await phone.until("offer", order=placed))["order"] == placed
