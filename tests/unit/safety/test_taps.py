"""Who else may raise an incident, what it is then, and that a drill never hides an emergency."""

from dataclasses import replace

import pytest

from core.ids import IncidentId, OrderId, UserId
from safety.case import ORDERS_MAX, ORDERS_NOT_HELD
from safety.contacts import Contact, EmergencyContact
from safety.engine import SafetyEngine
from safety.events import (
    CancelAsked,
    IncidentAcknowledged,
    IncidentResolved,
    NotifyTargets,
    Reason,
    SosRaised,
    SoundAlarm,
    UpdateTargets,
)
from safety.model import (
    KEY_MADE_PREFIX,
    CapStatus,
    Incident,
    IncidentKind,
    IncidentState,
    PinVerdict,
    SosReport,
    TriggerSource,
)
from safety.settings import SafetySettings
from tests.unit.safety.neighbourhood import (
    ACME,
    ANNA,
    NEAR,
    OPS,
    OPS_2,
    T0,
    answer,
    booked,
    engine_in,
    ladder,
    told,
    town,
)


def a_tap(key: str = "k1", at: float = T0, **more: object) -> SosRaised:
    return replace(SosRaised(ANNA, SosReport(key), at), **more)  # type: ignore[arg-type]


def raised(engine: SafetyEngine, event: SosRaised) -> Incident:
    found = answer(engine.handle(event, event.received_at)).incident
    engine.check()
    return found


def current(engine: SafetyEngine, which: IncidentId) -> Incident:
    found = engine.incident(ACME, which)
    assert found is not None
    return found


def test_a_tap_is_real_panic_by_the_subject_unless_said_otherwise() -> None:
    engine = engine_in(town())
    incident = raised(engine, a_tap())
    assert (incident.kind, incident.cap_status, incident.cause) == (IncidentKind.PANIC, CapStatus.ACTUAL, "")


def test_what_the_system_noticed_is_told_with_its_cause_and_kept_with_its_trigger() -> None:
    engine = engine_in(town())
    missed = a_tap(source=TriggerSource.SYSTEM, kind=IncidentKind.UNCONFIRMED, cause="checkin_missed")
    incident = raised(engine, missed)
    assert (incident.kind, incident.cause) == (IncidentKind.UNCONFIRMED, "checkin_missed")
    changes = engine.take_changes()
    (trigger,) = changes.triggers
    assert (trigger.source, trigger.kind, trigger.cause) == (missed.source, missed.kind, missed.cause)
    assert changes.events[0].detail == "system checkin_missed"


def test_a_phone_whose_clock_is_wrong_says_so_in_the_history() -> None:
    engine = engine_in(town())
    off = [T0 - 86_400, T0 + 61, T0 - 59, None]
    for n, sent_at in enumerate(off):
        raised(engine, replace(a_tap(), report=SosReport(f"k{n}", sent_at=sent_at)))
    details = [event.detail for event in engine.take_changes().events if event.what in ("raised", "tapped")]
    assert details == ["clock -86400 s", "clock +61 s", "", ""]


def test_a_button_that_sticks_widens_the_circle_and_then_rings_no_faster_than_taps_may() -> None:
    engine = engine_in(town())
    raised(engine, a_tap())
    rung = []
    for n in range(1, 100):
        at = T0 + n * 0.05
        effects = engine.handle(a_tap(f"k1-{n}", at), at)
        rung += [at for effect in effects if isinstance(effect, NotifyTargets)]
    assert engine.active()[0].level == 3
    assert engine.active()[0].triggers == 100
    assert 3 <= len(rung) <= 3 + 5 / SafetySettings().retap_quiet_s + 1


def test_the_same_occasion_noticed_again_is_one_trigger() -> None:
    engine = engine_in(town())
    missed = a_tap("checkin:ord_1:3", source=TriggerSource.SYSTEM, kind=IncidentKind.UNCONFIRMED)
    first = raised(engine, missed)
    again = raised(engine, replace(missed, received_at=T0 + 1))
    assert (again.incident_id, again.triggers) == (first.incident_id, 1)


def test_a_key_after_the_end_is_the_same_tap_only_if_it_says_so() -> None:
    def after_an_hour(made_at: float | None) -> tuple[SafetyEngine, Incident, Incident]:
        engine = engine_in(town())
        first = raised(engine, a_tap())
        engine.handle(IncidentAcknowledged(OPS, first.incident_id), T0 + 5)
        engine.handle(IncidentResolved(OPS, first.incident_id, "real_handled"), T0 + 6)
        at = T0 + 3_600
        report = SosReport("k1", age_s=0.0 if made_at is None else at - made_at)
        return engine, first, raised(engine, replace(a_tap(at=at), report=report))

    for made_at in (T0 - 30, T0, T0 + 4):
        engine, first, again = after_an_hour(made_at)
        assert again.incident_id == first.incident_id
        assert engine.active() == []
    for later_at in (None, T0 + 6, T0 + 1_800, T0 + 3_590):
        _, first, again = after_an_hour(later_at)
        assert again.incident_id != first.incident_id
        assert again.is_active


def test_an_occasion_that_the_server_noticed_is_never_a_second_one() -> None:
    engine = engine_in(town())
    missed = a_tap("chk_1_panic", source=TriggerSource.SYSTEM, cause="checkin_missed")
    first = raised(engine, missed)
    engine.handle(IncidentAcknowledged(OPS, first.incident_id), T0 + 5)
    engine.handle(IncidentResolved(OPS, first.incident_id, "real_handled"), T0 + 6)
    for seconds in (700, 705, 3_600):
        again = raised(engine, replace(missed, received_at=T0 + seconds))
        assert (again.incident_id, again.is_active) == (first.incident_id, False)


def test_an_incident_keeps_every_order_that_it_had_to_do_with() -> None:
    place = town()
    place.bookings[ANNA.user] = replace(booked(), other_orders=(OrderId("ord_9"),))
    engine = engine_in(place)
    first = raised(engine, a_tap())
    assert (first.order_id, first.orders) == ("ord_1", ("ord_1", "ord_9"))
    place.bookings[ANNA.user] = replace(booked(), order_id=OrderId("ord_2"))
    again = raised(engine, a_tap("k2", T0 + 1))
    assert (again.order_id, again.orders) == ("ord_2", ("ord_1", "ord_9", "ord_2"))
    # One that begins meanwhile is evidence as well; the address that is read out stays that of the last tap.
    place.bookings[ANNA.user] = replace(booked(), order_id=OrderId("ord_3"))
    engine.on_deadline(T0 + 70)
    later = current(engine, first.incident_id)
    assert (later.order_id, later.orders_held) == ("ord_2", ("ord_1", "ord_9", "ord_2", "ord_3"))
    for n in range(4, 60):
        place.bookings[ANNA.user] = replace(booked(), order_id=OrderId(f"ord_n{n}"))
        engine.handle(a_tap(f"k{n}", T0 + 70 + n), T0 + 70 + n)
    effects = engine.handle(a_tap("k60", T0 + 130), T0 + 130)
    assert len(answer(effects).incident.orders) == ORDERS_MAX
    assert "ord_n59" in answer(effects).incident.orders_held
    assert ORDERS_NOT_HELD in [effect.what for effect in effects if isinstance(effect, SoundAlarm)]


def test_an_incident_has_the_gravest_kind_of_its_triggers() -> None:
    engine = engine_in(town())
    raised(engine, a_tap("s", source=TriggerSource.SYSTEM, kind=IncidentKind.UNCONFIRMED))
    assert raised(engine, a_tap("k1", T0 + 1)).kind is IncidentKind.PANIC
    later = a_tap("s2", T0 + 2, source=TriggerSource.SYSTEM, kind=IncidentKind.UNCONFIRMED)
    assert raised(engine, later).kind is IncidentKind.PANIC


def test_taps_that_waited_together_have_the_gravest_of_their_kinds() -> None:
    engine = engine_in(town())
    silence = a_tap("s", source=TriggerSource.SYSTEM, kind=IncidentKind.UNCONFIRMED)
    assert raised(engine, replace(silence, also=(a_tap("k1"),))).kind is IncidentKind.PANIC


def test_who_raised_it_for_another_stands_in_the_history_and_is_told_like_anybody() -> None:
    engine = engine_in(town())
    event = a_tap(source=TriggerSource.OPS, raised_by=UserId("ops_0"))
    effects = engine.handle(event, T0)
    changes = engine.take_changes()
    assert changes.events[0].who == "ops_0"
    assert changes.triggers[0].raised_by == "ops_0"
    assert "ops_0" in told(effects)


def test_an_emergency_during_a_drill_is_an_incident_of_its_own() -> None:
    engine = engine_in(town())
    drill = raised(engine, a_tap("d", cap_status=CapStatus.EXERCISE))
    real = raised(engine, a_tap("k1", T0 + 1))
    assert real.incident_id != drill.incident_id
    assert real.cap_status is CapStatus.ACTUAL
    assert len(engine.active()) == 2
    assert raised(engine, a_tap("k2", T0 + 2)).incident_id == real.incident_id


def test_the_key_of_a_drill_used_again_for_an_emergency_is_an_emergency() -> None:
    engine = engine_in(town())
    drill = raised(engine, a_tap(cap_status=CapStatus.EXERCISE))
    assert raised(engine, a_tap(at=T0 + 1)).incident_id != drill.incident_id


def test_both_sides_of_a_booking_are_two_incidents_that_know_of_each_other_and_no_side_is_told() -> None:
    place = town()
    place.bookings[ANNA.user] = booked("tec_00")
    place.bookings[NEAR.user] = booked("cus_anna")
    engine = engine_in(place)
    first = raised(engine, a_tap())
    effects = engine.handle(SosRaised(NEAR, SosReport("t1"), T0 + 1), T0 + 1)
    engine.check()
    second = answer(effects).incident
    assert second.incident_id != first.incident_id
    linked = {i.incident_id: i.linked for i in engine.active()}
    assert linked == {first.incident_id: (second.incident_id,), second.incident_id: (first.incident_id,)}
    heard = [t.user for e in effects if isinstance(e, NotifyTargets | UpdateTargets) for t in e.targets]
    assert "cus_anna" not in heard
    assert "tec_00" not in heard
    assert {e.reason for e in effects if isinstance(e, UpdateTargets)} == {Reason.LINKED}
    again = engine.handle(SosRaised(NEAR, SosReport("t2"), T0 + 9), T0 + 9)
    assert Reason.LINKED not in {e.reason for e in again if isinstance(e, UpdateTargets)}, "said once"


def test_a_tap_that_waited_in_the_phone_for_long_is_unconfirmed_and_rung_like_panic() -> None:
    engine = engine_in(town())
    late = a_tap(report=SosReport("k1", age_s=3 * 86_400.0))
    effects = engine.handle(late, T0)
    incident = answer(effects).incident
    assert (incident.kind, incident.gentle_until) == (IncidentKind.UNCONFIRMED, None)
    assert told(effects) == told(engine_in(town()).handle(a_tap(), T0))
    assert engine.take_changes().events[0].detail == "late 259200 s"
    assert raised(engine, a_tap("k2", T0 + 1)).kind is IncidentKind.PANIC


def test_silence_is_told_to_ops_alone_at_first_and_rung_like_panic_after_five_minutes() -> None:
    engine = engine_in(town(), ladder(gentle_s=300))
    silence = a_tap("s", source=TriggerSource.SYSTEM, kind=IncidentKind.UNCONFIRMED)
    assert told(engine.handle(silence, T0)) == ["ops_0", "ops_1"]
    later = []
    while (at := engine.next_deadline()) is not None and at <= T0 + 300:
        later += [(at - T0, user) for user in told(engine.on_deadline(at))]
        engine.check()
    assert {at for at, user in later if user.startswith("tec")} == {300.0}


def test_a_tap_of_somebody_who_was_silent_is_rung_at_once() -> None:
    engine = engine_in(town())
    engine.handle(a_tap("s", source=TriggerSource.SYSTEM, kind=IncidentKind.UNCONFIRMED), T0)
    effects = engine.handle(a_tap("k1", T0 + 9), T0 + 9)
    engine.check()
    assert len(told(effects)) == 7
    assert answer(effects).incident.widen_at == T0 + 9 + 30


def test_a_no_to_whether_all_is_well_is_duress_for_everyone_but_who_said_it() -> None:
    for open_before in (False, True):
        engine = engine_in(town())
        if open_before:
            raised(engine, a_tap("k1", T0 - 5))
        no = a_tap("no", source=TriggerSource.SYSTEM, kind=IncidentKind.DURESS, cause="checkin_no")
        seen = raised(engine, no)
        assert (seen.kind, seen.silent, seen.level) == (IncidentKind.DURESS, True, 3)
        assert (seen.seen_by_subject.level, seen.seen_by_subject.seen) == (0, False)
        assert len(told(engine.on_deadline(T0))) == 12


def test_only_a_subject_who_tapped_openly_may_still_abort() -> None:
    engine = engine_in(town(), SafetySettings(abort_window_s=5))
    assert raised(engine, a_tap()).provisional_until == T0 + 5
    silent = a_tap("k2", T0 + 1, report=SosReport("k2", silent=True))
    assert raised(engine, silent).provisional_until is None, "nor after a silent tap"

    for event in (silent, a_tap(source=TriggerSource.SYSTEM), a_tap(source=TriggerSource.TRACKER)):
        assert raised(engine_in(town()), event).provisional_until is None


@pytest.mark.parametrize("before", ["cancelled", "resolved", "acknowledged", "forced"])
def test_forced_by_the_answer_to_a_check_in_everyone_is_told_and_the_subject_sees_what_they_saw(before: str) -> None:
    engine = engine_in(town())
    which = raised(engine, a_tap()).incident_id
    match before:
        case "cancelled":
            engine.handle(CancelAsked(ANNA, which, PinVerdict.RIGHT), T0 + 5)
        case "forced":
            engine.handle(CancelAsked(ANNA, which, PinVerdict.DURESS), T0 + 5)
        case "resolved":
            engine.handle(IncidentResolved(OPS, which, "false_accident"), T0 + 5)
        case _:
            engine.handle(IncidentAcknowledged(OPS, which), T0 + 5)
    engine.on_deadline(T0 + 6)
    shown = current(engine, which).seen_by_subject
    no = a_tap("no", T0 + 20, kind=IncidentKind.DURESS, cause="checkin_no")
    effects = engine.handle(no, T0 + 20) + engine.on_deadline(T0 + 20)
    engine.check()
    incident = current(engine, which)
    assert (incident.kind, incident.level, incident.state) == (IncidentKind.DURESS, 3, IncidentState.OPEN)
    assert len(told(effects)) == 12
    assert incident.seen_by_subject == shown


@pytest.mark.parametrize("verdict", [PinVerdict.RIGHT, PinVerdict.DURESS])
def test_a_tap_without_a_key_after_a_cancel_is_somebody_who_needs_help_again(verdict: PinVerdict) -> None:
    engine = engine_in(town())
    made = KEY_MADE_PREFIX + "0" * 32
    which = raised(engine, a_tap(made)).incident_id
    engine.handle(CancelAsked(ANNA, which, verdict), T0 + 2)
    engine.on_deadline(T0 + 2)
    raised(engine, a_tap(made, T0 + 4))
    incident = current(engine, which)
    assert (incident.state, incident.triggers) == (IncidentState.OPEN, 2)
    assert incident.seen_by_subject.level == 1
    assert raised(engine, a_tap(made, T0 + 5)).triggers == 2, "and sent twice it is one"


def test_taps_without_a_key_are_one_for_seconds_only_and_then_ring_again() -> None:
    engine = engine_in(town())
    made = KEY_MADE_PREFIX + "0" * 32
    first = raised(engine, a_tap(made))
    assert raised(engine, a_tap(made, T0 + 4)).triggers == 1
    effects = engine.handle(a_tap(made, T0 + 20), T0 + 20)
    assert len(told(effects)) == len(first.targets)
    assert current(engine, first.incident_id).triggers == 2
    assert raised(engine, a_tap(made, T0 + 23)).triggers == 2
    assert raised(engine, a_tap(made, T0 - 3_600)).triggers == 3, "a clock that was put back silences nobody"


def test_the_same_tap_again_that_is_silent_makes_it_silent() -> None:
    engine = engine_in(town())
    which = raised(engine, a_tap()).incident_id
    raised(engine, replace(a_tap(at=T0 + 1), report=SosReport("k1", silent=True)))
    assert current(engine, which).silent
    raised(engine, a_tap(at=T0 + 2))
    assert current(engine, which).silent


def test_whom_to_call_stays_as_it_was_at_the_tap_as_long_as_the_incident_lives() -> None:
    """Whoever holds the phone writes themselves in, and would be told of a cry for help."""
    place = town()
    first = Contact(ANNA.user, "Anna", "138", emergency=(EmergencyContact("Mum", "137"),))
    place.contacts[ANNA.user] = first
    engine = engine_in(place)
    which = raised(engine, a_tap()).incident_id
    later = replace(first, emergency=(EmergencyContact("he", "666"),))
    place.contacts[ANNA.user] = later
    raised(engine, a_tap("k2", T0 + 5))
    engine.handle(CancelAsked(ANNA, which, PinVerdict.DURESS), T0 + 10)
    engine.on_deadline(T0 + 11)
    assert current(engine, which).contact == first
    engine.handle(IncidentAcknowledged(OPS, which), T0 + 20)
    engine.handle(IncidentResolved(OPS, which, "real_handled"), T0 + 30)
    engine.handle(IncidentResolved(OPS_2, which, "real_handled"), T0 + 31)
    assert current(engine, which).state is IncidentState.RESOLVED
    again = raised(engine, a_tap("k3", T0 + 100))
    assert (again.incident_id, again.contact) == (which, first), "opened again: it is the same alarm"
    engine.handle(IncidentAcknowledged(OPS, which), T0 + 110)
    engine.handle(IncidentResolved(OPS, which, "real_handled"), T0 + 120)
    engine.handle(IncidentResolved(OPS_2, which, "real_handled"), T0 + 121)
    new = raised(engine, a_tap("k4", T0 + 121 + 2_000))
    assert (new.incident_id != which, new.contact) == (True, later)


def test_who_had_told_nothing_at_the_tap_has_nobody_to_be_told_by_another_hand() -> None:
    place = town()
    place.contacts[ANNA.user] = Contact(ANNA.user)
    engine = engine_in(place)
    assert raised(engine, a_tap()).contact == Contact(ANNA.user)
