"""How long bytes that have arrived wait until the event loop reads them: what overload means to whoever taps SOS.

How late a timer runs does not tell it: timers run between frames (``interleaving_loop``). So bytes are sent through
sockets of our own, which wait among all others. A socket that was read a moment ago keeps its place in the kernel's
queue (epoll, level-triggered) and would wait half as long as one that speaks after a silence, as a phone's does with
an SOS; so several take turns.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

_SOCKETS: Final = 16
"""Each is used again after as many calls: 320 ms at the hub's tick."""


class ReadLag:
    """Sends a probe whenever it is asked.

    Args:
        observe: Told the wait of each probe, in seconds.
    """

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe
        self._last_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._pairs = [socket.socketpair() for _ in range(_SOCKETS)]
        self._free = deque(range(_SOCKETS))
        self._sent_at: dict[int, float] = {}
        """When each probe under way was sent, the oldest first."""
        for number, (reader, writer) in enumerate(self._pairs):
            reader.setblocking(False)
            writer.setblocking(False)
            self._loop.add_reader(reader, self._arrived, number)

    def __call__(self) -> float:
        """Seconds that the newest probe waited, or that the oldest one has waited so far; sends the next one."""
        now = self._loop.time()
        oldest_at = next(iter(self._sent_at.values()), now)
        # Sent while earlier ones are under way: a long wait must not count once where short ones count often.
        if self._free:
            number = self._free.popleft()
            self._pairs[number][1].send(b".")
            self._sent_at[number] = now
        return max(now - oldest_at, self._last_s)

    def _arrived(self, number: int) -> None:
        self._pairs[number][0].recv(1)
        self._last_s = self._loop.time() - self._sent_at.pop(number)
        self._free.append(number)
        self._observe(self._last_s)

    def close(self) -> None:
        """Free the sockets. Idempotent."""
        for reader, writer in self._pairs:
            self._loop.remove_reader(reader)
            reader.close()
            writer.close()
        self._pairs = []
