"""What the engine decides, case by case."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from core.errors import Conflict, Forbidden, Invalid, NotFound
from core.ids import IncidentId, TenantId, UserId
from core.principal import Principal, Role
from geo.point import Frame, LatLng
from safety.access import may_see
from safety.deadlines import STALE_DEADLINES_MAX
from safety.engine import SafetyEngine
from safety.errors import AlreadyAcknowledged, AlreadyResolved
from safety.events import (
    AckRaiser,
    DeliveryReceived,
    Effect,
    IncidentAcknowledged,
    IncidentResolved,
    NotifyTargets,
    Reason,
    ResponseOffered,
    ReviseRights,
    SosRaised,
    SoundAlarm,
    SubjectAnswered,
    UpdateTargets,
)
from safety.incident import fold
from safety.intake import decode_sos
from safety.model import Incident, IncidentKind, IncidentState, SosReport, TriggerSource
from safety.ports import SafetyState
from tests.unit.safety.neighbourhood import (
    ACME,
    ANNA,
    HOME,
    NEAR,
    OPS,
    OPS_2,
    OPS_BJ,
    SH,
    T0,
    Neighbourhood,
    answer,
    booked,
    engine_in,
    fix_at,
    incident_id,
    ladder,
    person,
    tap,
    told,
    town,
)

SETTINGS = ladder()


def kinds(effects: Sequence[Effect]) -> list[type]:
    return [type(effect) for effect in effects]


def alarms(effects: Sequence[Effect]) -> list[str]:
    return [effect.what for effect in effects if isinstance(effect, SoundAlarm)]


def acknowledge(engine: SafetyEngine, who: Principal, which: IncidentId, now: float) -> list[Effect]:
    effects = engine.handle(IncidentAcknowledged(who, which), now)
    engine.check()
    return effects


def resolve(
    engine: SafetyEngine, who: Principal, which: IncidentId, now: float, disposition: str = "real_handled"
) -> list[Effect]:
    effects = engine.handle(IncidentResolved(who, which, disposition, "spoke to her"), now)
    engine.check()
    return effects


def raised(place: Neighbourhood | None = None, **changes: Any) -> tuple[SafetyEngine, IncidentId]:
    engine = engine_in(place or town(), ladder(**changes))
    return engine, incident_id(tap(engine, fix=fix_at()))


def current(engine: SafetyEngine, which: IncidentId) -> Incident:
    incident = engine.incident(ACME, which)
    assert incident is not None
    return incident


def run_until(engine: SafetyEngine, now: float) -> list[tuple[float, list[Effect]]]:
    """Every deadline on the way at its own time, those that only looked left out."""
    turns = []
    while (at := engine.next_deadline()) is not None and at <= now:
        turns.append((at, engine.on_deadline(at)))
        engine.check()
    return [(at, effects) for at, effects in turns if effects]


# -- raising --------------------------------------------------------------------------------------------


def test_a_tap_tells_the_nearest_and_ops_at_once_and_answers_the_raiser() -> None:
    engine = engine_in(town())
    effects = tap(engine, fix=fix_at())
    assert kinds(effects) == [ReviseRights, NotifyTargets, AckRaiser]
    assert told(effects) == ["tec_00", "tec_01", "tec_02", "tec_03", "tec_04", "ops_0", "ops_1"]
    ack = answer(effects)
    incident = ack.incident
    assert (incident.state, incident.level, incident.city, incident.triggers) == (IncidentState.OPEN, 0, SH, 1)
    assert (ack.key, incident.delivered, incident.seen) == ("k1", 0, False)
    assert incident.deadline == T0 + 30
    assert all(target.told_at == T0 for target in incident.targets)


def test_a_tap_needs_neither_fix_nor_order_nor_fresh_token() -> None:
    engine = engine_in(town())
    effects = tap(engine, who=person("cus_new", cities=(), restricted=True))
    incident = answer(effects).incident
    assert (incident.fix, incident.order_id, incident.city, incident.restricted) == (None, None, None, True)
    assert "ops_bj" in told(effects), "a city that nobody knows is everybody's"


def test_the_same_key_is_the_same_tap() -> None:
    engine, which = raised()
    effects = tap(engine, T0 + 1)
    assert kinds(effects) == [AckRaiser]
    assert answer(effects).incident.incident_id == which
    assert answer(effects).received_at == T0
    assert answer(effects).incident.triggers == 1
    assert engine.take_changes().incidents[which].version == 1


def test_a_repeat_of_a_tap_may_bring_the_position_that_its_first_copy_lacked() -> None:
    engine = engine_in(town())
    which = incident_id(tap(engine))
    engine.take_changes()
    effects = tap(engine, T0 + 1, report=SosReport(key="k1", fix=fix_at(), note="3rd floor"))
    assert kinds(effects) == [UpdateTargets, AckRaiser]
    assert (current(engine, which).fix, current(engine, which).note) == (fix_at(), "3rd floor")
    assert engine.take_changes().events == []


def test_keys_belong_to_their_subject_and_tenant() -> None:
    engine, which = raised()
    others = [person("cus_bea"), person("cus_anna", tenant=TenantId("other"))]
    for other in others:
        assert incident_id(tap(engine, who=other)) != which


def test_another_tap_feeds_the_same_incident_and_rings_again() -> None:
    engine, which = raised()
    effects = tap(engine, T0 + 5, key="k2")
    assert incident_id(effects) == which
    assert answer(effects).incident.triggers == 2
    assert len(told(effects)) == 7
    assert [e.reason for e in effects if isinstance(e, NotifyTargets)] == [Reason.TAPPED_AGAIN]


def test_another_device_of_the_subject_feeds_the_same_incident() -> None:
    engine, which = raised()
    assert incident_id(tap(engine, T0 + 5, who=person("cus_anna", device="watch"), key="w")) == which


def test_taps_in_quick_succession_are_counted_and_told_together_soon() -> None:
    engine, which = raised(burst_taps=100)
    for n in range(50):
        assert told(tap(engine, T0 + 1 + n / 100, key=f"more-{n}")) == []
    assert current(engine, which).triggers == 51
    ((at, effects),) = run_until(engine, T0 + 10)
    assert at == T0 + 2
    assert len(told(effects)) == 7


def test_three_taps_in_ten_seconds_raise_the_level_once() -> None:
    engine, which = raised()
    tap(engine, T0 + 4, key="k2")
    effects = tap(engine, T0 + 8, key="k3")
    assert current(engine, which).level == 1
    assert "tec_07" in told(effects)
    assert current(engine, which).widen_at == T0 + 8 + 30
    tap(engine, T0 + 9, key="k4")
    assert current(engine, which).level == 1, "the next burst is counted anew"
    tap(engine, T0 + 9.5, key="k5")
    tap(engine, T0 + 9.7, key="k6")
    assert current(engine, which).level == 2


def test_slow_taps_do_not_raise_the_level() -> None:
    engine, which = raised()
    for n in range(1, 5):
        tap(engine, T0 + 6 * n, key=f"slow-{n}")
    assert current(engine, which).level == 0


def test_a_stuck_button_is_counted_without_filling_the_disk() -> None:
    engine, which = raised(triggers_kept_max=10)
    for n in range(50):
        assert answer(tap(engine, T0 + 20 * n, key=f"stuck-{n}")).incident.incident_id == which
    changes = engine.take_changes()
    assert current(engine, which).triggers == 51
    assert len(changes.triggers) == 10
    assert sum(event.what == "tapped" for event in changes.events) == 9


def test_a_tap_while_acknowledged_rings_again_and_keeps_the_owner() -> None:
    engine, which = raised()
    acknowledge(engine, OPS, which, T0 + 10)
    effects = tap(engine, T0 + 20, key="k2")
    assert len(told(effects)) == 7
    assert current(engine, which).owner == OPS.user
    quick = tap(engine, T0 + 21, key="k3")
    assert told(quick) == []
    ((at, later),) = run_until(engine, T0 + 100)
    assert at == T0 + 22
    assert len(told(later)) == 7


def test_a_burst_while_acknowledged_widens_without_taking_it_from_its_owner() -> None:
    engine, which = raised()
    acknowledge(engine, OPS, which, T0 + 10)
    for n in range(3):
        tap(engine, T0 + 20 + n, key=f"b{n}")
    assert (current(engine, which).level, current(engine, which).owner) == (1, OPS.user)


def test_a_tap_soon_after_the_end_opens_the_same_incident_again_and_a_late_one_is_new() -> None:
    engine, which = raised()
    resolve(engine, OPS, which, T0 + 10)
    assert told(tap(engine, T0 + 11, key="k1")) == [], "the old tap is still the old tap"
    again = tap(engine, T0 + 12, key="k2")
    assert (incident_id(again), current(engine, which).state) == (which, IncidentState.OPEN)
    assert len(told(again)) == 7
    resolve(engine, OPS, which, T0 + 20)
    assert incident_id(tap(engine, T0 + 20 + SETTINGS.reopen_s + 1, key="k3")) != which


def test_a_key_used_again_long_after_its_incident_ended_is_a_new_sos() -> None:
    engine, which = raised()
    assert incident_id(tap(engine, T0 + 3_600)) == which, "while it is active a key is one tap, however late"
    resolve(engine, OPS, which, T0 + 3_601)
    again = tap(engine, T0 + 7_202)
    assert incident_id(again) != which
    assert len(told(again)) == 7
    assert kinds(tap(engine, T0 + 7_203)) == [AckRaiser], "and it is one tap of the new incident"


def test_an_sos_without_a_key_is_a_new_tap_as_soon_as_the_former_ended() -> None:
    place = town()
    engine = engine_in(place)
    keyless = decode_sos(b'{"type":"sos"}', True, T0, Frame.WGS84)
    which = incident_id(tap(engine, report=keyless))
    assert incident_id(tap(engine, T0 + 5, report=keyless)) == which, "the same bytes are the same tap meanwhile"
    resolve(engine, OPS, which, T0 + 10)
    again = tap(engine, T0 + 20, report=keyless)
    assert told(again) != []
    resolve(engine, OPS, incident_id(again), T0 + 30)
    fresh = reload(engine, place)
    assert told(tap(fresh, T0 + 40, report=keyless)) != [], "and after a restart"


def test_a_new_use_of_a_key_outlives_the_memory_of_the_former() -> None:
    engine, which = raised(resolved_kept_s=1_000, reopen_s=600)
    resolve(engine, OPS, which, T0 + 10)
    second = incident_id(tap(engine, T0 + 900))
    assert second != which
    tap(engine, T0 + 1_100, who=person("cus_bea"))
    assert engine.incident(ACME, which) is None
    assert incident_id(tap(engine, T0 + 1_101)) == second


def test_taps_that_waited_together_count_each_and_ring_once() -> None:
    engine, which = raised()
    waited = tuple(SosRaised(ANNA, SosReport(key), T0 + 5) for key in ("k2", "k3", "k2", "k1"))
    effects = engine.handle(SosRaised(ANNA, SosReport("k4", note="help"), T0 + 5, waited), T0 + 5)
    incident = answer(effects).incident
    assert (incident.incident_id, incident.triggers, incident.note) == (which, 4, "help")
    assert len(told(effects)) == len(set(told(effects)))
    for key in ("k2", "k3", "k4"):
        assert kinds(tap(engine, T0 + 6, key=key)) == [AckRaiser], "every key is known"
    assert incident.level == 1, "together they are a burst"


def test_an_owner_who_holds_the_button_down_writes_one_row() -> None:
    engine, which = raised()
    acknowledge(engine, OPS, which, T0 + 1)
    engine.take_changes()
    for n in range(100):
        acknowledge(engine, OPS, which, T0 + 2 + n / 100)
    assert not engine.take_changes()
    acknowledge(engine, OPS, which, T0 + 60)
    assert len(engine.take_changes().events) == 1
    assert current(engine, which).stale_at == T0 + 60 + SETTINGS.ack_stale_s


def test_deadlines_that_no_longer_hold_are_cleared_out() -> None:
    engine, which = raised()
    for n in range(2_000):
        acknowledge(engine, OPS, which, T0 + 10 * n)
        engine.take_changes()
    assert len(engine._deadlines) <= STALE_DEADLINES_MAX + 4
    engine.check()


def test_silence_once_asked_for_stays() -> None:
    engine = engine_in(town())
    which = incident_id(tap(engine, report=SosReport(key="k1", silent=True)))
    tap(engine, T0 + 1, key="k2")
    assert current(engine, which).silent


def test_a_fresh_token_clears_the_flag_of_an_old_one() -> None:
    engine = engine_in(town())
    which = incident_id(tap(engine, who=replace(ANNA, restricted=True)))
    assert current(engine, which).restricted
    tap(engine, T0 + 1, key="k2")
    assert not current(engine, which).restricted


def test_a_later_tap_brings_the_newer_position() -> None:
    engine, which = raised()
    moved = fix_at(LatLng(31.24, 121.47), T0 + 60)
    tap(engine, T0 + 60, key="k2", fix=moved)
    assert current(engine, which).fix == moved
    tap(engine, T0 + 70, key="k3", fix=fix_at(at=T0 - 600))
    assert current(engine, which).fix == moved, "a late copy of an old position does not replace it"


# -- who is told ----------------------------------------------------------------------------------------


def test_the_other_party_is_never_told_nor_let_in() -> None:
    place = town()
    place.bookings[ANNA.user] = booked("tec_00")
    engine = engine_in(place)
    effects = tap(engine, fix=fix_at())
    everything = [*told(effects), *(u for _, e in run_until(engine, T0 + 600) for u in told(e))]
    assert "tec_00" not in everything
    assert "tec_05" in told(effects), "somebody else is told instead"
    with pytest.raises(NotFound):
        acknowledge(engine, NEAR, incident_id(effects), T0 + 601)
    assert engine.visible(NEAR) == []


def test_an_other_party_that_becomes_known_later_is_told_no_more() -> None:
    place = town()
    engine, which = raised(place)
    place.bookings[ANNA.user] = booked("tec_00")
    effects = tap(engine, T0 + 5, key="k2")
    assert "tec_00" not in told(effects)
    assert current(engine, which).avoid == ("tec_00",)
    assert any(isinstance(effect, ReviseRights) for effect in effects)


def test_a_booking_that_begins_after_the_tap_still_hides_the_incident_from_its_other_side() -> None:
    place = town()
    engine, which = raised(place)
    place.bookings[ANNA.user] = booked("tec_06")
    everything = [user for _, effects in run_until(engine, T0 + 600) for user in told(effects)]
    assert "tec_06" not in everything
    assert current(engine, which).avoid == ("tec_06",)


def test_when_there_is_nobody_the_ladder_is_climbed_at_once_and_tried_every_few_seconds() -> None:
    place = Neighbourhood()
    engine, which = raised(place)
    assert current(engine, which).level == 3
    assert current(engine, which).deadline == T0 + SETTINGS.unreached_repeat_s
    place.staff[UserId("ops_0")] = SH
    ((at, effects),) = run_until(engine, T0 + 6)
    assert at == T0 + 5
    assert told(effects) == ["ops_0"]


def test_an_alarm_sounds_when_nobody_can_be_told_or_a_look_up_failed() -> None:
    place = Neighbourhood()
    assert "nobody_to_tell" in alarms(tap(engine_in(place)))
    place = town()
    place.broken = {"responders", "ops", "last_fix", "booking", "city_of"}
    effects = tap(engine_in(place), fix=fix_at())
    assert {"responders: RuntimeError", "ops: RuntimeError", "booking: RuntimeError"} <= set(alarms(effects))
    assert answer(effects).incident.deadline is not None


def test_broken_look_ups_that_recover_cost_seconds() -> None:
    place = town()
    place.broken = {"responders", "ops"}
    engine, _ = raised(place)
    place.broken.clear()
    ((at, effects),) = run_until(engine, T0 + 6)
    assert at == T0 + 5
    assert len(told(effects)) > 7


# -- timers ---------------------------------------------------------------------------------------------


def test_the_circle_widens_at_30_60_and_120_s_and_repeats_every_minute_for_ever() -> None:
    engine, which = raised(responders_level_0=2, responders_level_1=4, responders_level_2=6)
    turns = run_until(engine, T0 + 21_600)
    assert [at - T0 for at, _ in turns[:5]] == [30, 60, 120, 180, 240]
    repeats = [e for _, effects in turns for e in effects if getattr(e, "reason", "") == Reason.REPEATED]
    assert len(repeats) == 21_600 / 60
    assert told(turns[0][1]) == ["tec_02", "tec_03"], "those who know ring with the repeat"
    assert next(e for e in turns[0][1] if isinstance(e, UpdateTargets)).incident.level == 1
    assert "ops_bj" in told(turns[1][1])
    assert len(told(turns[2][1])) == 12
    assert current(engine, which).level == 3


def test_nobody_is_told_twice_in_one_turn() -> None:
    engine, _ = raised()
    for _, effects in run_until(engine, T0 + 300):
        assert len(told(effects)) == len(set(told(effects)))


def test_after_a_long_stop_every_level_is_written_down_and_everyone_told_once() -> None:
    engine, which = raised()
    engine.take_changes()
    effects = engine.on_deadline(T0 + 1_000)
    engine.check()
    events = engine.take_changes().events
    assert [event.what for event in events] == ["widened", "widened", "widened", "repeated"]
    assert len(told(effects)) == 12
    assert current(engine, which).deadline == T0 + 1_020, "repeats keep their rhythm"


def test_whoever_comes_on_duty_later_is_told_with_the_next_repeat() -> None:
    place = town()
    engine, _ = raised(place)
    place.staff[UserId("ops_new")] = SH
    (_, first), (_, second) = run_until(engine, T0 + 60)
    assert "ops_new" in told(first) + told(second)


def test_an_acknowledgement_that_nothing_follows_counts_for_three_minutes() -> None:
    engine, which = raised()
    acknowledge(engine, OPS, which, T0 + 10)
    assert run_until(engine, T0 + 189) == []
    ((at, effects),) = run_until(engine, T0 + 190)
    incident = current(engine, which)
    assert at == T0 + 190
    assert (incident.state, incident.level, incident.owner) == (IncidentState.OPEN, 1, None)
    assert len(told(effects)) > 7
    assert [e.incident.seen for e in effects if isinstance(e, AckRaiser)] == [False]
    assert [at - T0 for at, _ in run_until(engine, T0 + 290)] == [220, 250, 280]


def test_an_owner_who_says_so_again_keeps_it() -> None:
    engine, which = raised()
    for n in range(5):
        assert acknowledge(engine, OPS, which, T0 + 10 + 170 * n) == [] or n == 0
    assert run_until(engine, T0 + 10 + 170 * 5) == []
    assert current(engine, which).owner == OPS.user


def test_a_fault_in_one_incidents_timer_can_be_put_off_without_holding_the_others() -> None:
    engine, first = raised()
    second = incident_id(tap(engine, T0 + 1, who=person("cus_bea"), fix=fix_at()))
    assert engine.due(T0 + 30) == [first]
    engine.postpone(first, T0 + 35)
    engine.check()
    assert engine.due(T0 + 31) == [second]
    engine.act(second, T0 + 31)
    assert engine.next_deadline() == T0 + 35


# -- humans ---------------------------------------------------------------------------------------------


def test_the_first_acknowledgement_wins_and_stops_the_paging() -> None:
    engine, which = raised()
    effects = acknowledge(engine, NEAR, which, T0 + 10)
    assert kinds(effects) == [ReviseRights, UpdateTargets, AckRaiser]
    (ack,) = [effect for effect in effects if isinstance(effect, AckRaiser)]
    assert ack.incident.seen
    assert not ack.answer
    with pytest.raises(AlreadyAcknowledged) as caught:
        acknowledge(engine, OPS, which, T0 + 11)
    assert caught.value.owner == "tec_00"
    assert caught.value.code == "already_acknowledged"
    assert "tec_00" in caught.value.message
    assert isinstance(caught.value, Conflict)
    assert run_until(engine, T0 + 60) == []


def test_ops_who_were_not_told_may_take_it_and_hear_of_it_from_then_on() -> None:
    engine, which = raised()
    late = person("ops_late", Role.OPS)
    acknowledge(engine, late, which, T0 + 1)
    assert current(engine, which).targets[-1].user == "ops_late"


def test_a_foreign_incident_looks_like_none() -> None:
    engine, which = raised()
    foreign = [
        OPS_BJ,
        person("tec_07", Role.TECHNICIAN, Role.RESPONDER),
        person("cus_bea"),
        person("ops_0", Role.OPS, tenant=TenantId("other")),
    ]
    for who in foreign:
        messages = set()
        for asked in (which, IncidentId("inc_none")):
            with pytest.raises(NotFound) as caught:
                acknowledge(engine, who, asked, T0 + 1)
            messages.add((caught.value.code, caught.value.message))
            with pytest.raises(NotFound):
                resolve(engine, who, asked, T0 + 1)
        assert len(messages) == 1
        assert engine.visible(who) == []


def test_whoever_it_was_sent_to_may_take_it() -> None:
    engine, which = raised()
    run_until(engine, T0 + 60)
    assert engine.visible(OPS_BJ) != []
    acknowledge(engine, OPS_BJ, which, T0 + 61)
    assert current(engine, which).owner == "ops_bj"


def test_the_subject_can_neither_take_nor_end_it() -> None:
    engine = engine_in(town())
    which = incident_id(tap(engine, who=OPS))
    for attempt in (acknowledge, resolve):
        with pytest.raises(Forbidden, match="cannot handle it"):
            attempt(engine, OPS, which, T0 + 1)
    assert "ops_0" not in [target.user for target in current(engine, which).targets]


def test_an_expired_token_raises_but_does_not_handle() -> None:
    engine, which = raised()
    with pytest.raises(Forbidden, match="expired"):
        acknowledge(engine, replace(OPS, restricted=True), which, T0 + 1)


def test_a_responder_proposes_how_it_ended_and_ops_end_it() -> None:
    engine, which = raised()
    acknowledge(engine, NEAR, which, T0 + 1)
    proposed = resolve(engine, NEAR, which, T0 + 2, "false_accident")
    assert [e.reason for e in proposed if isinstance(e, UpdateTargets)] == [Reason.SECOND_NEEDED]
    assert current(engine, which).is_active
    effects = resolve(engine, OPS, which, T0 + 3, "false_accident")
    assert [e.reason for e in effects if isinstance(e, UpdateTargets)] == [Reason.RESOLVED]
    incident = current(engine, which)
    assert (incident.state, incident.disposition, incident.resolution_note, incident.resolved_by) == (
        IncidentState.RESOLVED,
        "false_accident",
        "spoke to her",
        "ops_0",
    )
    assert engine.next_deadline() is None
    assert engine.active() == []


def test_ops_may_end_what_another_owns() -> None:
    engine, which = raised()
    acknowledge(engine, NEAR, which, T0 + 1)
    resolve(engine, OPS_2, which, T0 + 2)
    assert (current(engine, which).owner, current(engine, which).resolved_by) == ("tec_00", "ops_1")


def test_ending_an_open_incident_is_seeing_it_first() -> None:
    engine, which = raised()
    resolve(engine, OPS, which, T0 + 5)
    events = engine.take_changes().events
    assert [event.what for event in events] == ["raised", "acknowledged", "resolved"]
    assert fold(events) == (IncidentState.RESOLVED, 0)


def test_what_has_ended_cannot_be_taken_nor_ended_otherwise() -> None:
    engine, which = raised()
    resolve(engine, OPS, which, T0 + 5)
    assert resolve(engine, OPS, which, T0 + 6) == [], "the same answer again"
    with pytest.raises(AlreadyResolved):
        acknowledge(engine, OPS, which, T0 + 7)
    for who, disposition in ((OPS, "duplicate"), (OPS_2, "real_handled")):
        with pytest.raises(AlreadyResolved):
            resolve(engine, who, which, T0 + 7, disposition)


def test_a_disposition_is_one_of_the_known_words() -> None:
    engine, which = raised()
    with pytest.raises(Invalid) as caught:
        resolve(engine, OPS, which, T0 + 1, "whatever")
    assert caught.value.field == "disposition"
    assert current(engine, which).state is IncidentState.OPEN


def test_a_delivery_is_counted_once_a_person_and_told_to_the_raiser() -> None:
    engine, which = raised()
    first = engine.handle(DeliveryReceived(ACME, UserId("ops_0"), which), T0 + 1)
    assert [e.incident.delivered for e in first if isinstance(e, AckRaiser)] == [1]
    assert engine.handle(DeliveryReceived(ACME, UserId("ops_0"), which), T0 + 2) == []
    assert engine.handle(DeliveryReceived(ACME, UserId("somebody"), which), T0 + 2) == []
    assert engine.handle(DeliveryReceived(TenantId("other"), UserId("ops_1"), which), T0 + 2) == []
    assert engine.handle(DeliveryReceived(ACME, UserId("ops_1"), IncidentId("inc_none")), T0 + 2) == []
    second = engine.handle(DeliveryReceived(ACME, UserId("ops_1"), which), T0 + 3)
    assert [e.incident.delivered for e in second if isinstance(e, AckRaiser)] == [2]


def test_news_go_to_the_latest_tap_of_each_device() -> None:
    engine, which = raised()
    tap(engine, T0 + 5, key="k2")
    tap(engine, T0 + 10, who=person("cus_anna", device="watch"), key="w1")
    news = [e for e in acknowledge(engine, OPS, which, T0 + 11) if isinstance(e, AckRaiser)]
    assert [(ack.device, ack.key) for ack in news] == [("phone", "k2"), ("watch", "w1")]


# -- keeping --------------------------------------------------------------------------------------------


def reload(engine: SafetyEngine, place: Neighbourhood) -> SafetyEngine:
    changes = engine.take_changes()
    fresh = engine_in(place)
    seqs = {event.incident_id: event.seq for event in changes.events}
    fresh.load(SafetyState(list(changes.incidents.values()), changes.triggers, seqs))
    fresh.check()
    return fresh


def test_timers_keys_and_numbers_survive_a_restart() -> None:
    place = town()
    engine, which = raised(place)
    tap(engine, T0 + 5, key="k2")
    run_until(engine, T0 + 45)
    fresh = reload(engine, place)
    assert fresh.next_deadline() == engine.next_deadline()
    for some in (engine, fresh):
        assert answer(tap(some, T0 + 50, key="k2")).incident.incident_id == which
        acknowledge(some, OPS, which, T0 + 51)
    assert fresh.take_changes().events == engine.take_changes().events
    assert current(fresh, which) == current(engine, which)


def test_one_transaction_is_one_version() -> None:
    engine, which = raised()
    tap(engine, T0 + 5, key="k2")
    acknowledge(engine, OPS, which, T0 + 6)
    assert engine.take_changes().incidents[which].version == 1
    resolve(engine, OPS, which, T0 + 7)
    assert engine.take_changes().incidents[which].version == 2
    assert not engine.take_changes()


def test_changes_not_stored_yet_can_be_put_on_top_of_what_is() -> None:
    place = town()
    engine, which = raised(place)
    changes = engine.take_changes()
    fresh = engine_in(place)
    fresh.load(SafetyState([], [], {}))
    fresh.adopt(changes)
    fresh.check()
    assert incident_id(tap(fresh, T0 + 1)) == which
    acknowledge(fresh, OPS, which, T0 + 2)
    assert fresh.take_changes().events[0].seq == 2


def test_what_ended_long_ago_is_forgotten() -> None:
    engine, which = raised()
    resolve(engine, OPS, which, T0 + 1)
    later = T0 + 1 + SETTINGS.resolved_kept_s
    tap(engine, later - 1, who=person("cus_bea"))
    assert engine.incident(ACME, which) is not None
    tap(engine, later + 1, who=person("cus_cleo"))
    assert engine.incident(ACME, which) is None
    engine.check()
    assert incident_id(tap(engine, later + 2)) != which, "so old a repeat is raised again rather than lost"


def test_an_error_leaves_the_engine_as_it_was() -> None:
    place = town()
    engine, which = raised(place)
    before, _ = current(engine, which), engine.take_changes()

    class BrokenIds:
        def new(self, prefix: str) -> str:
            raise OSError("no randomness")

    engine._taps._ids = BrokenIds()
    with pytest.raises(OSError, match="no randomness"):
        tap(engine, T0 + 5, key="k2")
    engine.check()
    assert current(engine, which) == before
    assert not engine.take_changes()


def test_the_story_is_kept_for_error_messages() -> None:
    engine, which = raised()
    run_until(engine, T0 + 30)
    assert engine.story(which)[0].startswith("1. at")
    assert "level 1" in engine.story(which)[1]


def test_a_broken_rule_is_told_with_its_story() -> None:
    engine, which = raised()
    engine._book.incidents[which] = replace(current(engine, which), repeat_at=None)
    with pytest.raises(AssertionError, match=r"(?s)an incident that nobody owns repeats.*1\. at"):
        engine.check()


def test_staff_are_asked_to_go_before_technicians_who_agreed() -> None:
    place = town(responders=3)
    place.helpers = {UserId(f"aid_{nth}"): (SH, HOME) for nth in range(4)}
    engine = engine_in(place, ladder(offers_parallel=4))
    asked = answer(tap(engine, fix=fix_at())).incident.offers
    assert [offer.user for offer in asked] == ["tec_00", "tec_01", "tec_02", "aid_0"]


def test_who_does_not_consent_any_more_is_neither_told_nor_asked_again_unless_they_go() -> None:
    place = town(responders=0)
    place.helpers = {UserId(f"aid_{nth}"): (SH, HOME) for nth in range(3)}
    engine = engine_in(place)
    which = incident_id(tap(engine, fix=fix_at()))
    engine.handle(ResponseOffered(person("aid_1", Role.TECHNICIAN), which, None), T0 + 1)
    place.helpers = {UserId("aid_2"): (SH, HOME)}
    tap(engine, T0 + 10, key="k2")
    incident = current(engine, which)
    assert {target.user for target in incident.targets} == {"aid_1", "aid_2", "ops_0", "ops_1"}
    assert "aid_0" not in {offer.user for offer in incident.offers}
    assert not may_see(incident, person("aid_0", Role.TECHNICIAN))


def test_who_is_kept_apart_from_the_person_during_the_incident_is_let_go() -> None:
    place = town()
    engine = engine_in(place)
    which = incident_id(tap(engine, fix=fix_at()))
    engine.handle(ResponseOffered(NEAR, which, None), T0 + 1)
    assert current(engine, which).owner == NEAR.user
    place.blocks = {frozenset({ANNA.user, NEAR.user})}
    tap(engine, T0 + 10, key="k2")
    incident = current(engine, which)
    assert (incident.state, incident.owner, incident.slots) == (IncidentState.OPEN, None, ())
    assert not may_see(incident, NEAR)
    place.broken = {"blocks", "consents"}
    tap(engine, T0 + 20, key="k3")
    assert not may_see(current(engine, which), NEAR), "what was found out once is not forgotten"


@pytest.mark.parametrize("state", ["open", "acknowledged", "resolved"])
def test_a_late_answer_is_read_at_once_by_those_who_handle_it_and_ends_nothing(state: str) -> None:
    engine = engine_in(town())
    silence = SosRaised(
        ANNA, SosReport("chk_1"), T0, source=TriggerSource.SYSTEM, kind=IncidentKind.UNCONFIRMED, cause="checkin_missed"
    )
    which = incident_id(engine.handle(silence, T0))
    if state != "open":
        engine.handle(IncidentAcknowledged(OPS, which), T0 + 1)
    if state == "resolved":
        engine.handle(IncidentResolved(OPS, which, "false_test"), T0 + 2)
    before = engine.incident(ACME, which)
    engine.take_changes()
    effects = engine.handle(SubjectAnswered(ACME, ANNA.user, "chk_1"), T0 + 100)
    engine.check()
    after = engine.incident(ACME, which)
    assert before is not None
    assert after is not None
    assert (after.state, after.deadline, after.owner) == (before.state, before.deadline, before.owner)
    told = [target.user for effect in effects if isinstance(effect, UpdateTargets) for target in effect.targets]
    if state == "resolved":
        assert effects == []
        return
    assert told == [target.user for target in after.targets]
    (event,) = engine.take_changes().events
    assert (event.what, event.who, event.detail) == ("noted", ANNA.user, "answered late: ok")


def test_an_answer_to_what_nobody_raised_or_another_did_is_nothing() -> None:
    engine = engine_in(town())
    tap(engine, key="k1")
    engine.take_changes()
    for user, key in (("cus_anna", "k2"), ("cus_bea", "k1")):
        assert engine.handle(SubjectAnswered(ACME, UserId(user), key), T0 + 1) == []
    assert not engine.take_changes()
