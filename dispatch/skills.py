"""Skill names as bits, for one shard. Only technicians' skills get bits: an order cannot use them up."""

from collections.abc import Iterable
from typing import Final

from core.errors import Invalid

SKILLS_MAX: Final = 64
"""Width of the index's skill column."""


class SkillBits:
    """Which bit stands for which skill. Bits are never given back while the shard runs."""

    def __init__(self) -> None:
        self._bits: dict[str, int] = {}

    def add(self, skills: Iterable[str]) -> None:
        """Make sure that each skill has a bit. Raises ``Invalid`` and changes nothing when there are too many."""
        skills = frozenset(skills)
        self.check(skills)
        self.learn(skills)

    def learn(self, skills: Iterable[str]) -> None:
        """Give a bit to each skill for which there is one left; the others stay unknown.

        For what was decided elsewhere or earlier: a stored technician cannot be refused any more.
        """
        for skill in sorted(set(skills) - self._bits.keys()):
            if len(self._bits) < SKILLS_MAX:
                self._bits[skill] = len(self._bits)

    def check(self, skills: Iterable[str]) -> None:
        """Raise ``Invalid`` when there is not a bit left for each skill that has none."""
        if len(self._bits.keys() | set(skills)) > SKILLS_MAX:
            raise Invalid(f"a city knows at most {SKILLS_MAX} different skills", field="skills")

    def mask(self, skills: Iterable[str]) -> int:
        """Bits of these skills; those without a bit are left out (see ``knows``)."""
        mask = 0
        for skill in skills:
            bit = self._bits.get(skill)
            if bit is not None:
                mask |= 1 << bit
        return mask

    def knows(self, skills: Iterable[str]) -> bool:
        """Whether every skill has a bit, that is, whether some technician may have them."""
        return all(skill in self._bits for skill in skills)
