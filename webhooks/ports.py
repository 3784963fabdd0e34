"""What webhooks need from others; filled in ``server/wiring.py``."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from webhooks.model import Answer, Delivery, Settled


class DeliveryQueue(Protocol):
    """Notices that were committed and not yet delivered (``store/webhooks.py``; twin in ``store/memory.py``).

    They are written by dispatch's commit. Order within an endpoint: by (``next_at``, event id).
    """

    async def waiting(self) -> Mapping[str, int]:
        """How many wait for each endpoint that has any. Raises ``Unavailable``."""
        ...

    async def due_first(self, endpoint: str, *, limit: int) -> Sequence[Delivery]:
        """Those that are due first. Raises ``Unavailable``."""
        ...

    async def keep(self, settled: Sequence[Settled], now: float) -> None:
        """Store what became of deliveries, all or nothing. Raises ``Unavailable``."""
        ...

    async def abandon(self, known: Collection[str], now: float) -> int:
        """Everything that waits for other endpoints than these is dead; returns how many. Raises ``Unavailable``."""
        ...


class Poster(Protocol):
    """Posts to programs outside and nowhere else (``transport/guarded_post.py``)."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """One attempt. Follows nothing, reads little, never raises but when cancelled."""
        ...
