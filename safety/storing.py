"""What the shells around safety and care share: turns wait here until the disk takes them, in their order.

A disk that fails holds neither a decision nor an alarm: a turn is waited for no longer than its patience, and tried
until it holds. A neighbour that fails is logged and goes no further.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Final, Generic, ParamSpec, TypeVar

from core.clock import Clock
from core.errors import DoorstepError, Unavailable
from core.outbox import Delivery, OutboxRow
from core.service import EffectT, EngineService, EventT
from safety.settings import SafetySettings
from safety.unstored import Storable

_log = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")

CONFLICT: Final = "store_conflict"


BatchT = TypeVar("BatchT", bound=Storable)


class StoringService(EngineService[EventT, EffectT], Generic[EventT, EffectT, BatchT]):
    """An engine's mailbox and task, beside a task that writes what was decided until it is stored."""

    def __init__(self, clock: Clock, *, name: str, settings: SafetySettings, delivery: Delivery) -> None:
        """Prepare; nothing runs before ``run``."""
        super().__init__(
            clock, name=name, mailbox_len_max=settings.mailbox_len_max, batch_len_max=settings.batch_len_max
        )
        self._settings = settings
        self._delivery = delivery
        self._turn_batch: BatchT | None = None
        self._in_flight: BatchT | None = None
        """What is being written: nothing may be joined to it."""
        self._store_wake = asyncio.Event()
        self._all_stored = asyncio.Event()
        self._all_stored.set()

    # -- what subclasses provide ----------------------------------------------------------------------

    def batches(self) -> Sequence[BatchT]:
        """What waits for the disk now, in the order in which it is to be stored."""
        raise NotImplementedError

    async def write(self, batch: BatchT) -> Sequence[OutboxRow]:
        """Store a batch and number its messages. Raises ``Unavailable``: nothing is stored, or nobody knows."""
        raise NotImplementedError

    def take_out(self, batch: BatchT) -> None:
        """It is stored, and waits no more."""
        raise NotImplementedError

    def stored(self) -> None:
        """A batch was stored and its messages are on their way."""

    def stored_all(self) -> None:
        """The disk has everything."""

    async def finish(self) -> None:
        """The mailbox is empty and no event comes any more: wait for the disk as long as that is right."""
        raise NotImplementedError

    # -- storing --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Handle events and deadlines until ``stop``, then ``finish``."""
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._write_until_cancelled())
            await super().run()
            await self.finish()
            writer.cancel()

    async def try_to_store(self, batch: BatchT, patience_s: float) -> None:
        """Wake the writer and wait until it has tried this batch, but never longer than ``patience_s``."""
        self.wake_writer()
        tried = asyncio.Event()
        batch.on_tried = tried.set
        await wait_for(tried, patience_s)

    def wake_writer(self) -> None:
        """Something waits for the disk."""
        self._all_stored.clear()
        self._store_wake.set()

    async def write_all(self) -> bool:
        """Try every batch once; whether all are stored now."""
        for batch in self.batches():
            self._in_flight = batch
            try:
                batch.rows = await self.write(batch)
            except Unavailable as error:
                _log.error("changes cannot be stored", extra={"service": self._name, "reason": error.code})
                if error.code != CONFLICT:
                    for waiting in self.batches():
                        waiting.on_tried()
                    return False
            except Exception:  # noqa: BLE001 - one batch that cannot be stored must not keep others from the disk
                _log.exception("the store failed on a batch; it is tried again", extra={"service": self._name})
            else:
                self.take_out(batch)
                if batch.sent_direct:
                    # The write holds at last: the messages go out in their streams.
                    self.guard("delivery", self._delivery.deliver, batch.rows or ())
                self.stored()
            finally:
                self._in_flight = None
            batch.on_tried()
        if self.batches():
            return False
        self._all_stored.set()
        self.stored_all()
        return True

    async def _write_until_cancelled(self) -> None:
        """Store batches in order; after a failure again with growing pauses, or at once when a new one comes."""
        wait_s = self._settings.retry_min_s
        while True:
            await self._store_wake.wait()
            self._store_wake.clear()
            while self.batches():
                if await self.write_all():
                    wait_s = self._settings.retry_min_s
                    continue
                await wait_for(self._store_wake, wait_s)
                self._store_wake.clear()
                wait_s = min(wait_s * 2, self._settings.retry_max_s)

    # -- neighbours -----------------------------------------------------------------------------------

    def guard(self, what: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Call somebody else's code; its fault is logged and must not end the service."""
        try:
            return call(*args, **kwargs)
        except DoorstepError as error:
            _log.warning("a neighbour refused", extra={"service": self._name, "what": what, "code": error.code})
        except Exception:  # noqa: BLE001 - whatever it is, it is not ours to end the service for
            _log.exception("a neighbour failed", extra={"service": self._name, "what": what})
        return None


async def wait_for(event: asyncio.Event, timeout_s: float) -> None:
    """Until the event or the time, whichever is first."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
