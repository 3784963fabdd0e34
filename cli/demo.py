"""``doorstep demo``: a city at work on this machine, to look at."""

import asyncio
from typing import Final

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from cli.options import FiniteRange
from geo.pings import MEANINGS, Verdict
from sim import fast_loop
from sim.demo import Demo, DemoPlan, DemoState, demo_server, sign_in_links
from sim.local_server import LocalServer, ServerFailed

SECONDS_MAX: Final = 86_400
PLAIN_EVERY_S = 5.0
"""Pause between two lines where there is no terminal to draw on."""
LATENCIES = {
    "order_post": "order placed (HTTP)",
    "accept": "offer accepted",
    "step.arrived": "step reported",
    "drill": "drill, tap to answer",
    "drill.server": "drill, in the server",
    "sos_ack": "SOS stored",
    "sos_console": "SOS on the console",
}


@click.command(short_help="Run a whole city on this machine.")
@click.option("--seconds", type=FiniteRange(5, SECONDS_MAX), help="End by itself after this many seconds.")
@click.option("--technicians", default=200, show_default=True, type=click.IntRange(1, 20_000))
@click.option("--http-port", default=8080, show_default=True, help="Wanted port; a free one if it is taken.")
@click.option("--hub-port", default=8081, show_default=True, help="Wanted port; a free one if it is taken.")
def demo(seconds: float | None, technicians: int, http_port: int, hub_port: int) -> None:
    """Run a whole city on this machine: a server, technicians, customers, orders, drills, and one SOS.

    Everything is real but the people: `doorstep serve` in a process of its own with a fresh data folder, phones
    on real sockets inside Shenzhen's real boundary. Ends by Ctrl-C, or after --seconds with exit code 0 only if
    orders were finished, drills came through and the SOS was acknowledged.
    """
    console = Console()
    plan = DemoPlan(technicians=technicians, sos_after_s=15.0 if seconds is None else min(15.0, seconds * 0.4))
    try:
        with demo_server(http_port, hub_port) as server:
            _say_where(console, server, http_port, hub_port)
            _say_who_may_sign_in(console, server)
            state = _run(console, Demo(server, plan), seconds)
            print_summary(console, state)
    except ServerFailed as error:
        raise click.ClickException(str(error)) from error
    except ExceptionGroup as group:
        raise click.ClickException("; ".join(f"{type(e).__name__}: {e}" for e in group.exceptions)) from group
    if seconds is not None and state.missing:
        raise SystemExit(1)


def _say_where(console: Console, server: LocalServer, http_port: int, hub_port: int) -> None:
    for name, wanted, got in (("HTTP", http_port, server.http_port), ("hub", hub_port, server.hub_port)):
        if wanted != got:
            console.print(f"port {wanted} is taken; {name} listens on {got}")
    console.print(f"What is running, and where: [bold]{server.http_url}/[/bold]", highlight=False)
    console.print(f"hub {server.hub_url}  metrics {server.admin_url}/metrics", highlight=False)


def _say_who_may_sign_in(console: Console, server: LocalServer) -> None:
    """Links for whoever wants to be one of the people of the demo; each is good once."""
    for about, link in asyncio.run(sign_in_links(server)).items():
        console.print(f"{about:<12} {link}", highlight=False, soft_wrap=True)


def _run(console: Console, running: Demo, seconds: float | None) -> DemoState:
    state = running.state
    try:
        if console.is_terminal:
            with Live(get_renderable=lambda: view(state), console=console, refresh_per_second=4):
                fast_loop.run(running.run(seconds, lambda: None))
        else:
            fast_loop.run(running.run(seconds, _Plain(console, state)))
    except KeyboardInterrupt:
        console.print("stopped")
    return state


class _Plain:
    """One line now and then, for logs and pipes."""

    def __init__(self, console: Console, state: DemoState) -> None:
        self._console = console
        self._state = state
        self._next_s = 0.0

    def __call__(self) -> None:
        """Print when it is time."""
        state = self._state
        if state.elapsed_s < self._next_s:
            return
        self._next_s += PLAIN_EVERY_S
        counts = state.tally.counts
        self._console.print(
            f"{state.elapsed_s:5.0f} s  connected {state.connected}  pings/s {state.pings_per_s:.0f}  "
            f"open orders {state.open_orders}  offers {counts['offers']}  matched {counts['order.assigned']}  "
            f"served {state.served_orders}  incidents {counts['incidents_on_console']} "
            f"(acknowledged {counts['incidents_acknowledged']})",
            highlight=False,
            soft_wrap=True,
        )


def view(state: DemoState) -> Table:
    """The live picture."""
    counts = state.tally.counts
    table = Table(title=f"Doorstep demo, {state.elapsed_s:.0f} s", min_width=72)
    table.add_column("now")
    table.add_column("", justify="right")
    table.add_column("latency, ms")
    table.add_column("p50", justify="right")
    table.add_column("p99", justify="right")
    median_s = state.tally.median_s("matched")
    left = [
        ("connected", f"{state.connected:,}"),
        ("pings/s", f"{state.pings_per_s:,.0f}"),
        ("open orders", f"{state.open_orders:,}"),
        ("offers", f"{counts['offers']:,}"),
        ("matched", f"{counts['order.assigned']:,}"),
        ("median wait", "-" if median_s is None else f"{median_s:.1f} s"),
        ("served", f"{state.served_orders:,}"),
        ("incidents", f"{counts['incidents_on_console']} ({counts['incidents_acknowledged']} acked)"),
        ("server", f"{state.server_cpu * 100:.0f} % CPU, {state.server_rss_mib:.0f} MiB"),
    ]
    right = [(title, state.tally.quantiles_ms(name)) for name, title in LATENCIES.items()]
    for n, (name, value) in enumerate(left):
        title, ms = right[n] if n < len(right) else ("", {})
        p50, p99 = (f"{ms['p50']:.1f}", f"{ms['p99']:.1f}") if ms else ("", "")
        table.add_row(name, value, title, p50, p99)
    return table


def print_summary(console: Console, state: DemoState) -> None:
    """What happened, and whether it is what a good demo shows."""
    counts = state.tally.counts
    console.print(view(state))
    console.print(
        f"Phones reported {_counted(counts['pings'], 'position')}. A report is repeated until it is stored, and each "
        "time it arrives the server says what it is worth:",
        highlight=False,
    )
    console.print(verdict_table(state))
    unheard = counts["pings"] - sum(counts[f"verdict.{verdict.word}"] for verdict in Verdict)
    if unheard > 0:
        _say(console, "dim", f"Of the last ones {unheard:,} had no answer yet: it is given once in a few seconds.")
    if counts["second_job"]:
        _say(console, "red", f"{_counted(counts['second_job'], 'technician')} got a second job while at work.")
    if state.order_errors:
        _say(console, "red", f"The server did not take {_counted(state.order_errors, 'order')}.")
    if ms := state.tally.quantiles_ms("drill"):
        _say(
            console,
            "green",
            f"Drill at the start of duty: {counts['drill.ok']:,} of {_counted(counts['drills'], 'technician')} tried "
            f"the alarm, an exercise that calls nobody out. From tap to answer: {ms['p50']:.0f} ms (median), "
            f"{ms['p99']:.0f} ms (p99).",
        )
    if state.synthetic_s is not None:
        _say(
            console,
            "green",
            f"Synthetic SOS: {state.synthetic_runs} went through everything but the last hop, the last one in "
            f"{state.synthetic_s * 1000:.0f} ms.",
        )
    if state.missing:
        _say(console, "red", f"Not enough was seen: {'; '.join(state.missing)}.")
    else:
        served = _counted(state.served_orders, "order")
        _say(console, "green", f"The demo succeeded: {served} served, and the SOS was stored and acknowledged.")


def verdict_table(state: DemoState) -> Table:
    """How many arrivals of a position got which verdict; verdicts that none got are left out."""
    given = {verdict: state.tally.counts[f"verdict.{verdict.word}"] for verdict in Verdict}
    total = sum(given.values())
    table = Table(min_width=72, show_footer=True)
    table.add_column("verdict", "all", no_wrap=True)
    table.add_column("arrivals", f"{total:,}", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("meaning")
    for verdict, count in given.items():
        if count:
            table.add_row(verdict.word, f"{count:,}", f"{100 * count / total:.1f} %", MEANINGS[verdict])
    return table


def _say(console: Console, colour: str, sentence: str) -> None:
    console.print(sentence, style=colour, highlight=False, markup=False)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
