"""Who may see and handle an incident. A foreign incident looks like one that does not exist."""

from typing import Final

from core.errors import Forbidden, NotFound
from core.principal import Principal, Role
from safety.events import (
    ArrivedOnScene,
    Handled,
    IncidentAcknowledged,
    IncidentClosed,
    IncidentJoined,
    IncidentReopened,
    IncidentResolved,
    NoteTaken,
    OfferDeclined,
    ResponderAssigned,
    ResponseOffered,
)
from safety.model import Incident

OPS_ONLY: Final = (ResponderAssigned, IncidentReopened, IncidentClosed)
"""What only ops of the incident's city may do."""
WHO_GOES: Final = (ResponseOffered, OfferDeclined)
"""What only somebody may do whom it was sent to, and who may go there."""
WHO_HANDLES: Final = (IncidentAcknowledged, IncidentJoined, NoteTaken, ArrivedOnScene, IncidentResolved)
"""What ops of the city and those may do whom it was sent to; of the latter a resolution is a proposal."""


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


def require_allowed(incident: Incident | None, event: Handled) -> Incident:
    """The incident, for somebody who may do this to it.

    Raises:
        NotFound: There is none, or not for them.
        Forbidden: Their part in it does not allow this; also what ``require_handler`` says.
    """
    who = event.who
    found = require_handler(incident, who)
    is_ops = is_ops_of(found, who)
    if isinstance(event, OPS_ONLY) and not is_ops:
        raise Forbidden("only ops of the incident's city may do this")
    if isinstance(event, WHO_GOES) and not any(target.user == who.user for target in found.targets):
        raise Forbidden("only whom it was sent to can go there")
    if isinstance(event, ArrivedOnScene) and event.responder not in (None, who.user) and not is_ops:
        raise Forbidden("only ops may say it of somebody else")
    return found
