"""Where the secrets come from that sign what is sent outside: the environment or files that the config points to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from server.config import ConfigError, Problem
from server.secret_source import check_private, check_secret, read_secret
from webhooks.settings import EndpointSettings, PushSettings, WebhookSettings
from webhooks.signature import SECRET_BYTES_MIN

Secrets = tuple[bytes, ...]
"""All of these sign."""


@dataclass(frozen=True, slots=True)
class OutgoingSecrets:
    """Secrets of each webhook by its name, and of the push service."""

    webhooks: Mapping[str, Secrets] = field(default_factory=dict)
    push: Secrets = ()


def load_outgoing_secrets(
    webhooks: WebhookSettings, push: PushSettings, environ: Mapping[str, str], folder: Path
) -> OutgoingSecrets:
    """Read the secrets, each line one.

    Args:
        webhooks: The config's webhooks section.
        push: The config's push section.
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
    if problems:
        raise ConfigError(problems)
    return OutgoingSecrets(
        {name: found[f"webhooks.endpoints.{name}"] for name in webhooks.endpoints}, found.get("push", ())
    )


def _secrets(endpoint: EndpointSettings | PushSettings, environ: Mapping[str, str], folder: Path) -> Secrets:
    where, text = read_secret(endpoint.secret_env, endpoint.secret_file, environ, folder)
    check_private(endpoint.secret_file, folder)
    found = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not found:
        raise ValueError(f"{where} is empty: it must hold the secret of the signature")
    if any(len(secret) < SECRET_BYTES_MIN for secret in found):
        raise ValueError(f"{where} must hold at least {SECRET_BYTES_MIN} bytes a line (`openssl rand -base64 48`)")
    for secret in found:
        check_secret(secret)
    return found
