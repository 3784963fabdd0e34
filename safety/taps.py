"""What a tap becomes: a new incident, one more tap of the active one, or a repeat of one that is known.

A tap is never refused. Only its key can make it a repeat, and only as long as that cannot hide a new emergency.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from core.ids import INCIDENT_PREFIX, TRIGGER_PREFIX, IdSource, IncidentId
from safety.book import Book
from safety.case import Case
from safety.escalation import level_gap_s
from safety.events import AckRaiser, Reason, SosRaised
from safety.incident import LEVEL_LAST, Step
from safety.model import (
    KEY_MADE_PREFIX,
    CapStatus,
    Incident,
    IncidentKind,
    IncidentState,
    SubjectView,
    Trigger,
    TriggerSource,
)
from safety.ports import Surroundings
from safety.ringing import Ringing, with_users
from safety.settings import SafetySettings
from safety.whereabouts import Whereabouts, look_around, newest_fix

_OWN_HANDS: Final = frozenset({TriggerSource.HUB, TriggerSource.HTTP, TriggerSource.PAGE})
"""Doors by which a subject taps who can take it back."""
KEY_MADE_REPEAT_S: Final = 5.0
"""The same bytes without a key within this time are one tap sent twice."""
SAME_TAP_S: Final = 5.0
"""A tap that was made this long after its key was received, and not later, is the tap that was received."""
CLOCK_OFF_S: Final = 60.0
"""A phone's clock that is further off than this when a tap is sent is told to whoever reads the history."""


def _is_silence(tap: SosRaised) -> bool:
    """Whether nobody called for help: somebody who should have answered did not."""
    return tap.kind is IncidentKind.UNCONFIRMED and tap.source is TriggerSource.SYSTEM


def is_same_tap(known: Trigger, event: SosRaised) -> bool:
    """Whether a tap with the key of a known one says of itself that it is that tap, offered again."""
    age_s = event.report.age_s
    return age_s > 0 and event.received_at - age_s <= known.received_at + SAME_TAP_S


def gravest(kinds: Iterable[IncidentKind]) -> IncidentKind:
    """The gravest of several kinds; there must be one."""
    return max(kinds, key=lambda kind: kind.gravity)


def _how(event: SosRaised) -> str:
    """What is worth a note in the history: which door, why, whether the token had expired, how wrong the clock is."""
    words = [] if event.source in _OWN_HANDS else [event.source.value]
    words += [event.cause] if event.cause else []
    words += ["restricted"] if event.who.restricted else []
    sent_at = event.report.sent_at
    if sent_at is not None and abs(sent_at - event.received_at) > CLOCK_OFF_S:
        words.append(f"clock {sent_at - event.received_at:+.0f} s")
    words += [f"late {event.report.age_s:.0f} s"] if event.report.age_s >= 1 else []
    return " ".join(words)


class Taps:
    """Makes cases of taps; the book is only read."""

    def __init__(
        self, settings: SafetySettings, ids: IdSource, surroundings: Surroundings, book: Book, ringing: Ringing
    ) -> None:
        self._settings = settings
        self._ids = ids
        self._surroundings = surroundings
        self._book = book
        self._ringing = ringing

    def take(self, event: SosRaised, now: float) -> Case:
        """What an event of one tap, or of several that waited together, does to the incident it belongs to.

        Args:
            event: The newest tap, with those that came before it.
            now: UTC epoch seconds.

        Returns:
            The incident's case, with the answer to the newest tap.
        """
        who = event.who
        taps = self._new_taps(event)
        if not taps:
            known = self._book.keys[who.tenant, who.user, event.report.key]
            case = self._book.case(self._book.incidents[known.incident_id])
            self._learn_from_repeat(case, event, now)
            case.answer = self._answer(case, event, known.received_at)
            return case
        newest, earlier = taps[-1], taps[:-1]
        around = look_around(self._surroundings, who, newest.report, now)
        active = self._same_emergency(event, now)
        if active is None:
            case = self._open(newest, around, now, earlier)
        else:
            case = self._book.case(self._book.incidents[active])
            if any(tap.kind is not IncidentKind.DURESS for tap in taps):
                self._show(case, newest)
            self._tap(case, newest, around, now, earlier)
        kept = len(self._book.triggers.get(case.now.incident_id, ())) + len(case.triggers)
        room = max(0, self._settings.triggers_kept_max - kept)
        case.triggers[:0] = [self._trigger(case, tap) for tap in earlier[:room]]
        case.answer = self._answer(case, event, event.received_at)
        return case

    def _same_emergency(self, event: SosRaised, now: float) -> IncidentId | None:
        """The incident that a tap belongs to: the active one, or one that ended a short while ago."""
        place = (event.who.tenant, event.who.user, event.cap_status)
        active = self._book.active_of.get(place)
        if active is not None or event.cap_status is not CapStatus.ACTUAL:
            return active
        ended = self._book.incidents.get(self._book.ended_of.get(place, IncidentId("")))
        if ended is None or ended.state is not IncidentState.RESOLVED:
            return None
        ended_at = ended.resolved_at or ended.changed_at
        # A PIN after the end opened it again if they were forced; if not, a tap opens the same one all the same.
        is_spoken_of = ended.cancel_asked_at is not None and ended.cancel_asked_at >= ended_at
        return ended.incident_id if is_spoken_of or now <= ended_at + self._settings.reopen_s else None

    def _new_taps(self, event: SosRaised) -> list[SosRaised]:
        """The taps of an event that are not repeats, each key once, oldest first."""
        found: dict[str, SosRaised] = {}
        for tap in (*event.also, event):
            known = self._book.keys.get((tap.who.tenant, tap.who.user, tap.report.key))
            if known is None or not self._is_repeat(known, tap):
                found.setdefault(tap.report.key, tap)
        return list(found.values())

    def _is_repeat(self, known: Trigger, event: SosRaised) -> bool:
        """Whether a tap with a key that is known is the same tap again, and not somebody who needs help again.

        A made key is the same for every tap without one, and some clients reuse theirs: nobody would hear of the
        next emergency. A client that offers its last taps again, to a server that may have been restored, says when it
        made them.
        """
        incident = self._book.incidents.get(known.incident_id)
        if incident is None or incident.cap_status is not event.cap_status:
            return False  # long forgotten, or a drill's key used again for an emergency
        if known.key.startswith(KEY_MADE_PREFIX):
            # Nothing tells a second tap from the same bytes sent again but the time, or that they took it back.
            taken_back_at = incident.cancel_asked_at
            is_over = not incident.is_active or (taken_back_at is not None and known.received_at <= taken_back_at)
            return not is_over and abs(event.received_at - known.received_at) <= KEY_MADE_REPEAT_S
        if event.cause and event.cap_status is CapStatus.ACTUAL:
            return True  # named by the server: there is no other occasion with this key
        # What they were told counts: under duress it is on all the same, and must not be told by this either.
        is_on = not incident.seen_by_subject.ended
        is_lately = event.received_at - known.received_at <= self._settings.key_repeat_s
        return is_on or is_lately or is_same_tap(known, event)

    def _open(self, event: SosRaised, around: Whereabouts, now: float, earlier: Sequence[SosRaised]) -> Case:
        who, report, settings = event.who, event.report, self._settings
        incident_id = IncidentId(self._ids.new(INCIDENT_PREFIX))
        gap_s = level_gap_s(settings, 0)
        taps = (event, *earlier)
        gentle_until = now + settings.gentle_s if all(_is_silence(tap) for tap in taps) else None
        widen_at = gentle_until
        if widen_at is None and gap_s is not None:
            widen_at = now + gap_s
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
            triggers=1 + len(earlier),
            last_trigger_at=event.received_at,
            fix=around.fix,
            order_id=around.booked.order_id if around.booked else None,
            note=report.note,
            targets=(),
            repeat_at=now + settings.repeat_s,
            widen_at=widen_at,
            gentle_until=gentle_until,
            avoid=around.kept_out,
            booked=around.booked,
            kind=gravest(self._kind(tap) for tap in taps),
            cap_status=event.cap_status,
            cause=event.cause,
            provisional_until=self._provisional_until(event),
            contact=around.contact,
        )
        case = Case(None, incident, last_seq=0, story=())
        case.alarms.extend(around.failures)
        case.keep_orders(around.booked)
        case.step(Step.RAISED, event.raised_by or who.user, now, _how(event))
        case.triggers.append(self._trigger(case, event))
        if incident.kind is IncidentKind.DURESS:
            self._ringing.cry_for_help(case, who.user, now)
        self._ringing.ring_all(case, now, Reason.RAISED)
        return case

    def _tap(self, case: Case, event: SosRaised, around: Whereabouts, now: float, earlier: Sequence[SosRaised]) -> None:
        """Another tap (with those told with it) of a subject whose incident is active: never refused or silent."""
        who, report, settings, old = event.who, event.report, self._settings, case.now
        case.alarms.extend(around.failures)
        case.change(
            triggers=old.triggers + 1 + len(earlier),
            kind=gravest((old.kind, *(self._kind(tap) for tap in (event, *earlier)))),
            last_trigger_at=max(old.last_trigger_at, event.received_at),
            silent=old.silent or report.silent,
            restricted=old.restricted and who.restricted,
            city=old.city or around.city,
            fix=newest_fix(around.fix, old.fix),
            note=report.note or old.note,
            provisional_until=None if self._provisional_until(event) is None else old.provisional_until,
            booked=around.booked or old.booked,
            order_id=around.booked.order_id if around.booked else old.order_id,
            avoid=with_users(old.avoid, around.kept_out),
            changed_at=now,
        )
        case.keep_orders(around.booked)
        self._ringing.let_go(case, now)
        is_forced = any(tap.kind is IncidentKind.DURESS for tap in (event, *earlier))
        if is_forced and not (old.is_active and old.kind is IncidentKind.DURESS):
            self._ringing.cry_for_help(case, who.user, now)
            case.step(Step.TAPPED, event.raised_by or who.user, now, _how(event))
            case.triggers.append(self._trigger(case, event))
            return
        if old.state in (IncidentState.CANCEL_PENDING, IncidentState.RESOLVED):
            self._open_again(case, event, now)
            return
        if old.gentle_until is not None and case.now.kind is not old.kind:
            case.change(gentle_until=None)
            case.step(Step.TAPPED, event.raised_by or who.user, now, _how(event))
            case.triggers.append(self._trigger(case, event))
            self._ringing.start_level(case, now)
            self._ringing.ring_all(case, now, Reason.RAISED)
            return
        if len(self._book.triggers[old.incident_id]) >= settings.triggers_kept_max:
            self._ringing.ring_soon(case, now)  # counted only: a stuck button must not fill the disk
            return
        case.step(Step.TAPPED, event.raised_by or who.user, now, _how(event))
        case.triggers.append(self._trigger(case, event))
        if case.now.level < LEVEL_LAST and self._is_burst(case, event.received_at, len(earlier)):
            case.change(burst_at=event.received_at)
            self._ringing.widen(case, who.user, now, now)
            self._ringing.ring_all(case, now, Reason.TAPPED_AGAIN)
        else:  # where everybody is told already, a stuck button must not ring in their hands at its own pace
            self._ringing.ring_soon(case, now)

    def _show(self, case: Case, event: SosRaised) -> None:
        """Who taps after they took it back hears that it is on again, the same whether they had been forced or not.

        Of the devices they hear as before: a cry for help reaches more of them than a tap.
        """
        shown = case.now.shown
        if shown is not None:
            level = min(LEVEL_LAST, shown.level + 1)
            # From now on nothing was taken back: else a repeat of this tap would count where they had been forced.
            view = SubjectView(level, shown.delivered, seen_since=event.received_at, ended=False)
            case.change(cancel_asked_at=None, shown=view)

    def _open_again(self, case: Case, event: SosRaised, now: float) -> None:
        """A tap after they took it back, or a short while after it ended: it is not over."""
        who, old_state = event.raised_by or event.who.user, case.now.state
        case.change(cancel_asked_at=None, tell_at=None)
        is_louder = old_state is IncidentState.CANCEL_PENDING
        self._ringing.start_again(case, Step.REOPENED, who, now, Reason.TAPPED_AGAIN, louder=is_louder)
        if len(self._book.triggers[case.now.incident_id]) < self._settings.triggers_kept_max:
            case.step(Step.TAPPED, who, now, _how(event))
            case.triggers.append(self._trigger(case, event))

    def _learn_from_repeat(self, case: Case, event: SosRaised, now: float) -> None:
        """The same tap again may say what its first copy did not; it is still one tap."""
        fix, note = event.report.fix, event.report.note
        turns_silent = event.report.silent and not case.now.silent
        if case.now.is_active and ((fix and case.now.fix is None) or (note and not case.now.note) or turns_silent):
            silent = case.now.silent or turns_silent
            case.change(fix=case.now.fix or fix, note=case.now.note or note, silent=silent, changed_at=now)
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
            source=event.source,
            kind=self._kind(event),
            cause=event.cause,
            raised_by=event.raised_by,
        )

    def _kind(self, event: SosRaised) -> IncidentKind:
        """What a tap is: one that waited long in a phone without a network says what was then."""
        is_late = event.report.age_s > self._settings.late_s
        return IncidentKind.UNCONFIRMED if is_late and event.kind is IncidentKind.PANIC else event.kind

    def _provisional_until(self, event: SosRaised) -> float | None:
        """Until when the one who tapped may abort; whoever is silent, or did not tap, gets no such wait."""
        by_subject = event.source in _OWN_HANDS and event.raised_by is None
        if not by_subject or event.report.silent or event.kind is not IncidentKind.PANIC:
            return None
        return event.received_at + self._settings.abort_window_s

    def _answer(self, case: Case, event: SosRaised, received_at: float) -> AckRaiser:
        report = event.report
        return AckRaiser(case.now, report.key, event.who.device, report.ignored, received_at, answer=True)

    def _is_burst(self, case: Case, tapped_at: float, more: int) -> bool:
        since = tapped_at - self._settings.burst_window_s
        burst_at = case.now.burst_at
        kept = self._book.triggers.get(case.now.incident_id, [])[-self._settings.burst_taps :]
        taps = sum(1 for t in kept if t.received_at >= since and (burst_at is None or t.received_at > burst_at))
        return taps + 1 + more >= self._settings.burst_taps
