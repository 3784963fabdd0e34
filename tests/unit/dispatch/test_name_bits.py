import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Invalid
from dispatch.name_bits import SKILLS_MAX, NameBits

ALL = frozenset(f"s{i:02}" for i in range(SKILLS_MAX))


def test_skills_get_bits_and_a_shard_has_sixty_four() -> None:
    bits = NameBits("skills", SKILLS_MAX)
    bits.change((), ALL)
    assert bits.mask(["s00", "s63", "unknown"]) == 1 | 1 << 63
    assert bits.knows(["s00"])
    assert not bits.knows(["s00", "unknown"])
    bits.check(["s00"])
    with pytest.raises(Invalid, match="at most 64"):
        bits.check(["one too many"])


def test_what_is_stored_is_learnt_as_far_as_there_are_bits_and_never_refused() -> None:
    bits = NameBits("skills", SKILLS_MAX)
    bits.change((), ALL - {"s63"})
    bits.change((), ["a", "b"])
    assert bits.knows(["a"])
    assert not bits.knows(["b"])
    bits.check(["a", "s00"])
    with pytest.raises(Invalid, match="at most 64"):
        bits.check(["b"])


def test_a_bit_is_free_once_its_last_technician_has_left_it_and_the_others_stay_as_they_are() -> None:
    bits = NameBits("skills", SKILLS_MAX)
    bits.change((), ALL)
    bits.change((), ["s07", "s09"])
    bits.change(ALL, ALL - {"s07", "s08"})
    assert bits.knows(["s07"])
    assert not bits.knows(["s08"])
    kept = {skill: bits.mask([skill]) for skill in ALL - {"s08"}}
    bits.check(["new"])
    bits.change((), ["new"])
    assert bits.mask(["new"]) == 1 << 8
    assert {skill: bits.mask([skill]) for skill in kept} == kept


def test_whoever_gives_a_skill_up_may_take_another_in_a_full_city() -> None:
    bits = NameBits("skills", SKILLS_MAX)
    bits.change((), ALL)
    bits.check({*(ALL - {"s00"}), "new"}, instead_of=ALL)
    bits.change((), ["s00"])
    with pytest.raises(Invalid):
        bits.check({*(ALL - {"s00"}), "new"}, instead_of=ALL)


def test_a_skill_that_had_to_wait_gets_the_bit_that_becomes_free_and_says_so() -> None:
    bits = NameBits("skills", SKILLS_MAX)
    bits.change((), ALL)
    bits.change((), ["waits"])
    assert bits.take_late() == frozenset()
    bits.change(ALL, ALL - {"s03"})
    assert bits.mask(["waits"]) == 1 << 3
    assert bits.take_late() == {"waits"}
    assert bits.take_late() == frozenset()


SKILLS = st.frozensets(st.integers(0, 90).map(lambda i: f"s{i:02}"), max_size=40)


@given(st.lists(st.tuples(st.integers(0, 4), SKILLS), max_size=40))
def test_different_skills_never_share_a_bit_and_none_in_use_changes(changes: list[tuple[int, frozenset[str]]]) -> None:
    bits, people = NameBits("skills", SKILLS_MAX), dict.fromkeys(range(5), frozenset[str]())
    seen: dict[str, int] = {}
    for who, skills in changes:
        fits = True
        try:
            bits.check(skills, instead_of=people[who])
        except Invalid:
            fits = False
        bits.change(people[who], skills)
        people[who] = skills
        used = frozenset().union(*people.values())
        known = {skill: bits.mask([skill]) for skill in used if bits.knows([skill])}
        assert len(known) == len(set(known.values())) == min(len(used), SKILLS_MAX)
        assert not fits or bits.knows(skills)
        assert all(known[skill] == mask for skill, mask in seen.items() if skill in known)
        seen = known
    assert not bits.knows(["s91"])
