"""Skill names as bits, for one shard. Only technicians' skills get bits: an order cannot use them up.

What outlives a turn holds masks of technicians only (the index), and is written anew when one of them changes; orders
are turned into masks when a round begins. So a bit may stand for another skill once no technician has the old one.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from heapq import heappop, heappush
from typing import Final

from core.errors import Invalid

SKILLS_MAX: Final = 64
"""Width of the index's skill column."""


class SkillBits:
    """Which bit stands for which skill. It keeps its bit as long as any technician has it."""

    def __init__(self) -> None:
        self._bits: dict[str, int] = {}
        self._users: Counter[str] = Counter()
        self._free = list(range(SKILLS_MAX))  # a heap: the same changes give the same bits
        self._late: set[str] = set()

    def change(self, before: Collection[str], after: Collection[str]) -> None:
        """A technician of the city had the skills ``before`` and has ``after`` now.

        Gives a bit to each skill for which there is one left; the others stay unknown until one is. Never refuses:
        what was decided elsewhere or earlier cannot be refused any more.
        """
        before, after = frozenset(before), frozenset(after)
        for skill in sorted(before - after):
            self._users[skill] -= 1
            if not self._users[skill]:
                del self._users[skill]
                self._late.discard(skill)
                if skill in self._bits:
                    heappush(self._free, self._bits.pop(skill))
        self._users.update(after - before)
        if len(self._users) > len(self._bits):
            self._learn(sorted(after - self._bits.keys()), after - before)
            self._learn(sorted(self._users.keys() - self._bits.keys()), ())

    def _learn(self, skills: Iterable[str], new: Collection[str]) -> None:
        for skill in skills:
            if not self._free:
                return
            self._bits[skill] = heappop(self._free)
            if self._users[skill] > (skill in new):
                self._late.add(skill)

    def take_late(self) -> frozenset[str]:
        """Skills that got a bit after technicians had been shown without it, since the last call."""
        late, self._late = frozenset(self._late), set()
        return late

    def check(self, skills: Iterable[str], instead_of: Iterable[str] = ()) -> None:
        """Raise ``Invalid`` when there is not a bit left for each skill that has none.

        Args:
            skills: What a technician is to have.
            instead_of: What the same technician has now: bits that nobody else needs become free.
        """
        freed = {skill for skill in instead_of if self._users[skill] == 1}
        if len((self._bits.keys() - freed) | set(skills)) > SKILLS_MAX:
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
