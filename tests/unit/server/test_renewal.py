"""Secrets read again: whole or not at all."""

import asyncio
from collections.abc import Callable

import pytest

from core.service import pause
from server.config import ConfigError, Problem
from server.outgoing_secrets import OutgoingSecrets
from server.renewal import FreshSecrets, Renewal

FRESH = FreshSecrets({}, OutgoingSecrets())


async def _asked(read: Callable[[], FreshSecrets] | None, times: int) -> list[FreshSecrets]:
    taken: list[FreshSecrets] = []
    renewal = Renewal(read, taken.append)
    task = asyncio.get_running_loop().create_task(renewal.run())
    for _ in range(times):
        renewal.ask()
        await pause(0.05)
    assert not task.done()
    task.cancel()
    return taken


async def test_each_signal_reads_them_again() -> None:
    assert await _asked(lambda: FRESH, 2) == [FRESH, FRESH]


async def test_unfit_ones_change_nothing_and_are_told(caplog: pytest.LogCaptureFixture) -> None:
    def unfit() -> FreshSecrets:
        raise ConfigError([Problem("config", "auth.keys.main", "is too short")])

    assert await _asked(unfit, 2) == []
    assert [record.message for record in caplog.records] == ["new secrets are unfit: the old ones stay"] * 2


async def test_where_nothing_can_be_read_again_nothing_happens() -> None:
    assert await _asked(None, 1) == []
