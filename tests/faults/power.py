"""Power cuts, from a recording: what a disk may hold when the power goes in the middle of a run.

strace writes down every write with its bytes, every sync and every answer, in the order in which they began and ended.
A write counts as on the disk when a sync of its file that began after it has ended (or the write itself has, for a
file opened with O_DSYNC). Of all others each 512-byte sector is there or not, as the disk likes. Cuts fall after each
event; for each, the disk that has nothing unsynced is looked at, the one that has everything, and random ones between.
"""

import os
import random
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from store.journal import FILE_NAME
from tests.faults.injected import traced
from tests.faults.trace import Call, read_trace

NAMES = ("safety.db", "safety.db-wal", FILE_NAME)
SECTOR_BYTES = 512
_FILE = re.compile(r"^\d+<(?P<path>[^>]*)>")
_WRITE = re.compile(r'^\d+<[^>]*>, "(?P<data>(?:\\x[0-9a-f]{2})*)", (?P<length>\d+), (?P<at>\d+)')
_TRUNCATE = re.compile(r"^\d+<[^>]*>, (?P<length>\d+)")
_ACK = re.compile(rb'"type":"sos_ack".*?"key":"(?P<key>[^"]*)".*?"durable":true')


@dataclass
class Recording:
    """The files as they were, and what was done to them."""

    base: dict[str, bytes] = field(default_factory=dict)
    synchronous: set[str] = field(default_factory=set)
    """Files whose every write is a sync as well."""
    calls: list[Call] = field(default_factory=list)


@dataclass
class _Event:
    """A write, a cut of a file's length, or an answer; numbers are lines of the trace."""

    began: int
    ended: float
    file: str = ""
    at: int = 0
    data: bytes = b""
    length: int | None = None
    answered: str = ""
    durable_at: float = float("inf")


@asynccontextmanager
async def recorded(pid: int, folder: Path, trace: Path) -> AsyncIterator[Recording]:
    """Record what the server does to the files of safety."""
    recording = Recording()
    os.sync()
    for name in NAMES:
        path = folder / name
        recording.base[name] = path.read_bytes() if path.exists() else b""
    recording.synchronous = set(_synchronous(pid))
    calls = "pwrite64,pwritev,fdatasync,fsync,ftruncate,sendto,sendmsg,write,writev"
    async with traced(pid, "-y", "-xx", "-s", "200000", "-e", f"trace={calls}", out=trace):
        yield recording
    recording.calls = read_trace(trace.read_text(errors="replace").splitlines())


def _synchronous(pid: int) -> Iterator[str]:
    """Names of the files that a process has open with O_DSYNC (proc(5): fdinfo)."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        name = Path(os.readlink(link)).name
        info = Path(f"/proc/{pid}/fdinfo/{link.name}").read_text() if name in NAMES else ""
        flags = re.search(r"^flags:\s+(\d+)", info, re.MULTILINE)
        if flags is not None and int(flags[1], 8) & os.O_DSYNC:
            yield name


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


def _name(call: Call) -> str:
    found = _FILE.match(call.args)
    if found is None:
        return ""
    path = found["path"]
    return (_bytes(path).decode() if path.startswith("\\x") else path).rsplit("/", 1)[-1]


def _events(recording: Recording) -> list[_Event]:
    events: list[_Event] = []
    for call in recording.calls:
        name = _name(call)
        ended = float("inf") if call.ended is None else float(call.ended)
        if name in NAMES and call.name == "pwrite64":
            write = _WRITE.match(call.args)
            assert write is not None, call.args[:200]
            data = _bytes(write["data"])
            assert len(data) == int(write["length"])
            event = _Event(call.began, ended, name, int(write["at"]), data)
            if name in recording.synchronous:
                event.durable_at = ended
            events.append(event)
        elif name in NAMES and call.name == "ftruncate":
            cut = _TRUNCATE.match(call.args)
            assert cut is not None
            events.append(_Event(call.began, ended, name, length=int(cut["length"])))
        elif name in NAMES and call.name in ("fdatasync", "fsync") and call.result == 0:
            for event in events:
                if event.file == name and event.ended < call.began:
                    event.durable_at = min(event.durable_at, ended)
        elif call.name in ("sendto", "sendmsg", "write", "writev"):
            said = b"".join(_bytes(part) for part in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', call.args))
            events += [_Event(call.began, ended, answered=ack["key"].decode()) for ack in _ACK.finditer(said)]
    return events


def disks_after_a_power_cut(
    recording: Recording, folder: Path, rng: random.Random, step: int, variants: int
) -> Iterator[tuple[set[str], Path]]:
    """For each moment (or one in ``step``) and some of the disks that may be left: the keys promised by then, the disk.

    ``variants`` disks by chance, besides the one with nothing unsynced and the one with everything.
    """
    events = _events(recording)
    moments = sorted({m for e in events for m in (e.began, e.ended, e.durable_at) if m != float("inf")})
    assert moments
    for moment in (*moments[::step], moments[-1]):
        promised = {e.answered for e in events if e.answered and e.began <= moment}
        for variant in range(variants + 2):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name in NAMES:
                mine = [e for e in events if e.file == name and e.began <= moment]
                content = _left(recording.base[name], mine, moment, rng, variant)
                if content or name == "safety.db":
                    (folder / name).write_bytes(content)
            yield promised, folder


def _left(base: bytes, events: list[_Event], moment: float, rng: random.Random, variant: int) -> bytes:
    """A file: all that is durable, and of the rest nothing (variant 0), everything (1), or as chance has it."""
    content = bytearray(base)
    for event in events:
        is_durable = event.durable_at <= moment
        if event.length is not None:
            if is_durable or variant == 1 or (variant > 1 and rng.random() < 0.5):
                del content[event.length :]
                content.extend(bytes(max(0, event.length - len(content))))
            continue
        for start in range(0, len(event.data), SECTOR_BYTES):
            if is_durable or variant == 1 or (variant > 1 and rng.random() < 0.5):
                part = event.data[start : start + SECTOR_BYTES]
                at = event.at + start
                content.extend(bytes(max(0, at - len(content))))
                content[at : at + len(part)] = part
    return bytes(content)
