"""Whom the engine asks and when, and what becomes of silence: to the second, through answers, changes and restarts."""

from dataclasses import replace
from itertools import pairwise

import pytest

from core.errors import NotFound
from core.ids import IncidentId, OrderId, TenantId, UserId
from safety.care_events import AlarmStored, AskPerson, CareEffect, CheckAnswered, JobChanged, JobsFound
from safety.care_model import Answer, CheckKind, CheckState, Contact, JobState
from safety.care_settings import CareSettings
from tests.unit.safety.careful_street import ANNA, MEI, ORDER, Street, a_job, north, seen_at
from tests.unit.safety.neighbourhood import ACME, SH, T0

CHECK_IN = CheckKind.CHECK_IN


def in_service(**settings: float) -> Street:
    street = Street(CareSettings(**settings))  # type: ignore[arg-type]  # seconds only
    street.job(JobState.IN_SERVICE)
    return street


def test_a_check_in_is_announced_asked_doubted_and_cried_out_at_its_times() -> None:
    street = in_service()
    street.run(T0 + 1_800 + 599)
    assert street.asked() == [
        (1_680, "check_in", "reminded", (MEI,)),
        (1_800, "check_in", "asked", (MEI,)),
    ]
    assert street.first_raised() == [(2_100, "checkin_missed", "unconfirmed", MEI)]
    street.run(T0 + 1_800 + 600)
    assert street.first_raised()[1:] == [(2_400, "checkin_missed", "panic", MEI)]
    assert street.lines() == [(2_100, "unanswered")]


@pytest.mark.parametrize("at_s", [10, 1_700, 1_900])
def test_an_answer_ahead_or_in_time_starts_the_interval_anew(at_s: float) -> None:
    street = in_service()
    street.run(T0 + at_s)
    first = street.check(CHECK_IN)
    street.answer(first)
    street.run(T0 + at_s + 1_799)
    assert street.raised() == []
    street.run(T0 + at_s + 1_800)
    assert street.asked()[-1] == (at_s + 1_800, "check_in", "asked", (MEI,))
    assert street.check(CHECK_IN).check_id != first.check_id


def test_an_answer_after_the_incident_is_told_to_the_console_and_ends_nothing_there() -> None:
    street = in_service()
    street.run(T0 + 2_200)
    street.answer(street.check(CHECK_IN))
    assert street.lines() == [(2_100, "unanswered"), (2_200, "answered_late")]
    street.run(T0 + 2_700)
    assert [row[2] for row in street.first_raised()] == ["unconfirmed"]


def shown(effects: list[CareEffect]) -> list[tuple[str, tuple[UserId, ...]]]:
    return [(e.check.state.value, e.people) for e in effects if isinstance(e, AskPerson)]


def test_no_is_shown_and_asked_again_exactly_as_ok_and_raises_duress() -> None:
    streets = {answer: in_service() for answer in Answer}
    for answer, street in streets.items():
        street.run(T0 + 1_900)
        effects = street.answer(street.check(CHECK_IN), answer)
        assert shown(effects) == [("answered", (MEI,))]
        street.run(T0 + 5_000)
    assert streets[Answer.OK].asked() == streets[Answer.NO].asked() == streets[Answer.HELP].asked()
    assert streets[Answer.NO].first_raised()[0] == (1_900, "checkin_no", "duress", MEI)
    assert streets[Answer.HELP].first_raised()[0] == (1_900, "checkin_help", "panic", MEI)


def test_help_is_raised_also_after_the_answer_was_ok_or_the_check_had_cried_out() -> None:
    street = in_service()
    street.run(T0 + 2_500)
    check = street.check(CHECK_IN)
    for answer in (Answer.OK, Answer.HELP, Answer.HELP, Answer.NO):
        street.answer(check, answer)
    assert [row[1:3] for row in street.first_raised()] == [
        ("checkin_missed", "unconfirmed"),
        ("checkin_missed", "panic"),
        ("checkin_help", "panic"),
        ("checkin_no", "duress"),
    ]


def test_a_strangers_or_unknown_check_is_not_found_but_only_when_all_is_well() -> None:
    street = in_service()
    street.run(T0 + 1_800)
    check_id = street.check(CHECK_IN).check_id
    for tenant, who, asked in ((ACME, ANNA, check_id), (TenantId("other"), MEI, check_id), (ACME, MEI, "chk_none")):
        with pytest.raises(NotFound):
            street.tell(CheckAnswered(tenant, who, asked, Answer.OK))
        assert street.tell(CheckAnswered(tenant, who, asked, Answer.HELP)) == []
    assert street.check(CHECK_IN).state is CheckState.ASKED


def test_intervals_go_by_service_then_tenant_and_zero_means_none() -> None:
    settings = CareSettings(check_in_s_of_tenant={"acme": 600.0}, check_in_s_of_service={"sauna": 0.0})
    assert settings.interval_s(ACME, "massage") == 600.0
    assert settings.interval_s(TenantId("other"), "massage") == 1_800.0
    street = Street(settings)
    street.job(JobState.IN_SERVICE, service="sauna")
    assert street.watch().open_check(CHECK_IN) is None
    assert street.watch().open_check(CheckKind.OVERDUE) is not None
    for wrong in ({"check_in_s": 60.0}, {"check_in_s_of_service": {"x": 10.0}}, {"panic_s": 100.0}):
        with pytest.raises(ValueError, match="must be"):
            CareSettings(**wrong)


# -- the plan of a job ----------------------------------------------------------------------------------


def test_an_overdue_service_is_asked_of_both_and_raised_when_its_technician_is_silent() -> None:
    street = in_service(check_in_s=0)
    street.run(T0 + 6_000)
    assert street.asked() == [(6_000, "overdue", "asked", (MEI, ANNA))]
    street.answer(street.check(CheckKind.OVERDUE), Answer.OK, who=ANNA)
    street.run(T0 + 6_300)
    assert street.first_raised() == [(6_300, "service_overdue", "unconfirmed", MEI)]
    assert street.check(CheckKind.OVERDUE).said == ((ANNA, Answer.OK),)


def test_the_customer_can_call_for_help_for_themselves() -> None:
    street = in_service(check_in_s=0)
    street.run(T0 + 6_000)
    street.answer(street.check(CheckKind.OVERDUE), Answer.HELP, who=ANNA)
    street.answer(street.check(CheckKind.OVERDUE), Answer.HELP, who=MEI)
    assert [row[1:] for row in street.first_raised()] == [
        ("checkin_help", "panic", ANNA),
        ("checkin_help", "panic", MEI),
    ]


def test_an_answered_overdue_service_is_asked_about_again() -> None:
    street = in_service(check_in_s=0)
    street.run(T0 + 6_100)
    street.answer(street.check(CheckKind.OVERDUE))
    street.run(T0 + 6_700)
    assert street.asked()[-1] == (6_700, "overdue", "asked", (MEI, ANNA))


def test_added_time_moves_the_question_also_one_that_is_asked_already() -> None:
    street = in_service(check_in_s=0)
    street.run(T0 + 6_100)
    street.job(JobState.IN_SERVICE, since=T0, ends_at=T0 + 7_200.0)
    assert street.asked()[-1][1:3] == ("overdue", "dropped")
    street.run(T0 + 7_799)
    assert street.raised() == []
    street.run(T0 + 7_800)
    assert street.asked()[-1][1:3] == ("overdue", "asked")


def test_who_does_not_arrive_is_asked_ten_minutes_after_the_estimate_and_missed_at_fifteen() -> None:
    street = Street()
    street.job()
    street.run(T0 + 2_100)
    assert street.asked() == [(1_800, "arrival", "asked", (MEI,))]
    assert street.first_raised() == [(2_100, "arrival_overdue", "unconfirmed", MEI)]


def test_a_way_of_unknown_length_ends_all_the_same() -> None:
    street = Street()
    street.job(expected_at=None)
    street.run(T0 + 3_600 + 600)
    assert [row[:3] for row in street.asked()] == [(4_200, "arrival", "asked")]


def test_the_next_step_ends_the_question_of_the_last_one() -> None:
    street = Street()
    street.job()
    street.run(T0 + 1_900)
    street.job(JobState.ARRIVED)
    assert street.asked()[-1] == (1_900, "arrival", "dropped", (MEI,))
    street.run(T0 + 9_000)
    assert street.raised() == []


def test_who_does_not_leave_is_asked_and_then_lost() -> None:
    street = in_service()
    street.job(JobState.FINISHED)
    street.run(T0 + 900)
    assert street.asked() == [(600, "leaving", "asked", (MEI,))]
    assert street.first_raised() == [(900, "lost_leaving", "unconfirmed", MEI)]
    street.job(JobState.OVER)
    assert street.engine.watch(ORDER) is None


def test_who_sets_out_for_the_next_job_has_left() -> None:
    street = in_service()
    street.job(JobState.FINISHED)
    street.run(T0 + 650)
    street.job(JobState.EN_ROUTE, order_id=OrderId("ord_2"), version=1)
    assert street.engine.watch(ORDER) is None
    assert street.asked()[-1] == (650, "leaving", "dropped", (MEI,))
    assert street.job(JobState.FINISHED, version=9) == []
    assert street.engine.watch(ORDER) is None


def test_another_technician_gets_a_watch_of_their_own_and_an_older_fact_changes_nothing() -> None:
    street = Street()
    street.job()
    first = street.watch().watch_id
    assert street.tell(JobChanged(a_job(JobState.ARRIVED, version=1))) == []
    assert street.watch().job.state is JobState.EN_ROUTE
    street.job(technician=UserId("tec_li"))
    assert street.watch().watch_id != first
    assert street.stored[first].ended_at == T0
    street.run(T0 + 1_900)
    assert street.asked() == [(1_800, "arrival", "asked", (UserId("tec_li"),))]


# -- what is seen ---------------------------------------------------------------------------------------


def drive(street: Street, to_s: float, metres_at: list[tuple[float, float]], east_m: float = 0.0) -> None:
    """Move along (second, metres north of the place), a position every ten seconds."""
    at_s = street.now - T0
    while at_s < to_s:
        at_s += 10.0
        legs = pairwise(metres_at)
        metres = next(
            (m0 + (m1 - m0) * (at_s - t0) / (t1 - t0) for (t0, m0), (t1, m1) in legs if t0 <= at_s <= t1),
            metres_at[-1][1],
        )
        street.phones.known[MEI] = seen_at(north(metres, east_m), T0 + at_s)
        street.run(T0 + at_s)


def test_a_stop_of_eight_minutes_is_asked_about_and_raised_two_minutes_later() -> None:
    street = Street()
    street.job(expected_at=T0 + 9_000)
    drive(street, 900, [(0, 6_000), (200, 4_000), (10_000, 4_000)])
    asked = [row for row in street.asked() if row[1] == "stop"]
    assert [row[2] for row in asked] == ["asked"]
    assert 200 + 480 - 60 <= asked[0][0] <= 200 + 480 + 20
    assert street.first_raised() == [(asked[0][0] + 120, "abnormal_stop", "unconfirmed", MEI)]


def test_red_lights_and_known_places_are_no_stop() -> None:
    street = Street()
    street.job(expected_at=T0 + 90_000)
    lights = [(0.0, 6_000.0)]
    for n in range(1, 20):  # 90 s of standing, 30 s of driving
        lights += [(n * 120.0 - 30, 6_000.0 - (n - 1) * 300), (n * 120.0, 6_000.0 - n * 300)]
    drive(street, 2_280, lights)
    assert street.asked() == []
    waiting = Street()
    waiting.job(expected_at=T0 + 90_000)
    drive(waiting, 2_000, [(0, 6_000), (10_000, 6_000)])  # where they set out
    assert waiting.asked() == []


def test_a_stop_that_was_answered_is_not_asked_about_again_and_one_that_goes_on_is_dropped() -> None:
    street = Street()
    street.job(expected_at=T0 + 90_000)
    drive(street, 720, [(0, 6_000), (200, 4_000), (90_000, 4_000)])
    street.answer(street.check(CheckKind.STOP))
    drive(street, 4_000, [(0, 4_000)])
    assert [row[2] for row in street.asked()] == ["asked", "answered"]
    other = Street()
    other.job(expected_at=T0 + 90_000)
    drive(other, 690, [(0, 6_000), (200, 4_000), (690, 4_000)])
    drive(other, 800, [(690, 4_000), (790, 3_000), (90_000, 3_000)])
    assert [row[2] for row in other.asked()] == ["asked", "dropped"]
    assert other.raised() == []


def test_a_detour_of_three_minutes_is_asked_about() -> None:
    street = Street()
    street.job(expected_at=T0 + 90_000)
    drive(street, 60, [(0, 3_000), (100, 2_500)])
    assert street.asked() == []
    drive(street, 600, [(0, 2_000), (1_000, 4_000)], east_m=6_000.0)
    asked = [row for row in street.asked() if row[1] == "detour"]
    assert asked[0][2] == "asked"
    assert 240 <= asked[0][0] <= 270


def test_silence_is_told_at_three_minutes_raised_at_ten_and_told_when_it_ends() -> None:
    street = Street()
    street.job(JobState.IN_SERVICE)
    street.run(T0 + 100)
    street.phones.known[MEI] = Contact(T0 + 100)
    street.run(T0 + 700)
    assert [line for line in street.lines() if line[1] == "lost_contact"] == [(300, "lost_contact")]
    assert street.first_raised() == [(700, "silence", "unconfirmed", MEI)]
    street.phones.known[MEI] = Contact(T0 + 701)
    street.run(T0 + 760)
    assert street.lines()[-1][1] == "contact_back"
    assert [a for a in street.asked() if a[1] == "silence"] == []


def test_an_answer_is_a_sign_of_life_and_who_is_heard_in_time_is_no_incident() -> None:
    street = Street()
    street.job(JobState.IN_SERVICE)
    street.phones.known[MEI] = Contact(T0)
    street.run(T0 + 400)
    street.answer(street.check(CHECK_IN))
    street.run(T0 + 500)
    assert [line for _, line in street.lines()] == ["lost_contact", "contact_back"]
    assert street.raised() == []


# -- crashes and clocks ---------------------------------------------------------------------------------


def test_an_alarm_is_raised_with_one_key_until_it_is_known_to_be_stored_also_after_a_restart() -> None:
    street = in_service()
    street.run(T0 + 2_106)
    assert len(street.raised()) == 2
    street.restart()
    street.run(T0 + 2_107)
    assert len(street.raised()) == 3
    assert len(street.first_raised()) == 1
    watch = street.watch()
    street.tell(AlarmStored(watch.watch_id, watch.alarms[0].key, IncidentId("inc_1")))
    street.restart()
    street.run(T0 + 2_350)
    assert len(street.raised()) == 3
    assert street.watch().alarms[0].incident == "inc_1"


def test_an_alarm_outlives_its_job() -> None:
    street = in_service()
    street.run(T0 + 2_101)
    alarm = street.watch().alarms[0]
    watch_id = street.watch().watch_id
    street.job(JobState.OVER)
    street.restart()
    street.run(T0 + 2_110)
    assert len(street.raised()) >= 2
    street.tell(AlarmStored(watch_id, alarm.key, IncidentId("inc_1")))
    assert street.engine.next_deadline() is None
    assert street.stored[watch_id].pending == ()


def test_a_restart_keeps_every_time_and_gives_who_was_asked_a_minute_once() -> None:
    street = in_service()
    street.run(T0 + 1_810)
    street.restart(after_s=250)
    street.run(T0 + 2_119)
    assert street.first_raised() == []
    street.restart()
    street.run(T0 + 2_120)
    assert street.first_raised() == [(2_120, "checkin_missed", "unconfirmed", MEI)]


def test_who_could_not_be_asked_in_time_is_given_the_whole_time_from_then_on() -> None:
    street = in_service()
    street.run(T0 + 10)
    street.restart(after_s=3_600)
    street.run(T0 + 3_611)
    assert street.asked() == [(3_610, "check_in", "asked", (MEI,))]
    street.run(T0 + 3_909)
    assert street.raised() == []
    street.run(T0 + 4_210)
    assert [row[0] for row in street.first_raised()] == [3_910, 4_210]


def test_nobody_listened_before_the_server_began_so_that_is_no_silence() -> None:
    street = Street()
    street.job(JobState.IN_SERVICE)
    street.phones.known[MEI] = Contact(0.0)
    street.restart(after_s=900)
    street.run(T0 + 900 + 170)
    assert street.lines() == []
    street.run(T0 + 900 + 211)
    assert street.lines() == [(1_080, "lost_contact")]


def test_a_long_stop_survives_a_restart() -> None:
    street = Street()
    street.job(expected_at=T0 + 90_000)
    drive(street, 500, [(0, 6_000), (200, 4_000), (90_000, 4_000)])
    street.restart()
    drive(street, 720, [(0, 4_000)])
    assert [row[1] for row in street.asked()] == ["stop"]


def test_after_a_start_what_dispatch_has_decides_but_only_of_cities_that_could_be_read() -> None:
    street = Street()
    street.job()
    street.job(JobState.IN_SERVICE, order_id=OrderId("ord_2"), version=1, technician=UserId("tec_li"))
    street.restart()
    street.tell(JobsFound([a_job(JobState.ARRIVED, version=5)], frozenset()))
    assert street.engine.watch(OrderId("ord_2")) is not None
    assert street.watch().job.state is JobState.ARRIVED
    lost = a_job(JobState.IN_SERVICE, order_id=OrderId("ord_3"), version=3)
    street.tell(JobsFound([lost], frozenset({(ACME, SH)})))
    assert [watch.job.order_id for watch in street.engine.watches()] == ["ord_3"]


def test_a_timer_that_fails_is_put_off_and_the_others_act() -> None:
    street = in_service()
    watch_id = street.watch().watch_id
    street.engine.postpone(watch_id, T0 + 50)
    assert street.engine.next_deadline() == T0 + 50
    street.engine.postpone(watch_id, T0 + 20)
    assert street.engine.next_deadline() == T0 + 50


def test_too_many_checks_of_one_job_forget_the_oldest_that_ended() -> None:
    street = in_service()
    for n in range(260):
        street.now = T0 + n
        street.answer(street.check(CHECK_IN))
    watch = street.watch()
    assert len(watch.checks) == 200
    assert watch.open_check(CheckKind.OVERDUE) is not None
    assert watch.open_check(CHECK_IN) is not None


def test_what_somebody_is_asked_is_listed_for_them_until_they_answer() -> None:
    street = in_service(check_in_s=0)
    assert street.engine.asked_of(ACME, MEI) == []
    street.run(T0 + 6_000)
    assert [c.kind.value for _, c in street.engine.asked_of(ACME, ANNA)] == ["overdue"]
    street.answer(street.check(CheckKind.OVERDUE), who=ANNA)
    assert street.engine.asked_of(ACME, ANNA) == []
    assert [c.kind.value for _, c in street.engine.asked_of(ACME, MEI)] == ["overdue"]
    assert street.engine.asked_of(TenantId("other"), MEI) == []


def test_the_engine_names_what_is_broken() -> None:
    street = in_service()
    watch = street.watch()
    street.engine._watches[watch.watch_id] = replace(watch, checks=())
    with pytest.raises(AssertionError, match="ord_1: its state's questions are planned"):
        street.engine.check()
