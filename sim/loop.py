"""An asyncio loop whose time is a number: waiting costs nothing, and a seed repeats a run exactly.

``time()`` is virtual. When nothing is ready the loop jumps to its next timer instead of sleeping; when there
is no timer either, nothing can ever happen again and a ``Deadlock`` says so instead of a hang.

Threads would finish in an order that no seed fixes (and a real one would let virtual time run away while it
works), so ``run_in_executor`` runs the job on the loop itself. Real sockets stay outside: they are refused.
"""

import asyncio
import heapq
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

CLOCK_RESOLUTION_S: Final = 1e-9
"""asyncio runs a timer when it is due within this; zero would never run one that is due exactly now."""


class Deadlock(RuntimeError):
    """Every task waits for something that no timer and no callback will ever bring."""


class _JumpingSelector(selectors.DefaultSelector):
    """Never blocks: where a real selector would sleep, the loop's clock is moved."""

    loop: "VirtualTimeLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Poll; when nothing is ready, let time pass at once."""
        ready = super().select(0)
        if not ready and timeout != 0:
            self.loop.jump(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop in virtual time.

    Args:
        latency_s: Called for each executor job: how long it shall take in virtual time. None: no time at all.
    """

    def __init__(self, latency_s: Callable[[], float] | None = None) -> None:
        selector = _JumpingSelector()
        super().__init__(selector)
        selector.loop = self
        self._now = 0.0
        self._latency_s = latency_s
        self._clock_resolution = CLOCK_RESOLUTION_S
        self.jobs = 0
        """Executor jobs run so far."""

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def jump(self, timeout: float | None) -> None:
        """Move to the next timer, at most ``timeout`` seconds on.

        Raises:
            Deadlock: There is no timer.
        """
        if timeout is None:
            raise Deadlock(f"nothing can happen any more at {self._now:.3f} s of virtual time")
        # Exactly the timer's own number: adding the timeout would miss it by a rounding error.
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        limit = self._now + timeout
        self._now = max(self._now, min(timers[0].when(), limit)) if timers else limit

    def run_in_executor(self, executor: object, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run the job on the loop, later, in the order of the calls; ``executor`` is not used."""
        future: asyncio.Future[T] = self.create_future()

        def job() -> None:
            self.jobs += 1
            if future.cancelled():
                return
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001  # handed to the waiter, as an executor does
                future.set_exception(error)
            else:
                future.set_result(result)

        if self._latency_s is None:
            self.call_soon(job)
        else:
            self.call_later(self._latency_s(), job)
        return future

    async def create_connection(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: a real socket takes real time."""
        raise RuntimeError("a virtual-time loop has no sockets; use in-memory connections")

    async def create_server(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: a real socket takes real time."""
        raise RuntimeError("a virtual-time loop has no sockets; use in-memory connections")


def run(main: Coroutine[Any, Any, T], *, latency_s: Callable[[], float] | None = None) -> T:
    """Run ``main`` on a fresh virtual-time loop, as ``asyncio.run`` would.

    Raises:
        Deadlock: ``main`` can never finish.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(latency_s)) as runner:
        return runner.run(main)


def pending_timers(loop: VirtualTimeLoop) -> list[float]:
    """When the loop's timers are due, soonest first; for error messages and tests."""
    timers: list[asyncio.TimerHandle] = loop._scheduled  # type: ignore[attr-defined]
    return [t.when() for t in heapq.nsmallest(len(timers), timers) if not t.cancelled()]
