from dataclasses import replace

from core.ids import UserId
from safety.profiles import Contact, EmergencyContact, PinHashes, Profile
from tests.contract.conftest import Node
from tests.contract.store_values import NOW, OTHER_TENANT, TENANT


async def test_profiles_are_loaded_as_they_were_stored_last_also_after_reopening(node: Node) -> None:
    mum = EmergencyContact("妈妈", "+86 139", "mum@example.org")
    profile = Profile(TENANT, Contact(UserId("tec_1"), "李", "138", "li@example.org", (mum,)), changed_at=NOW)
    other = replace(profile, tenant=OTHER_TENANT)
    await node.stores.profiles.put(profile)
    await node.stores.profiles.put(other)
    newer = replace(profile, consents=True, pins=PinHashes("$a", "$b", NOW + 1), changed_at=NOW + 1)
    await node.stores.profiles.put(newer)
    await node.reopen()
    found = await node.stores.profiles.load()
    assert sorted(found, key=lambda p: p.tenant) == sorted([newer, other], key=lambda p: p.tenant)
