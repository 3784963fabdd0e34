"""How an incident ends, is looked at again, and is closed: by people only, and where it matters by two of them."""

from dataclasses import replace

from core.errors import Conflict, Invalid
from safety import access
from safety.book import Book
from safety.case import Case
from safety.errors import AlreadyResolved, SecondNeeded
from safety.events import IncidentClosed, IncidentReopened, IncidentResolved, Reason
from safety.handling import NOTE_LEN_MAX, Handling
from safety.incident import DISPOSITIONS, Step
from safety.model import Incident, IncidentKind, IncidentState, Proposal
from safety.ringing import NO_TIMERS, Ringing
from safety.settings import SafetySettings

FALSE_ACCIDENT = "false_accident"
UNREACHABLE = "unreachable"
FALSE_IN_A_ROW_ALONE = 1
"""False accidents in a row of one person that one person of ops may end; the next one takes two."""


class Ending:
    """Works on cases whose handler has been checked."""

    def __init__(self, settings: SafetySettings, book: Book, ringing: Ringing, handling: Handling) -> None:
        self._settings = settings
        self._book = book
        self._ringing = ringing
        self._handling = handling

    def resolve(self, case: Case, event: IncidentResolved, now: float) -> bool:
        """Somebody says that it is over; whether anything changed.

        Of a responder it is a proposal, and so it is of the first of two where two are needed.

        Raises:
            Invalid: No such disposition.
            AlreadyResolved: Somebody ended it otherwise.
            Conflict: Nobody has spoken with the subject since they took it back (``contact_needed``).
            SecondNeeded: The same person said so before, and another has to.
        """
        user, incident = event.who.user, case.now
        if event.disposition not in DISPOSITIONS:
            raise Invalid(f"must be one of {', '.join(DISPOSITIONS)}", field="disposition")
        if not incident.is_active:
            if (incident.resolved_by, incident.disposition) == (user, event.disposition):
                return False  # the same answer again
            raise AlreadyResolved
        self._require_contact(incident, event.disposition)
        is_ops = access.is_ops_of(incident, event.who)
        proposal = Proposal(user, is_ops, event.disposition, event.note[:NOTE_LEN_MAX], now)
        if not self._is_enough(incident, proposal):
            return self._propose(case, proposal, now)
        self._end(case, proposal, now)
        return True

    def _require_contact(self, incident: Incident, disposition: str) -> None:
        if incident.state is not IncidentState.CANCEL_PENDING:
            return
        asked_at = incident.cancel_asked_at or incident.raised_at
        done_at = incident.called_at if disposition == UNREACHABLE else incident.reached_at
        if done_at is None or done_at < asked_at:
            raise Conflict("call or visit the subject first, and note what came of it", code="contact_needed")

    def _is_enough(self, incident: Incident, said: Proposal) -> bool:
        if not said.is_ops:
            return False
        if not self.needs_two(incident, said.disposition):
            return True
        first = incident.proposal
        return (
            first is not None and first.is_ops and first.who != said.who and first.disposition == said.disposition
        )  # fmt: skip

    def needs_two(self, incident: Incident, disposition: str) -> bool:
        """Whether one person of ops is not enough to end it so."""
        if incident.kind is IncidentKind.DURESS or disposition == UNREACHABLE:
            return True
        record = self._book.subject(incident.tenant, incident.subject)
        return disposition == FALSE_ACCIDENT and record.false_accidents >= FALSE_IN_A_ROW_ALONE

    def _propose(self, case: Case, said: Proposal, now: float) -> bool:
        first = case.now.proposal
        if first is not None and (first.who, first.disposition) == (said.who, said.disposition):
            raise SecondNeeded(said.who)
        case.step(Step.RESOLUTION_PROPOSED, said.who, now, said.disposition, proposal=said)
        self._handling.touch(case, said.who, now, is_ops=said.is_ops)
        case.update = Reason.SECOND_NEEDED
        return True

    def _end(self, case: Case, said: Proposal, now: float) -> None:
        if case.now.owner is None:
            self._handling.own(case, said.who, now)  # whoever ends it has seen it
        case.step(
            Step.RESOLVED,
            said.who,
            now,
            said.disposition,
            **NO_TIMERS,
            resolved_by=said.who,
            resolved_at=now,
            disposition=said.disposition,
            resolution_note=said.note,
        )
        record = self._book.subject(case.now.tenant, case.now.subject)
        in_a_row = record.false_accidents + 1 if said.disposition == FALSE_ACCIDENT else 0
        if in_a_row != record.false_accidents:
            case.subject = replace(record, false_accidents=in_a_row)
        case.update = Reason.RESOLVED

    def reopen(self, case: Case, event: IncidentReopened, now: float) -> bool:
        """It is not over: a resolved one is rung again, and so is one that its subject took back.

        Raises:
            AlreadyResolved: It was closed, ended too long ago, or was followed by another one that is active.
        """
        incident = case.now
        if incident.state is IncidentState.RESOLVED:
            if not self.may_reopen(incident, now) or self._is_followed(incident):
                raise AlreadyResolved
        elif incident.state is not IncidentState.CANCEL_PENDING:
            if incident.is_active:
                return False  # it is open
            raise AlreadyResolved
        note = event.note[:NOTE_LEN_MAX]
        self._ringing.start_again(case, Step.REOPENED, event.who.user, now, Reason.REOPENED, note, louder=False)
        return True

    def _is_followed(self, incident: Incident) -> bool:
        """Whether the same person has a newer one, as after a drill: one at a time is active."""
        return (incident.tenant, incident.subject, incident.cap_status) in self._book.active_of

    def may_reopen(self, incident: Incident, now: float) -> bool:
        """Whether a resolved incident is the same emergency still."""
        ended_at = incident.resolved_at or incident.changed_at
        return incident.state is IncidentState.RESOLVED and now <= ended_at + self._settings.reopen_s

    def close(self, case: Case, event: IncidentClosed, now: float) -> bool:
        """It was reviewed: nothing is changed any more.

        Raises:
            Conflict: It is not resolved (``not_resolved``); whoever resolved it may not close it as well
                (``other_person_needed``).
        """
        incident, user = case.now, event.who.user
        if incident.state is IncidentState.CLOSED:
            return False
        if incident.is_active:
            raise Conflict("resolve it first", code="not_resolved")
        two = self._settings.close_by_other or incident.kind is IncidentKind.DURESS
        if two and incident.resolved_by == user:
            raise Conflict("whoever resolved it cannot close it as well", code="other_person_needed")
        case.step(Step.CLOSED, user, now, event.note[:NOTE_LEN_MAX], closed_by=user)
        case.update = Reason.CLOSED
        return True
