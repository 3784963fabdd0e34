from pathlib import Path

import pytest

from safety.settings import AuditSettings
from server.audit_keys import load_audit_keys
from server.config import ConfigError

KEY = "kR4u7w2pX9-an-audit-key-with-enough-letters"


def test_keys_come_from_the_environment_or_a_file_one_a_line(tmp_path: Path) -> None:
    by_env = load_audit_keys(AuditSettings(), {"DOORSTEP_AUDIT_KEY": f"{KEY}\n{KEY[::-1]}\n"}, tmp_path)
    (tmp_path / "key").write_text(f"\n{KEY}\n")
    (tmp_path / "key").chmod(0o600)
    by_file = load_audit_keys(AuditSettings(key_env="", key_file="key"), {}, tmp_path)
    assert by_env.name == by_file.name
    assert (len(by_env.names), len(by_file.names)) == (2, 1)


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({}, "DOORSTEP_AUDIT_KEY is empty"),
        ({"DOORSTEP_AUDIT_KEY": "  \n"}, "DOORSTEP_AUDIT_KEY is empty"),
        ({"DOORSTEP_AUDIT_KEY": f"{KEY}\nshort and secret"}, "at least 32 bytes a line"),
    ],
)
def test_without_a_good_key_nothing_starts_and_no_key_is_told(
    environ: dict[str, str], why: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        load_audit_keys(AuditSettings(), environ, tmp_path)
    assert "secret" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing cannot be read"):
        load_audit_keys(AuditSettings(key_env="", key_file="missing"), {}, tmp_path)
