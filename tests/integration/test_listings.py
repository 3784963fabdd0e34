"""Listings over HTTP: who finds what, cursors, CSV, and the bounds of an export."""

import asyncio
import csv
import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from core.ids import CityId, TenantId, UserId
from core.shard import Shard
from dispatch.listing import ListFilter
from dispatch.model import Order
from dispatch.ports import DispatchChanges
from store.listings import SqlListings
from tests.contract.store_values import NOW, make_offer, make_order
from tests.integration.served import CITY, LAT, Served, order, served

pytestmark = pytest.mark.slow

DEMO = Shard(TenantId("demo"), CityId(CITY))


def _rows(text: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.decode(), newline="")))


async def _fill(server: Served, *orders: Order) -> None:
    """Old orders, straight into the store."""
    changes = DispatchChanges(orders={o.order_id: o for o in orders})
    await server.app.house.cities.all()[0].dispatch._store.commit(DEMO, changes, [], NOW)


def _old(name: str, **changes: Any) -> Order:
    return make_order(name, tenant=DEMO.tenant, city=DEMO.city, **changes)


async def _names(server: Served, path: str, token: str) -> list[str]:
    status, page, _ = await server.call("GET", path, token)
    assert status == 200, page
    (kind,) = set(page) - {"next"}
    return [row[kind[:-1]] for row in page[kind]]


async def test_each_finds_what_is_theirs_and_filters_it(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        ops, customer = server.token("ops_1", "ops"), server.token("cus_1", "customer")
        phone = await server.technician("tec_1")
        colleague = await server.technician("tec_2", LAT + 0.05)
        first = (await server.call("POST", "/v1/orders", customer, order()))[1]
        offer = await phone.until("offer")
        await phone.ask("offer.decline", offer=offer["offer"], reason="far")
        second = await colleague.until("offer")
        await colleague.ask("offer.accept", offer=second["offer"])
        other = (await server.call("POST", "/v1/orders", server.token("cus_2", "customer"), order()))[1]["order"]
        await phone.until("offer", order=other)

        mine = first["order"]
        assert await _names(server, "/v1/orders", ops) == [other, mine]
        assert await _names(server, "/v1/orders?state=assigned", ops) == [mine]
        assert await _names(server, "/v1/orders?technician=tec_2", ops) == [mine]
        assert await _names(server, "/v1/orders?customer=cus_2", ops) == [other]
        assert await _names(server, f"/v1/orders?to={first['placed_at'] + 0.001}", ops) == [mine]
        assert await _names(server, f"/v1/orders?from={first['placed_at'] + 0.001}", ops) == [other]
        assert await _names(server, "/v1/orders", customer) == [mine]
        tec_2 = server.token("tec_2", "technician")
        assert await _names(server, "/v1/orders", tec_2) == [mine]
        assert await _names(server, "/v1/orders", server.token("tec_1", "technician")) == []

        assert await _names(server, f"/v1/offers?order={mine}", ops) == [second["offer"], offer["offer"]]
        assert await _names(server, "/v1/offers?state=declined", ops) == [offer["offer"]]
        assert await _names(server, "/v1/offers?customer=cus_1", ops) == [second["offer"], offer["offer"]]
        assert await _names(server, "/v1/offers", tec_2) == [second["offer"]]
        row = (await server.call("GET", "/v1/offers", tec_2))[1]["offers"][0]
        assert not {"cost_s", "travel_s", "distance_m", "round"} & set(row)
        row = (await server.call("GET", "/v1/offers?technician=tec_2", ops))[1]["offers"][0]
        assert {"cost_s", "travel_s", "distance_m", "round"} <= set(row)

        for path, token, status, field in (
            ("/v1/orders?technician=tec_1", customer, 403, None),
            ("/v1/orders?customer=cus_2", customer, 403, None),
            ("/v1/orders?customer=cus_1", tec_2, 403, None),
            ("/v1/offers?technician=tec_1", tec_2, 403, None),
            ("/v1/offers", customer, 403, None),
            ("/v1/orders?city=beijing", ops, 404, "city"),
            ("/v1/orders?from=nan", ops, 422, "from"),
            ("/v1/orders?from=5&to=5", ops, 422, "to"),
            ("/v1/offers?state=placed", ops, 422, "state"),
            ("/v1/orders?limit=201", ops, 422, "limit"),
            ("/v1/orders?format=xml", ops, 422, "format"),
            ("/v1/orders?after=AAAA", ops, 422, "after"),
            (f"/v1/orders?order={mine}", ops, 422, "order"),
            ("/v1/offers?stat=declined", ops, 422, "stat"),
            ("/v1/incidents?city=beijing", ops, 422, "city"),
            ("/v1/technicians/tec_1/why-no-offers?form=5", ops, 422, "form"),
            ("/v1/orders?format=csv&charset=gbk", ops, 422, "charset"),
        ):
            got, body, _ = await server.call("GET", path, token)
            assert (got, body.get("field")) == (status, field), (path, body)

        # Of two roles the weaker one is asked for by one's own name.
        both = server.token("cus_1", "customer", roles=("ops",), cities=("beijing",))
        assert await _names(server, "/v1/orders", both) == []
        assert await _names(server, "/v1/orders?customer=cus_1", both) == [mine]
        two_cities = server.token("ops_1", "ops", cities=("beijing", CITY))
        assert await _names(server, "/v1/orders", two_cities) == [other, mine]
        assert await _names(server, "/v1/orders", server.token("ops_0", "ops", cities=())) == []


async def test_a_cursor_is_good_for_its_own_filters_only(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        ops = server.token("ops_1", "ops")
        await _fill(server, *(_old(str(n), placed_at=NOW + n) for n in range(5)))
        page = (await server.call("GET", "/v1/orders?limit=2&state=placed", ops))[1]
        after = page["next"]
        assert await _names(server, f"/v1/orders?limit=1&after={after}&state=placed", ops) == ["ord_2"]
        status, body, _ = await server.call("GET", f"/v1/orders?after={after}", ops)
        assert (status, body["code"]) == (422, "cursor_invalid")


async def test_a_csv_holds_everything_and_no_formula(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        ops = server.token("ops_1", "ops")
        orders = [_old(f"{n:03}", placed_at=NOW + n, contact_name="=HYPERLINK(1)") for n in range(250)]
        await _fill(server, *orders)
        status, text, headers = await server.call("GET", "/v1/orders", ops, Accept="text/csv")
        assert (status, headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
        assert headers["Cache-Control"] == "no-store"
        assert 'filename="orders.csv"' in headers["Content-Disposition"]
        rows = _rows(text)
        assert [row["order"] for row in rows] == [o.order_id for o in reversed(orders)]
        assert rows[0]["contact_name"] == "'=HYPERLINK(1)"
        assert rows[0]["contact_phone"] == "+86 138 0000 0000"
        assert rows[0]["address"] == "上海市黄浦区人民大道200号 🏠"
        assert float(rows[0]["placed_at"]) == NOW + 249
        _, text, _ = await server.call("GET", f"/v1/orders?format=csv&limit=120&to={NOW + 200}", ops)
        assert [row["order"] for row in _rows(text)] == [o.order_id for o in reversed(orders[80:200])]
        _, text, _ = await server.call("GET", "/v1/orders?format=csv&state=confirmed", ops)
        assert _rows(text) == []
        assert text.startswith(b'"order",')
        # A technician's own file lacks the customer, as their screen does.
        await _fill(server, _old("tec", technician=UserId("tec_9"), placed_at=NOW + 300))
        _, text, _ = await server.call("GET", "/v1/orders?format=csv", server.token("tec_9", "technician"))
        (row,) = _rows(text)
        assert (row["order"], row["customer"], row["address"]) == ("ord_tec", "", "")


async def test_an_offer_csv_shows_costs_to_staff_only(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        offer = make_offer("1", tenant=DEMO.tenant, city=DEMO.city, reason="-1+1")
        changes = DispatchChanges(orders={o.order_id: o for o in [_old("1")]}, offers={offer.offer_id: offer})
        await server.app.house.cities.all()[0].dispatch._store.commit(DEMO, changes, [], NOW)
        _, text, _ = await server.call("GET", "/v1/offers?format=csv", server.token("ops_1", "ops"))
        (row,) = _rows(text)
        assert (row["offer"], row["cost_s"], row["reason"]) == ("ofr_1", "412.25", "'-1+1")
        _, text, _ = await server.call("GET", "/v1/offers?format=csv", server.token("tec_1", "technician"))
        (row,) = _rows(text)
        assert (row["offer"], row["cost_s"]) == ("ofr_1", "")


async def test_an_export_is_refused_and_never_cut_at_its_bound(tmp_path: Path) -> None:
    async with served(tmp_path, api__export_rows_max="10") as server:
        ops = server.token("ops_1", "ops")
        await _fill(server, *(_old(str(n), placed_at=NOW + n) for n in range(11)))
        status, body, _ = await server.call("GET", "/v1/orders?format=csv", ops)
        assert (status, body["code"]) == (422, "export_too_large")
        status, text, _ = await server.call("GET", "/v1/orders?format=csv&limit=10", ops)
        assert (status, len(_rows(text))) == (200, 10)
        status, text, _ = await server.call("GET", f"/v1/orders?format=csv&from={NOW + 1}", ops)
        assert (status, len(_rows(text))) == (200, 10)
        assert (await server.call("GET", "/v1/orders?format=csv&limit=11", ops))[0] == 422
        after = (await server.call("GET", "/v1/orders?limit=1", ops))[1]["next"]
        status, text, _ = await server.call("GET", f"/v1/orders?format=csv&after={after}", ops)
        assert (status, len(_rows(text))) == (200, 10), "what lies behind the cursor is few enough"
        status, text, _ = await server.call("GET", "/v1/orders?format=csv&limit=1&charset=utf-8-bom", ops)
        assert text.startswith(b'\xef\xbb\xbf"order",')


async def test_a_reader_who_stalls_holds_one_place_until_the_time_is_over(tmp_path: Path) -> None:
    bounds = {"api__exports_max": "1", "api__export_timeout_s": "1"}
    async with served(tmp_path, **bounds) as server:
        token = server.token("ops_1", "ops")
        note = "x" * 400
        await _fill(server, *(_old(f"{n:05}", placed_at=NOW + n, contact_name=note) for n in range(20_000)))
        port = int(server.app.http_url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        request = f"GET /v1/orders?format=csv HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        writer.write(request.encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        status, body, _ = await server.call("GET", "/v1/orders?format=csv&limit=1", token)
        assert (status, body["code"]) == (503, "overloaded")
        async with asyncio.timeout(10):
            while (await server.call("GET", "/v1/orders?format=csv&limit=1", token))[0] != 200:
                pass
        received = b""
        with suppress(ConnectionError):
            while chunk := await reader.read(1_000_000):
                received += chunk
        assert not received.endswith(b"0\r\n\r\n")
        writer.close()


async def test_an_export_that_fails_on_the_way_ends_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path, api__exports_max="1") as server:
        ops = server.token("ops_1", "ops")
        await _fill(server, *(_old(f"{n:05}", placed_at=NOW + n) for n in range(500)))
        whole_page = SqlListings.orders

        async def failing(self: SqlListings, tenant: TenantId, wanted: ListFilter, **more: Any) -> Any:
            if more["before"] is not None:
                raise OSError("the disk is gone")
            return await whole_page(self, tenant, wanted, **more)

        listing: Any = server.app.house.api.route("order_list").handler.__self__._listing  # type: ignore[union-attr]
        broken = failing.__get__(listing.read.__self__)
        object.__setattr__(listing, "read", broken)
        with pytest.raises(aiohttp.ClientError):
            await server.call("GET", "/v1/orders?format=csv", ops)
        status, _, _ = await server.call("GET", "/v1/orders?format=csv&limit=1", ops)
        assert status == 200
