"""A message to a program outside: written in the transaction of the change it tells of, sent after it."""

from dataclasses import dataclass

from core.ids import TenantId


@dataclass(frozen=True, slots=True)
class Notice:
    """One event for one endpoint.

    Attributes:
        endpoint: The endpoint's name in the config.
        event_id: The same for every attempt, also after a restart: receivers know repeats by it.
        kind: What happened, such as ``order.assigned``.
        body: JSON bytes, sent and signed as they are.
        created_at: When the change was decided, UTC epoch seconds.
    """

    tenant: TenantId
    endpoint: str
    event_id: str
    kind: str
    body: bytes
    created_at: float
