"""What a client tells its application. ``body`` is the whole frame as the server sent it."""

from dataclasses import dataclass, field
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
    """Somebody needs help, and this user is asked to act."""

    incident: str
    state: str
    body: Body


@dataclass(frozen=True, slots=True)
class IncidentUpdated(Event):
    """An incident changed."""

    incident: str
    state: str
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


@dataclass(frozen=True, slots=True)
class SosAcked(Event):
    """The tap arrived. ``durable`` says that it is stored; ``seen`` that a human acknowledged it."""

    key: str
    incident: str
    durable: bool
    seen: bool
    delivered: int
    body: Body


@dataclass(frozen=True, slots=True)
class PingsJudged(Event):
    """What became of pings. ``stored_seq``: everything up to it was forgotten here."""

    seq: int
    verdicts: dict[str, int]
    stored_seq: int
    corrected: dict[str, int] = field(default_factory=dict)
    """Earlier ``teleport`` verdicts that a second fix confirmed since: what each became."""


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
