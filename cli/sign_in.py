"""``doorstep sign-in``: a one-time code for somebody, as a link and as a QR code to be held in front of a phone."""

import asyncio
from pathlib import Path
from typing import Any, Final

import aiohttp
import click
import segno
from rich.console import Console

from cli.config import config_option, settings_of
from cli.signing import cities_of, signing_key, tenant_of, token_keys
from core.principal import Role
from server.system import SystemClock, SystemIds
from server.tokens import issue

_LIFE_S: Final = 60.0
_PATIENCE: Final = aiohttp.ClientTimeout(total=10)
_USER: Final = "doorstep-cli"
"""Who asks for others' codes, as their sessions tell."""


class SignInRefused(Exception):
    """The server made no code; the text says why."""


@click.command("sign-in", short_help="Make a one-time code by which somebody signs in on a page.")
@config_option
@click.option("--user", "-u", required=True, help="Who signs in: a technician's id, a customer's id, …")
@click.option(
    "--role", "-r", required=True, type=click.Choice(["technician", "customer", "responder", "ops"]), help="As what."
)
@click.option(
    "--also", multiple=True, type=click.Choice(["technician", "customer", "responder"]), help="A further role."
)
@click.option("--name", default="", help="What the page calls them; of technicians it is that of their record.")
@click.option("--tenant", "-t", default=None, help="Tenant. Default: that of the first city of the config.")
@click.option("--city", "cities", multiple=True, help="City they sign in for. Default: all of the tenant's.")
@click.option("--kid", default=None, help="Key to ask with. Default: the first that can sign.")
@click.option("--server", default=None, help="Base URL of the running server. Default: that of the config.")
def sign_in(
    config_file: Path | None,
    user: str,
    role: str,
    also: tuple[str, ...],
    name: str,
    tenant: str | None,
    cities: tuple[str, ...],
    kid: str | None,
    server: str | None,
) -> None:
    """Make a one-time code by which somebody signs in on a page of the running server.

    Whoever opens the link within ten minutes is signed in, once: show it to them and to nobody else.
    """
    settings, folder = settings_of(config_file)
    chosen = tenant_of(settings, tenant)
    is_ops = role == Role.OPS.value
    token = issue(
        signing_key(token_keys(settings, folder), kid),
        settings.auth,
        SystemClock(),
        SystemIds(),
        user=user if is_ops else _USER,
        role=Role.OPS if is_ops else Role.SERVICE,
        roles=[Role(other) for other in also] if is_ops else [],
        tenant=chosen,
        cities=cities_of(settings, chosen, cities),
        life_s=_LIFE_S,
    )
    scheme = "https" if settings.http.tls else "http"
    base = server or settings.http.public_url or f"{scheme}://{settings.http.host}:{settings.http.port}"
    try:
        made = asyncio.run(ask_code(base, token, {"user": user, "role": role, "also": list(also), "name": name}))
    except SignInRefused as error:
        raise click.ClickException(str(error)) from None
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{made['link']}\n\ncode  [bold]{made['code']}[/bold]   good once, for ten minutes")
    segno.make(made["link"], error="m").terminal(compact=True)


async def ask_code(base: str, token: str, body: dict[str, Any]) -> dict[str, Any]:
    """What ``POST /v1/sign-in/codes`` answers. Raises ``SignInRefused``."""
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=_PATIENCE) as http,
            http.post(f"{base.rstrip('/')}/v1/sign-in/codes", json=body, headers=headers) as answer,
        ):
            told: dict[str, Any] = await answer.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise SignInRefused(f"no answer from {base}: {error!r}; does the server run?") from None
    if answer.status != 201:
        raise SignInRefused(f"the server refused: {told.get('detail', answer.status)} ({told.get('code', '')})")
    return told
