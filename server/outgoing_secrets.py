"""Where the secrets come from that sign what is sent outside: the environment or files that the config points to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from safety.reach import ReachSettings
from server.config import ConfigError, Problem
from server.secret_source import check_private, check_secret, read_secret
from webhooks.settings import EndpointSettings, PushSettings, WebhookSettings
from webhooks.signature import SECRET_BYTES_MIN

Secrets = tuple[bytes, ...]
"""All of these sign."""


@dataclass(frozen=True, slots=True)
class OutgoingSecrets:
    """Secrets of each webhook by its name, of the push service, and of each channel of ``safety.reach``.

    Attributes:
        reach: By the channel's key there (``sms``, ``robots.hq``). A robot has its token and then its secret.
    """

    webhooks: Mapping[str, Secrets] = field(default_factory=dict)
    push: Secrets = ()
    reach: Mapping[str, Secrets] = field(default_factory=dict)


def load_outgoing_secrets(
    webhooks: WebhookSettings, push: PushSettings, reach: ReachSettings, environ: Mapping[str, str], folder: Path
) -> OutgoingSecrets:
    """Read the secrets, each line one.

    Args:
        webhooks: The config's webhooks section.
        push: The config's push section.
        reach: The config's section safety.reach.
        environ: The process's environment.
        folder: Where relative ``secret_file`` paths start.

    Raises:
        ConfigError: A secret is missing or too short; names the endpoint and the place, never the secret.
    """
    named: dict[str, EndpointSettings | PushSettings] = {
        f"webhooks.endpoints.{name}": endpoint for name, endpoint in webhooks.endpoints.items()
    }
    if push.url:
        named["push"] = push
    found: dict[str, Secrets] = {}
    problems: list[Problem] = []
    for path, part in named.items():
        try:
            found[path] = _secrets(part, environ, folder)
        except ValueError as error:
            problems.append(Problem("config", path, str(error)))
    channels: dict[str, Secrets] = {}
    for key, (names, is_signature) in _channels(reach).items():
        try:
            channels[key] = _secrets(names, environ, folder) if is_signature else _lines(names, environ, folder)
        except ValueError as error:
            problems.append(Problem("config", f"safety.reach.{key}", str(error)))
    if problems:
        raise ConfigError(problems)
    return OutgoingSecrets(
        {name: found[f"webhooks.endpoints.{name}"] for name in webhooks.endpoints}, found.get("push", ()), channels
    )


class _Named(Protocol):
    """A part of the config that says where its secret is."""

    @property
    def secret_env(self) -> str: ...
    @property
    def secret_file(self) -> str: ...


def _channels(reach: ReachSettings) -> dict[str, tuple[_Named, bool]]:
    """Channels with a secret, by key, and whether it is one of ours that signs."""
    found: dict[str, tuple[_Named, bool]] = {f"robots.{name}": (robot, False) for name, robot in reach.robots.items()}
    found |= {f"webhooks.{name}": (hook, True) for name, hook in reach.webhooks.items()}
    if reach.sms.url:
        found["sms"] = reach.sms, True
    if reach.voice.url:
        found["voice"] = reach.voice, True
    if reach.email.user:
        found["email"] = reach.email, False
    return found


def _lines(named: _Named, environ: Mapping[str, str], folder: Path) -> Secrets:
    """What somebody else gave us: a robot's token and secret, a password."""
    where, text = read_secret(named.secret_env, named.secret_file, environ, folder)
    check_private(named.secret_file, folder)
    found = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not found:
        raise ValueError(f"{where} is empty: it must hold the secret")
    return found


def _secrets(named: _Named, environ: Mapping[str, str], folder: Path) -> Secrets:
    where = f"the environment variable {named.secret_env}" if named.secret_env else f"secret_file {named.secret_file}"
    found = _lines(named, environ, folder)
    if any(len(secret) < SECRET_BYTES_MIN for secret in found):
        raise ValueError(f"{where} must hold at least {SECRET_BYTES_MIN} bytes a line (`openssl rand -base64 48`)")
    for secret in found:
        check_secret(secret)
    return found
