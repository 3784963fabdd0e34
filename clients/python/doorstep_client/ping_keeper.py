"""Keeps the pings of one client on the disk, a moment behind what is in memory, and never on the event loop.

What is promised: a ping stands in the file as soon as the disk takes it, a moment after ``ping``; from then on it
outlives a kill of the application. The machine's own end it outlives once the file was synced, which is done every
``SYNC_EVERY_S`` and at the end. Numbers are never used twice, whatever was lost. What cannot be written is kept in
memory and written when there is room again, and the application is told (``PingsKept``).
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from doorstep_client.events import Event, PingsKept
from doorstep_client.ping_buffer import PingBuffer
from doorstep_client.ping_file import KeptPings, PingFile
from doorstep_client.protocol import ClientProtocol

_log = logging.getLogger(__name__)

SYNC_EVERY_S: Final = 30.0
AGAIN_S: Final = 5.0
"""Pause after a write that failed, at least: a full disk must not fill the log."""
OPEN_TIMEOUT_S: Final = 2.0
"""A disk that does not answer by then does not hold up the client: pings are in memory only."""
RESERVED: Final = 1_000
"""Numbers that are marked as used at a time; marked anew when half are."""


class PingKeeper:
    """Writes what changed, one write at a time.

    Args:
        tell: Takes events for the application.
    """

    def __init__(
        self, file: PingFile, protocol: ClientProtocol, now: Callable[[], float], tell: Callable[[list[Event]], None]
    ) -> None:
        self._file = file
        self._protocol = protocol
        self._now = now
        self._tell = tell
        self._is_open = False
        self._on_disk = False
        self._must_rewrite = True
        self._written_seq = -1
        self._done_seq = -1
        self._reserved = -1
        self._from = 0.0
        self._synced_at = 0.0
        self._writing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Take up what is in the file, and mark numbers as used; before the first ping."""
        reading = asyncio.ensure_future(asyncio.to_thread(self._file.read))
        try:
            kept = await asyncio.wait_for(asyncio.shield(reading), OPEN_TIMEOUT_S)
        except (OSError, TimeoutError) as error:
            reason = str(error) or "the disk does not answer"
            reading.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._protocol.restore_pings(KeptPings(), self._now())
            self._tell([PingsKept(False, f"the file cannot be read and is left alone: {reason}")])
            return
        self._is_open = True
        self._protocol.restore_pings(kept, self._now())
        if kept.damaged:
            self._tell([PingsKept(True, "the file was damaged", kept.damaged)])
        self._on_disk = True
        self.stir()
        if self._writing is not None:
            await asyncio.wait([self._writing], timeout=OPEN_TIMEOUT_S)
        if self._must_rewrite:
            self._protocol.skip_ping_numbers(self._now())

    def stir(self) -> None:
        """Begin to write when the file is behind."""
        if self._writing is None and self._is_open and self._now() >= self._from and self._is_behind():
            self._writing = asyncio.create_task(self._write_all())

    async def written(self) -> bool:
        """Wait until everything so far stands in the file; False when it cannot be written."""
        self.stir()
        while self._writing is not None:
            await asyncio.wait([self._writing])
            self.stir()
        return self._on_disk

    async def close(self) -> None:
        """Write the rest and say where the numbers go on."""
        self._from = 0.0
        self.stir()
        if self._writing is not None:
            await asyncio.wait([self._writing])
        if not self._is_open or self._must_rewrite or self._buffer is None:
            self._file.leave()
            return
        try:
            await asyncio.to_thread(self._file.close, self._buffer.next_seq)
        except OSError:
            _log.exception("the file of pings could not be closed; their numbers will jump")
            self._file.leave()

    @property
    def _buffer(self) -> PingBuffer | None:
        return self._protocol.ping_buffer

    def _is_behind(self) -> bool:
        buffer = self._buffer
        if buffer is None:
            return False
        is_new = buffer.next_seq - 1 > self._written_seq or buffer.done_seq > self._done_seq
        return self._must_rewrite or is_new or self._file.is_full_of_old

    async def _write_all(self) -> None:
        try:
            while self._is_behind() and (buffer := self._buffer) is not None:
                await self._write(buffer)
            if not self._on_disk:
                self._on_disk = True
                self._tell([PingsKept(True, "the file can be written again")])
        except OSError as error:
            self._must_rewrite, self._from = True, self._now() + AGAIN_S
            _log.warning("the file of pings cannot be written; tried again in a while: %s", error)
            if self._on_disk:
                self._on_disk = False
                self._tell([PingsKept(False, str(error))])
        finally:
            self._writing = None

    async def _write(self, buffer: PingBuffer) -> None:
        last, done, now = buffer.next_seq - 1, buffer.done_seq, self._now()
        reserved = last + 1 + RESERVED
        if self._must_rewrite or self._file.is_full_of_old:
            await asyncio.to_thread(self._file.rewrite, buffer.newer_than(-1), reserved)
            self._must_rewrite, self._reserved, self._synced_at = False, reserved, now
        else:
            rows = buffer.newer_than(self._written_seq)
            reserve = reserved if self._reserved - last < RESERVED // 2 else None
            sync = reserve is not None or now >= self._synced_at + SYNC_EVERY_S
            newly_done = done if done > self._done_seq else None
            await asyncio.to_thread(self._file.append, rows, newly_done, reserve, sync=sync)
            self._reserved = self._reserved if reserve is None else reserve
            self._synced_at = now if sync else self._synced_at
        self._written_seq, self._done_seq = last, done
