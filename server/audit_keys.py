"""Where the secret of the audit comes from: the environment or a file that the config points to, one key a line."""

from collections.abc import Mapping
from pathlib import Path

from safety.audit import KEY_BYTES_MIN, AuditKeys
from safety.settings import AuditSettings
from server.config import ConfigError, Problem
from server.secret_source import check_private, check_secret, read_secret


def load_audit_keys(audit: AuditSettings, environ: Mapping[str, str], folder: Path) -> AuditKeys:
    """Read the keys.

    Args:
        audit: The config's ``safety.audit`` section.
        environ: The process's environment.
        folder: Where a relative ``key_file`` starts.

    Raises:
        ConfigError: There is none, or one is too short; names the place, never the key.
    """
    try:
        where, text = read_secret(audit.key_env, audit.key_file, environ, folder)
        check_private(audit.key_file, folder)
    except ValueError as error:
        raise _unfit(str(error)) from None
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        raise _unfit(f"{where} is empty: it must hold the audit's key (`openssl rand -base64 48`)")
    if min(map(len, found)) < KEY_BYTES_MIN:
        raise _unfit(f"{where} must hold at least {KEY_BYTES_MIN} bytes a line (`openssl rand -base64 48`)")
    try:
        for key in found:
            check_secret(key)
    except ValueError as error:
        raise _unfit(f"{where}: {error}") from None
    return AuditKeys(found)


def _unfit(why: str) -> ConfigError:
    return ConfigError([Problem("config", "safety.audit", why)])
