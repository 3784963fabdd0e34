import pytest

from core.errors import Unavailable
from core.ids import TenantId, UserId
from safety.profiles import Contact, EmergencyContact, Profile, Profiles
from store.memory import MemoryProfileStore

TENANT, USER = TenantId("demo"), UserId("tec_1")


async def test_who_never_said_anything_has_no_contact_and_does_not_help() -> None:
    profiles = Profiles(MemoryProfileStore())
    assert profiles.of(TENANT, USER) is None
    assert not profiles.consents(TENANT, USER)
    assert profiles.profile(TENANT, USER) == Profile(TENANT, Contact(USER))


async def test_a_change_counts_once_it_is_stored_and_is_there_after_a_restart() -> None:
    store = MemoryProfileStore()
    profiles = Profiles(store)
    contact = Contact(USER, "Li", "138", emergency=(EmergencyContact("Mum", "139"),))
    store.faults.fail_commits(1)
    with pytest.raises(Unavailable):
        await profiles.put(Profile(TENANT, contact, consents=True), 7.0)
    assert profiles.of(TENANT, USER) is None
    assert (await profiles.put(Profile(TENANT, contact, consents=True), 7.0)).changed_at == 7.0
    again = Profiles(store)
    await again.load()
    for known in (profiles, again):
        assert known.of(TENANT, USER) == contact
        assert known.consents(TENANT, USER)
        assert not known.consents(TenantId("other"), USER)
