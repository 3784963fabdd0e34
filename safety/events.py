"""What safety is told (past tense) and what it wants done (imperative). No behaviour."""

from dataclasses import dataclass
from enum import StrEnum

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


Event = SosRaised | DeliveryReceived | IncidentAcknowledged | IncidentResolved


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
    RESOLVED = "resolved"


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


Effect = NotifyTargets | UpdateTargets | AckRaiser | ReviseRights | SoundAlarm | SendPage
