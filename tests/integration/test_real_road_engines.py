"""The adapters against real engines with the roads of Liechtenstein.

``osrm-extract``, ``osrm-contract`` and ``osrm-routed`` come with the wheel ``osrm-bindings``,
``valhalla_build_tiles`` and ``valhalla_service`` with ``pyvalhalla`` (both for CPython 3.12 and later, so they are not
among the test dependencies; the programs run anywhere once unzipped).
``DOORSTEP_OSRM`` names the folder ``osrm`` of the unzipped wheel, ``DOORSTEP_VALHALLA`` the folder ``valhalla``, and
``DOORSTEP_DATA`` the folder that holds ``osm/liechtenstein-latest.osm.pbf``. Skipped where an engine is not named:
the same answers are tested with ``tests/road_server.py`` everywhere.
"""

import asyncio
import json
import os
import runpy
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from geo.arrays import FloatArray
from geo.distance import haversine_m
from geo.point import Frame, LatLng
from geo.settings import RoadEngineSettings, TravelSettings
from geo.travel_time import EstimateTravelTimes, TravelMode
from server.system import SystemClock
from tests.needs import real_data
from transport.osrm import OsrmDialect
from transport.road_engine import Dialect, RoadTravelTimes
from transport.valhalla import ValhallaDialect

pytestmark = pytest.mark.slow
ROADS = "osm/liechtenstein-latest.osm.pbf"
NOW = 1_700_000_000.0
TRAVEL = TravelSettings(default_mode="car")
VADUZ, SCHAAN, BALZERS = LatLng(47.1410, 9.5215), LatLng(47.1650, 9.5090), LatLng(47.0680, 9.5030)


def folder(variable: str) -> Path:
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"{variable} names no engine: it cannot be installed as a package for this Python")
    return Path(named)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(command: list[str], port: int, log: Path) -> Iterator[str]:
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None, log.read_text()
                process_wait(process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def process_wait(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(0.05)
    except subprocess.TimeoutExpired:
        return


@pytest.fixture(scope="module")
def osrm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = folder("DOORSTEP_OSRM")
    work = tmp_path_factory.mktemp("osrm")
    shutil.copy(real_data(ROADS)[0], work / "roads.osm.pbf")
    profile = home / "share" / "profiles" / "car.lua"
    for command in (["osrm-extract", "-p", str(profile), "roads.osm.pbf"], ["osrm-contract", "roads.osrm"]):
        program = str(home / "bin" / command[0])
        subprocess.run([program, *command[1:]], cwd=work, check=True, capture_output=True)
    port = free_port()
    command = [str(home / "bin" / "osrm-routed"), "-i", "127.0.0.1", "-p", str(port), str(work / "roads.osrm")]
    with serving(command, port, work / "log") as url:
        yield url


@pytest.fixture(scope="module")
def valhalla(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = folder("DOORSTEP_VALHALLA")
    work = tmp_path_factory.mktemp("valhalla")
    port = free_port()
    arguments = ["config", "--mjolnir-tile-dir", str(work / "tiles"), "--mjolnir-concurrency", "1"]
    arguments += ["--httpd-service-listen", f"tcp://127.0.0.1:{port}"]
    with (
        patch.object(sys, "argv", arguments),
        (work / "config.json").open("w") as out,
        patch.object(sys, "stdout", out),
    ):
        runpy.run_path(str(home / "valhalla_build_config.py"), run_name="__main__")
    text = (work / "config.json").read_text().replace("ipc:///tmp/", f"ipc://{work}/")
    assert json.loads(text)["httpd"]["service"]["listen"].endswith(str(port))
    (work / "config.json").write_text(text)
    build = [str(home / "bin" / "valhalla_build_tiles"), "-c", str(work / "config.json"), str(real_data(ROADS)[0])]
    subprocess.run(build, check=True, capture_output=True)
    command = [str(home / "bin" / "valhalla_service"), str(work / "config.json"), "1"]
    with serving(command, port, work / "log") as url:
        yield url


@asynccontextmanager
async def asking(dialect: Dialect, url: str) -> AsyncIterator[RoadTravelTimes]:
    roads = RoadTravelTimes(
        dialect,
        EstimateTravelTimes(UTC, TRAVEL),
        settings=RoadEngineSettings(url=url, timeout_s=5.0),
        travel=TRAVEL,
        frame=Frame.WGS84,
        clock=SystemClock(),
    )
    try:
        yield roads
    finally:
        await roads.stop()


def around(n: int, seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    return np.stack([47.13 + rng.random(n) * 0.05, 9.505 + rng.random(n) * 0.02], axis=1)


async def check(dialect: Dialect, url: str) -> None:
    async with asking(dialect, url) as roads:
        await until_it_answers(roads)
        few = await roads.table([VADUZ, SCHAAN], [VADUZ, BALZERS], NOW)
        many = await roads.table(around(80, 1), around(70, 2), NOW)
        for seed in range(60):  # small tables, in which a single odd way is a large part
            await roads.table(around(1 + seed % 10, seed), around(1 + seed % 3, 100 + seed), NOW)
        assert roads.counts.get("answered", 0) >= 62
        assert "lie" not in roads.counts
        abroad = await roads.table([VADUZ], [LatLng(22.54, 114.05)], NOW)
    assert few.source == dialect.name
    assert few.duration_s[0, 0] == TRAVEL.setup_s
    # 9 km of road take 8 to 15 minutes by car; through all the towns rather more than the motorway's 5.
    assert 480 < few.duration_s[0, 1] - TRAVEL.setup_s < 1_200
    assert 8_000 < few.distance_m[0, 1] < 12_000
    origins, goals = around(80, 1), around(70, 2)
    direct_m = haversine_m(origins[:, 0:1], origins[:, 1:2], goals[:, 0], goals[:, 1])
    assert many.source == dialect.name
    assert many.duration_s.shape == (80, 70)
    assert np.median(many.distance_m / direct_m) == pytest.approx(1.4, abs=0.3)
    assert abroad.source == "estimate"
    assert abroad.instead_of


async def until_it_answers(roads: RoadTravelTimes) -> None:
    for _ in range(50):
        if not (await roads.table([VADUZ], [SCHAAN], NOW)).instead_of:
            return
        await asyncio.sleep(0.1)


async def test_osrm(osrm: str) -> None:
    await check(OsrmDialect("driving", TravelMode.CAR), osrm)


async def test_valhalla(valhalla: str) -> None:
    await check(ValhallaDialect(TRAVEL), valhalla)


async def test_valhalla_knows_how_people_walk_and_ride(valhalla: str) -> None:
    async with asking(ValhallaDialect(TRAVEL), valhalla) as roads:
        await until_it_answers(roads)
        tables = {mode: await roads.table([VADUZ], [SCHAAN], NOW, mode) for mode in TravelMode}
    assert tables.pop(TravelMode.TRANSIT).instead_of == "valhalla: knows no ways by transit"
    assert {table.source for table in tables.values()} == {"valhalla"}
    walk, ebike, car = (tables[mode].duration_s[0, 0] for mode in (TravelMode.WALK, TravelMode.EBIKE, TravelMode.CAR))
    assert walk > 2 * ebike > ebike > car
