"""Who may see, read and handle an incident. A foreign incident looks like one that does not exist.

To *see* one is to hear that it is there, and of its end; to *read* it is to have the case: where somebody is, who they
are, what was written, who else was told. Ops of its city read always. Whom it was sent to reads it while it is theirs:
until it is over, and not while others go there and they said no, or were asked and are not waited for.
"""

from typing import Final

from core.errors import Forbidden, NotFound
from core.ids import UserId
from core.principal import Principal, Role
from safety.escalation import Why
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
from safety.model import Incident, OfferState

OPS_ONLY: Final = (ResponderAssigned, IncidentReopened, IncidentClosed)
"""What only ops of the incident's city may do."""
WHO_GOES: Final = (ResponseOffered, OfferDeclined)
"""What only somebody may do whom it was sent to, and who may go there."""
WHO_HANDLES: Final = (IncidentAcknowledged, IncidentJoined, NoteTaken, ArrivedOnScene, IncidentResolved)
"""What ops of the city and those may do whom it was sent to; of the latter a resolution is a proposal."""

_NOT_WAITED_FOR: Final = frozenset({OfferState.EXPIRED, OfferState.SPARED, OfferState.DECLINED})
_AT_CONSOLES: Final = frozenset({Why.OPS_CITY, Why.OPS_ALL, "owner", "joined"})
"""Why somebody is told who was not called to go there."""


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


def stands_aside(incident: Incident, user: UserId) -> bool:
    """Whether somebody who was asked to go there is not needed while others go.

    Whoever owns it or has a slot does not, and nobody does as soon as nobody comes any more: then it is all of theirs
    again.
    """
    if not incident.is_active or not incident.coming or incident.owner == user or incident.slot_of(user) is not None:
        return False
    return any(offer.user == user and offer.state in _NOT_WAITED_FOR for offer in incident.offers)


def told_the_end(incident: Incident) -> frozenset[UserId]:
    """Targets to whom messages say only that it is no longer theirs, or over.

    Cost:
        O(n) for n targets, offers and slots.
    """
    called = (target.user for target in incident.targets if target.why not in _AT_CONSOLES)
    if not incident.is_active:
        return frozenset(called)
    if not incident.coming:
        return frozenset()
    not_waited_for = {offer.user for offer in incident.offers if offer.state in _NOT_WAITED_FOR}
    return frozenset(user for user in called if user in not_waited_for and stands_aside(incident, user))


def may_read(incident: Incident, who: Principal) -> bool:
    """Whether they have the whole case; see the top of this file."""
    if not may_see(incident, who):
        return False
    return is_ops_of(incident, who) or (incident.is_active and not stands_aside(incident, who.user))


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
