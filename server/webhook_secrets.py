"""Where the secrets of webhooks come from: the environment or files that the config points to."""

from collections.abc import Mapping
from pathlib import Path

from server.config import ConfigError, Problem
from webhooks.settings import EndpointSettings, WebhookSettings
from webhooks.signature import SECRET_BYTES_MIN


def load_webhook_secrets(
    settings: WebhookSettings, environ: Mapping[str, str], folder: Path
) -> dict[str, tuple[bytes, ...]]:
    """Read the secrets of every endpoint, each line one.

    Args:
        settings: The config's webhooks section.
        environ: The process's environment.
        folder: Where relative ``secret_file`` paths start.

    Raises:
        ConfigError: A secret is missing or too short; names the endpoint and the place, never the secret.
    """
    secrets: dict[str, tuple[bytes, ...]] = {}
    problems: list[Problem] = []
    for name, endpoint in settings.endpoints.items():
        try:
            secrets[name] = _secrets(endpoint, environ, folder)
        except ValueError as error:
            problems.append(Problem("config", f"webhooks.endpoints.{name}", str(error)))
    if problems:
        raise ConfigError(problems)
    return secrets


def _secrets(endpoint: EndpointSettings, environ: Mapping[str, str], folder: Path) -> tuple[bytes, ...]:
    if endpoint.secret_env:
        where, text = f"the environment variable {endpoint.secret_env}", environ.get(endpoint.secret_env, "").encode()
    else:
        path = folder / endpoint.secret_file
        where = f"secret_file {path}"
        try:
            text = path.read_bytes()
        except OSError as error:
            raise ValueError(f"{where} cannot be read: {error.strerror or error}") from None
    found = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not found:
        raise ValueError(f"{where} is empty: it must hold the secret of the signature")
    if any(len(secret) < SECRET_BYTES_MIN for secret in found):
        raise ValueError(f"{where} must hold at least {SECRET_BYTES_MIN} bytes a line (`openssl rand -base64 48`)")
    return found
