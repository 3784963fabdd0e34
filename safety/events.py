"""What safety is told (past tense) and what it wants done (imperative). No behaviour."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core.ids import DeviceId, IncidentId, TenantId, UserId
from core.principal import Principal
from safety.model import CapStatus, Incident, IncidentKind, PinVerdict, SosReport, Target, TriggerSource
from safety.pages import Channel, Page, PageOutcome

# -- events: what happened ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SosRaised:
    """Someone tapped, or something did for them. ``who.restricted`` flags the trigger; nothing about it refuses it.

    Attributes:
        who: The subject: who needs help, whoever says so.
        source: By which door it came.
        kind: What it is; the incident has the gravest kind of its triggers.
        cap_status: Taps of different statuses feed different incidents: a drill never hides an emergency.
        cause: A word for why, when nobody tapped.
        raised_by: Who said so, when it was not the subject.
        also: Earlier taps of the same person that waited with this one, oldest first: counted, told as one.
    """

    who: Principal
    report: SosReport
    received_at: float
    also: tuple["SosRaised", ...] = ()
    source: TriggerSource = TriggerSource.HUB
    kind: IncidentKind = IncidentKind.PANIC
    cap_status: CapStatus = CapStatus.ACTUAL
    cause: str = ""
    raised_by: UserId | None = None


@dataclass(frozen=True, slots=True)
class DeliveryReceived:
    """A device of ``recipient`` confirmed a message about the incident."""

    tenant: TenantId
    recipient: UserId
    incident_id: IncidentId


@dataclass(frozen=True, slots=True)
class SubjectOffDuty:
    """Somebody with an alarm open went off duty."""

    tenant: TenantId
    subject: UserId


@dataclass(frozen=True, slots=True)
class SubjectAnswered:
    """The subject answered that all is well, after their silence was raised under ``key``. Ends nothing."""

    tenant: TenantId
    user: UserId
    key: str


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """The subject takes it back, with a PIN that was ``verdict``. Never ends an incident by itself."""

    who: Principal
    incident_id: IncidentId
    verdict: PinVerdict


@dataclass(frozen=True, slots=True)
class IncidentAcknowledged:
    """A human says: I have seen it and own it. Said again by the owner it means: still on it."""

    who: Principal
    incident_id: IncidentId


@dataclass(frozen=True, slots=True)
class IncidentResolved:
    """A human says: it is over. ``disposition`` is one word of ``incident.DISPOSITIONS``."""

    who: Principal
    incident_id: IncidentId
    disposition: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class IncidentJoined:
    """A human wants to be told of all that becomes of it, without owning it."""

    who: Principal
    incident_id: IncidentId


class CallTo(StrEnum):
    """Who was called or visited."""

    SUBJECT = "subject"
    EMERGENCY_CONTACT = "emergency_contact"
    RESPONDER = "responder"
    POLICE = "police"
    AMBULANCE = "ambulance"
    OTHER = "other"


class CallOutcome(StrEnum):
    """What came of it."""

    REACHED = "reached"
    NO_ANSWER = "no_answer"
    VOICEMAIL = "voicemail"
    """A machine answered: nobody was reached."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class NoteTaken:
    """A human writes something down; of a call or visit also whom and what came of it."""

    who: Principal
    incident_id: IncidentId
    text: str
    call_to: CallTo | None = None
    outcome: CallOutcome | None = None


@dataclass(frozen=True, slots=True)
class ResponseOffered:
    """A responder says: I go. ``fence`` is that of the offer they answer, None for whatever holds now."""

    who: Principal
    incident_id: IncidentId
    fence: int | None = None


@dataclass(frozen=True, slots=True)
class OfferDeclined:
    """A responder says: I cannot."""

    who: Principal
    incident_id: IncidentId


@dataclass(frozen=True, slots=True)
class ResponderAssigned:
    """Ops send somebody."""

    who: Principal
    incident_id: IncidentId
    responder: UserId


@dataclass(frozen=True, slots=True)
class ArrivedOnScene:
    """A responder says: I am there; or ops say it of ``responder``. Their own word needs a position that shows it."""

    who: Principal
    incident_id: IncidentId
    responder: UserId | None = None
    fence: int | None = None


@dataclass(frozen=True, slots=True)
class IncidentReopened:
    """A human says: it is not over, or not safe."""

    who: Principal
    incident_id: IncidentId
    note: str = ""


@dataclass(frozen=True, slots=True)
class IncidentClosed:
    """A human has reviewed what was resolved: nothing is changed any more."""

    who: Principal
    incident_id: IncidentId
    note: str = ""


Handled = (
    IncidentAcknowledged
    | IncidentJoined
    | NoteTaken
    | ResponseOffered
    | OfferDeclined
    | ResponderAssigned
    | ArrivedOnScene
    | IncidentResolved
    | IncidentReopened
    | IncidentClosed
)
"""What those do who handle an incident."""

Event = SosRaised | SubjectAnswered | DeliveryReceived | SubjectOffDuty | CancelAsked | Handled


@dataclass(frozen=True, slots=True)
class PageSettled:
    """An attempt outside the hub has its result. For ``Paging``; the incidents' engine is not told.

    Attributes:
        pages: As they were when the attempt began.
    """

    pages: tuple[Page, ...]
    channel: Channel
    outcome: PageOutcome


# -- effects: what is to be done ------------------------------------------------------------------------


class Reason(StrEnum):
    """Why people are told, the ``why`` of the message where a target has none of its own."""

    RAISED = "raised"
    TAPPED_AGAIN = "tapped_again"
    WIDENED = "widened"
    REPEATED = "repeated"
    ACK_STALE = "ack_stale"
    ACKNOWLEDGED = "acknowledged"
    JOINED = "joined"
    NOTED = "noted"
    CALLED = "called"
    OFFERED = "offered"
    DECLINED = "declined"
    RESPONDING = "responding"
    ASSIGNED = "assigned"
    NOBODY_COMES = "nobody_comes"
    ARRIVAL_SEEN = "arrival_seen"
    ARRIVAL_CLAIMED = "arrival_claimed"
    ON_SCENE = "on_scene"
    STALLED = "stalled"
    MOVED_ON = "moved_on"
    OWNER_LOST = "owner_lost"
    CANCEL_ASKED = "cancel_asked"
    CALL_BACK_DUE = "call_back_due"
    NOT_VERIFIED = "not_verified"
    DURESS = "duress"
    REOPENED = "reopened"
    SECOND_NEEDED = "second_needed"
    LINKED = "linked"
    WITHDRAWN = "withdrawn"
    """Others go there, or it is over: the case is no longer theirs to read."""
    RESOLVED = "resolved"
    CLOSED = "closed"


PERSONAL: Final = frozenset({Reason.OFFERED, Reason.ASSIGNED, Reason.ARRIVAL_SEEN, Reason.ARRIVAL_CLAIMED})
"""Why single people are rung, whoever has the incident in hand; desks hear nothing of it."""
UNHEARD: Final = frozenset({Reason.ACK_STALE, Reason.CALL_BACK_DUE, Reason.NOBODY_COMES, Reason.STALLED})
"""Why it rings although somebody has it in hand: whoever that is, their word alone is not enough any more."""


@dataclass(frozen=True, slots=True)
class NotifyTargets:
    """Tell these targets the whole case (message ``incident``): it must ring."""

    incident: Incident
    targets: tuple[Target, ...]
    reason: Reason


@dataclass(frozen=True, slots=True)
class UpdateTargets:
    """Tell these targets what changed (message ``incident.update``): their view must not be stale."""

    incident: Incident
    targets: tuple[Target, ...]
    reason: Reason


@dataclass(frozen=True, slots=True)
class AckRaiser:
    """Tell the raiser how far their tap has come (message ``sos_ack``).

    Attributes:
        incident: The incident as of now: ``level``, ``delivered``, ``seen`` come from it.
        answer: True for the answer to a tap just received (it goes to the device that asked), False for news
            about an earlier one (it goes to all devices of the subject).
    """

    incident: Incident
    key: str
    device: DeviceId
    ignored: tuple[str, ...]
    received_at: float
    answer: bool


@dataclass(frozen=True, slots=True)
class AnswerCancel:
    """The answer to ``CancelAsked``. ``accepted`` says nothing of whether the subject is safe, or forced."""

    incident: Incident
    accepted: bool


@dataclass(frozen=True, slots=True)
class ReviseRights:
    """The incident's state, owner or audience changed: performed before anything else."""

    incident: Incident


@dataclass(frozen=True, slots=True)
class SoundAlarm:
    """Something that operators of the platform must hear of: nobody could be told, a look-up failed."""

    incident: Incident
    what: str


@dataclass(frozen=True, slots=True)
class SendPage:
    """Make one attempt outside the hub: one message by one channel, of one incident or of several.

    Attributes:
        incidents: What it tells of, the longest waiting first.
        pages: Of each of them the page that this is an attempt of; all are of one recipient.
    """

    channel: Channel
    incidents: tuple[Incident, ...]
    pages: tuple[Page, ...]

    @property
    def incident(self) -> Incident:
        """The first of them."""
        return self.incidents[0]


@dataclass(frozen=True, slots=True)
class RaiseForReal:
    """Somebody said by their PIN for a drill that they are forced: a real incident begins, in a turn of its own."""

    incident: Incident
    who: Principal


Effect = NotifyTargets | UpdateTargets | AckRaiser | AnswerCancel | ReviseRights | SoundAlarm | SendPage | RaiseForReal
