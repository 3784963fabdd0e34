"""Secrets that sign come from where the config says, and are never shown."""

from pathlib import Path

import pytest

from safety.reach import GatewaySettings, ReachSettings, RobotSettings
from server.config import ConfigError
from server.outgoing_secrets import OutgoingSecrets, load_outgoing_secrets
from webhooks.settings import EndpointSettings, PushSettings, WebhookSettings

LONG = "VQ3p9c1xM7s-a-secret-with-enough-letters"


def endpoint(**place: str) -> WebhookSettings:
    return WebhookSettings(endpoints={"a": EndpointSettings(tenant="demo", url="https://example.com", **place)})  # type: ignore[arg-type]


def test_each_line_is_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"{LONG}\n\n{LONG}2\n")
    path.chmod(0o600)
    both = (LONG.encode(), f"{LONG}2".encode())
    found = load_outgoing_secrets(endpoint(secret_file="secret"), PushSettings(), ReachSettings(), {}, tmp_path)
    assert found == OutgoingSecrets({"a": both})
    push = PushSettings(url="https://push.example", secret_file="secret")
    found = load_outgoing_secrets(endpoint(secret_env="X"), push, ReachSettings(), {"X": LONG}, tmp_path)
    assert found == OutgoingSecrets({"a": (LONG.encode(),)}, both)


@pytest.mark.parametrize("environ", [{}, {"X": ""}, {"X": "short-secret"}, {"X": f"{LONG}\nshort-secret"}])
def test_a_secret_that_is_missing_or_short_is_told_without_showing_it(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_outgoing_secrets(endpoint(secret_env="X"), PushSettings(), ReachSettings(), environ, tmp_path)
    assert "webhooks.endpoints.a" in str(caught.value)
    assert "short-secret" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none"):
        load_outgoing_secrets(endpoint(secret_file="none"), PushSettings(), ReachSettings(), {}, tmp_path)


def test_a_secret_that_others_could_know_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(LONG)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod o-rwx"):
        load_outgoing_secrets(endpoint(secret_file="secret"), PushSettings(), ReachSettings(), {}, tmp_path)
    for known in ("h" * 40, "changeme-changeme-changeme-changeme-0123"):
        with pytest.raises(ConfigError, match="openssl rand") as caught:
            load_outgoing_secrets(endpoint(secret_env="X"), PushSettings(), ReachSettings(), {"X": known}, tmp_path)
        assert known not in str(caught.value)


def test_a_robot_has_its_token_and_then_its_secret_and_other_channels_sign() -> None:
    reach = ReachSettings(
        robots={"hq": RobotSettings(tenant="demo", secret_env="HQ")}, sms=GatewaySettings("https://sms.example", "SMS")
    )
    environ = {"HQ": "token\nsecret\n", "SMS": LONG}
    found = load_outgoing_secrets(WebhookSettings(), PushSettings(), reach, environ, Path())
    assert found.reach == {"robots.hq": (b"token", b"secret"), "sms": (LONG.encode(),)}
    with pytest.raises(ConfigError) as error:
        load_outgoing_secrets(WebhookSettings(), PushSettings(), reach, {"SMS": "short"}, Path())
    assert [problem.path for problem in error.value.problems] == ["safety.reach.robots.hq", "safety.reach.sms"]
