"""How parts of the platform on different nodes hear each other. One process needs only the in-process one."""

from collections.abc import Callable
from typing import Protocol

Handler = Callable[[str, bytes], None]
"""Called with (channel, payload) on the event loop. Must not block; its errors are logged, never spread."""


class Subscription(Protocol):
    """A running subscription."""

    async def close(self) -> None:
        """Stop it. Idempotent; after it returns the handler is not called again."""
        ...


class Bus(Protocol):
    """Named channels of bytes.

    Guarantees: at most once; in order for one publisher and channel while the connection lasts; nothing is
    kept for late subscribers. Whatever must not be lost is in a database, and the bus only hints at it.
    Channels are ``shard/<tenant>/<city>`` and ``node/<id>``.
    """

    async def start(self) -> None:
        """Connect. Raises ``Unavailable`` when the transport cannot be reached."""
        ...

    async def stop(self) -> None:
        """Disconnect and drop all subscriptions. Idempotent."""
        ...

    async def publish(self, channel: str, payload: bytes) -> None:
        """Send ``payload``. Raises ``Unavailable`` within the adapter's time limit; never waits longer."""
        ...

    async def subscribe(self, channel: str, handler: Handler) -> Subscription:
        """Call ``handler`` for each later payload; returns once the subscription is in force.

        After a lost connection the adapter subscribes again by itself; what was published between is lost.
        """
        ...
