"""A whole replay: read the files, register a technician for each vehicle, drive them, read back where they ended."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from doorstep_client.http import Api
from doorstep_client.load import Swarm

from core.principal import Role
from sim.agent import Tally
from sim.local_server import LocalCity, LocalServer, world_boundary
from sim.pause import pause
from sim.replay import Reader, Replay, ReplayReport
from sim.traces import Columns, TraceFormat, TracePoint, TraceSet, UnknownTrace, load

CITY: Final = "replay"
REGISTRATIONS_AT_ONCE: Final = 32

REPLAY_CONFIG: Final[dict[str, Any]] = {
    # The files are WGS-84; in this frame what is read back is what was sent.
    "coordinates": {"frame": "wgs84"},
    "positions": {"clock_rate_max": 100_000, "stale_s": 86_400},
    "realtime": {
        "sessions": {
            "messages_per_s": 10_000,
            "messages_burst": 100_000,
            "pings_per_s": 10_000,
            "pings_burst": 100_000,
        },
        # A replay loads the loop as fast as it can; nothing may be shed, or the sums would not match the file.
        "positions": {"ack_idle_s": 0.5, "shed_lag_ms": 10_000, "fresh_s": 86_400},
        "watching": {"topics_max": 100_000},
    },
    "log": {"level": "warning"},
}


@dataclass(frozen=True, slots=True)
class Target:
    """The server to replay against.

    Attributes:
        token: Makes a token for (user, role).
        city: Where the vehicles go on duty; its technicians' positions are not bound to its boundary.
    """

    http_url: str
    hub_url: str
    token: Callable[[str, Role], str]
    city: str = CITY


@dataclass(slots=True)
class Progress:
    """How far a replay is; read by whoever shows it."""

    stage: str = "reading"
    vehicles: int = 0
    ready: int = 0
    points: int = 0
    sent: int = 0
    judged: int = 0
    verdicts: dict[str, int] | None = None


def replay_server() -> LocalServer:
    """A server of its own for a replay: one city without an outside, fast clocks allowed."""
    return LocalServer([LocalCity(CITY, world_boundary(CITY))], REPLAY_CONFIG)


def in_sending_order(points: Sequence[TracePoint], *, by_time: bool) -> list[TracePoint]:
    """As a phone sends them: by time, rows of one time in file order; or just in file order."""
    return sorted(points, key=lambda p: p.fixed_at) if by_time else list(points)


async def replay(
    paths: list[Path],
    target: Target,
    *,
    speed: float,
    kind: TraceFormat = TraceFormat.AUTO,
    columns: Columns | None = None,
    vehicles_max: int | None = None,
    by_time: bool = True,
    together: bool = False,
    progress: Progress | None = None,
    tick: Callable[[], None] = lambda: None,
) -> ReplayReport:
    """Replay files against a running server.

    Args:
        by_time: Send in the order of the times; else in the order of the file.
        progress: Kept up to date while it runs.
        tick: Called now and then after that.
        together: All vehicles begin at once; else as far apart as they were recorded, file by file.

    Raises:
        UnknownTrace: A file is of no known kind or broken, or there is no vehicle in any.
        ApiError: The server refuses the registrations.
    """
    progress = progress or Progress()
    traces = await asyncio.to_thread(load, paths, kind, columns, vehicles_max=vehicles_max)
    if not traces.vehicles:
        raise UnknownTrace(f"no vehicle with a readable fix in {', '.join(map(str, paths))}")
    progress.vehicles, progress.points = len(traces.vehicles), traces.points
    users = {name: f"tec_replay_{n:05d}" for n, name in enumerate(traces.vehicles)}
    progress.stage = "registering"
    await _register(users, target)
    run = Replay(target.hub_url, speed, target.city)
    _add_phones(run, traces, users, target, by_time=by_time, together=together)
    progress.stage = "connecting"
    began_at = run.swarm.now()
    async with asyncio.TaskGroup() as group:
        group.create_task(run.swarm.run())
        watcher = group.create_task(_watch(run, progress, tick))
        try:
            await run.run()
            progress.stage = "reading back"
            found = await read_back(list(users.values()), target.hub_url, target.token("ops_replay", Role.OPS))
        finally:
            watcher.cancel()
            _show(run, progress)
            run.swarm.stop()
    took_s = run.swarm.now() - (run.clock.began_at or began_at)
    return _report(run, traces, found, took_s)


async def _register(users: dict[str, str], target: Target) -> None:
    waiting = list(users.items())
    async with Api(target.http_url, target.token("svc_replay", Role.SERVICE)) as api, asyncio.TaskGroup() as group:

        async def work() -> None:
            while waiting:
                name, user = waiting.pop()
                body = {"name": name[:128], "cities": [target.city], "skills": [], "verified": True}
                await api.call("PUT", f"/v1/technicians/{user}", body)

        for _ in range(REGISTRATIONS_AT_ONCE):
            group.create_task(work())


def _add_phones(
    run: Replay, traces: TraceSet, users: dict[str, str], target: Target, *, by_time: bool, together: bool
) -> None:
    firsts = {name: min(p.fixed_at for p in points) for name, points in traces.vehicles.items()}
    of_file: dict[str, float] = {}
    for name, first in firsts.items():
        file = name.partition("/")[0]
        of_file[file] = min(first, of_file.get(file, first))
    for name, points in traces.vehicles.items():
        user = users[name]
        token = target.token(user, Role.TECHNICIAN)
        began_at = firsts[name] if together else of_file[name.partition("/")[0]]
        run.add(name, user, token, in_sending_order(points, by_time=by_time), began_at)


async def read_back(users: list[str], hub_url: str, ops_token: str) -> dict[str, dict[str, Any] | None]:
    """The live position of each user as an ops session sees it; None for those without one."""
    reader = Reader(ops_token, users, Tally())
    swarm = Swarm(hub_url)
    swarm.add(reader)
    async with asyncio.TaskGroup() as group:
        group.create_task(swarm.run())
        try:
            async with asyncio.timeout(120.0):
                await reader.done.wait()
        finally:
            swarm.stop()
    return reader.found


async def _watch(run: Replay, progress: Progress, tick: Callable[[], None]) -> None:
    while True:
        _show(run, progress)
        tick()
        if progress.stage == "connecting" and run.clock.began_at is not None:
            progress.stage = "replaying"
        await pause(0.25)


def _show(run: Replay, progress: Progress) -> None:
    progress.ready, progress.sent, progress.judged = run.ready, run.tally.counts["sent"], run.judged
    progress.verdicts = dict(run.verdicts())


def _report(run: Replay, traces: TraceSet, found: dict[str, dict[str, Any] | None], took_s: float) -> ReplayReport:
    vehicles: dict[str, dict[str, Any]] = {}
    for phone in run.phones:
        live = found.get(phone.user)
        vehicles[phone.name] = {
            "technician": phone.user,
            "points": phone.sent,
            "verdicts": {k: n for k, n in sorted(phone.verdicts.items()) if n and k != "shed"},
            "live": None if live is None else {k: live[k] for k in ("lat", "lng", "crs", "accuracy_m", "fixed_at")},
        }
    return ReplayReport(
        points=run.points,
        unreadable=len(traces.bad),
        verdicts={k: n for k, n in sorted(run.verdicts().items()) if n},
        unjudged=run.points - run.judged,
        took_s=took_s,
        vehicles=vehicles,
        failures={p.name: p.failure for p in run.phones if p.failure},
    )
