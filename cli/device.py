"""``doorstep device``: phones' apps of others, registered at a running server; shows what the phone must scan."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, Final

import aiohttp
import click
import segno
from doorstep_client.http import Api, ApiError

from cli.config import config_option, settings_of
from cli.signing import signing_key, tenant_of, token_keys
from core.principal import Role
from server.root import Settings
from server.system import SystemClock, SystemIds
from server.tokens import issue
from trackers.model import App

_SPEAKER: Final = "doorstep-cli"
_LIFE_S: Final = 60.0
_QUIET_ZONE: Final = 2
_WHITE_ON_BLACK: Final = "\x1b[38;5;231;48;5;16m"
_PLAIN: Final = "\x1b[0m"
_HOW: Final = {
    App.OSMAND: "Paste it in OsmAnd: Plugins, Trip recording, Settings, Online tracking web address.",
    App.TRACCAR: "Scan it in Traccar Client: Settings, the QR sign at the top.",
    App.OWNTRACKS: "Scan it with the phone's camera: OwnTracks opens and asks whether to take the settings.",
    App.OVERLAND: "Scan it with the phone's camera: Overland opens and takes the settings.",
    App.GPSLOGGER: "Paste it in GPSLogger: Logging details, Log to custom URL, URL.",
}


@click.group(short_help="Register phones' apps of others.")
def device() -> None:
    """Register OsmAnd, Traccar Client, OwnTracks, Overland and GPSLogger on phones of technicians.

    Speaks to a running server, with a token that is signed by the config's key. How each app is set up is told in
    docs/trackers.md.
    """


@dataclass(frozen=True, slots=True)
class _Server:
    """Where to ask, and as whom."""

    url: str
    token: str

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request; a refusal ends the command with what the server said."""

        async def ask() -> Any:
            async with Api(self.url, self.token) as api:
                return await api.call(method, path, body)

        try:
            return _run(ask())
        except ApiError as error:
            raise click.ClickException(str(error)) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise click.ClickException(f"{self.url} does not answer: {error}") from error


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def _at_a_server(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options that say which server."""

    @config_option
    @click.option("--url", default=None, help="HTTP address of the server. Default: that of the config.")
    @click.option("--tenant", "-t", default=None, help="Tenant. Default: that of the first city of the config.")
    @wraps(command)
    def with_server(config_file: Path | None, url: str | None, tenant: str | None, **given: Any) -> None:
        settings, folder = settings_of(config_file)
        token = issue(
            signing_key(token_keys(settings, folder), None),
            settings.auth,
            SystemClock(),
            SystemIds(),
            user=_SPEAKER,
            role=Role.SERVICE,
            tenant=tenant_of(settings, tenant),
            cities=(),
            life_s=_LIFE_S,
        )
        command(_Server(url or _address(settings), token), **given)

    return with_server


def _address(settings: Settings) -> str:
    http = settings.http
    scheme = "https" if http.tls else "http"
    return http.public_url or f"{scheme}://{http.host}:{http.port}"


def _path(technician: str) -> str:
    if not technician or "/" in technician or not technician.isprintable():
        raise click.UsageError(f"{technician!r} is no technician's id")
    return f"/v1/technicians/{technician}/trackers"


@device.command()
@_at_a_server
@click.argument("technician")
@click.option("--app", required=True, type=click.Choice([app.value for app in App]), help="The app on the phone.")
@click.option("--name", default="", help="Which phone it is, for people.")
@click.option("--qr/--no-qr", default=True, show_default=True, help="Draw the QR.")
def add(server: _Server, technician: str, app: str, name: str, qr: bool) -> None:
    """Register an app on a phone of TECHNICIAN, and show how to set it up. Its secret is shown this once."""
    added = server.call("POST", _path(technician), {"app": app, "name": name})
    click.echo(f"{added['device']} is registered for {technician}.\n")
    click.echo(f"address   {added['url']}")
    if added["username"]:
        click.echo(f"user      {added['username']}")
    click.echo(f"secret    {added['secret']}")
    click.echo(f"link      {added['link']}\n")
    if qr:
        click.echo(drawn(added["link"]))
    click.echo(_HOW[App(app)])


@device.command("list")
@_at_a_server
@click.argument("technician")
def list_devices(server: _Server, technician: str) -> None:
    """List the apps that are registered for TECHNICIAN."""
    devices = server.call("GET", _path(technician))["devices"]
    if not devices:
        click.echo("None.")
        return
    for known in devices:
        heard = "not since the start" if known["heard_at"] is None else _when(known["heard_at"])
        name = f"  {known['name']}" if known["name"] else ""
        click.echo(
            f"{known['device']}  {known['app']:9}  added {_when(known['added_at'])} by {known['added_by']}, "
            f"heard {heard}{name}"
        )


@device.command()
@_at_a_server
@click.argument("technician")
@click.argument("tracker")
def remove(server: _Server, technician: str, tracker: str) -> None:
    """Take the registration TRACKER (`trk_…`) of TECHNICIAN back: the app is unknown from then on."""
    path = _path(technician)
    if "/" in tracker or not tracker.isprintable():
        raise click.UsageError(f"{tracker!r} is no tracker's id")
    removed = server.call("DELETE", f"{path}/{tracker}")["result"]["removed"]
    click.echo("Removed." if removed else "There was none.")


def drawn(link: str) -> str:
    """A QR as text, two rows of it in one line: its light parts are drawn, its dark ones are the background."""
    rows = [list(row) for row in segno.make(link, error="l", micro=False).matrix_iter(border=_QUIET_ZONE)]
    rows += [[0] * len(rows[0])] * (len(rows) % 2)
    blocks = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}
    pairs = zip(rows[::2], rows[1::2], strict=True)
    lines = ("".join(blocks[bool(a), bool(b)] for a, b in zip(*pair, strict=True)) for pair in pairs)
    # Colours are named: a code that is light on dark is read by few cameras. click takes them out of a file.
    return "\n".join(f"{_WHITE_ON_BLACK}{line}{_PLAIN}" for line in lines)


def _when(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}Z"
