"""What one person writes about another on a running server: staff read it and who wrote it, at every door."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from tests.integration.served import LAT, LNG, Served, Session, order, served
from tests.integration.test_leaving import ON_TRUST

WORDS = "what a creep"


async def taken(server: Served, phone: Session) -> str:
    token = server.token("cus_1", "customer")
    placed: str = (await server.call("POST", "/v1/orders", token, order()))[1]["order"]
    await phone.ask("offer.accept", offer=(await phone.until("offer", order=placed))["offer"])
    return placed


async def read(server: Served, token: str, placed: str) -> dict[str, str]:
    """Everything that a token reads of an order over HTTP, by where it stands."""
    path = f"/v1/orders/{placed}"
    lists = ("/v1/orders", "/v1/orders?format=csv", "/v1/offers", "/v1/offers?format=csv")
    doors = (path, *lists, f"{path}/timeline", f"{path}/explain", f"{path}/cancellation")
    found = {}
    for door in doors:
        _, body, _ = await server.call("GET", door, token)
        found[door] = body.decode() if isinstance(body, bytes) else json.dumps(body)
    return found


async def replayed(server: Served, user: str, role: str, last: dict[str, Any]) -> list[dict[str, Any]]:
    """All that another device of somebody is told again of their stream, up to a message of it, and the snapshot."""
    session = Session(await connect(server.app.hub_url, subprotocols=["doorstep.v1.json"]))  # type: ignore[list-item]
    resume = {"main": {"epoch": last["epoch"], "seq": 0}}
    await session.send("hello", token=server.token(user, role), device="another", resume=resume)
    told = [await session.until("order", seq=last["seq"]), *session.seen]
    await session.socket.close()
    assert len([message for message in told if message["type"] == "order"]) > 1
    return told


def tokens(server: Served) -> tuple[str, str, str]:
    """Of the technician, the customer and ops."""
    people = (("tec_1", "technician"), ("cus_1", "customer"), ("ops_1", "ops"))
    tec, cus, ops = (server.token(user, role) for user, role in people)
    return tec, cus, ops


async def test_a_technicians_words_about_a_customer_are_not_the_customers(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        phone = await server.technician()
        customer, console = await server.session("cus_1", "customer"), await server.session("ops_1", "ops")
        placed = await taken(server, phone)
        tec, cus, ops = tokens(server)
        assert (await server.call("POST", f"/v1/orders/{placed}/reassign", tec, {"reason": WORDS}))[0] == 200
        told = await customer.until("order", order=placed, state="matching", reason="reassigned")
        assert WORDS not in str([told, *customer.seen])
        assert (await console.until("order", order=placed, reason="reassigned"))["said"] == WORDS
        assert (await server.call("GET", f"/v1/orders/{placed}", cus))[1]["reason"] == "reassigned"
        found = await read(server, cus, placed)
        assert not [door for door, body in found.items() if WORDS in body]
        assert WORDS not in str(await replayed(server, "cus_1", "customer", told))
        (row,) = (await server.call("GET", "/v1/orders", ops))[1]["orders"]
        assert (row["said"], row["said_by"]) == (WORDS, "tec_1")
        found = await read(server, ops, placed)
        assert {door for door, body in found.items() if WORDS in body} == {
            f"/v1/orders/{placed}", "/v1/orders", "/v1/orders?format=csv", f"/v1/orders/{placed}/timeline",
        }  # fmt: skip


@pytest.mark.parametrize("by", ["customer", "ops"])
async def test_why_an_order_was_called_off_is_a_word_for_its_technician(tmp_path: Path, by: str) -> None:
    async with served(tmp_path) as server:
        phone = await server.technician()
        customer = await server.session("cus_1", "customer")
        placed = await taken(server, phone)
        tec, cus, ops = tokens(server)
        writer = cus if by == "customer" else ops
        word = "cancelled_by_customer" if by == "customer" else "cancelled_by_staff"
        status, mine, _ = await server.call("POST", f"/v1/orders/{placed}/cancel", writer, {"reason": WORDS})
        assert (status, mine["reason"], mine["said"]) == (200, word, WORDS)
        told = await phone.until("order", order=placed, state="cancelled")
        assert (told["reason"], WORDS in str([told, *phone.seen])) == (word, False)
        assert WORDS not in str(await replayed(server, "tec_1", "technician", told))
        told = await customer.until("order", order=placed, state="cancelled")
        assert (told["reason"], WORDS in str([told, *customer.seen])) == (word, by == "customer")
        for token, may in ((tec, False), (cus, by == "customer"), (ops, True)):
            assert (await server.call("GET", f"/v1/orders/{placed}", token))[1]["reason"] == word
            assert any(WORDS in body for body in (await read(server, token, placed)).values()) is may
    async with served(tmp_path) as server:
        again = await server.call("GET", f"/v1/orders/{placed}", server.token("tec_1", "technician"))
        assert (again[1]["reason"], "said" in again[1]) == (word, False)
        assert (await server.call("GET", f"/v1/orders/{placed}", server.token("ops_1", "ops")))[1]["said"] == WORDS


async def test_a_timeline_says_where_a_step_was_taken_to_ops_alone_and_the_technician_is_told_who_read_it(
    tmp_path: Path,
) -> None:
    async with served(tmp_path, **ON_TRUST) as server:
        phone = await server.technician("tec_1", lat=LAT, lng=LNG)
        placed = await taken(server, phone)
        path = f"/v1/orders/{placed}/timeline"
        ops, program = server.token("ops_1", "ops"), server.token("prog", "service")

        async def details(token: str) -> list[dict[str, Any]]:
            status, body, _ = await server.call("GET", path, token)
            assert status == 200
            return [event.get("detail", {}) for event in body["events"]]

        async def looks() -> list[tuple[str, str, int]]:
            await asyncio.sleep(1.3)  # stored within a second
            _, page, _ = await server.call("GET", "/v1/me/looks", server.token("tec_1", "technician"))
            return [(look["by"], look["about"], look["count"]) for look in page["looks"]]

        await details(ops)
        assert await looks() == [], "no position is in it yet"
        await phone.ask("job.step", order=placed, step="en_route")
        (shown,) = [detail for detail in await details(ops) if "lat" in detail]
        assert (shown["lat"], shown["lng"]) == pytest.approx((LAT, LNG), abs=0.01)
        assert await looks() == [("ops_1", placed, 1)]
        hidden = await details(program)
        assert not [detail for detail in hidden if {"lat", "lng"} & set(detail)]
        assert any("distance_m" in detail for detail in hidden), "the proof of the step is there"
        assert await looks() == [("ops_1", placed, 1)]
        assert (await server.call("GET", f"/v1/orders/{placed}/track", program))[0] == 403


async def test_a_travel_time_ends_at_the_door(tmp_path: Path) -> None:
    async with served(tmp_path, **ON_TRUST) as server:
        phone = await server.technician()
        placed = await taken(server, phone)
        cus, tec = server.token("cus_1", "customer"), server.token("tec_1", "technician")
        for step in ("en_route", "arrived", "in_service", "finished"):
            for token in (cus, tec):
                eta_s = (await server.call("GET", f"/v1/orders/{placed}", token))[1].get("eta_s")
                assert (eta_s is not None) is (step in ("en_route", "arrived")), f"before {step}"
                assert eta_s is None or eta_s == round(eta_s, 1)
            await phone.ask("job.step", order=placed, step=step)
        for token in (cus, tec):
            assert "eta_s" not in (await server.call("GET", f"/v1/orders/{placed}", token))[1]
