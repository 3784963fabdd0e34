"""Where the secret of the audit comes from: the environment or a file that the config points to, one key a line."""

from collections.abc import Mapping
from pathlib import Path

from safety.audit import KEY_BYTES_MIN, AuditKeys
from safety.settings import AuditSettings
from server.config import ConfigError, Problem


def load_audit_keys(audit: AuditSettings, environ: Mapping[str, str], folder: Path) -> AuditKeys:
    """Read the keys.

    Args:
        audit: The config's ``safety.audit`` section.
        environ: The process's environment.
        folder: Where a relative ``key_file`` starts.

    Raises:
        ConfigError: There is none, or one is too short; names the place, never the key.
    """
    if audit.key_env:
        where, text = f"the environment variable {audit.key_env}", environ.get(audit.key_env, "").encode()
    else:
        path = folder / audit.key_file
        where = f"key_file {path}"
        try:
            text = path.read_bytes()
        except OSError as error:
            raise _unfit(f"{where} cannot be read: {error.strerror or error}") from None
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        raise _unfit(f"{where} is empty: it must hold the audit's key (`openssl rand -base64 48`)")
    if min(map(len, found)) < KEY_BYTES_MIN:
        raise _unfit(f"{where} must hold at least {KEY_BYTES_MIN} bytes a line (`openssl rand -base64 48`)")
    return AuditKeys(found)


def _unfit(why: str) -> ConfigError:
    return ConfigError([Problem("config", "safety.audit", why)])
