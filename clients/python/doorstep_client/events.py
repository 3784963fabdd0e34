"""What a client tells its application. ``body`` is the whole frame as the server sent it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """Root of all events."""


@dataclass(frozen=True, slots=True)
class Welcomed(Event):
    """A session stands; requests, watches and pings flow again."""

    session: str
    user: str
    role: str
    restricted: bool
    body: Body


@dataclass(frozen=True, slots=True)
class Disconnected(Event):
    """The connection is gone. ``retry_in_s`` is None when the client will not come back by itself."""

    code: int
    retry_in_s: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TokenNeeded(Event):
    """The token expired or is refused: give a newer one with ``renew``."""

    code: str


@dataclass(frozen=True, slots=True)
class OfferReceived(Event):
    """An order to take or leave until ``expires_at`` of the server's clock."""

    offer: str
    order: str
    remaining_ms: int
    body: Body


@dataclass(frozen=True, slots=True)
class OfferClosed(Event):
    """The offer can no longer be taken."""

    offer: str
    reason: str
    body: Body


@dataclass(frozen=True, slots=True)
class OrderChanged(Event):
    """An order as this user may see it now."""

    order: str
    state: str
    body: Body


@dataclass(frozen=True, slots=True)
class JobNews(Event):
    """Something happened in a job without a step: ``near``, ``at_place``, ``left_place``, ``wait_over``…"""

    order: str
    what: str
    body: Body


@dataclass(frozen=True, slots=True)
class IncidentRaised(Event):
    """Somebody needs help, and this user is asked to act; or the whole case anew. Comes once for each version.

    Attributes:
        rings: Ring now: the first news of an incident that is on, or that is on again.
    """

    incident: str
    state: str
    body: Body
    rings: bool = False


@dataclass(frozen=True, slots=True)
class IncidentUpdated(Event):
    """An incident changed. Comes once for each version; ``rings`` as of ``IncidentRaised``."""

    incident: str
    state: str
    body: Body
    rings: bool = False


@dataclass(frozen=True, slots=True)
class IncidentContact(Event):
    """The phone of the person in need fell silent (``lost``), or speaks again."""

    incident: str
    lost: bool
    body: Body


@dataclass(frozen=True, slots=True)
class CheckinChanged(Event):
    """Is all well? Ring on ``asked``, offer the answer on ``reminded``, stop on ``answered`` and ``dropped``."""

    checkin: str
    order: str
    kind: str
    state: str
    body: Body


@dataclass(frozen=True, slots=True)
class DrillChanged(Event):
    """Try the alarm (``asked``); or it came through (``passed``, with its time at the server); or ``skipped``."""

    drill: str
    state: str
    round_trip_ms: float | None
    body: Body


@dataclass(frozen=True, slots=True)
class CareNews(Event):
    """For ops, of a job under way: ``lost_contact``, ``contact_back``, ``unanswered``, ``answered_late``."""

    order: str
    technician: str
    what: str
    body: Body


@dataclass(frozen=True, slots=True)
class SnapshotReceived(Event):
    """What is open, in place of the messages that led to it; as much as one message holds."""

    orders: list[Body]
    offers: list[Body]
    incidents: list[Body]
    body: Body
    orders_left_out: int = 0
    """Open orders that did not fit; ``GET /v1/orders`` has them all."""
    incidents_left_out: int = 0
    """Incidents that did not fit; ``GET /v1/incidents`` has them all."""
    checkins: list[Body] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SosAcked(Event):
    """The tap arrived. ``durable`` says that it is stored; ``seen`` that a human acknowledged it."""

    key: str
    incident: str
    durable: bool
    seen: bool
    delivered: int
    body: Body


class SosStage(StrEnum):
    """How far a tap has come. Each is told once, and none is promised before it is so."""

    RECEIVED = "received"
    DURABLE = "durable"
    """Stored: it survives the end of the server."""
    DELIVERED = "delivered"
    """A device of somebody who can help has it."""
    SEEN = "seen"
    """A human has acknowledged it."""


@dataclass(frozen=True, slots=True)
class SosProgress(Event):
    """A tap has come this far."""

    key: str
    incident: str
    stage: SosStage


@dataclass(frozen=True, slots=True)
class SosNotReceived(Event):
    """Nobody has answered a tap yet: show "call 110" at once. Told once; the tap is sent on, without end."""

    key: str
    tapped_at: float


@dataclass(frozen=True, slots=True)
class PingsJudged(Event):
    """What became of pings. ``stored_seq``: everything up to it was forgotten here."""

    seq: int
    verdicts: dict[str, int]
    stored_seq: int
    corrected: dict[str, int] = field(default_factory=dict)
    """Earlier ``teleport`` verdicts that a second fix confirmed since: what each became."""


@dataclass(frozen=True, slots=True)
class PingsKept(Event):
    """Whether pings outlive this process changed: the file cannot be written (a full disk), or can again.

    Attributes:
        on_disk: False: they are kept in memory until the file can be written.
        damaged: Lines of the file that could not be read when it was opened; the pings in them are lost.
    """

    on_disk: bool
    reason: str = ""
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class PolicyChanged(Event):
    """How often to report from now on."""

    interval_s: float
    min_distance_m: float
    accuracy: str
    reason: str


@dataclass(frozen=True, slots=True)
class PositionReceived(Event):
    """A watched subject moved."""

    topic: str
    body: Body


@dataclass(frozen=True, slots=True)
class AreaReceived(Event):
    """Many technicians of a watched area, as columns."""

    topic: str
    body: Body


@dataclass(frozen=True, slots=True)
class Unwatched(Event):
    """A subscription ended on the server's side and is not renewed."""

    topic: str
    reason: str


@dataclass(frozen=True, slots=True)
class RequestDone(Event):
    """A request was done and is stored."""

    ref: str
    type: str
    result: Body = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RequestFailed(Event):
    """A request was refused, or not answered in time (code ``timeout``).

    Attributes:
        facts: What a program needs to ask for something else or later; which there are depends on the code.
    """

    ref: str
    type: str
    code: str
    message: str
    retry: bool
    facts: Body = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerError(Event):
    """An error that belongs to no request."""

    code: str
    message: str
    body: Body


@dataclass(frozen=True, slots=True)
class ProtocolFault(Event):
    """The server broke the contract (undecodable frame, a gap in a stream); the client reconnects."""

    message: str


@dataclass(frozen=True, slots=True)
class UnknownMessage(Event):
    """A message type newer than this client."""

    type: str
    body: Body
