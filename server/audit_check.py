"""Checks the audit in a data folder for the command: finds files and keys by the config, beside a running server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import Unavailable
from server.anchoring import anchor_path
from server.app import StartFailed
from server.audit_keys import load_audit_keys
from server.root import Settings
from store.anchors import AnchorsUnreadable, read_anchors
from store.audit_check import Finding, check_audit
from store.migrate import SAFETY_FILE


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, with the file of anchors that it was compared with."""

    anchors: Path
    anchors_len: int
    findings: Sequence[Finding]


def verify_audit(settings: Settings, folder: Path, environ: Mapping[str, str], anchors: Path | None) -> Verdict:
    """Check every tenant's audit. Blocks; a second for each 50,000 rows or so.

    Args:
        settings: The whole config.
        folder: Where its relative paths start.
        environ: Where the key may be.
        anchors: The file of anchors; None for the config's.

    Raises:
        ConfigError: There is no good key.
        StartFailed: The database or the anchors cannot be read.
    """
    keys = load_audit_keys(settings.safety.audit, environ, folder)
    path = anchors or anchor_path(settings.safety.audit, settings.data_folder, folder)
    database = Path(settings.data_folder) / SAFETY_FILE.name
    if not database.exists():
        raise StartFailed(f"there is no {database}")
    try:
        known = read_anchors(path)  # before the rows: what is anchored meanwhile may be ahead of what is read
        return Verdict(path, len(known), check_audit(database, known, keys))
    except (OSError, AnchorsUnreadable, Unavailable) as error:
        raise StartFailed(str(error)) from error
