"""Resident memory of an idle WebSocket connection, with the listener in a process of its own.

    python -m bench.ws_memory [--connections 2000] [--loop uvloop]

Counted: the growth of the server's RSS between before the first and after the last connection, divided by their
number; so it holds the socket, picows's buffers, the connection and a send queue each, and nothing of the hub above
them. The kernel's own memory for sockets is not in RSS. Prints one JSON object.
"""

import argparse
import asyncio
import gc
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import uvloop

from core.errors import DoorstepError
from realtime.ports import Connection
from realtime.send_queue import SendQueue, SendQueueSettings
from transport.settings import WebSocketSettings
from transport.websocket import WebSocketListener

_REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: doorstep.v1.json\r\nUser-Agent: Doorstep/1.0 (Android 14; Pixel 8)\r\n\r\n"
)
_FRAME = b"\x81\xfe\x00\xc8\x00\x00\x00\x00" + b"x" * 200
"""A masked text frame of 200 bytes, about one ping."""


class Idle:
    """The least that a session is: a connection and its queue."""

    __slots__ = ("connection", "queue")

    def __init__(self, connection: Connection, settings: SendQueueSettings) -> None:
        self.connection = connection
        self.queue = SendQueue(connection, settings)

    def on_message(self, payload: bytes) -> None:
        pass

    def takes_damaged(self) -> bool:
        return False

    def on_damaged(self, payload: bytes, close_code: int) -> bool:
        return False

    def on_pong(self, payload: bytes) -> None:
        pass

    def on_paused(self) -> None:
        pass

    def on_writable(self) -> None:
        pass

    def on_closed(self, code: int) -> None:
        pass


class IdleAcceptor:
    """Admits everybody."""

    def __init__(self) -> None:
        self._settings = SendQueueSettings()

    def admit(self, peer: str) -> DoorstepError | None:
        return None

    def connected(self, connection: Connection) -> Idle:
        return Idle(connection, self._settings)


def rss_bytes() -> int:
    """Resident bytes of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def serve() -> None:
    """Serve until standard input ends; answer each line of it with count and RSS."""
    settings = WebSocketSettings(port=0, connections_max=100_000, connections_per_address_max=100_000)
    listener = WebSocketListener(IdleAcceptor(), settings)
    await listener.start()
    loop = asyncio.get_running_loop()
    print(listener.port, flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        gc.collect()
        print(listener.connections, rss_bytes(), flush=True)
    await listener.stop()


async def connect(port: int, *, sends: bool) -> asyncio.StreamWriter:
    """One upgraded connection that sends a frame or nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_024)
    writer.write(_REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " not in head:
        raise RuntimeError(f"refused: {head!r}")
    if sends:
        writer.write(_FRAME)
    return writer


async def measure(connections: int, loop_name: str) -> dict[str, float | int | str]:
    """Start a server, hold ``connections`` to it, and compare its memory."""
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.ws_memory",
        "--serve",
        "--loop",
        loop_name,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    if server.stdin is None or server.stdout is None:
        raise RuntimeError("no pipes")
    stdin, stdout = server.stdin, server.stdout
    port = int(await stdout.readline())

    async def ask() -> tuple[int, int]:
        stdin.write(b"\n")
        count, rss = (await stdout.readline()).split()
        return int(count), int(rss)

    # The first connections import, compile and fill caches; they are not what is measured.
    held = [await connect(port, sends=True) for _ in range(50)]
    before_count, before = await ask()
    while len(held) < connections + 50:
        held += await asyncio.gather(*(connect(port, sends=True) for _ in range(100)))
    await asyncio.sleep(0.5)
    count, after = await ask()
    for writer in held:
        writer.transport.abort()
    stdin.close()
    await asyncio.wait_for(server.wait(), 20)
    grown = count - before_count
    return {
        "connections": grown,
        "loop": loop_name,
        "rss_kib_per_connection": round((after - before) / grown / 1024, 2),
        "server_rss_mib": round(after / 1024 / 1024, 1),
    }


def main() -> dict[str, Any]:
    """The transport alone, under uvloop; a whole session is measured in ``session_memory.py``."""
    found = asyncio.run(measure(2_000, "uvloop"))
    return {"transport_rss_kib_per_connection": found["rss_kib_per_connection"]}


def command() -> None:
    """Measure, or be the measured server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=2_000)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="uvloop")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    run = uvloop.run if options.loop == "uvloop" else asyncio.run
    if options.serve:
        run(serve())
    else:
        print(json.dumps(run(measure(options.connections, options.loop))))


if __name__ == "__main__":
    command()
