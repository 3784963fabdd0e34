"""Arrival links on a real server: one order, its customer's rights in it, and nothing else of anybody."""

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from api.exchange import Access
from tests.hostile.damage import BODIES
from tests.integration.served import LAT, LNG, Served, Session, order, served

pytestmark = pytest.mark.slow
MAY = {
    "order_read", "order_cancellation", "order_cancel", "order_confirm", "order_rating", "ticket", "sos", "sos_status",
    "sos_cancel", "city_map",
}  # fmt: skip


@dataclass
class Town:
    server: Served
    phone: Session
    order: str
    other: str
    link: dict[str, Any]

    @property
    def path(self) -> str:
        return f"/v1/orders/{self.order}"

    async def arrive(self, device: str = "browser") -> dict[str, Any]:
        status, told, _ = await self.server.call(
            "POST", "/v1/arrivals", None, {"token": self.link["token"], "device": device}
        )
        assert status == 200, told
        return dict(told)

    async def hub(self, arrived: dict[str, Any]) -> Session:
        ticket = (await self.server.call("POST", "/v1/tickets", arrived["token"], {"device": arrived["device"]}))[1]
        socket = await connect(self.server.app.hub_url, subprotocols=["doorstep.v1.json"])  # type: ignore[list-item]
        session = Session(socket)
        await session.send("hello", ticket=ticket["ticket"], device=arrived["device"])
        assert (await session.until("welcome"))["streams"] == {}
        return session


async def furnished(server: Served) -> Town:
    phone = await server.technician("tec_1")
    customer = server.token("cus_1", "customer")
    placed = (await server.call("POST", "/v1/orders", customer, order()))[1]["order"]
    await phone.ask("offer.accept", offer=(await phone.until("offer"))["offer"])
    later = order(scheduled_for=time.time() + 80_000)
    other = (await server.call("POST", "/v1/orders", customer, later))[1]["order"]
    status, link, _ = await server.call("POST", f"/v1/orders/{placed}/arrival-link", customer, {"contact": "Ma"})
    assert status == 201, link
    return Town(server, phone, placed, other, link)


async def test_whoever_holds_the_link_sees_the_order_come_and_acts_for_its_customer(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        town = await furnished(server)
        assert town.link["link"] == server.app.http_url + town.link["path"]
        arrived = await town.arrive()
        token = arrived["token"]
        view = (await server.call("GET", town.path, token))[1]
        assert view["technician"] == {"technician": "tec_1", "name": "Name tec_1", "verified": True}
        assert set(view["location"]) == {"lat", "lng", "crs"}
        text = json.dumps(view)
        assert not any(secret in text for secret in ("Secret Road", "13800000000", "7B", '"Li"'))
        assert (await server.call("GET", f"{town.path}/cancellation", token))[1]["fee_fen"] >= 0

        page = await town.hub(arrived)
        await page.ask("watch", topic=f"order:{town.order}")
        await town.phone.ask("job.step", order=town.order, step="en_route")
        told = await page.until("order", state="en_route")
        assert "seq" not in told
        assert not {"contact_name", "contact_phone", "location", "said"} & set(told)
        await server.ping(town.phone, 2, LAT + 0.009, LNG)
        marker = await page.until("position")
        assert marker["topic"] == f"order:{town.order}"
        await page.send("sos", key="from-the-page")
        ack = await page.until("sos_ack", key="from-the-page")
        status = await server.call("GET", f"/v1/sos/{ack['incident']}", token)
        assert status[0] == 200
        done = await server.call("POST", f"{town.path}/cancel", token, {"reason": "x", "fee_fen_max": 10**9})
        assert (done[0], done[1]["state"]) == (200, "cancelled")
        assert "said" not in done[1]
        await page.socket.close()


async def test_every_route_that_is_not_made_for_a_link_refuses_it(tmp_path: Path) -> None:
    async with served(tmp_path, api__requests_burst="100000") as server:
        town = await furnished(server)
        token = (await town.arrive())["token"]
        asked = set()
        for route in server.app.house.api.routes:
            if route.access in (Access.PUBLIC, Access.TRACKER):
                continue
            mine = {"orders": town.order, "technicians": "tec_1", "customers": "cus_1", "people": "cus_1"}
            kind = route.path.split("/")[2]
            ids = {"id": mine.get(kind, "inc_none"), "technician": "tec_1", "customer": "cus_1", "trip": "trp_none"}
            path = route.path.format(**ids, link=town.link["link_id"], city="shenzhen", tracker="trk_none")
            good = BODIES.get((route.method.lower(), route.path), (None, None))[1]
            if route.name not in MAY:
                status, told, _ = await server.call(route.method, path, token, good)
                assert (status, told["code"]) == (403, "forbidden"), route.name
            elif kind == "orders":
                path = route.path.format(id=town.other)
                status, told, _ = await server.call(route.method, path, token, good)
                assert (status, told["code"]) == (404, "not_found"), route.name
                assert (await server.call("GET", f"/v1/orders/{town.other}", server.token("cus_1", "customer")))[
                    0
                ] == 200
            asked.add(route.name)
        assert asked >= MAY
        assert (await server.call("GET", "/v1/map/shenzhen", token))[0] == 200
        # An alarm in a body of positions is no way around it.
        alarm = {"device": "d", "pings": [[1, time.time(), LAT, LNG, 5, None, None]], "alarm": "sos"}
        assert (await server.call("POST", "/v1/positions", token, alarm))[0] == 403


async def test_on_the_hub_a_link_hears_of_its_order_alone_and_may_say_little(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        town = await furnished(server)
        page = await town.hub(await town.arrive())
        refused: dict[str, list[dict[str, Any]]] = {
            "watch": [{"topic": t} for t in (f"order:{town.other}", "technician:tec_1", "area:shenzhen")],
            "ping": [{"seq": 1, "fixed_at": 1.0, "lat": LAT, "lng": LNG, "accuracy_m": 5, "sent_at": 1.0}],
            "duty": [{"on": True, "city": "shenzhen"}],
            "offer.accept": [{"offer": "ofr_none"}],
            "incident.ack": [{"incident": "inc_none"}],
            "drill.tap": [{}],
            "checkin.answer": [{"checkin": "chk_none", "answer": "ok"}],
        }
        for kind, bodies in refused.items():
            for n, body in enumerate(bodies):
                await page.send(kind, ref=f"{kind}{n}", **body)
                error = await page.until("error")
                assert error["code"] == ("not_found" if kind == "watch" else "forbidden"), kind
        customer = server.token("cus_1", "customer")
        await page.send("refresh", ref="whole", token=customer)
        assert (await page.until("error", ref="whole"))["code"] == "token_invalid"
        # What becomes of the customer's other order, and of their own alarm, is not told to the link.
        await server.call("POST", f"/v1/orders/{town.other}/cancel", customer, {"reason": "x"})
        await server.call("POST", "/v1/sos", customer, {"key": "own"})
        await town.phone.ask("job.step", order=town.order, step="en_route")
        await page.until("order", order=town.order)
        kinds = {(message["type"], message.get("order", "")) for message in page.seen}
        assert kinds <= {("order", town.order), ("heartbeat", "")}, kinds
        await page.socket.close()


async def test_a_link_that_is_taken_back_is_cut_off_at_once_and_opens_nothing_more(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        town = await furnished(server)
        arrived = await town.arrive()
        page = await town.hub(arrived)
        mine = await server.session("cus_1", "customer")
        link = f"{town.path}/arrival-link"
        for name, role, claims in (
            ("cus_2", "customer", {}), ("ops_2", "ops", {"cities": ("beijing",)}),
            ("cus_1", "customer", {"tenant": "other"}),
        ):  # fmt: skip
            token = server.token(name, role, **claims)
            assert (await server.call("DELETE", f"{link}/{town.link['link_id']}", token))[0] == 404
            assert (await server.call("POST", link, token, {}))[0] == 404
        ops = server.token("ops_1", "ops")
        rows = (await server.call("GET", link, ops))[1]["links"]
        assert [(row["link_id"], row["made_by"], row["views"], row["contact"]) for row in rows] == [
            (town.link["link_id"], "cus_1", 1, "Ma")
        ]
        assert (await server.call("DELETE", f"{link}/{town.link['link_id']}", ops))[0] == 200
        await asyncio.wait_for(page.socket.wait_closed(), 5)
        assert page.socket.close_code == 4510
        assert (await server.call("GET", town.path, arrived["token"]))[1]["code"] == "token_revoked"
        again = {"token": town.link["token"], "device": "browser"}
        assert (await server.call("POST", "/v1/arrivals", None, again))[0] == 404
        await mine.ask("unwatch", topic="order:none")  # the customer's own connection goes on


async def test_a_trip_link_opens_no_arrival_and_an_arrival_link_no_trip(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        town = await furnished(server)
        customer = server.token("cus_1", "customer")
        trip = (await server.call("POST", f"{town.path}/share", customer, {}))[1]
        assert (await server.call("POST", "/v1/arrivals", None, {"token": trip["token"], "device": "d"}))[0] == 404
        assert (await server.call("GET", f"/v1/shared/{town.link['token']}"))[0] == 404
        assert (await server.call("GET", f"/s/{town.link['token']}"))[0] == 404
        shown = (await server.call("GET", f"{town.path}/share", customer))[1]["links"]
        assert [row["trip"] for row in shown] == [trip["trip"]]
        gone = await server.call("DELETE", f"{town.path}/share/{town.link['link_id']}", customer)
        assert gone[0] == 404


async def test_many_who_hold_the_link_do_not_keep_its_customer_out(tmp_path: Path) -> None:
    async with served(tmp_path, realtime__sessions__sessions_per_user_max="2") as server:
        town = await furnished(server)
        pages = [await town.hub(await town.arrive(f"b{n}")) for n in range(2)]
        arrived = await town.arrive("b3")
        late = Session(await connect(server.app.hub_url, subprotocols=["doorstep.v1.json"]))  # type: ignore[list-item]
        await late.send("hello", token=arrived["token"], device=arrived["device"])
        assert (await late.until("error"))["code"] == "too_many"
        # Calling oneself by the name of the customer's phone does not push it out.
        await server.session("cus_1", "customer")
        assert (await town.arrive("cus_1-phone"))["device"] != "cus_1-phone"
        for page in pages:
            await page.ask("unwatch", topic="order:none")
            await page.socket.close()
