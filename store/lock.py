"""One process for one data folder. Two writers on the same files would each believe their own numbers."""

import fcntl
import os
from pathlib import Path


class FolderInUse(RuntimeError):
    """Another process has the data folder open."""


class FolderLock:
    """An exclusive lock on a folder, held until ``release`` or the end of the process, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lock; makes the folder when it is missing.

        Raises:
            FolderInUse: Somebody else holds it; the text names their process id.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "lock"
        # Never unlinked: a second process could lock the old file while a third makes a new one.
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # flock belongs to the open file, not to the process: a second open in this process is refused too.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._file, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(self._file)
            raise FolderInUse(f"{folder} is in use by process {holder}; stop it first") from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode("ascii"), 0)
        self._held = True

    def release(self) -> None:
        """Let others have the folder. Idempotent."""
        if self._held:
            self._held = False
            os.close(self._file)
