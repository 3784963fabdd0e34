"""What one person alone does not take out of the house: one asks and says why, another allows it. Synchronous.

In memory: after a restart of the server it is asked for again. The audit has both.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final

from core.errors import Conflict, Forbidden
from core.ids import IncidentId, TenantId, UserId
from safety.audit import AuditEntry, fact_entry
from safety.model import Incident, IncidentKind

ASKS_MAX: Final = 1_000
"""Exports that are asked for or allowed at once; the oldest are let go of."""


@dataclass(frozen=True, slots=True)
class ExportAsk:
    """One person wants to export one incident.

    Attributes:
        until: Until when it may be allowed; once it is, until when it may be read.
        allowed_by: Who allowed it, None while nobody has.
    """

    tenant: TenantId
    incident_id: IncidentId
    by: UserId
    reason: str
    asked_at: float
    until: float
    allowed_by: UserId | None = None


class SecondPerson:
    """Who may export what now.

    Args:
        within_s: Seconds for which asking stands, and then the allowance.
    """

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._asks: OrderedDict[tuple[TenantId, IncidentId, UserId], ExportAsk] = OrderedDict()

    def asked(self, incident: Incident, by: UserId, reason: str, now: float) -> tuple[ExportAsk, AuditEntry]:
        """What it is to ask, with what the audit is to remember first. Asked again, it is to be allowed again."""
        ask = ExportAsk(incident.tenant, incident.incident_id, by, reason, now, now + self._within_s)
        facts = {"reason": reason}
        return ask, fact_entry(incident.tenant, now, by, "export.asked", incident.incident_id, facts)

    def allowed(self, incident: Incident, by: UserId, asker: UserId, now: float) -> tuple[ExportAsk, AuditEntry]:
        """What it is to allow it, with what the audit is to remember first.

        Raises:
            Conflict: ``export_not_asked``: not asked, or too long ago; ``second_person_needed``: it is their own.
        """
        ask = self._asks.get((incident.tenant, incident.incident_id, asker))
        if ask is None or ask.until <= now:
            raise Conflict("nobody of this name asks for an export of it", code="export_not_asked", field="by")
        if by == asker:
            raise Conflict("who asks for it cannot allow it", code="second_person_needed", field="by")
        given = replace(ask, until=now + self._within_s, allowed_by=by)
        facts = {"asked_by": asker, "reason": ask.reason}
        return given, fact_entry(incident.tenant, now, by, "export.allowed", incident.incident_id, facts)

    def keep(self, ask: ExportAsk) -> None:
        """It counts from now on: the audit has it."""
        key = (ask.tenant, ask.incident_id, ask.by)
        self._asks[key] = ask
        self._asks.move_to_end(key)
        if len(self._asks) > ASKS_MAX:
            self._asks.popitem(last=False)

    def of(self, incident: Incident, now: float) -> list[ExportAsk]:
        """What is asked for or allowed of an incident now, oldest first."""
        place = (incident.tenant, incident.incident_id)
        return [ask for ask in self._asks.values() if (ask.tenant, ask.incident_id) == place and ask.until > now]

    def check(self, incident: Incident, who: UserId, now: float) -> None:
        """Refuse what would take a duress that is over out of the house by one person's hand.

        Raises:
            Forbidden: ``second_person_needed``.
        """
        if incident.is_active or incident.kind is not IncidentKind.DURESS:
            return
        ask = self._asks.get((incident.tenant, incident.incident_id, who))
        if ask is None or ask.allowed_by is None or ask.until <= now:
            raise Forbidden("another of ops must allow it: ask for the export first", code="second_person_needed")
