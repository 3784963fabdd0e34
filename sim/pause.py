"""Waiting for agents' tools: on the running loop, real or virtual."""

import asyncio


async def pause(seconds: float) -> None:
    """Return after ``seconds`` of the loop's time."""
    loop = asyncio.get_running_loop()
    waited: asyncio.Future[None] = loop.create_future()
    # The waiter may have been cancelled by then.
    timer = loop.call_later(max(seconds, 0.0), waited.set_result, None)
    try:
        await waited
    finally:
        timer.cancel()
