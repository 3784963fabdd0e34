"""Deadlines, skills, settings and places: the small parts."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Invalid
from core.ids import UserId
from dispatch.deadlines import Deadlines, Due
from dispatch.model import DutyState, Gender, WorkState
from dispatch.places import Places
from dispatch.settings import DispatchSettings, HeadStartSettings, RatingSettings, RoundSettings
from dispatch.skills import SKILLS_MAX, SkillBits
from geo.position_index import Flag, PositionIndex
from tests.unit.dispatch.test_tables import a_technician
from tests.unit.dispatch.world import T0

ids = st.sampled_from("abcd")
moments = st.floats(0, 100)


@given(st.lists(st.tuples(ids, st.sampled_from(Due), st.one_of(st.none(), moments))))
def test_deadlines_fall_due_in_order_and_only_the_last_setting_counts(
    acts: list[tuple[str, Due, float | None]],
) -> None:
    deadlines = Deadlines()
    expected: dict[tuple[Due, str], float] = {}
    for id_, due, at in acts:
        if at is None:
            deadlines.drop(due, id_)
            expected.pop((due, id_), None)
        else:
            deadlines.set(at, due, id_)
            expected[due, id_] = at
    assert len(deadlines) == len(expected)
    assert deadlines.next_at() == min(expected.values(), default=None)
    popped = []
    while (deadline := deadlines.pop_due(50.0)) is not None:
        assert expected.pop((deadline.due, deadline.id)) == deadline.at
        popped.append(deadline.at)
    assert popped == sorted(popped)
    assert all(at > 50.0 for at in expected.values())


def test_skills_get_bits_and_a_shard_has_sixty_four() -> None:
    bits = SkillBits()
    bits.add(f"s{i:02}" for i in range(SKILLS_MAX))
    assert bits.mask(["s00", "s63", "unknown"]) == 1 | 1 << 63
    assert bits.knows(["s00"])
    assert not bits.knows(["s00", "unknown"])
    bits.add(["s00"])
    with pytest.raises(Invalid, match="at most 64"):
        bits.add(["one too many"])
    assert not bits.knows(["one too many"])


@pytest.mark.parametrize(
    ("make", "facts", "text"),
    [
        (DispatchSettings, {"offer_ttl_s": 0.0}, "offer_ttl_s must be between 1 and 600, is 0"),
        (DispatchSettings, {"position_fresh_s": float("nan")}, "position_fresh_s must be between 1 and 3600, is nan"),
        (RoundSettings, {"radius_steps_m": ()}, "number of steps"),
        (RoundSettings, {"radius_steps_m": (5_000.0, 3_000.0)}, "must rise"),
        (RoundSettings, {"radius_steps_m": (5.0,)}, "between 100 and 200000, is 5"),
        (HeadStartSettings, {"rating_floor": 5.0}, "rating_best must be above rating_floor"),
        (HeadStartSettings, {"tier_s": {"gold": -1.0}}, "tier_s.gold"),
        (RatingSettings, {"prior_weight": 0.0}, "prior_weight"),
    ],
)
def test_settings_out_of_range_name_the_field_and_the_range(make: Any, facts: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make(**facts)


@pytest.mark.parametrize(
    ("work", "duty", "flags"),
    [
        (WorkState.IDLE, DutyState.ON, Flag.IDLE),
        (WorkState.OFFERED, DutyState.ON, Flag.OFFERED),
        (WorkState.BUSY, DutyState.PAUSED, Flag.BUSY),
        (WorkState.IDLE, DutyState.PAUSED, Flag(0)),
    ],
)
def test_the_index_shows_a_technicians_state_and_leaves_the_hubs_bits_alone(
    work: WorkState, duty: DutyState, flags: Flag
) -> None:
    index = PositionIndex()
    places = Places(index)
    it = a_technician(work, duty)
    places.write(it, 3, 4.5)  # not on duty: nothing to write
    slot = index.claim(UserId("tina"))
    assert not places.shows(UserId("tina"))
    index.set_flags(slot, set=int(Flag.CONNECTED | Flag.RESPONDER | Flag.MALE))
    places.write(it, 3, 4.5)
    assert Flag(int(index.flags[slot])) == flags | (
        Flag.TECHNICIAN | Flag.VERIFIED | Flag.FEMALE | Flag.CONNECTED | Flag.RESPONDER
    )
    assert places.shows(UserId("tina"))
    assert (int(index.skills[slot]), float(index.rating[slot]), float(index.idle_since[slot])) == (3, 4.5, T0)
    places.write(replace(it, verified=False, gender=Gender.MALE), 0, 0.0)
    assert Flag.MALE in Flag(int(index.flags[slot]))
    assert Flag.VERIFIED not in Flag(int(index.flags[slot]))
