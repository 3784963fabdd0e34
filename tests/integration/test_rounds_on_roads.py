"""A whole server whose rounds ask a road engine over a socket."""

from pathlib import Path

import pytest

from core.ids import CityId, OrderId, TenantId
from dispatch import rounds
from tests import road_server
from tests.integration.served import CITY, Served, order, served

pytestmark = pytest.mark.slow


async def ways_from(server: Served, offered: str) -> str:
    part = server.app.house.cities.require(TenantId("demo"), CityId(CITY))
    stored = await part.dispatch._store.rounds(TenantId("demo"), OrderId(offered))
    return rounds.decode(stored[-1].inputs).ways_from


async def test_an_offer_comes_by_the_road_and_by_the_estimate_when_the_engine_is_gone(tmp_path: Path) -> None:
    async with road_server.running() as roads:
        config = {"travel__engine__use": "valhalla", "travel__engine__url": roads.url}
        async with served(tmp_path, **config) as server:
            first, second = await server.technician(), await server.technician("tec_2", 22.558)
            token = server.token("cus_1", "customer")
            status, near, _ = await server.call("POST", "/v1/orders", token, order())
            assert status == 201, near
            offer = await first.until("offer")
            assert roads.shapes == [(2, 1)]
            assert server.app.roads.tables() == {("answered",): 1.0}
            assert await ways_from(server, offer["order"]) == "valhalla"
            roads.delay_s = 5.0
            status, far, _ = await server.call("POST", "/v1/orders", token, order())
            assert status == 201, far
            offer = await second.until("offer")
            assert await ways_from(server, offer["order"]) == "estimate (valhalla: no answer in 0.3 s)"
