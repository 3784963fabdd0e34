"""The lazy job: a failure, whatever it is, is not its last turn."""

import asyncio
from collections.abc import Iterator

import pytest

from core.errors import Unavailable
from store.periodic import Periodic


@pytest.mark.parametrize("error", [Unavailable("busy"), ValueError("a defect")])
async def test_a_job_that_failed_is_run_again(error: Exception) -> None:
    attempts: Iterator[int] = iter(range(1, 100))
    done = asyncio.Event()

    async def action() -> bool:
        if next(attempts) < 3:
            raise error
        done.set()
        return False

    job = Periodic("test", 0.005, action)
    job.start()
    job.arm()
    async with asyncio.timeout(2):
        await done.wait()
        await job.stop()


async def test_a_job_that_always_fails_can_be_stopped() -> None:
    async def action() -> bool:
        raise ValueError("a defect")

    job = Periodic("test", 0.001, action)
    job.start()
    job.arm()
    async with asyncio.timeout(2):
        await job.stop()
