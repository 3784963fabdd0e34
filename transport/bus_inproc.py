"""The bus of a single process: every subscriber is in this loop."""

import asyncio
import logging

from core.bus import Handler, Subscription
from core.errors import Unavailable

_log = logging.getLogger(__name__)


class InProcessBus:
    """``core.bus.Bus`` without a network.

    Handlers run in later turns of the loop, never inside ``publish``, so that a publisher sees the same as with a
    network between. Queued payloads are those of one turn of the loop; there is nothing to overflow.
    """

    def __init__(self) -> None:
        self._channels: dict[str, list[_InProcessSubscription]] = {}
        self._running = False

    async def start(self) -> None:
        """See the port."""
        self._running = True

    async def stop(self) -> None:
        """See the port."""
        self._running = False
        for subscriptions in list(self._channels.values()):
            for subscription in list(subscriptions):
                await subscription.close()

    async def publish(self, channel: str, payload: bytes) -> None:
        """See the port."""
        if not self._running:
            raise Unavailable("the bus is stopped", code="bus_unavailable")
        loop = asyncio.get_running_loop()
        for subscription in self._channels.get(channel, ()):
            loop.call_soon(subscription.deliver, payload)

    async def subscribe(self, channel: str, handler: Handler) -> Subscription:
        """See the port."""
        if not self._running:
            raise Unavailable("the bus is stopped", code="bus_unavailable")
        subscription = _InProcessSubscription(self, channel, handler)
        self._channels.setdefault(channel, []).append(subscription)
        return subscription

    def _remove(self, subscription: "_InProcessSubscription") -> None:
        subscriptions = self._channels[subscription.channel]
        subscriptions.remove(subscription)
        if not subscriptions:
            del self._channels[subscription.channel]


class _InProcessSubscription:
    def __init__(self, bus: InProcessBus, channel: str, handler: Handler) -> None:
        self.channel = channel
        self._bus = bus
        self._handler = handler
        self._open = True

    def deliver(self, payload: bytes) -> None:
        if not self._open:
            return
        try:
            self._handler(self.channel, payload)
        except Exception:  # noqa: BLE001  # the port: errors of handlers are logged, never spread
            _log.exception("a handler of the bus failed", extra={"channel": self.channel})

    async def close(self) -> None:
        """See the port."""
        if self._open:
            self._open = False
            self._bus._remove(self)
