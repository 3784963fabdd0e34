"""Finds an incident for somebody who may see it, in memory or in the store: one place for that rule at the edge."""

from api.auth import check_signed_in_lately
from api.ports import Looks
from core.errors import NotFound
from core.ids import IncidentId
from core.principal import Principal, Role
from safety.access import is_ops_of, may_read, may_see
from safety.looks import LookKind
from safety.model import Incident
from safety.ports import SafetyStore
from safety.second_person import SecondPerson
from safety.service import SafetyService


def no_such_incident() -> NotFound:
    """Absent and foreign look the same."""
    return NotFound("there is no such incident")


class Incidents:
    """All incidents, as far as the caller may see them.

    Args:
        fresh_s: Seconds for which a sign-in is good for the way of an incident that is over.
    """

    def __init__(
        self, service: SafetyService, store: SafetyStore, looks: Looks, second: SecondPerson, fresh_s: float
    ) -> None:
        """Keep where they are, who is told of each look, and what a second person has allowed."""
        self._second = second
        self._fresh_s = fresh_s
        self._looks = looks
        self._service = service
        self._store = store

    async def seen(self, who: Principal, incident_id: str) -> tuple[Incident, bool]:
        """For ops of its city and whoever it was sent to, with whether they may read all of it. Raises ``NotFound``."""
        known = self._service.incident(who.tenant, IncidentId(incident_id))
        incident = known or await self._store.incident(who.tenant, IncidentId(incident_id))
        if incident is None or not who.holds(Role.OPS, Role.RESPONDER, Role.TECHNICIAN) or not may_see(incident, who):
            raise no_such_incident()
        is_read = may_read(incident, who)
        if is_read:
            self.looked(who, incident)
        return incident, is_read

    async def visible(self, who: Principal, incident_id: str) -> Incident:
        """For whoever may read all of it. Raises ``NotFound``."""
        incident, is_read = await self.seen(who, incident_id)
        if not is_read:
            raise no_such_incident()
        return incident

    async def own(self, who: Principal, incident_id: str) -> Incident:
        """For the person whose alarm it is. Raises ``NotFound``."""
        known = self._service.incident(who.tenant, IncidentId(incident_id))
        incident = known or await self._store.incident(who.tenant, IncidentId(incident_id))
        if incident is None or incident.subject != who.user:
            raise no_such_incident()
        return incident

    async def for_ops(self, who: Principal, incident_id: str) -> Incident:
        """For ops of its city alone. Raises ``NotFound``."""
        incident = await self.visible(who, incident_id)
        if not is_ops_of(incident, who):
            raise no_such_incident()
        return incident

    def check_way(self, who: Principal, incident: Incident, now: float) -> None:
        """Refuse the way of an incident that is over to who finds a console open.

        While it is active nothing stands between a rescuer and the place, an old sign-in neither. Of a duress nobody
        takes it out of the house alone.

        Raises:
            Forbidden: ``sign_in_again``, ``second_person_needed``.
        """
        if not incident.is_active:
            check_signed_in_lately(who, now, self._fresh_s)
            self._second.check(incident, who.user, now)

    def looked(self, who: Principal, incident: Incident) -> None:
        """Remember the look. Not waited for: nothing may stand between a rescuer and the place."""
        self._looks.note(who, incident.subject, LookKind.INCIDENT, incident.incident_id, counts=not incident.is_active)
