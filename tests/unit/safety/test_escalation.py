"""Whom an incident reaches at each level."""

import itertools
from dataclasses import replace

import pytest

from core.ids import CityId, UserId
from geo.point import LatLng
from safety.escalation import Why, find_targets, level_gap_s, merge_targets
from safety.incident import LEVEL_LAST
from safety.model import Incident, Target
from safety.ranking import Group, place_in_line
from safety.settings import SafetySettings
from tests.unit.safety.neighbourhood import HOME, SH, T0, Neighbourhood, answer, engine_in, fix_at, tap, town

SMALL = SafetySettings(responders_level_0=2, responders_level_1=4, responders_level_2=6)


def incident_at(level: int, place: Neighbourhood | None = None) -> Incident:
    made = answer(tap(engine_in(place or town()), fix=fix_at())).incident
    return replace(made, level=level, targets=())


def users(place: Neighbourhood, incident: Incident) -> list[str]:
    return [t.user for t in find_targets(place, SMALL, incident, T0).targets]


def test_level_0_is_the_nearest_responders_and_the_ops_of_the_city() -> None:
    found = find_targets(town(), SMALL, incident_at(0), T0)
    assert [(t.user, t.why) for t in found.targets] == [
        ("tec_00", Why.NEAREST),
        ("tec_01", Why.NEAREST),
        ("ops_0", Why.OPS_CITY),
        ("ops_1", Why.OPS_CITY),
    ]
    assert found.targets[0].distance_m == pytest.approx(1_000, rel=0.01)
    assert found.failures == ()


def test_each_level_contains_the_one_below() -> None:
    place = town()
    levels = [set(users(place, incident_at(level))) for level in range(LEVEL_LAST + 1)]
    for below, above in itertools.pairwise(levels):
        assert below < above
    assert "ops_bj" in levels[2]
    assert "tec_bj" in levels[3]


def test_level_3_is_everyone() -> None:
    place = town()
    assert set(users(place, incident_at(3))) == set(place.people) | set(place.staff)


def test_the_subject_and_the_other_party_are_left_out_without_shortening_the_list() -> None:
    place = town()
    incident = replace(incident_at(0), subject=UserId("tec_00"), avoid=(UserId("tec_01"), UserId("ops_0")))
    assert users(place, incident) == ["tec_02", "tec_03", "ops_1"]


def test_responders_of_whom_nobody_knows_where_they_are_come_last_but_come() -> None:
    place = town(responders=1)
    place.people[UserId("aaa")] = (place.people[UserId("tec_00")][0], None)
    assert users(place, incident_at(0))[:2] == ["tec_00", "aaa"]


def test_without_a_position_of_the_subject_any_responders_are_told() -> None:
    incident = replace(incident_at(0), fix=None)
    assert len(users(town(), incident)) == 4


@pytest.mark.parametrize("level", range(LEVEL_LAST + 1))
def test_when_nobody_can_say_who_is_near_all_responders_are_told(level: int) -> None:
    place = town()
    place.broken = {"responders_of_city"}
    found = find_targets(place, SMALL, incident_at(level), T0)
    assert {t.user for t in found.targets} >= set(place.people) | {"ops_0", "ops_1"}
    assert found.failures == ("responders: RuntimeError",)


def test_when_no_responder_can_be_found_ops_are_told() -> None:
    place = town()
    place.broken = {"responders"}
    assert users(place, incident_at(0)) == ["ops_0", "ops_1"]


def near(name: str, metres: float) -> tuple[UserId, tuple[CityId, LatLng]]:
    return UserId(name), (SH, LatLng(HOME.lat_deg + metres / 111_195, HOME.lng_deg))


def test_staff_are_told_before_technicians_who_agreed_however_near_these_are() -> None:
    place = town(responders=1, ops=1)
    place.helpers = dict([near("tec_helps", 100.0), near("tec_helps_too", 200.0)])
    found = find_targets(place, SMALL, incident_at(0), T0).targets
    assert [t.user for t in found] == ["tec_00", "tec_helps", "ops_0"]
    assert [t.approach.group if t.approach else "" for t in found] == [Group.STAFF, Group.CONSENTING, ""]
    assert found[0].approach is not None
    assert found[0].approach.eta_s == pytest.approx(1_000 / SMALL.responder_mps, rel=0.01)


@pytest.mark.parametrize("level", range(LEVEL_LAST + 1))
def test_a_failure_with_those_who_agreed_costs_nobody_else(level: int) -> None:
    place = town()
    place.broken = {"consents"}
    found = find_targets(place, SMALL, incident_at(level), T0)
    assert [t.user for t in found.targets] == users(town(), incident_at(level))
    assert found.failures[0] == "consenting responders: RuntimeError"


def test_when_the_ranking_fails_staff_of_all_cities_are_told_in_any_order() -> None:
    place = town()
    place.broken = {"distances"}
    assert set(users(place, incident_at(0))) == set(place.people) | {"ops_0", "ops_1"}


def test_who_is_kept_apart_from_the_person_is_never_told_and_shortens_no_list() -> None:
    place = town()
    subject = incident_at(0).subject
    place.staff[UserId("tec_03")] = SH
    place.blocks = {frozenset({subject, UserId(name)}) for name in ("tec_00", "tec_01", "tec_02", "tec_03")}
    assert users(place, incident_at(0)) == ["tec_04", "tec_05", "ops_0", "ops_1"]
    assert not set(users(place, incident_at(3))) & {"tec_00", "tec_01", "tec_02", "tec_03"}
    place.broken = {"blocks"}
    found = find_targets(place, SMALL, incident_at(0), T0)
    assert [t.user for t in found.targets][:2] == ["tec_00", "tec_01"], "who cannot be asked about is told"
    assert found.failures == ("kept_apart: RuntimeError",)


def test_a_quiet_phone_takes_nobodys_place_and_is_told_all_the_same() -> None:
    place = town(responders=14, ops=1)
    place.quiet = {UserId("tec_00"), UserId("tec_13")}
    found = [t.user for t in find_targets(place, SMALL, incident_at(0), T0).targets]
    assert found == ["tec_01", "tec_02", "tec_00", "ops_0"], "two who are heard, and the quiet one near"
    assert "tec_13" not in users(place, incident_at(1))
    assert "tec_13" in users(place, incident_at(2)), "from level 2 on no quiet phone is left out"


def test_when_all_are_quiet_the_nearest_of_them_are_told() -> None:
    place = town(responders=3, ops=1)
    place.quiet = set(place.people)
    assert users(place, incident_at(0)) == ["tec_00", "tec_01", "tec_02", "ops_0"]


@pytest.mark.parametrize("level", range(LEVEL_LAST + 1))
def test_nobody_is_told_twice_and_the_line_is_in_order_at_each_level(level: int) -> None:
    place = town(responders=12)
    place.helpers = dict(near(f"tec_{n:02d}" if n < 3 else f"helper_{n}", 150.0 * n) for n in range(8))
    place.quiet = {UserId("tec_04"), UserId("helper_5")}
    found = find_targets(place, SMALL, incident_at(level), T0).targets
    assert len({t.user for t in merge_targets(incident_at(level), found)}) == len({t.user for t in found})
    line = [t for t in found if t.why in (Why.NEAREST, Why.NEARBY)]
    assert len({t.user for t in line}) == len(line)
    assert line == sorted(line, key=lambda t: place_in_line(t.user, t.distance_m, t.approach))


def test_when_ops_cannot_be_found_responders_are_told() -> None:
    place = town()
    place.broken = {"ops"}
    found = find_targets(place, SMALL, incident_at(0), T0)
    assert [t.user for t in found.targets] == ["tec_00", "tec_01"]
    assert found.failures == ("ops: RuntimeError", "all_ops: RuntimeError")


def test_merging_keeps_those_told_before_and_adds_the_new_once() -> None:
    old = Target(UserId("a"), "x", 0, 500.0, told_at=T0, received_at=T0 + 1)
    incident = replace(incident_at(1), targets=(old, Target(UserId("gone"), "x", 0)), avoid=(UserId("gone"),))
    again, new = Target(UserId("a"), "y", 1, 300.0), Target(UserId("b"), "y", 1)
    assert merge_targets(incident, [again, new, new]) == (replace(old, distance_m=300.0), new)


def test_the_ladder_has_a_gap_below_each_level_but_the_last() -> None:
    assert [level_gap_s(SafetySettings(), level) for level in range(4)] == [30.0, 30.0, 60.0, None]


@pytest.mark.parametrize(
    "wrong",
    [
        {"level_1_after_s": 0.0},
        {"level_2_after_s": 10.0},
        {"level_3_after_s": 59.0},
        {"repeat_s": 0.0},
        {"ack_stale_s": float("nan")},
        {"responders_level_0": 0},
        {"responders_level_1": 1},
        {"burst_taps": 1},
        {"commit_wait_s": 0.0},
    ],
)
def test_a_ladder_that_stands_still_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be between"):
        SafetySettings(**wrong)  # type: ignore[arg-type]  # one wrong field at a time
