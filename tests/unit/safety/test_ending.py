"""Two people where it matters; reopening; closing by another."""

import pytest

from core.errors import Conflict, Forbidden
from safety.errors import AlreadyResolved, SecondNeeded
from safety.events import CancelAsked, NotifyTargets, Reason, SosRaised
from safety.model import CapStatus, IncidentKind, IncidentState, PinVerdict, SosReport
from tests.unit.safety.desk import Desk, desk, responder, updates
from tests.unit.safety.neighbourhood import ANNA, NEAR, OPS, OPS_2, OPS_BJ, answer


def end_another(one: Desk, how: str) -> None:
    """The next incident of the same person, long after, ended by one of ops."""
    one.now += 4_000
    one.engine.handle(SosRaised(ANNA, SosReport(f"k{one.now}"), one.now), one.now)
    (one.which,) = [i.incident_id for i in one.engine.active()]
    one.resolve(how)


def test_one_of_ops_ends_an_ordinary_one() -> None:
    one = desk()
    one.resolve("real_handled")
    assert one.incident.state is IncidentState.RESOLVED
    assert one.resolve("real_handled") == [], "the same answer again"
    with pytest.raises(AlreadyResolved):
        one.resolve("duplicate")
    with pytest.raises(AlreadyResolved):
        one.resolve("real_handled", OPS_2)


@pytest.mark.parametrize("case", ["duress", "unreachable"])
def test_duress_and_unreachable_take_two_of_ops(case: str) -> None:
    one = desk()
    if case == "duress":
        one.do(CancelAsked(ANNA, one.which, PinVerdict.DURESS))
    how = "unreachable" if case == "unreachable" else "real_handled"
    assert updates(one.resolve(how)) == [Reason.SECOND_NEEDED]
    assert one.incident.is_active
    with pytest.raises(SecondNeeded):
        one.resolve(how)
    one.resolve(how, NEAR)  # a responder's word makes no second of ops
    assert one.incident.is_active
    one.resolve(how, OPS)
    one.resolve(how, OPS_2)
    assert (one.incident.state, one.incident.resolved_by) == (IncidentState.RESOLVED, OPS_2.user)


def test_two_who_say_different_things_end_nothing() -> None:
    one = desk()
    one.do(CancelAsked(ANNA, one.which, PinVerdict.DURESS))
    one.resolve("real_handled", OPS)
    one.resolve("false_accident", OPS_2)
    assert one.incident.is_active
    one.resolve("false_accident", OPS)
    assert one.incident.state is IncidentState.RESOLVED


def test_the_second_false_accident_in_a_row_of_one_person_takes_two() -> None:
    one = desk()
    one.resolve("false_accident")
    end_another(one, "false_accident")
    assert one.incident.is_active
    one.resolve("false_accident", OPS_2)
    assert one.incident.state is IncidentState.RESOLVED
    end_another(one, "real_handled")
    assert one.incident.state is IncidentState.RESOLVED
    end_another(one, "false_accident")
    assert one.incident.state is IncidentState.RESOLVED, "the row was broken"


def test_ops_open_a_resolved_one_again_for_half_an_hour() -> None:
    one = desk(reopen_s=1_800)
    one.resolve()
    effects = one.reopen(OPS_2)
    incident = one.incident
    assert (incident.state, incident.owner, incident.disposition, incident.level) == (IncidentState.OPEN, None, "", 0)
    assert [e.reason for e in effects if isinstance(e, NotifyTargets)] == [Reason.REOPENED]
    assert one.reopen() == [], "it is open"
    one.resolve()
    one.run(1_801)
    with pytest.raises(AlreadyResolved):
        one.reopen()


def test_a_drill_that_was_followed_by_another_is_not_opened_beside_it() -> None:
    one = desk()
    for key in ("d1", "d2"):
        drill = SosRaised(ANNA, SosReport(key), one.now, cap_status=CapStatus.EXERCISE)
        ack = answer(one.engine.handle(drill, one.now))
        one.which = ack.incident.incident_id if key == "d1" else one.which
        if key == "d1":
            one.resolve("false_test")
    with pytest.raises(AlreadyResolved):
        one.reopen()
    one.engine.check()


def test_closing_is_for_another_than_who_resolved_it() -> None:
    one = desk()
    with pytest.raises(Conflict) as caught:
        one.close(OPS_2)
    assert caught.value.code == "not_resolved"
    one.resolve()
    with pytest.raises(Conflict) as caught:
        one.close(OPS)
    assert caught.value.code == "other_person_needed"
    one.close(OPS_2)
    assert (one.incident.state, one.incident.closed_by) == (IncidentState.CLOSED, OPS_2.user)
    assert one.close(OPS_2) == []
    with pytest.raises(AlreadyResolved):
        one.reopen()
    with pytest.raises(AlreadyResolved):
        one.resolve()
    with pytest.raises(AlreadyResolved):
        one.note("late")


def test_one_may_close_their_own_where_the_house_allows_but_never_after_duress() -> None:
    one = desk(close_by_other=False)
    one.resolve()
    one.close(OPS)
    forced = desk(close_by_other=False)
    forced.do(CancelAsked(ANNA, forced.which, PinVerdict.DURESS))
    forced.resolve("real_handled", OPS)
    forced.resolve("real_handled", OPS_2)
    assert forced.incident.kind is IncidentKind.DURESS
    with pytest.raises(Conflict):
        forced.close(OPS_2)
    forced.close(OPS)


def test_only_ops_of_the_city_reopen_and_close() -> None:
    one = desk()
    one.resolve()
    for act in (one.reopen, one.close):
        with pytest.raises(Forbidden):
            act(responder(0))
        with pytest.raises(Exception, match="no such incident"):
            act(OPS_BJ)


def test_a_resolved_one_takes_notes_and_a_tap_after_it_was_closed_is_new() -> None:
    one = desk()
    one.resolve()
    one.note("she thanks us")
    one.close(OPS_2)
    old = one.which
    one.do(SosRaised(ANNA, SosReport("k2"), one.now))
    assert [i.incident_id for i in one.engine.active()] != [old]
