"""A road engine for tests: speaks OSRM's and Valhalla's table protocols as their documents show them, or misbehaves.

Its roads run along the great circle at ``MPS`` with a detour of ``DETOUR``, so that every answer can be foretold.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web

from geo.distance import distance_m
from geo.point import LatLng

MPS: Final = 8.0
DETOUR: Final = 1.3
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RoadServer:
    """What it was asked, and how it answers.

    Attributes:
        url: Where it listens.
        shapes: Origins and destinations of each request.
        change: Applied to the answer's object before it is sent.
        answer: In place of everything, when set.
        busiest: Most requests that were open at the same time.
    """

    def __init__(self) -> None:
        self.url = ""
        self.shapes: list[tuple[int, int]] = []
        self.places: list[LatLng] = []
        self.change: Callable[[dict[str, Any]], object] = lambda answer: None
        self.answer: Answer | None = None
        self.delay_s = 0.0
        self.busiest = 0
        self._open = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self._open += 1
        self.busiest = max(self.busiest, self._open)
        try:
            await asyncio.sleep(self.delay_s)
            if self.answer is not None:
                self.shapes.append((0, 0))
                return await self.answer(request)
            answer = self._osrm(request) if request.method == "GET" else self._valhalla(await request.json())
            self.change(answer)
            return web.Response(body=json.dumps(answer).encode(), content_type="application/json")
        finally:
            self._open -= 1

    def _osrm(self, request: web.Request) -> dict[str, Any]:
        pairs = [pair.split(",") for pair in request.path.removeprefix("/table/v1/driving/").split(";")]
        places = [LatLng(float(lat), float(lng)) for lng, lat in pairs]
        chosen = [[places[int(i)] for i in request.query[side].split(";")] for side in ("sources", "destinations")]
        seconds, metres = self._tables(*chosen)
        return {"code": "Ok", "durations": seconds, "distances": metres}

    def _valhalla(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert asked["verbose"] is False
        chosen = [[LatLng(place["lat"], place["lon"]) for place in asked[side]] for side in ("sources", "targets")]
        seconds, metres = self._tables(*chosen)
        km = [[round(cell / 1_000, 3) for cell in row] for row in metres]
        return {"sources_to_targets": {"durations": seconds, "distances": km}, "units": "kilometers"}

    def _tables(self, origins: list[LatLng], goals: list[LatLng]) -> tuple[list[list[float]], list[list[float]]]:
        self.shapes.append((len(origins), len(goals)))
        self.places += origins
        metres = [[distance_m(a, b) * DETOUR for b in goals] for a in origins]
        return [[round(cell / MPS, 1) for cell in row] for row in metres], metres


@asynccontextmanager
async def running() -> AsyncIterator[RoadServer]:
    """A server on a free port of loopback."""
    server = RoadServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        server.url = f"http://{host}:{port}"
        yield server
    finally:
        await runner.cleanup()
