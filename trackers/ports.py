"""What trackers need from outside."""

from collections.abc import Sequence
from typing import Protocol

from core.ids import DeviceId, TenantId
from trackers.model import Device


class DeviceStore(Protocol):
    """Remembers registered devices."""

    async def load(self) -> Sequence[Device]:
        """All of them, in the order in which they were added. Raises ``Unavailable``."""
        ...

    async def put(self, device: Device) -> None:
        """Keep one, on the disk when this returns. Raises ``Unavailable``."""
        ...

    async def remove(self, tenant: TenantId, device: DeviceId) -> None:
        """Forget one, on the disk when this returns. Idempotent. Raises ``Unavailable``."""
        ...
