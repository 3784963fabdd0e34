"""Who may see and handle an incident. A foreign incident looks like one that does not exist."""

from core.errors import Forbidden, NotFound
from core.principal import Principal, Role
from safety.model import Incident


def is_ops_of(incident: Incident, who: Principal) -> bool:
    """Whether they are ops of the incident's city; an incident without a city belongs to all."""
    return who.holds(Role.OPS) and (incident.city is None or incident.city in who.cities)


def may_see(incident: Incident, who: Principal) -> bool:
    """Ops of its city and whoever it was sent to; never the other side of the booking, nor the subject.

    The subject hears by ``sos_ack``: the case holds who was told and what they wrote.
    """
    if who.tenant != incident.tenant or who.user in incident.avoid or who.user == incident.subject:
        return False
    return is_ops_of(incident, who) or any(target.user == who.user for target in incident.targets)


def require_handler(incident: Incident | None, who: Principal) -> Incident:
    """The incident, for somebody who may handle it.

    Raises:
        NotFound: There is none, or not for them.
        Forbidden: It is their own (``subject_cannot_handle``), or their token is too old (``restricted``).
    """
    if incident is None or incident.tenant != who.tenant:
        raise NotFound("no such incident")
    if who.user == incident.subject:
        raise Forbidden("whoever raised an incident cannot handle it", code="subject_cannot_handle")
    if not may_see(incident, who):
        raise NotFound("no such incident")
    if who.restricted:
        raise Forbidden("the token has expired", code="restricted")
    return incident
