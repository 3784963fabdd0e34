"""The shell of webhooks: waits for commits, receivers and the store, and then sends.

What became of an attempt is stored before the next is decided on. A stop or a crash loses nothing but the knowledge of
the attempts under way: they are made again, so an event arrives at least once.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from core.clock import Clock
from core.errors import Unavailable
from core.notice import Notice
from core.service import EngineService
from webhooks.breaker import BreakerState
from webhooks.engine import WebhookCounters, WebhookEngine
from webhooks.events import Attempted, Effect, Keep, MoreRead, Queued, ReadMore, Send, WebhookEvent
from webhooks.model import Answer, Delivery, Outcome
from webhooks.ports import DeliveryQueue, Poster
from webhooks.settings import WebhookSettings
from webhooks.signature import sign

_log = logging.getLogger(__name__)
_BATCH_LEN_MAX: Final = 256


class WebhookService(EngineService[WebhookEvent, Effect]):
    """All endpoints of this process. ``run`` loads what waits in the store.

    Args:
        secrets: Of each endpoint, the ones that sign.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        settings: WebhookSettings,
        queue: DeliveryQueue,
        poster: Poster,
        secrets: Mapping[str, Sequence[bytes]],
        seed: int,
    ) -> None:
        super().__init__(clock, name="webhooks", mailbox_len_max=1, batch_len_max=_BATCH_LEN_MAX)
        self._settings = settings
        self._queue = queue
        self._poster = poster
        self._secrets = secrets
        self.counters = WebhookCounters()
        self._make: Callable[[Mapping[str, int], float], WebhookEngine] = lambda waiting, now: WebhookEngine(
            settings.endpoints, settings, seed, self.counters, waiting, now
        )
        self._engine = self._make({}, clock.now())
        self._coming: Counter[str] = Counter()
        """Committed events that the engine has not heard of."""
        self._tasks: asyncio.TaskGroup | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    # -- what others use ------------------------------------------------------------------------------------

    def takes(self, endpoint: str) -> bool:
        """Whether one more event may be written for the endpoint; one that may not is counted as dropped."""
        if self._engine.has_room(endpoint, coming=self._coming[endpoint]):
            return True
        if self.counters.dropped[(endpoint,)] == 0:
            _log.error("a webhook's queue is full: events are dropped", extra={"endpoint": endpoint})
        self.counters.dropped[(endpoint,)] += 1
        return False

    def committed(self, notices: Sequence[Notice]) -> None:
        """They are stored. Never blocks, never raises: at the worst they are found at the next start."""
        with suppress(Unavailable):
            self.post(Queued(notices), urgent=True)
            self._coming.update(notice.endpoint for notice in notices)

    def renew_secrets(self, secrets: Mapping[str, Sequence[bytes]]) -> None:
        """Sign with these from the next attempt on; an endpoint that is not among them keeps its own."""
        self._secrets = {**self._secrets, **secrets}

    def lines(self) -> dict[str, int]:
        """Events that wait for each endpoint."""
        return self._engine.waiting()

    def breakers(self) -> dict[str, BreakerState]:
        """How each endpoint is treated."""
        return self._engine.breakers()

    # -- life -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """See ``EngineService``. Attempts under way at the end are given up: they are made again at the next start."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            await self._discard_until_done()
            await super().run()
            for task in list(self._under_way):
                task.cancel()

    # -- the shell ------------------------------------------------------------------------------------------

    def decide(self, event: WebhookEvent, now: float) -> list[Effect]:
        """See ``EngineService``."""
        if isinstance(event, Queued):
            self._coming.subtract(notice.endpoint for notice in event.notices)
        return self._engine.handle(event, now)

    def next_deadline(self) -> float | None:
        """See ``EngineService``."""
        return None if self._stopping else self._engine.next_deadline()

    def decide_deadlines(self, now: float) -> list[Effect]:
        """See ``EngineService``."""
        return self._engine.on_deadline(now)

    async def commit(self, effects: Sequence[Effect], now: float) -> None:
        """Store what became of attempts."""
        settled = [effect.settled for effect in effects if isinstance(effect, Keep)]
        if settled:
            await self._queue.keep(settled, now)

    async def discard(self) -> None:
        """Begin again with what is stored."""
        now = self._clock.now()
        abandoned = await self._queue.abandon(frozenset(self._settings.endpoints), now)
        if abandoned:
            _log.warning("events of webhooks that are not in the config are dead", extra={"events": abandoned})
        self._engine = self._make(await self._queue.waiting(), now)

    def perform(self, effects: Sequence[Effect], now: float) -> None:
        """Tell of the dead, start attempts and reads."""
        for effect in effects:
            match effect:
                case Send(delivery):
                    self._start(self._attempt(delivery))
                case ReadMore(endpoint):
                    self._start(self._read(endpoint))
                case Keep(settled):
                    if settled.dead is not None:
                        notice = settled.delivery.notice
                        facts = {"endpoint": notice.endpoint, "event_id": notice.event_id, "reason": settled.dead.value}
                        _log.error("an event will not be delivered", extra=facts)

    # -- waiting --------------------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        if self._tasks is None:
            raise RuntimeError("webhooks decide before they run")
        task = self._tasks.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _attempt(self, delivery: Delivery) -> None:
        notice = delivery.notice
        endpoint = self._settings.endpoints[notice.endpoint]
        headers = {
            "Content-Type": "application/json",
            "Doorstep-Event": notice.kind,
            "Doorstep-Delivery": notice.event_id,
            "Doorstep-Attempt": str(delivery.attempts + 1),
            "Doorstep-Signature": sign(notice.body, int(self._clock.now()), self._secrets[notice.endpoint]),
        }
        try:
            answer = await self._poster.post(endpoint.url, headers, notice.body)
        except Exception:  # noqa: BLE001 - a fault of the client must not end the others' attempts
            _log.exception("an attempt broke", extra={"endpoint": notice.endpoint})
            answer = Answer(Outcome.FAILED)
        self._tell(Attempted(delivery, answer))

    async def _read(self, endpoint: str) -> None:
        try:
            found = await self._queue.due_first(endpoint, limit=self._settings.window_len)
        except Unavailable:
            _log.warning("a webhook's queue cannot be read", extra={"endpoint": endpoint})
            found = None
        self._tell(MoreRead(endpoint, found))

    def _tell(self, event: WebhookEvent) -> None:
        with suppress(Unavailable):  # we are stopping: it is done again at the next start
            self.post(event, urgent=True)
