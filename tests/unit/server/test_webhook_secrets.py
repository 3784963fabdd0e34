"""Secrets of webhooks come from where the config says, and are never shown."""

from pathlib import Path

import pytest

from server.config import ConfigError
from server.webhook_secrets import load_webhook_secrets
from webhooks.settings import EndpointSettings, WebhookSettings

LONG = "s" * 40


def endpoint(**place: str) -> WebhookSettings:
    return WebhookSettings(endpoints={"a": EndpointSettings(tenant="demo", url="https://example.com", **place)})  # type: ignore[arg-type]


def test_each_line_is_a_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{LONG}\n\n{LONG}2\n")
    assert load_webhook_secrets(endpoint(secret_file="secret"), {}, tmp_path) == {
        "a": (LONG.encode(), f"{LONG}2".encode())
    }
    assert load_webhook_secrets(endpoint(secret_env="X"), {"X": LONG}, tmp_path) == {"a": (LONG.encode(),)}


@pytest.mark.parametrize("environ", [{}, {"X": ""}, {"X": "short-secret"}, {"X": f"{LONG}\nshort-secret"}])
def test_a_secret_that_is_missing_or_short_is_told_without_showing_it(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_webhook_secrets(endpoint(secret_env="X"), environ, tmp_path)
    assert "webhooks.endpoints.a" in str(caught.value)
    assert "short-secret" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none"):
        load_webhook_secrets(endpoint(secret_file="none"), {}, tmp_path)
