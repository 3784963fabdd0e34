"""Travel tables over real sockets: engines that answer, and engines that are dead, slow, or lie."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from geo.arrays import FloatArray
from geo.distance import haversine_m
from geo.frames import convert_point
from geo.point import Frame, LatLng
from geo.settings import RoadEngine, RoadEngineSettings, TravelSettings
from geo.travel_time import EstimateTravelTimes, TravelMode, TravelTable
from server.system import SystemClock
from tests import road_server
from tests.road_server import DETOUR, MPS, RoadServer
from transport.osrm import OsrmDialect
from transport.road_engine import RoadTravelTimes
from transport.valhalla import ValhallaDialect

TRAVEL = TravelSettings(default_mode="car")
SETTINGS = RoadEngineSettings(timeout_s=0.4)
NOW = 1_700_000_000.0
ENGINES = (RoadEngine.OSRM, RoadEngine.VALHALLA)


class FakeClock:
    """Only ``monotonic`` counts here."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return self.at


def places(n: int, seed: int = 1) -> FloatArray:
    rng = np.random.default_rng(seed)
    return np.stack([47.1 + rng.random(n) * 0.1, 9.5 + rng.random(n) * 0.1], axis=1)


@asynccontextmanager
async def travel_times(
    url: str,
    engine: RoadEngine = RoadEngine.OSRM,
    settings: RoadEngineSettings = SETTINGS,
    *,
    frame: Frame = Frame.WGS84,
    clock: FakeClock | None = None,
) -> AsyncIterator[RoadTravelTimes]:
    dialect = OsrmDialect("driving", TravelMode.CAR) if engine is RoadEngine.OSRM else ValhallaDialect(TRAVEL)
    found = RoadTravelTimes(
        dialect,
        EstimateTravelTimes(UTC, TRAVEL),
        settings=replace(settings, use=engine, url=url),
        travel=TRAVEL,
        frame=frame,
        clock=clock or SystemClock(),
    )
    try:
        yield found
    finally:
        await found.stop()


@pytest.fixture
async def server() -> AsyncIterator[RoadServer]:
    async with road_server.running() as found:
        yield found


def is_estimated(table: TravelTable, origins: FloatArray, goals: FloatArray) -> bool:
    expected = EstimateTravelTimes(UTC, TRAVEL).table_now(origins, goals, NOW)
    return table.source == "estimate" and bool((table.duration_s == expected.duration_s).all())


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_table_comes_from_the_engine_with_the_time_to_set_out(server: RoadServer, engine: RoadEngine) -> None:
    origins, goals = places(3), places(4, seed=2)
    async with travel_times(server.url, engine) as roads:
        table = await roads.table(origins, goals, NOW)
    direct_m = haversine_m(origins[:, 0:1], origins[:, 1:2], goals[:, 0], goals[:, 1])
    assert table.source == engine.value
    assert table.instead_of == ""
    assert table.duration_s == pytest.approx(direct_m * DETOUR / MPS + TRAVEL.setup_s, abs=0.2)
    assert table.distance_m == pytest.approx(direct_m * DETOUR, abs=1.0)
    assert roads.counts == {"answered": 1}


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_large_table_is_split_and_put_together(server: RoadServer, engine: RoadEngine) -> None:
    origins, goals = places(23), places(11, seed=2)
    async with travel_times(server.url, engine, replace(SETTINGS, block_len_max=5, requests_max=3)) as roads:
        table = await roads.table(origins, goals, NOW)
    direct_m = haversine_m(origins[:, 0:1], origins[:, 1:2], goals[:, 0], goals[:, 1])
    assert table.duration_s == pytest.approx(direct_m * DETOUR / MPS + TRAVEL.setup_s, abs=0.2)
    assert len(server.shapes) == 15
    assert sum(n * m for n, m in server.shapes) == 23 * 11
    assert max(max(shape) for shape in server.shapes) <= 5
    assert server.busiest <= 3


async def test_a_table_beyond_the_bound_is_not_asked_for(server: RoadServer) -> None:
    async with travel_times(server.url, settings=replace(SETTINGS, pairs_max=11)) as roads:
        table = await roads.table(places(3), places(4), NOW)
    assert is_estimated(table, places(3), places(4))
    assert table.instead_of == "osrm: 3 x 4 is more than 11 pairs"
    assert server.shapes == []


async def test_an_empty_table_asks_nobody(server: RoadServer) -> None:
    async with travel_times(server.url) as roads:
        assert (await roads.table([], places(4), NOW)).duration_s.shape == (0, 4)
    assert server.shapes == []


async def test_the_engine_is_asked_in_its_own_frame(server: RoadServer) -> None:
    here = LatLng(22.54, 114.05)
    async with travel_times(server.url, frame=Frame.GCJ02) as roads:
        await roads.table([here], [here], NOW)
    assert server.places[0] == pytest.approx(convert_point(here, Frame.GCJ02, Frame.WGS84), abs=1e-6)


async def test_a_pair_without_a_way_is_estimated_alone(server: RoadServer) -> None:
    def one_missing(answer: dict[str, Any]) -> None:
        answer["durations"][0][1] = answer["distances"][0][1] = None

    server.change = one_missing
    origins, goals = places(2), places(3, seed=2)
    async with travel_times(server.url) as roads:
        table = await roads.table(origins, goals, NOW)
    estimate = EstimateTravelTimes(UTC, TRAVEL).table_now(origins, goals, NOW)
    assert table.source == "osrm"
    assert table.detail == "ways of the road map; 1 without one estimated"
    assert table.duration_s[0, 1] == estimate.duration_s[0, 1]
    assert (table.duration_s != estimate.duration_s).sum() == 5


async def test_another_mode_than_the_engines_is_estimated(server: RoadServer) -> None:
    async with travel_times(server.url) as roads:
        table = await roads.table(places(2), places(2), NOW, TravelMode.WALK)
    assert (table.source, table.instead_of) == ("estimate", "osrm: knows no ways by walk")
    assert server.shapes == []


def put(cell: object) -> Any:
    def change(answer: dict[str, Any]) -> None:
        rows = answer["durations"] if "durations" in answer else answer["sources_to_targets"]["durations"]
        rows[0][0] = cell

    return change


def all_cells(cell: object) -> Any:
    def change(answer: dict[str, Any]) -> None:
        rows = answer["durations"] if "durations" in answer else answer["sources_to_targets"]["durations"]
        rows[:] = [[cell] * len(row) for row in rows]

    return change


def each_cell(make: Callable[[int, int, float], float]) -> Any:
    def change(answer: dict[str, Any]) -> None:
        rows = answer["durations"] if "durations" in answer else answer["sources_to_targets"]["durations"]
        rows[:] = [[make(i, j, was) for j, was in enumerate(row)] for i, row in enumerate(rows)]

    return change


def lose_row(answer: dict[str, Any]) -> None:
    (answer["durations"] if "durations" in answer else answer["sources_to_targets"]["durations"]).pop()


def lose_column(answer: dict[str, Any]) -> None:
    for row in answer["durations"] if "durations" in answer else answer["sources_to_targets"]["durations"]:
        row.pop()


LIES = {
    "negative": put(-5.0),
    "NaN": put(float("nan")),
    "infinite": put(float("inf")),
    "text": put("12"),
    "a second for everything": all_cells(1.0),
    "a minute for everything": all_cells(60.0),
    "an hour for everything": all_cells(3_600.0),
    "hours and some noise": each_cell(lambda row, column, was: 40_000.0 + 17.0 * row + 31.0 * column),
    "near slow, far fast": each_cell(lambda row, column, was: 30_000.0 - was),
    "no way anywhere": all_cells(None),
    "a row too few": lose_row,
    "a column too few": lose_column,
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("change", LIES.values(), ids=LIES)
async def test_a_lie_is_not_believed(server: RoadServer, engine: RoadEngine, change: Any) -> None:
    server.change = change
    origins, goals = places(2), places(3, seed=9)
    async with travel_times(server.url, engine) as roads:
        table = await roads.table(origins, goals, NOW)
    assert is_estimated(table, origins, goals)
    assert table.instead_of.startswith(f"{engine.value}: ")
    assert roads.counts == {"lie": 1}


def a_street(n: int) -> FloatArray:
    """Technicians 330 m apart."""
    return np.stack([47.1 + 0.003 * np.arange(1, n + 1), np.full(n, 9.5)], axis=1)


SLOW = {
    "an hour and noise": each_cell(lambda row, column, was: 3_300.0 + (37 * row + 11) % 60),
    "near slow, far fast": each_cell(lambda row, column, was: max(3_500.0 - 3.0 * was, 10.0)),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("change", SLOW.values(), ids=SLOW)
async def test_an_hour_for_a_few_streets_is_not_believed_and_the_engine_is_left_alone(
    server: RoadServer, engine: RoadEngine, change: Any
) -> None:
    server.change = change
    origins, goals = a_street(3), np.array([[47.1, 9.5]])
    async with travel_times(server.url, engine, replace(SETTINGS, failures_max=2)) as roads:
        tables = [await roads.table(origins, goals, NOW) for _ in range(3)]
    assert all(is_estimated(table, origins, goals) for table in tables)
    assert tables[0].instead_of == f"{engine.value}: is more than 6 times as slow as the estimate"
    assert roads.counts == {"lie": 2, "resting": 1}


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_single_way_that_takes_a_day_is_estimated_alone_and_told(
    server: RoadServer, engine: RoadEngine
) -> None:
    server.change = put(86_400.0)
    origins, goals = places(2), places(3, seed=9)
    async with travel_times(server.url, engine) as roads:
        table = await roads.table(origins, goals, NOW)
    estimate = EstimateTravelTimes(UTC, TRAVEL).table_now(origins, goals, NOW)
    assert table.source == engine.value
    assert table.instead_of == "1 of 6 ways estimated: too slow to be believed"
    assert (table.duration_s == estimate.duration_s).ravel().tolist() == [True] + [False] * 5
    assert roads.counts == {"answered": 1}


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_river_is_believed(server: RoadServer, engine: RoadEngine) -> None:
    def by_the_bridge(answer: dict[str, Any]) -> None:
        each_cell(lambda row, column, was: 720.0 + 40.0 * row)(answer)
        metres = answer["distances"] if "distances" in answer else answer["sources_to_targets"]["distances"]
        metres[:] = [[was + (4_000.0 if "distances" in answer else 4.0) for was in row] for row in metres]

    server.change = by_the_bridge
    async with travel_times(server.url, engine) as roads:
        table = await roads.table(a_street(3), [LatLng(47.1, 9.5)], NOW)
    assert (table.source, table.instead_of) == (engine.value, "")
    assert table.duration_s[:, 0] - TRAVEL.setup_s == pytest.approx([720.0, 760.0, 800.0])


async def test_one_block_that_lies_spoils_the_whole_table(server: RoadServer) -> None:
    def second(answer: dict[str, Any]) -> None:
        if len(server.shapes) == 2:
            answer["durations"][0][0] = -1.0

    server.change = second
    async with travel_times(server.url, settings=replace(SETTINGS, block_len_max=2)) as roads:
        table = await roads.table(places(4), places(4), NOW)
    assert is_estimated(table, places(4), places(4))


@pytest.mark.parametrize("delay_s", [5.0])
async def test_a_slow_engine_costs_the_time_limit_and_no_more(server: RoadServer, delay_s: float) -> None:
    server.delay_s = delay_s
    began = time.monotonic()
    async with travel_times(server.url) as roads:
        table = await roads.table(places(9), places(9), NOW)
        took_s = time.monotonic() - began
    assert is_estimated(table, places(9), places(9))
    assert table.instead_of == "osrm: no answer in 0.4 s"
    assert SETTINGS.timeout_s <= took_s < 2 * SETTINGS.timeout_s


async def test_an_engine_that_drips_its_body_costs_the_time_limit(server: RoadServer) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b" ")
            await asyncio.sleep(0.05)
        return response

    server.answer = drip
    began = time.monotonic()
    async with travel_times(server.url) as roads:
        table = await roads.table(places(2), places(2), NOW)
        took_s = time.monotonic() - began
    assert is_estimated(table, places(2), places(2))
    assert took_s < 2 * SETTINGS.timeout_s


async def test_a_dead_engine_is_told_at_once() -> None:
    async with road_server.running() as gone:
        url = gone.url
    began = time.monotonic()
    async with travel_times(url) as roads:
        table = await roads.table(places(2), places(2), NOW)
        took_s = time.monotonic() - began
    assert is_estimated(table, places(2), places(2))
    assert table.instead_of.startswith("osrm: cannot be reached: ")
    assert took_s < SETTINGS.timeout_s


async def test_an_endless_body_is_cut_off(server: RoadServer) -> None:
    sent = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(10_000):
            await response.write(b"[" * 65_536)
            sent += 65_536
        return response

    server.answer = flood
    async with travel_times(server.url, settings=replace(SETTINGS, timeout_s=5.0)) as roads:
        table = await roads.table(places(2), places(2), NOW)
    assert table.instead_of == "osrm: answered with more than 1048576 bytes"
    assert sent < 50_000_000


@pytest.mark.parametrize(("status", "outcome"), [(400, "refused"), (302, "failed"), (503, "failed")])
async def test_another_status_is_no_table(server: RoadServer, status: int, outcome: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text='{"code":"Ok","durations":[[1]]}', headers={"Location": server.url})

    server.answer = answer
    async with travel_times(server.url) as roads:
        table = await roads.table(places(2), places(2), NOW)
    assert table.instead_of == f"osrm: answered HTTP {status}"
    assert roads.counts == {outcome: 1}
    assert len(server.shapes) == 1  # a redirect is not followed


async def test_a_failing_engine_is_left_alone_and_tried_again(server: RoadServer) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    server.answer = broken
    clock = FakeClock()
    async with travel_times(server.url, settings=replace(SETTINGS, failures_max=3, rest_s=10.0), clock=clock) as roads:
        told = [(await roads.table(places(2), places(2), NOW)).instead_of for _ in range(5)]
        assert told == ["osrm: answered HTTP 500"] * 3 + ["osrm: failed lately and is left alone"] * 2
        assert len(server.shapes) == 3
        server.answer = None
        clock.at = 10.0
        assert (await roads.table(places(2), places(2), NOW)).source == "osrm"
        assert (await roads.table(places(2), places(2), NOW)).source == "osrm"
        assert roads.counts == {"failed": 3, "resting": 2, "answered": 2}


async def test_refusals_do_not_stop_the_asking(server: RoadServer) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=400)

    server.answer = refuse
    async with travel_times(server.url, settings=replace(SETTINGS, failures_max=1)) as roads:
        for _ in range(3):
            await roads.table(places(2), places(2), NOW)
    assert roads.counts == {"refused": 3}
