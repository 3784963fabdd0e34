"""The `doorstep` command: names every subcommand and reads their options; decides nothing itself.

Exit codes: 0 done, 1 failed, 2 wrong usage or config, 75 start me anew (`serve`).
"""

import importlib
import os
import sys
from functools import partial
from pathlib import Path
from typing import Final

import click

from cli.config import config_option, errors, read_settings, settings_of, stop_for
from cli.options import FiniteRange
from cli.signing import cities_of, signing_key, tenant_of, token_keys
from core.errors import Refused
from core.ids import DeviceId
from core.principal import Role
from safety.audit import AuditKeys
from server.app import App, StartFailed
from server.audit_keys import load_audit_keys
from server.config import ConfigError
from server.config_file import render
from server.geography import load_maps
from server.interleaving_loop import run
from server.keys import load_keys
from server.logs import set_up_logs
from server.outgoing_secrets import OutgoingSecrets, load_outgoing_secrets
from server.preflight import check_start
from server.renewal import FreshSecrets
from server.root import DERIVED, Settings
from server.system import SystemClock, SystemIds
from server.tokens import Tokens, issue
from server.version import version

LIFE_S_MAX: Final = 315_360_000
"""Ten years: longer than any key is kept."""
_LAZY: Final = {
    "audit": "Check that nobody has changed what safety remembers.",
    "device": "Register phones' apps of others that report positions; shows a QR to scan.",
    "dispatch": "Look at stored matching rounds: replay them, compare a shadow policy.",
    "demo": "Run a whole city on this machine: server, technicians, orders, one SOS.",
    "sign-in": "Make a one-time code by which somebody signs in on a page.",
    "replay": "Stream recorded GPS traces to a server as phones.",
    "sim": "Compare matching policies in simulated cities.",
}
"""Commands whose modules are loaded only when they are used: function `<name>` of module `cli.<name>`, `_` for `-`."""


class Commands(click.Group):
    """The subcommands, some of them loaded when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every name, in the order of daily use."""
        return [
            "serve",
            "demo",
            "replay",
            "dispatch",
            "device",
            "audit",
            "sim",
            "sign-in",
            "token",
            "check-config",
            "print-config",
            "migrate",
        ]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command; a lazy one is imported now."""
        if cmd_name in _LAZY:
            name = cmd_name.replace("-", "_")
            command: click.Command = getattr(importlib.import_module(f"cli.{name}"), name)
            return command
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in `--help`, without importing the lazy ones."""
        rows = []
        for name in self.list_commands(ctx):
            known = self.commands.get(name)
            rows.append((name, _LAZY[name] if name in _LAZY else known.get_short_help_str(80) if known else ""))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version(), prog_name="doorstep")
def main() -> None:
    """Doorstep: real-time dispatch and location tracking for services at the customer's door.

    Every command tells more with --help. Exit codes: 0 done, 1 failed, 2 wrong usage or config.
    """


@main.command()
@config_option
def serve(config_file: Path | None) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    Keys must be given: with the default config, put at least 32 random bytes each into DOORSTEP_JWT_SECRET (tokens)
    and DOORSTEP_AUDIT_KEY (the audit): `export DOORSTEP_JWT_SECRET=$(openssl rand -base64 48)`. SIGTERM drains: no
    event is lost. SIGHUP reads token keys, webhooks' secrets and the file of revoked tokens again.
    """
    settings, folder = settings_of(config_file)
    keys, secrets = token_keys(settings, folder), _outgoing_secrets(settings, folder)
    audit = _audit_keys(settings, folder)
    set_up_logs(settings.log)
    app = App(
        settings, keys=keys, folder=folder, secrets=secrets, audit=audit, reread=partial(_fresh_secrets, config_file)
    )
    try:
        run(app.run())
    except ConfigError as error:
        stop_for(error)
    except StartFailed as error:
        errors.print(f"[bold red]Doorstep cannot start:[/] {error}")
        sys.exit(1)
    sys.exit(app.exit_code)


@main.command()
@config_option
@click.option("--user", "-u", required=True, help="Whose token: a technician's id, a customer's id, …")
@click.option(
    "--role", "-r", required=True, type=click.Choice([role.value for role in Role]), help="Main role of the token."
)
@click.option("--also", "also", multiple=True, type=click.Choice([role.value for role in Role]), help="A further role.")
@click.option("--tenant", "-t", default=None, help="Tenant. Default: that of the first city of the config.")
@click.option("--city", "cities", multiple=True, help="City the token is good for. Default: all of the tenant's.")
@click.option("--device", default="", help="Bind the token to one device.")
@click.option("--kid", default=None, help="Key to sign with. Default: the first that can sign.")
@click.option(
    "--life-s", default=3_600.0, show_default=True, type=FiniteRange(1, LIFE_S_MAX), help="Seconds until it ends."
)
def token(
    config_file: Path | None,
    user: str,
    role: str,
    also: tuple[str, ...],
    tenant: str | None,
    cities: tuple[str, ...],
    device: str,
    kid: str | None,
    life_s: float,
) -> None:
    """Print a signed token, for trying things and for tests.

    Programs of the platform sign their own tokens with the same key.
    """
    settings, folder = settings_of(config_file)
    keys = token_keys(settings, folder)
    chosen_tenant = tenant_of(settings, tenant)
    clock, ids = SystemClock(), SystemIds()
    signed = issue(
        signing_key(keys, kid),
        settings.auth,
        clock,
        ids,
        user=user,
        role=Role(role),
        tenant=chosen_tenant,
        cities=cities_of(settings, chosen_tenant, cities),
        roles=[Role(name) for name in also],
        device=device,
        life_s=life_s,
    )
    try:  # the server's own judgement: what it would refuse is not printed
        Tokens(settings.auth, keys, ids).verify(signed, device=DeviceId(device), now=clock.now())
    except Refused as error:
        raise click.UsageError(f"the server would refuse this token: {error.message}") from None
    click.echo(signed)


@main.command("check-config", short_help="Say whether the server would start with this config.")
@config_option
@click.option("--without-secrets", is_flag=True, help="Do not ask for token keys (in CI, say).")
def check_config(config_file: Path | None, without_secrets: bool) -> None:
    """Say whether the server would start with this config; exit 2 with every problem if not."""
    settings, folder = settings_of(config_file)
    if not without_secrets:
        token_keys(settings, folder)
        _outgoing_secrets(settings, folder)
        _audit_keys(settings, folder)
    try:
        check_start(settings, folder)
        load_maps(settings.cities, settings.coordinates, folder)
    except ConfigError as error:
        stop_for(error)
    cities = ", ".join(f"{city.tenant}/{city.city}" for city in settings.cities) or "none"
    click.echo(f"The config is good. Cities: {cities}.")


@main.command("print-config", short_help="Print the config as the server would see it.")
@config_option
@click.option("--default", "default", is_flag=True, help="Every key with its default, as in config.yaml.")
def print_config(config_file: Path | None, default: bool) -> None:
    """Print the config as the server would see it: file and environment together, with comments."""
    settings = Settings() if default else settings_of(config_file)[0]
    click.echo(render(settings, DERIVED), nl=False)


@main.command()
@config_option
@click.option("--new-epoch", is_flag=True, help="After restoring a backup: clients take a snapshot, not what is next.")
def migrate(config_file: Path | None, new_epoch: bool) -> None:
    """Make or upgrade the databases in the data folder. `serve` does the same when it starts."""
    from server.migration import migrate_folder

    settings, _ = settings_of(config_file)
    try:
        for line in migrate_folder(Path(settings.data_folder), new_epoch=new_epoch):
            click.echo(line)
    except StartFailed as error:
        errors.print(f"[bold red]Not migrated:[/] {error}")
        sys.exit(1)


def _fresh_secrets(config_file: Path | None) -> FreshSecrets:
    settings, folder = read_settings(config_file)
    outgoing = load_outgoing_secrets(settings.webhooks, settings.push, settings.safety.reach, os.environ, folder)
    return FreshSecrets(load_keys(settings.auth, os.environ, folder), outgoing)


def _outgoing_secrets(settings: Settings, folder: Path) -> OutgoingSecrets:
    try:
        return load_outgoing_secrets(settings.webhooks, settings.push, settings.safety.reach, os.environ, folder)
    except ConfigError as error:
        stop_for(error)
        raise


def _audit_keys(settings: Settings, folder: Path) -> AuditKeys:
    try:
        return load_audit_keys(settings.safety.audit, os.environ, folder)
    except ConfigError as error:
        stop_for(error)
        raise


if __name__ == "__main__":
    main(prog_name="doorstep")
