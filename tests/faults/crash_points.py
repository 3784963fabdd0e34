"""Points of the raise path at which a server of a test ends, or stands still.

Put on from outside: the product has none.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from safety.events import DeliveryReceived, SosRaised
from safety.service import SafetyService
from server.system import SystemClock
from store.journal_file import JournalFile

STILL_S = 1.6
HOUR_S = 3_600.0


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _before(name: str, is_it: Callable[..., bool] = lambda *_: True, then: Callable[[], object] = _die) -> None:
    real = getattr(SafetyService, name)

    def patched(self: SafetyService, *args: Any, **kwargs: Any) -> Any:
        if is_it(self, *args):
            then()
        return real(self, *args, **kwargs)

    setattr(SafetyService, name, patched)


def _after(name: str, then: Callable[[], object] = _die) -> None:
    real = getattr(SafetyService, name)

    def patched(self: SafetyService, *args: Any, **kwargs: Any) -> Any:
        found = real(self, *args, **kwargs)
        then()
        return found

    setattr(SafetyService, name, patched)


def _after_async(name: str) -> None:
    real = getattr(SafetyService, name)

    async def patched(self: SafetyService, *args: Any) -> Any:
        found = await real(self, *args)
        _die()
        return found

    setattr(SafetyService, name, patched)


def _widens(_: SafetyService, effects: Any, now: float) -> bool:
    return any(getattr(effect, "incident", None) is not None and effect.incident.level == 1 for effect in effects)


_stood = False


def _at_rewriting(step: str, *, after: bool = False) -> None:
    real = getattr(JournalFile, step)

    def patched(self: JournalFile, *args: Any) -> None:
        if after:
            real(self, *args)
        _die()

    setattr(JournalFile, step, patched)


def _stand_still() -> None:
    global _stood
    if not _stood:
        _stood = True
        time.sleep(STILL_S)


def _soon() -> None:
    """What was handed to the sockets has left; nothing else has happened."""
    asyncio.get_running_loop().call_soon(_die)


def _let_the_wall_clock_jump() -> None:
    """By an hour forth and back, each second; true when the process begins."""
    began = time.monotonic()

    def wall() -> float:
        passed_s = time.monotonic() - began
        return time.time() + (0.0 if passed_s < 1.0 else HOUR_S if int(passed_s) % 2 else -HOUR_S)

    SystemClock.__init__.__defaults__ = (wall, time.monotonic)


POINTS: dict[str, Callable[[], None]] = {
    "taken": lambda: _before("decide", lambda _, event, now: isinstance(event, SosRaised)),
    "decided": lambda: _before("commit", lambda _, effects, now: bool(effects)),
    "stored": lambda: _before("perform", lambda _, effects, now: bool(effects)),
    "answered": lambda: _after("_answer_all", _soon),
    "received": lambda: _before("decide", lambda _, event, now: isinstance(event, DeliveryReceived)),
    "widening": lambda: _before("commit", _widens),
    "widened": lambda: _before("perform", _widens),
    "loading": lambda: _before("start"),
    "replaying": lambda: _before("write_all"),
    "rewriting": lambda: _at_rewriting("rewrite", after=True),
    "rewritten": lambda: _at_rewriting("rewrite_end"),
    "flipped": lambda: _at_rewriting("rewrite_end", after=True),
    "replayed": lambda: _after_async("_replay"),
    "jumping_wall": _let_the_wall_clock_jump,
    "standing": lambda: _before("decide", lambda _, event, now: isinstance(event, SosRaised), _stand_still),
}


def arm(point: str) -> None:
    """Let this process meet its fate at ``point``."""
    POINTS[point]()
