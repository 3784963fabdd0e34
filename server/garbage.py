"""When Python's cycle collector may look at everything that lives.

A full collection walks all objects with the loop standing still: 160 ms with 5,000 sessions, and it comes when it
likes. It has nothing to find: what a request or a session leaves behind is freed when its last reference goes (no
cyclic garbage was left by 1,000 orders and 2,000 sessions). So the young generations go on as ever, what start-up
made is set aside, and everything is looked at once in ``collect_every_s`` only, or when so much has grown old meanwhile
that garbage may be among it: what is no request leaves circles inside aiohttp, and anybody can send it without end.
"""

import asyncio
import gc
import logging
from typing import Final

_log = logging.getLogger(__name__)

_NEVER: Final = 2**31 - 1
_LOOK_EVERY_S: Final = 60.0
_MIDDLE_MAX: Final = 100
"""Collections of the middle generation after which all is looked at: 700,000 more objects made than freed by then,
four times what 5,000 sessions are made of."""


class Collector:
    """Takes over this process's cycle collector.

    Args:
        every_s: Between two full collections; 0 for never.
        look_every_s: Between two looks at whether one is due.
        middle_max: Collections of the middle generation after which one is due before its time.
    """

    def __init__(self, every_s: float, look_every_s: float = _LOOK_EVERY_S, middle_max: int = _MIDDLE_MAX) -> None:
        self._every_s = every_s
        self._look_every_s = min(look_every_s, every_s)
        self._middle_max = middle_max
        self._due_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._thresholds = gc.get_threshold()

    def start(self) -> None:
        """Set aside what is alive now; from now on only this object collects fully. Needs a running loop."""
        gc.collect()
        gc.freeze()
        young, middle, _ = self._thresholds
        gc.set_threshold(young, middle, _NEVER)
        if self._every_s:
            self._due_at = asyncio.get_running_loop().time() + self._every_s
            self._arm()

    def stop(self) -> None:
        """Give the collector back. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._look_every_s, self._look)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._due_at or gc.get_count()[2] >= self._middle_max:
            _log.info("collected garbage", extra={"objects": gc.collect()})
            self._due_at = now + self._every_s
        self._arm()
