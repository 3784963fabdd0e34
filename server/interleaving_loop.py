"""The event loop of a server: what is ready or due runs between two frames, not after thousands of them.

A loop reads every socket that has something before it looks at its timers and its ready queue again (libuv: up to 48
times 1,024 of them). Under overload such a pass takes from tens of milliseconds to a second, and whatever waits for a
commit goes through the ready queue five times between the request and its answer: an SOS would pay for five passes.
Here timers and the ready queue of tasks and futures are our own, and the hub's listener has them run before each frame.
So a hop costs one frame, and what an SOS waits for is to be read (see ``read_lag``).

The order among ready callbacks is that of ``call_soon``. What the loop schedules for itself keeps the loop's own turns.
"""

import asyncio
import heapq
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from math import inf
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple

from server.system import monotonic

if TYPE_CHECKING:
    from uvloop import Loop as _FastestLoop
else:
    try:
        from uvloop import Loop as _FastestLoop
    except ImportError:  # not on this platform; everything works without it
        _FastestLoop = asyncio.SelectorEventLoop
_HAS_UVLOOP: Final = not issubclass(_FastestLoop, asyncio.SelectorEventLoop)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_SWITCH_S: Final = 0.001
_CANCELLED_MIN: Final = 100
"""Cancelled timers stay in the heap until they are due, or until there are this many and they are the most of it."""


class InterleavingLoop(_FastestLoop):
    """A loop, uvloop's where it exists, whose timers and ready callbacks may be run early by ``run_ready``."""

    def __init__(self) -> None:
        super().__init__()
        self.ready: deque[asyncio.Handle] = deque()
        """Callbacks that could run now. For readers: whether there are any."""
        self.due_at = inf
        """When ``run_ready`` has a timer to run, in the terms of ``time``."""
        self.clock: Callable[[], float] = monotonic
        """What ``due_at`` is compared with."""
        self._is_armed = False  # the loop itself will call _take_turn
        self._is_running = False
        self._timers: list[asyncio.TimerHandle] = []
        self._cancelled = 0  # of the timers in the heap
        self._alarm: asyncio.Handle | None = None  # wakes the loop itself for the first timer
        self._alarm_at = inf

    def time(self) -> float:
        """Seconds of the monotonic clock, read now: the loop's own is as old as its pass."""
        return monotonic()

    # -- in ---------------------------------------------------------------------------------------------

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """See ``asyncio.loop.call_soon``."""
        self._arm()
        handle = asyncio.Handle(callback, args, self, context)
        self.ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """See ``asyncio.loop.call_soon_threadsafe``."""
        handle = asyncio.Handle(callback, args, self, context)
        self.ready.append(handle)
        super().call_soon_threadsafe(self._take_turn)  # wakes a loop that sleeps
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See ``asyncio.loop.call_later``."""
        return self.call_at(monotonic() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See ``asyncio.loop.call_at``."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, handle)
        if when < self.due_at:
            self.due_at = when
            self._set_alarm()
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Asyncio's timers tell their loop, before they are marked as cancelled."""
        self._cancelled += 1
        if self._cancelled > _CANCELLED_MIN and self._cancelled * 2 > len(self._timers):
            self._timers = [timer for timer in self._timers if timer is not handle and not timer.cancelled()]
            heapq.heapify(self._timers)
            self._cancelled = 0

    # -- out --------------------------------------------------------------------------------------------

    def run_ready(self) -> None:
        """Run what is due or ready now; what becomes ready by it waits for the next call. On the loop's thread only.

        Nothing happens inside a callback that is being run: with TLS in process frames can come from one.
        """
        if self._is_running:
            return
        self._is_running = True
        try:
            if self.due_at <= monotonic():
                self._gather_due()
            ready = self.ready
            for _ in range(len(ready)):
                handle = ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            self._is_running = False

    def _gather_due(self) -> None:
        now, timers = monotonic(), self._timers
        while timers and (timers[0].when() <= now or timers[0].cancelled()):
            timer = heapq.heappop(timers)
            if timer.cancelled():
                self._cancelled -= 1
            else:
                self.ready.append(timer)
        self.due_at = timers[0].when() if timers else inf

    def _take_turn(self) -> None:
        """The loop's own turn: after all sockets were read, or when there was nothing to read."""
        self._is_armed = False
        self.run_ready()
        if self.ready:
            self._arm()

    def _arm(self) -> None:
        if not self._is_armed:
            super().call_soon(self._take_turn)  # raises when the loop is closed
            self._is_armed = True

    def _set_alarm(self) -> None:
        if self.due_at < self._alarm_at:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm_at = self.due_at
            if _HAS_UVLOOP:
                self._alarm = super().call_later(max(self.due_at - monotonic(), 0.0), self._ring)
            else:
                # asyncio's own call_later would come back to our call_at.
                self._alarm = super().call_at(self.due_at, self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, inf
        self._take_turn()
        if self.due_at < inf:
            self._set_alarm()


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` on an ``InterleavingLoop``."""
    # The writers' threads need the interpreter between two calls of SQLite; with the usual 5 ms they would wait that
    # long each time while the loop is busy.
    sys.setswitchinterval(_SWITCH_S)
    with asyncio.Runner(loop_factory=InterleavingLoop) as runner:
        return runner.run(main)
