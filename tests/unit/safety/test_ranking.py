"""In which order those are told who may go there."""

import random

import numpy as np
import pytest

from core.ids import UserId
from core.units import ACCURACY_M_MAX
from safety.model import Approach
from safety.ranking import Group, assumed_r95_m, pessimistic_eta_s, place_in_line


def test_who_is_near_by_an_old_or_rough_position_may_be_farther_than_who_is_known_well() -> None:
    def eta_s(distance_m: float, r95_m: float, age_s: float) -> float:
        return pessimistic_eta_s(distance_m, r95_m, age_s, person_r95_m=50.0, speed_mps=5.0)

    assert eta_s(400.0, 50.0, 10.0) == 110.0
    assert eta_s(100.0, 900.0, 10.0) > eta_s(400.0, 50.0, 10.0), "a cell tower's guess"
    assert eta_s(100.0, 50.0, 300.0) > eta_s(400.0, 50.0, 10.0), "seen there five minutes ago"


def test_it_is_the_same_for_one_and_for_many() -> None:
    rows = np.array([[100.0, 16.2, 3.0], [5_000.0, 810.0, 59.0]])
    many = pessimistic_eta_s(rows[:, 0], rows[:, 1], rows[:, 2], person_r95_m=16.2, speed_mps=5.0)
    one = [pessimistic_eta_s(*row, person_r95_m=16.2, speed_mps=5.0) for row in rows.tolist()]
    assert many.tolist() == pytest.approx(one)


def test_a_phone_that_says_nothing_of_its_accuracy_is_not_taken_for_exact() -> None:
    assert assumed_r95_m(10.0) == pytest.approx(16.2)
    assert assumed_r95_m(ACCURACY_M_MAX) > assumed_r95_m(100.0)


def test_staff_first_then_who_consented_and_in_each_the_soonest_and_the_quiet_behind_all() -> None:
    def row(user: str, group: Group, eta_s: float | None, *, is_live: bool = True) -> tuple[UserId, Approach]:
        return UserId(user), Approach(group.value, is_live, eta_s)

    line = [
        row("far staff", Group.STAFF, 900.0),
        row("near helper", Group.CONSENTING, 10.0),
        row("far helper", Group.CONSENTING, 20.0),
        row("quiet staff", Group.STAFF, 5.0, is_live=False),
        row("staff somewhere", Group.STAFF, None, is_live=False),
        row("quiet helper", Group.CONSENTING, 1.0, is_live=False),
    ]
    mixed = random.Random(1).sample(line, len(line))
    assert sorted(mixed, key=lambda who: place_in_line(who[0], None, who[1])) == line
