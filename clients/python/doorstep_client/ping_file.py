"""The file in which pings outlive the application: a log of lines, each with its own checksum.

    <crc32> ["p", seq, lat, lng, fixed_at, accuracy_m, speed_mps, heading_deg, battery, mock]
    <crc32> ["f", seq]       everything up to here is stored by the server, or was dropped
    <crc32> ["r", seq]       numbers below may be in use: synced before the first of them is
    <crc32> ["c", seq]       closed in peace; the next number

A line that is torn or damaged costs itself and nothing else. Reads and writes wait for the disk: call them in a
thread, never on an event loop. When to write what is decided in ``ping_keeper.py``.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import msgspec

from doorstep_client.ping_buffer import Fix, Row

SPARE_BYTES: Final = 262_144
"""The log may grow by this, or to three times its size after the last rewrite, before it is written anew."""


@dataclass(slots=True)
class KeptPings:
    """What a file held.

    Attributes:
        rows: In order of their numbers.
        next_seq: No number from here on was used; None for an empty file.
        is_clean: The last process closed it: no number is used that does not stand in it.
        damaged: Lines that could not be read.
    """

    rows: list[Row] = field(default_factory=list)
    next_seq: int | None = None
    is_clean: bool = False
    damaged: int = 0


class PingFile:
    """Keeps what ``ClientProtocol`` has not been able to deliver.

    Args:
        path: Of the file; its folder is made. One client writes it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._size = 0
        self._size_max = 0

    @property
    def is_full_of_old(self) -> bool:
        """Whether it is time to ``rewrite``."""
        return self._size > self._size_max

    def read(self) -> KeptPings:
        """What was kept; nothing where there is no file yet. Raises ``OSError``."""
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return KeptPings()
        return _replay(raw.split(b"\n"))

    def rewrite(self, rows: Sequence[Row], reserved: int) -> None:
        """Replace the file; when it returns, a power cut does not take it back. Raises ``OSError``."""
        self.leave()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(self._path.suffix + ".new")
        lines = b"".join([_line(["r", reserved]), *map(_ping_line, rows)])
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)  # it holds places
        try:
            _write(descriptor, lines)
            os.fsync(descriptor)
            fresh.replace(self._path)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self._size, self._size_max = len(lines), max(3 * len(lines), SPARE_BYTES)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def append(self, rows: Iterable[Row], done_seq: int | None, reserved: int | None, *, sync: bool) -> None:
        """Add to what ``rewrite`` wrote: it outlives the process when this returns, with ``sync`` also the machine.

        Raises:
            OSError: Part of it may have been written: ``rewrite`` before the next.
        """
        if self._descriptor is None:
            raise OSError(f"{self._path} is not open")
        lines = [] if reserved is None else [_line(["r", reserved])]
        lines += map(_ping_line, rows)
        if done_seq is not None:
            lines.append(_line(["f", done_seq]))
        data = b"".join(lines)
        _write(self._descriptor, data)
        self._size += len(data)
        if sync:
            os.fsync(self._descriptor)

    def close(self, next_seq: int) -> None:
        """Say that all is in it and where the numbers go on. Raises ``OSError``. Only after ``append`` of the last."""
        if self._descriptor is not None:
            _write(self._descriptor, _line(["c", next_seq]))
            os.fsync(self._descriptor)
        self.leave()

    def leave(self) -> None:
        """Let go of the file as it is. Idempotent."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


def _line(record: Sequence[Any]) -> bytes:
    body = msgspec.json.encode(record)
    return b"%08x %s\n" % (crc32(body), body)


def _ping_line(row: Row) -> bytes:
    seq, f = row
    return _line(("p", seq, f.lat, f.lng, f.fixed_at, f.accuracy_m, f.speed_mps, f.heading_deg, f.battery, f.mock))


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


_PingRecord = tuple[str, int, float, float, float, float, float | None, float | None, float | None, bool]
_MarkRecord = tuple[str, int]


def _replay(lines: Iterable[bytes]) -> KeptPings:
    kept, rows, done, used, closed_at = KeptPings(), dict[int, Fix](), -1, -1, -1
    for line in filter(None, lines):
        kept.is_clean = False
        try:
            kind, seq, fix = _read(line)
        except ValueError:
            kept.damaged += 1
            continue
        if fix is not None:
            rows[seq] = fix
        elif kind == "f":
            done = max(done, seq)
        elif kind == "c":
            kept.is_clean, closed_at = True, seq
            continue
        else:
            seq -= 1
        used = max(used, seq)
    kept.rows = sorted(((seq, fix) for seq, fix in rows.items() if seq > done), key=itemgetter(0))
    kept.is_clean = kept.is_clean and not kept.damaged
    # Who closed in peace knows which of the marked numbers were used.
    kept.next_seq = closed_at if kept.is_clean else None if used < 0 else max(used + 1, closed_at)
    return kept


def _read(line: bytes) -> tuple[str, int, Fix | None]:
    """Kind, number and, of a ping, its fix. Raises ``ValueError`` (``msgspec`` raises kinds of it)."""
    check, _, body = line.partition(b" ")
    if int(check, 16) != crc32(body):
        raise ValueError("the checksum is of another line")
    if not body.startswith(b'["p"'):
        kind, seq = msgspec.json.decode(body, type=_MarkRecord)
        return kind, seq, None
    kind, seq, lat, lng, fixed_at, *rest = msgspec.json.decode(body, type=_PingRecord)
    return kind, seq, Fix(lat, lng, fixed_at, *rest)
