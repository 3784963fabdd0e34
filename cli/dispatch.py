"""``doorstep dispatch``: what the stored matching rounds of a data folder say."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import wraps
from itertools import islice
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from cli.config import config_option, settings_of
from cli.options import FiniteRange
from core.ids import CityId, TenantId
from core.units import EPOCH_S_MAX
from dispatch.model import RoundFiling, StoredRound
from dispatch.replaying import Difference, replay
from dispatch.settings import DispatchSettings
from dispatch.shadow import compare, shadow_of
from server.stored_rounds import NoRounds, RoundWindow, stored_rounds

_SHOWN_MAX = 20
"""Differences in the table; `--json` has them all."""


@click.group(short_help="Look at stored matching rounds.")
def dispatch() -> None:
    """Look at the matching rounds that a data folder has stored (for seven days, `store.retention.rounds_s`).

    A server may be running on the folder; nothing is written. Exit codes: 0 done, 1 a difference was found, 2 wrong
    usage, no database, or a tenant or city that it does not know.
    """


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Rounds that the options chose."""

    config_file: Path | None
    folder: Path | None
    window: RoundWindow
    limit: int | None

    def settings(self) -> DispatchSettings:
        """Dispatch's part of the config."""
        return settings_of(self.config_file)[0].dispatch

    def rounds(self) -> Iterator[tuple[StoredRound, RoundFiling]]:
        """The rounds with what they were found by, or exit code 2 with the reason why there are none to be read."""
        folder = self.folder or Path(settings_of(self.config_file)[0].data_folder)
        try:
            yield from islice(stored_rounds(folder, self.window), self.limit)
        except NoRounds as error:
            raise click.UsageError(str(error)) from error


def _choosing_rounds(command: Callable[[_Chosen, bool], None]) -> Callable[..., None]:
    """A command with the options that choose rounds."""

    @config_option
    @click.option(
        "--data", "folder", default=None, type=click.Path(path_type=Path, file_okay=False),
        help="Data folder. Default: that of the config.",
    )  # fmt: skip
    @click.option("--tenant", default=None, help="Only rounds of this tenant.")
    @click.option("--city", default=None, help="Only rounds of this city.")
    @click.option("--from", "from_at", type=FiniteRange(0), default=0.0, help="Rounds since then, epoch seconds.")
    @click.option("--to", "to_at", type=FiniteRange(0), default=EPOCH_S_MAX, help="Rounds until then, likewise.")
    @click.option("--limit", type=click.IntRange(1), default=None, help="At most so many rounds, the oldest first.")
    @click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
    @wraps(command)
    def chosen(
        config_file: Path | None,
        folder: Path | None,
        tenant: TenantId | None,
        city: CityId | None,
        from_at: float,
        to_at: float,
        limit: int | None,
        as_json: bool,
    ) -> None:
        command(_Chosen(config_file, folder, RoundWindow(from_at, to_at, tenant, city), limit), as_json)

    return chosen


@dispatch.command("replay", short_help="Decide stored rounds again and compare.")
@_choosing_rounds
def replay_command(chosen: _Chosen, as_json: bool) -> None:
    """Decide stored rounds again from their stored inputs and report every difference.

    There must be none: a difference means that a stored row was changed, or that this version decides by other rules
    than the one that stored it. Exits with 1 then. What no input gives (people who stood by, offers made) is compared
    with the digest that the round was stored with; rounds of versions before that are counted as without a seal.
    """
    counts = {"rounds": 0, "decisions": 0, "without_decision": 0, "without_seal": 0}
    differences: list[Difference] = []
    for stored, filing in chosen.rounds():
        replayed = replay(stored, filing)
        counts["rounds"] += 1
        counts["decisions"] += replayed.decisions
        counts["without_decision"] += replayed.is_old
        counts["without_seal"] += not replayed.is_sealed
        differences.extend(replayed.differences)
    if as_json:
        click.echo(json.dumps(counts | {"differences": [asdict(found) for found in differences]}, indent=1))
    else:
        _tell(counts, differences)
    if differences:
        sys.exit(1)


@dispatch.command("shadow", short_help="Compare the shadow policy with the live one.")
@_choosing_rounds
def shadow_command(chosen: _Chosen, as_json: bool) -> None:
    """Compare what the shadow policy of the config (`dispatch.shadow`) would have decided with what was decided.

    Decisions that were not computed beside the live ones (large rounds, another name) are computed now.
    """
    settings = chosen.settings().shadow
    if not settings.name:
        raise click.UsageError("the config names no shadow policy: set dispatch.shadow.name")
    found = ((round_, shadow_of(round_, settings)) for round_, _ in chosen.rounds())
    report = compare((round_, decided) for round_, decided in found if decided is not None)
    if as_json:
        click.echo(json.dumps({"name": settings.name} | asdict(report), indent=1))
        return
    table = Table(title=f"live and {settings.name}: {report.orders:,} orders of {report.rounds:,} rounds")
    table.add_column("")
    table.add_column("", justify="right")
    for name, value in asdict(report).items():
        table.add_row(name, "none" if value is None else f"{value:,.1f}" if isinstance(value, float) else f"{value:,}")
    Console(highlight=False).print(table)


def _tell(counts: dict[str, int], differences: list[Difference]) -> None:
    console = Console(highlight=False)
    console.print(f"{counts['decisions']:,} decisions of {counts['rounds']:,} rounds were made again.")
    if counts["without_decision"]:
        console.print(f"{counts['without_decision']:,} rounds of an earlier version hold no decision to compare with.")
    if counts["without_seal"]:
        console.print(
            f"{counts['without_seal']:,} rounds of an earlier version have no seal: part of them is not proven."
        )
    if not differences:
        console.print("No difference." if counts["rounds"] else "There are no such rounds.")
        return
    table = Table(title=f"{len(differences):,} differences", title_style="bold red")
    for name in ("round", "order", "what", "stored", "computed"):
        table.add_column(name, overflow="fold")
    for found in differences[:_SHOWN_MAX]:
        table.add_row(found.round_id, found.order or "", found.what, found.stored, found.computed)
    console.print(table)
