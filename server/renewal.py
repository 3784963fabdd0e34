"""Secrets while the server runs: read again at SIGHUP, taken over whole or not at all, and no socket is dropped."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from server.config import ConfigError
from server.keys import Key
from server.outgoing_secrets import OutgoingSecrets

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FreshSecrets:
    """What the config and its files say now."""

    keys: Mapping[str, Key]
    outgoing: OutgoingSecrets


class Renewal:
    """Reads secrets again when asked.

    Args:
        read: Reads config and files; blocks, raises ``ConfigError``. None where there is nothing to read again.
        take: Takes them over, on the loop.
    """

    def __init__(self, read: Callable[[], FreshSecrets] | None, take: Callable[[FreshSecrets], None]) -> None:
        self._read = read
        self._take = take
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Read them again soon. Idempotent until then."""
        self._asked.set()

    async def run(self) -> None:
        """Do what is asked until cancelled. What is unfit is logged, and the secrets in use stay."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            if self._read is None:
                continue
            try:
                fresh = await asyncio.get_running_loop().run_in_executor(None, self._read)
            except ConfigError as error:
                _log.error(
                    "new secrets are unfit: the old ones stay", extra={"problems": list(map(str, error.problems))}
                )
                continue
            self._take(fresh)
            _log.info("secrets were read again", extra={"keys": sorted(fresh.keys)})
