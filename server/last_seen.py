"""Where each technician was last seen: written down lazily, and read back after a restart.

The position log keeps one row for each technician. Nothing is done for a ping: every few seconds the columns of a
bounded number of slots are compared with what was noted, and who goes off duty is noted on the way out. What is
remembered here is only what an SOS may still use; it is never put into an index, so nobody is shown as near by it.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import numpy as np

from core.ids import TenantId, UserId
from core.shard import Shard
from core.units import ACCURACY_M_MAX
from geo.arrays import FloatArray, IntArray
from geo.position_index import Flag
from geo.shard_positions import ShardPositions
from store.track_points import LastPosition

SLOTS_PER_TURN: Final = 2_000
"""Slots that one turn looks at in each city: about 5 ms of work when all of them moved."""
USED_S: Final = 1_800.0
"""Age up to which a last position stands for somebody who sends an SOS without one; beyond it a booking says more."""
REMEMBERED_MAX: Final = 50_000
"""People remembered; beyond it those noted first are forgotten."""
_TECHNICIAN: Final = int(Flag.TECHNICIAN)


class LastPositions(Protocol):
    """Where last positions are kept (``store.tracks`` or its twin)."""

    def note_last(self, position: LastPosition) -> None:
        """Write one lazily; newest wins."""
        ...

    async def last_positions(self, shard: Shard, *, seen_since: float = 0.0) -> Sequence[LastPosition]:
        """Those of a city that are not older. Raises ``Unavailable``."""
        ...


class LastSeen:
    """Notes and remembers last positions of technicians. Cost: see ``SLOTS_PER_TURN``."""

    def __init__(self, positions: Mapping[Shard, ShardPositions], kept: LastPositions) -> None:
        """Nothing is read before ``load``."""
        self._positions = positions
        self._kept = kept
        self._noted: dict[Shard, FloatArray] = {shard: np.empty(0) for shard in positions}
        self._next = dict.fromkeys(positions, 0)
        self._remembered: OrderedDict[tuple[TenantId, UserId], LastPosition] = OrderedDict()

    async def load(self, now: float) -> None:
        """Remember those who were seen a short while ago. Raises ``Unavailable``."""
        for shard in self._positions:
            found = await self._kept.last_positions(shard, seen_since=now - USED_S)
            for position in sorted(found, key=lambda position: position.received_at):
                self._remember(position)

    def turn(self) -> None:
        """Note whose position changed since they were last noted, among the next slots of each city."""
        for shard, positions in self._positions.items():
            capacity = positions.index.capacity
            first = self._next[shard] if self._next[shard] < capacity else 0
            self._next[shard] = first + SLOTS_PER_TURN
            self._note(shard, np.arange(first, min(first + SLOTS_PER_TURN, capacity)))

    def note_all(self) -> None:
        """Note everybody: the process ends."""
        for shard, positions in self._positions.items():
            self._note(shard, np.arange(positions.index.capacity))

    def leaving(self, shard: Shard, user: UserId) -> None:
        """Somebody is about to lose their slot."""
        slot = self._positions[shard].index.slot(user)
        if slot is not None:
            self._note(shard, np.array([slot]))

    def of(self, tenant: TenantId, user: UserId, now: float) -> LastPosition | None:
        """Where the technician was, if that was noted at most ``USED_S`` ago."""
        found = self._remembered.get((tenant, user))
        return found if found is not None and now - found.received_at <= USED_S else None

    def _note(self, shard: Shard, slots: IntArray) -> None:
        index = self._positions[shard].index
        noted = self._noted[shard]
        if len(noted) < index.capacity:
            noted = np.concatenate([noted, np.full(index.capacity - len(noted), -np.inf)])
            self._noted[shard] = noted
        seen_at = index.seen_at[slots]
        # Not "later than noted": a slot may have a new owner whose fix is a little older than the former one's.
        is_news = np.isfinite(seen_at) & (seen_at != noted[slots]) & (index.flags[slots] & _TECHNICIAN != 0)
        slots = slots[is_news]
        if not len(slots):
            return
        noted[slots] = index.seen_at[slots]
        columns = [getattr(index, name)[slots].tolist() for name in ("fixed_at", "seen_at", "lat", "lng")]
        accuracy_m = np.nan_to_num(index.accuracy_m[slots], nan=ACCURACY_M_MAX).tolist()
        self._keep(
            LastPosition(shard.tenant, shard.city, user, *row)
            for user, *row in zip(index.users(slots), *columns, accuracy_m, strict=True)
        )

    def _keep(self, positions: Iterable[LastPosition]) -> None:
        for position in positions:
            self._kept.note_last(position)
            self._remember(position)

    def _remember(self, position: LastPosition) -> None:
        key = (position.tenant, position.technician)
        self._remembered[key] = position
        self._remembered.move_to_end(key)
        while len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)
