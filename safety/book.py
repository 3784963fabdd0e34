"""What the safety engine knows: incidents, the taps that fed them, their stories, and what is not stored yet.

Decides nothing. Each decision works on a copy (``Case``) that ``keep`` makes true, so that an error before it
leaves the book as it was.
"""

from collections import deque
from typing import Final

from core.ids import IncidentId, TenantId, UserId
from safety.case import Case, broken_rule
from safety.deadlines import Deadlines
from safety.events import AckRaiser, Effect
from safety.incident import tell
from safety.model import KEY_MADE_PREFIX, CapStatus, Incident, IncidentKind, SubjectRecord, Trigger
from safety.ports import SafetyChanges, SafetyState

STORY_LEN: Final = 20
"""Events of an incident that are kept for error messages."""


class Book:
    """All incidents of the process: those active, and those resolved recently.

    Args:
        deadlines: Kept true with the incidents.
        resolved_kept_s: How long an incident that has ended is kept.

    Attributes:
        incidents: All of them, by id.
        active_of: The active incident of each subject and CAP status; there is at most one.
        triggers: The taps that are kept, by incident, oldest first.
        ended_of: The incident of each subject and CAP status that ended last.
        keys: The tap of each key: subject and the key that the client gave.
    """

    def __init__(self, deadlines: Deadlines[IncidentId], resolved_kept_s: float) -> None:
        self._deadlines = deadlines
        self._resolved_kept_s = resolved_kept_s
        self._changes = SafetyChanges()
        self._clear()

    def _clear(self) -> None:
        self.incidents: dict[IncidentId, Incident] = {}
        self.active_of: dict[tuple[TenantId, UserId, CapStatus], IncidentId] = {}
        self.ended_of: dict[tuple[TenantId, UserId, CapStatus], IncidentId] = {}
        self.triggers: dict[IncidentId, list[Trigger]] = {}
        self.keys: dict[tuple[TenantId, UserId, str], Trigger] = {}
        self._subjects: dict[tuple[TenantId, UserId], SubjectRecord] = {}
        self._event_seqs: dict[IncidentId, int] = {}
        self._stories: dict[IncidentId, deque[str]] = {}
        self._resolved: deque[IncidentId] = deque()
        self._deadlines.clear()

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
        self._subjects.update({(record.tenant, record.user): record for record in state.subjects})

    def adopt(self, changes: SafetyChanges) -> None:
        """Put changes on top of what was loaded: decided before, not stored yet."""
        for incident in changes.incidents.values():
            self._put(incident)
        for trigger in changes.triggers:
            self._put_trigger(trigger)
        for event in changes.events:
            self._event_seqs[event.incident_id] = event.seq
        self._subjects.update(changes.subjects)

    def number_as(self, incident_id: IncidentId, version: int) -> Incident:
        """Give an incident an earlier version: what became of it is stored together with that one."""
        renumbered = self.incidents[incident_id] = self.incidents[incident_id].with_changes(version=version)
        return renumbered

    def take_changes(self) -> SafetyChanges:
        """What changed since the last call."""
        changes, self._changes = self._changes, SafetyChanges()
        return changes

    # -- reading --------------------------------------------------------------------------------------

    def incident(self, tenant: TenantId, incident_id: IncidentId) -> Incident | None:
        """An incident in memory."""
        found = self.incidents.get(incident_id)
        return found if found is not None and found.tenant == tenant else None

    def subject(self, tenant: TenantId, user: UserId) -> SubjectRecord:
        """What is kept of a person from one incident to the next."""
        return self._subjects.get((tenant, user)) or SubjectRecord(tenant, user)

    def active(self) -> list[Incident]:
        """All incidents that nobody has ended, oldest first. Cost: O(n log n)."""
        found = [self.incidents[incident_id] for incident_id in self.active_of.values()]
        return sorted(found, key=lambda i: (i.raised_at, i.incident_id))

    def story(self, incident_id: IncidentId) -> tuple[str, ...]:
        """The last events of an incident, for error messages."""
        return tuple(self._stories.get(incident_id, ()))

    def news(self, incident: Incident) -> list[AckRaiser]:
        """How far the latest tap of each device has come by now."""
        triggers = self.triggers.get(incident.incident_id, ())
        # Nothing may come to a phone because its owner said that they are forced: somebody may be looking on.
        latest = {t.device: t for t in triggers if t.kind is not IncidentKind.DURESS}
        return [
            AckRaiser(incident, t.key, t.device, t.report.ignored, t.received_at, answer=False)
            for t in latest.values()
        ]  # fmt: skip

    # -- writing --------------------------------------------------------------------------------------

    def case(self, incident: Incident) -> Case:
        """Begin to work on an incident."""
        # One version a transaction, however often an incident changes in it.
        is_changed = incident.incident_id in self._changes.incidents
        return Case(
            before=incident,
            now=incident if is_changed else incident.with_changes(version=incident.version + 1),
            last_seq=self._event_seqs[incident.incident_id],
            story=self.story(incident.incident_id),
        )

    def keep(self, case: Case) -> list[Effect]:
        """Make a case's work true and return what it means. Nothing before this call changed the book."""
        before, incident = case.before, case.now
        effects = case.effects()
        if case.is_news:
            effects.extend(self.news(incident))
        if before is not None and not case.events and incident.with_changes(version=before.version) == before:
            return effects  # a repeated key that taught nothing
        self._put(incident)
        self._changes.incidents[incident.incident_id] = incident
        for trigger in case.triggers:
            self._put_trigger(trigger)
            self._changes.triggers.append(trigger)
        self._changes.facts.extend(case.facts)
        if case.subject is not None:
            key = (case.subject.tenant, case.subject.user)
            self._subjects[key] = self._changes.subjects[key] = case.subject
        story = self._stories.setdefault(incident.incident_id, deque(maxlen=STORY_LEN))
        for event in case.events:
            self._event_seqs[incident.incident_id] = event.seq
            self._changes.events.append(event)
            story.append(tell(event))
        return effects

    def forget_subject(self, tenant: TenantId, user: UserId) -> None:
        """Let go of what is kept of a person from one incident to the next."""
        self._subjects.pop((tenant, user), None)

    def forget(self, now: float) -> None:
        """Let go of incidents that ended long ago; the store keeps them."""
        while self._resolved:
            incident = self.incidents.get(self._resolved[0])
            if incident is None or incident.is_active:
                self._resolved.popleft()  # opened again meanwhile
                continue
            if incident.changed_at + self._resolved_kept_s > now:
                return
            incident_id = self._resolved.popleft()
            subject = (incident.tenant, incident.subject, incident.cap_status)
            if self.ended_of.get(subject) == incident_id:
                del self.ended_of[subject]
            for trigger in self.triggers.pop(incident_id, ()):
                key = (incident.tenant, incident.subject, trigger.key)
                if self.keys.get(key) is trigger:
                    del self.keys[key]
            del self.incidents[incident_id]
            del self._event_seqs[incident_id]
            self._stories.pop(incident_id, None)

    def _put(self, incident: Incident) -> None:
        incident_id = incident.incident_id
        subject = (incident.tenant, incident.subject, incident.cap_status)
        known = self.incidents.get(incident_id)
        self.incidents[incident_id] = incident
        self.triggers.setdefault(incident_id, [])
        self._event_seqs.setdefault(incident_id, 0)
        self._deadlines.set(incident_id, incident.deadline)
        if incident.is_active:
            self.active_of[subject] = incident_id
        else:
            if self.active_of.get(subject) == incident_id:
                del self.active_of[subject]
            if known is None or known.is_active:
                self._resolved.append(incident_id)
                self.ended_of[subject] = incident_id

    def _put_trigger(self, trigger: Trigger) -> None:
        incident = self.incidents.get(trigger.incident_id)
        key = (incident.tenant, incident.subject, trigger.key) if incident is not None else None
        if key is None:
            return
        known = self.keys.get(key)
        is_made = trigger.key.startswith(KEY_MADE_PREFIX)  # and so of many taps: the newest counts
        if known is not None and known.incident_id == trigger.incident_id and not is_made:
            return
        self.keys[key] = trigger  # of the newest incident: see `Taps`
        self.triggers[trigger.incident_id].append(trigger)

    # -- invariants -----------------------------------------------------------------------------------

    def check(self) -> None:
        """Assert what must always hold. Raises ``AssertionError`` with the incident's story."""
        for incident_id, incident in self.incidents.items():
            problem = broken_rule(incident)
            subject = (incident.tenant, incident.subject, incident.cap_status)
            if problem is None and incident.is_active and self.active_of.get(subject) != incident_id:
                problem = "two active incidents of one subject"
            if problem is None and not self._keeps_deadline(incident):
                problem = "its deadline is not kept"
            if problem is not None:
                raise AssertionError("\n  ".join((f"{incident_id}: {problem}", *self.story(incident_id))))
        deadlines = [at for i in self.incidents if (at := self._deadlines.of(i)) is not None]
        if self._deadlines.next_at() != min(deadlines, default=None):
            raise AssertionError("the next deadline is not the earliest one")

    def _keeps_deadline(self, incident: Incident) -> bool:
        """Whether it acts when it says, or later because it was postponed."""
        said, at = incident.deadline, self._deadlines.of(incident.incident_id)
        return at is None if said is None else at is not None and at >= said
