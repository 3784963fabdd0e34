"""The shell around care: waits for the disk and sends. What is dangerous to hold back is never held back.

Alarms go to safety before the turn is stored: their keys make one of what is raised twice, and safety survives a
broken disk by itself. Questions go out directly while the disk does not answer, and again in their stream once it does.
"""

import contextlib
import logging
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from core.clock import Clock
from core.errors import Unavailable
from core.ids import CityId, IdSource, IncidentId, OrderId, TenantId, UserId
from core.outbox import Delivery, OutboxDraft, OutboxRow
from core.principal import Principal
from core.service import Done, pause
from safety.care import ANSWER_ALARMS, CareEngine, answer_key
from safety.care_events import (
    AlarmStored,
    AskPerson,
    CareEffect,
    CareEvent,
    CheckAnswered,
    JobChanged,
    JobsFound,
    Line,
    RaiseAlarm,
    TellConsole,
)
from safety.care_model import Alarm, Answer, Check, Job, JobState, Watch
from safety.care_ports import Alarms, CareChanges, CareOutbound, CareState, CareStore, DrillAlarms, Jobs, Phones
from safety.drills import (
    DRILL_PREFIX,
    Drill,
    DrillEvent,
    DrillForgotten,
    DrillPassed,
    Drills,
    DrillState,
    DutyBegan,
    ShowDrill,
)
from safety.ports import RaiserLink
from safety.settings import SafetySettings
from safety.storing import StoringService, wait_for
from safety.trips import (
    LinkKind,
    SharerForgotten,
    Trip,
    TripEvent,
    TripId,
    TripOpened,
    TripRevoked,
    Trips,
    TripShared,
    TripViewed,
)
from safety.unstored import Storable

_log = logging.getLogger(__name__)

_FAULT_WAIT_S: Final = 5.0
"""A watch whose timer hit a fault of ours is tried again after this; the others go on."""
_ACTS_PER_TURN: Final = 200
"""Watches that act in one turn: about 5 ms."""
_UNSTORED_MAX: Final = 64
"""Turns that wait for a failing disk one by one; then they are joined, and messages nobody could number are dropped:
they went out directly."""


_VIEWS_TOLD_S: Final = 5.0
"""Views of one link are counted in memory for this long: a page that is left open must not write each time."""

ServiceEvent = CareEvent | TripEvent | DrillEvent
ServiceEffect = CareEffect | TripOpened | ShowDrill


@dataclass(slots=True, eq=False)
class _Batch(Storable):
    """One turn's changes on their way to the disk."""

    changes: CareChanges
    drafts: Sequence[OutboxDraft]


class CareService(StoringService[ServiceEvent, ServiceEffect, _Batch]):
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
        drills: DrillAlarms,
        outbound: CareOutbound,
        delivery: Delivery,
        link: RaiserLink,
    ) -> None:
        """Prepare; nothing is read before ``start``."""
        super().__init__(clock, name="care", settings=settings, delivery=delivery)
        self._store = store
        self._jobs = jobs
        self._alarms = alarms
        self._outbound = outbound
        self._link = link
        self._drill_alarms = drills
        self._ids = ids
        self._engine = CareEngine(settings.care, ids, phones)
        self._trips = Trips(settings.care.sharing, ids)
        self._drills = Drills(settings.care.drill, ids)
        self._views: dict[TripId, int] = {}
        self._views_told_at: dict[TripId, float] = {}
        self._unstored: deque[_Batch] = deque()
        self._is_started = False
        self.counts: Counter[str] = Counter()

    # -- what callers use -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Load what is watched, and take over how the jobs stand now. Raises ``Unavailable``."""
        now = self._clock.now()
        await self._load(now, is_start=True)
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

    async def _load(self, now: float, *, is_start: bool) -> None:
        state: CareState = await self._store.load(now, drills_since=now - self._settings.care.drill.valid_s)
        self._engine.load(state, now, is_start=is_start)
        self._trips.load(list(state.trips))
        self._drills.load(list(state.drills))

    def duty_began(self, tenant: TenantId, user: UserId, city: CityId) -> None:
        """Somebody went on duty. Never raises; before ``start`` it is ignored: they were on duty already."""
        if self._is_started:
            with contextlib.suppress(Unavailable):  # stopping: nobody can be asked any more
                self.post(DutyBegan(tenant, user, city), urgent=True)

    def answer(
        self, tenant: TenantId, who: UserId, role: str, check_id: str, answer: Answer, done: Done[ServiceEffect]
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
        self.guard("alarms", self._alarms.raise_alarm, tenant, watch, alarm, role, now, lambda incident: None)

    def drill(self, who: Principal, city: CityId, done: Done[ServiceEffect]) -> None:
        """Raise the alarm as a drill, and measure how long it takes to the disk.

        Args:
            done: Told ``ShowDrill`` with the time, or ``Unavailable`` when the alarm did not come through.

        Raises:
            Unavailable: Safety has stopped.
        """
        began_at = self._clock.monotonic()

        def raised(is_stored: bool) -> None:
            took_ms = (self._clock.monotonic() - began_at) * 1_000.0
            if not is_stored:
                done(Unavailable("the alarm did not come through", code="store_unavailable"))
                return
            try:
                self.post(DrillPassed(who.tenant, who.user, city, round(took_ms, 1)), done, urgent=True)
            except Unavailable as error:
                done(error)

        self._drill_alarms.raise_drill(who, city, self._ids.new(DRILL_PREFIX), self._clock.now(), raised)

    def last_drill(self, tenant: TenantId, user: UserId) -> Drill | None:
        """Somebody's last drill, while it stands."""
        return self._drills.last(tenant, user)

    def needs_drill(self, tenant: TenantId, user: UserId) -> bool:
        """Whether somebody must try the alarm before they go on duty."""
        if not self._settings.care.drill.required:
            return False
        last = self._drills.last(tenant, user)
        return last is None or last.state is not DrillState.PASSED

    def drills_of(self, tenant: TenantId, cities: frozenset[CityId]) -> list[Drill]:
        """The last drills of these cities, the newest first."""
        return self._drills.of(tenant, cities)

    async def share(self, event: TripShared) -> TripOpened:
        """Make a link. Raises ``Conflict`` (``trips_full``) or ``Unavailable``."""
        effects = await self.ask(event)
        return next(effect for effect in effects if isinstance(effect, TripOpened))

    async def revoke(self, event: TripRevoked) -> None:
        """Take a link back; it shows nothing from now on. Raises ``NotFound`` or ``Unavailable``."""
        await self.ask(event, urgent=True)

    def shared(
        self, tenant: TenantId, sharer: UserId, order_id: OrderId, kind: LinkKind = LinkKind.TRIP
    ) -> list[tuple[Trip, int]]:
        """Somebody's links to an order, each with how often it was opened."""
        found = self._trips.of(tenant, sharer, order_id, kind)
        return [(trip, trip.views + self._views.get(trip.trip_id, 0)) for trip in found]

    def shared_by(self, tenant: TenantId, sharer: UserId) -> list[tuple[Trip, int]]:
        """All that somebody has shared, as ``shared``."""
        return [(trip, trip.views + self._views.get(trip.trip_id, 0)) for trip in self._trips.by(tenant, sharer)]

    def opened(self, token: str, kind: LinkKind = LinkKind.TRIP) -> Trip | None:
        """The link that a token opens, counted; None for one that opens nothing."""
        now = self._clock.now()
        trip = self._trips.opened_by(token, now, kind)
        if trip is None:
            return None
        views = self._views.get(trip.trip_id, 0) + 1
        if now - self._views_told_at.get(trip.trip_id, 0.0) < _VIEWS_TOLD_S:
            self._views[trip.trip_id] = views
            return trip
        self._views_told_at[trip.trip_id] = now
        self._views.pop(trip.trip_id, None)
        with contextlib.suppress(Unavailable):  # too busy to count: the link shows what it has to all the same
            self.post(TripViewed(trip.trip_id, views))
        return trip

    async def forget(self, tenant: TenantId, user: UserId, kept: frozenset[OrderId]) -> None:
        """Let go of a person's links, but for those of ``kept`` orders, and of their drill; the store is not touched.

        Raises:
            Unavailable: Care is stopping.
        """
        await self.ask(SharerForgotten(tenant, user, kept), urgent=True)
        await self.ask(DrillForgotten(tenant, user), urgent=True)

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

    def overdue_s(self, now: float) -> float:
        """For how long the longest overdue of the watches that fail has not acted; 0 for none."""
        owed_at = self._engine.owed_at()
        return max(0.0, now - owed_at) if owed_at is not None else 0.0

    @property
    def watched(self) -> int:
        """Jobs that are watched."""
        return len(self._engine.watches())

    @property
    def unstored(self) -> int:
        """Turns whose changes the store has not taken yet."""
        return len(self._unstored)

    async def finish(self) -> None:
        """Wait for the disk for up to ``stop_wait_s``."""
        await wait_for(self._all_stored, self._settings.stop_wait_s)
        if self._unstored:
            _log.critical("stopped with changes of care that are not stored", extra={"turns": len(self._unstored)})

    # -- deciding -------------------------------------------------------------------------------------

    def decide(self, event: ServiceEvent, now: float) -> list[ServiceEffect]:
        """Let the engine that it is for handle one event."""
        if isinstance(event, TripEvent):
            return [*self._trips.handle(event, now)]
        if isinstance(event, DrillEvent):
            return [*self._drills.handle(event, now)]
        return [*self._engine.handle(event, now)]

    def next_deadline(self) -> float | None:
        """The earliest timer of a watch, a link or a drill."""
        moments = (self._engine.next_deadline(), self._trips.next_deadline(), self._drills.next_deadline())
        return min((at for at in moments if at is not None), default=None)

    def decide_deadlines(self, now: float) -> list[ServiceEffect]:
        """Let watches that are due act, a bounded number a turn; one that fails does not hold the others."""
        for trip_id in self._trips.expire(now):
            self._views.pop(trip_id, None)
            self._views_told_at.pop(trip_id, None)
        effects: list[ServiceEffect] = [*self._drills.on_deadline(now)]
        for watch_id in self._engine.due(now)[:_ACTS_PER_TURN]:
            try:
                effects.extend(self._engine.act(watch_id, now))
            except Exception:  # noqa: BLE001 - a fault of ours
                _log.exception("a timer of a watch failed", extra={"watch": watch_id})
                self._engine.postpone(watch_id, now + _FAULT_WAIT_S)
        return effects

    # -- storing --------------------------------------------------------------------------------------

    async def commit(self, effects: Sequence[ServiceEffect], now: float) -> None:
        """Raise alarms, then give the turn to the writer and wait for it, but never longer than ``commit_wait_s``."""
        for effect in effects:
            if isinstance(effect, RaiseAlarm):
                self._raise(effect, now)
            elif isinstance(effect, TellConsole) and effect.line is Line.ANSWERED_LATE and effect.check is not None:
                self._tell_late(effect.watch, effect.check)
        batch = self._turn_batch = _Batch(self._take_changes(), self._drafts(effects, now))
        if not batch.changes and not batch.drafts:
            batch.rows = ()
            await pause(0.0)  # a turn that stored nothing has not let anybody else work
            return
        patience_s = self._settings.commit_wait_s / (10 if self._unstored else 1)
        latest = self._unstored[-1] if self._unstored else None
        if latest is not None and latest is not self._in_flight and len(self._unstored) >= _UNSTORED_MAX:
            latest.changes.take_in(batch.changes)
        else:
            self._unstored.append(batch)
        await self.try_to_store(batch, patience_s)

    def _take_changes(self) -> CareChanges:
        changes = self._engine.take_changes()
        changes.trips = self._trips.take_changes()
        changes.drills = self._drills.take_changes()
        return changes

    def _raise(self, effect: RaiseAlarm, now: float) -> None:
        watch, alarm = effect.watch, effect.alarm
        self.counts[f"alarm_{alarm.cause}"] += 1

        def stored(incident: IncidentId) -> None:
            with contextlib.suppress(Unavailable):  # stopping: the next start raises it again, and hears the same
                self.post(AlarmStored(watch.watch_id, alarm.key, incident), urgent=True)

        role = "technician" if alarm.subject == watch.job.technician else "customer"
        self.guard("alarms", self._alarms.raise_alarm, watch.job.tenant, watch, alarm, role, now, stored)

    def _tell_late(self, watch: Watch, check: Check) -> None:
        """Whoever handles the incident of a missed check reads the answer there; a "no" has raised one of its own."""
        raised = [a for a in watch.alarms if (a.check_id, a.subject) == (check.check_id, watch.job.technician)]
        if raised and check.answer is Answer.OK:
            self.guard("alarms", self._alarms.answered_late, watch.job.tenant, raised[-1])

    def _drafts(self, effects: Sequence[ServiceEffect], now: float) -> list[OutboxDraft]:
        drafts: list[OutboxDraft] = []
        for effect in effects:
            if isinstance(effect, RaiseAlarm | TripOpened):
                continue
            drafts += self.guard("outbound", self._outbound.drafts, effect, now) or ()
            if isinstance(effect, ShowDrill):
                self.counts[f"drill_{effect.drill.state}"] += 1
            else:
                word = effect.check.state if isinstance(effect, AskPerson) else effect.line
                self.counts[word.value] += 1
        return drafts

    async def discard(self) -> None:
        """Back to what is stored, plus what is decided and still on its way there."""
        now = self._clock.now()
        await self._load(now, is_start=False)
        for batch in self._unstored:
            self._engine.adopt(batch.changes, now)
            self._trips.adopt(batch.changes.trips)
            self._drills.adopt(batch.changes.drills)
        jobs, cities = self._jobs.found(now)
        self.post(JobsFound(jobs, cities), urgent=True)

    def batches(self) -> Sequence[_Batch]:
        """Turns, the last one with what was joined to it."""
        return list(self._unstored)

    async def write(self, batch: _Batch) -> Sequence[OutboxRow]:
        """See the base."""
        return await self._store.commit(batch.changes, batch.drafts, self._clock.now())

    def take_out(self, batch: _Batch) -> None:
        """See the base."""
        self._unstored.remove(batch)

    # -- performing -----------------------------------------------------------------------------------

    def perform(self, effects: Sequence[ServiceEffect], now: float) -> None:
        """Send what was stored; what could not be goes out without a number."""
        batch = self._turn_batch
        if batch is None:
            return
        if batch.rows is not None:
            self.guard("delivery", self._delivery.deliver, batch.rows)
            return
        batch.sent_direct = True
        for draft in batch.drafts:
            self.guard("link", self._link.send_direct, draft.tenant, draft.recipient, draft.body)
