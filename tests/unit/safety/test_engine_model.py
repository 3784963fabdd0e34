"""Any order of taps, repeats, receipts, people, time and crashes keeps what safety promises.

Promises by number: ``research`` of the project called them P1-P24; those that this engine can keep by itself are
P1-P8, P12-P14 and P21. The disk is a snapshot of what ``take_changes`` gave; a crash goes back to it.
"""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from core.errors import Conflict, Forbidden, Invalid, NotFound
from core.ids import IncidentId, UserId
from core.principal import Principal, Role
from geo.point import LatLng
from safety.engine import SafetyEngine
from safety.events import (
    AckRaiser,
    AnswerCancel,
    ArrivedOnScene,
    CallOutcome,
    CallTo,
    CancelAsked,
    DeliveryReceived,
    Effect,
    Handled,
    IncidentAcknowledged,
    IncidentClosed,
    IncidentJoined,
    IncidentReopened,
    IncidentResolved,
    NoteTaken,
    NotifyTargets,
    OfferDeclined,
    RaiseForReal,
    ResponderAssigned,
    ResponseOffered,
    SosRaised,
    SoundAlarm,
    UpdateTargets,
)
from safety.incident import fold
from safety.model import (
    CapStatus,
    FixSource,
    Incident,
    IncidentEvent,
    IncidentKind,
    IncidentState,
    PinVerdict,
    SosReport,
    SubjectRecord,
    Trigger,
    TriggerSource,
)
from safety.ports import SafetyState
from safety.settings import SafetySettings
from tests.unit.safety.neighbourhood import (
    ACME,
    HOME,
    NEAR,
    OPS,
    OPS_2,
    OPS_BJ,
    SH,
    T0,
    CountingIds,
    Neighbourhood,
    booked,
    fix_at,
    person,
    town,
)
from tests.unit.safety.silence import Silence, silence_max_s

SUBJECTS = [person("cus_anna"), person("cus_bea"), person("tec_02", Role.TECHNICIAN, Role.RESPONDER)]
DEVICES = ["phone", "watch"]
HANDLERS = [OPS, OPS_2, OPS_BJ, NEAR, person("tec_05", Role.RESPONDER), *SUBJECTS]
MOVERS = ["tec_00", "tec_01", "tec_05", "tec_bj"]
BREAKABLE = ["responders", "responders_of_city", "ops", "last_fix", "booking", "city_of", "connected"]
OTHER_PARTY = {"cus_anna": "tec_00", "cus_bea": "ops_0", "tec_02": "cus_anna"}
SETTINGS = SafetySettings(
    responders_level_0=2, responders_level_1=4, responders_level_2=6, triggers_kept_max=12, key_repeat_s=86_400.0,
    offers_parallel=2,
)  # fmt: skip
STEP_MAX_S = 60.0
"""P5: whatever is active acts by itself within so many seconds."""


class SafetyModel(RuleBasedStateMachine):
    """Drives one engine and remembers what it has promised."""

    steps = 0

    taps: Bundle[Any] = Bundle("taps")
    late: Bundle[Any] = Bundle("late")

    def __init__(self) -> None:
        super().__init__()
        self.now = T0
        self.ids = CountingIds()
        self.place: Neighbourhood = town()
        self.engine = self._fresh()
        self.silence = Silence(SETTINGS)
        self.silence.watch(self.engine)
        self.incidents: dict[IncidentId, Incident] = {}
        self.triggers: list[Trigger] = []
        self.events: dict[IncidentId, list[IncidentEvent]] = {}
        self.durable: dict[tuple[str, str], IncidentId] = {}
        """Keys whose raiser may have heard ``durable: true``."""
        self.pending: dict[tuple[str, str], IncidentId] = {}
        self.levels: dict[IncidentId, int] = {}
        self.fences: dict[IncidentId, dict[int, str]] = {}
        self.subjects: dict[Any, SubjectRecord] = {}
        self.count = 0

    def _fresh(self) -> SafetyEngine:
        return SafetyEngine(SETTINGS, self.ids, self.place)

    # -- what happens ---------------------------------------------------------------------------------

    @rule(target=taps, who=st.sampled_from(SUBJECTS), device=st.sampled_from(DEVICES), fix=st.booleans())
    def tap(self, who: Principal, device: str, fix: bool) -> Any:
        self.count += 1
        who = person(who.user, *who.roles, device=device, restricted=self.count % 5 == 0)
        event = SosRaised(who, SosReport(f"k{self.count}", fix=fix_at(at=self.now) if fix else None), self.now)
        self._raise(event)
        return event

    @rule(event=taps)
    def repeat(self, event: SosRaised) -> None:
        self._raise(event)

    @rule(target=late, who=st.sampled_from(SUBJECTS))
    def tap_without_a_network(self, who: Principal) -> SosRaised:
        self.count += 1
        return SosRaised(who, SosReport(f"k{self.count}", fix=fix_at(at=self.now)), self.now)

    @rule(event=consumes(late))
    def arrive_late(self, event: SosRaised) -> None:
        self._raise(SosRaised(event.who, event.report, self.now))

    @rule(who=st.sampled_from(SUBJECTS))
    def drill(self, who: Principal) -> None:
        self.count += 1
        report = SosReport(f"drill{self.count}")
        effects = self._handle(SosRaised(who, report, self.now, cap_status=CapStatus.EXERCISE))
        (ack,) = [e for e in effects if isinstance(e, AckRaiser) and e.answer]
        assert ack.incident.cap_status is CapStatus.EXERCISE

    @rule(who=st.sampled_from(SUBJECTS), kind=st.sampled_from([IncidentKind.UNCONFIRMED, IncidentKind.DURESS]))
    def notice(self, who: Principal, kind: IncidentKind) -> None:
        """The system notices silence, or somebody said that all is not well."""
        self.count += 1
        report = SosReport(f"notice{self.count}")
        self._raise(SosRaised(who, report, self.now, source=TriggerSource.SYSTEM, kind=kind, cause="checkin"))

    @rule(nth=st.integers(0, 5), verdict=st.sampled_from(PinVerdict))
    def cancel(self, nth: int, verdict: PinVerdict) -> None:
        which = self._some(nth)
        incident = self.engine.incident(ACME, which)
        if incident is None or incident.state is IncidentState.CLOSED:
            return
        who = person(incident.subject)
        self._compare_twins(CancelAsked(who, which, PinVerdict.RIGHT))
        effects = self._handle(CancelAsked(who, which, verdict))
        (outcome,) = [e for e in effects if isinstance(e, AnswerCancel)]
        assert outcome.accepted or verdict is PinVerdict.WRONG
        assert incident.is_active == self._now(which).is_active or verdict is not PinVerdict.RIGHT, "it ends nothing"
        if outcome.accepted and verdict is not PinVerdict.RIGHT:
            spoken_of = outcome.incident
            if spoken_of.cap_status is CapStatus.ACTUAL:
                assert self._now(spoken_of.incident_id).kind is IncidentKind.DURESS
                return
            (forced,) = [e for e in effects if isinstance(e, RaiseForReal)]
            self.notice(forced.who, IncidentKind.DURESS)
            (real,) = [i for i in self.engine.active() if i.subject == who.user and i.cap_status is CapStatus.ACTUAL]
            assert real.kind is IncidentKind.DURESS

    def _compare_twins(self, honest: CancelAsked) -> None:
        """P13: the same moment with the other PIN; the subject is answered, told and shown the same."""
        if self.count % 4:
            return  # copies are dear
        seen = []
        for verdict in (PinVerdict.RIGHT, PinVerdict.DURESS):
            twin = copy.deepcopy(self.engine)
            effects = twin.handle(CancelAsked(honest.who, honest.incident_id, verdict), self.now)
            effects += twin.on_deadline(self.now)
            heard = [(e.key, e.incident.seen_by_subject) for e in effects if isinstance(e, AckRaiser)]
            shown = twin.incident(ACME, honest.incident_id)
            assert shown is not None
            answers = [e.accepted for e in effects if isinstance(e, AnswerCancel)]
            seen.append((answers, heard, shown.seen_by_subject if shown.is_active else None))
        if self._now(honest.incident_id).is_active:
            assert seen[0] == seen[1], "P13"

    def _now(self, which: IncidentId) -> Incident:
        incident = self.engine.incident(ACME, which)
        assert incident is not None
        return incident

    def _raise(self, event: SosRaised) -> None:
        before = {i.subject: i.incident_id for i in self.engine.active() if i.cap_status is CapStatus.ACTUAL}
        effects = self._handle(event)
        (ack,) = [e for e in effects if isinstance(e, AckRaiser) and e.answer]
        self.silence.said(ack.incident.incident_id, self.now)
        key = (event.who.user, event.report.key)
        known = self.durable.get(key) or self.pending.get(key)
        incident = ack.incident
        old = self.engine.incident(ACME, known) if known is not None else None
        if known is not None and (old is None or old.state is IncidentState.CLOSED):
            self.durable.pop(key, None)  # after a restart a closed one is only in the store
            self.pending.pop(key, None)
            known = incident.incident_id
        if known is not None:
            assert incident.incident_id == known, "P2: one incident a key"
        elif event.who.user in before and incident.triggers <= SETTINGS.triggers_kept_max:
            assert incident.incident_id == before[event.who.user], "P2: one active incident a subject"
        if incident.triggers <= SETTINGS.triggers_kept_max:
            self.pending.setdefault(key, incident.incident_id)
        reached = [t for t in incident.targets if t.told_at is not None]
        alarmed = any(isinstance(e, SoundAlarm) for e in effects)
        soon = incident.deadline is not None and incident.deadline <= self.now + SETTINGS.unreached_repeat_s
        is_soon_told = soon and (alarmed or incident.tell_at is not None)
        assert reached or not incident.is_active or (known is not None) or is_soon_told, "P21: told or alarmed"

    @rule(who=st.sampled_from(HANDLERS), nth=st.integers(0, 5))
    def acknowledge(self, who: Principal, nth: int) -> None:
        self._by_a_human(IncidentAcknowledged(who, self._some(nth)))

    @rule(
        who=st.sampled_from(HANDLERS),
        nth=st.integers(0, 5),
        how=st.sampled_from(["real_handled", "false_accident", "unreachable"]),
    )
    def resolve(self, who: Principal, nth: int, how: str) -> None:
        which = self._some(nth)
        before = self.engine.incident(ACME, which)
        self._by_a_human(IncidentResolved(who, which, how))
        after = self.engine.incident(ACME, which)
        if before is not None and after is not None and before.is_active and not after.is_active:
            assert who.holds(Role.OPS)
            if before.kind is IncidentKind.DURESS or how == "unreachable":
                assert before.proposal is not None
                assert before.proposal.who != who.user, "two people"
            assert before.state is not IncidentState.CANCEL_PENDING or before.called_at is not None

    @rule(who=st.sampled_from(HANDLERS), nth=st.integers(0, 5))
    def reopen(self, who: Principal, nth: int) -> None:
        self._by_a_human(IncidentReopened(who, self._some(nth)))

    @rule(who=st.sampled_from(HANDLERS), nth=st.integers(0, 5))
    def close(self, who: Principal, nth: int) -> None:
        self._by_a_human(IncidentClosed(who, self._some(nth)))

    @rule(who=st.sampled_from(HANDLERS), nth=st.integers(0, 5), fence=st.sampled_from([None, None, 1, 3, 9]))
    def respond(self, who: Principal, nth: int, fence: int | None) -> None:
        self._by_a_human(ResponseOffered(who, self._some(nth), fence))

    @rule(who=st.sampled_from(HANDLERS), nth=st.integers(0, 5))
    def decline(self, who: Principal, nth: int) -> None:
        self._by_a_human(OfferDeclined(who, self._some(nth)))

    @rule(who=st.sampled_from(HANDLERS), nth=st.integers(0, 5), user=st.sampled_from(MOVERS))
    def assign(self, who: Principal, nth: int, user: str) -> None:
        self._by_a_human(ResponderAssigned(who, self._some(nth), UserId(user)))

    @rule(who=st.sampled_from(HANDLERS), nth=st.integers(0, 5), user=st.sampled_from([None, None, *MOVERS]))
    def arrive(self, who: Principal, nth: int, user: str | None) -> None:
        self._by_a_human(ArrivedOnScene(who, self._some(nth), UserId(user) if user else None))

    @rule(nth=st.integers(0, 5), silence=st.booleans())
    def somebody_is_there(self, nth: int, silence: bool) -> None:
        """The whole way in one step, and then perhaps not a word: random steps seldom come so far."""
        which = self._some(nth)
        self.move(NEAR.user, 50.0)
        self._by_a_human(ResponseOffered(NEAR, which))
        self._by_a_human(ArrivedOnScene(NEAR, which))
        if silence:
            self.nobody_does_anything()

    @rule(who=st.sampled_from(HANDLERS), nth=st.integers(0, 5), outcome=st.sampled_from([None, *CallOutcome]))
    def note(self, who: Principal, nth: int, outcome: CallOutcome | None) -> None:
        call_to = CallTo.SUBJECT if outcome is not None else None
        self._by_a_human(NoteTaken(who, self._some(nth), "note", call_to, outcome))

    @rule(who=st.sampled_from(HANDLERS), nth=st.integers(0, 5))
    def join(self, who: Principal, nth: int) -> None:
        self._by_a_human(IncidentJoined(who, self._some(nth)))

    @rule(user=st.sampled_from(MOVERS), metres=st.sampled_from([50.0, 500.0, 900.0, 3_000.0]))
    def move(self, user: str, metres: float) -> None:
        at = LatLng(HOME.lat_deg + metres / 111_195, HOME.lng_deg)
        self.place.live[UserId(user)] = (SH, fix_at(at, self.now, FixSource.LIVE))
        self.silence.excuse(self.now)  # who moves is not silent

    @rule(user=st.sampled_from(["ops_0", "ops_1", "tec_00"]))
    def come_and_go(self, user: str) -> None:
        self.place.away ^= {UserId(user)}

    def _by_a_human(self, event: Handled) -> None:
        incident = self.engine.incident(ACME, event.incident_id)
        try:
            self._handle(event)
        except (NotFound, Forbidden, Conflict, Invalid):
            assert self.engine.incident(ACME, event.incident_id) == incident, "a refusal changes nothing"
        else:
            assert incident is not None
            self.silence.said(event.incident_id, self.now)
            assert event.who.user != incident.subject
            assert event.who.user not in incident.avoid

    @rule(nth=st.integers(0, 5), user=st.sampled_from(["ops_0", "tec_00", "tec_03", "nobody"]))
    def receive(self, nth: int, user: str) -> None:
        self._handle(DeliveryReceived(ACME, UserId(user), self._some(nth)))

    @rule(seconds=st.sampled_from([0.001, 1.0, 2.0, 5.0, 29.0, 31.0, 61.0, 181.0]))
    def wait(self, seconds: float) -> None:
        """Time passes and every timer runs at its time."""
        self._run_until(self.now + seconds)

    @rule()
    def nobody_does_anything(self) -> None:
        """Long enough for every silence to be noticed."""
        self._run_until(self.now + 2 * silence_max_s(SETTINGS))

    def _run_until(self, until: float) -> None:
        while (at := self._next()) is not None and at <= until:
            self.now = max(self.now, at)
            self._watch(self.engine.on_deadline(self.now))
            self.silence.check(self.now)
        self.now = until
        self.silence.check(self.now)

    def _next(self) -> float | None:
        times = (self.engine.next_deadline(), self.silence.next_deadline())
        return min((at for at in times if at is not None), default=None)

    @rule(seconds=st.sampled_from([10.0, 100.0, 1_000.0]))
    def oversleep(self, seconds: float) -> None:
        """Time passes and timers run when it is over: a stalled process, a machine that slept."""
        self.now += seconds
        self._watch(self.engine.on_deadline(self.now))
        self.silence.excuse(self.now)
        deadline = self.engine.next_deadline()
        assert deadline is None or deadline > self.now, "P6: what was due is done"

    @rule(what=st.sampled_from(BREAKABLE))
    def break_a_look_up(self, what: str) -> None:
        self.place.broken.add(what)

    @rule()
    def repair_look_ups(self) -> None:
        self.place.broken.clear()

    @rule(subject=st.sampled_from(sorted(OTHER_PARTY)))
    def begin_a_booking(self, subject: str) -> None:
        self.place.bookings[UserId(subject)] = booked(OTHER_PARTY[subject])

    @rule(user=st.sampled_from(["tec_00", "tec_01", "tec_09"]))
    def change_duty(self, user: str) -> None:
        if UserId(user) in self.place.people:
            del self.place.people[UserId(user)]
        else:
            self.place.people[UserId(user)] = (SH, None)

    @rule()
    def everyone_goes_home(self) -> None:
        self.place.people.clear()
        self.place.staff.clear()

    @rule()
    def people_come_back(self) -> None:
        again = town()
        self.place.people.update(again.people)
        self.place.staff.update(again.staff)

    # -- the disk -------------------------------------------------------------------------------------

    @rule()
    def commit(self) -> None:
        changes = self.engine.take_changes()
        self.silence.commit()
        for incident_id, incident in changes.incidents.items():
            stored = self.incidents.get(incident_id)
            assert incident.version == (stored.version if stored else 0) + 1, "one version a transaction"
            self.incidents[incident_id] = incident
        self.triggers += changes.triggers
        for event in changes.events:
            self.events.setdefault(event.incident_id, []).append(event)
        self.subjects.update(changes.subjects)
        self.durable.update(self.pending)
        self.pending.clear()

    @rule()
    def crash(self) -> None:
        self.engine = self._fresh()
        kept = [i for i in self.incidents.values() if i.state is not IncidentState.CLOSED]
        ids = {incident.incident_id for incident in kept}
        seqs = {incident_id: len(events) for incident_id, events in self.events.items() if incident_id in ids}
        triggers = [trigger for trigger in self.triggers if trigger.incident_id in ids]
        self.engine.load(SafetyState(kept, triggers, seqs, (), list(self.subjects.values())))
        self.silence.watch(self.engine)
        self.silence.restart(self.now)
        self.pending.clear()
        self.fences.clear()
        self.levels = {i.incident_id: i.level for i in self.incidents.values()}
        for (user, key), incident_id in self.durable.items():
            if incident_id not in ids:
                continue
            assert self.engine.incident(ACME, incident_id) is not None, "P1: what was durable is there"
            who = next(subject for subject in SUBJECTS if subject.user == user)
            effects = self.engine.handle(SosRaised(who, SosReport(key), self.now), self.now)
            (ack,) = [e for e in effects if isinstance(e, AckRaiser)]
            assert ack.incident.incident_id == incident_id, "P1: under the same key"
        # What those look-ups asked of the engine changed nothing.
        assert not self.engine.take_changes()

    # -- what always holds ----------------------------------------------------------------------------

    def _some(self, nth: int) -> IncidentId:
        known = sorted({*self.incidents, *(i.incident_id for i in self.engine.active())})
        return known[nth % len(known)] if known else IncidentId("inc_none")

    def _handle(self, event: Any) -> list[Effect]:
        return self._watch(self.engine.handle(event, self.now))

    def _watch(self, effects: Sequence[Effect]) -> list[Effect]:
        for effect in effects:
            if isinstance(effect, NotifyTargets | UpdateTargets):
                incident = effect.incident
                users = {target.user for target in effect.targets}
                assert users, "nobody is told nothing"
                assert incident.subject not in users, "P14: the subject is not told by the alarm"
                assert not users & set(incident.avoid), "P14: the other party is never told"
                if "booking" not in self.place.broken and isinstance(effect, NotifyTargets):
                    booking = self.place.bookings.get(incident.subject)
                    assert booking is None or booking.other_party not in users, "P14: as the booking is now"
        self.silence.follow(effects, self.now)
        return list(effects)

    @invariant()
    def the_engine_is_sound(self) -> None:
        self.engine.check()  # P2, P5 among them

    @invariant()
    def levels_never_sink(self) -> None:
        for incident in self.engine.active():
            assert incident.level >= self.levels.get(incident.incident_id, 0), "P7"
            self.levels[incident.incident_id] = incident.level

    @invariant()
    def what_is_active_acts_within_a_minute(self) -> None:
        type(self).steps += 1
        for incident in self.engine.active():
            assert incident.deadline is not None
            assert incident.deadline <= self.now + STEP_MAX_S, "P5"

    @invariant()
    def a_grant_is_of_one_person(self) -> None:
        for incident in self.engine.active():
            granted = self.fences.setdefault(incident.incident_id, {})
            for slot in incident.slots:
                assert granted.setdefault(slot.fence, slot.user) == slot.user, "P12"

    @invariant()
    def what_is_stored_folds_to_its_state(self) -> None:
        for incident_id, incident in self.incidents.items():
            assert fold(self.events[incident_id]) == (incident.state, incident.level), "P4"

    @precondition(lambda self: self.pending or self.durable)
    @invariant()
    def a_tap_is_never_forgotten_while_it_matters(self) -> None:
        for incident_id in [*self.durable.values(), *self.pending.values()]:
            incident = self.engine.incident(ACME, incident_id)
            assert incident is None or incident.is_active or incident.resolved_by is not None


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        SafetyModel,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("state", [state for state in IncidentState if state.value not in ("resolved", "closed")])
def test_in_no_state_does_a_silence_last(state: IncidentState) -> None:
    model = SafetyModel()
    model.tap(SUBJECTS[0], "phone", fix=True)
    which = model._some(0)
    match state:
        case IncidentState.ACKNOWLEDGED:
            model.acknowledge(OPS, 0)
        case IncidentState.RESPONDING:
            model.respond(NEAR, 0, None)
        case IncidentState.ON_SCENE:
            model.somebody_is_there(0, silence=False)
        case IncidentState.CANCEL_PENDING:
            model.acknowledge(OPS, 0)
            model._handle(CancelAsked(SUBJECTS[0], which, PinVerdict.RIGHT))
    assert model._now(which).state is state
    for _ in range(3):
        model.nobody_does_anything()
    assert (model._now(which).state, model._now(which).level) == (IncidentState.OPEN, 3)


@pytest.mark.slow
def test_no_order_of_events_breaks_a_promise() -> None:
    run(examples=40, steps=30)


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_no_order_of_events_breaks_a_promise_in_many_runs() -> None:
    before = SafetyModel.steps
    run(examples=2_500, steps=60)
    assert SafetyModel.steps - before >= 100_000
