"""The file of the emergency journal: of fixed size, it takes frames when the database does not.

::

    block 0, 1   header slots, written in turns: magic, generation, checksum
    block 2 ...  two halves. The frames of a generation are in the half that its parity names:
                 header (length, generation, number, checksums), payload, filled up to whole blocks
                 behind the last frame: a block of zeros, written together with it

Its space is taken and written once, at the first start, so that a full disk does not matter. Each append is one write
with O_DSYNC. Frames begin on block boundaries: a write that is torn by a power cut never touches a block that holds
what was promised before. To clear means to write a header with the next generation; frames of older ones are nothing.
To rewrite means to fill the other half with less that says the same, and then to write its header: until that is on
the disk the old half counts, whole and untouched.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

BLOCK_BYTES: Final = 4_096
"""No disk in use tears a write within less."""
MIB: Final = 1_048_576

_SLOTS: Final = 2
_DATA_AT: Final = _SLOTS * BLOCK_BYTES
_HEADER: Final = struct.Struct("<8sQI")
_HEADER_MAGIC: Final = b"DSJOURN2"
_FRAME: Final = struct.Struct("<4sIQQII")
_FRAME_MAGIC: Final = b"DSJF"


class JournalFull(Exception):
    """What is to be appended does not fit any more."""


class RewriteLost(Exception):
    """The rewriting was given up meanwhile: the journal was cleared, or cannot be rewritten."""


def whole_blocks(length: int) -> int:
    """Bytes that a frame of this length takes."""
    return -(-length // BLOCK_BYTES) * BLOCK_BYTES


class _Half:
    """Where the next frame of a generation goes."""

    def __init__(self, generation: int, size_bytes: int) -> None:
        half_bytes = (size_bytes - _DATA_AT) // (2 * BLOCK_BYTES) * BLOCK_BYTES
        self.generation = generation
        self.number = 0
        self.begins_at = self.end_at = _DATA_AT + generation % 2 * half_bytes
        self.limit_at = self.begins_at + half_bytes


class JournalFile:
    """The file itself; blocks, and belongs to one thread at a time.

    Args:
        path: Made when missing.
        size_bytes: Its size; a larger file is kept as it is, a smaller one grows as soon as it holds nothing.

    Attributes:
        payloads: What was held when it was opened.
        damage: What could not be read then, in words; empty for a sound file.
        is_mixed: Whether a header was lost, so that ``payloads`` may have the same thing from before and after a
            rewriting, in any order.

    Raises:
        OSError: It cannot be made, opened, or another process has it.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.damage = ""
        self.is_mixed = False
        self.payloads: list[bytes] = []
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_DSYNC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._open(path, whole_blocks(size_bytes))
        except BaseException:
            os.close(self._file)
            raise

    def _open(self, path: Path, wanted_bytes: int) -> None:
        there_bytes = os.fstat(self._file).st_size // BLOCK_BYTES * BLOCK_BYTES
        self._size_bytes = there_bytes
        self._half = _Half(0, _DATA_AT)
        self._highest = 0
        self._next: _Half | None = None
        self._since: list[bytes] = []
        self._flip_to: _Half | None = None
        if there_bytes > _DATA_AT:
            self._read()
            if self.payloads or (self._half.generation and there_bytes >= wanted_bytes):
                return
        if there_bytes < wanted_bytes:
            self._take_space(path, there_bytes, wanted_bytes)
            self._size_bytes = wanted_bytes
        self.clear()

    @property
    def held_bytes(self) -> int:
        """Bytes of what was appended since the last clear."""
        return self._half.end_at - self._half.begins_at

    @property
    def size_bytes(self) -> int:
        """Bytes that it can hold: half of the file."""
        return self._half.limit_at - self._half.begins_at

    def append(self, payload: bytes, *, leave_bytes: int = 0) -> None:
        """Write a frame; on the disk when this returns.

        After an error the same place is written again as a whole by the next append, so trying again is sound: no
        block counts that was not written and synced by the very call that succeeded.

        Args:
            payload: What to keep.
            leave_bytes: Room that must be left behind it.

        Raises:
            JournalFull: It does not fit.
            OSError: The disk failed.
        """
        self._settle()
        self._put(self._half, payload, leave_bytes)
        if self._next is not None:
            self._since.append(payload)

    def clear(self) -> None:
        """Hold nothing any more; a rewriting is given up. Raises ``OSError``: then everything is still held."""
        self.rewrite_drop()
        for _ in range(_SLOTS if self.is_mixed else 1):  # the damaged header as well
            self._flip_to = _Half(self._unused_generation(), self._size_bytes)
            self._settle()
        self.is_mixed = False

    def rewrite_begin(self) -> None:
        """From now on ``rewrite`` takes what stands for everything that is held. Raises ``RewriteLost``."""
        self.rewrite_drop()
        # Which of the two halves counts is not known before the next clear: neither may be overwritten.
        if self.is_mixed or self._flip_to is not None:
            raise RewriteLost
        self._next = _Half(self._unused_generation(), self._size_bytes)

    def rewrite(self, payload: bytes) -> None:
        """Write a frame that counts once ``rewrite_end`` has returned. Raises as ``append``, or ``RewriteLost``."""
        if self._next is None:
            raise RewriteLost
        self._highest = max(self._highest, self._next.generation)
        try:
            self._put(self._next, payload, 0)
        except BaseException:
            self.rewrite_drop()
            raise

    def rewrite_drop(self) -> None:
        """Everything is held as before. Idempotent."""
        self._next, self._since = None, []

    def rewrite_end(self) -> None:
        """What was rewritten counts, with what was appended meanwhile behind it; the rest is let go.

        Raises:
            JournalFull: It would not fit; everything is held as before.
            RewriteLost: There is nothing to end.
            OSError: The disk failed; everything is held in one of the halves, and nothing is taken until it is known
                in which.
        """
        for payload in self._since:
            self.rewrite(payload)
        if self._next is None:
            raise RewriteLost
        self._flip_to = self._next
        self.rewrite_drop()
        self._settle()

    def close(self) -> None:
        """Let the file go."""
        os.close(self._file)

    def _settle(self) -> None:
        """Write the header of the half that is to count.

        It may be on the disk although the write failed. What is appended to the old half then would be lost, so
        nothing is before this has worked.
        """
        half = self._flip_to
        if half is None:
            return
        self._highest = max(self._highest, half.generation)
        head = struct.pack("<8sQ", _HEADER_MAGIC, half.generation)
        block = (head + struct.pack("<I", zlib.crc32(head))).ljust(BLOCK_BYTES, b"\0")
        self._write(block, half.generation % _SLOTS * BLOCK_BYTES)
        self._half, self._flip_to = half, None

    def _unused_generation(self) -> int:
        """One of the other half that no frame in the file has, not even of a rewriting that came to nothing."""
        found = self._highest + 1
        return found if found % 2 != self._half.generation % 2 else found + 1

    def _put(self, half: _Half, payload: bytes, leave_bytes: int) -> None:
        head = struct.pack("<4sIQQI", _FRAME_MAGIC, len(payload), half.generation, half.number, zlib.crc32(payload))
        frame = head + struct.pack("<I", zlib.crc32(head)) + payload
        end_at = half.end_at + whole_blocks(len(frame))
        if end_at + leave_bytes > half.limit_at:
            raise JournalFull
        zeros_to = min(end_at + BLOCK_BYTES, half.limit_at)  # nothing older may look like the next frame
        self._write(frame.ljust(zeros_to - half.end_at, b"\0"), half.end_at)
        half.end_at = end_at
        half.number += 1

    # -- the file -------------------------------------------------------------------------------------

    def _take_space(self, path: Path, there_bytes: int, wanted_bytes: int) -> None:
        os.posix_fallocate(self._file, 0, wanted_bytes)
        # Written as well: the first write into space that was only taken needs room for the file system's own notes.
        at = there_bytes
        while at < wanted_bytes:
            self._write(bytes(min(MIB, wanted_bytes - at)), at)
            at += MIB
        os.fsync(self._file)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _write(self, data: bytes, at: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file, view, at)
            view, at = view[written:], at + written

    def _content(self) -> memoryview:
        content = bytearray()
        while len(content) < self._size_bytes:
            part = os.pread(self._file, MIB, len(content))
            if not part:
                break
            content += part
        return memoryview(bytes(content[: self._size_bytes]))

    # -- what it holds --------------------------------------------------------------------------------

    def _read(self) -> None:
        content = self._content()
        generation = self._newest_header(content)
        used = {frame.generation for frame in _frames(content, _DATA_AT, len(content))}
        self._highest = max([generation, *used])
        # A lost header may have been the newer one, or there may have been none yet: both halves are read.
        generations = sorted(g for g in used if g >= generation)[-2:] if self.is_mixed else []
        self._half = _Half(generation, self._size_bytes)
        for one in generations or [generation]:
            self._half = _Half(one, self._size_bytes)
            self._read_frames(content, self._half)

    def _newest_header(self, content: memoryview) -> int:
        """Its generation; 0 for a file that has none yet."""
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
            self.is_mixed = True
        return found

    def _read_frames(self, content: memoryview, half: _Half) -> None:
        at = half.begins_at
        while at < half.limit_at:
            frame = _Frame.read(content, at)
            if frame is not None and frame.generation == half.generation and frame.number >= half.number:
                if frame.number > half.number:
                    self._damaged(f"{frame.number - half.number} turns before turn {frame.number} are lost")
                half.number = frame.number + 1
                half.end_at = at = frame.end_at
                if frame.payload is None:
                    self._damaged(f"turn {frame.number} cannot be read")
                else:
                    self.payloads.append(frame.payload)
                continue
            if frame is None and any(content[at : at + BLOCK_BYTES]):
                self._damaged(f"block {at // BLOCK_BYTES} cannot be read")
            # Behind damage there may be more that was promised.
            further = next(
                (
                    frame.at
                    for frame in _frames(content, at + BLOCK_BYTES, half.limit_at)
                    if frame.generation == half.generation and frame.number >= half.number
                ),
                None,
            )
            if further is None:
                return
            at = further

    def _damaged(self, what: str) -> None:
        self.damage = f"{self.damage}; {what}" if self.damage else what


class _Frame:
    """A frame whose header is intact; ``payload`` None when that is not."""

    def __init__(self, at: int, length: int, generation: int, number: int, payload: bytes | None) -> None:
        self.at = at
        self.end_at = at + whole_blocks(_FRAME.size + length)
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


def _frames(content: memoryview, at: int, limit_at: int) -> Iterator[_Frame]:
    """Whatever looks like a frame, of any generation."""
    while at < limit_at:
        frame = _Frame.read(content, at)
        if frame is not None:
            yield frame
        at += BLOCK_BYTES
