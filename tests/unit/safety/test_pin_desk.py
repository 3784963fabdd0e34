from dataclasses import replace

import pytest

from core.errors import Forbidden, Invalid, Refused
from core.ids import TenantId, UserId
from safety.pin_desk import PinDesk, WrongTries
from safety.pins import Look
from safety.profiles import Profiles
from safety.settings import PinSettings
from store.memory import MemoryProfileStore
from tests.contract.store_values import NOW, make_principal

SETTINGS = PinSettings()


class PlainHasher:
    """Hashes that can be read, and how often each was looked at."""

    def __init__(self) -> None:
        self.looks = 0

    async def hash(self, pin: str) -> str:
        return f"hash of {pin}"

    async def compare(self, hashes: tuple[str, str] | None, pin: str) -> tuple[bool, bool] | None:
        self.looks += 1
        first, second = hashes or ("", "")
        return first == f"hash of {pin}", second == f"hash of {pin}"

    def look(self, hashes: tuple[str, str] | None, pin: str, done: Look) -> None:
        raise NotImplementedError


async def desk_of_somebody_with_pins() -> tuple[PinDesk, Profiles, PlainHasher]:
    profiles, hasher = Profiles(MemoryProfileStore()), PlainHasher()
    desk = PinDesk(profiles, hasher, SETTINGS)
    fresh = replace(make_principal(), issued_at=NOW - 1)
    pins = await desk.renewed(fresh, "4821", "8350", "", NOW)
    await profiles.put(replace(profiles.profile(fresh.tenant, fresh.user), pins=pins), fresh.user, NOW)
    return desk, profiles, hasher


async def test_a_fresh_token_sets_pins_and_an_old_one_does_not() -> None:
    desk, profiles, _ = await desk_of_somebody_with_pins()
    who = make_principal()
    kept = profiles.profile(who.tenant, who.user).pins
    assert kept is not None
    assert (kept.pin, kept.duress, kept.set_at) == ("hash of 4821", "hash of 8350", NOW)
    assert "4821" not in repr(kept)
    at_the_end = replace(who, issued_at=NOW - SETTINGS.fresh_token_s)
    assert (await desk.renewed(at_the_end, "7305", "2846", "", NOW)).pin == "hash of 7305"
    for issued_at in (NOW - SETTINGS.fresh_token_s - 0.1, 0.0):
        with pytest.raises(Forbidden) as caught:
            await desk.renewed(replace(who, issued_at=issued_at), "7305", "2846", "", NOW)
        assert caught.value.code == "sign_in_again"


async def test_the_old_pin_is_enough_and_that_for_duress_sets_pins_that_are_known_to_be_forced() -> None:
    desk, profiles, _ = await desk_of_somebody_with_pins()
    who = make_principal()
    assert (await desk.renewed(who, "7305", "2846", "4821", NOW)).duress == "hash of 2846"
    forced = await desk.renewed(who, "7305", "2846", "8350", NOW)
    assert forced.forced
    await profiles.put(replace(profiles.profile(who.tenant, who.user), pins=forced), who.user, NOW)
    again = await desk.renewed(who, "6104", "9527", "7305", NOW)
    assert again.forced, "whoever forced it knows this one too"
    assert not (await desk.renewed(replace(who, issued_at=NOW), "6104", "9527", "", NOW)).forced


async def test_wrong_old_pins_are_counted_for_the_person_and_forgotten_in_time() -> None:
    desk, _, hasher = await desk_of_somebody_with_pins()
    for device in ("phone", "tablet", "watch"):
        with pytest.raises(Refused, match="not the right one"):
            await desk.renewed(make_principal(device=device), "7305", "2846", "9173", NOW)
    looks = hasher.looks
    with pytest.raises(Refused) as caught:
        await desk.renewed(make_principal(), "7305", "2846", "4821", NOW + 1)
    assert caught.value.code == "pin_tries_spent"
    assert hasher.looks == looks
    later = NOW + SETTINGS.tries_window_s
    assert (await desk.renewed(make_principal(), "7305", "2846", "4821", later)).set_at == later


async def test_weak_pins_are_refused_before_anything_is_looked_at() -> None:
    desk, _, hasher = await desk_of_somebody_with_pins()
    with pytest.raises(Invalid):
        await desk.renewed(make_principal(), "1234", "8350", "4821", NOW)
    assert hasher.looks == 0


def test_tries_of_more_people_than_are_remembered_forget_the_longest_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safety.pin_desk.PEOPLE_MAX", 2)
    tries, tenant = WrongTries(SETTINGS), TenantId("demo")
    for nth, user in enumerate("abaabbc"):
        tries.note(tenant, UserId(user), NOW + nth)
    assert [tries.are_spent(tenant, UserId(user), NOW + 9) for user in "abc"] == [False, True, False]
