"""Space on the data disk that is held back, and given to ``safety.db`` when the disk is full.

Positions are the first to go: while the disk is low they are dropped (``is_low``). When it is full all the same, the
reserve file is deleted, and made again when there is room.
"""

import logging
import os
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)

FILE_NAME: Final = "reserve"
MIB: Final = 1_048_576
LOW_SHARE: Final = 4
"""The disk is low when less is free than this part of the reserve."""
OPEN_BYTES: Final = 4 * MIB
"""Less is not enough to open the databases and fold their logs."""
ROOM_SHARE: Final = 2
"""The reserve is made again when its size is free as many times, so that it does not come and go."""


class Reserve:
    """The file, and what is known of the disk. ``release`` may be called in any thread, the rest in one at a time.

    Args:
        folder: The data folder; must exist.
        size_mib: How much to hold back; 0 for nothing.

    Attributes:
        released: How often the reserve was needed.
        is_low: Whether so little is free that what can be spared is not written.
        free_bytes: What is free, as of the last look.
    """

    def __init__(self, folder: Path, size_mib: int) -> None:
        self.released = 0
        self.is_low = False
        self.free_bytes = 0
        self._path = folder / FILE_NAME
        self._size_bytes = size_mib * MIB

    @property
    def is_held(self) -> bool:
        """Whether the file is there."""
        return self._path.exists()

    def look(self) -> None:
        """See how much is free; make the reserve when there is room, give it up when there is none. Blocks."""
        try:
            found = os.statvfs(self._path.parent)
        except OSError as error:
            _log.error("the data disk cannot be looked at", extra={"reason": str(error)})
            return
        self.free_bytes = found.f_bavail * found.f_frsize
        # Once the reserve was needed, what can be spared stays away until it is held again.
        enough_bytes = self._size_bytes // LOW_SHARE if self.is_held else ROOM_SHARE * self._size_bytes
        was_low, self.is_low = self.is_low, self.free_bytes < enough_bytes
        if self.is_low and not was_low:
            _log.error("the data disk is nearly full: positions are not stored", extra={"free_bytes": self.free_bytes})
        if self._size_bytes and not self.is_held and not self.is_low:
            self._take()

    def open(self) -> None:
        """The first look, at the start: a database needs some space even to be opened. Blocks."""
        self.look()
        if self.free_bytes < OPEN_BYTES:
            self.release()

    def note_full(self) -> None:
        """A file that has no claim on the reserve found the disk full."""
        self.is_low = self._size_bytes > 0

    def release(self) -> None:
        """The disk is full: give the space to whoever writes next. Idempotent."""
        self.is_low = self._size_bytes > 0
        try:
            self._path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            _log.critical("the reserve could not be given up", extra={"reason": str(error)})
            return
        self.released += 1
        _log.critical("the data disk is full: the reserve was given up", extra={"bytes": self._size_bytes})

    def _take(self) -> None:
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(file, 0, self._size_bytes)
            finally:
                os.close(file)
        except OSError as error:
            self._path.unlink(missing_ok=True)
            _log.error("there is no room for the reserve", extra={"reason": str(error)})
