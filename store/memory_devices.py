"""The in-memory twin of registered trackers."""

from collections.abc import Sequence

from core.ids import DeviceId, TenantId
from store.memory_outbox import Faults
from trackers.model import Device


class MemoryDeviceStore:
    """In-memory ``trackers.ports.DeviceStore``."""

    def __init__(self) -> None:
        self.faults = Faults()
        self._devices: dict[tuple[TenantId, DeviceId], Device] = {}

    async def load(self) -> Sequence[Device]:
        """See the port."""
        self.faults.before_read()
        return sorted(self._devices.values(), key=lambda device: (device.added_at, device.device))

    async def put(self, device: Device) -> None:
        """See the port."""
        await self.faults.before_commit()
        self._devices[device.tenant, device.device] = device

    async def remove(self, tenant: TenantId, device: DeviceId) -> None:
        """See the port."""
        await self.faults.before_commit()
        self._devices.pop((tenant, device), None)
