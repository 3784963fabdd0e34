"""A thread that notices when the event loop stands still: a blocking call, a lost lock, a stopped process.

The loop cannot notice it by itself, and cannot say so to anybody while it lasts; the thread writes where it stands.
"""

import asyncio
import logging
import sys
import threading
import traceback
from typing import Final

from core.clock import Clock

_log = logging.getLogger(__name__)

STALL_S: Final = 1.0
"""A loop that does not turn for longer has stalled: no SOS is taken, no timer of an incident runs."""
STEADY_S: Final = 5.0
"""A loop that stalled must turn this long until the node wants traffic again."""
_BEAT_S: Final = 0.2
_STACK_FRAMES: Final = 12


class Watchdog:
    """Watches the loop on which ``start`` was called.

    Attributes:
        stalls: How often the loop stood still.
        stalled_s: How long it stood still, together.
    """

    def __init__(self, clock: Clock) -> None:
        self.stalls = 0
        self.stalled_s = 0.0
        self._clock = clock
        self._beat_at = 0.0
        self._turning_since = 0.0
        self._is_stalled = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop_thread = 0

    @property
    def is_steady(self) -> bool:
        """Whether the loop turns, and has not stood still lately."""
        return not self._is_stalled and (not self.stalls or self._clock.monotonic() - self._turning_since >= STEADY_S)

    def start(self) -> None:
        """Begin to watch. Needs a running loop."""
        self._loop_thread = threading.get_ident()
        self._beat()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Idempotent."""
        self._ended.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _beat(self) -> None:
        now = self._clock.monotonic()
        late_s = now - self._beat_at - _BEAT_S
        if self._is_stalled or (self._beat_at and late_s > STALL_S):
            # Also one that the thread did not see, because it stood still as well.
            if not self._is_stalled:
                self.stalls += 1
            self._is_stalled = False
            self._turning_since = now
            self.stalled_s += max(0.0, late_s)
            _log.critical("the event loop turns again", extra={"stalled_s": round(late_s, 3)})
        self._beat_at = now
        self._timer = asyncio.get_running_loop().call_later(_BEAT_S, self._beat)

    def _watch(self) -> None:
        while not self._ended.wait(_BEAT_S):
            still_s = self._clock.monotonic() - self._beat_at - _BEAT_S
            if still_s > STALL_S and not self._is_stalled:
                self.stalls += 1
                self._is_stalled = True
                _log.critical("the event loop stands still", extra={"still_s": round(still_s, 3), "at": self._stack()})

    def _stack(self) -> str:
        """Where the loop's thread is, the innermost call last."""
        frame = sys._current_frames().get(self._loop_thread)
        return "".join(traceback.format_stack(frame)[-_STACK_FRAMES:]) if frame is not None else ""
