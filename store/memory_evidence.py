"""In-memory twin of what is held as evidence."""

from collections.abc import Callable, Mapping, Sequence

from core.ids import IncidentId, TenantId
from safety.audit import AuditEntry
from safety.holds import HoldMark
from safety.model import CapStatus, Incident
from store.memory_outbox import Faults


class MemoryHoldStore:
    """In-memory ``safety.holds.HoldStore``; what the audit remembers is not kept.

    Args:
        incidents: All incidents of the store of incidents.
    """

    def __init__(self, incidents: Callable[[], Mapping[tuple[TenantId, IncidentId], Incident]]) -> None:
        self.faults = Faults()
        self._incidents = incidents
        self._marks: dict[tuple[TenantId, IncidentId], HoldMark] = {}

    async def load(self, *, settled_since: float) -> tuple[Sequence[Incident], Sequence[HoldMark]]:
        """See the port."""
        self.faults.before_read()
        real = [i for _, i in sorted(self._incidents().items()) if i.cap_status is CapStatus.ACTUAL]
        found = [i for i in real if i.is_active or i.changed_at >= settled_since]
        return found, [mark for _, mark in sorted(self._marks.items())]

    async def put(self, mark: HoldMark, entry: AuditEntry) -> None:
        """See the port."""
        await self.faults.before_commit()
        self._marks[mark.tenant, mark.incident_id] = mark
        self.faults.commits += 1
