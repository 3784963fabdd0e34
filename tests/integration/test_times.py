"""Orders for later and technicians' calendars, over HTTP on a real server."""

import time
from pathlib import Path
from typing import Any

from tests.integration.served import CITY, Served, Session, order, served

TECHNICIAN = "/v1/technicians/tec_1"
RECORD = {"name": "W", "cities": [CITY], "verified": True}


async def test_an_order_for_later_waits_over_a_restart_and_bad_times_name_the_field(tmp_path: Path) -> None:
    later = round(time.time()) + 86_400.0
    async with served(tmp_path) as server:
        token = server.token("cus_1", "customer")
        status, placed, _ = await server.call("POST", "/v1/orders", token, order(scheduled_for=later))
        assert (status, placed["state"], placed["scheduled_for"]) == (201, "scheduled", later)
        for at, code in ((later - 90_000, "scheduled_in_past"), (later + 90 * 86_400, "scheduled_too_far")):
            status, body, _ = await server.call("POST", "/v1/orders", token, order(scheduled_for=at))
            assert (status, body["code"], body["field"]) == (422, code, "scheduled_for")
    async with served(tmp_path) as server:
        status, body, _ = await server.call("GET", f"/v1/orders/{placed['order']}", server.token("cus_1", "customer"))
        assert (body["state"], body["scheduled_for"]) == ("scheduled", later)


async def test_a_calendar_is_set_and_read_and_survives_a_restart(tmp_path: Path) -> None:
    night = {"days": ["fri", "sat"], "begins": "20:00", "ends": "04:00"}
    rest = {"begins_at": 2e9, "ends_at": 2e9 + 3_600}
    path = f"{TECHNICIAN}/calendar"
    async with served(tmp_path) as server:
        await server.call("PUT", TECHNICIAN, server.token("s", "service"), RECORD)
        own = server.token("tec_1", "technician")
        status, body, _ = await server.call("PUT", path, own, {"shifts": [night], "rests": [rest]})
        assert (status, body["shifts"], body["rests"], body["bookings"]) == (200, [night], [rest], [])
        assert body["timezone"] == "Asia/Shanghai"
        assert (await server.call("GET", path, server.token("tec_2", "technician")))[0] == 404
        assert (await server.call("GET", path, server.token("cus_1", "customer")))[0] == 403
        bad = await server.call("PUT", path, own, {"shifts": [night | {"begins": "25:00"}]})
        assert (bad[0], bad[1]["field"]) == (422, "shifts[0].begins")
        bad = await server.call("PUT", path, own, {"rests": [{"begins_at": 2e9, "ends_at": 2e9}]})
        assert (bad[0], bad[1]["field"]) == (422, "rests[0].ends_at")
    async with served(tmp_path) as server:
        status, body, _ = await server.call("GET", path, server.token("ops_1", "ops"))
        assert (status, body["shifts"], body["rests"]) == (200, [night], [rest])


async def taken_order(server: Served, phone: Session) -> dict[str, Any]:
    """An order of `cus_1` that the phone's technician has accepted."""
    _, placed, _ = await server.call("POST", "/v1/orders", server.token("cus_1", "customer"), order())
    offer = await phone.until("offer")
    await phone.ask("offer.accept", offer=offer["offer"])
    return dict(placed)


async def test_a_running_service_is_made_longer_and_a_clash_says_what_fits(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        phone = await server.technician()
        token = server.token("cus_1", "customer")
        placed = await taken_order(server, phone)
        path = f"/v1/orders/{placed['order']}/add-time"
        early = await server.call("POST", path, token, {"minutes": 30})
        assert (early[0], early[1]["code"]) == (409, "not_in_service")
        for step in ("en_route", "arrived", "in_service"):
            await phone.ask("job.step", order=placed["order"], step=step, evidence="photo:door")
        key = {"Idempotency-Key": "k"}
        for _ in range(2):
            status, body, _ = await server.call("POST", path, token, {"minutes": 30}, **key)
            assert (status, body["duration_s"]) == (200, 5_400.0)
            assert body["price_fen"] == placed["price_fen"] * 3 // 2
        named = await server.call("POST", path, token, {"minutes": 30, "price_fen": 1})
        assert (named[0], named[1]["field"]) == (403, "price_fen")
        rest = {"begins_at": round(time.time()) + 6_000.0, "ends_at": round(time.time()) + 9_000.0}
        await server.call("PUT", f"{TECHNICIAN}/calendar", server.token("ops_1", "ops"), {"rests": [rest]})
        status, body, _ = await server.call("POST", path, token, {"minutes": 30})
        assert (status, body["code"], body["facts"]["clash"]) == (409, "add_time_clash", "rest")
        assert body["facts"]["longest_minutes"] in (9, 10)


async def test_a_technician_gives_an_order_away_over_http(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        phone = await server.technician()
        token = server.token("cus_1", "customer")
        placed = await taken_order(server, phone)
        path = f"/v1/orders/{placed['order']}/reassign"
        assert (await server.call("POST", path, token, {}))[0] == 403
        stranger = server.token("tec_2", "technician")
        assert (await server.call("POST", path, stranger, {}))[0] == 404
        own = server.token("tec_1", "technician")
        assert (await server.call("POST", path, own, {"reason": "ill"}))[0] == 200
        assert (await server.call("GET", f"/v1/orders/{placed['order']}", token))[1]["state"] == "matching"


async def test_a_technicians_wish_for_more_time_waits_for_its_customer_also_over_a_restart(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        phone = await server.technician()
        token = server.token("cus_1", "customer")
        anna = await server.session("cus_1", "customer")
        _, placed, _ = await server.call("POST", "/v1/orders", token, order())
        offer = await phone.until("offer")
        await phone.ask("offer.accept", offer=offer["offer"])
        path = f"/v1/orders/{placed['order']}"
        for step in ("en_route", "arrived", "in_service"):
            await phone.ask("job.step", order=placed["order"], step=step, evidence="photo:door")
        own = server.token("tec_1", "technician")
        status, body, _ = await server.call("POST", f"{path}/add-time", own, {"minutes": 240})
        assert (status, body["price_fen"], body["duration_s"]) == (200, placed["price_fen"], placed["duration_s"])
        request = body["time_request"]
        assert (request["minutes"], request["state"]) == (240, "pending")
        while "time_request" not in (told := await anna.until("order")):
            pass
        assert told["time_request"] == request
        answer = {"request": request["request"]}
        assert (await server.call("POST", f"{path}/add-time/agree", own, answer))[0] == 403
    async with served(tmp_path) as server:
        token = server.token("cus_1", "customer")
        _, body, _ = await server.call("GET", path, token)
        assert body["time_request"] == request
        bad = await server.call("POST", f"{path}/add-time/agree", token, {"request": "req_other"})
        assert (bad[0], bad[1]["code"]) == (409, "add_time_over")
        status, body, _ = await server.call("POST", f"{path}/add-time/refuse", token, answer)
        assert (status, body["time_request"]["state"], body["price_fen"]) == (200, "refused", placed["price_fen"])
        own = server.token("tec_1", "technician")
        _, body, _ = await server.call("POST", f"{path}/add-time", own, {"minutes": 30})
        again = {"request": body["time_request"]["request"]}
        status, body, _ = await server.call("POST", f"{path}/add-time/agree", token, again)
        assert (status, body["duration_s"]) == (200, placed["duration_s"] + 1_800)
        assert body["price_fen"] > placed["price_fen"]


async def test_an_order_for_later_is_moved_by_its_customer(tmp_path: Path) -> None:
    later = round(time.time()) + 86_400.0
    async with served(tmp_path) as server:
        token = server.token("cus_1", "customer")
        _, placed, _ = await server.call("POST", "/v1/orders", token, order(scheduled_for=later))
        path = f"/v1/orders/{placed['order']}/schedule"
        status, body, _ = await server.call("POST", path, token, {"scheduled_for": later + 3_600, "reason": "train"})
        assert (status, body["scheduled_for"], body["state"]) == (200, later + 3_600, "scheduled")
        bad = await server.call("POST", path, token, {"scheduled_for": later - 90_000})
        assert (bad[0], bad[1]["code"], bad[1]["field"]) == (422, "scheduled_in_past", "scheduled_for")
        assert (await server.call("POST", path, server.token("cus_2", "customer"), {"scheduled_for": later}))[0] == 404


async def test_a_service_does_not_last_until_its_technician_would_walk_home_at_night(tmp_path: Path) -> None:
    hour = (time.time() / 3_600.0 + 8.0) % 24.0  # in Shenzhen
    night = {
        "dispatch__eligibility__night_walk_max_m": "300",
        "dispatch__eligibility__night_begins_h": f"{(hour + 2.0) % 24.0:.3f}",
        "dispatch__eligibility__night_ends_h": f"{(hour + 4.0) % 24.0:.3f}",
    }
    async with served(tmp_path, **night) as server:
        phone = await server.technician()
        placed = await taken_order(server, phone)
        for step in ("en_route", "arrived", "in_service"):
            await phone.ask("job.step", order=placed["order"], step=step, evidence="photo:door")
    async with served(tmp_path, **night) as server:
        path, token = f"/v1/orders/{placed['order']}/add-time", server.token("cus_1", "customer")
        status, body, _ = await server.call("POST", path, token, {"minutes": 60})
        facts = body["facts"]
        assert (status, body["code"], facts["clash"]) == (409, "add_time_clash", "night_transport")
        assert facts["alternatives"] == ["shorter", "own_transport"]
        assert 40 < facts["longest_minutes"] < 60, "an hour until then, less the way home"
        assert (await server.call("POST", path, token, {"minutes": facts["longest_minutes"] - 1}))[0] == 200
