"""Evidence that is held: what belongs to an incident is not deleted, and its order does not go on by itself.

An incident holds its own tracks and those of every order that it had to do with while it is active and for some time
after its end. Ops can hold it for longer, and let go of it once it has ended, with a reason each. Pure; all answers
come from memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, Protocol

from core.errors import Invalid
from core.ids import IncidentId, OrderId, TenantId, UserId
from safety.audit import AuditEntry, fact_entry
from safety.model import CapStatus, Incident

DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class HoldMark:
    """What ops said about the evidence of an incident last."""

    tenant: TenantId
    incident_id: IncidentId
    order_id: OrderId | None
    is_held: bool
    by: UserId
    reason: str
    at: float
    other_orders: tuple[OrderId, ...] = ()
    """All further orders that the incident had to do with."""

    @property
    def orders(self) -> tuple[OrderId, ...]:
        """Every order whose evidence it speaks of."""
        return self.other_orders if self.order_id is None else (self.order_id, *self.other_orders)


class HoldStore(Protocol):
    """Marks in ``safety.db`` (``store/holds.py``; twin ``store/memory.py``)."""

    async def load(self, *, settled_since: float) -> tuple[Sequence[Incident], Sequence[HoldMark]]:
        """Real incidents that are active or ended since then, and all marks. Raises ``Unavailable``."""
        ...

    async def put(self, mark: HoldMark, entry: AuditEntry) -> None:
        """Store a mark over the one before, and what the audit remembers, fsynced. Raises ``Unavailable``."""
        ...


@dataclass(frozen=True, slots=True)
class _Case:
    orders: tuple[OrderId, ...]
    until: float
    """``inf`` while the incident is active."""


class Holds:
    """What is held now. Memory: one entry for each real incident of the last ``hold_days``, and for each mark.

    Args:
        store: Where marks are kept.
        hold_days: Days after its end that an incident holds its evidence.
    """

    def __init__(self, store: HoldStore, hold_days: float) -> None:
        self._store = store
        self._hold_s = hold_days * DAY_S
        self._cases: dict[tuple[TenantId, IncidentId], _Case] = {}
        self._marks: dict[tuple[TenantId, IncidentId], HoldMark] = {}
        self._of_order: dict[tuple[TenantId, OrderId], set[IncidentId]] = {}
        self.is_loaded = False
        """Before that everything is held."""

    async def load(self, now: float) -> None:
        """Read what holds. Raises ``Unavailable``: then everything is held until it is read."""
        incidents, marks = await self._store.load(settled_since=now - self._hold_s)
        self._marks = {(mark.tenant, mark.incident_id): mark for mark in marks}
        for mark in marks:
            self._note_orders(mark.tenant, mark.incident_id, mark.orders)
        for incident in incidents:
            self.incident_changed(incident)
        self.is_loaded = True

    def incident_changed(self, incident: Incident) -> None:
        """An incident began, goes on, or has ended; of a drill or a test nothing is evidence."""
        if incident.cap_status is not CapStatus.ACTUAL:
            return
        until = inf if incident.is_active else incident.changed_at + self._hold_s
        self._cases[incident.tenant, incident.incident_id] = _Case(incident.orders_held, until)
        self._note_orders(incident.tenant, incident.incident_id, incident.orders_held)

    def _note_orders(self, tenant: TenantId, incident_id: IncidentId, orders: Sequence[OrderId]) -> None:
        for order_id in orders:
            self._of_order.setdefault((tenant, order_id), set()).add(incident_id)

    async def mark(self, incident: Incident, by: UserId, reason: str, now: float, *, hold: bool) -> float | None:
        """Ops hold the evidence of an incident, or let go of it.

        Returns:
            Until when it is held: ``inf`` for no end, None for not at all.

        Raises:
            Invalid: The incident is active: nobody lets go of that.
            Unavailable: It could not be stored; nothing changed.
        """
        if not hold and incident.is_active:
            raise Invalid("the incident has not ended: its evidence is held", code="incident_active", field="hold")
        others = tuple(order_id for order_id in incident.orders_held if order_id != incident.order_id)
        mark = HoldMark(incident.tenant, incident.incident_id, incident.order_id, hold, by, reason, now, others)
        action = "evidence.held" if hold else "evidence.released"
        await self._store.put(mark, fact_entry(mark.tenant, now, by, action, mark.incident_id, {"reason": reason}))
        self._marks[mark.tenant, mark.incident_id] = mark
        self._note_orders(mark.tenant, mark.incident_id, mark.orders)
        return self.until(mark.tenant, mark.incident_id, now)

    def until(self, tenant: TenantId, incident_id: IncidentId, now: float) -> float | None:
        """Until when an incident's evidence is held: ``inf`` for no end, None for not at all."""
        case, mark = self._cases.get((tenant, incident_id)), self._marks.get((tenant, incident_id))
        if case is not None and case.until == inf:
            return inf
        if mark is not None:
            return inf if mark.is_held else None
        return case.until if case is not None and case.until > now else None

    def is_held(self, tenant: TenantId, order_id: OrderId, now: float) -> bool:
        """Whether an incident holds this order: it must not be confirmed, settled or taken away by itself."""
        if not self.is_loaded:
            return True
        incidents = self._of_order.get((tenant, order_id), ())
        return any(self.until(tenant, incident_id, now) is not None for incident_id in incidents)

    def jobs(self, now: float) -> frozenset[tuple[str, str]] | None:
        """Tenant and name of every job whose tracks must stay; None while that is not known: then all must."""
        if not self.is_loaded:
            return None
        held: set[tuple[str, str]] = set()
        for tenant, incident_id in (*self._cases, *self._marks):
            if self.until(tenant, incident_id, now) is not None:
                held.add((tenant, incident_id))
        held.update((tenant, order_id) for tenant, order_id in self._of_order if self.is_held(tenant, order_id, now))
        self._forget(now)
        return frozenset(held)

    def _forget(self, now: float) -> None:
        """Let go of cases that hold nothing any more."""
        over = [key for key, case in self._cases.items() if case.until <= now and key not in self._marks]
        for key in over:
            case = self._cases.pop(key)
            for order_id in case.orders:
                incidents = self._of_order[key[0], order_id]
                incidents.discard(key[1])
                if not incidents:
                    del self._of_order[key[0], order_id]
