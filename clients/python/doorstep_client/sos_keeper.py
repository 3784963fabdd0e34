"""Keeps the taps of one client in its outbox, and tells in time of those that nobody received."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from doorstep_client.events import Event
from doorstep_client.outbox import Outbox
from doorstep_client.protocol import ClientProtocol

_log = logging.getLogger(__name__)

AGAIN_S: Final = 5.0
"""Pause after a write that failed, at least: a full disk must not fill the log."""


class SosKeeper:
    """Writes the outbox when it is behind, one write at a time.

    Args:
        outbox: None for none: taps live as long as the client.
        late: Called when a tap was not received in time, also while there is no connection.
    """

    def __init__(
        self,
        outbox: Outbox | None,
        protocol: ClientProtocol,
        now: Callable[[], float],
        late: Callable[[list[Event]], None],
    ) -> None:
        self._outbox = outbox
        self._protocol = protocol
        self._now = now
        self._late = late
        self._is_read = False
        self._written_revision = 0
        self._from = 0.0
        self._writing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Take up the taps of an earlier process."""
        if self._outbox is None:
            return
        try:
            kept = await asyncio.to_thread(self._outbox.read)
        except OSError:
            _log.exception("the outbox cannot be read; it is left alone")
            return
        except ValueError:
            _log.exception("the outbox is damaged")
            kept = []
        self._is_read = True
        self._protocol.restore_sos(kept, self._now())
        self.watch()
        self.stir()

    def stir(self) -> None:
        """Begin to write when the outbox is behind. What was not read yet is not written over."""
        is_behind = self._is_read and self._written_revision != self._protocol.sos_revision
        if is_behind and self._writing is None and self._now() >= self._from:
            self._writing = asyncio.create_task(self._write())

    def watch(self) -> None:
        """Look at the newest tap in time."""
        if self._timer is not None:
            self._timer.cancel()
        at = self._protocol.sos_not_received_at
        if at is not None:
            self._timer = asyncio.get_running_loop().call_later(max(at - self._now(), 0.0), self._look)

    async def close(self) -> None:
        """Wait for the write that is under way."""
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            await self._writing

    def _look(self) -> None:
        self._late(self._protocol.on_deadline(self._now()))
        self.watch()

    async def _write(self) -> None:
        try:
            while self._outbox is not None and self._written_revision != self._protocol.sos_revision:
                revision, kept = self._protocol.sos_revision, self._protocol.sos_kept()
                await asyncio.to_thread(self._outbox.write, kept)
                self._written_revision = revision
        except OSError:
            self._from = self._now() + AGAIN_S
            _log.exception("the outbox cannot be written; tried again in a while")
        finally:
            self._writing = None
