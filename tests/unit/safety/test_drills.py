"""Drills: asked once for a while, passed with a time, skipped by time, and never in anybody's way."""

import pytest

from core.ids import CityId, TenantId, UserId
from safety.care_settings import DrillSettings
from safety.drills import Drill, DrillPassed, Drills, DrillState, DutyBegan
from tests.unit.safety.neighbourhood import ACME, SH, T0, CountingIds

MEI = UserId("tec_mei")
BEGAN = DutyBegan(ACME, MEI, SH)


def make(ask: bool = True, answer_s: float = 300.0, valid_s: float = 3_600.0) -> Drills:
    return Drills(DrillSettings(ask, answer_s, valid_s), CountingIds())


def states(drills: Drills) -> list[tuple[DrillState, float | None]]:
    return [(d.state, d.round_trip_ms) for d in drills.take_changes().values()]


def test_a_drill_is_asked_passed_and_stands_for_a_while() -> None:
    drills = make()
    asked = drills.handle(BEGAN, T0)[0].drill
    assert drills.handle(BEGAN, T0 + 1) == []
    passed = drills.handle(DrillPassed(ACME, MEI, SH, 7.5), T0 + 20)[0].drill
    assert (passed.drill_id, passed.ended_at) == (asked.drill_id, T0 + 20)
    assert states(drills) == [(DrillState.PASSED, 7.5)]
    assert drills.handle(BEGAN, T0 + 3_599) == []
    assert drills.on_deadline(T0 + 3_600) == []
    assert drills.handle(BEGAN, T0 + 3_600) != []


def test_a_drill_that_nobody_answers_is_skipped_and_asked_for_at_the_next_start() -> None:
    drills = make()
    drills.handle(BEGAN, T0)
    assert drills.next_deadline() == T0 + 300
    assert drills.on_deadline(T0 + 299) == []
    assert [e.drill.state for e in drills.on_deadline(T0 + 300)] == [DrillState.SKIPPED]
    assert drills.handle(BEGAN, T0 + 400) != []


def test_a_drill_may_be_tried_unasked_and_again() -> None:
    drills = make(ask=False)
    assert drills.handle(BEGAN, T0) == []
    first = drills.handle(DrillPassed(ACME, MEI, SH, 1.0), T0)[0].drill
    second = drills.handle(DrillPassed(ACME, MEI, SH, 2.0), T0 + 1)[0].drill
    assert first.drill_id != second.drill_id
    assert drills.last(ACME, MEI) == second
    assert drills.of(ACME, frozenset({SH})) == [second]
    assert drills.of(ACME, frozenset({CityId("beijing")})) == drills.of(TenantId("other"), frozenset({SH})) == []


def test_a_restart_knows_what_was_asked_and_skips_it_at_its_time() -> None:
    before, after = make(), make()
    before.handle(BEGAN, T0)
    stored: list[Drill] = list(before.take_changes().values())
    after.load(stored)
    assert after.handle(BEGAN, T0 + 10) == []
    assert len(after.on_deadline(T0 + 300)) == 1
    again = make()
    again.load(stored)
    again.adopt(after.take_changes())
    assert [d.state for d in again.of(ACME, frozenset({SH}))] == [DrillState.SKIPPED]


def test_a_drill_that_is_required_must_stand_for_a_while() -> None:
    DrillSettings(required=True)
    with pytest.raises(ValueError, match="valid_s must be at least 60 when a drill is required"):
        DrillSettings(required=True, valid_s=30)
