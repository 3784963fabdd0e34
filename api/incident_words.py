"""What those say who handle an incident, as events of safety, and what they are answered."""

from core.ids import IncidentId, UserId
from core.principal import Principal
from realtime import messages
from safety import events
from safety.model import Incident


def handled(who: Principal, message: messages.IncidentCommand) -> events.Handled:
    """The event that a message means. Whether they may is decided in ``safety/access.py``."""
    incident = IncidentId(message.incident)
    match message:
        case messages.IncidentAckIn():
            return events.IncidentAcknowledged(who, incident)
        case messages.IncidentJoin():
            return events.IncidentJoined(who, incident)
        case messages.IncidentNote(text=text, call_to=call_to, outcome=outcome):
            return events.NoteTaken(
                who,
                incident,
                text,
                events.CallTo(call_to) if call_to is not None else None,
                events.CallOutcome(outcome) if outcome is not None else None,
            )
        case messages.IncidentRespond(fence=fence):
            return events.ResponseOffered(who, incident, fence)
        case messages.IncidentDecline():
            return events.OfferDeclined(who, incident)
        case messages.IncidentAssign(responder=responder):
            return events.ResponderAssigned(who, incident, UserId(responder))
        case messages.IncidentOnScene(responder=responder, fence=fence):
            return events.ArrivedOnScene(who, incident, UserId(responder) if responder is not None else None, fence)
        case messages.IncidentResolve(disposition=disposition, note=note):
            return events.IncidentResolved(who, incident, disposition, note)
        case messages.IncidentReopen(note=note):
            return events.IncidentReopened(who, incident, note)
        case messages.IncidentClose(note=note):
            return events.IncidentClosed(who, incident, note)


def reply_of(incident: Incident | None, who: Principal, incident_id: str) -> dict[str, object]:
    """How the incident stands by now, the number of the speaker's own grant if they have one, and whether ops still
    have to confirm that they are there."""
    result: dict[str, object] = {"incident": incident_id}
    if incident is not None:
        result["state"] = incident.state.value
        slot = incident.slot_of(who.user)
        if slot is not None:
            result["fence"] = slot.fence
            if slot.claimed_at is not None:
                # They must not believe that it is known, nor ops that they are there.
                result["arrival"] = "to_be_confirmed"
    return result
