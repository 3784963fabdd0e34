"""Carries what the socket cannot: see ``fallback.py``. Needs ``aiohttp``."""

import asyncio
import logging
from collections.abc import Callable

import aiohttp

from doorstep_client.events import Event
from doorstep_client.fallback import Post
from doorstep_client.http import Api, ApiError
from doorstep_client.protocol import ClientProtocol

_log = logging.getLogger(__name__)


class HttpSender:
    """Makes the requests of one client, each in a task of its own until it is answered.

    Args:
        base_url: Of the HTTP side, such as ``https://doorstep.example``.
    """

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._api: Api | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def stir(self, protocol: ClientProtocol, now: Callable[[], float], tell: Callable[[list[Event]], None]) -> None:
        """Make the requests that are due, and come back when the next one is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for post in protocol.fallback.take(now()):
            task = asyncio.create_task(self._make(post, protocol, now, tell))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        at = protocol.fallback.next_at()
        if at is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(at - now(), 0.0), self.stir, protocol, now, tell)

    async def close(self) -> None:
        """Give up what is under way."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._api is not None:
            await self._api.close()

    async def _make(
        self, post: Post, protocol: ClientProtocol, now: Callable[[], float], tell: Callable[[list[Event]], None]
    ) -> None:
        events: list[Event] = []
        try:
            answer = await self._opened(protocol).call("POST", post.path, post.body, token=protocol.token)
            events = protocol.fallback.answered(post, answer, now())
        except (OSError, TimeoutError, aiohttp.ClientError, ApiError, ValueError, KeyError, TypeError) as error:
            _log.info("%s failed and is tried again: %s", post.path, error)
            protocol.fallback.failed(post, now())
        tell(events)

    def _opened(self, protocol: ClientProtocol) -> Api:
        if self._api is None:
            self._api = Api(self._base_url, timeout_s=protocol.settings.http_timeout_s)
            self._api.open()
        return self._api
