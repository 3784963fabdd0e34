"""Pages on a real server: what is sent, what is not, and what a browser may do there."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.integration.served import Served, served
from web.files import shipped_files

pytestmark = pytest.mark.slow
PAGES = {"/app/": "app", "/order/": "order", "/console/": "console", "/t/some-token": "arrival"}


def policy(text: str) -> dict[str, list[str]]:
    return {name: values for name, *values in (part.split() for part in text.split(";"))}


async def raw(server: Served, path: str, **headers: str) -> tuple[int, bytes, Mapping[str, str]]:
    headers = {"Accept-Encoding": "identity", **headers}
    async with server.http.get(path, headers=headers, allow_redirects=False, auto_decompress=False) as answer:
        return answer.status, await answer.read(), answer.headers


async def test_every_page_comes_with_a_policy_that_lets_it_load_its_own_files_only(tmp_path: Path) -> None:
    async with served(tmp_path, web__tile_url="https://tiles.example.com:8443/{z}/{x}/{y}.png") as server:
        for path, name in PAGES.items():
            status, body, headers = await raw(server, path)
            assert status == 200
            assert f'data-page="{name}"'.encode() in body
            rules = policy(headers["Content-Security-Policy"])
            tiles, hub = "https://tiles.example.com:8443", server.app.hub_url.removesuffix("/ws")
            assert rules["default-src"] == rules["frame-ancestors"] == rules["form-action"] == ["'none'"]
            assert rules["script-src"] == rules["style-src"] == ["'self'"]
            assert rules["connect-src"] == ["'self'", hub, tiles]
            assert rules["img-src"] == ["'self'", "data:", "blob:", tiles]
            assert "unsafe" not in headers["Content-Security-Policy"]
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert "geolocation=(self)" in headers["Permissions-Policy"]
            assert ("X-Robots-Tag" in headers) == (name == "arrival")
            assert "Set-Cookie" not in headers


async def test_a_file_is_sent_once_and_packed_for_whoever_can_unpack_it(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        status, plain, headers = await raw(server, "/assets/maplibre/maplibre-gl.js", **{"Accept-Encoding": "identity"})
        assert (status, headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
        assert b"MapLibre GL JS" in plain[:200]
        status, packed, headers = await raw(
            server, "/assets/maplibre/maplibre-gl.js", **{"Accept-Encoding": "br, gzip"}
        )
        assert headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed) == plain
        assert len(packed) < len(plain) / 3
        status, body, again = await raw(
            server, "/assets/maplibre/maplibre-gl.js", **{"Accept-Encoding": "gzip", "If-None-Match": headers["ETag"]}
        )
        assert (status, body, again["ETag"]) == (304, b"", headers["ETag"])
        status, _, headers = await raw(server, "/assets/base.css", **{"Accept-Encoding": "gzip;q=0"})
        assert "Content-Encoding" not in headers
        assert headers["Vary"] == "Accept-Encoding"
        assert (await raw(server, "/assets/client/index.js"))[0] == 200


async def test_what_is_not_a_file_of_a_page_is_not_there(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        for path in (
            "/app/none.js", "/app/index.html", "/app/../page.py", "/app/%2e%2e/page.py", "/app/..%2fpage.py",
            "/assets/../files.py", "/assets/%2e%2e%2ffiles.py", "/assets//base.css",
            "/assets/client/../../web/files.py",
            "/assets/maplibre/ipywidget.js", "/assets/maplibre/../__init__.py", "/console/%00", "/t/", "/t/a/b",
        ):  # fmt: skip
            assert (await raw(server, path))[0] == 404, path
        for path in ("/app", "/order", "/console"):
            status, _, headers = await raw(server, path)
            assert (status, headers["Location"]) == (308, f"{path}/")
        assert (await server.call("POST", "/app/", None, {}))[0] == 405


async def test_pages_learn_where_everything_is_and_nothing_of_whose(tmp_path: Path) -> None:
    tiles = {"web__tile_url": "https://t.example/{z}/{x}/{y}.png", "web__tile_crs": "gcj02", "web__locale": "zh-CN"}
    async with served(tmp_path, **tiles) as server:
        told = (await server.call("GET", "/config.json"))[1]
        assert told["hub_url"] == server.app.hub_url
        assert (told["locale"], told["emergency_number"]) == ("zh-CN", "110")
        assert (told["tiles"]["crs"], told["tiles"]["zoom_max"]) == ("gcj02", 18)
        (city,) = told["cities"]
        assert (city["city"], city["timezone"]) == ("shenzhen", "Asia/Shanghai")
        west, south, east, north = city["bbox"]
        assert west < 114.06 < east
        assert south < 22.54 < north
        assert "demo" not in json.dumps(told)


async def test_a_city_is_drawn_for_whoever_belongs_there(tmp_path: Path) -> None:
    square = [[113.9, 22.4], [114.2, 22.4], [114.2, 22.7], [113.9, 22.7], [113.9, 22.4]]
    inner = [[114.0, 22.5], [114.1, 22.5], [114.1, 22.6], [114.0, 22.6], [114.0, 22.5]]

    def feature(kind: str, ring: list[list[float]]) -> dict[str, object]:
        properties = {"kind": kind, "id": "shenzhen" if kind == "city" else f"{kind}-1", "name": kind}
        geometry = {"type": "Polygon", "coordinates": [ring]}
        return {"type": "Feature", "properties": properties, "geometry": geometry}

    document = {"type": "FeatureCollection", "features": [
        feature("city", square), feature("district", inner), feature("zone", inner),
    ]}  # fmt: skip
    (tmp_path / "city.geojson").write_text(json.dumps(document))
    cities = json.dumps([{"tenant": "demo", "city": "shenzhen", "boundary_file": str(tmp_path / "city.geojson")}])
    async with served(tmp_path, cities=cities) as server:
        kinds = {}
        for role in ("customer", "technician", "ops", "responder"):
            token = server.token(f"{role}_1", role)
            status, body, headers = await server.call("GET", "/v1/map/shenzhen", token)
            assert status == 200
            kinds[role] = [f["properties"]["kind"] for f in body["features"]]
            known = {"Authorization": f"Bearer {token}", "If-None-Match": headers["ETag"]}
            assert (await raw(server, "/v1/map/shenzhen", **known))[:2] == (304, b"")
        assert kinds["technician"] == kinds["ops"] == ["boundary", "district", "zone"]
        assert kinds["customer"] == kinds["responder"] == ["boundary", "district"]
        assert (await server.call("GET", "/v1/map/shenzhen", server.token("o", "ops", cities=())))[0] == 404
        far = server.token("cus_1", "customer", cities=("beijing",))
        assert (await server.call("GET", "/v1/map/shenzhen", far))[0] == 404
        other = server.token("cus_1", "customer", tenant="other")
        assert (await server.call("GET", "/v1/map/shenzhen", other))[0] == 404


async def test_files_are_read_anew_only_for_who_writes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("app", "arrival", "order", "console", "assets", "client"):
        (tmp_path / "web" / folder).mkdir(parents=True)
    page = tmp_path / "web" / "app" / "index.html"
    monkeypatch.setattr("web.files._HERE", tmp_path / "web")
    monkeypatch.setattr("web.files._CLIENT", tmp_path / "web" / "client")
    for reload, seen in (("true", b"two"), ("false", b"one")):
        page.write_bytes(b"one")
        shipped_files.cache_clear()
        shipped_files()
        async with served(tmp_path, web__reload=reload) as server:
            page.write_bytes(b"two")
            assert (await raw(server, "/app/"))[1] == seen
    shipped_files.cache_clear()
