from core.ids import DeviceId, UserId
from core.principal import Role
from store.directory import Directory
from tests.contract.store_values import NOW, TENANT, make_principal

TEC, PHONE = UserId("tec_1"), DeviceId("phone")
DAY_S = 86_400.0


def test_a_device_is_stored_when_new_when_changed_and_else_every_ten_minutes() -> None:
    directory = Directory()
    directory.note(make_principal(), NOW)
    assert len(directory.take_unstored(9)) == 1
    directory.note(make_principal(), NOW + 1)
    directory.touch(TENANT, TEC, PHONE, NOW + 599)
    assert not directory.has_unstored
    directory.touch(TENANT, TEC, PHONE, NOW + 600)
    (device,) = directory.take_unstored(9)
    assert device.seen_at == NOW + 600
    directory.note(make_principal(cities=("suzhou",)), NOW + 601)
    assert [device.cities for device in directory.take_unstored(9)] == [frozenset({"suzhou"})]


def test_what_could_not_be_stored_is_given_again() -> None:
    directory = Directory()
    directory.note(make_principal(), NOW)
    taken = directory.take_unstored(9)
    directory.put_back(taken)
    assert list(directory.take_unstored(9)) == list(taken)


def test_a_sign_of_life_keeps_a_device_and_an_unknown_one_is_not_made_by_it() -> None:
    directory = Directory()
    directory.note(make_principal(), NOW)
    directory.touch(TENANT, TEC, PHONE, NOW + DAY_S)
    directory.touch(TENANT, TEC, DeviceId("tablet"), NOW + DAY_S)
    assert list(directory.living(TENANT, TEC, NOW + DAY_S + 5)) == [PHONE]


def test_an_open_session_is_a_sign_of_life_once_an_hour_and_at_once_when_its_token_says_something_else() -> None:
    directory = Directory()
    directory.note(make_principal(), NOW)
    directory.take_unstored(9)
    for second in range(0, 3600, 30):
        directory.note_alive(make_principal(), NOW + second)
    assert not directory.has_unstored
    directory.note_alive(make_principal(cities=("suzhou",)), NOW + 1)
    assert [device.cities for device in directory.take_unstored(9)] == [frozenset({"suzhou"})]
    for hour in range(1, 72):
        directory.note_alive(make_principal(cities=("suzhou",)), NOW + 3601 * hour)
        directory.forget(NOW + 3601 * hour, limit=9)
        assert len(directory.take_unstored(9)) == 1
    assert list(directory.users(TENANT, Role.TECHNICIAN, None, NOW + 3601 * 71)) == [TEC]


def test_forgetting_takes_the_longest_unheard_first_and_is_bounded() -> None:
    directory = Directory()
    for n in range(10):
        directory.note(make_principal(f"u{n}"), NOW + n)
    directory.touch(TENANT, UserId("u0"), PHONE, NOW + DAY_S)
    assert directory.forget(NOW + DAY_S + 5.5, limit=3) == 3
    assert len(directory) == 7
    assert directory.forget(NOW + DAY_S + 5.5, limit=99) == 2
    left = directory.users(TENANT, Role.TECHNICIAN, None, NOW + 5)
    assert list(left) == ["u0", "u6", "u7", "u8", "u9"]
    assert directory.forget(NOW + 9 * DAY_S, limit=99) == 5
    assert len(directory) == 0
    assert list(directory.users(TENANT, Role.TECHNICIAN, None, 0.0)) == []
