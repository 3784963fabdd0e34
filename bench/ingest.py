"""Pings taken in per CPU-second of the server: one in a frame, twenty in a frame, and aiohttp only reading them.

A ping counts when its verdict came back. Afterwards the index must hold the last ping of every phone.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from doorstep_client.http import Api

from bench.hub_load import Job, LoadProcess, Phase, Result
from core.principal import Role
from sim.demo import BOUNDARY, CITY
from sim.local_server import LocalCity, LocalServer, free_port
from sim.replay_session import read_back

CONNECTIONS = 1_000
SINGLE_RATE_PER_S = 30_000
BATCH_RATE_PER_S = 6_000
FRAMES_SINGLE = 150
FRAMES_BATCH = 30
CONFIG: dict[str, Any] = {
    "coordinates": {"frame": "wgs84"},
    "realtime": {
        # Shed frames would look cheap; here each must be judged.
        "positions": {"shed_lag_ms": 10_000, "ack_idle_s": 1.0},
        "sessions": {"messages_per_s": 100_000, "pings_per_s": 100_000, "pings_burst": 1_000_000},
        "watching": {"topics_max": 100_000},
    },
    "log": {"level": "warning"},
}


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, to the nanosecond where the kernel tells (proc(5), schedstat), else by ticks."""
    tasks = Path(f"/proc/{pid}/task")
    try:
        return sum(int((t / "schedstat").read_text().split()[0]) for t in tasks.iterdir()) / 1e9
    except (OSError, ValueError, IndexError):
        stat = Path(f"/proc/{pid}/stat").read_text()
        fields = stat[stat.rindex(")") + 2 :].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def technicians(server: LocalServer, count: int) -> list[str]:
    """Register ``count`` technicians; returns their ids."""
    users = [f"tec_bench_{n:05d}" for n in range(count)]
    asyncio.run(_register(server, users))
    return users


async def _register(server: LocalServer, users: list[str]) -> None:
    waiting = list(users)
    async with Api(server.http_url, server.token("svc_bench", Role.SERVICE)) as api, asyncio.TaskGroup() as group:

        async def work() -> None:
            while waiting:
                body = {"name": "Bench", "cities": [CITY], "skills": ["tuina"], "verified": True}
                await api.call("PUT", f"/v1/technicians/{waiting.pop()}", body)

        for _ in range(16):
            group.create_task(work())


def measure(job: Job, phase: Phase, pid: int) -> tuple[float, Result]:
    """Run one phase of a job; returns the CPU seconds that the process used and what the load saw."""
    with LoadProcess(job) as load:
        before = cpu_s(pid)
        load.go(phase)
        result = load.result()
        return cpu_s(pid) - before, result


def check_index(server: LocalServer, users: list[str], result: Result) -> None:
    """The live position of everyone must be the last one sent."""
    found = asyncio.run(read_back(users, server.hub_url, server.token("ops_bench", Role.OPS)))
    for user, (lat, lng) in zip(users, result.last, strict=True):
        live = found[user]
        assert live is not None, f"{user} has no live position"
        assert abs(live["lat"] - lat) < 1e-5, (user, live, lat)
        assert abs(live["lng"] - lng) < 1e-5, (user, live, lng)


def doorstep(batch: int, frames: int, rate_per_s: float) -> dict[str, Any]:
    """One measurement on a fresh server."""
    with LocalServer([LocalCity(CITY, BOUNDARY)], CONFIG) as server:
        users = technicians(server, CONNECTIONS)
        tokens = [server.token(user, Role.TECHNICIAN) for user in users]
        job = Job(server.hub_url, tokens, CITY, batch)
        used_s, result = measure(job, Phase(frames, rate_per_s), server.pid)
        judged = sum(count for verdict, count in result.verdicts.items() if verdict in ("live", "late"))
        assert judged == result.sent * batch, f"sent {result.sent * batch}, judged {result.verdicts}"
        check_index(server, users, result)
        return {"per_cpu_s": judged / used_s, "cpu_s": used_s, "took_s": result.took_s, "behind_s": result.behind_s}


def aiohttp_peer(frames: int, rate_per_s: float) -> dict[str, Any]:
    """The same single-ping frames into aiohttp."""
    port = free_port()
    peer = subprocess.Popen([sys.executable, "-m", "bench.aiohttp_peer", str(port)])
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        with LoadProcess(Job(f"ws://127.0.0.1:{port}/", [""] * CONNECTIONS, "")) as load:
            before = cpu_s(peer.pid)
            load.go(Phase(frames, rate_per_s))
            result = load.result()
            time.sleep(0.5)  # what still lies in its buffers
            used_s = cpu_s(peer.pid) - before
        return {"per_cpu_s": result.sent / used_s, "cpu_s": used_s, "behind_s": result.behind_s}
    finally:
        peer.terminate()
        peer.wait()


def main() -> dict[str, Any]:
    """Frames and pings per CPU-second."""
    single = doorstep(1, FRAMES_SINGLE, SINGLE_RATE_PER_S)
    batch = doorstep(20, FRAMES_BATCH, BATCH_RATE_PER_S)
    peer = aiohttp_peer(FRAMES_SINGLE, SINGLE_RATE_PER_S)
    return {
        "ingest_single_per_cpu_s": round(single["per_cpu_s"]),
        "ingest_batch20_per_cpu_s": round(batch["per_cpu_s"]),
        "aiohttp_receive_per_cpu_s": round(peer["per_cpu_s"]),
        "ingest_detail": {"single": single, "batch20": batch, "aiohttp": peer},
    }


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
