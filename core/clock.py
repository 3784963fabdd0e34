"""What time it is. The only real clock lives in ``server``; the simulator has a virtual one."""

from typing import Protocol


class Clock(Protocol):
    """Two clocks: one to say when, one to wait by."""

    def now(self) -> float:
        """UTC epoch seconds. Never steps back while the process lives, even when the wall clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start, on the event loop's own time line (``loop.time()``)."""
        ...
