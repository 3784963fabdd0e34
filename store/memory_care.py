"""The in-memory twin of ``store/care.py``."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from core.errors import Unavailable
from core.outbox import OutboxDraft, OutboxRow
from safety.care_ports import CareChanges, CareState
from store.memory_outbox import Faults, MemoryOutbox


class MemoryCareStore:
    """In-memory ``safety.care_ports.CareStore``."""

    def __init__(self, outbox: MemoryOutbox) -> None:
        self.faults = Faults()
        self._outbox = outbox
        self._stored = CareChanges()

    async def load(self, now: float, *, drills_since: float) -> CareState:
        """See the port."""
        self.faults.before_read()
        stored = self._stored
        return CareState(
            [watch for _, watch in sorted(stored.watches.items()) if watch.ended_at is None or watch.pending],
            [trip for _, trip in sorted(stored.trips.items()) if trip.expires_at > now],
            [drill for _, drill in sorted(stored.drills.items()) if drill.asked_at >= drills_since],
        )

    async def commit(self, changes: CareChanges, drafts: Sequence[OutboxDraft], now: float) -> Sequence[OutboxRow]:
        """See the port."""
        stored_anyway = await self.faults.before_commit()
        self._outbox.check(drafts)
        _put_newer(self._stored.watches, changes.watches)
        _put_newer(self._stored.trips, changes.trips)
        _put_newer(self._stored.drills, changes.drills)
        rows = self._outbox.append(drafts, now)
        self.faults.commits += 1
        if stored_anyway:
            raise Unavailable("the outcome of the commit is unknown", code="store_unavailable")
        return rows


class _Versioned(Protocol):
    @property
    def version(self) -> int: ...


_IdT = TypeVar("_IdT", bound=str)
_VersionedT = TypeVar("_VersionedT", bound=_Versioned)


def _put_newer(stored: dict[_IdT, _VersionedT], changed: Mapping[_IdT, _VersionedT]) -> None:
    for id_, value in changed.items():
        known = stored.get(id_)
        if known is None or known.version < value.version:
            stored[id_] = value
