"""The client in ``clients/js``: its types, its own tests, and one whole session against a real server."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from doorstep_client.http import Api

from core.principal import Role
from sim.demo import BOUNDARY, CENTRE, CITY
from sim.local_server import LocalCity, LocalServer
from tests.needs import missing

HERE = Path(__file__).resolve().parent
CLIENT = HERE.parents[1] / "clients" / "js"
USER = "tec_js"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(170)]


def node() -> str:
    return shutil.which("node") or missing("node is not installed; `make test` installs it where it can")


def package(name: str) -> Path:
    found = HERE / "node_modules" / name
    if not found.is_dir():
        missing("`npm ci` was not run in tests/interop; `make test` does it")
    return found


async def run(*command: str, stdin: str = "") -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=HERE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(150):
        output, _ = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_the_types_hold_without_a_build() -> None:
    code, output = await run(node(), str(package("typescript") / "bin" / "tsc"), "-p", "js")
    assert code == 0, output


async def test_a_wrong_type_would_be_found(tmp_path: Path) -> None:
    index = (CLIENT / "index.js").as_posix()
    (tmp_path / "wrong.js").write_text(f'import {{ Client }} from "{index}";\nnew Client({{ url: 7 }});\n', "utf-8")
    config = {"extends": str(HERE / "js" / "tsconfig.json"), "include": ["*.js"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(config), "utf-8")
    code, output = await run(node(), str(package("typescript") / "bin" / "tsc"), "-p", str(tmp_path))
    assert code != 0
    assert "wrong.js" in output


async def test_its_own_tests_pass() -> None:
    package("fake-indexeddb")
    tests = sorted(str(path) for path in (HERE / "js").glob("*.test.mjs"))
    assert tests
    code, output = await run(node(), "--test", *tests)
    assert code == 0, output


async def test_the_readme_names_every_file() -> None:
    text = (CLIENT / "README.md").read_text("utf-8")
    assert [path.name for path in CLIENT.glob("*.js") if f"`{path.name}`" not in text] == []


@pytest.fixture
async def served() -> AsyncIterator[tuple[LocalServer, Api]]:
    with LocalServer([LocalCity(CITY, BOUNDARY)], {"realtime": {"positions": {"ack_idle_s": 0.2}}}) as server:
        async with Api(server.http_url, server.token("svc", Role.SERVICE)) as api:
            body = {"name": "I", "cities": [CITY], "skills": [USER], "verified": True}
            await api.call("PUT", f"/v1/technicians/{USER}", body)
            yield server, api


async def place_order(api: Api) -> str:
    lat, lng = CENTRE
    body = {
        "customer": "cus_js",
        "service": "massage-60",
        "skills": [USER],
        "duration_s": 3600,
        "location": {"lat": lat + 0.003, "lng": lng, "address": "1 Fuhua Road"},
        "contact": {"name": "C", "phone": "13800000000"},
        "mode": "auto",
        "price": {"service_fen": 100, "travel_fen": 0},
    }
    return str((await api.call("POST", "/v1/orders", body, idempotency_key="order-js"))["order"])


async def test_a_session_with_a_cut_against_a_real_server(served: tuple[LocalServer, Api]) -> None:
    package("ws")
    server, api = served
    lat, lng = CENTRE
    config = {
        "hub_url": server.hub_url,
        "http_url": server.http_url,
        "device": "interop-js",
        "secret": server.token(USER, Role.TECHNICIAN),
        "city": CITY,
        "lat": lat,
        "lng": lng,
    }
    process = await asyncio.create_subprocess_exec(
        node(), "js/real_session.mjs", cwd=HERE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(config).encode())
    process.stdin.close()
    try:
        async with asyncio.timeout(60):
            assert (await process.stdout.readline()).decode().strip() == "on duty"
            order = await place_order(api)
            result: dict[str, Any] = json.loads(await process.stdout.readline())
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert result["user"] == USER
    assert result["clock_off_s"] < 1
    assert result["unknown"] == "unknown_type"
    assert result["verdicts"] == {"live": 1}
    assert result["order"] == order
    assert result["streams"]["main"]["how"] == "replayed"
    assert result["durable"] is True
    ops = server.token("ops_interop", Role.OPS)
    for incident in {result["incident"], result["over_http"]}:
        assert (await api.call("GET", f"/v1/incidents/{incident}", token=ops))["subject"] == USER
