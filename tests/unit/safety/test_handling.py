"""Owning, joining, noting."""

from dataclasses import replace

import pytest

from core.errors import Invalid, NotFound
from core.ids import UserId
from safety.errors import AlreadyAcknowledged, AlreadyResolved
from safety.events import CallOutcome, CallTo, NoteTaken, Reason, SubjectOffDuty
from safety.handling import NOTE_LEN_MAX
from safety.model import IncidentState
from tests.unit.safety.desk import desk, responder, updates
from tests.unit.safety.neighbourhood import OPS, OPS_2, OPS_BJ


def test_the_first_owns_it_the_second_is_told_who_and_may_join() -> None:
    one = desk()
    one.ack(OPS)
    with pytest.raises(AlreadyAcknowledged) as caught:
        one.ack(OPS_2)
    assert caught.value.owner == OPS.user
    assert one.incident.owner == OPS.user


def test_who_joins_hears_what_becomes_of_it_and_owns_nothing() -> None:
    one = desk()
    one.ack(OPS)
    late = replace(OPS_2, user=UserId("ops_late"))
    assert updates(one.join(late)) == [Reason.JOINED]
    assert "ops_late" in {t.user for t in one.incident.targets}
    assert one.join(late) == []
    assert one.incident.owner == OPS.user


def test_a_note_is_in_the_history_and_told() -> None:
    one = desk()
    one.engine.take_changes()
    assert updates(one.note("  police are there  ")) == [Reason.NOTED]
    (event,) = one.engine.take_changes().events
    assert (event.what, event.who, event.detail, event.state) == ("noted", OPS.user, "police are there", "open")


def test_a_call_says_whom_and_what_came_of_it() -> None:
    one = desk()
    one.engine.take_changes()
    assert updates(one.call(CallOutcome.VOICEMAIL, CallTo.EMERGENCY_CONTACT)) == [Reason.CALLED]
    assert [event.detail for event in one.engine.take_changes().events] == ["emergency_contact voicemail"]
    assert not one.incident.called_at, "nobody called the subject"
    one.call(CallOutcome.NO_ANSWER)
    assert (one.incident.called_at, one.incident.reached_at) == (one.now, None)
    one.call(CallOutcome.REACHED)
    assert one.incident.reached_at == one.now


def test_a_long_note_is_cut_and_an_empty_or_half_one_refused() -> None:
    one = desk()
    one.engine.take_changes()
    one.note("x" * 2_000)
    assert len(one.engine.take_changes().events[0].detail) == NOTE_LEN_MAX
    for text, to, outcome, field in (
        ("  ", None, None, "text"),
        ("x", CallTo.SUBJECT, None, "outcome"),
        ("x", None, CallOutcome.REACHED, "outcome"),
    ):
        with pytest.raises(Invalid) as caught:
            one.do(NoteTaken(OPS, one.which, text, to, outcome))
        assert caught.value.field == field


def test_nobody_acts_on_what_they_cannot_see_or_what_has_ended() -> None:
    one = desk()
    for act in (one.ack, one.join):
        for stranger in (OPS_BJ, responder(7)):
            with pytest.raises(NotFound):
                act(stranger)
    one.resolve()
    for act in (one.ack, one.join):
        with pytest.raises(AlreadyResolved):
            act(OPS_2)
    assert one.incident.state is IncidentState.RESOLVED


def test_going_off_duty_in_an_alarm_is_a_line_of_its_story_and_ends_nothing() -> None:
    one = desk()
    one.engine.take_changes()
    before = one.incident
    effects = one.engine.handle(SubjectOffDuty(before.tenant, before.subject), one.now)
    assert updates(effects) == [Reason.NOTED]
    (event,) = one.engine.take_changes().events
    assert (event.what, event.who, event.state) == ("off_duty", before.subject, before.state)
    assert one.incident.deadline == before.deadline
    assert one.engine.handle(SubjectOffDuty(before.tenant, UserId("somebody")), one.now) == []
