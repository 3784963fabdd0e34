"""``doorstep sim``: matching policies in simulated cities, as figures."""

import json
import math

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from sim.policies.table import (
    PICKUP_WITHIN,
    REFERENCE,
    REFERENCE_DAYS,
    SERVED_WITHIN,
    Figures,
    Policy,
    Row,
    faults,
    table,
)
from sim.policies.xu2018 import ORDERS

DAYS_MAX = 10_000
"""Eight minutes; far beyond what tells the policies apart."""
_SEED_MAX = 2**32 - 1


@click.group(short_help="Compare matching policies in simulated cities.")
def sim() -> None:
    """Compare matching policies in simulated cities. No server, no network, no files."""


@sim.command()
@click.option(
    "--table", "city", required=True, type=click.Choice(["xu2018"]),
    help="Which published city: xu2018 is the 9 x 9 grid of Xu et al., KDD 2018, section 6.1.",
)  # fmt: skip
@click.option("--days", default=REFERENCE_DAYS, show_default=True, type=click.IntRange(1, DAYS_MAX))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, _SEED_MAX), help="Which days.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of rows {drivers, policy, served, pickup, wait}.")
@click.option(
    "--check", is_flag=True,
    help=f"Exit 1 unless greedy and batched are within {SERVED_WITHIN} served and {PICKUP_WITHIN} pickup of the "
    f"reference rows and batched never serves less than greedy; from {REFERENCE_DAYS} days on.",
)  # fmt: skip
def policies(city: str, days: int, seed: int, as_json: bool, check: bool) -> None:
    """Set the real matching code beside one-by-one dispatch, on the same simulated days.

    greedy: each step the oldest order first takes its nearest driver. batched: all open orders are matched at once,
    every step. batched2: the same every second step only, which is what a fixed window costs.

    served is the share of orders that got a driver, pickup the cells from driver to order, wait the steps from
    placing to pickup; the last two over served orders. The same days and seed always give the same rows.
    """
    if check and days < REFERENCE_DAYS:
        raise click.UsageError(f"--check needs --days {REFERENCE_DAYS} or more: fewer scatter wider than its limits")
    with Console(stderr=True).status("") as status:
        rows = table(days, seed, lambda done: status.update(f"{done:,} of {days:,} days"))
    if as_json:
        click.echo(as_lines(rows))
    else:
        Console(highlight=False).print(as_table(rows, f"{city}: {ORDERS} orders a day, {days:,} days, seed {seed}"))
    if check and (found := faults(rows)):
        raise click.ClickException("; ".join(found))


def as_lines(rows: list[Row]) -> str:
    """A JSON array with one row on each line."""
    lines = [
        json.dumps({
            "drivers": row.drivers,
            "policy": row.policy.value,
            **{name: round(value, 6) for name, value in row.figures._asdict().items()},
        })
        for row in rows
    ]  # fmt: skip
    return "[\n" + ",\n".join(lines) + "\n]"


def as_table(rows: list[Row], title: str) -> Table:
    """The rows for people, each figure with its standard error, beside the reference; 80 columns wide."""
    caption = "± one standard error; reference: another implementation, 200 days"
    drawn = Table(title=title, caption=caption, box=SIMPLE, padding=(0, 1, 0, 0))
    drawn.add_column("drivers", justify="right")
    drawn.add_column("policy")
    for name in Figures._fields:
        drawn.add_column(name, justify="right", no_wrap=True)
    drawn.add_column("reference", justify="right", no_wrap=True)
    for row in rows:
        figures = [_figure(value, error) for value, error in zip(row.figures, row.error, strict=True)]
        reference = " ".join(f"{value:.3f}" for value in REFERENCE[row.drivers, row.policy])
        last = row.policy is list(Policy)[-1]
        drawn.add_row(f"{row.drivers}", row.policy, *figures, reference, end_section=last)
    return drawn


def _figure(value: float, error: float) -> str:
    return f"{value:.3f}" if math.isnan(error) else f"{value:.3f} ±{error:.3f}".replace("±0.", "±.")
