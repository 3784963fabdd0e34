"""Waits for the first ``sos_ack`` of an SOS that came over HTTP; the SOS goes on without anybody waiting for it."""

import asyncio
from collections.abc import Callable
from typing import Final

from core.errors import DoorstepError, Unavailable
from realtime.ports import Reply, SendDirect

ACK_WAIT_S: Final = 10.0
"""Seconds to wait."""


def first_ack(start: Callable[[SendDirect, Reply], None]) -> asyncio.Future[bytes]:
    """Start an SOS, at once, and return what waits for its ``sos_ack`` as JSON.

    Args:
        start: Hands the SOS over with where to answer.

    Returns:
        Fails with ``DoorstepError`` when no incident could be made at all, with ``Unavailable`` when it was taken and
        is not confirmed after ``ACK_WAIT_S``.
    """
    loop = asyncio.get_running_loop()
    acked: asyncio.Future[bytes] = loop.create_future()

    def send(body: bytes) -> None:
        if not acked.done():
            acked.set_result(body)

    def reply(outcome: dict[str, object] | DoorstepError | None) -> None:
        if isinstance(outcome, DoorstepError) and not acked.done():
            acked.set_exception(outcome)

    start(send, reply)
    timer = loop.call_later(
        ACK_WAIT_S, lambda: None if acked.done() else acked.set_exception(Unavailable("taken, not yet confirmed"))
    )
    acked.add_done_callback(lambda _: timer.cancel())
    return acked
