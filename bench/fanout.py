"""Positions delivered to watchers per CPU-second of the server.

Twenty technicians move; each of many consoles watches all of them. Every position that the hub sends is one
delivery; consoles count frames in a process of their own and never decode them.
"""

import asyncio
import json
import subprocess
import sys
import time
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench.hub_load import Job, LoadProcess, Phase
from bench.ingest import CONFIG, cpu_s, technicians
from core.principal import Role
from sim.demo import BOUNDARY, CITY
from sim.local_server import LocalCity, LocalServer

CONSOLES = 250
TECHNICIANS = 20
PINGS_PER_S = 200
"""Of all technicians together; each makes one delivery for each console."""
SECONDS = 6
CHUNK = b'"position"'


class Console(WSListener):
    """Watches every technician; counts what comes."""

    def __init__(self, token: str, number: int, users: list[str]) -> None:
        super().__init__()
        self.count = 0
        self.watching = 0
        self.ready = asyncio.get_running_loop().create_future()
        self._token, self._number, self._users = token, number, users

    def on_ws_connected(self, transport: WSTransport) -> None:
        hello = {"type": "hello", "token": self._token, "device": f"console-{self._number}", "crs": "wgs84"}
        transport.send(WSMsgType.TEXT, json.dumps(hello).encode())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        if frame.msg_type != WSMsgType.TEXT:
            return
        payload = frame.get_payload_as_bytes()
        if CHUNK in payload[:40]:
            self.count += 1
            return
        body = json.loads(payload)
        if body["type"] == "welcome":
            for user in self._users:
                watch = {"type": "watch", "topic": f"technician:{user}", "ref": user}
                transport.send(WSMsgType.TEXT, json.dumps(watch).encode())
        elif body["type"] == "ok":
            self.watching += 1
            if self.watching == len(self._users):
                self.ready.set_result(None)
        elif body["type"] == "error" and not self.ready.done():
            self.ready.set_exception(RuntimeError(str(body)))


async def watch(order: dict[str, Any]) -> None:
    """Connect the consoles, say so, and tell the counts when asked."""
    consoles = [Console(token, n, order["users"]) for n, token in enumerate(order["tokens"])]
    gate = asyncio.Semaphore(20)

    async def one(console: Console) -> None:
        async with gate:
            headers = {"Sec-WebSocket-Protocol": "doorstep.v1.json"}
            await ws_connect(lambda: console, order["url"], extra_headers=headers, use_aiofastnet=False)
            await asyncio.wait_for(console.ready, 60)

    await asyncio.gather(*(one(console) for console in consoles))
    print(json.dumps({"ready": len(consoles)}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps({"counts": [c.count for c in consoles]}), flush=True)


class Consoles:
    """The consoles' process, seen from the bench."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.fanout", "watch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._ask(order)

    def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(body) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def counts(self) -> list[int]:
        """Frames that each console has received."""
        return list(self._ask({})["counts"])

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()


def main() -> dict[str, Any]:
    """Deliveries per CPU-second; the pings' own cost is part of it, as in life."""
    with LocalServer([LocalCity(CITY, BOUNDARY)], CONFIG) as server:
        users = technicians(server, TECHNICIANS)
        tokens = [server.token(user, Role.TECHNICIAN) for user in users]
        with LoadProcess(Job(server.hub_url, tokens, CITY)) as load:
            # One user may hold a few devices only, so each console is somebody else's.
            staff = [server.token(f"ops_{n:04d}", Role.OPS) for n in range(CONSOLES)]
            consoles = Consoles({"url": server.hub_url, "tokens": staff, "users": users})
            before_s, before = cpu_s(server.pid), sum(consoles.counts())
            load.go(Phase(SECONDS * PINGS_PER_S // TECHNICIANS, PINGS_PER_S))
            result = load.result()
            time.sleep(0.5)
            counts = consoles.counts()
            used_s = cpu_s(server.pid) - before_s
            consoles.stop()
    delivered = sum(counts) - before
    assert result.verdicts.get("live") == result.sent, result.verdicts
    return {
        "fanout_per_cpu_s": round(delivered / used_s),
        "fanout_detail": {
            "delivered": delivered,
            "wanted": result.sent * CONSOLES,
            "cpu_s": used_s,
            "least": min(counts),
            "most": max(counts),
        },
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["watch"]:
        import uvloop

        uvloop.run(watch(json.loads(sys.stdin.readline())))
    else:
        print(json.dumps(main(), indent=1))
