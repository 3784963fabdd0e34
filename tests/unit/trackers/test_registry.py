import pytest

from core.ids import DeviceId, TenantId, UserId
from trackers.credentials import hash_of
from trackers.errors import TooManyDevices
from trackers.model import App, Device
from trackers.registry import Registry
from trackers.settings import TrackerSettings

TENANT, TEC = TenantId("t"), UserId("tec")


def device(name: str, technician: str = "tec", tenant: str = "t") -> Device:
    return Device(
        TenantId(tenant),
        DeviceId(name),
        UserId(technician),
        App.OSMAND,
        "",
        hash_of(f"{tenant}/{name}"),
        0.0,
        UserId("o"),
    )


def test_a_device_is_found_by_its_secret_until_it_is_removed() -> None:
    registry = Registry(TrackerSettings())
    one = device("one")
    registry.add(one)
    registry.note_heard(one, 7.0)
    assert registry.by_hash(hash_of("t/one")) == one
    assert registry.heard_at(one) == 7.0
    for _ in range(2):
        registry.remove(one)
    assert registry.by_hash(one.secret_hash) is None
    assert registry.heard_at(one) is None
    assert (len(registry), registry.of(TENANT, TEC)) == (0, [])


def test_devices_of_one_person_and_of_everybody_are_bounded() -> None:
    registry = Registry(TrackerSettings(devices_max=3, devices_per_technician_max=2))
    registry.load([device("one"), device("two", tenant="other")])
    registry.check_room(TENANT, TEC)
    registry.add(device("three"))
    with pytest.raises(TooManyDevices, match="technician"):
        registry.check_room(TENANT, TEC)
    with pytest.raises(TooManyDevices, match="as many devices"):
        registry.check_room(TENANT, UserId("another"))
    assert [known.device for known in registry.of(TENANT, TEC)] == ["one", "three"]


def test_whether_it_was_read_is_known() -> None:
    registry = Registry(TrackerSettings())
    assert not registry.is_loaded
    registry.load([])
    assert registry.is_loaded
