"""`doorstep migrate`: brings the databases of a data folder to the newest schema without serving."""

from collections.abc import Iterator
from pathlib import Path

from core.errors import DoorstepError
from server.app import StartFailed
from server.system import SystemIds
from store.lock import FolderInUse
from store.migrate import DatabaseRefused, migrate, renew_epochs


def migrate_folder(folder: Path, *, new_epoch: bool = False) -> Iterator[str]:
    """Make or upgrade the files; yields one line for each.

    Args:
        folder: The data folder.
        new_epoch: Also tell clients not to trust the numbers they know: for a restored backup.

    Raises:
        StartFailed: The folder is in use, or a file cannot be upgraded.
    """
    try:
        for name, revision in migrate(folder, SystemIds()).items():
            yield f"{name}: {revision}"
        if new_epoch:
            renew_epochs(folder, SystemIds())
            yield "new epochs: every client takes a snapshot when it connects next"
    except (DoorstepError, FolderInUse, DatabaseRefused, OSError) as error:
        raise StartFailed(f"data folder {folder}: {error}") from error
