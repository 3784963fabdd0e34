"""Memory of an idle session on the real server: hello said, welcome read, nothing else. Plain TCP on loopback.

The clients are bare streams in this process, so that only the server grows with the number of connections.
"""

import asyncio
import json
import resource
import struct
from pathlib import Path
from typing import Any

from core.principal import Role
from sim.demo import BOUNDARY, CITY
from sim.local_server import LocalCity, LocalServer

WARM = 200
CONNECTIONS = 3_000
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def masked_text(payload: bytes) -> bytes:
    """A client's text frame; a mask of zeros leaves the payload as it is (RFC 6455 section 5.3 allows any key)."""
    if len(payload) < 126:
        head = struct.pack("!BB", 0x81, 0x80 | len(payload))
    else:
        head = struct.pack("!BBH", 0x81, 0x80 | 126, len(payload))
    return head + bytes(4) + payload


async def say_hello(port: int, token: str) -> asyncio.StreamWriter:
    """One session up to its welcome."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=8_192)
    writer.write(
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {_KEY}\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: doorstep.v1.json\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " not in head:
        raise RuntimeError(f"refused: {head!r}")
    writer.write(masked_text(json.dumps({"type": "hello", "device": "bench", "token": token}).encode()))
    await reader.readuntil(b'"welcome"')
    return writer


def rss_kib(pid: int) -> int:
    """Resident memory of a process (proc(5), status)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


async def measure(server: LocalServer) -> float:
    """KiB that each further session costs."""

    async def join(first: int, count: int) -> list[asyncio.StreamWriter]:
        tokens = [server.token(f"cus_memory_{n:05d}", Role.CUSTOMER) for n in range(first, first + count)]
        held: list[asyncio.StreamWriter] = []
        for start in range(0, count, 50):
            held += await asyncio.gather(*(say_hello(server.hub_port, t) for t in tokens[start : start + 50]))
        return held

    # The first sessions import, compile and fill caches; they are not what is measured.
    held = await join(0, WARM)
    await asyncio.sleep(1)
    before = rss_kib(server.pid)
    held += await join(WARM, CONNECTIONS)
    await asyncio.sleep(1)
    after = rss_kib(server.pid)
    for writer in held:
        writer.transport.abort()
    return (after - before) / CONNECTIONS


def main() -> dict[str, Any]:
    """The figure, with what surrounds a session in a real server: presence, streams, verified token."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with LocalServer([LocalCity(CITY, BOUNDARY)], {"log": {"level": "warning"}}) as server:
            found = asyncio.run(measure(server))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return {"rss_kib_per_connection": round(found, 2), "sessions_measured": CONNECTIONS}


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
