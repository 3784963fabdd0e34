"""Dispatch's view of the shard's position index: who is near, and which flags its technicians carry there.

The index shows what was committed: flags are written when a turn is performed. Decisions within a turn go by the
engine's own book; the index only narrows whom it looks at.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from core.ids import UserId
from dispatch.model import DutyState, Gender, Technician, WorkState
from dispatch.name_bits import Masks
from dispatch.problem import BoolArray, IntArray
from geo.point import LatLng
from geo.position_index import Flag, PositionIndex, slots_of

ELIGIBLE: Final = int(Flag.TECHNICIAN | Flag.CONNECTED | Flag.VERIFIED | Flag.IDLE)
"""Bits of everyone who may be asked for some order."""

_ALARM: Final = int(Flag.ALARM)
_GENDER_FLAGS: Final = {Gender.FEMALE: int(Flag.FEMALE), Gender.MALE: int(Flag.MALE)}
_WORK_FLAGS: Final = {
    WorkState.IDLE: int(Flag.IDLE),
    WorkState.OFFERED: int(Flag.OFFERED),
    WorkState.BUSY: int(Flag.BUSY),
}
_OWN: Final = int(Flag.TECHNICIAN | Flag.VERIFIED | Flag.IDLE | Flag.OFFERED | Flag.BUSY | Flag.FEMALE | Flag.MALE)
"""Bits that dispatch writes; the others belong to the hub and to the index."""


class Places:
    """A shard's ``PositionIndex`` as dispatch uses it."""

    def __init__(self, index: PositionIndex) -> None:
        self._index = index

    @property
    def index(self) -> PositionIndex:
        """The columns, for reading."""
        return self._index

    def slot(self, technician: UserId) -> int | None:
        """Slot of someone on duty here."""
        return self._index.slot(technician)

    def shows(self, technician: UserId) -> bool:
        """Whether the index shows them as a technician on duty (a responder may have a slot without)."""
        slot = self._index.slot(technician)
        return slot is not None and bool(int(self._index.flags[slot]) & int(Flag.TECHNICIAN))

    def nearest_eligible(
        self,
        point: LatLng,
        k: int,
        *,
        gender: Gender | None,
        skills: int,
        zone_bit: int = 0,
        service_bit: int = 0,
        seen_after: float,
        within_m: float,
        without: Iterable[UserId],
    ) -> IntArray:
        """Slots of the nearest technicians who, by the committed flags, may be asked; ``without`` left out.

        Whose limits lack ``zone_bit`` or ``service_bit`` is passed over (0: nobody), for one pass over the columns.
        """
        require = ELIGIBLE | (_GENDER_FLAGS.get(gender, 0) if gender is not None else 0)
        mask: BoolArray | None = None
        for limits, bit in ((self._index.zones, zone_bit), (self._index.services, service_bit)):
            if bit:
                may: BoolArray = (limits & np.uint64(bit)) != 0
                mask = may if mask is None else mask & may
        for technician in without:
            slot = self._index.slot(technician)
            if slot is not None:
                if mask is None:
                    mask = np.ones(self._index.capacity, dtype=np.bool_)
                mask[slot] = False
        slots, _ = self._index.nearest(
            point,
            k,
            require=require,
            forbid=_ALARM,
            skills=skills,
            seen_after=seen_after,
            mask=mask,
            within_m=within_m,
        )
        return slots

    def reachable(self, seen_after: float, unheard: Iterable[tuple[UserId, float]]) -> BoolArray:
        """Slots of those who, by the committed flags, may be asked for some order now; a few passes over the index.

        Args:
            seen_after: Older positions do not count.
            unheard: Whose phone did not take an offer, and since when: it must have been heard after that.
        """
        index = self._index
        found: BoolArray = (index.flags & (ELIGIBLE | _ALARM)) == ELIGIBLE
        found &= index.seen_at >= seen_after
        for user, since in unheard:
            slot = index.slot(user)
            if slot is not None and not index.heard_at[slot] > since:
                found[slot] = False
        return found

    def in_alarm(self, technicians: Sequence[UserId]) -> BoolArray:
        """Which of these people, all in the index, have an open alarm."""
        in_alarm: BoolArray = (self._index.flags[slots_of(self._index, technicians)] & _ALARM) != 0
        return in_alarm

    def nearest_any(self, point: LatLng, k: int, within_m: float) -> IntArray:
        """Slots of the nearest technicians on duty, whatever speaks against them."""
        if k < 1:
            return np.zeros(0, dtype=np.int64)
        return self._index.nearest(point, k, require=int(Flag.TECHNICIAN), within_m=within_m)[0]

    def write(self, technician: Technician, masks: Masks, rating: float) -> None:
        """Show a committed technician in the index; nothing happens for one who has no slot."""
        slot = self._index.slot(technician.technician)
        if slot is None:
            return
        flags = int(Flag.TECHNICIAN) | _GENDER_FLAGS.get(technician.gender, 0)
        if technician.verified:
            flags |= int(Flag.VERIFIED)
        if technician.duty is DutyState.ON or technician.work is WorkState.BUSY:
            flags |= _WORK_FLAGS[technician.work]
        self._index.set_flags(slot, set=flags, clear=_OWN & ~flags)
        self._index.skills[slot] = masks.skills
        self._index.zones[slot] = masks.zones
        self._index.services[slot] = masks.services
        self._index.rating[slot] = rating
        self._index.idle_since[slot] = technician.idle_since if technician.idle_since is not None else -np.inf
