"""Starts servers by fork: a process that has everything imported makes one in a fraction of the time.

``python -m tests.faults.zygote`` reads one JSON object a line. ``{config, log, environ, crash, inside}`` starts
``doorstep serve`` in a child, in the mount namespace of the process ``inside`` if that is not 0, and writes its pid.
``{imported: name}`` says whether a package is, as 1 or 0.
``{wait: pid}`` waits for its end and writes the exit code (negative: the signal).
"""

import ctypes
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import aiohttp
import picows
import uvloop

import cli.main
from sim.local_server import AUDIT_KEY_ENV, SECRET_ENV, LocalServer, ServerFailed, _end_with_parent, raise_file_limit
from tests.faults import crash_points

IMPORTED = (aiohttp, picows, uvloop)


def _enter(pid: int) -> None:
    """Join the user and mount namespaces of a process (setns(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    files = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in ("user", "mnt")]
    for file in files:
        if libc.setns(file, 0) != 0:
            raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")


def _child(job: dict[str, Any]) -> None:
    _end_with_parent()
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(log, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(job["environ"])
    if job["inside"]:
        _enter(job["inside"])
    if job["crash"]:
        crash_points.arm(job["crash"])
    cli.main.main(["serve", "--config", job["config"]])


def main() -> None:
    """Serve until the input ends."""
    for line in sys.stdin:
        job = json.loads(line)
        if "imported" in job:
            print(int(job["imported"] in sys.modules), flush=True)
            continue
        if "wait" in job:
            _, status = os.waitpid(job["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            try:
                _child(job)
            except SystemExit as end:
                sys.stderr.flush()
                os._exit(end.code if isinstance(end.code, int) else 1)
            finally:
                os._exit(70)
        print(pid, flush=True)


class Zygote:
    """The process; use as a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        raise_file_limit()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def ask(self, **job: Any) -> int:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class Node(LocalServer):
    """A server that the zygote starts."""

    zygote: Zygote
    inside = 0
    """Process in whose mount namespace it is to run."""

    def begin(self, crash: str = "") -> None:
        """Start it without waiting for it."""
        config = self.write_config()
        environ = {SECRET_ENV: self._secret.decode(), AUDIT_KEY_ENV: self._audit_key.decode()}
        self._pid = self.zygote.ask(
            config=str(config), log=str(self._log), crash=crash, environ=environ, inside=self.inside
        )

    def start(self, *, timeout_s: float = 30.0, crash: str = "") -> None:
        self.begin(crash)
        self.wait_ready(timeout_s)

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not self._is_ready():
            if not self.is_running or time.monotonic() > deadline:
                raise ServerFailed(f"the server did not start:\n{self.log_tail()}")
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def is_running(self) -> bool:
        try:
            return " Z " not in Path(f"/proc/{self._pid}/stat").read_text() if self._pid else False
        except FileNotFoundError:
            return False

    _pid = 0

    def wait(self) -> int:
        """Wait for its end; the exit code, negative for a signal."""
        pid, self._pid = self._pid, 0
        return self.zygote.ask(wait=pid)

    def stop(self, *, timeout_s: float = 20.0) -> int:
        if not self._pid:
            return 0
        os.kill(self._pid, 15)
        deadline = time.monotonic() + timeout_s
        while self.is_running and time.monotonic() < deadline:
            time.sleep(0.02)
        if self.is_running:
            os.kill(self._pid, 9)
        return self.wait()

    def kill(self) -> None:
        if self._pid:
            if self.is_running:
                os.kill(self._pid, 9)
            self.wait()


if __name__ == "__main__":
    main()
