"""Which customers and technicians of a tenant are kept apart, in memory. Decides nothing.

Of each pair only four bits are kept: who has blocked whom, and whether staff said so. Reasons and dates are read from
the store by those who may see them.
"""

import sys
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

from core.ids import UserId
from dispatch.model import BlockMark, BlockSide

_SET: Final = {BlockSide.CUSTOMER: 1, BlockSide.TECHNICIAN: 2}
_BY_STAFF: Final = {BlockSide.CUSTOMER: 4, BlockSide.TECHNICIAN: 8}


class Barred:
    """Pairs with a block. Memory: about 200 bytes a pair."""

    def __init__(self) -> None:
        self._bits: dict[UserId, dict[UserId, int]] = {}
        self._set_len: Counter[tuple[BlockSide, UserId]] = Counter()

    def __bool__(self) -> bool:
        """Whether anybody is kept apart from anybody."""
        return bool(self._bits)

    def technicians(self, customer: UserId) -> Collection[UserId]:
        """Who must not be asked for this customer's orders, in the order in which that began."""
        return self._bits.get(customer, ())

    def holds(self, customer: UserId, technician: UserId) -> bool:
        """Whether either of the two has blocked the other."""
        return technician in self._bits.get(customer, ())

    def is_set(self, customer: UserId, technician: UserId, side: BlockSide) -> bool:
        """Whether this one of the two has blocked the other."""
        return bool(self._of(customer, technician) & _SET[side])

    def is_by_staff(self, customer: UserId, technician: UserId, side: BlockSide) -> bool:
        """Whether staff set that block in their name."""
        return bool(self._of(customer, technician) & _BY_STAFF[side])

    def set_len(self, side: BlockSide, user: UserId) -> int:
        """How many others this person has blocked."""
        return self._set_len[side, user]

    def take(self, marks: Iterable[BlockMark]) -> None:
        """Take over many. Cost: about 3 us a mark."""
        for mark in marks:
            self.put(mark)

    def put(self, mark: BlockMark) -> None:
        """Take over a block that is new, or was set again."""
        customer, technician = UserId(sys.intern(mark.customer)), UserId(sys.intern(mark.technician))
        bits = self._of(customer, technician)
        if not bits & _SET[mark.side]:
            self._set_len[mark.side, self._owner(mark)] += 1
        bits = (bits | _SET[mark.side]) & ~_BY_STAFF[mark.side]
        self._bits.setdefault(customer, {})[technician] = bits | (_BY_STAFF[mark.side] if mark.by_staff else 0)

    def lift(self, mark: BlockMark) -> None:
        """Take over that a block is no more."""
        bits = self._of(mark.customer, mark.technician)
        if not bits & _SET[mark.side]:
            return
        owner = (mark.side, self._owner(mark))
        self._set_len[owner] -= 1
        if not self._set_len[owner]:
            del self._set_len[owner]
        bits &= ~(_SET[mark.side] | _BY_STAFF[mark.side])
        if bits:
            self._bits[mark.customer][mark.technician] = bits
            return
        del self._bits[mark.customer][mark.technician]
        if not self._bits[mark.customer]:
            del self._bits[mark.customer]

    def _of(self, customer: UserId, technician: UserId) -> int:
        return self._bits.get(customer, {}).get(technician, 0)

    @staticmethod
    def _owner(mark: BlockMark) -> UserId:
        return mark.customer if mark.side is BlockSide.CUSTOMER else mark.technician
