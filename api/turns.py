"""One thing after the other for each key, in the order in which they came; different keys do not wait for another."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar

from core.errors import Unavailable

K = TypeVar("K", bound=Hashable)
TURNS_WAITING_MAX: Final = 16
"""Turns of one key that may wait; a person who asks for more is a loop."""


class Turns(Generic[K]):
    """Who may act on what now. Bound: ``TURNS_WAITING_MAX`` for each key; one more is ``overloaded``."""

    def __init__(self) -> None:
        self._waiting: dict[K, deque[Callable[[], None]]] = {}

    def __len__(self) -> int:
        """Keys on which somebody acts."""
        return len(self._waiting)

    def take(self, key: K, start: Callable[[], None]) -> None:
        """Call ``start`` as soon as nobody acts on ``key``; whoever was started calls ``end`` once.

        Raises:
            Unavailable: Too many wait.
        """
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = deque()
            start()
        elif len(waiting) < TURNS_WAITING_MAX:
            waiting.append(start)
        else:
            raise Unavailable("too many requests for one thing are waiting", code="overloaded")

    def end(self, key: K) -> None:
        """The turn is over: the next one starts."""
        waiting = self._waiting[key]
        if waiting:
            waiting.popleft()()
        else:
            del self._waiting[key]

    @asynccontextmanager
    async def taken(self, key: K) -> AsyncIterator[None]:
        """``take`` and ``end`` around a block that waits. Raises ``Unavailable``."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def start() -> None:
            if mine.cancelled():
                self.end(key)  # the caller went away while waiting
            else:
                mine.set_result(None)

        self.take(key, start)
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():
                self.end(key)  # it was ours already, and the caller goes away
            raise
        try:
            yield
        finally:
            self.end(key)
