"""Who has been here lately: devices of the last 24 h with roles and cities, in memory.

Roles are expanded to users (`ops of a city`) at the moment of a commit, which must not wait for a database;
so the whole directory is loaded at start and kept current by ``attach``. What is not here: the durable copy
(``streams.py`` writes it) and the choice whom to tell (the domains decide that).
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from core.ids import CityId, DeviceId, TenantId, UserId
from core.principal import Principal, Role

_NOTED_AGAIN_AFTER_S = 3600.0
"""An open session is a sign of life this often: far below the 24 h in which a device counts as alive."""
_STORED_AGAIN_AFTER_S = 600.0
"""A device's stored ``seen_at`` may lag this much: 24 h need no finer grain, and each ack would be a write."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device of one user, as it last presented itself."""

    tenant: TenantId
    user: UserId
    device: DeviceId
    roles: frozenset[Role]
    cities: frozenset[CityId]
    seen_at: float


class Directory:
    """Devices by user and by role.

    Args:
        seen_s: How long a device counts as alive after it was last heard.

    Cost: ``note`` and ``touch`` O(roles); ``users`` O(devices of that role in the tenant).
    """

    def __init__(self, seen_s: float = 86_400.0) -> None:
        self._seen_s = seen_s
        self._by_user: dict[tuple[TenantId, UserId], dict[DeviceId, Device]] = {}
        self._by_role: dict[tuple[TenantId, Role], dict[tuple[UserId, DeviceId], None]] = {}
        self._by_age: OrderedDict[tuple[TenantId, UserId, DeviceId], None] = OrderedDict()
        self._stored_at: dict[tuple[TenantId, UserId, DeviceId], float] = {}
        self._unstored: dict[tuple[TenantId, UserId, DeviceId], None] = {}

    def load(self, devices: Iterable[Device]) -> None:
        """Take over what is stored; called once, at start."""
        for device in sorted(devices, key=lambda device: device.seen_at):
            self._put(device)
            self._stored_at[device.tenant, device.user, device.device] = device.seen_at

    def note(self, who: Principal, now: float) -> None:
        """A session of this device began or renewed its token. Callers without a device are not noted."""
        if not who.device:
            return
        device = Device(who.tenant, who.user, who.device, who.roles | {who.role}, who.cities, now)
        previous = self._by_user.get((who.tenant, who.user), {}).get(who.device)
        self._put(device)
        key = (who.tenant, who.user, who.device)
        if previous is None or (previous.roles, previous.cities) != (device.roles, device.cities):
            self._unstored[key] = None
        else:
            self._note_lag(key, now)

    def note_alive(self, who: Principal, now: float) -> None:
        """A session of this device is open. May be called every few seconds: mostly it finds nothing to do."""
        known = self._by_user.get((who.tenant, who.user), {}).get(who.device)
        if (
            known is None
            or now - known.seen_at >= _NOTED_AGAIN_AFTER_S
            or (known.roles, known.cities) != (who.roles | {who.role}, who.cities)
        ):
            self.note(who, now)

    def touch(self, tenant: TenantId, user: UserId, device: DeviceId, now: float) -> None:
        """The device was heard; unknown devices are ignored."""
        known = self._by_user.get((tenant, user), {}).get(device)
        if known is not None and now > known.seen_at:
            self._by_user[tenant, user][device] = replace(known, seen_at=now)
            self._by_age.move_to_end((tenant, user, device))
            self._note_lag((tenant, user, device), now)

    def users(self, tenant: TenantId, role: Role, city: CityId | None, now: float) -> Sequence[UserId]:
        """Users with ``role`` seen in the last 24 h, sorted; only those good for ``city`` unless it is None."""
        found = set()
        for user, device_id in self._by_role.get((tenant, role), ()):
            device = self._by_user[tenant, user][device_id]
            if device.seen_at >= now - self._seen_s and (city is None or city in device.cities):
                found.add(user)
        return sorted(found)

    def living(self, tenant: TenantId, user: UserId, now: float) -> Sequence[DeviceId]:
        """Devices of the user seen in the last 24 h."""
        devices = self._by_user.get((tenant, user), {}).values()
        return [device.device for device in devices if device.seen_at >= now - self._seen_s]

    def take_unstored(self, limit: int) -> Sequence[Device]:
        """At most ``limit`` devices whose stored row is missing or old; they count as stored from now on."""
        taken: list[Device] = []
        # One look at the keys: a dict seeks its first key behind all that were deleted, a storm of them each time.
        for key in list(islice(self._unstored, limit)):
            del self._unstored[key]
            device = self._by_user.get(key[:2], {}).get(key[2])
            if device is not None:
                taken.append(device)
                self._stored_at[key] = device.seen_at
        return taken

    def put_back(self, devices: Iterable[Device]) -> None:
        """They could not be stored after all."""
        for device in devices:
            self._unstored[device.tenant, device.user, device.device] = None

    def forget(self, now: float, limit: int) -> int:
        """Drop at most ``limit`` devices that are no longer alive; returns how many."""
        forgotten = 0
        while self._by_age and forgotten < limit:
            key = next(iter(self._by_age))
            device = self._by_user[key[:2]][key[2]]
            if device.seen_at >= now - self._seen_s:
                break
            self._remove(device)
            self._stored_at.pop(key, None)
            self._unstored.pop(key, None)
            forgotten += 1
        return forgotten

    @property
    def has_unstored(self) -> bool:
        """Whether ``take_unstored`` would return something."""
        return bool(self._unstored)

    def __len__(self) -> int:
        """Devices remembered."""
        return len(self._by_age)

    def _note_lag(self, key: tuple[TenantId, UserId, DeviceId], now: float) -> None:
        if now - self._stored_at.get(key, float("-inf")) >= _STORED_AGAIN_AFTER_S:
            self._unstored[key] = None

    def _put(self, device: Device) -> None:
        previous = self._by_user.get((device.tenant, device.user), {}).get(device.device)
        if previous is not None:
            self._remove(previous)
        self._by_user.setdefault((device.tenant, device.user), {})[device.device] = device
        self._by_age[device.tenant, device.user, device.device] = None
        for role in device.roles:
            self._by_role.setdefault((device.tenant, role), {})[device.user, device.device] = None

    def _remove(self, device: Device) -> None:
        devices = self._by_user[device.tenant, device.user]
        del devices[device.device]
        del self._by_age[device.tenant, device.user, device.device]
        if not devices:
            del self._by_user[device.tenant, device.user]
        for role in device.roles:
            members = self._by_role[device.tenant, role]
            del members[device.user, device.device]
            if not members:
                del self._by_role[device.tenant, role]
