from core.ids import DeviceId, UserId
from tests.contract.conftest import Node
from tests.contract.store_values import NOW, OTHER_TENANT, TENANT
from trackers.credentials import hash_of
from trackers.model import App, Device

ONE = Device(TENANT, DeviceId("trk_1"), UserId("tec_1"), App.OVERLAND, "Li's", hash_of("1"), NOW, UserId("ops_1"))
TWO = Device(TENANT, DeviceId("trk_2"), UserId("tec_1"), App.OSMAND, "", hash_of("2"), NOW - 1, UserId("ops_1"))
OTHER = Device(OTHER_TENANT, DeviceId("trk_1"), UserId("tec_1"), App.TRACCAR, "", hash_of("3"), NOW + 1, UserId("x"))


async def test_devices_are_remembered_in_the_order_in_which_they_were_added(node: Node) -> None:
    for device in (ONE, TWO, OTHER):
        await node.stores.tracker_devices.put(device)
    await node.reopen()
    assert await node.stores.tracker_devices.load() == [TWO, ONE, OTHER]


async def test_a_removed_device_is_forgotten_in_its_tenant_alone(node: Node) -> None:
    for device in (ONE, OTHER):
        await node.stores.tracker_devices.put(device)
    for _ in range(2):
        await node.stores.tracker_devices.remove(TENANT, ONE.device)
    await node.reopen()
    assert await node.stores.tracker_devices.load() == [OTHER]
