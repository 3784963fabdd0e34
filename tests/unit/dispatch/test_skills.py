import pytest

from core.errors import Invalid
from dispatch.skills import SKILLS_MAX, SkillBits


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


def test_what_is_stored_is_learnt_as_far_as_there_are_bits_and_never_refused() -> None:
    bits = SkillBits()
    bits.learn([f"s{i:02}" for i in range(SKILLS_MAX - 1)])
    bits.learn(["a", "b"])
    assert bits.knows(["a"])
    assert not bits.knows(["b"])
    bits.check(["a", "s00"])
    with pytest.raises(Invalid, match="at most 64"):
        bits.check(["b"])
