"""Values of webhooks: what is to be delivered and what became of an attempt. No behaviour."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core.notice import Notice


@dataclass(frozen=True, slots=True)
class Delivery:
    """A stored notice that its endpoint has not taken yet.

    Attributes:
        attempts: How often it was tried.
        next_at: When it is due, UTC epoch seconds.
    """

    notice: Notice
    attempts: int
    next_at: float


class Outcome(StrEnum):
    """What became of one attempt."""

    DELIVERED = "delivered"
    """2xx."""
    REFUSED = "refused"
    """4xx: the receiver does not want it as it is."""
    GONE = "gone"
    """410: it never will."""
    THROTTLED = "throttled"
    """429 or 408."""
    FAILED = "failed"
    """5xx, or no HTTP at all."""
    REDIRECTED = "redirected"
    """3xx: never followed."""
    TIMEOUT = "timeout"
    """No whole answer in time."""
    UNREACHABLE = "unreachable"
    """No connection, or no name."""
    FORBIDDEN_ADDRESS = "forbidden_address"
    """The host's name leads into a private network, which the config does not allow."""


ENDPOINT_FAULTS: Final = frozenset(
    {
        Outcome.THROTTLED,
        Outcome.FAILED,
        Outcome.REDIRECTED,
        Outcome.TIMEOUT,
        Outcome.UNREACHABLE,
        Outcome.FORBIDDEN_ADDRESS,
    }
)
"""Outcomes that speak against the endpoint; the others are about this one event."""


class Dead(StrEnum):
    """Why an event will not be tried again."""

    GONE = "gone"
    ATTEMPTS = "attempts"
    AGE = "age"
    ENDPOINT_REMOVED = "endpoint_removed"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one attempt gave.

    Attributes:
        status: HTTP status, 0 for none.
        retry_after_s: What the receiver asked for, None for nothing.
        body: The beginning of the answer's body, where it was asked for.
    """

    outcome: Outcome
    status: int = 0
    retry_after_s: float | None = None
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Settled:
    """What is to be stored of a delivery after an attempt: it is done, is due again, or is dead."""

    delivery: Delivery
    dead: Dead | None = None
    is_done: bool = False
