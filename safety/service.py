"""The shell around the safety engine: waits for the disk, sends, and never lets a broken disk hold an alarm.

The one exception to "never perform what was not committed" lives here: when the store fails or is slow, the turn goes
to the emergency journal, the messages of an incident go out without stream numbers, and the write is tried until it
holds; then the same messages go out again in their streams. Only when the journal fails as well does ``sos_ack`` say
``durable: false``, and the raiser hears ``durable: true`` as soon as one of the two has it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from core.clock import Clock
from core.errors import DoorstepError, Unavailable
from core.ids import IdSource, IncidentId, TenantId, UserId
from core.outbox import Delivery, OutboxRow
from core.principal import Principal
from safety import synthetic
from safety.call_plan import CallPlan
from safety.engine import SafetyEngine
from safety.events import (
    AckRaiser,
    DeliveryReceived,
    Effect,
    Event,
    PageSettled,
    RaiseForReal,
    ReviseRights,
    SendPage,
    SosRaised,
    SoundAlarm,
)
from safety.model import KEY_MADE_PREFIX, CapStatus, Incident, IncidentKind, SosReport, Trigger, TriggerSource
from safety.old_taps import OldTaps
from safety.pages import Page
from safety.paging import Paging
from safety.ports import Journal, Outbound, Outside, RaiserLink, SafetyState, SafetyStore, Surroundings, Watchers
from safety.promises import Promises
from safety.settings import SafetySettings
from safety.storing import CONFLICT, StoringService, wait_for
from safety.tap_queue import Answer, Failed, TapQueue, TapsWaiting
from safety.unstored import Batch, Draft, Unstored, draft_of, to_replay

_log = logging.getLogger(__name__)

Send = Callable[[bytes], None]

_ENGINE_FAULT_WAIT_S: Final = 5.0
"""An incident whose timer hit a fault of ours is tried again after this; the others go on."""
FORCED_IN_DRILL: Final = "forced_in_drill"
"""Why an incident was raised whose subject gave their other PIN for a drill."""
_FAULTS_MAX: Final = 2
"""A timer that fails this often in a row will not mend itself."""


class SafetyService(StoringService[Event | PageSettled, Effect, Batch]):
    """One for the process. ``start`` loads, ``run`` works, ``stop`` ends. Other inputs come through ``post``."""

    def __init__(
        self,
        clock: Clock,
        *,
        settings: SafetySettings,
        ids: IdSource,
        store: SafetyStore,
        surroundings: Surroundings,
        outbound: Outbound,
        delivery: Delivery,
        link: RaiserLink,
        watchers: Watchers,
        journal: Journal,
        outside: Outside | None = None,
    ) -> None:
        """Prepare; nothing is read before ``start``. Without ``outside`` people are told over the hub alone."""
        super().__init__(clock, name="safety", settings=settings, delivery=delivery)
        self._store = store
        self._outbound = outbound
        self._link = link
        self._watchers = watchers
        self._journal = journal
        self._engine = SafetyEngine(settings, ids, surroundings)
        self._outside = outside
        self._paging: Paging | None = None
        self._pages_put_off_until = 0.0
        if outside is not None:
            plan = CallPlan(
                settings.reach, with_push=outside.with_push, phonebook=outside.phonebook, presence=outside.presence
            )
            self._paging = Paging(settings.reach, plan, self._engine.incident)
        self._taps = TapQueue(settings.taps_waiting_max)
        self._old_taps = OldTaps(clock, store)
        self._unstored = Unstored()
        self._turns = 0
        self._promises = Promises(clock, journal, self._unstored, settings.journal, self._tell_promised)
        self._told_undurable: dict[IncidentId, TenantId] = {}
        """Incidents whose raisers were told that nothing is promised yet."""
        self._finished = False

    # -- what callers use -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Load open incidents with their deadlines, with what only the journal holds, and attend to their subjects.

        Raises:
            Unavailable: The database cannot be read.
        """
        await self._replay(await self._load())
        for incident in (*self._engine.active(), *self._engine.taken_back()):
            self.guard("watchers", self._watchers.incident_changed, incident)

    def raise_sos(
        self,
        who: Principal,
        report: SosReport,
        now: float,
        send: Send,
        failed: Failed | None = None,
        *,
        source: TriggerSource = TriggerSource.HUB,
        cap_status: CapStatus = CapStatus.ACTUAL,
    ) -> None:
        """Take an SOS (from ``intake.decode_sos``), also while stopping; nothing about it is refused.

        Args:
            who: Who tapped; a restricted principal is flagged.
            report: What could be read.
            now: When it arrived, UTC epoch seconds.
            send: Gets the ``sos_ack`` as JSON bytes once the tap is stored, or cannot be for now (``durable``
                says which).
            failed: Called only when no incident could be made at all.
            source: By which door it came.
            cap_status: ``EXERCISE`` for a drill.

        Raises:
            Unavailable: ``run`` has returned; nothing would ever handle it.
        """
        tap = SosRaised(who, report, now, source=source, cap_status=cap_status)
        self._take(tap, lambda ack: self._answer(ack, send), failed)

    def raise_for(
        self,
        subject: Principal,
        report: SosReport,
        now: float,
        *,
        source: TriggerSource,
        kind: IncidentKind = IncidentKind.PANIC,
        cap_status: CapStatus = CapStatus.ACTUAL,
        cause: str = "",
        raised_by: UserId | None = None,
        raised: Callable[[Incident], None] | None = None,
        failed: Failed | None = None,
    ) -> None:
        """Take an SOS that the subject did not tap: by ops, by a tracker, or by the system.

        Args:
            subject: Who needs help; where no token of theirs is at hand, one made of what is known of them.
            report: What is known. ``report.key`` names the occasion: said again, also after a restart of the
                server, it is the same trigger and not a further one.
            now: When it was noticed, UTC epoch seconds.
            source: By which door it came.
            kind: The incident has the gravest kind of its triggers.
            cap_status: ``TEST`` for the synthetic one, ``EXERCISE`` for a drill.
            cause: A word for why.
            raised_by: The user of ops who said so.
            raised: Gets the incident, after the commit.
            failed: Called only when no incident could be made at all.

        Raises:
            Unavailable: ``run`` has returned; nothing would ever handle it.
        """
        tap = SosRaised(subject, report, now, (), source, kind, cap_status, cause, raised_by)
        self._take(tap, lambda ack: None if raised is None else raised(ack.incident), failed)

    def _take(self, tap: SosRaised, answer: Answer, failed: Failed | None) -> None:
        if not self._is_offered_again(tap):
            self._raise(tap, answer, failed)
            return

        def told(known: tuple[Incident, Trigger] | None) -> None:
            if known is None:
                self.guard("old tap", self._raise, tap, answer, failed)
                return
            incident, trigger = known
            report = tap.report
            ack = AckRaiser(incident, report.key, tap.who.device, report.ignored, trigger.received_at, answer=True)
            self.guard("answer", answer, ack)

        self._old_taps.look_up(tap, told)

    def _is_offered_again(self, tap: SosRaised) -> bool:
        """Whether a tap may have been stored long ago; while stopping nobody waits for the answer."""
        is_old = tap.report.age_s > self._settings.key_repeat_s and not tap.report.key.startswith(KEY_MADE_PREFIX)
        return is_old and not self._stopping and not self._engine.knows(tap)

    def stop(self) -> None:
        """See the base; what waits to be looked up rings."""
        self._old_taps.give_up()
        super().stop()

    def _raise(self, tap: SosRaised, answer: Answer, failed: Failed | None) -> None:
        if self._finished:
            raise Unavailable("safety has stopped", code="draining")

        waiting = self._taps.add(tap, answer, failed)
        if waiting is None:
            return
        # Not by `post`: an SOS is taken as long as anybody is there to handle it.
        self._urgent.append((tap, lambda outcome: self._answer_all(waiting, outcome)))
        self._idle.clear()
        self._wake.set()

    def _answer_all(self, waited: TapsWaiting, outcome: Sequence[Effect] | DoorstepError) -> None:
        """Each tap hears by its own key what became of all that waited together."""
        if isinstance(outcome, DoorstepError):
            for _, _, failed in waited.answers:
                if failed is not None:
                    self.guard("answer", failed, outcome)
            return
        for effect in outcome:
            if not (isinstance(effect, AckRaiser) and effect.answer):
                continue
            for answer, ack in waited.answered(effect):
                self.guard("answer", answer, ack)

    @property
    def unacknowledged(self) -> int:
        """Incidents that no human has in hand."""
        return sum(1 for incident in self._engine.active() if not incident.seen and incident.tenant != synthetic.TENANT)

    def incident(self, tenant: TenantId, incident_id: IncidentId) -> Incident | None:
        """An incident in memory: active, or resolved within ``resolved_kept_s``."""
        return self._engine.incident(tenant, incident_id)

    def forget_subject(self, tenant: TenantId, user: UserId) -> None:
        """Let go of the count of somebody's wrong PINs and false alarms; the store is not touched."""
        self._engine.forget_subject(tenant, user)

    def raised_at(self, tenant: TenantId, user: UserId) -> float | None:
        """When the active incident of a user began; None without one."""
        return self._engine.raised_at(tenant, user)

    def visible(self, who: Principal) -> Sequence[Incident]:
        """Active incidents that this principal may read, oldest first (snapshots, lists)."""
        return self._engine.visible(who)

    def pages(self, incident_id: IncidentId) -> Sequence[Page]:
        """Who was called outside the hub about an incident in memory, by recipient."""
        return self._paging.pages(incident_id) if self._paging is not None else ()

    def overdue_s(self, now: float) -> float:
        """How late the latest timer or call is; 0 for none. One that fails is late from when it should have acted."""
        timer_at = self._engine.owed_at()
        late_s = max(0.0, now - timer_at) if timer_at is not None else 0.0
        return max(late_s, self._paging.overdue_s(now)) if self._paging is not None else late_s

    @property
    def failing(self) -> Sequence[IncidentId]:
        """Incidents whose timer failed and has not worked since, the longest overdue first."""
        return self._engine.failing

    @property
    def paging(self) -> Paging | None:
        """The calls outside the hub, for whoever watches over them."""
        return self._paging

    @property
    def unstored(self) -> int:
        """Batches of changes that the store has not taken yet; above 0 the database has a fault."""
        return len(self._unstored)

    def is_promised(self, incident_id: IncidentId) -> bool:
        """Whether all that is known of an incident survives the process: the database has it, or the journal."""
        return self._unstored.is_promised(incident_id)

    @property
    def unpromised(self) -> int:
        """Those of them that the journal does not hold either: lost if the process ends now."""
        return len(self._unstored.unpromised)

    async def run(self) -> None:
        """Handle events and deadlines until ``stop``, then ``finish``."""
        async with asyncio.TaskGroup() as group:
            rewriter = group.create_task(self._promises.rewrite_until_cancelled())
            looking = group.create_task(self._old_taps.run())
            await super().run()
            rewriter.cancel()
            looking.cancel()

    # -- deciding -------------------------------------------------------------------------------------

    def decide(self, event: Event | PageSettled, now: float) -> list[Effect]:
        """Let the engine handle one event. A fault of ours costs that event, never its neighbours."""
        if isinstance(event, PageSettled):
            if self._paging is not None:
                self._paging.settled(event, now)
            return []
        effects = self._decide(event, now)
        self._follow(event, effects, now)
        return effects

    def _follow(self, event: Event | None, effects: Sequence[Effect], now: float) -> None:
        """What was decided as calls outside the hub; a fault there must not cost what was decided."""
        if self._paging is None:
            return
        if isinstance(event, DeliveryReceived):
            self.guard("paging", self._paging.received, event.incident_id, event.recipient, now)
        elif isinstance(event, SosRaised):
            self.guard("paging", self._paging.forget, now)
        self.guard("paging", self._paging.follow, effects, now)

    def _begin_pages(self, now: float) -> Sequence[Effect]:
        if self._paging is None or now < self._pages_put_off_until:
            return ()
        try:
            return self._paging.begin(now)
        except Exception:  # noqa: BLE001 - a fault of ours: incidents have their own deadlines
            _log.exception("calls that are due could not be begun")
            self._pages_put_off_until = now + _ENGINE_FAULT_WAIT_S
            return ()

    def _decide(self, event: Event, now: float) -> list[Effect]:
        if isinstance(event, SosRaised):
            event = self._taps.gathered(event)
        try:
            return self._engine.handle(event, now)
        except DoorstepError:
            raise
        except Exception as fault:
            _log.exception("the safety engine failed on an event")
            if isinstance(event, SosRaised):
                return self._decide_barely(event, now)
            raise DoorstepError("the server failed on this request") from fault

    def _decide_barely(self, event: SosRaised, now: float) -> list[Effect]:
        """Whatever in the report broke us, somebody called for help: try with nothing but the key."""
        bare = replace(event, report=SosReport(key=event.report.key, ignored=("everything",)), also=())
        try:
            return self._engine.handle(bare, now)
        except Exception as fault:
            _log.exception("the safety engine failed on a bare SOS")
            raise DoorstepError("the server failed on this SOS") from fault

    def next_deadline(self) -> float | None:
        """The earliest timer of an incident or of a call."""
        calls_at = self._paging.next_deadline() if self._paging is not None else None
        if calls_at is not None:
            calls_at = max(calls_at, self._pages_put_off_until)
        return min((at for at in (self._engine.next_deadline(), calls_at) if at is not None), default=None)

    def decide_deadlines(self, now: float) -> list[Effect]:
        """Let each due incident act; one that fails does not hold the others."""
        effects: list[Effect] = []
        for incident_id in self._engine.due(now):
            try:
                effects.extend(self._engine.act(incident_id, now))
            except Exception:  # noqa: BLE001 - a fault of ours
                _log.exception("a timer of an incident failed", extra={"incident_id": incident_id})
                effects.extend(self._after_fault(incident_id, now))
        self._follow(None, effects, now)
        effects.extend(self._begin_pages(now))
        return effects

    def _after_fault(self, incident_id: IncidentId, now: float) -> Sequence[Effect]:
        """Its timer is tried again soon; from the second fault on its people are told again all the same."""
        times = self._engine.postpone(incident_id, now + _ENGINE_FAULT_WAIT_S)
        each = max(1, round(self._settings.repeat_s / _ENGINE_FAULT_WAIT_S))
        if times < _FAULTS_MAX or (times - _FAULTS_MAX) % each:
            return ()
        return self.guard("ring", self._engine.ring_barely, incident_id, now) or ()

    # -- storing --------------------------------------------------------------------------------------

    async def commit(self, effects: Sequence[Effect], now: float) -> None:
        """Give the turn to the writer and wait for it, but never longer than ``commit_wait_s``; then to the journal."""
        self._turns += 1
        changes = self._engine.take_changes()
        if self._paging is not None:
            changes.pages = self._paging.take_changes()
        batch = Batch(changes, self._drafts(effects, now), unjournaled={self._turns})
        self._turn_batch = batch
        if not batch.changes and not batch.drafts:
            batch.rows = ()
            return
        homes, patience_s = [batch], 0.0
        if len(self._unstored) >= self._settings.unstored_turns_max:
            homes = self._unstored.join(batch, self._engine.number_as)
        else:
            # While an earlier turn still hangs at the disk, waiting for this one as well would only hold the alarm.
            patience_s = self._settings.commit_wait_s / (10 if self._unstored else 1)
            self._unstored.add(batch)
        if patience_s:
            await self.try_to_store(batch, patience_s)
        else:
            self.wake_writer()
        if batch.rows is None:
            await self._promises.keep(batch, homes, now)

    def _drafts(self, effects: Sequence[Effect], now: float) -> list[Draft]:
        """Messages of each effect by itself: one that cannot be built costs only itself."""
        drafts: list[Draft] = []
        for effect in effects:
            if isinstance(effect, SendPage):
                continue
            incident_id = effect.incident.incident_id
            built = self.guard("outbound", self._outbound.drafts, (effect,), now) or ()
            drafts += [draft_of(incident_id, draft) for draft in built]
        return drafts

    async def discard(self) -> None:
        """Back to what is stored, plus what is decided and still on its way there."""
        await self._load()
        for batch in self._unstored:
            self._adopt(batch)

    async def _load(self) -> SafetyState:
        # What the engine would forget at once is not read.
        since = self._clock.now() - self._settings.resolved_kept_s
        state = await self._store.load(settled_since=since)
        self._engine.load(state)
        if self._paging is not None:
            self._paging.load(state.pages)
        return state

    def _adopt(self, batch: Batch) -> None:
        """Put what is decided and not stored on top of what was loaded."""
        self._engine.adopt(batch.changes)
        if self._paging is not None:
            self._paging.adopt(batch.changes.pages.values())

    async def _replay(self, state: SafetyState) -> None:
        """Put what only the journal holds on top of what was loaded, and try to store it."""
        content = await self._journal.read()
        if content.damage:
            _log.critical("the emergency journal was damaged", extra={"damage": content.damage})
        if not content.entries:
            return
        self._promises.held()
        versions = {incident.incident_id: incident.version for incident in state.incidents}
        for entry in content.entries:
            for incident in entry.changes.incidents.values():
                if incident.incident_id not in versions:  # never stored, or ended too long ago to be loaded
                    stored = await self._store.incident(incident.tenant, incident.incident_id)
                    versions[incident.incident_id] = 0 if stored is None else stored.version
        batches, gaps = to_replay(content.entries, versions, state.event_seqs)
        for incident_id in gaps:
            _log.critical("part of an incident's history is lost", extra={"incident_id": incident_id})
        for batch in batches:
            self._adopt(batch)
            self._unstored.add(batch)
        _log.warning("replayed the emergency journal", extra={"turns": len(content.entries), "missing": len(batches)})
        self.wake_writer()
        await self.write_all()

    async def finish(self) -> None:
        """Wait for the database a while, and for database or journal as long as it takes.

        As long as this process lives, what neither of the two has is not lost.
        """
        self._finished = True
        await wait_for(self._all_stored, self._settings.stop_wait_s)
        while unpromised := self._unstored.unpromised:
            _log.critical("cannot stop: neither the database nor the journal has it", extra={"turns": len(unpromised)})
            for batch in unpromised:
                await self._promises.keep(batch, [batch], self._clock.now())
            await wait_for(self._all_stored, self._settings.retry_max_s)
        if self._unstored:
            _log.critical("stopped with changes that only the journal holds", extra={"turns": len(self._unstored)})

    def batches(self) -> Sequence[Batch]:
        """Turns, or what of an incident was joined."""
        return list(self._unstored)

    def take_out(self, batch: Batch) -> None:
        """See the base."""
        self._unstored.remove(batch)

    def stored(self) -> None:
        """What was stored is promised."""
        self._tell_promised()

    def stored_all(self) -> None:
        """The journal has nothing that the database has not."""
        self._promises.all_stored()

    async def write(self, batch: Batch) -> Sequence[OutboxRow]:
        """Store a batch, or find that an earlier attempt which failed had stored it."""
        batch.attempts += 1
        try:
            drafts = [draft for _, draft in batch.drafts]
            return await self._store.commit(batch.changes, drafts, self._clock.now())
        except Unavailable as error:
            if error.code != CONFLICT or batch.attempts == 1:
                raise
        # An earlier attempt may have been stored although it failed: then its rows are in the streams already.
        for incident in batch.changes.incidents.values():
            stored = await self._store.incident(incident.tenant, incident.incident_id)
            if stored is None or stored.version < incident.version:
                raise Unavailable("an incident is stored in another version", code=CONFLICT)
        return ()

    def _tell_promised(self) -> None:
        """Raisers who were told that nothing is promised hear of it when all of their case is."""
        for incident_id in [told for told in self._told_undurable if self._unstored.is_promised(told)]:
            current = self._engine.incident(self._told_undurable.pop(incident_id), incident_id)
            for ack in self._engine.news(current) if current is not None else ():
                self.guard("sos_ack", self._send_ack, ack)

    # -- performing -----------------------------------------------------------------------------------

    def perform(self, effects: Sequence[Effect], now: float) -> None:
        """Rights first, then the messages, then news for raisers; the answers to taps go by ``raise_sos``."""
        batch = self._turn_batch
        for effect in effects:
            if isinstance(effect, ReviseRights):
                self.guard("watchers", self._watchers.incident_changed, effect.incident)
        if batch is not None and batch.rows is not None:
            self.guard("delivery", self._delivery.deliver, batch.rows)
        elif batch is not None:
            batch.sent_direct = True
            for effect in effects:
                for tenant, user, body in self.guard("outbound", self._outbound.direct, (effect,), now) or ():
                    self.guard("link", self._link.send_direct, tenant, user, body)
        latest: dict[tuple[IncidentId, str], AckRaiser] = {}
        for effect in effects:
            if isinstance(effect, SendPage) and self._outside is not None:
                self.guard("pager", self._outside.pager.send, effect)
            elif isinstance(effect, RaiseForReal):
                self.guard("raise", self._raise_for_real, effect, now)
            elif isinstance(effect, AckRaiser) and not effect.answer:
                latest[effect.incident.incident_id, effect.key] = effect
            elif isinstance(effect, SoundAlarm):
                _log.critical(
                    "an incident has trouble reaching people",
                    extra={"incident_id": effect.incident.incident_id, "what": effect.what},
                )
        for ack in latest.values():
            self.guard("sos_ack", self._send_ack, ack)

    def _raise_for_real(self, effect: RaiseForReal, now: float) -> None:
        self.raise_for(
            effect.who,
            SosReport(key=f"{FORCED_IN_DRILL}:{effect.incident.incident_id}:{now:.3f}", silent=True),
            now,
            source=TriggerSource.SYSTEM,
            kind=IncidentKind.DURESS,
            cause=FORCED_IN_DRILL,
        )

    def _answer(self, ack: AckRaiser, send: Send) -> None:
        incident_id = ack.incident.incident_id
        is_promised = self._unstored.is_promised(incident_id)
        if not is_promised:
            self._told_undurable[incident_id] = ack.incident.tenant
        send(self._outbound.sos_ack(ack, durable=is_promised))

    def _send_ack(self, ack: AckRaiser) -> None:
        incident = ack.incident
        # Also to devices whose token has expired: their owner has to know that somebody comes.
        self._answer(ack, lambda body: self._link.answer_raiser(incident.tenant, incident.subject, body))
