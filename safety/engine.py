"""Decides about incidents: what a tap becomes, who is told when, who owns it, how it ends.

Synchronous and deterministic. Each call works on a copy (``Case``) that is kept only when the call succeeds, so
an error leaves the engine as it was. The arrows are in ``incident.py``, whom to tell in ``escalation.py``.
"""

import heapq
from collections import deque
from dataclasses import replace
from typing import Final

from core.errors import Forbidden, Invalid
from core.ids import INCIDENT_PREFIX, TRIGGER_PREFIX, IdSource, IncidentId, TenantId, UserId
from core.principal import Principal
from safety import access
from safety.case import Case, broken_rule
from safety.errors import AlreadyAcknowledged, AlreadyResolved
from safety.escalation import find_targets, level_gap_s, merge_targets
from safety.events import (
    AckRaiser,
    DeliveryReceived,
    Effect,
    Event,
    IncidentAcknowledged,
    IncidentResolved,
    Reason,
    SosRaised,
)
from safety.incident import DISPOSITIONS, LEVEL_LAST, SYSTEM, Step, tell
from safety.model import KEY_MADE_PREFIX, Incident, IncidentState, Target, Trigger
from safety.ports import SafetyChanges, SafetyState, Surroundings
from safety.settings import SafetySettings
from safety.whereabouts import Whereabouts, find_booking, look_around, newest_fix

STORY_LEN: Final = 20
"""Events of an incident that are kept for error messages."""
STALE_DEADLINES_MAX: Final = 64
"""Deadlines in the heap that no longer hold, beyond one for each active incident, before they are cleared out."""
CONFIRMED_AGAIN_SHARE: Final = 0.05
"""Share of ``ack_stale_s`` within which a further confirmation of the owner says nothing new."""


class SafetyEngine:
    """All incidents of the process: those active, and those resolved recently."""

    def __init__(self, settings: SafetySettings, ids: IdSource, surroundings: Surroundings) -> None:
        self._settings = settings
        self._ids = ids
        self._surroundings = surroundings
        self._changes = SafetyChanges()
        self._clear()

    def _clear(self) -> None:
        self._incidents: dict[IncidentId, Incident] = {}
        self._active: dict[tuple[TenantId, UserId], IncidentId] = {}
        self._triggers: dict[IncidentId, list[Trigger]] = {}
        self._keys: dict[tuple[TenantId, UserId, str], Trigger] = {}
        self._event_seqs: dict[IncidentId, int] = {}
        self._stories: dict[IncidentId, deque[str]] = {}
        self._deadlines: list[tuple[float, IncidentId]] = []
        self._postponed: dict[IncidentId, float] = {}
        self._resolved: deque[IncidentId] = deque()

    # -- state in and out -----------------------------------------------------------------------------

    def load(self, state: SafetyState) -> None:
        """Replace everything by what is stored; changes not taken yet are dropped."""
        self._clear()
        self._changes = SafetyChanges()
        for incident in sorted(state.incidents, key=lambda i: (i.changed_at, i.incident_id)):
            self._put(incident)
        for trigger in sorted(state.triggers, key=lambda t: (t.received_at, t.trigger_id)):
            self._put_trigger(trigger)
        self._event_seqs.update(state.event_seqs)

    def adopt(self, changes: SafetyChanges) -> None:
        """Put changes on top of what was loaded: decided before, not stored yet."""
        for incident in changes.incidents.values():
            self._put(incident)
        for trigger in changes.triggers:
            self._put_trigger(trigger)
        for event in changes.events:
            self._event_seqs[event.incident_id] = event.seq

    def number_as(self, incident_id: IncidentId, version: int) -> Incident:
        """Give an incident an earlier version: what became of it is stored together with that one."""
        renumbered = self._incidents[incident_id] = replace(self._incidents[incident_id], version=version)
        return renumbered

    def take_changes(self) -> SafetyChanges:
        """What changed since the last call."""
        changes, self._changes = self._changes, SafetyChanges()
        return changes

    def incident(self, tenant: TenantId, incident_id: IncidentId) -> Incident | None:
        """An incident in memory."""
        found = self._incidents.get(incident_id)
        return found if found is not None and found.tenant == tenant else None

    def active(self) -> list[Incident]:
        """All incidents that nobody has ended, oldest first. Cost: O(n log n)."""
        found = [self._incidents[incident_id] for incident_id in self._active.values()]
        return sorted(found, key=lambda i: (i.raised_at, i.incident_id))

    def visible(self, who: Principal) -> list[Incident]:
        """Active incidents that ``who`` may see, oldest first."""
        return [incident for incident in self.active() if access.may_see(incident, who)]

    def story(self, incident_id: IncidentId) -> tuple[str, ...]:
        """The last events of an incident, for error messages."""
        return tuple(self._stories.get(incident_id, ()))

    # -- deciding -------------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Decide about one event.

        Raises:
            Refused: For those who handle incidents; changed nothing. Never for ``SosRaised``.
        """
        match event:
            case SosRaised():
                return self._raise(event, now)
            case DeliveryReceived():
                return self._receive(event, now)
            case IncidentAcknowledged():
                return self._acknowledge(event, now)
            case IncidentResolved():
                return self._resolve(event, now)

    def next_deadline(self) -> float | None:
        """When an incident acts by itself next. Cost: amortised O(log n)."""
        while self._deadlines:
            at, incident_id = self._deadlines[0]
            if self._deadline(incident_id) == at:
                return at
            heapq.heappop(self._deadlines)
        return None

    def due(self, now: float) -> list[IncidentId]:
        """Incidents whose deadline has come, the longest overdue first."""
        found: list[tuple[float, IncidentId]] = []
        while (at := self.next_deadline()) is not None and at <= now:
            found.append(heapq.heappop(self._deadlines))
            while self._deadlines and self._deadlines[0] == found[-1]:
                heapq.heappop(self._deadlines)  # the same deadline may have been noted twice
        for entry in found:
            heapq.heappush(self._deadlines, entry)
        return [incident_id for _, incident_id in found]

    def on_deadline(self, now: float) -> list[Effect]:
        """Act on every deadline that is due."""
        effects: list[Effect] = []
        for incident_id in self.due(now):
            effects.extend(self.act(incident_id, now))
        return effects

    def act(self, incident_id: IncidentId, now: float) -> list[Effect]:
        """Let one incident act on its timers that are due."""
        case = self._case(self._incidents[incident_id])
        if case.now.stale_at is not None and case.now.stale_at <= now:
            self._go_stale(case, now)
        elif case.now.state is IncidentState.OPEN:
            self._escalate(case, now)
        elif case.now.repeat_at is not None and case.now.repeat_at <= now:
            # Acknowledged, and the subject tapped again within the quiet time: told now.
            case.step(Step.REPEATED, SYSTEM, now, repeat_at=None)
            self._ring_all(case, now, Reason.TAPPED_AGAIN)
        return self._keep(case, now)

    def postpone(self, incident_id: IncidentId, until: float) -> None:
        """Its deadline failed by a fault of ours: let the others go on and try again then."""
        self._postponed[incident_id] = until
        self._note_deadline(incident_id)

    # -- a tap ----------------------------------------------------------------------------------------

    def _raise(self, event: SosRaised, now: float) -> list[Effect]:
        who = event.who
        self._forget(now)
        taps = self._new_taps(event)
        if not taps:
            known = self._keys[who.tenant, who.user, event.report.key]
            case = self._case(self._incidents[known.incident_id])
            self._learn_from_repeat(case, event, now)
            case.answer = self._answer(case, event, known.received_at)
            return self._keep(case, now)
        newest, earlier = taps[-1], taps[:-1]
        around = look_around(self._surroundings, who, newest.report, now)
        active = self._active.get((who.tenant, who.user))
        if active is None:
            case = self._open(newest, around, now)
        else:
            case = self._case(self._incidents[active])
            self._tap(case, newest, around, now, more=len(earlier))
        kept = len(self._triggers.get(case.now.incident_id, ())) + len(case.triggers)
        room = max(0, self._settings.triggers_kept_max - kept)
        case.triggers[:0] = [self._trigger(case, tap) for tap in earlier[:room]]
        if active is None and earlier:
            case.change(triggers=case.now.triggers + len(earlier))
        case.answer = self._answer(case, event, event.received_at)
        return self._keep(case, now)

    def _new_taps(self, event: SosRaised) -> list[SosRaised]:
        """The taps of an event that are not repeats, each key once, oldest first."""
        found: dict[str, SosRaised] = {}
        for tap in (*event.also, event):
            known = self._keys.get((tap.who.tenant, tap.who.user, tap.report.key))
            if known is None or not self._is_repeat(known, tap):
                found.setdefault(tap.report.key, tap)
        return list(found.values())

    def _is_repeat(self, known: Trigger, event: SosRaised) -> bool:
        """Whether a tap with a key that is known is the same tap again, and not somebody who needs help again.

        A made key is the same for every tap without one, and some clients reuse theirs: once the incident has
        ended, nobody would hear of the next emergency.
        """
        incident = self._incidents.get(known.incident_id)
        if incident is None or incident.is_active:
            return incident is not None
        is_made = known.key.startswith(KEY_MADE_PREFIX)
        return not is_made and event.received_at - known.received_at <= self._settings.key_repeat_s

    def _open(self, event: SosRaised, around: Whereabouts, now: float) -> Case:
        who, report, settings = event.who, event.report, self._settings
        incident_id = IncidentId(self._ids.new(INCIDENT_PREFIX))
        gap_s = level_gap_s(settings, 0)
        incident = Incident(
            tenant=who.tenant,
            city=around.city,
            incident_id=incident_id,
            version=1,
            state=IncidentState.OPEN,
            level=0,
            subject=who.user,
            subject_role=who.role,
            raised_at=event.received_at,
            changed_at=now,
            silent=report.silent,
            restricted=who.restricted,
            triggers=1,
            last_trigger_at=event.received_at,
            fix=around.fix,
            order_id=around.booked.order_id if around.booked else None,
            note=report.note,
            targets=(),
            repeat_at=now + settings.repeat_s,
            widen_at=None if gap_s is None else now + gap_s,
            avoid=(around.other_party,) if around.other_party else (),
            booked=around.booked,
        )
        case = Case(None, incident, last_seq=0, story=())
        case.alarms.extend(around.failures)
        case.step(Step.RAISED, who.user, now, "restricted" if who.restricted else "")
        case.triggers.append(self._trigger(case, event))
        self._ring_all(case, now, Reason.RAISED)
        return case

    def _tap(self, case: Case, event: SosRaised, around: Whereabouts, now: float, *, more: int = 0) -> None:
        """Another tap (and ``more``, told with it) of a subject whose incident is active: never refused or silent."""
        who, report, settings, old = event.who, event.report, self._settings, case.now
        case.alarms.extend(around.failures)
        case.change(
            triggers=old.triggers + 1 + more,
            last_trigger_at=max(old.last_trigger_at, event.received_at),
            silent=old.silent or report.silent,
            restricted=old.restricted and who.restricted,
            city=old.city or around.city,
            fix=newest_fix(around.fix, old.fix),
            note=report.note or old.note,
            booked=around.booked or old.booked,
            order_id=around.booked.order_id if around.booked else old.order_id,
            avoid=_with(old.avoid, around.other_party),
            changed_at=now,
        )
        case.change(targets=merge_targets(case.now, ()))
        if len(self._triggers[old.incident_id]) >= settings.triggers_kept_max:
            self._ring_soon(case, now)  # counted only: a stuck button must not fill the disk
            return
        case.step(Step.TAPPED, who.user, now, "restricted" if who.restricted else "")
        case.triggers.append(self._trigger(case, event))
        if self._is_burst(case, event.received_at, more):
            case.change(burst_at=event.received_at)
            if case.now.level < LEVEL_LAST:
                self._widen(case, who.user, now, now)
            self._ring_all(case, now, Reason.TAPPED_AGAIN)
        else:
            self._ring_soon(case, now)

    def _learn_from_repeat(self, case: Case, event: SosRaised, now: float) -> None:
        """The same tap again may say what its first copy did not; it is still one tap."""
        fix, note = event.report.fix, event.report.note
        if case.now.is_active and ((fix and case.now.fix is None) or (note and not case.now.note)):
            case.change(fix=case.now.fix or fix, note=case.now.note or note, changed_at=now)
            case.update = Reason.TAPPED_AGAIN

    def _trigger(self, case: Case, event: SosRaised) -> Trigger:
        return Trigger(
            trigger_id=self._ids.new(TRIGGER_PREFIX),
            incident_id=case.now.incident_id,
            key=event.report.key,
            device=event.who.device,
            received_at=event.received_at,
            restricted=event.who.restricted,
            report=event.report,
        )

    def _answer(self, case: Case, event: SosRaised, received_at: float) -> AckRaiser:
        report = event.report
        return AckRaiser(case.now, report.key, event.who.device, report.ignored, received_at, answer=True)

    def _is_burst(self, case: Case, tapped_at: float, more: int) -> bool:
        since = tapped_at - self._settings.burst_window_s
        burst_at = case.now.burst_at
        kept = self._triggers.get(case.now.incident_id, [])[-self._settings.burst_taps :]
        taps = sum(1 for t in kept if t.received_at >= since and (burst_at is None or t.received_at > burst_at))
        return taps + 1 + more >= self._settings.burst_taps

    # -- telling --------------------------------------------------------------------------------------

    def _ring_all(self, case: Case, now: float, reason: Reason, newcomers: Reason | None = None) -> None:
        """Tell everyone of the level, and those told before; widen at once while there is nobody to tell.

        Args:
            case: Its incident says the level.
            now: UTC epoch seconds.
            reason: Why those who know already are told again.
            newcomers: Why those are told who did not know; ``reason`` when not given.
        """
        before = {target.user for target in case.now.targets}
        self._look_up(case, now)
        while not case.now.targets and case.now.level < LEVEL_LAST:
            self._widen(case, SYSTEM, now, now, "nobody at this level")
            self._look_up(case, now)
        if not case.now.targets:
            case.alarms.append("nobody_to_tell")
            case.change(repeat_at=now + self._settings.unreached_repeat_s)
        for target in case.now.targets:
            why = reason if target.user in before or newcomers is None else newcomers
            case.ring.setdefault(why, []).append(target.user)
        case.change(targets=tuple(replace(target, told_at=now) for target in case.now.targets))

    def _ring_soon(self, case: Case, now: float) -> None:
        """Tell everyone of another tap: now, or once the quiet time since they were last told is over."""
        told_at = max((t.told_at for t in case.now.targets if t.told_at is not None), default=None)
        quiet_until = now if told_at is None else told_at + self._settings.retap_quiet_s
        if quiet_until <= now:
            self._ring_all(case, now, Reason.TAPPED_AGAIN)
        else:
            repeat_at = case.now.repeat_at
            case.change(repeat_at=quiet_until if repeat_at is None else min(repeat_at, quiet_until))

    def _look_up(self, case: Case, now: float) -> None:
        # A booking may have begun since the tap; its other side must not be told now.
        booked = find_booking(self._surroundings, case.now, case.alarms)
        case.change(avoid=_with(case.now.avoid, booked.other_party if booked else None))
        found = find_targets(self._surroundings, self._settings, case.now, now)
        case.alarms.extend(failure for failure in found.failures if failure not in case.alarms)
        case.change(targets=merge_targets(case.now, found.targets))

    def _widen(self, case: Case, who: str, due_at: float, now: float, detail: str = "") -> None:
        """One level up; the next one is due from when this one was, so that lateness does not add up."""
        level = case.now.level + 1
        gap_s = level_gap_s(self._settings, level)
        is_open = case.now.state is IncidentState.OPEN
        widen_at = due_at + gap_s if is_open and gap_s is not None else None
        case.step(Step.WIDENED, who, now, detail, level=level, widen_at=widen_at)

    # -- timers ---------------------------------------------------------------------------------------

    def _escalate(self, case: Case, now: float) -> None:
        """Nobody has acknowledged: the next level, the next repeat, or both."""
        level_before = case.now.level
        # After a long stop several levels may be due: each is written down, everyone is told once.
        while (widen_at := case.now.widen_at) is not None and widen_at <= now:
            self._widen(case, SYSTEM, widen_at, now)
        repeat_at = case.now.repeat_at
        is_repeat = repeat_at is not None and repeat_at <= now
        if repeat_at is not None and is_repeat:
            missed = (now - repeat_at) // self._settings.repeat_s
            case.step(
                Step.REPEATED, SYSTEM, now, repeat_at=repeat_at + (missed + 1) * self._settings.repeat_s
            )  # fmt: skip
        if is_repeat:
            self._ring_all(case, now, Reason.REPEATED, newcomers=Reason.WIDENED)
        elif case.now.level > level_before:
            told_before = case.now.targets
            self._ring_all(case, now, Reason.WIDENED)
            # Those who know already ring with the repeat; now they only learn the level.
            known = {target.user for target in told_before}
            new = [user for user in case.ring.pop(Reason.WIDENED, []) if user not in known]
            if new:
                case.ring[Reason.WIDENED] = new
            told_at = {target.user: target.told_at for target in told_before}
            case.change(targets=tuple(replace(t, told_at=told_at.get(t.user, now)) for t in case.now.targets))
            case.update = Reason.WIDENED

    def _go_stale(self, case: Case, now: float) -> None:
        """The owner did nothing for too long: open again, one level higher, everyone is told."""
        gone = case.now.owner
        case.step(
            Step.WENT_STALE,
            SYSTEM,
            now,
            f"owner {gone}",
            owner=None,
            acknowledged_at=None,
            stale_at=None,
            repeat_at=now + self._settings.repeat_s,
        )
        if case.now.level < LEVEL_LAST:
            self._widen(case, SYSTEM, now, now)
        self._ring_all(case, now, Reason.ACK_STALE)

    # -- humans ---------------------------------------------------------------------------------------

    def _receive(self, event: DeliveryReceived, now: float) -> list[Effect]:
        incident = self.incident(event.tenant, event.incident_id)
        if incident is None:
            return []  # long ended
        targets = tuple(
            replace(t, received_at=now) if t.user == event.recipient and t.received_at is None else t
            for t in incident.targets
        )
        if targets == incident.targets:
            return []
        case = self._case(incident)
        case.change(targets=targets)
        return self._keep(case, now)

    def _acknowledge(self, event: IncidentAcknowledged, now: float) -> list[Effect]:
        who = event.who
        incident = access.require_handler(self._incidents.get(event.incident_id), who)
        if not incident.is_active:
            raise AlreadyResolved
        case = self._case(incident)
        if incident.owner is None:
            self._own(case, who, now)
            case.update = Reason.ACKNOWLEDGED
        elif incident.owner == who.user:
            renewed_by_s = now + self._settings.ack_stale_s - (incident.stale_at or now)
            if renewed_by_s < self._settings.ack_stale_s * CONFIRMED_AGAIN_SHARE:
                return []  # a button held down must not write a row each time
            case.step(Step.CONFIRMED, who.user, now, stale_at=now + self._settings.ack_stale_s)
        else:
            raise AlreadyAcknowledged(incident.owner)
        return self._keep(case, now)

    def _own(self, case: Case, who: Principal, now: float) -> None:
        targets = case.now.targets
        if all(target.user != who.user for target in targets):
            # Ops who came later: from now on they hear what becomes of it.
            targets = (*targets, Target(who.user, "owner", case.now.level))
        case.step(
            Step.ACKNOWLEDGED,
            who.user,
            now,
            owner=who.user,
            acknowledged_at=now,
            targets=targets,
            repeat_at=None,
            widen_at=None,
            stale_at=now + self._settings.ack_stale_s,
        )

    def _resolve(self, event: IncidentResolved, now: float) -> list[Effect]:
        who = event.who
        incident = access.require_handler(self._incidents.get(event.incident_id), who)
        if event.disposition not in DISPOSITIONS:
            raise Invalid(f"must be one of {', '.join(DISPOSITIONS)}", field="disposition")
        if not incident.is_active:
            if (incident.resolved_by, incident.disposition) == (who.user, event.disposition):
                return []  # the same answer again
            raise AlreadyResolved
        if incident.owner != who.user and not access.is_ops_of(incident, who):
            raise Forbidden("only ops of the city and the owner can end an incident", code="not_owner")
        case = self._case(incident)
        if incident.owner is None:
            self._own(case, who, now)  # whoever ends it has seen it
        case.step(
            Step.RESOLVED,
            who.user,
            now,
            event.disposition,
            resolved_by=who.user,
            disposition=event.disposition,
            resolution_note=event.note,
            repeat_at=None,
            widen_at=None,
            stale_at=None,
        )
        case.update = Reason.RESOLVED
        return self._keep(case, now)

    # -- keeping --------------------------------------------------------------------------------------

    def _case(self, incident: Incident) -> Case:
        # One version a transaction, however often an incident changes in it.
        is_changed = incident.incident_id in self._changes.incidents
        return Case(
            before=incident,
            now=incident if is_changed else replace(incident, version=incident.version + 1),
            last_seq=self._event_seqs[incident.incident_id],
            story=self.story(incident.incident_id),
        )

    def _keep(self, case: Case, now: float) -> list[Effect]:
        """Make a case's work true and return what it means. Nothing above this line changed the engine."""
        before, incident = case.before, case.now
        effects = case.effects()
        if case.is_news:
            effects.extend(self.news(incident))
        if before is not None and replace(incident, version=before.version) == before and not case.events:
            return effects  # a repeated key that taught nothing
        self._put(incident)
        self._changes.incidents[incident.incident_id] = incident
        for trigger in case.triggers:
            self._put_trigger(trigger)
            self._changes.triggers.append(trigger)
        story = self._stories.setdefault(incident.incident_id, deque(maxlen=STORY_LEN))
        for event in case.events:
            self._event_seqs[incident.incident_id] = event.seq
            self._changes.events.append(event)
            story.append(tell(event))
        return effects

    def news(self, incident: Incident) -> list[AckRaiser]:
        """How far the latest tap of each device has come by now."""
        latest = {trigger.device: trigger for trigger in self._triggers.get(incident.incident_id, ())}
        return [
            AckRaiser(incident, t.key, t.device, t.report.ignored, t.received_at, answer=False)
            for t in latest.values()
        ]  # fmt: skip

    def _put(self, incident: Incident) -> None:
        incident_id = incident.incident_id
        subject = (incident.tenant, incident.subject)
        known = self._incidents.get(incident_id)
        deadline_before = self._deadline(incident_id)
        self._incidents[incident_id] = incident
        self._triggers.setdefault(incident_id, [])
        self._event_seqs.setdefault(incident_id, 0)
        self._postponed.pop(incident_id, None)
        if self._deadline(incident_id) != deadline_before:
            self._note_deadline(incident_id)
        if incident.is_active:
            self._active[subject] = incident_id
        else:
            if self._active.get(subject) == incident_id:
                del self._active[subject]
            if known is None or known.is_active:
                self._resolved.append(incident_id)

    def _put_trigger(self, trigger: Trigger) -> None:
        incident = self._incidents.get(trigger.incident_id)
        key = (incident.tenant, incident.subject, trigger.key) if incident is not None else None
        if key is None:
            return
        known = self._keys.get(key)
        if known is not None and known.incident_id == trigger.incident_id:
            return
        self._keys[key] = trigger  # of the newest incident: see `_is_repeat`
        self._triggers[trigger.incident_id].append(trigger)

    def _deadline(self, incident_id: IncidentId) -> float | None:
        incident = self._incidents.get(incident_id)
        at = incident.deadline if incident is not None else None
        return at if at is None else max(at, self._postponed.get(incident_id, at))

    def _note_deadline(self, incident_id: IncidentId) -> None:
        at = self._deadline(incident_id)
        if at is None:
            return
        if len(self._deadlines) >= STALE_DEADLINES_MAX + 2 * len(self._active):
            # Each change leaves its former deadline behind; those far ahead would stay for minutes.
            noted = ((self._deadline(active), active) for active in self._active.values() if active != incident_id)
            self._deadlines = [(due_at, active) for due_at, active in noted if due_at is not None]
            heapq.heapify(self._deadlines)
        heapq.heappush(self._deadlines, (at, incident_id))

    def _forget(self, now: float) -> None:
        """Let go of incidents that ended long ago; the store keeps them."""
        while self._resolved:
            incident = self._incidents[self._resolved[0]]
            if incident.changed_at + self._settings.resolved_kept_s > now:
                return
            incident_id = self._resolved.popleft()
            for trigger in self._triggers.pop(incident_id, ()):
                key = (incident.tenant, incident.subject, trigger.key)
                if self._keys.get(key) is trigger:
                    del self._keys[key]
            del self._incidents[incident_id]
            del self._event_seqs[incident_id]
            self._stories.pop(incident_id, None)

    # -- invariants -----------------------------------------------------------------------------------

    def check(self) -> None:
        """Assert what must always hold. Raises ``AssertionError`` with the incident's story."""
        for incident_id, incident in self._incidents.items():
            problem = broken_rule(incident)
            subject = (incident.tenant, incident.subject)
            if problem is None and incident.is_active and self._active.get(subject) != incident_id:
                problem = "two active incidents of one subject"
            if problem is not None:
                raise AssertionError("\n  ".join((f"{incident_id}: {problem}", *self.story(incident_id))))
        deadlines = [at for i in self._incidents if (at := self._deadline(i)) is not None]
        if self.next_deadline() != min(deadlines, default=None):
            raise AssertionError("the next deadline is not the earliest one")


def _with(avoid: tuple[UserId, ...], user: UserId | None) -> tuple[UserId, ...]:
    return avoid if user is None or user in avoid else (*avoid, user)
