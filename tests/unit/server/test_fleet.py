"""What one person's devices mean together."""

from typing import Any, cast

import pytest

from api.rights import Rights
from core.ids import CityId, DeviceId, TenantId, UserId
from core.principal import Principal, Role
from core.shard import Shard
from geo.point import Frame
from geo.position_index import Flag
from geo.settings import PositionSettings
from geo.shard_positions import ShardPositions
from server.fleet import Fleet
from server.last_seen import LastSeen
from store.directory import Directory

TENANT, CITY = TenantId("acme"), CityId("shenzhen")
SHARD = Shard(TENANT, CITY)
USER = UserId("res_1")
NOW = 1.8e9


class _Clock:
    def now(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return 0.0


class _House:
    """A fleet whose directory hears of each device first, as in the hub."""

    def __init__(self) -> None:
        positions = {SHARD: ShardPositions(PositionSettings(), Frame.GCJ02)}
        self.index = positions[SHARD].index
        self.directory = Directory()
        last_seen = LastSeen(positions, cast(Any, None))
        self.fleet = Fleet(positions, Rights(frozenset({SHARD})), last_seen, self.directory, _Clock())
        self.fleet.responder_on_duty(TENANT, USER, SHARD)

    def open(self, device: str, *roles: Role) -> None:
        who = Principal(TENANT, USER, roles[0], frozenset(roles), frozenset({CITY}), DeviceId(device), NOW + 60)
        self.directory.note(who, NOW)
        self.fleet.opened(who)

    @property
    def is_responder(self) -> bool:
        slot = self.index.slot(USER)
        assert slot is not None
        return bool(self.index.flags[slot] & Flag.RESPONDER)


@pytest.mark.parametrize("other", [Role.CUSTOMER, Role.TECHNICIAN])
def test_a_second_device_without_the_role_takes_no_responder_away(other: Role) -> None:
    house = _House()
    house.open("phone", Role.RESPONDER)
    house.open("tablet", other)
    assert house.is_responder
    house.open("phone", other)
    assert not house.is_responder, "no device has the role any more"


def test_a_responder_known_from_before_a_restart_stays_one() -> None:
    house = _House()
    house.directory.note(Principal(TENANT, USER, Role.RESPONDER, frozenset(), frozenset(), DeviceId("phone"), 0.0), NOW)
    house.fleet.know_responders(TENANT, {USER: None})
    house.open("tablet", Role.CUSTOMER)
    assert house.is_responder


def test_who_agreed_to_help_is_marked_on_duty_and_no_longer_once_they_withdraw() -> None:
    house = _House()
    slot = house.index.slot(USER)
    assert slot is not None
    house.fleet.consent_changed(TENANT, USER, True)
    assert house.index.flags[slot] & Flag.HELPER
    house.fleet.responder_on_duty(TENANT, USER, None)
    house.fleet.responder_on_duty(TENANT, USER, SHARD)
    assert house.index.flags[house.index.slot(USER) or 0] & Flag.HELPER, "also when they come on duty later"
    house.fleet.consent_changed(TENANT, USER, False)
    assert not house.index.flags[house.index.slot(USER) or 0] & Flag.HELPER
