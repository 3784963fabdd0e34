"""The file in which taps of SOS outlive the application: written whole, to another name, synced and renamed.

Reads and writes wait for the disk: call them in a thread, never on an event loop.
"""

import os
from pathlib import Path

import msgspec

from doorstep_client.sos import KeptTap


class Outbox:
    """Keeps what ``ClientProtocol.sos_kept`` gives.

    Args:
        path: Of the file; its folder is made. One client writes it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[KeptTap]:
        """What was written last; nothing where there is no file yet.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is not what ``write`` wrote; it was put aside as ``….damaged``, so that the next is read.
        """
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return []
        try:
            return msgspec.json.decode(raw, type=list[KeptTap])
        except msgspec.DecodeError as error:
            aside = self._path.with_suffix(self._path.suffix + ".damaged")
            self._path.replace(aside)
            raise ValueError(f"{self._path} is damaged and was put aside as {aside.name}: {error}") from error

    def write(self, kept: list[KeptTap]) -> None:
        """Replace the file; when it returns, a power cut does not take it back. Raises ``OSError``."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(self._path.suffix + ".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # it holds places and notes
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(kept))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
