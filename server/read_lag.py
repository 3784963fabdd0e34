"""How long bytes that have arrived wait until the event loop reads them: what overload means to whoever taps SOS.

How late a timer runs does not tell it: timers run between frames (``interleaving_loop``). So a byte is sent through a
socket of our own, which waits among all others.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

_PROBES_MAX: Final = 64


class ReadLag:
    """Sends a probe whenever it is asked.

    Args:
        observe: Told the wait of each probe, in seconds.
    """

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe
        self._sent_at: deque[float] = deque()
        self._last_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._loop.add_reader(self._reader, self._arrived)

    def __call__(self) -> float:
        """Seconds that the newest probe waited, or that the oldest one has waited so far; sends the next one."""
        now = self._loop.time()
        # On the way while earlier ones still are: a long wait must not count once where short ones count often.
        if len(self._sent_at) < _PROBES_MAX:
            self._writer.send(b".")
            self._sent_at.append(now)
        return max(now - self._sent_at[0], self._last_s) if len(self._sent_at) > 1 else self._last_s

    def _arrived(self) -> None:
        now = self._loop.time()
        for _ in self._reader.recv(_PROBES_MAX):
            self._last_s = now - self._sent_at.popleft()
            self._observe(self._last_s)

    def close(self) -> None:
        """Free both sockets. Idempotent."""
        self._loop.remove_reader(self._reader)
        self._reader.close()
        self._writer.close()
