"""Taking it back: it ends nothing, and whoever is forced to cannot be told from whoever is not."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from core.errors import Conflict, NotFound
from core.ids import IncidentId, TenantId
from safety.engine import SafetyEngine
from safety.errors import AlreadyResolved
from safety.events import (
    AckRaiser,
    AnswerCancel,
    CallOutcome,
    CallTo,
    CancelAsked,
    Effect,
    IncidentAcknowledged,
    IncidentClosed,
    IncidentReopened,
    IncidentResolved,
    NoteTaken,
    NotifyTargets,
    RaiseForReal,
    Reason,
    ReviseRights,
    SosRaised,
    UpdateTargets,
)
from safety.incident import LEVEL_LAST
from safety.model import CapStatus, Incident, IncidentKind, IncidentState, PinVerdict, SosReport, SubjectView
from safety.ports import SafetyState
from tests.unit.safety.neighbourhood import (
    ACME,
    ANNA,
    OPS,
    OPS_2,
    T0,
    answer,
    engine_in,
    fix_at,
    incident_id,
    person,
    tap,
    told,
    town,
)


def raised() -> tuple[SafetyEngine, IncidentId]:
    engine = engine_in(town())
    return engine, incident_id(tap(engine, fix=fix_at()))


def cancel(engine: SafetyEngine, which: IncidentId, verdict: PinVerdict, now: float = T0 + 10) -> list[Effect]:
    effects = engine.handle(CancelAsked(ANNA, which, verdict), now)
    engine.check()
    return effects


def accepted(effects: Sequence[Effect]) -> bool:
    (outcome,) = [e for e in effects if isinstance(e, AnswerCancel)]
    return outcome.accepted


def current(engine: SafetyEngine, which: IncidentId) -> Incident:
    found = engine.incident(ACME, which)
    assert found is not None
    return found


def run_until(engine: SafetyEngine, now: float) -> list[tuple[float, Effect]]:
    done: list[tuple[float, Effect]] = []
    while (at := engine.next_deadline()) is not None and at <= now:
        done += [(at - T0, effect) for effect in engine.on_deadline(at)]
        engine.check()
    return done


def call(engine: SafetyEngine, which: IncidentId, outcome: CallOutcome, now: float) -> None:
    engine.handle(NoteTaken(OPS, which, "called her", CallTo.SUBJECT, outcome), now)
    engine.check()


def test_the_right_pin_ends_nothing_the_console_hears_and_everyone_stays_on_it() -> None:
    engine, which = raised()
    engine.handle(IncidentAcknowledged(OPS, which), T0 + 5)
    assert accepted(cancel(engine, which, PinVerdict.RIGHT))
    incident = current(engine, which)
    assert (incident.state, incident.owner, incident.is_active) == (IncidentState.CANCEL_PENDING, OPS.user, True)
    news = [e for _, e in run_until(engine, T0 + 10) if isinstance(e, UpdateTargets)]
    assert [e.reason for e in news] == [Reason.CANCEL_ASKED]
    assert "ops_1" in {t.user for t in news[0].targets}


def test_a_cancel_before_anybody_has_it_in_hand_stops_no_ringing() -> None:
    engine, which = raised()
    cancel(engine, which, PinVerdict.RIGHT)
    rung = [at for at, e in run_until(engine, T0 + 130) if isinstance(e, NotifyTargets) and e.reason is Reason.REPEATED]
    assert rung == [60, 120]
    assert current(engine, which).level == 3


def test_nobody_called_back_ops_ring_every_minute_and_after_five_it_is_open_again() -> None:
    engine, which = raised()
    engine.handle(IncidentAcknowledged(OPS, which), T0 + 5)
    cancel(engine, which, PinVerdict.RIGHT)
    turns = run_until(engine, T0 + 310)
    due = [at for at, e in turns if isinstance(e, NotifyTargets) and e.reason is Reason.CALL_BACK_DUE]
    assert due == [70, 130, 190, 250]
    again = [at for at, e in turns if isinstance(e, NotifyTargets) and e.reason is Reason.NOT_VERIFIED]
    assert again == [310]
    assert (current(engine, which).state, current(engine, which).owner) == (IncidentState.OPEN, None)


def test_a_call_stops_the_reminder_and_a_contact_lets_ops_end_it() -> None:
    engine, which = raised()
    cancel(engine, which, PinVerdict.RIGHT)
    with pytest.raises(Conflict) as caught:
        engine.handle(IncidentResolved(OPS, which, "false_accident"), T0 + 20)
    assert caught.value.code == "contact_needed"
    call(engine, which, CallOutcome.VOICEMAIL, T0 + 30)
    with pytest.raises(Conflict):
        engine.handle(IncidentResolved(OPS, which, "false_accident"), T0 + 31)
    call(engine, which, CallOutcome.REACHED, T0 + 40)
    engine.handle(IncidentResolved(OPS, which, "false_accident"), T0 + 41)
    assert current(engine, which).state is IncidentState.RESOLVED


def test_a_contact_before_the_cancel_verifies_nothing() -> None:
    engine, which = raised()
    call(engine, which, CallOutcome.REACHED, T0 + 5)
    cancel(engine, which, PinVerdict.RIGHT)
    with pytest.raises(Conflict):
        engine.handle(IncidentResolved(OPS, which, "real_handled"), T0 + 20)


@pytest.mark.parametrize("who", ["ops", "subject"])
def test_it_is_open_again_when_ops_say_not_safe_or_the_subject_taps(who: str) -> None:
    engine, which = raised()
    cancel(engine, which, PinVerdict.RIGHT)
    if who == "ops":
        effects = engine.handle(IncidentReopened(OPS, which, "she cried"), T0 + 20)
    else:
        effects = tap(engine, T0 + 20, key="k2")
        assert answer(effects).incident.level == 1, "and one level higher"
    assert current(engine, which).state is IncidentState.OPEN
    assert len(told(effects)) >= 7
    assert current(engine, which).cancel_asked_at is None or who == "ops"


def test_the_duress_pin_tells_everyone_once_the_subject_has_their_answer() -> None:
    engine, which = raised()
    engine.handle(IncidentAcknowledged(OPS, which), T0 + 5)
    effects = cancel(engine, which, PinVerdict.DURESS)
    assert accepted(effects)
    assert told(effects) == []
    incident = current(engine, which)
    assert (incident.kind, incident.silent, incident.level) == (IncidentKind.DURESS, True, LEVEL_LAST)
    rung = [e for _, e in run_until(engine, T0 + 10) if isinstance(e, NotifyTargets)]
    assert [e.reason for e in rung] == [Reason.DURESS]
    assert len(rung[0].targets) == 12


def twins(verdicts: Sequence[PinVerdict], taps: int = 0, key: str = "k1", ack_at: float = 50) -> list[list[object]]:
    """What the subject can see of a cancel that is honest, and of one that is forced, step by step."""
    seen: list[list[object]] = []
    for forced in (False, True):
        engine, which = raised()
        engine.handle(IncidentAcknowledged(OPS, which), T0 + 5)
        log: list[object] = []
        for n, verdict in enumerate(verdicts):
            replaced = PinVerdict.DURESS if forced and verdict is PinVerdict.RIGHT else verdict
            effects = cancel(engine, which, replaced, T0 + 10 + n)
            engine.check()
            log += [type(e).__name__ for e in effects if not isinstance(e, AckRaiser)]
            log.append(accepted(effects))
            log += _heard(effects)
            log += [heard for at, e in run_until(engine, T0 + 10 + n) for heard in _heard([e])]
        for n in range(taps):
            log += _heard(tap(engine, T0 + 40 + n, key=key if key == "k1" else f"{key}-{n}"))
            log.append(current(engine, which).seen_by_subject)
        if current(engine, which).owner is None:
            log += _heard(engine.handle(IncidentAcknowledged(OPS_2, which), T0 + ack_at))
        log += [heard for at, e in run_until(engine, T0 + 55) for heard in _heard([e])]
        log.append(current(engine, which).seen_by_subject)
        seen.append(log)
    return seen


def _heard(effects: Sequence[Effect]) -> list[object]:
    acks = [e for e in effects if isinstance(e, AckRaiser)]
    return [(ack.key, replace(ack.incident.seen_by_subject)) for ack in acks]


@pytest.mark.parametrize(
    "verdicts",
    [
        [PinVerdict.RIGHT],
        [PinVerdict.WRONG, PinVerdict.RIGHT],
        [PinVerdict.RIGHT, PinVerdict.RIGHT],
        [PinVerdict.RIGHT, PinVerdict.WRONG, PinVerdict.WRONG, PinVerdict.RIGHT],
        [PinVerdict.WRONG, PinVerdict.WRONG, PinVerdict.RIGHT, PinVerdict.WRONG],
    ],
)
def test_p13_the_subject_sees_the_same_of_an_honest_and_of_a_forced_cancel(verdicts: list[PinVerdict]) -> None:
    honest, forced = twins(verdicts, taps=2)
    assert honest == forced
    assert ReviseRights.__name__ in honest


@pytest.mark.parametrize("taps", [1, 2, 5])
@pytest.mark.parametrize("verdicts", [[PinVerdict.RIGHT], [PinVerdict.RIGHT, PinVerdict.RIGHT]])
def test_p13_nor_do_new_taps_after_it_tell_them_apart(verdicts: list[PinVerdict], taps: int) -> None:
    honest, forced = twins(verdicts, taps, key="new")
    assert honest == forced
    assert honest[-1] == SubjectView(min(3, taps), 0, seen=True, ended=False), "somebody has it in hand again"


def test_p13_taps_and_pins_in_turn_never_tell_them_apart() -> None:
    seen: list[list[SubjectView]] = []
    for verdict in (PinVerdict.RIGHT, PinVerdict.DURESS):
        engine, which = raised()
        engine.handle(IncidentResolved(OPS, which, "false_accident"), T0 + 5)
        log = []
        for n in range(3):
            cancel(engine, which, verdict, T0 + 10 + 10 * n)
            log.append(current(engine, which).seen_by_subject)
            run_until(engine, T0 + 12 + 10 * n)
            tap(engine, T0 + 15 + 10 * n, key=f"k{n + 2}")
            log.append(current(engine, which).seen_by_subject)
        seen.append(log)
    assert seen[0] == seen[1]
    assert [view.ended for view in seen[0]] == [True, False] * 3


def test_an_owner_of_before_the_tap_is_not_seen_after_it() -> None:
    """An honest cancel loses its owner by the tap: who is forced must not hear of theirs either."""
    engine, which = raised()
    cancel(engine, which, PinVerdict.DURESS)
    engine.handle(IncidentAcknowledged(OPS, which), T0 + 12)
    tap(engine, T0 + 20, key="k2")
    assert current(engine, which).owner == OPS.user
    assert current(engine, which).seen_by_subject.seen is False


def test_the_third_wrong_pin_is_answered_like_the_right_one_and_is_duress() -> None:
    engine, which = raised()
    assert [accepted(cancel(engine, which, PinVerdict.WRONG, T0 + n)) for n in (10, 11)] == [False, False]
    assert current(engine, which).kind is IncidentKind.PANIC
    assert accepted(cancel(engine, which, PinVerdict.WRONG, T0 + 12))
    assert current(engine, which).kind is IncidentKind.DURESS


def test_wrong_pins_are_counted_over_incidents_and_restarts_and_forgotten_after_a_while() -> None:
    place = town()
    engine = engine_in(place)
    which = incident_id(tap(engine))
    for n in (10, 11):
        cancel(engine, which, PinVerdict.WRONG, T0 + n)
    changes = engine.take_changes()
    seqs = {which: max(event.seq for event in changes.events)}
    state = SafetyState(list(changes.incidents.values()), changes.triggers, seqs, (), list(changes.subjects.values()))
    for later_s, is_duress in ((20.0, True), (4_000.0, False)):
        fresh = engine_in(place)
        fresh.load(state)
        assert accepted(cancel(fresh, which, PinVerdict.WRONG, T0 + later_s)) is is_duress


def test_after_duress_the_right_pin_changes_nothing_and_is_answered_the_same() -> None:
    engine, which = raised()
    cancel(engine, which, PinVerdict.DURESS)
    assert accepted(cancel(engine, which, PinVerdict.RIGHT, T0 + 20))
    assert (current(engine, which).kind, current(engine, which).state) == (IncidentKind.DURESS, IncidentState.OPEN)


def test_the_duress_pin_opens_what_ops_had_ended() -> None:
    engine, which = raised()
    engine.handle(IncidentResolved(OPS, which, "false_accident"), T0 + 5)
    assert accepted(cancel(engine, which, PinVerdict.RIGHT))
    assert current(engine, which).state is IncidentState.RESOLVED
    assert accepted(cancel(engine, which, PinVerdict.DURESS, T0 + 11))
    assert current(engine, which).state is IncidentState.OPEN
    run_until(engine, T0 + 12)
    assert current(engine, which).level == LEVEL_LAST


@pytest.mark.parametrize("verdict", list(PinVerdict))
def test_only_the_subject_can_take_it_back_and_a_closed_one_is_closed(verdict: PinVerdict) -> None:
    engine, which = raised()
    for who in (OPS, person("cus_bea"), person("cus_anna", tenant=TenantId("other"))):
        with pytest.raises(NotFound):
            engine.handle(CancelAsked(who, which, verdict), T0 + 5)
    engine.handle(IncidentResolved(OPS, which, "false_accident"), T0 + 6)
    engine.handle(IncidentClosed(OPS_2, which), T0 + 7)
    with pytest.raises(AlreadyResolved):
        cancel(engine, which, verdict)


@pytest.mark.parametrize("verdict", [PinVerdict.RIGHT, PinVerdict.DURESS])
def test_a_pin_for_an_old_incident_speaks_of_the_one_that_is_active(verdict: PinVerdict) -> None:
    engine, old = raised()
    engine.handle(IncidentResolved(OPS, old, "false_accident"), T0 + 5)
    new = incident_id(tap(engine, T0 + 1_900, key="k2"))
    assert new != old
    assert accepted(cancel(engine, old, verdict, T0 + 1_910))
    assert [incident.incident_id for incident in engine.active()] == [new]
    is_duress = current(engine, new).kind is IncidentKind.DURESS
    assert is_duress == (verdict is PinVerdict.DURESS)
    assert current(engine, new).seen_by_subject.ended
    assert current(engine, old).state is IncidentState.RESOLVED


@pytest.mark.parametrize("verdict", [PinVerdict.RIGHT, PinVerdict.DURESS])
def test_a_tap_after_a_pin_for_one_that_is_over_is_of_the_same_incident(verdict: PinVerdict) -> None:
    engine, older = raised()
    engine.handle(IncidentResolved(OPS, older, "false_accident"), T0 + 5)
    which = incident_id(tap(engine, T0 + 2_000, key="k2"))
    engine.handle(IncidentResolved(OPS, which, "false_accident"), T0 + 2_005)
    assert accepted(cancel(engine, older, verdict, T0 + 2_010))
    late = T0 + 2_010 + 1_860.0
    run_until(engine, late)
    assert incident_id(tap(engine, late, key="k3")) == which != older
    assert [incident.incident_id for incident in engine.active()] == [which]


@pytest.mark.parametrize("ends_first", [False, True])
@pytest.mark.parametrize("verdicts", [[PinVerdict.DURESS], [PinVerdict.WRONG] * 3])
def test_whoever_is_forced_in_a_drill_gets_real_help_and_the_drill_looks_like_any_other(
    verdicts: list[PinVerdict], ends_first: bool
) -> None:
    def drill() -> tuple[SafetyEngine, IncidentId]:
        engine = engine_in(town())
        tried = SosRaised(ANNA, SosReport("d"), T0, cap_status=CapStatus.EXERCISE, cause="drill")
        which = answer(engine.handle(tried, T0)).incident.incident_id
        if ends_first:
            engine.handle(IncidentAcknowledged(OPS, which), T0 + 1)
            engine.handle(IncidentResolved(OPS, which, "false_test"), T0 + 1)
        return engine, which

    (forced, which), (honest, other) = drill(), drill()
    cancel(honest, other, PinVerdict.RIGHT)
    *wrong, last = verdicts
    for verdict in wrong:
        assert not accepted(cancel(forced, which, verdict))
    effects = cancel(forced, which, last)
    assert accepted(effects)
    (real,) = [effect for effect in effects if isinstance(effect, RaiseForReal)]
    assert (real.who, real.incident.incident_id) == (ANNA, which)
    drilled = replace(current(forced, which), version=0)
    assert drilled == replace(current(honest, other), version=0)
    assert drilled.kind is IncidentKind.PANIC
