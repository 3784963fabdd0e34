from dataclasses import replace

import pytest

from core.errors import Unavailable
from core.ids import TenantId, UserId
from safety.audit import fact_entry
from safety.contacts import Contact, EmergencyContact
from safety.profiles import PinHashes, Profile, Profiles
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
        await profiles.put(Profile(TENANT, contact, consents=True), USER, 7.0)
    assert profiles.of(TENANT, USER) is None
    assert (await profiles.put(Profile(TENANT, contact, consents=True), USER, 7.0)).changed_at == 7.0
    again = Profiles(store)
    await again.load()
    for known in (profiles, again):
        assert known.of(TENANT, USER) == contact
        assert known.consents(TENANT, USER)
        assert not known.consents(TenantId("other"), USER)


async def test_the_audit_is_told_who_changed_which_parts_and_never_what_they_are() -> None:
    store = MemoryProfileStore()
    profiles = Profiles(store)
    first = Profile(TENANT, Contact(USER, "Li", "138"))
    mum = EmergencyContact("Mum", "139")
    steps = [
        (first, USER, ["contact"]),
        (replace(first, contact=replace(first.contact, emergency=(mum,))), UserId("ops_1"), ["emergency_contacts"]),
        (replace(first, consents=True), USER, ["emergency_contacts", "consent"]),
        (replace(first, consents=True, pins=PinHashes("$a", "$b", 3.0)), USER, ["pins"]),
        (replace(first, consents=True, pins=PinHashes("$a", "$b", 3.0)), USER, []),
    ]
    for at, (profile, by, changed) in enumerate(steps):
        await profiles.put(profile, by, float(at))
        expected = fact_entry(TENANT, float(at), by, "profile.changed", USER, {"changed": changed})
        assert store.entries[-1] == expected
    assert not [word for entry in store.entries for word in (b"138", b"Mum", b"$a") if word in entry.payload]


async def test_who_is_erased_is_nobody_any_more_once_it_is_stored() -> None:
    store = MemoryProfileStore()
    profiles = Profiles(store)
    await profiles.put(Profile(TENANT, Contact(USER, "Li"), consents=True), USER, 1.0)
    store.faults.fail_commits(1)
    with pytest.raises(Unavailable):
        await profiles.erase(TENANT, USER, [], (), UserId("ops_1"), 2.0)
    assert profiles.consents(TENANT, USER)
    await profiles.erase(TENANT, USER, [], (), UserId("ops_1"), 2.0)
    assert profiles.of(TENANT, USER) is None
    assert store.entries[-1] == fact_entry(TENANT, 2.0, "ops_1", "person.erased", USER, {"incidents": 0})


async def test_who_consents_is_told_of_at_the_start_and_at_each_change() -> None:
    store, told = MemoryProfileStore(), list[tuple[TenantId, UserId, bool]]()
    profiles = Profiles(store, lambda *said: told.append(said))
    profile = Profile(TENANT, Contact(USER, "Li"), consents=True)
    store.faults.fail_commits(1)
    with pytest.raises(Unavailable):
        await profiles.put(profile, USER, 1.0)
    assert told == []
    await profiles.put(profile, USER, 1.0)
    await Profiles(store, lambda *said: told.append(said)).load()
    await profiles.put(replace(profile, consents=False), USER, 2.0)
    await profiles.put(profile, USER, 3.0)
    await profiles.erase(TENANT, USER, [], (), UserId("ops_1"), 4.0)
    assert [said[2] for said in told] == [True, True, False, True, False]
    assert {said[:2] for said in told} == {(TENANT, USER)}
