"""Registered devices in memory: whose phone it is must be known at once, and also while the database is down."""

from collections.abc import Iterable, Sequence

from core.ids import DeviceId, TenantId, UserId
from trackers.errors import TooManyDevices
from trackers.model import Device
from trackers.settings import TrackerSettings


class Registry:
    """The devices. Bounds: those of ``TrackerSettings``, met with ``TooManyDevices``. Cost: O(1) a look-up."""

    def __init__(self, settings: TrackerSettings) -> None:
        self.is_loaded = False
        """Whether what is stored was read."""
        self._settings = settings
        self._by_hash: dict[bytes, Device] = {}
        self._by_owner: dict[tuple[TenantId, UserId], dict[DeviceId, Device]] = {}
        self._heard_at: dict[bytes, float] = {}
        self.told: dict[bytes, tuple[str, float]] = {}
        """Region last told to a device (by its secret's hash), and when."""

    def __len__(self) -> int:
        """Devices registered."""
        return len(self._by_hash)

    def load(self, devices: Iterable[Device]) -> None:
        """Take over what is stored; also more than may be added."""
        for device in devices:
            self.add(device)
        self.is_loaded = True

    def check_room(self, tenant: TenantId, technician: UserId) -> None:
        """Raise ``TooManyDevices`` when this technician may have no more, or nobody may."""
        if len(self.of(tenant, technician)) >= self._settings.devices_per_technician_max:
            raise TooManyDevices("the technician has as many devices as may be (`trackers.devices_per_technician_max`)")
        if len(self) >= self._settings.devices_max:
            raise TooManyDevices("as many devices are registered as may be (`trackers.devices_max`)")

    def add(self, device: Device) -> None:
        """It is registered from now on."""
        self._by_hash[device.secret_hash] = device
        self._by_owner.setdefault((device.tenant, device.technician), {})[device.device] = device

    def remove(self, device: Device) -> None:
        """It is nobody's from now on. Idempotent."""
        self._by_hash.pop(device.secret_hash, None)
        self._heard_at.pop(device.secret_hash, None)
        self.told.pop(device.secret_hash, None)
        owned = self._by_owner.get((device.tenant, device.technician), {})
        owned.pop(device.device, None)
        if not owned:
            self._by_owner.pop((device.tenant, device.technician), None)

    def by_hash(self, secret_hash: bytes) -> Device | None:
        """The device with this secret."""
        return self._by_hash.get(secret_hash)

    def of(self, tenant: TenantId, technician: UserId) -> Sequence[Device]:
        """Devices of one technician, in the order in which they were added."""
        return list(self._by_owner.get((tenant, technician), {}).values())

    def note_heard(self, device: Device, now: float) -> None:
        """Something came from it."""
        self._heard_at[device.secret_hash] = now

    def heard_at(self, device: Device) -> float | None:
        """When it was heard last; None while it was not since the start."""
        return self._heard_at.get(device.secret_hash)
