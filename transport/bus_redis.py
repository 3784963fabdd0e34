"""The bus over Redis: plain publish and subscribe on one server (or anything that speaks its protocol).

Two connections: a pool that publishes, and one that listens. The listening task owns its connection: whatever goes
wrong on it, it connects again with growing pauses and subscribes to everything anew. Nothing here is durable, so
nothing is lost that matters when the server restarts (``core/bus.py``). The library's own retries are off: they would
hide a lost connection, and with it lost messages, behind a call that seems to work.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Annotated, Any, Final
from zlib import crc32

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from core.bus import Handler, Subscription
from core.errors import Unavailable
from core.ranges import Range, Ranged
from core.service import pause
from transport.subscriptions import HandlerSubscription, Subscriptions

_log = logging.getLogger(__name__)

_LOST: Final = (RedisError, OSError, TimeoutError)
_LOST_IN_USE: Final = (*_LOST, AttributeError)
"""For commands on the listening connection: while it is being hung up, the library finds its writer to be None."""


@dataclass(frozen=True, slots=True)
class RedisBusSettings(Ranged):
    """How the Redis bus behaves."""

    url: str = "redis://127.0.0.1:6379/0"
    """Server and database; `rediss://` for TLS. A password belongs into the environment, not here."""
    prefix: str = "doorstep:"
    """What every channel name begins with, so that installations can share a server."""
    publish_timeout_s: Annotated[float, Range(0.01, 60)] = 1.0
    """Longest time that publishing or subscribing may take, seconds."""
    heartbeat_s: Annotated[float, Range(0.05, 300)] = 2.0
    """Silence after which the listening connection is probed; after twice that it counts as lost, seconds."""
    reconnect_min_s: Annotated[float, Range(0.001, 60)] = 0.05
    """First pause before connecting again; doubles with each failure, seconds."""
    reconnect_max_s: Annotated[float, Range("reconnect_min_s", 300)] = 2.0
    """Longest pause before connecting again, seconds."""
    connections_max: Annotated[int, Range(1, 1_000)] = 8
    """Connections that publish at the same time."""


class RedisBus:
    """``core.bus.Bus`` over one Redis server.

    Attributes:
        reconnects: How often the listening connection was lost and made again; what was published between is lost.
    """

    def __init__(self, settings: RedisBusSettings) -> None:
        self.reconnects = 0
        self._settings = settings
        self._client: Redis | None = None
        self._subscriptions = Subscriptions(self._unsubscribe)
        self._confirmed: dict[str, asyncio.Future[None]] = {}
        self._pubsub: PubSub | None = None
        self._listening: asyncio.Event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # One at a time for each channel, or payloads would overtake each other on different connections.
        self._lanes = [asyncio.Lock() for _ in range(settings.connections_max)]

    async def start(self) -> None:
        """See the port."""
        limit_s = self._settings.publish_timeout_s
        self._client = Redis.from_url(
            self._settings.url,
            socket_connect_timeout=limit_s,
            socket_timeout=limit_s,
            retry=Retry(NoBackoff(), 0),
            max_connections=self._settings.connections_max + 2,
            protocol=2,
        )
        try:
            async with asyncio.timeout(limit_s):
                await self._client.ping()
                self._pubsub = await self._connect(self._client)
        except _LOST as error:
            await self._client.aclose()
            self._client = None
            raise _unavailable("reached", error) from error
        self._task = asyncio.get_running_loop().create_task(self._run(self._client), name="redis bus")

    async def stop(self) -> None:
        """See the port."""
        client, self._client = self._client, None
        if client is None:
            return
        self._subscriptions.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._hang_up()
        try:
            async with asyncio.timeout(self._settings.publish_timeout_s):
                await client.aclose()
        except _LOST:
            _log.debug("the server did not take leave")

    async def publish(self, channel: str, payload: bytes) -> None:
        """See the port."""
        if self._client is None:
            raise Unavailable("the bus is stopped", code="bus_unavailable")
        lane = self._lanes[crc32(channel.encode()) % len(self._lanes)]
        try:
            async with asyncio.timeout(self._settings.publish_timeout_s), lane:
                await self._client.publish(self._settings.prefix + channel, payload)
        except _LOST as error:
            raise _unavailable("told", error) from error

    async def subscribe(self, channel: str, handler: Handler) -> Subscription:
        """See the port. Raises ``Unavailable`` within the publish time limit when the server cannot be reached."""
        if self._client is None:
            raise Unavailable("the bus is stopped", code="bus_unavailable")
        subscription = self._subscriptions.add(channel, handler)
        try:
            async with asyncio.timeout(self._settings.publish_timeout_s):
                await self._confirm(channel)
        except _LOST_IN_USE as error:
            self._forget(subscription)
            raise _unavailable("asked for a channel", error) from error
        except asyncio.CancelledError:
            self._forget(subscription)
            raise
        return subscription

    async def _confirm(self, channel: str) -> None:
        """Return once the server has confirmed the channel on the present connection."""
        confirmed = self._confirmed.get(channel)
        if confirmed is None:
            confirmed = self._confirmed[channel] = asyncio.get_running_loop().create_future()
            await self._listening.wait()
            if self._pubsub is not None and not confirmed.done():
                await self._pubsub.subscribe(self._settings.prefix + channel)
        await asyncio.shield(confirmed)

    def _forget(self, subscription: HandlerSubscription) -> None:
        """End a subscription that was never in force."""
        if self._subscriptions.remove(subscription):
            self._confirmed.pop(subscription.channel, None)

    async def _unsubscribe(self, channel: str) -> None:
        """Nobody listens any more; failing to tell the server is no error, the next connection will not ask for it."""
        self._confirmed.pop(channel, None)
        if self._pubsub is None:
            return
        try:
            async with asyncio.timeout(self._settings.publish_timeout_s):
                await self._pubsub.unsubscribe(self._settings.prefix + channel)
        except _LOST_IN_USE:
            _log.debug("the server was not told of an ended subscription")

    # -- listening ------------------------------------------------------------------------------------

    async def _run(self, client: Redis) -> None:
        pause_s = self._settings.reconnect_min_s
        # Not only until it is cancelled: the library takes a cancellation for a time limit that passed just then.
        while self._client is client:
            try:
                if self._pubsub is None:
                    async with asyncio.timeout(self._settings.publish_timeout_s):
                        self._pubsub = await self._connect(client)
                    self.reconnects += 1
                self._listening.set()
                await self._listen(client, self._pubsub)
            except _LOST as error:
                _log.warning("the bus lost its connection", extra={"reason": repr(error), "pause_s": pause_s})
            if self._listening.is_set():
                pause_s = self._settings.reconnect_min_s  # it had worked
            self._listening.clear()
            await self._hang_up()
            await pause(pause_s)
            pause_s = min(pause_s * 2, self._settings.reconnect_max_s)

    async def _connect(self, client: Redis) -> PubSub:
        """A new listening connection that has asked for every channel."""
        pubsub = client.pubsub()
        try:
            await pubsub.connect()  # type: ignore[no-untyped-call]
            for channel in self._subscriptions.channels():  # one that comes meanwhile asks for itself afterwards
                if channel not in self._confirmed or self._confirmed[channel].done():
                    self._confirmed[channel] = asyncio.get_running_loop().create_future()
                await pubsub.subscribe(self._settings.prefix + channel)
        except BaseException:
            await pubsub.aclose()  # type: ignore[no-untyped-call]
            raise
        return pubsub

    async def _listen(self, client: Redis, pubsub: PubSub) -> None:
        """Hand on messages until the connection is lost or the bus stopped."""
        silent_s = 0.0
        while self._client is client:
            message = await pubsub.get_message(timeout=self._settings.heartbeat_s)
            if message is not None:
                silent_s = 0.0
                self._take(message)
                continue
            silent_s += self._settings.heartbeat_s
            if silent_s > 2 * self._settings.heartbeat_s:
                raise TimeoutError("the server is silent")
            async with asyncio.timeout(self._settings.publish_timeout_s):
                await pubsub.ping()

    def _take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind not in ("message", "subscribe"):
            return
        channel = message["channel"].decode()[len(self._settings.prefix) :]
        if kind == "subscribe":
            confirmed = self._confirmed.get(channel)
            if confirmed is not None and not confirmed.done():
                confirmed.set_result(None)
            return
        for subscription in self._subscriptions.of(channel):
            subscription.deliver(message["data"])

    async def _hang_up(self) -> None:
        pubsub, self._pubsub = self._pubsub, None
        if pubsub is not None:
            try:
                await pubsub.aclose()  # type: ignore[no-untyped-call]
            except _LOST:
                _log.debug("closing a lost connection failed")


def _unavailable(what: str, error: BaseException) -> Unavailable:
    return Unavailable(f"the bus could not be {what}: {type(error).__name__}", code="bus_unavailable")
