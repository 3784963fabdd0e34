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
