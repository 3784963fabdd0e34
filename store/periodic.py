"""A lazy job: runs some time after it was asked for, however often it was asked, and never twice at once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from core.errors import DoorstepError

_log = logging.getLogger(__name__)


class Periodic:
    """Runs ``action`` at most ``interval_s`` after ``arm``.

    Args:
        name: For logs.
        interval_s: The delay, and the pause before another attempt after a failure.
        action: Returns whether there is more to do: then it is armed again. An error is logged and counts as more
            to do: a defect must not end the job for the life of the process.
    """

    def __init__(self, name: str, interval_s: float, action: Callable[[], Awaitable[bool]]) -> None:
        self._name = name
        self._interval_s = interval_s
        self._action = action
        self._armed = False
        self._hurried = False
        self._stopping = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to run what is armed. Needs a running loop."""
        self._stopping = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name=self._name)

    def arm(self) -> None:
        """There is something to do. Cheap; may be called for every row."""
        if not self._armed:
            self._armed = True
            self._wake.set()

    def hurry(self) -> None:
        """Do it now rather than later. After a failure the pause is kept."""
        self._armed = True
        self._hurried = True
        self._wake.set()

    def disarm(self) -> None:
        """There is nothing to do after all."""
        self._armed = self._hurried = False

    async def stop(self) -> None:
        """Do what is armed a last time, once, and end. Idempotent."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
            self._task = None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        failed = False
        while not self._stopping:
            self._wake.clear()
            if not self._armed:
                await self._wake.wait()
                continue
            due_at = loop.time() + self._interval_s
            while loop.time() < due_at and not self._is_due_now(failed=failed):
                timer = loop.call_at(due_at, self._wake.set)
                await self._wake.wait()
                self._wake.clear()
                timer.cancel()
            if not self._stopping:
                failed = await self._act()
        if self._armed:
            await self._act()

    def _is_due_now(self, *, failed: bool) -> bool:
        return self._stopping or (self._hurried and not failed)

    async def _act(self) -> bool:
        """Run the action; returns whether it failed."""
        self._armed = self._hurried = False
        try:
            again = await self._action()
        except DoorstepError as error:
            _log.warning("lazy job failed", extra={"job": self._name, "code": error.code, "reason": error.message})
            self._armed = True
            return True
        except Exception:  # noqa: BLE001 - see the class
            _log.exception("lazy job failed", extra={"job": self._name})
            self._armed = True
            return True
        self._armed = self._armed or again
        return False
