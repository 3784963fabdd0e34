"""Zones of a city and services, over HTTP on a real server."""

import json
from pathlib import Path
from typing import Any

from tests.integration.served import CITY, LAT, LNG, order, served

RECORD = {"name": "W", "cities": [CITY], "verified": True, "skills": ["massage"]}
PATH = "/v1/technicians/tec_1"


def square(kind: str, area_id: str, side_deg: float) -> dict[str, Any]:
    """A square around the place of the orders."""
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
    ring = [[LNG + side_deg * east / 2, LAT + side_deg * north / 2] for east, north in corners]
    return {
        "type": "Feature",
        "properties": {"kind": kind, "id": area_id},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


def with_zones(folder: Path) -> dict[str, str]:
    """A city with two zones, of which the smaller one holds the orders' place."""
    far = square("zone", "harbour", 0.02)
    far["geometry"]["coordinates"][0] = [[x + 0.1, y] for x, y in far["geometry"]["coordinates"][0]]
    features = [square("city", CITY, 0.5), square("zone", "centre", 0.02), far]
    path = folder / "city.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return {"cities": f"[{{tenant: demo, city: {CITY}, boundary_file: {path}}}]"}


async def test_a_technician_is_asked_within_their_zones_and_services_and_explain_says_why_not(tmp_path: Path) -> None:
    settings = with_zones(tmp_path)
    async with served(tmp_path, **settings) as server:
        service, ops, anna = (
            server.token("s", "service"),
            server.token("ops_1", "ops"),
            server.token("cus_1", "customer"),
        )
        await server.technician()
        limits = {"zones": {CITY: ["harbour", "harbour"]}, "services": ["massage"]}
        status, body, _ = await server.call("PUT", PATH, service, RECORD | limits)
        assert (status, body["zones"], body["services"]) == (200, {CITY: ["harbour"]}, ["massage"])
        status, placed, _ = await server.call("POST", "/v1/orders", anna, order())
        assert (status, placed["zone"]) == (201, "centre")
        path = f"/v1/orders/{placed['order']}"
        _, told, _ = await server.call("GET", f"{path}/explain", ops)
        assert [(who["technician"], who["reason"]) for who in told["rounds"][0]["excluded"]] == [("tec_1", "zone")]
        point = f"lat={LAT}&lng={LNG}"
        assert (await server.call("GET", f"/v1/technicians/nearby?{point}", anna))[1] == {"cards": []}
        give = {"technician": "tec_1", "reason": "they know"}
        refused = await server.call("POST", f"{path}/assign", ops, give)
        assert (refused[0], refused[1]["code"]) == (409, "filter_failed")
        await server.call("PUT", PATH, service, RECORD | limits | {"services": ["nails"]})
        refused = await server.call("POST", f"{path}/assign", ops, give | {"override": ["zone"]})
        assert (refused[0], refused[1]["code"]) == (409, "filter_holds")
    async with served(tmp_path, **settings) as server:
        own = server.token("tec_1", "technician")
        status, body, _ = await server.call("GET", PATH, own)
        assert (status, body["zones"], body["services"]) == (200, {CITY: ["harbour"]}, ["nails"])
        status, body, _ = await server.call("GET", path, server.token("cus_1", "customer"))
        assert body["zone"] == "centre"


async def test_zones_that_the_city_does_not_have_are_refused_by_field(tmp_path: Path) -> None:
    async with served(tmp_path, **with_zones(tmp_path)) as server:
        service = server.token("s", "service")
        bad = await server.call("PUT", PATH, service, RECORD | {"zones": {CITY: ["moon"]}})
        assert (bad[0], bad[1]["code"], bad[1]["field"]) == (422, "zone_unknown", f"zones.{CITY}")
        bad = await server.call("PUT", PATH, service, RECORD | {"zones": {"elsewhere": ["centre"]}})
        assert (bad[0], bad[1]["code"], bad[1]["field"]) == (422, "invalid", "zones")
        bad = await server.call("PUT", PATH, service, RECORD | {"zones": {CITY: []}})
        assert (bad[0], bad[1]["code"]) == (422, "invalid")
