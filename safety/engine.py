"""Decides about incidents: what each event and each timer leads to, who owns an incident, how it ends.

Synchronous and deterministic. Each call works on a copy (``Case``) that is kept only when the call succeeds, so
an error leaves the engine as it was. The pieces: ``book.py`` (what is known), ``taps.py`` (what a tap becomes),
``ringing.py`` (who is told when, with ``escalation.py``), ``handling.py`` (owning and noting), ``slots.py`` (who goes
there), ``cancelling.py`` (the subject takes it back), ``ending.py``, ``watching.py`` (timers), ``deadlines.py``; the
arrows are in ``incident.py``, who may do what is in ``access.py``.
"""

from dataclasses import replace
from typing import Final

from core.ids import IdSource, IncidentId, TenantId, UserId
from core.principal import Principal
from safety import access
from safety.audit import fact_entry
from safety.book import Book
from safety.cancelling import Cancelling
from safety.case import Case
from safety.deadlines import Deadlines
from safety.ending import Ending
from safety.errors import AlreadyResolved
from safety.events import (
    AckRaiser,
    ArrivedOnScene,
    CancelAsked,
    DeliveryReceived,
    Effect,
    Event,
    Handled,
    IncidentAcknowledged,
    IncidentClosed,
    IncidentJoined,
    IncidentReopened,
    IncidentResolved,
    NoteTaken,
    OfferDeclined,
    Reason,
    ResponderAssigned,
    ResponseOffered,
    SosRaised,
    SubjectAnswered,
    SubjectOffDuty,
)
from safety.handling import Handling
from safety.incident import SYSTEM, Step
from safety.model import CapStatus, Incident, IncidentState
from safety.ports import SafetyChanges, SafetyState, Surroundings
from safety.ringing import Ringing
from safety.settings import SafetySettings
from safety.slots import Slots
from safety.taps import Taps
from safety.watching import Watching

TIMER_FAILS: Final = "timer_fails"
"""The alarm of an incident whose timer failed again."""


class SafetyEngine:
    """All incidents of the process: those active, and those resolved recently."""

    def __init__(self, settings: SafetySettings, ids: IdSource, surroundings: Surroundings) -> None:
        self._settings = settings
        self._deadlines: Deadlines[IncidentId] = Deadlines()
        self._book = Book(self._deadlines, settings.resolved_kept_s)
        self._ringing = Ringing(settings, surroundings)
        self._taps = Taps(settings, ids, surroundings, self._book, self._ringing)
        self._handling = Handling(settings)
        self._slots = Slots(settings, surroundings, self._ringing, self._handling)
        self._cancelling = Cancelling(settings, self._book, self._ringing)
        self._ending = Ending(settings, self._book, self._ringing, self._handling)
        self._watching = Watching(
            settings,
            surroundings,
            ringing=self._ringing,
            handling=self._handling,
            slots=self._slots,
            cancelling=self._cancelling,
        )

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

    def knows(self, tap: SosRaised) -> bool:
        """Whether the key of a tap is one of an incident in memory."""
        return (tap.who.tenant, tap.who.user, tap.report.key) in self._book.keys

    def raised_at(self, tenant: TenantId, user: UserId) -> float | None:
        """When the oldest active incident of a user began; None without one."""
        times = [i.raised_at for i in self._book.active() if (i.tenant, i.subject) == (tenant, user)]
        return min(times, default=None)

    def forget_subject(self, tenant: TenantId, user: UserId) -> None:
        """Let go of what is kept of a person from one incident to the next."""
        self._book.forget_subject(tenant, user)

    def active(self) -> list[Incident]:
        """All incidents that nobody has ended, oldest first. Cost: O(n log n)."""
        return self._book.active()

    def taken_back(self) -> list[Incident]:
        """Ended incidents in memory that their subject took back: their phones are asked on for a while."""
        known = self._book.incidents.values()
        return [i for i in known if not i.is_active and i.shown is not None and i.shown.ended_at is not None]

    def visible(self, who: Principal) -> list[Incident]:
        """Active incidents that ``who`` may read, oldest first."""
        return [incident for incident in self._book.active() if access.may_read(incident, who)]

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
            case SubjectOffDuty():
                return self._note_off_duty(event, now)
            case SubjectAnswered():
                return self._answered(event, now)
            case CancelAsked():
                return self._book.keep(self._cancelling.take(event, now))
            case _:
                return self._handle(event, now)

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
        self._ringing.see_booking(case, now)
        self._watching.on_timers(case, now)
        return self._book.keep(case)

    def postpone(self, incident_id: IncidentId, until: float) -> int:
        """Its deadline failed by a fault of ours: let the others go on and try again then.

        Returns:
            How often it has failed in a row.
        """
        return self._deadlines.postpone(incident_id, until)

    @property
    def failing(self) -> list[IncidentId]:
        """Incidents whose deadline failed and has not been acted on since, the longest overdue first."""
        return self._deadlines.failed

    def owed_at(self) -> float | None:
        """The earliest deadline that should be, or should have been, acted on; failing ones count from when it was."""
        moments = (self._deadlines.next_at(), self._deadlines.owed_at())
        return min((at for at in moments if at is not None), default=None)

    def ring_barely(self, incident_id: IncidentId, now: float) -> list[Effect]:
        """Tell those again who are told, past whatever fails in ``act``: no look-up, no step, no new deadline."""
        case = self._book.case(self._book.incidents[incident_id])
        if case.now.owner is None:
            self._ringing.ring(case, now, [target.user for target in case.now.targets], Reason.REPEATED)
        else:
            self._ringing.ring_ops(case, now, Reason.REPEATED)
        case.alarms.append(TIMER_FAILS)
        return case.effects()

    # -- a tap ----------------------------------------------------------------------------------------

    def _raise(self, event: SosRaised, now: float) -> list[Effect]:
        self._book.forget(now)
        effects = self._book.keep(self._taps.take(event, now))
        place = (event.who.tenant, event.who.user, event.cap_status)
        incident = self._book.incidents.get(self._book.active_of.get(place, IncidentId("")))
        return effects if incident is None else effects + self._link(incident, now)

    def _link(self, incident: Incident, now: float) -> list[Effect]:
        """Both sides of a booking called for help: who handles one hears of the other, and neither side does."""
        effects: list[Effect] = []
        for other_side in incident.avoid:
            other = self._book.incidents.get(
                self._book.active_of.get((incident.tenant, other_side, incident.cap_status), IncidentId(""))
            )
            if other is None or incident.subject not in other.avoid or other.incident_id in incident.linked:
                continue
            for one, two in ((incident.incident_id, other.incident_id), (other.incident_id, incident.incident_id)):
                case = self._book.case(self._book.incidents[one])
                case.step(Step.LINKED, SYSTEM, now, two, linked=(*case.now.linked, two))
                case.update = Reason.LINKED
                effects += self._book.keep(case)
        return effects

    def _answered(self, event: SubjectAnswered, now: float) -> list[Effect]:
        """They say that all is well, too late: whoever handles it reads so at once, and decides what it is worth."""
        known = self._book.keys.get((event.tenant, event.user, event.key))
        incident = self._book.incidents.get(known.incident_id) if known is not None else None
        if incident is None or not incident.is_active:
            return []
        case = self._book.case(incident)
        self._ringing.see_booking(case, now)
        case.step(Step.NOTED, event.user, now, "answered late: ok")
        case.update = Reason.NOTED
        return self._book.keep(case)

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

    def _note_off_duty(self, event: SubjectOffDuty, now: float) -> list[Effect]:
        place = (event.tenant, event.subject, CapStatus.ACTUAL)
        incident = self._book.incidents.get(self._book.active_of.get(place, IncidentId("")))
        if incident is None:
            return []
        case = self._book.case(incident)
        case.step(Step.OFF_DUTY, event.subject, now)
        case.update = Reason.NOTED
        return self._book.keep(case)

    def _handle(self, event: Handled, now: float) -> list[Effect]:
        incident = access.require_allowed(self._book.incidents.get(event.incident_id), event)
        ends = isinstance(event, IncidentResolved | IncidentReopened | IncidentClosed | NoteTaken)
        if not incident.is_active and (not ends or incident.state is IncidentState.CLOSED):
            if isinstance(event, IncidentClosed):
                return []  # the same answer again
            raise AlreadyResolved
        case = self._book.case(incident)
        if incident.is_active:
            self._ringing.see_booking(case, now)
            access.require_allowed(case.now, event)
        return self._book.keep(case) if self._apply(case, event, now) else []

    def _apply(self, case: Case, event: Handled, now: float) -> bool:
        """Let the part decide whose matter it is; whether anything changed."""
        match event:
            case IncidentAcknowledged():
                return self._handling.acknowledge(case, event, now)
            case IncidentJoined():
                return self._handling.join(case, event.who, now)
            case NoteTaken():
                self._handling.note(case, event, now)
                return True
            case ResponseOffered():
                return self._slots.respond(case, event, now)
            case OfferDeclined():
                return self._slots.decline(case, event.who.user, now)
            case ResponderAssigned():
                return self._slots.assign(case, event, now)
            case ArrivedOnScene():
                return self._slots.arrive(case, event, now)
            case IncidentResolved():
                return self._ending.resolve(case, event, now)
            case IncidentReopened():
                return self._ending.reopen(case, event, now)
            case IncidentClosed():
                return self._ending.close(case, event, now)
