"""``doorstep replay``: recorded GPS traces as phones whose clock runs fast."""

import asyncio
import contextlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import aiohttp
import click
from doorstep_client.http import Api, ApiError
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from cli.options import FiniteRange, NewFile
from core.principal import Role
from server.keys import Key
from server.settings import Algorithm, AuthSettings
from server.system import SystemClock, SystemIds
from server.tokens import issue
from sim import fast_loop
from sim.local_server import SECRET_ENV, ServerFailed
from sim.replay import ReplayReport
from sim.replay_session import CITY, Target, replay_server
from sim.replay_session import Progress as State
from sim.replay_session import replay as run_replay
from sim.traces import Columns, TraceFormat, UnknownTrace, parse_columns


def _columns(_context: click.Context, _option: click.Parameter, value: str | None) -> Columns | None:
    if value is None:
        return None
    try:
        return parse_columns(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command(short_help="Stream recorded GPS traces as phones.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--speed", default=60.0, show_default=True, type=FiniteRange(1, 100_000), help="Times real speed.")
@click.option("--format", "kind", default="auto", show_default=True, type=click.Choice([k.value for k in TraceFormat]))
@click.option("--columns", callback=_columns, help="time=..,lat=..,lng=..[,id=..,speed=..,accuracy=..,utc_offset_h=..]")
@click.option("--vehicles", type=click.IntRange(min=1), help="Only the first so many vehicles of each file.")
@click.option("--order", type=click.Choice(["time", "file"]), default="time", show_default=True, help="Sending order.")
@click.option("--start", type=click.Choice(["recorded", "together"]), default="recorded", show_default=True)
@click.option("--url", help="HTTP address of a running server; without it one is started for the replay.")
@click.option("--city", default=CITY, show_default=True, help="City in which the vehicles go on duty (with --url).")
@click.option("--tenant", default="demo", show_default=True, help="Tenant of that city (with --url).")
@click.option("--out", type=NewFile(), help="Write the report as JSON.")
def replay(
    files: tuple[Path, ...],
    speed: float,
    kind: str,
    columns: Columns | None,
    vehicles: int | None,
    order: str,
    start: str,
    url: str | None,
    city: str,
    tenant: str,
    out: Path | None,
) -> None:
    """Stream recorded GPS traces as phones whose clock runs SPEED times fast.

    Reads T-Drive, cabspotting, GTFS-RT captures, GeoLife PLT and any CSV with --columns; plain or gzipped. Each
    vehicle becomes a technician's phone on a real socket, each row one ping, and each ping gets one verdict.

    With --url the server must allow it (positions.clock_rate_max) and DOORSTEP_JWT_SECRET must hold its key.
    """
    console = Console()
    state = State()
    with contextlib.ExitStack() as stack:
        try:
            target = asyncio.run(_running_server(url, city, tenant)) if url else _own_server(stack)
            with Live(get_renderable=lambda: _progress(state), console=console, refresh_per_second=4, transient=True):
                report = fast_loop.run(
                    run_replay(
                        list(files),
                        target,
                        speed=speed,
                        kind=TraceFormat(kind),
                        columns=columns,
                        vehicles_max=vehicles,
                        by_time=order == "time",
                        together=start == "together",
                        progress=state,
                        tick=(lambda: None) if console.is_terminal else _Plain(console, state),
                    )
                )
        except UnknownTrace as error:
            raise click.UsageError(str(error)) from error
        except (ServerFailed, ApiError, aiohttp.ClientError) as error:
            raise click.ClickException(str(error)) from error
        except ExceptionGroup as group:
            raise click.ClickException("; ".join(f"{type(e).__name__}: {e}" for e in group.exceptions)) from group
    _summary(console, report)
    if out is not None:
        out.write_text(json.dumps(asdict(report), indent=1, sort_keys=True))
    if report.unjudged or report.failures:
        raise SystemExit(1)


def _own_server(stack: contextlib.ExitStack) -> Target:
    server = stack.enter_context(replay_server())
    return Target(server.http_url, server.hub_url, server.token)


async def _running_server(url: str, city: str, tenant: str) -> Target:
    secret = os.environ.get(SECRET_ENV, "").encode()
    if not secret:
        raise click.UsageError(f"--url needs the server's key in {SECRET_ENV}, to make the vehicles' tokens")
    async with Api(url) as api:
        hub_url = str((await api.call("GET", "/config.json"))["hub_url"])
    key, auth, clock, ids = Key("main", Algorithm.HS256, secret, secret), AuthSettings(), SystemClock(), SystemIds()

    def token(user: str, role: Role) -> str:
        return issue(key, auth, clock, ids, user=user, role=role, tenant=tenant, cities=[city], life_s=86_400.0)

    return Target(url, hub_url, token, city)


class _Plain:
    """One line now and then, where there is no terminal to draw on."""

    def __init__(self, console: Console, state: State) -> None:
        self._console = console
        self._state = state
        self._ticks = 0

    def __call__(self) -> None:
        """Print when it is time (ticks come four times a second)."""
        state = self._state
        if self._ticks % 20 == 0:
            self._console.print(
                f"{state.stage}: {state.ready:,} of {state.vehicles:,} on duty, {state.sent:,} sent, "
                f"{state.judged:,} of {state.points:,} judged",
                highlight=False,
                soft_wrap=True,
            )
        self._ticks += 1


def _progress(state: State) -> Table:
    table = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=max(state.points, 1), completed=state.judged, width=40)
    table.add_row(f"[bold]{state.stage}", bar, f"{state.judged:,} of {state.points:,} fixes judged")
    table.add_row(f"{state.ready:,} of {state.vehicles:,} on duty", "", f"{state.sent:,} sent")
    if state.verdicts:
        table.add_row("", "  ".join(f"{name} {count:,}" for name, count in sorted(state.verdicts.items())), "")
    return table


def _summary(console: Console, report: ReplayReport) -> None:
    table = Table(title=f"{report.points:,} fixes of {len(report.vehicles):,} vehicles in {report.took_s:.1f} s")
    table.add_column("verdict")
    table.add_column("fixes", justify="right")
    for verdict, count in report.verdicts.items():
        table.add_row(verdict, f"{count:,}")
    table.add_section()
    table.add_row("all verdicts", f"{sum(report.verdicts.values()):,}")
    table.add_row("without a verdict", f"{report.unjudged:,}")
    table.add_row("rows that are no fix", f"{report.unreadable:,}")
    console.print(table)
    lost = sum(vehicle["live"] is None for vehicle in report.vehicles.values())
    console.print(f"vehicles with a live position at the end: {len(report.vehicles) - lost:,}, without: {lost:,}")
    for name, why in list(report.failures.items())[:10]:
        console.print(f"[red]{name}: {why}")
