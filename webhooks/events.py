"""What webhooks are told (events) and what they want done (effects)."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.notice import Notice
from webhooks.model import Answer, Delivery, Settled

# -- events ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Queued:
    """Notices were committed with the changes they tell of."""

    notices: Sequence[Notice]


@dataclass(frozen=True, slots=True)
class Attempted:
    """An attempt has ended."""

    delivery: Delivery
    answer: Answer


@dataclass(frozen=True, slots=True)
class MoreRead:
    """The answer to ``ReadMore``: what is due first in the queue, None when it could not be read."""

    endpoint: str
    deliveries: Sequence[Delivery] | None


WebhookEvent = Queued | Attempted | MoreRead

# -- effects --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Try this one now."""

    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Keep:
    """Store what became of a delivery, before anything else is done."""

    settled: Settled


@dataclass(frozen=True, slots=True)
class ReadMore:
    """Read what is due first: the queue holds more than memory does."""

    endpoint: str


Effect = Send | Keep | ReadMore
