from dataclasses import replace

from core.ids import UserId
from safety.audit import AuditEntry, fact_entry
from safety.contacts import Contact, EmergencyContact
from safety.profiles import PinHashes, Profile
from tests.contract.conftest import Node
from tests.contract.store_values import NOW, OTHER_TENANT, TENANT


def entry_of(profile: Profile) -> AuditEntry:
    return fact_entry(profile.tenant, NOW, "tec_1", "profile.changed", profile.user, {"changed": ["contact"]})


async def test_profiles_are_loaded_as_they_were_stored_last_also_after_reopening(node: Node) -> None:
    mum = EmergencyContact("妈妈", "+86 139", "mum@example.org")
    profile = Profile(TENANT, Contact(UserId("tec_1"), "李", "138", "li@example.org", (mum,)), changed_at=NOW)
    other = replace(profile, tenant=OTHER_TENANT)
    await node.stores.profiles.put(profile, entry_of(profile))
    await node.stores.profiles.put(other, entry_of(other))
    newer = replace(profile, consents=True, pins=PinHashes("$a", "$b", NOW + 1), changed_at=NOW + 1)
    await node.stores.profiles.put(newer, entry_of(newer))
    await node.reopen()
    found = await node.stores.profiles.load()
    assert sorted(found, key=lambda p: p.tenant) == sorted([newer, other], key=lambda p: p.tenant)


async def test_who_is_erased_is_gone_also_after_reopening_and_nobody_else(node: Node) -> None:
    gone = Profile(TENANT, Contact(UserId("tec_1"), "李"), changed_at=NOW)
    other = replace(gone, tenant=OTHER_TENANT)
    for profile in (gone, other):
        await node.stores.profiles.put(profile, entry_of(profile))
    for _ in range(2):
        await node.stores.profiles.erase(TENANT, gone.user, [], (), entry_of(gone))
    await node.reopen()
    assert await node.stores.profiles.load() == [other]
