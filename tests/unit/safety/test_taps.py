"""Who else may raise an incident, what it is then, and that a drill never hides an emergency."""

from dataclasses import replace

from core.ids import UserId
from safety.engine import SafetyEngine
from safety.events import SosRaised
from safety.model import CapStatus, Incident, IncidentKind, SosReport, TriggerSource
from safety.settings import SafetySettings
from tests.unit.safety.neighbourhood import ANNA, T0, answer, engine_in, told, town


def a_tap(key: str = "k1", at: float = T0, **more: object) -> SosRaised:
    return replace(SosRaised(ANNA, SosReport(key), at), **more)  # type: ignore[arg-type]


def raised(engine: SafetyEngine, event: SosRaised) -> Incident:
    found = answer(engine.handle(event, event.received_at)).incident
    engine.check()
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


def test_the_same_occasion_noticed_again_is_one_trigger() -> None:
    engine = engine_in(town())
    missed = a_tap("checkin:ord_1:3", source=TriggerSource.SYSTEM, kind=IncidentKind.UNCONFIRMED)
    first = raised(engine, missed)
    again = raised(engine, replace(missed, received_at=T0 + 1))
    assert (again.incident_id, again.triggers) == (first.incident_id, 1)


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


def test_only_a_subject_who_tapped_openly_may_still_abort() -> None:
    engine = engine_in(town(), SafetySettings(abort_window_s=5))
    assert raised(engine, a_tap()).provisional_until == T0 + 5
    silent = a_tap("k2", T0 + 1, report=SosReport("k2", silent=True))
    assert raised(engine, silent).provisional_until is None, "nor after a silent tap"

    for event in (silent, a_tap(source=TriggerSource.SYSTEM), a_tap(source=TriggerSource.TRACKER)):
        assert raised(engine_in(town()), event).provisional_until is None
