"""When Python's cycle collector may look at everything that lives.

A full collection walks all objects with the loop standing still: 160 ms with 5,000 sessions, and it comes when it
likes. It has nothing to find: what a request or a session leaves behind is freed when its last reference goes (no
cyclic garbage was left by 1,000 orders and 2,000 sessions). So the young generations go on as ever, what start-up
made is set aside, and everything is looked at once in ``collect_every_s`` only, in case a library thinks otherwise.
"""

import asyncio
import gc
import logging
from typing import Final

_log = logging.getLogger(__name__)

_NEVER: Final = 2**31 - 1


class Collector:
    """Takes over this process's cycle collector.

    Args:
        every_s: Between two full collections; 0 for never.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._timer: asyncio.TimerHandle | None = None
        self._thresholds = gc.get_threshold()

    def start(self) -> None:
        """Set aside what is alive now; from now on only this object collects fully. Needs a running loop."""
        gc.collect()
        gc.freeze()
        young, middle, _ = self._thresholds
        gc.set_threshold(young, middle, _NEVER)
        self._arm()

    def stop(self) -> None:
        """Give the collector back. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()

    def _arm(self) -> None:
        if self._every_s:
            self._timer = asyncio.get_running_loop().call_later(self._every_s, self._collect)

    def _collect(self) -> None:
        _log.info("collected garbage", extra={"objects": gc.collect()})
        self._arm()
