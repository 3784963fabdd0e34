"""Values of safety: incidents, what triggered them, whom they must reach. No behaviour."""

from dataclasses import dataclass
from enum import StrEnum

from core.ids import CityId, DeviceId, IncidentId, OrderId, TenantId, UserId
from geo.point import LatLng


class IncidentState(StrEnum):
    """Where an incident is in its life; the arrows are in ``incident.py``."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESPONDING = "responding"
    ON_SCENE = "on_scene"
    CANCEL_PENDING = "cancel_pending"
    RESOLVED = "resolved"
    CLOSED = "closed"


class FixSource(StrEnum):
    """Where a position of an incident comes from; shown in words, never mixed up."""

    SOS = "sos"
    LIVE = "live"
    BOOKED_ADDRESS = "booked_address"


@dataclass(frozen=True, slots=True)
class IncidentFix:
    """A position in the platform's frame with what is known of its worth."""

    point: LatLng
    accuracy_m: float
    fixed_at: float
    """Server's estimate of when it was measured."""
    source: FixSource


@dataclass(frozen=True, slots=True)
class SosReport:
    """What could be read of one tap. Everything but the key may be missing.

    Attributes:
        key: The client's key; a repeat with the same key is the same tap.
        ignored: Names of fields that were there but could not be read.
        fix: Position in the platform's frame, None when there was none or it was not believable.
        age_s: How old the tap was when it arrived (``sent_at`` to ``received_at`` cannot be known; this is
            ``sent_at - fixed_at`` for the fix), 0 when unknown.
    """

    key: str
    ignored: tuple[str, ...] = ()
    fix: IncidentFix | None = None
    order_id: OrderId | None = None
    silent: bool = False
    battery: float | None = None
    note: str = ""
    sent_at: float | None = None


@dataclass(frozen=True, slots=True)
class Trigger:
    """One tap that fed an incident."""

    trigger_id: str
    incident_id: IncidentId
    key: str
    device: DeviceId
    received_at: float
    restricted: bool
    """The token was genuine but expired."""
    report: SosReport


@dataclass(frozen=True, slots=True)
class Target:
    """A user whom an incident must reach, with the reason."""

    user: UserId
    why: str
    level: int
    distance_m: float | None = None
    told_at: float | None = None
    received_at: float | None = None
    """When a device of theirs acknowledged the message."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One case. Frozen: each change makes a new value with ``version`` one higher."""

    tenant: TenantId
    city: CityId | None
    incident_id: IncidentId
    version: int
    state: IncidentState
    level: int
    subject: UserId
    subject_role: str
    raised_at: float
    changed_at: float
    silent: bool
    restricted: bool
    triggers: int
    last_trigger_at: float
    fix: IncidentFix | None
    order_id: OrderId | None
    note: str
    targets: tuple[Target, ...]
    repeat_at: float | None
    """When everyone is told again, None once a human acknowledged."""
    widen_at: float | None
    """When the next level is told too."""
    owner: UserId | None = None
    acknowledged_at: float | None = None
    resolved_by: UserId | None = None
    disposition: str = ""
    resolution_note: str = ""


@dataclass(frozen=True, slots=True)
class IncidentEvent:
    """One line of an incident's history. ``seq`` counts from 1 within the incident, without gaps."""

    tenant: TenantId
    incident_id: IncidentId
    seq: int
    at: float
    what: str
    who: str
    state: IncidentState
    level: int
    detail: str = ""
