"""Names of skills, zones and services as bits, for one shard. Only technicians' names get bits: an order uses none up.

What outlives a turn holds masks of technicians only (the index), and is written anew when one of them changes; orders
are turned into masks when a round begins. So a bit may stand for another name once no technician has the old one.

Skills are had: an order needs all of its own. Zones and services are limits: whoever has none named has all, with the
bits of names that nobody has mentioned yet; the highest bit stands for those (``OTHERS``).
"""

from collections import Counter
from collections.abc import Collection, Iterable
from heapq import heappop, heappush
from typing import Final, NamedTuple

from core.errors import Invalid

SKILLS_MAX: Final = 64
"""Width of the index's column."""
LIMITS_MAX: Final = SKILLS_MAX - 1
"""Names of a limit: the highest bit is none of theirs."""
OTHERS: Final = 1 << LIMITS_MAX
"""Stands for every name of a limit that has no bit."""
EVERYTHING: Final = (1 << SKILLS_MAX) - 1
"""Mask of somebody without a limit."""


class Masks(NamedTuple):
    """A technician's names as the index's columns have them."""

    skills: int
    zones: int
    services: int


class NameBits:
    """Which bit stands for which name. It keeps its bit as long as any technician has it.

    Args:
        field: What is named: the field of a technician's record.
        len_max: How many different names a shard may know, at most ``SKILLS_MAX``.
    """

    def __init__(self, field: str, len_max: int) -> None:
        self._field = field
        self._len_max = len_max
        self._bits: dict[str, int] = {}
        self._users: Counter[str] = Counter()
        self._free = list(range(len_max))  # a heap: the same changes give the same bits
        self._late: set[str] = set()
        self.version = 0
        """Another number each time that masks, or what is wanted, may have become others."""

    def change(self, before: Collection[str], after: Collection[str]) -> None:
        """A technician of the city had the names ``before`` and has ``after`` now.

        Gives a bit to each name for which there is one left; the others stay unknown until one is. Never refuses:
        what was decided elsewhere or earlier cannot be refused any more.
        """
        before, after = frozenset(before), frozenset(after)
        was_used = bool(self._users)
        for name in sorted(before - after):
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name]
                self._late.discard(name)
                if name in self._bits:
                    heappush(self._free, self._bits.pop(name))
                    self.version += 1
        self._users.update(after - before)
        if len(self._users) > len(self._bits):
            self._learn(sorted(after - self._bits.keys()), after - before)
            self._learn(sorted(self._users.keys() - self._bits.keys()), ())
        if was_used != bool(self._users):
            self.version += 1

    def _learn(self, names: Iterable[str], new: Collection[str]) -> None:
        for name in names:
            if not self._free:
                return
            self._bits[name] = heappop(self._free)
            self.version += 1
            if self._users[name] > (name in new):
                self._late.add(name)

    def take_late(self) -> frozenset[str]:
        """Names that got a bit after technicians had been shown without it, since the last call."""
        late, self._late = frozenset(self._late), set()
        return late

    def check(self, names: Iterable[str], instead_of: Iterable[str] = ()) -> None:
        """Raise ``Invalid`` when there is not a bit left for each name that has none.

        Args:
            names: What a technician is to have.
            instead_of: What the same technician has now: bits that nobody else needs become free.
        """
        freed = {name for name in instead_of if self._users[name] == 1}
        if len((self._bits.keys() - freed) | set(names)) > self._len_max:
            raise Invalid(f"a city knows at most {self._len_max} different {self._field}", field=self._field)

    def mask(self, names: Iterable[str]) -> int:
        """Bits of these names; those without a bit are left out (see ``knows``)."""
        mask = 0
        for name in names:
            bit = self._bits.get(name)
            if bit is not None:
                mask |= 1 << bit
        return mask

    def knows(self, names: Iterable[str]) -> bool:
        """Whether every name has a bit, that is, whether some technician may have them."""
        return all(name in self._bits for name in names)

    def limit_mask(self, names: Collection[str]) -> int:
        """Bits of a technician's limit: everything when nothing is named."""
        return self.mask(names) if names else EVERYTHING

    def wanted(self, name: str) -> int:
        """The bit that a technician's limit must have for this name; 0 while nobody is limited."""
        if not self._users:
            return 0
        return 1 << self._bits[name] if name in self._bits else OTHERS
