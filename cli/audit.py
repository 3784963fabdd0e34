"""`doorstep audit`: whether anybody has changed what safety remembers."""

import os
import sys
from pathlib import Path

import click

from cli.config import config_option, errors, settings_of, stop_for
from server.app import StartFailed
from server.audit_check import verify_audit
from server.config import ConfigError


@click.group()
def audit() -> None:
    """Look after the audit of safety: what happened in incidents, who looked where, who changed a profile."""


@audit.command()
@config_option
@click.option(
    "--anchors", "anchors_file", type=click.Path(path_type=Path, exists=True, dir_okay=False), default=None,
    help="Anchors from their other place. Default: safety.audit.anchor_file of the config.",
)  # fmt: skip
def verify(config_file: Path | None, anchors_file: Path | None) -> None:
    """Check every row of the audit against its chain and the anchors; exit 1 and name the first bad row if not.

    Works beside a running server. Keys as for `serve`. An edit, a deletion, another order, a row by somebody without
    the key are found at the row; a cut end, also one written anew, by the first anchor after it.
    """
    settings, folder = settings_of(config_file)
    try:
        verdict = verify_audit(settings, folder, os.environ, anchors_file)
    except ConfigError as error:
        stop_for(error)
        raise
    except StartFailed as error:
        errors.print(f"[bold red]Not checked:[/] {error}", soft_wrap=True)
        sys.exit(1)
    if not verdict.anchors_len:
        errors.print(f"[yellow]There are no anchors in {verdict.anchors}: a cut end would not be seen.[/]")
    if not verdict.findings:
        click.echo("The audit is empty.")
    for finding in verdict.findings:
        if finding.fault is not None:
            errors.print(f"[bold red]Not sound:[/] {finding.fault}", soft_wrap=True)
            continue
        erased = f", {finding.erased} erased" if finding.erased else ""
        click.echo(
            f"{finding.tenant}: {finding.head.seq} rows sound{erased}, {finding.anchors} anchors agree, "
            f"head {finding.head.mac.hex()[:16]}"
        )
    if any(finding.fault is not None for finding in verdict.findings):
        sys.exit(1)
