"""What the buses share: who listens on which channel, and how a payload is handed to them."""

import logging
from collections.abc import Awaitable, Callable, Sequence

from core.bus import Handler

_log = logging.getLogger(__name__)


class Subscriptions:
    """The subscriptions of one bus, by channel.

    Args:
        ended: Called when somebody closed the last subscription of a channel.
    """

    def __init__(self, ended: Callable[[str], Awaitable[None]] | None = None) -> None:
        self._channels: dict[str, list[HandlerSubscription]] = {}
        self._ended = ended

    def channels(self) -> Sequence[str]:
        """Every channel that somebody listens on."""
        return list(self._channels)

    def of(self, channel: str) -> "Sequence[HandlerSubscription]":
        """The subscriptions of a channel as they are now, oldest first."""
        return tuple(self._channels.get(channel, ()))

    def add(self, channel: str, handler: Handler) -> "HandlerSubscription":
        """A new subscription; it hears what is delivered from now on."""
        subscription = HandlerSubscription(self, channel, handler)
        self._channels.setdefault(channel, []).append(subscription)
        return subscription

    def remove(self, subscription: "HandlerSubscription") -> bool:
        """End a subscription, which hears nothing more. True when it was the last of its channel; repeats are False."""
        if not subscription.is_open:
            return False
        subscription.is_open = False
        others = self._channels[subscription.channel]
        others.remove(subscription)
        if not others:
            del self._channels[subscription.channel]
        return not others

    def clear(self) -> None:
        """End them all."""
        for channel in self.channels():
            for subscription in self.of(channel):
                self.remove(subscription)

    async def close(self, subscription: "HandlerSubscription") -> None:
        """End a subscription because its owner wants so."""
        if self.remove(subscription) and self._ended is not None:
            await self._ended(subscription.channel)


class HandlerSubscription:
    """Implements ``core.bus.Subscription``."""

    def __init__(self, subscriptions: Subscriptions, channel: str, handler: Handler) -> None:
        self.channel = channel
        self.is_open = True
        self._subscriptions = subscriptions
        self._handler = handler

    def deliver(self, payload: bytes) -> None:
        """Hand a payload over, unless the subscription has ended meanwhile."""
        if not self.is_open:
            return
        try:
            self._handler(self.channel, payload)
        except Exception:  # noqa: BLE001  # the port: errors of handlers are logged, never spread
            _log.exception("a handler of the bus failed", extra={"channel": self.channel})

    async def close(self) -> None:
        """See the port."""
        await self._subscriptions.close(self)
