"""The emergency journal: a file of fixed size that takes a turn of safety when the database does not.

::

    block 0, 1   header slots, written in turns: magic, generation, checksum
    block 2 ...  frames: header (length, generation, number, checksums), payload, filled up to whole blocks
                 behind the last frame: a block of zeros, written together with it

Its space is taken and written once, at the first start, so that a full disk does not matter. Each append is one write
with O_DSYNC. Frames begin on block boundaries: a write that is torn by a power cut never touches a block that holds
what was promised before. To clear means to write a header with the next generation; frames of older ones are nothing.
"""

import asyncio
import fcntl
import logging
import os
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from core.errors import Unavailable
from safety.errors import JournalRefused
from safety.ports import JournalContent, JournalEntry
from store.blobs import Blob

_log = logging.getLogger(__name__)

BLOCK_BYTES: Final = 4_096
"""No disk in use tears a write within less."""
FILE_NAME: Final = "safety.journal"
MIB: Final = 1_048_576
WAITING_MAX: Final = 256
"""Turns that wait for a disk that hangs; one more is refused, and tried again with the others."""

_SLOTS: Final = 2
_DATA_AT: Final = _SLOTS * BLOCK_BYTES
_HEADER: Final = struct.Struct("<8sQI")
_HEADER_MAGIC: Final = b"DSJOURN1"
_FRAME: Final = struct.Struct("<4sIQQII")
_FRAME_MAGIC: Final = b"DSJF"
ENTRY: Final = Blob(JournalEntry)

ResultT = TypeVar("ResultT")


class JournalFull(Exception):
    """What is to be appended does not fit any more."""


def _whole_blocks(length: int) -> int:
    return -(-length // BLOCK_BYTES) * BLOCK_BYTES


class JournalFile:
    """The file itself; blocks, and belongs to one thread at a time.

    Args:
        path: Made when missing.
        size_bytes: Its size; a larger file is kept as it is, a smaller one grows.

    Attributes:
        payloads: What was held when it was opened.
        damage: What could not be read then, in words; empty for a sound file.

    Raises:
        OSError: It cannot be made, opened, or another process has it.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_DSYNC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._size_bytes = self._take_space(path, _whole_blocks(size_bytes))
            content = self._read_all()
        except BaseException:
            os.close(self._file)
            raise
        self.damage = ""
        self.payloads: list[bytes] = []
        self._generation = self._find_generation(content)
        self._number = 0
        self._end_at = _DATA_AT
        self._read_frames(content)
        if self._generation == 0:
            self.clear()

    @property
    def held_bytes(self) -> int:
        """Bytes of what was appended since the last clear."""
        return self._end_at - _DATA_AT

    @property
    def size_bytes(self) -> int:
        """Bytes that it can hold."""
        return self._size_bytes - _DATA_AT

    def append(self, payload: bytes) -> None:
        """Write a frame; on the disk when this returns.

        After an error the same place is written again as a whole by the next append, so trying again is sound: no
        block counts that was not written and synced by the very call that succeeded.

        Raises:
            JournalFull: It does not fit.
            OSError: The disk failed.
        """
        head = struct.pack("<4sIQQI", _FRAME_MAGIC, len(payload), self._generation, self._number, zlib.crc32(payload))
        frame = head + struct.pack("<I", zlib.crc32(head)) + payload
        end_at = self._end_at + _whole_blocks(len(frame))
        if end_at > self._size_bytes:
            raise JournalFull
        zeros_to = min(end_at + BLOCK_BYTES, self._size_bytes)  # nothing older may look like the next frame
        self._write(frame.ljust(zeros_to - self._end_at, b"\0"), self._end_at)
        self._end_at = end_at
        self._number += 1

    def clear(self) -> None:
        """Hold nothing any more. Raises ``OSError``: then everything is still held."""
        generation = self._generation + 1
        head = struct.pack("<8sQ", _HEADER_MAGIC, generation)
        block = (head + struct.pack("<I", zlib.crc32(head))).ljust(BLOCK_BYTES, b"\0")
        self._write(block, generation % _SLOTS * BLOCK_BYTES)
        self._generation, self._number, self._end_at = generation, 0, _DATA_AT

    def close(self) -> None:
        """Let the file go."""
        os.close(self._file)

    # -- the file -------------------------------------------------------------------------------------

    def _take_space(self, path: Path, size_bytes: int) -> int:
        there = os.fstat(self._file).st_size
        if there >= size_bytes:
            return there // BLOCK_BYTES * BLOCK_BYTES
        os.posix_fallocate(self._file, 0, size_bytes)
        # Written as well: the first write into space that was only taken needs room for the file system's own notes.
        at = there // BLOCK_BYTES * BLOCK_BYTES
        while at < size_bytes:
            self._write(bytes(min(MIB, size_bytes - at)), at)
            at += MIB
        os.fsync(self._file)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return size_bytes

    def _write(self, data: bytes, at: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file, view, at)
            view, at = view[written:], at + written

    def _read_all(self) -> memoryview:
        content = bytearray()
        while len(content) < self._size_bytes:
            part = os.pread(self._file, MIB, len(content))
            if not part:
                break
            content += part
        return memoryview(bytes(content))

    # -- what it holds --------------------------------------------------------------------------------

    def _find_generation(self, content: memoryview) -> int:
        """The newest header's; 0 for a file that has none yet."""
        found, damaged = 0, 0
        for slot in range(_SLOTS):
            at = slot * BLOCK_BYTES
            magic, generation, crc = _HEADER.unpack_from(content, at)
            if magic == _HEADER_MAGIC and crc == zlib.crc32(content[at : at + _HEADER.size - 4]):
                found = max(found, generation)
            elif any(content[at : at + _HEADER.size]):
                damaged += 1
        if damaged:
            self._damaged("a header cannot be read")
            # The lost one may have been the newer. Frames that the database has already do no harm when read again.
            found = max([found, *(frame.generation for frame in self._frames_anywhere(content))])
        return found

    def _read_frames(self, content: memoryview) -> None:
        at = _DATA_AT
        while at < self._size_bytes:
            frame = _Frame.read(content, at)
            if frame is not None and frame.generation == self._generation and frame.number >= self._number:
                if frame.number > self._number:
                    self._damaged(f"{frame.number - self._number} turns before turn {frame.number} are lost")
                self._number = frame.number + 1
                self._end_at = at = frame.end_at
                if frame.payload is None:
                    self._damaged(f"turn {frame.number} cannot be read")
                else:
                    self.payloads.append(frame.payload)
                continue
            if frame is None and any(content[at : at + BLOCK_BYTES]):
                self._damaged(f"block {at // BLOCK_BYTES} cannot be read")
            # Behind damage there may be more that was promised.
            further = self._next_of_this_generation(content, at + BLOCK_BYTES)
            if further is None:
                return
            at = further

    def _next_of_this_generation(self, content: memoryview, at: int) -> int | None:
        for frame in self._frames_anywhere(content, at):
            if frame.generation == self._generation and frame.number >= self._number:
                return frame.at
        return None

    def _frames_anywhere(self, content: memoryview, at: int = _DATA_AT) -> Iterator["_Frame"]:
        while at < self._size_bytes:
            frame = _Frame.read(content, at)
            if frame is not None:
                yield frame
            at += BLOCK_BYTES

    def _damaged(self, what: str) -> None:
        self.damage = f"{self.damage}; {what}" if self.damage else what


class _Frame:
    """A frame whose header is intact; ``payload`` None when that is not."""

    def __init__(self, at: int, length: int, generation: int, number: int, payload: bytes | None) -> None:
        self.at = at
        self.end_at = at + _whole_blocks(_FRAME.size + length)
        self.generation = generation
        self.number = number
        self.payload = payload

    @classmethod
    def read(cls, content: memoryview, at: int) -> "_Frame | None":
        """The frame at ``at``, None when there is none."""
        magic, length, generation, number, payload_crc, crc = _FRAME.unpack_from(content, at)
        payload_at = at + _FRAME.size
        if magic != _FRAME_MAGIC or crc != zlib.crc32(content[at : payload_at - 4]):
            return None
        payload = bytes(content[payload_at : payload_at + length])
        return cls(at, length, generation, number, payload if zlib.crc32(payload) == payload_crc else None)


class EmergencyJournal:
    """``safety.ports.Journal`` on a ``JournalFile``, in a thread of its own.

    Args:
        folder: Where the file is, or will be; made when missing.
        size_mib: Its size.
        executor: Only where the event loop runs executor jobs inline; else None.

    Attributes:
        outcomes: What became of turns: ``kept``, ``full``, ``failed`` (the disk), ``waiting`` (too many at once); and
            ``damaged`` when what was read was.
    """

    def __init__(self, folder: Path, size_mib: int, executor: Executor | None = None) -> None:
        self.outcomes: Counter[str] = Counter()
        self._path = folder / FILE_NAME
        self._size_mib = size_mib
        self._own_thread = None if executor else ThreadPoolExecutor(1, thread_name_prefix="safety-journal")
        self._executor = executor or self._own_thread
        self._file: JournalFile | None = None
        self._waiting = 0

    def open(self) -> None:
        """Open the file now, in the caller's thread. A failure is logged, and tried again with each append."""
        try:
            self._opened()
        except OSError as error:
            _log.critical("the emergency journal cannot be opened", extra={"reason": str(error)})

    @property
    def held_bytes(self) -> int:
        """Bytes that the database has not taken yet."""
        return 0 if self._file is None else self._file.held_bytes

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._file is not None

    async def read(self) -> JournalContent:
        """See the port."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._read)

    def append(self, entry: JournalEntry, done: Callable[[JournalRefused | None], None]) -> None:
        """See the port."""
        loop = asyncio.get_running_loop()
        if self._waiting >= WAITING_MAX:
            self.outcomes["waiting"] += 1
            loop.call_soon(done, JournalRefused(f"{WAITING_MAX} turns wait for the journal", outcome="waiting"))
            return
        self._waiting += 1

        def answered(future: asyncio.Future[JournalRefused | None]) -> None:
            self._waiting -= 1
            refusal = future.result()
            self.outcomes["kept" if refusal is None else refusal.outcome] += 1
            done(refusal)

        # Encoded here: what the engine goes on to change must not be changed in the frame.
        loop.run_in_executor(self._executor, self._append, ENTRY.pack(entry)).add_done_callback(answered)

    def clear(self) -> None:
        """See the port."""
        asyncio.get_running_loop().run_in_executor(self._executor, self._clear)

    async def stop(self) -> None:
        """Close the file. Idempotent."""
        if self._own_thread is not None:
            self._own_thread.shutdown(wait=True)
        if self._file is not None:
            self._file.close()
            self._file = None

    # -- in the journal's thread ----------------------------------------------------------------------

    def _opened(self) -> JournalFile:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = JournalFile(self._path, self._size_mib * MIB)
        return self._file

    def _read(self) -> JournalContent:
        try:
            file = self._opened()
        except OSError as error:
            return JournalContent((), f"the journal cannot be opened: {error}")
        entries, damage = [], [file.damage] if file.damage else []
        for number, payload in enumerate(file.payloads):
            try:
                entries.append(ENTRY.unpack(payload))
            except Unavailable as error:
                damage.append(f"turn {number}: {error.message}")
        if damage:
            self.outcomes["damaged"] += 1
        return JournalContent(entries, "; ".join(damage))

    def _append(self, payload: bytes) -> JournalRefused | None:
        try:
            self._opened().append(payload)
        except JournalFull:
            return JournalRefused("the emergency journal is full", outcome="full")
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing is promised and somebody waits to hear it
            _log.exception("the emergency journal failed")
            return JournalRefused(f"the emergency journal failed: {error}", outcome="failed")
        return None

    def _clear(self) -> None:
        if self._file is None or not self._file.held_bytes:
            return
        try:
            self._file.clear()
        except OSError as error:
            _log.error("the emergency journal could not be cleared", extra={"reason": str(error)})
