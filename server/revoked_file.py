"""The file of revoked tokens: read at the start, at a signal, and within half a second of a change."""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from core.service import pause
from server.tokens import Tokens

_log = logging.getLogger(__name__)
LOOK_EVERY_S: Final = 0.5
"""A revocation must hold within a second, whatever else there is to do."""


class RevokedFile:
    """Keeps a tokens' revoked set as the file says.

    Args:
        path: The file; None for none: then nothing is ever read.
        tokens: Whose set it is.
        changed: Called on the loop after each reading: open sessions are to be looked at.
    """

    def __init__(self, path: Path | None, tokens: Tokens, changed: Callable[[], None]) -> None:
        self._path = path
        self._tokens = tokens
        self._changed = changed
        self._seen: tuple[int, int, int] | None = None

    def read(self) -> None:
        """Read it now; a file that cannot be read changes nothing."""
        if self._path is None:
            return
        self._seen = _look(self._path)
        try:
            revoked = self._path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            _log.exception("the file of revoked tokens cannot be read")
            return
        self._tokens.revoke(revoked)
        self._changed()

    async def run(self) -> None:
        """Read it again whenever it is another one, until cancelled."""
        if self._path is None:
            return
        loop = asyncio.get_running_loop()
        while True:
            await pause(LOOK_EVERY_S)
            # In a thread: the folder may be on a network that is slow to answer.
            if await loop.run_in_executor(None, _look, self._path) != self._seen:
                self.read()


def _look(path: Path) -> tuple[int, int, int] | None:
    """What tells one state of a file from another; None when there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
