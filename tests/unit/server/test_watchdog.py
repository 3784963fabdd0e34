"""The thread that watches the loop."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from server.system import SystemClock
from server.watchdog import STALL_S, Watchdog

pytestmark = pytest.mark.slow


@pytest.fixture
async def watchdog() -> Iterator[Watchdog]:  # type: ignore[misc]  # async fixture
    watchdog = Watchdog(SystemClock())
    watchdog.start()
    yield watchdog
    watchdog.stop()


async def test_a_loop_that_turns_is_left_alone(watchdog: Watchdog) -> None:
    await asyncio.sleep(0.5)
    assert (watchdog.stalls, watchdog.is_steady) == (0, True)


async def test_a_loop_that_stands_still_is_noticed_while_it_does_with_the_place(
    watchdog: Watchdog, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[tuple[int, bool]] = []
    look = threading.Timer(STALL_S + 0.8, lambda: seen.append((watchdog.stalls, watchdog.is_steady)))
    look.start()
    time.sleep(STALL_S + 1.0)  # as a call that blocks would
    look.join()
    assert seen == [(1, False)]
    await asyncio.sleep(0.1)
    assert 0.5 < watchdog.stalled_s < STALL_S + 1.5
    assert not watchdog.is_steady, "a while must pass before it is believed again"
    (line,) = [r for r in caplog.records if r.message == "the event loop stands still"]
    assert "as a call that blocks would" in line.__dict__["at"]
    assert "turns again" in caplog.text
    assert watchdog.stalls == 1
