"""A TCP relay on this machine that treats each connection as a bad network would, by a plan drawn from a seed."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

Way = Literal["up", "down"]
WAYS: tuple[Way, ...] = ("up", "down")


@dataclass(frozen=True)
class Fate:
    """What becomes of one connection. ``up`` is towards the server; bytes count from the handshake's first.

    Attributes:
        cut_at: After so many bytes of that way both ends are reset.
        hole_at: After so many bytes of that way nothing passes for ``hole_s``; what was held comes late, also when
            the sender has long gone and speaks over another connection.
        half_open_s: The end of one side is told to the other so much later.
        chunk_bytes: Bytes in one piece; with ``delay_s`` before each.
    """

    cut_at: tuple[Way, int] | None = None
    hole_at: tuple[Way, int] | None = None
    hole_s: float = 0.0
    half_open_s: float = 0.0
    chunk_bytes: int = 65_536
    delay_s: float = 0.0


CLEAN = Fate()


def fates(rng: random.Random, number: int) -> list[Fate]:
    """Plans of the first connections of a client."""
    return [_fate(rng) for _ in range(number)]


def _fate(rng: random.Random) -> Fate:
    way = rng.choice(WAYS)
    # Handshake and hello are some 700 bytes: half of the faults fall into them, the others behind.
    at = rng.choice((rng.randrange(1, 900), rng.randrange(300, 6_000)))
    chunk_bytes, delay_s = rng.choice(((65_536, 0.0), (65_536, 0.02), (rng.randrange(1, 60), 0.001)))
    half_open_s = rng.choice((0.0, 0.0, 0.5, 3.0))
    kind = rng.choice(("cut", "cut", "hole", "hole", "slow"))
    if kind == "cut":
        return Fate(cut_at=(way, at), half_open_s=half_open_s, chunk_bytes=chunk_bytes, delay_s=delay_s)
    if kind == "hole":
        hole_s = rng.choice((0.2, 1.5, 4.0))
        return Fate(hole_at=(way, at), hole_s=hole_s, half_open_s=half_open_s, chunk_bytes=chunk_bytes, delay_s=delay_s)
    # In the end it is cut all the same: the next plan is to have its turn.
    return Fate(cut_at=(way, at), half_open_s=half_open_s, chunk_bytes=rng.randrange(1, 40), delay_s=0.001)


class FaultProxy:
    """Relays to ``port``; use as ``async with``. Connections beyond the plans are clean."""

    def __init__(self, port: int, plans: Sequence[Fate]) -> None:
        self._far_port = port
        self._plans = list(plans)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.connections = 0
        self.heals = asyncio.Event()
        """Set: no connection is treated badly any more, and what is held passes."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
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

    def plan(self, fate: Fate) -> None:
        """What becomes of the next connection without a plan."""
        self._plans.append(fate)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fate = CLEAN if self.heals.is_set() or not self._plans else self._plans.pop(0)
        self.connections += 1
        self._writers.append(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers.append(far_writer)
        pair = (writer, far_writer)
        loop = asyncio.get_running_loop()
        self._tasks.add(loop.create_task(self._pump(reader, far_writer, "up", fate, pair)))
        self._tasks.add(loop.create_task(self._pump(far_reader, writer, "down", fate, pair)))

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        way: Way,
        fate: Fate,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        cut_at = fate.cut_at[1] if fate.cut_at is not None and fate.cut_at[0] == way else None
        hole_at = fate.hole_at[1] if fate.hole_at is not None and fate.hole_at[0] == way else None
        passed = 0
        with suppress(ConnectionError):
            while data := await reader.read(65_536 if self.heals.is_set() else fate.chunk_bytes):
                if fate.delay_s and not self.heals.is_set():
                    await asyncio.sleep(fate.delay_s)
                if cut_at is not None and passed + len(data) >= cut_at:
                    writer.write(data[: cut_at - passed])
                    await asyncio.sleep(0)
                    for end in pair:
                        end.transport.abort()
                    return
                if hole_at is not None and passed + len(data) >= hole_at:
                    writer.write(data[: hole_at - passed])
                    await self._wait(fate.hole_s)
                    data, passed, hole_at = data[hole_at - passed :], hole_at, None
                passed += len(data)
                writer.write(data)
                await writer.drain()
        await self._wait(fate.half_open_s)
        writer.close()

    async def _wait(self, limit_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self.heals.wait()
