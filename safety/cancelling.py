"""The subject takes it back: with the right PIN, with the one that says they are forced to, or with a wrong one.

None of them ends an incident, and the subject cannot tell the first two apart: each writes one event in the turn
that answers them, and whatever follows for others follows in a turn of its own (``tell_at``), when they have
their answer. From then on they hear the same of it, whatever becomes of it (``Incident.shown``), and that it is over.
"""

from dataclasses import replace

from core.errors import NotFound
from safety.book import Book
from safety.case import Case
from safety.errors import AlreadyResolved
from safety.events import AnswerCancel, CancelAsked, Reason
from safety.incident import SYSTEM, Step
from safety.model import CapStatus, Incident, IncidentKind, IncidentState, PinVerdict, SubjectRecord
from safety.ringing import Ringing
from safety.settings import SafetySettings


class Cancelling:
    """What a PIN does to an incident, and what follows when nobody verifies it."""

    def __init__(self, settings: SafetySettings, book: Book, ringing: Ringing) -> None:
        self._settings = settings
        self._book = book
        self._ringing = ringing

    def take(self, event: CancelAsked, now: float) -> Case:
        """The subject gave a PIN.

        Raises:
            NotFound: It is not their incident, or there is none.
            AlreadyResolved: It is closed; whatever the PIN was.
        """
        who = event.who
        incident = self._book.incident(who.tenant, event.incident_id)
        if incident is None or incident.subject != who.user:
            raise NotFound("no such incident")
        if incident.state is IncidentState.CLOSED:
            raise AlreadyResolved

        case = self._book.case(incident if incident.is_active else self._latest(incident))
        before = case.now.seen_by_subject
        # Of one that is over their phone is asked for nothing, and a PIN must not begin to.
        ended_at = before.ended_at if before.ended_at is not None else now if case.now.is_active else 0.0
        record = self._after(self._book.subject(who.tenant, who.user), event.verdict, now)
        case.subject = record
        is_spent = len(record.wrong_pins) >= self._settings.pins.tries_max
        is_forced = event.verdict is PinVerdict.DURESS or is_spent
        if is_forced and case.now.cap_status is not CapStatus.ACTUAL:
            # A drill calls nobody: it goes on as with the right PIN, and a real one begins beside it.
            case.forced = who
            self._take_back(case, now)
        elif event.verdict is PinVerdict.RIGHT:
            self._take_back(case, now)
        elif is_forced:
            self._cry_for_help(case, now)
        else:
            case.step(Step.PIN_WRONG, who.user, now)
            case.outcome = AnswerCancel(case.now, accepted=False)
            return case
        # All of it, whichever PIN it was.
        case.change(shown=replace(before, ended=True, ended_at=ended_at), cancel_asked_at=now)
        case.outcome = AnswerCancel(case.now, accepted=True)
        return case

    def _latest(self, incident: Incident) -> Incident:
        """Where another one began since, a PIN speaks of that: the old one must not open again beside it."""
        place = (incident.tenant, incident.subject, incident.cap_status)
        which = self._book.active_of.get(place) or self._book.ended_of.get(place, incident.incident_id)
        latest = self._book.incidents[which]
        return incident if latest.state is IncidentState.CLOSED else latest

    def _after(self, record: SubjectRecord, verdict: PinVerdict, now: float) -> SubjectRecord:
        """Wrong PINs add up over incidents and restarts; the duress PIN clears them as the right one does."""
        since = now - self._settings.pins.tries_window_s
        wrong = tuple(at for at in record.wrong_pins if at > since)
        wrong = (*wrong, now)[-self._settings.pins.tries_max :] if verdict is PinVerdict.WRONG else ()
        return replace(record, wrong_pins=wrong)

    def _take_back(self, case: Case, now: float) -> None:
        if case.now.state is IncidentState.RESOLVED or case.now.kind is IncidentKind.DURESS:
            # Over already; or they were forced once: a right PIN afterwards may be forced as well.
            self._note(case, now)
            return
        is_first = case.now.state is not IncidentState.CANCEL_PENDING
        case.step(
            Step.CANCEL_ASKED,
            case.now.subject,
            now,
            reopen_at=now + self._settings.cancel_verify_s if is_first else case.now.reopen_at,
            call_back_by=now + self._settings.call_back_s if is_first else case.now.call_back_by,
            tell_at=now,
            stale_at=None,
            quiet_since=None,
            assign_by=None,
            offers=(),
            proposal=None,
        )

    def _cry_for_help(self, case: Case, now: float) -> None:
        if case.now.kind is IncidentKind.DURESS and case.now.is_active:
            self._note(case, now)
            return
        self._ringing.cry_for_help(case, case.now.subject, now)

    @staticmethod
    def _note(case: Case, now: float) -> None:
        """Written down, and nothing else."""
        case.step(Step.NOTED, case.now.subject, now, "pin again")

    # -- what follows ---------------------------------------------------------------------------------

    def tell(self, case: Case, now: float) -> None:
        """Others hear of it, now that the subject has their answer."""
        case.change(tell_at=None)
        if case.now.state is IncidentState.CANCEL_PENDING:
            case.update = Reason.CANCEL_ASKED
        elif case.now.is_active:
            self._ringing.ring_all(case, now, Reason.DURESS)

    def remind(self, case: Case, now: float) -> None:
        """Nobody has called the subject yet: ops ring until somebody does."""
        case.change(call_back_by=now + self._settings.call_back_s)
        case.step(Step.REPEATED, SYSTEM, now, "call back")
        self._ringing.ring_ops(case, now, Reason.CALL_BACK_DUE)

    def reopen(self, case: Case, now: float) -> None:
        """Nobody has verified it in time: it counts no longer."""
        self._ringing.start_again(case, Step.REOPENED, SYSTEM, now, Reason.NOT_VERIFIED, "not verified")
