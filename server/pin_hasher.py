"""PINs hashed with Argon2id in threads of their own: ``safety.pins.PinHasher``.

Source: RFC 9106; parameters of the OWASP password storage cheat sheet (19 MiB, two passes, one lane).
"""

import asyncio
import logging
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from safety.pins import Look
from safety.settings import PinSettings

_log = logging.getLogger(__name__)

_THREADS: Final = 2
"""Each holds ``memory_kib`` while it works; more would only take memory from each other."""
_NOBODY: Final = "no PIN has letters"


class Argon2Pins:
    """Hashes and compares PINs. The event loop never waits for it; close it when the server ends."""

    def __init__(self, settings: PinSettings, executor: Executor | None = None) -> None:
        """``executor``: only where the event loop runs executor jobs inline; else None for threads of its own."""
        self._hasher = PasswordHasher(
            time_cost=settings.passes, memory_cost=settings.memory_kib, parallelism=1, hash_len=32, salt_len=16
        )
        self._own = None if executor is not None else ThreadPoolExecutor(_THREADS, "pins")
        self._executor = executor or self._own
        self._nobody: str | None = None

    async def hash(self, pin: str) -> str:
        """See the port."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._hasher.hash, pin)

    def look(self, hashes: tuple[str, str] | None, pin: str, done: Look) -> None:
        """See the port."""
        looked = asyncio.get_running_loop().run_in_executor(self._executor, self._both, hashes, pin)

        def tell(looked: asyncio.Future[tuple[bool, bool]]) -> None:
            failed = looked.cancelled() or looked.exception() is not None
            if failed:
                _log.error("a PIN could not be looked at")  # never with what was raised: it may hold the PIN
            done(None if failed else looked.result())

        looked.add_done_callback(tell)

    async def compare(self, hashes: tuple[str, str] | None, pin: str) -> tuple[bool, bool] | None:
        """See the port."""
        told: asyncio.Future[tuple[bool, bool] | None] = asyncio.get_running_loop().create_future()
        self.look(hashes, pin, lambda found: None if told.done() else told.set_result(found))
        return await told

    def close(self) -> None:
        """Let the threads go. Idempotent."""
        if self._own is not None:
            self._own.shutdown(wait=True)

    def _both(self, hashes: tuple[str, str] | None, pin: str) -> tuple[bool, bool]:
        if hashes is None:
            nobody = self._nobody = self._nobody or self._hasher.hash(_NOBODY)
            hashes = (nobody, nobody)
        # Both, whatever the first one says.
        return self._is(hashes[0], pin), self._is(hashes[1], pin)

    def _is(self, kept: str, pin: str) -> bool:
        try:
            return self._hasher.verify(kept, pin)
        except (VerificationError, InvalidHashError):
            return False
