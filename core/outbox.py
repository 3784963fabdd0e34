"""Messages that must arrive: rows written in the transaction of the change they tell of.

A recipient is a user; each user has two streams with their own sequence. A draft becomes a row when the
store gives it its ``seq`` inside the transaction, and only then may it be sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from core.ids import TenantId, UserId


class Stream(StrEnum):
    """The two reliable streams of a user. ``safety`` overtakes ``main``."""

    MAIN = "main"
    SAFETY = "safety"


@dataclass(frozen=True, slots=True)
class OutboxDraft:
    """A message on its way into a transaction.

    Attributes:
        recipient: User who must get it.
        body: JSON object bytes with ``type`` first, without ``stream``, ``seq``, ``epoch``.
        receipt: What to report to the domain when a device of the recipient has acknowledged it
            (an offer or incident id), ``""`` for nothing.
    """

    tenant: TenantId
    recipient: UserId
    stream: Stream
    body: bytes
    receipt: str = ""


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A committed message. ``seq`` starts at 1 and has no gaps within (tenant, recipient, stream, epoch)."""

    tenant: TenantId
    recipient: UserId
    stream: Stream
    seq: int
    epoch: str
    body: bytes
    receipt: str
    created_at: float


class Delivery(Protocol):
    """Carries committed rows to whatever devices of their recipients are connected."""

    def deliver(self, rows: Sequence[OutboxRow]) -> None:
        """Hand over rows after their commit. At least once: what cannot be sent now is replayed on resume.

        Rows of one (recipient, stream) must be given in any order without harm; they are sent by ``seq``.
        Never blocks, never raises.
        """
        ...
