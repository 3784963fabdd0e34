"""An SOS from elsewhere than the person's own app: on their behalf, and by a tracker."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.served import LAT, LNG, Served, order, served

pytestmark = pytest.mark.slow


def row(seq: int = 1, fixed_at: float | None = None, lat: Any = LAT, lng: Any = LNG) -> list[Any]:
    return [seq, time.time() if fixed_at is None else fixed_at, lat, lng, 8.0, None, None]


async def alarm(server: Served, token: str, body: Any, **headers: str) -> dict[str, Any]:
    status, answer, _ = await server.call("POST", "/v1/positions", token, body, **headers)
    assert (status, answer["type"]) == (200, "alarm_ack"), answer
    assert answer["alarms"][0]["durable"]
    return answer  # type: ignore[no-any-return]


async def test_ops_raise_for_somebody_and_a_repeat_is_the_same_sos(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        ops = await server.session("ops_1", "ops")
        await server.technician("tec_1")
        token = server.token("ops_1", "ops")
        body = {"key": "call-1", "reason": "she called the desk", "note": "man at the door"}
        status, first, _ = await server.call("POST", "/v1/people/tec_1/sos", token, body)
        assert status == 200
        told = await ops.until("incident", incident=first["result"]["incident"])
        assert (told["subject"], told["note"]) == ("tec_1", "man at the door\nshe called the desk")
        assert told["fix"]["source"] == "live", "where she was seen"
        _, again, _ = await server.call("POST", "/v1/people/tec_1/sos", token, body)
        assert again == first
        _, view, _ = await server.call("GET", f"/v1/incidents/{first['result']['incident']}", token)
        assert view["triggers"] == 1
        # Her own tap feeds the same incident; who is no technician gets one too.
        phone = server.token("tec_1", "technician")
        _, ack, _ = await server.call("POST", "/v1/sos", phone, {"key": "call-1"})
        assert ack["incident"] == first["result"]["incident"]
        _, customers, _ = await server.call("POST", "/v1/people/cus_1/sos", token, body)
        assert (await ops.until("incident", incident=customers["result"]["incident"]))["subject_role"] == "customer"
        # An exercise is one of its own, and rings by its name.
        tried = {**body, "key": "call-2", "exercise": True}
        _, exercise, _ = await server.call("POST", "/v1/people/cus_1/sos", token, tried)
        told = await ops.until("incident", incident=exercise["result"]["incident"])
        assert (told["cap_status"], told["subject"]) == ("exercise", "cus_1")
        assert exercise != customers


async def test_on_behalf_needs_a_reason_and_a_person_of_ones_own(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        await server.technician("tec_1")
        body = {"key": "k", "reason": "r"}
        for who, status in (
            (server.token("tec_1", "technician"), 403),
            (server.token("cus_1", "customer"), 403),
            (server.token("ops_2", "ops", cities=("beijing",)), 404),
            (server.token("prog", "service"), 200),
        ):
            assert (await server.call("POST", "/v1/people/tec_1/sos", who, body))[0] == status
        blank = {"key": "k", "reason": "  "}
        status, answer, _ = await server.call("POST", "/v1/people/tec_1/sos", server.token("ops_1", "ops"), blank)
        assert (status, answer["field"]) == (422, "reason")


async def test_a_trackers_alarm_is_an_sos_whatever_becomes_of_its_position(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        ops = await server.session("ops_1", "ops")
        now = time.time()
        for nth, (pings, taken) in enumerate(
            (
                ([row(1, now)], True),
                ([row(1, now - 7 * 86_400)], True),  # from its memory, a week old
                ([row(1, now, 0, 0)], True),  # no fix at all (0, 0)
                ([row(1, now, 95.0, 114.0)], False),  # no place on Earth
                ([row(1, now, None, None)], False),
                ([], False),
                ("none", False),
            )
        ):
            user = f"tec_{nth}"  # nobody registered, on duty or located
            token = server.token(user, "technician")
            answer = await alarm(server, token, {"device": "T", "pings": pings, "alarm": True})
            assert ("positions" in answer) == taken, answer
            assert (answer.get("refused") == "invalid") != taken
            told = await ops.until("incident", incident=answer["alarms"][0]["incident"])
            assert told["subject"] == user


async def test_an_alarm_sent_again_is_the_same_and_a_newer_one_is_not(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        token, now = server.token("tec_1", "technician"), time.time()
        first = await alarm(server, token, {"device": "T", "pings": [row(1, now)], "alarm": [1]})
        again = await alarm(server, token, {"device": "T", "pings": [row(1, now)], "alarm": [1]})
        later = await alarm(server, token, {"device": "T", "pings": [row(2, now + 1)], "alarm": [2]})
        keys = [answer["alarms"][0]["key"] for answer in (first, again, later)]
        assert keys[0] == keys[1] != keys[2]
        incident = first["alarms"][0]["incident"]
        assert later["alarms"][0]["incident"] == incident
        _, view, _ = await server.call("GET", f"/v1/incidents/{incident}", server.token("ops_1", "ops"))
        assert view["triggers"] == 2


async def test_an_alarm_is_taken_from_a_damaged_body_an_old_token_and_any_role(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        body = json.dumps({"device": "T", "alarm": True, "pings": [row()]}).encode()
        answer = await alarm(server, server.token("tec_1", "technician"), body[:-3])
        assert answer["refused"] == "malformed"
        stale = server.token("tec_2", "technician", life_s=-60.0)
        assert (await alarm(server, stale, body))["refused"] == "token_expired"
        assert (await alarm(server, server.token("ops_9", "ops"), body))["refused"] == "forbidden"
        # Without an alarm all of that is refused as before.
        plain = {"device": "T", "pings": [row()], "alarm": False}
        assert (await server.call("POST", "/v1/positions", stale, plain))[0] == 401
        assert (await server.call("POST", "/v1/positions", server.token("ops_9", "ops"), plain))[0] == 403


async def test_no_limit_refuses_an_alarm(tmp_path: Path) -> None:
    async with served(tmp_path, api__requests_burst="2", api__requests_per_s="0.1") as server:
        token = server.token("tec_1", "technician")
        statuses = [(await server.call("GET", "/v1/me/safety", token))[0] for _ in range(3)]
        assert statuses[-1] == 429
        answer = await alarm(server, token, {"device": "T", "pings": [row()], "alarm": True})
        assert answer["refused"] == "rate_limited"


async def test_naming_another_booking_lets_nobody_in_who_is_at_the_door(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        phone = await server.technician("tec_1")
        customer = server.token("cus_1", "customer")
        _, now, _ = await server.call("POST", "/v1/orders", customer, order())
        await phone.ask("offer.accept", offer=(await phone.until("offer"))["offer"])
        later = order(scheduled_for=time.time() + 3 * 86_400)
        status, planned, _ = await server.call("POST", "/v1/orders", customer, later)
        assert status == 201
        status, ack, _ = await server.call("POST", "/v1/sos", customer, {"key": "k", "order": planned["order"]})
        assert status == 200
        path = f"/v1/incidents/{ack['incident']}"
        _, case, _ = await server.call("GET", path, server.token("ops_1", "ops"))
        assert case["order"] == now["order"], "the address that is read out is where they are"
        for roles in (("technician", "responder"), ("technician", "ops")):
            both = server.token("tec_1", "technician", roles=roles)
            assert (await server.call("GET", path, both))[0] in (403, 404)
            assert (await server.call("POST", f"{path}/ack", both))[0] == 404


async def consent(server: Served, user: str, *, consents: bool = True) -> None:
    body = {"name": user, "consents_to_respond": consents}
    assert (await server.call("PUT", "/v1/me/safety", server.token(user, "technician"), body))[0] == 200


async def test_staff_are_told_first_then_technicians_who_agreed_are_free_and_are_not_kept_apart(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        phones = {}
        for nth, user in enumerate(("tec_busy", "tec_silent", "tec_blocked", "tec_helps"), start=1):
            if user != "tec_silent":
                await consent(server, user)
            phones[user] = await server.technician(user, LAT + 0.001 * nth)
        _, placed, _ = await server.call("POST", "/v1/orders", server.token("cus_2", "customer"), order())
        asked = await phones["tec_busy"].until("offer", order=placed["order"])
        await phones["tec_busy"].ask("offer.accept", offer=asked["offer"])
        ops = server.token("ops_1", "ops")
        block = "/v1/customers/cus_1/blocks/tec_blocked"
        status, answer, _ = await server.call("PUT", block, ops, {"reason": "they know each other"})
        assert status in (200, 201), answer
        guard = await server.session("guard_1", "responder")
        await guard.ask("duty", on=True, city="shenzhen")
        await server.ping(guard, 1, LAT + 0.05, LNG)

        customer, fix = server.token("cus_1", "customer"), {"lat": LAT, "lng": LNG, "accuracy_m": 10}
        _, ack, _ = await server.call("POST", "/v1/sos", customer, {"key": "k", **fix})
        await phones["tec_helps"].until("incident", incident=ack["incident"])
        await guard.until("incident", incident=ack["incident"])
        path = f"/v1/incidents/{ack['incident']}/deliveries"
        _, case, _ = await server.call("GET", path, ops)
        ranks = {person["user"]: person["rank"] for person in case["told"] if "rank" in person}
        assert list(ranks) == ["guard_1", "tec_helps"]
        assert [(rank["group"], rank["live"]) for rank in ranks.values()] == [("staff", True), ("consenting", True)]
        for rank in ranks.values():
            assert rank["eta_s"] == pytest.approx((rank["distance_m"] + 2 * 16.2) / 5 + rank["fix_age_s"], abs=2)

        await consent(server, "tec_helps", consents=False)
        await server.call("POST", "/v1/sos", customer, {"key": "k2", **fix})
        await guard.until("incident", incident=ack["incident"], why="nearest_responder")
        async with asyncio.timeout(5):
            while "tec_helps" in [person["user"] for person in (await server.call("GET", path, ops))[1]["told"]]:
                await server.call("POST", "/v1/sos", customer, {"key": "k3", **fix})
                await asyncio.sleep(0.5)  # taps of one burst ring together
