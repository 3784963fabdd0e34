"""Decides about incidents: what each event and each timer leads to, who owns an incident, how it ends.

Synchronous and deterministic. Each call works on a copy (``Case``) that is kept only when the call succeeds, so
an error leaves the engine as it was. The pieces: ``book.py`` (what is known), ``taps.py`` (what a tap becomes),
``ringing.py`` (who is told when, with ``escalation.py``), ``deadlines.py``; the arrows are in ``incident.py``.
"""

from dataclasses import replace
from typing import Final

from core.errors import Forbidden, Invalid
from core.ids import IdSource, IncidentId, TenantId
from core.principal import Principal
from safety import access
from safety.audit import fact_entry
from safety.book import Book
from safety.case import Case
from safety.deadlines import Deadlines
from safety.errors import AlreadyAcknowledged, AlreadyResolved
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
from safety.incident import DISPOSITIONS, Step
from safety.model import Incident, Target
from safety.ports import SafetyChanges, SafetyState, Surroundings
from safety.ringing import Ringing
from safety.settings import SafetySettings
from safety.taps import Taps

CONFIRMED_AGAIN_SHARE: Final = 0.05
"""Share of ``ack_stale_s`` within which a further confirmation of the owner says nothing new."""


class SafetyEngine:
    """All incidents of the process: those active, and those resolved recently."""

    def __init__(self, settings: SafetySettings, ids: IdSource, surroundings: Surroundings) -> None:
        self._settings = settings
        self._deadlines: Deadlines[IncidentId] = Deadlines()
        self._book = Book(self._deadlines, settings.resolved_kept_s)
        self._ringing = Ringing(settings, surroundings)
        self._taps = Taps(settings, ids, surroundings, self._book, self._ringing)

    # -- state in and out -----------------------------------------------------------------------------

    def load(self, state: SafetyState) -> None:
        """Replace everything by what is stored; changes not taken yet are dropped."""
        self._book.load(state)

    def adopt(self, changes: SafetyChanges) -> None:
        """Put changes on top of what was loaded: decided before, not stored yet."""
        self._book.adopt(changes)

    def number_as(self, incident_id: IncidentId, version: int) -> Incident:
        """Give an incident an earlier version: what became of it is stored together with that one."""
        return self._book.number_as(incident_id, version)

    def take_changes(self) -> SafetyChanges:
        """What changed since the last call."""
        return self._book.take_changes()

    def incident(self, tenant: TenantId, incident_id: IncidentId) -> Incident | None:
        """An incident in memory."""
        return self._book.incident(tenant, incident_id)

    def active(self) -> list[Incident]:
        """All incidents that nobody has ended, oldest first. Cost: O(n log n)."""
        return self._book.active()

    def visible(self, who: Principal) -> list[Incident]:
        """Active incidents that ``who`` may see, oldest first."""
        return [incident for incident in self._book.active() if access.may_see(incident, who)]

    def news(self, incident: Incident) -> list[AckRaiser]:
        """How far the latest tap of each device has come by now."""
        return self._book.news(incident)

    def story(self, incident_id: IncidentId) -> tuple[str, ...]:
        """The last events of an incident, for error messages."""
        return self._book.story(incident_id)

    def check(self) -> None:
        """Assert what must always hold. Raises ``AssertionError`` with the incident's story."""
        self._book.check()

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

    # -- timers ---------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When an incident acts by itself next. Cost: amortised O(log n)."""
        return self._deadlines.next_at()

    def due(self, now: float) -> list[IncidentId]:
        """Incidents whose deadline has come, the longest overdue first."""
        return self._deadlines.due(now)

    def on_deadline(self, now: float) -> list[Effect]:
        """Act on every deadline that is due."""
        effects: list[Effect] = []
        for incident_id in self._deadlines.due(now):
            effects.extend(self.act(incident_id, now))
        return effects

    def act(self, incident_id: IncidentId, now: float) -> list[Effect]:
        """Let one incident act on its timers that are due."""
        case = self._book.case(self._book.incidents[incident_id])
        self._ringing.on_timers(case, now)
        return self._book.keep(case)

    def postpone(self, incident_id: IncidentId, until: float) -> None:
        """Its deadline failed by a fault of ours: let the others go on and try again then."""
        self._deadlines.postpone(incident_id, until)

    # -- a tap ----------------------------------------------------------------------------------------

    def _raise(self, event: SosRaised, now: float) -> list[Effect]:
        self._book.forget(now)
        return self._book.keep(self._taps.take(event, now))

    # -- humans ---------------------------------------------------------------------------------------

    def _receive(self, event: DeliveryReceived, now: float) -> list[Effect]:
        incident = self._book.incident(event.tenant, event.incident_id)
        if incident is None:
            return []  # long ended
        targets = tuple(
            replace(t, received_at=now) if t.user == event.recipient and t.received_at is None else t
            for t in incident.targets
        )
        if targets == incident.targets:
            return []
        case = self._book.case(incident)
        case.change(targets=targets)
        facts = {"level": incident.level, "after_s": round(now - incident.raised_at, 3)}
        case.facts.append(
            fact_entry(event.tenant, now, event.recipient, "delivery.received", incident.incident_id, facts)
        )
        return self._book.keep(case)

    def _acknowledge(self, event: IncidentAcknowledged, now: float) -> list[Effect]:
        who = event.who
        incident = access.require_handler(self._book.incidents.get(event.incident_id), who)
        if not incident.is_active:
            raise AlreadyResolved
        case = self._book.case(incident)
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
        return self._book.keep(case)

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
        incident = access.require_handler(self._book.incidents.get(event.incident_id), who)
        if event.disposition not in DISPOSITIONS:
            raise Invalid(f"must be one of {', '.join(DISPOSITIONS)}", field="disposition")
        if not incident.is_active:
            if (incident.resolved_by, incident.disposition) == (who.user, event.disposition):
                return []  # the same answer again
            raise AlreadyResolved
        if incident.owner != who.user and not access.is_ops_of(incident, who):
            raise Forbidden("only ops of the city and the owner can end an incident", code="not_owner")
        case = self._book.case(incident)
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
        return self._book.keep(case)
