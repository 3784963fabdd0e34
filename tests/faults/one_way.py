"""A TCP relay on this machine of which either direction can be cut and healed: bytes wait, nobody is told."""

import asyncio
from types import TracebackType
from typing import Literal, Self

Way = Literal["up", "down"]


class OneWay:
    """Relays to ``port``; use as ``async with``. ``up`` is towards the server."""

    def __init__(self, port: int) -> None:
        self._far_port = port
        self._open = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.heal()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    def cut(self, way: Way) -> None:
        """From now on nothing passes in this direction."""
        self._open[way].clear()

    def heal(self) -> None:
        """Everything passes again, also what waits."""
        for event in self._open.values():
            event.set()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far_port)
        self._writers += [writer, far_writer]
        loop = asyncio.get_running_loop()
        self._tasks.add(loop.create_task(self._pump(reader, far_writer, "up")))
        self._tasks.add(loop.create_task(self._pump(far_reader, writer, "down")))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        try:
            while data := await reader.read(65_536):
                await self._open[way].wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        await self._open[way].wait()
        writer.transport.abort()
