"""Faults of system calls in a running server, by strace: errors, delays, the end of the process at call number k.

Also the machine's own: a small disk in a mount namespace.
"""

import asyncio
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.needs import missing

TRACER_ENDS_S = 3.0


def _probe(*command: str) -> str:
    """Why a command does not work here; empty when it does."""
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not installed"
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return "" if done.returncode == 0 else f"{command[0]} does not work here: {done.stderr.strip()[-300:]}"


def need_strace() -> None:
    """Skip, or fail where changes are accepted, without strace."""
    if reason := _probe("strace", "-f", "-e", "trace=fsync", "true"):
        missing(reason)


@asynccontextmanager
async def traced(
    pid: int, *options: str, paths: Sequence[Path] = (), out: Path | None = None
) -> AsyncIterator["subprocess.Popen[str]"]:
    """strace on a running process and all of its threads, only for calls on ``paths`` if there are any."""
    need_strace()
    command = ["strace", "-f", "-p", str(pid), *options, "-o", str(out or "/dev/null")]
    for path in paths:
        command += ["-P", str(path)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr is not None
        line = await asyncio.to_thread(tracer.stderr.readline)
        assert "attached" in line, line
        yield tracer
    finally:
        tracer.terminate()
        try:
            await asyncio.to_thread(tracer.wait, TRACER_ENDS_S)
        except subprocess.TimeoutExpired:  # it may wait for ever for a thread that has died: the kernel lets go
            tracer.kill()
            await asyncio.to_thread(tracer.wait)
        assert tracer.stderr is not None
        tracer.stderr.close()


@contextmanager
def small_disk(folder: Path, size_mib: int) -> Iterator[tuple[int, Path]]:
    """A tmpfs of its own on ``folder``: the process that keeps it, and where it is seen from outside."""
    if reason := _probe("unshare", "-rm", "true"):
        missing(reason)
    folder.mkdir(parents=True, exist_ok=True)
    script = f"mount -t tmpfs -o size={size_mib}m tmpfs '{folder}' && echo ready && exec sleep 600"
    keeper = subprocess.Popen(["unshare", "-rm", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "ready\n"
        yield keeper.pid, Path(f"/proc/{keeper.pid}/root{folder}")
    finally:
        keeper.kill()
        keeper.wait()
        assert keeper.stdout is not None
        keeper.stdout.close()


def fill(folder: Path) -> Path:
    """A file that takes all that is free; what is freed later is free."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (1_048_576, 4_096):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return path


def waited_s(began: float) -> float:
    return time.monotonic() - began
