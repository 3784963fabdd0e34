"""The bus of a single process: every subscriber is in this loop."""

import asyncio

from core.bus import Handler, Subscription
from core.errors import Unavailable
from transport.subscriptions import Subscriptions


class InProcessBus:
    """``core.bus.Bus`` without a network.

    Handlers run in later turns of the loop, never inside ``publish``, so that a publisher sees the same as with a
    network between. Queued payloads are those of one turn of the loop; there is nothing to overflow.
    """

    def __init__(self) -> None:
        self._subscriptions = Subscriptions()
        self._running = False

    async def start(self) -> None:
        """See the port."""
        self._running = True

    async def stop(self) -> None:
        """See the port."""
        self._running = False
        self._subscriptions.clear()

    async def publish(self, channel: str, payload: bytes) -> None:
        """See the port."""
        if not self._running:
            raise Unavailable("the bus is stopped", code="bus_unavailable")
        loop = asyncio.get_running_loop()
        for subscription in self._subscriptions.of(channel):
            loop.call_soon(subscription.deliver, payload)

    async def subscribe(self, channel: str, handler: Handler) -> Subscription:
        """See the port."""
        if not self._running:
            raise Unavailable("the bus is stopped", code="bus_unavailable")
        return self._subscriptions.add(channel, handler)
