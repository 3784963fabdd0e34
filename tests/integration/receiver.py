"""A program outside: a real HTTP server on this machine that answers as it is told and keeps what it was sent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
from aiohttp import web


@dataclass
class Receiver:
    """``answer`` may be changed at any time; it gets the request's number, from 0."""

    url: str = ""
    port: int = 0
    answer: Callable[[int, web.Request], Awaitable[web.StreamResponse]] | None = None
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        nth = len(self.got)
        self.got.append((dict(request.headers), await request.read()))
        self.changed.set()
        return web.Response() if self.answer is None else await self.answer(nth, request)

    async def until(self, count: int, timeout_s: float = 15.0) -> None:
        """Wait for so many requests."""
        async with asyncio.timeout(timeout_s):
            while len(self.got) < count:
                self.changed.clear()
                await self.changed.wait()

    def events(self) -> list[tuple[str, str]]:
        """(type, id) of each request."""
        decoded = [msgspec.json.decode(body) for _, body in self.got]
        return [(event["type"], event["id"]) for event in decoded]


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    receiver.port = runner.addresses[0][1]
    receiver.url = f"http://127.0.0.1:{receiver.port}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()
