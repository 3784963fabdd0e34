"""The shell around care: waits for the disk and sends. What is dangerous to hold back is never held back.

Alarms go to safety before the turn is stored: their keys make one of what is raised twice, and safety survives a
broken disk by itself. Questions go out directly while the disk does not answer, and again in their stream once it does.
"""

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, ParamSpec, TypeVar

from core.clock import Clock
from core.errors import DoorstepError, Unavailable
from core.ids import IdSource, IncidentId, TenantId, UserId
from core.outbox import Delivery, OutboxDraft, OutboxRow
from core.service import Done, EngineService, pause
from safety.care import ANSWER_ALARMS, CareEngine, answer_key
from safety.care_events import (
    AlarmStored,
    AskPerson,
    CareEffect,
    CareEvent,
    CheckAnswered,
    JobChanged,
    JobsFound,
    RaiseAlarm,
)
from safety.care_model import Alarm, Answer, Check, Job, JobState, Watch
from safety.care_ports import Alarms, CareChanges, CareOutbound, CareStore, Jobs, Phones
from safety.ports import RaiserLink
from safety.settings import SafetySettings

_log = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")

_FAULT_WAIT_S: Final = 5.0
"""A watch whose timer hit a fault of ours is tried again after this; the others go on."""
_ACTS_PER_TURN: Final = 200
"""Watches that act in one turn: about 5 ms."""
_UNSTORED_MAX: Final = 64
"""Turns that wait for a failing disk one by one; then they are joined, and messages nobody could number are dropped:
they went out directly."""


@dataclass(slots=True)
class _Batch:
    """One turn's changes on their way to the disk."""

    changes: CareChanges
    drafts: Sequence[OutboxDraft]
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    rows: Sequence[OutboxRow] | None = None
    """Set once stored."""
    sent_direct: bool = False


class CareService(EngineService[CareEvent, CareEffect]):
    """One for the process. ``start`` loads, ``run`` works, ``stop`` ends.

    Attributes:
        counts: What was done, by a word each: questions by state, alarms by cause, lines.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        settings: SafetySettings,
        ids: IdSource,
        store: CareStore,
        phones: Phones,
        jobs: Jobs,
        alarms: Alarms,
        outbound: CareOutbound,
        delivery: Delivery,
        link: RaiserLink,
    ) -> None:
        """Prepare; nothing is read before ``start``."""
        super().__init__(
            clock, name="care", mailbox_len_max=settings.mailbox_len_max, batch_len_max=settings.batch_len_max
        )
        self._settings = settings
        self._store = store
        self._jobs = jobs
        self._alarms = alarms
        self._outbound = outbound
        self._delivery = delivery
        self._link = link
        self._engine = CareEngine(settings.care, ids, phones)
        self._unstored: deque[_Batch] = deque()
        self._turn_batch: _Batch | None = None
        self._store_wake = asyncio.Event()
        self._all_stored = asyncio.Event()
        self._all_stored.set()
        self._is_started = False
        self.counts: Counter[str] = Counter()

    # -- what callers use -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Load what is watched, and take over how the jobs stand now. Raises ``Unavailable``."""
        now = self._clock.now()
        self._engine.load(await self._store.load(), now)
        self._is_started = True
        jobs, cities = self._jobs.found(now)
        self.post(JobsFound(jobs, cities), urgent=True)

    def job_changed(self, job: Job) -> None:
        """A job may be in a new state. Never raises; before ``start`` it is ignored, because that looks at all."""
        is_news = job.state is not JobState.OVER or self.waiting or self._engine.watch(job.order_id) is not None
        if not self._is_started or not is_news:
            return
        try:
            self.post(JobChanged(job), urgent=True)
        except Unavailable:
            _log.info("a job's change comes too late: the next start finds it", extra={"order": job.order_id})

    def answer(
        self, tenant: TenantId, who: UserId, role: str, check_id: str, answer: Answer, done: Done[CareEffect]
    ) -> None:
        """Take one tap. What is not ``ok`` is raised at once, whatever becomes of the rest.

        Args:
            done: Told when it is stored, or why not: ``NotFound`` for ``ok`` to a check that is not theirs or long
                gone.

        Raises:
            Unavailable: Care has stopped; an alarm went out all the same.
        """
        if answer is not Answer.OK:
            self._raise_tap(tenant, who, check_id, answer, role)
        self.post(CheckAnswered(tenant, who, check_id, answer), done, urgent=True)

    def _raise_tap(self, tenant: TenantId, who: UserId, check_id: str, answer: Answer, role: str) -> None:
        """At once: neither the mailbox nor the disk may hold it. The engine's own alarm of it has the same key."""
        cause, gravity = ANSWER_ALARMS[answer]
        found = self._engine.asked(tenant, who, check_id)
        now = self._clock.now()
        key = answer_key(check_id, who, answer)
        alarm = Alarm(key, check_id, who, cause, gravity, decided_at=now, retry_at=now)
        watch = found[0] if found is not None else None
        self._guard("alarms", self._alarms.raise_alarm, tenant, watch, alarm, role, now, lambda incident: None)

    def asked_of(self, tenant: TenantId, user: UserId) -> list[tuple[Watch, Check]]:
        """What somebody is asked now, by when it is due."""
        return self._engine.asked_of(tenant, user)

    def open_checks(self, tenant: TenantId) -> list[tuple[Watch, Check]]:
        """Every check of the tenant that waits for an answer, for staff."""
        return [
            (watch, check)
            for watch in self._engine.watches()
            if watch.job.tenant == tenant
            for check in watch.checks
            if check.is_open
        ]

    @property
    def watched(self) -> int:
        """Jobs that are watched."""
        return len(self._engine.watches())

    @property
    def unstored(self) -> int:
        """Turns whose changes the store has not taken yet."""
        return len(self._unstored)

    async def run(self) -> None:
        """Handle events and deadlines until ``stop``, then store what is left for up to ``stop_wait_s``."""
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._write_until_cancelled())
            await super().run()
            await _wait(self._all_stored, self._settings.stop_wait_s)
            if self._unstored:
                _log.critical("stopped with changes of care that are not stored", extra={"turns": len(self._unstored)})
            writer.cancel()

    # -- deciding -------------------------------------------------------------------------------------

    def decide(self, event: CareEvent, now: float) -> list[CareEffect]:
        """Let the engine handle one event."""
        return self._engine.handle(event, now)

    def next_deadline(self) -> float | None:
        """The earliest timer of a watch."""
        return self._engine.next_deadline()

    def decide_deadlines(self, now: float) -> list[CareEffect]:
        """Let watches that are due act, a bounded number a turn; one that fails does not hold the others."""
        effects: list[CareEffect] = []
        for watch_id in self._engine.due(now)[:_ACTS_PER_TURN]:
            try:
                effects.extend(self._engine.act(watch_id, now))
            except Exception:  # noqa: BLE001 - a fault of ours
                _log.exception("a timer of a watch failed", extra={"watch": watch_id})
                self._engine.postpone(watch_id, now + _FAULT_WAIT_S)
        return effects

    # -- storing --------------------------------------------------------------------------------------

    async def commit(self, effects: Sequence[CareEffect], now: float) -> None:
        """Raise alarms, then give the turn to the writer and wait for it, but never longer than ``commit_wait_s``."""
        for effect in effects:
            if isinstance(effect, RaiseAlarm):
                self._raise(effect, now)
        batch = self._turn_batch = _Batch(self._engine.take_changes(), self._drafts(effects, now))
        if not batch.changes and not batch.drafts:
            batch.rows = ()
            await pause(0.0)  # a turn that stored nothing has not let anybody else work
            return
        patience_s = self._settings.commit_wait_s / (10 if self._unstored else 1)
        if len(self._unstored) >= _UNSTORED_MAX:
            self._join(batch)
        else:
            self._unstored.append(batch)
        self._all_stored.clear()
        self._store_wake.set()
        await _wait(batch.tried, patience_s)

    def _raise(self, effect: RaiseAlarm, now: float) -> None:
        watch, alarm = effect.watch, effect.alarm
        self.counts[f"alarm_{alarm.cause}"] += 1

        def stored(incident: IncidentId) -> None:
            with contextlib.suppress(Unavailable):  # stopping: the next start raises it again, and hears the same
                self.post(AlarmStored(watch.watch_id, alarm.key, incident), urgent=True)

        role = "technician" if alarm.subject == watch.job.technician else "customer"
        self._guard("alarms", self._alarms.raise_alarm, watch.job.tenant, watch, alarm, role, now, stored)

    def _drafts(self, effects: Sequence[CareEffect], now: float) -> list[OutboxDraft]:
        drafts: list[OutboxDraft] = []
        for effect in effects:
            if not isinstance(effect, RaiseAlarm):
                drafts += self._guard("outbound", self._outbound.drafts, effect, now) or ()
                word = effect.check.state if isinstance(effect, AskPerson) else effect.line
                self.counts[word.value] += 1
        return drafts

    def _join(self, batch: _Batch) -> None:
        """The disk has been away for many turns: the last one takes this one in."""
        latest = self._unstored[-1]
        latest.changes.watches.update(batch.changes.watches)

    async def discard(self) -> None:
        """Back to what is stored, plus what is decided and still on its way there."""
        now = self._clock.now()
        self._engine.load(await self._store.load(), now, is_start=False)
        for batch in self._unstored:
            self._engine.adopt(batch.changes, now)
        jobs, cities = self._jobs.found(now)
        self.post(JobsFound(jobs, cities), urgent=True)

    async def _write_until_cancelled(self) -> None:
        """Store batches in order; after a failure again with growing pauses."""
        wait_s = self._settings.retry_min_s
        while True:
            await self._store_wake.wait()
            self._store_wake.clear()
            while self._unstored:
                if await self._write_first():
                    wait_s = self._settings.retry_min_s
                    continue
                await _wait(self._store_wake, wait_s)
                self._store_wake.clear()
                wait_s = min(wait_s * 2, self._settings.retry_max_s)
            self._all_stored.set()

    async def _write_first(self) -> bool:
        batch = self._unstored[0]
        try:
            batch.rows = await self._store.commit(batch.changes, batch.drafts, self._clock.now())
        except Unavailable as error:
            _log.error("care cannot be stored", extra={"reason": error.code})
        except Exception:  # noqa: BLE001 - one batch that cannot be stored must not keep others from the disk
            _log.exception("the store failed on a batch of care; it is put behind the others")
            self._unstored.rotate(-1)
        else:
            self._unstored.popleft()
            batch.tried.set()
            if batch.sent_direct:
                self._guard("delivery", self._delivery.deliver, batch.rows)
            return True
        for waiting in self._unstored:
            waiting.tried.set()
        return False

    # -- performing -----------------------------------------------------------------------------------

    def perform(self, effects: Sequence[CareEffect], now: float) -> None:
        """Send what was stored; what could not be goes out without a number."""
        batch = self._turn_batch
        if batch is None:
            return
        if batch.rows is not None:
            self._guard("delivery", self._delivery.deliver, batch.rows)
            return
        batch.sent_direct = True
        for draft in batch.drafts:
            self._guard("link", self._link.send_direct, draft.tenant, draft.recipient, draft.body)

    def _guard(self, what: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Call somebody else's code; its fault is logged and must not end the service."""
        try:
            return call(*args, **kwargs)
        except DoorstepError as error:
            _log.warning("a neighbour of care refused", extra={"what": what, "code": error.code})
        except Exception:  # noqa: BLE001 - whatever it is, it is not ours to end the service for
            _log.exception("a neighbour of care failed", extra={"what": what})
        return None


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    """Until the event or the time, whichever is first."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
