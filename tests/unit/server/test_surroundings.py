"""Whom the cities' indexes name as near."""

from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from core.ids import CityId, TenantId, UserId
from geo.point import LatLng
from geo.position_index import Flag, PositionIndex
from geo.settings import PositionSettings
from geo.shard_positions import ShardPositions
from safety.ports import HelpSought
from safety.ranking import Group
from server.surroundings import QUIET_MAX, CitySurroundings, _booked, in_line

HERE = LatLng(31.0, 121.0)
T0 = 1_800_000_000.0
ACME, SH = TenantId("acme"), CityId("shanghai")
STAFF = Flag.RESPONDER | Flag.CONNECTED
HELPS = Flag.TECHNICIAN | Flag.HELPER | Flag.CONNECTED | Flag.IDLE


class Street:
    """People at so many metres to the north of ``HERE``."""

    def __init__(self) -> None:
        self.index = PositionIndex()
        self.consents: Callable[[TenantId, UserId], bool] = lambda tenant, user: True
        self.barred: dict[str, set[str]] = {}

    def put(
        self, user: str, metres: float | None, flags: int = STAFF, *, age_s: float = 1.0, accuracy_m: float = 10.0
    ) -> int:
        slot = self.index.claim(UserId(user))
        self.index.set_flags(slot, int(flags))
        if metres is not None:
            lat_deg, seen_at = HERE.lat_deg + metres / 111_195, T0 - age_s
            self.index.move(
                np.array([slot]), [lat_deg], [HERE.lng_deg], fixed_at=seen_at, seen_at=seen_at, accuracy_m=accuracy_m
            )
        return slot

    def line(self, group: Group = Group.STAFF, limit: int = 5, point: LatLng | None = HERE) -> list[str]:
        return [r.user for r in in_line([self.index], HelpSought(ACME, SH, point, 16.2, 5.0, limit), group, T0)]

    def asked(self, group: Group, limit: int = 5) -> list[str]:
        found = self.surroundings.responders(HelpSought(ACME, None, HERE, 16.2, 5.0, limit), group, T0)
        return [responder.user for responder in found]

    @property
    def surroundings(self) -> CitySurroundings:
        barred: Callable[[UserId], Collection[str]] = lambda user: self.barred.get(user, ())  # noqa: E731
        dispatch = SimpleNamespace(barred=barred)
        part = SimpleNamespace(positions=SimpleNamespace(index=self.index), dispatch=dispatch)
        cities = SimpleNamespace(of=lambda tenant: [part], get=lambda tenant, city: part)
        rest = cast(Any, None)
        contacts = SimpleNamespace(consents=lambda tenant, user: self.consents(tenant, user))
        return CitySurroundings(cast(Any, cities), rest, rest, rest, rest, rest, cast(Any, contacts), rest)


def test_who_makes_up_a_place_is_not_ranked_by_it_until_an_honest_one_comes() -> None:
    street = Street()
    street.put("honest", 11_000.0)
    slot = street.put("made_up", 0.0)
    assert street.line() == ["made_up", "honest"]
    street.index.mocked_at[slot] = T0
    assert street.line() == ["honest", "made_up"], "told, as somebody without a place"
    street.index.seen_at[slot] = T0 + 1
    assert street.line() == ["made_up", "honest"]


def test_the_soonest_at_worst_come_first_and_each_says_why() -> None:
    street = Street()
    street.put("rough", 100.0, accuracy_m=1_000.0)
    street.put("says nothing of it", 150.0, accuracy_m=np.nan)
    street.put("old", 200.0, age_s=59.0)
    street.put("well known", 300.0)
    assert street.line() == ["well known", "old", "says nothing of it", "rough"]
    first = in_line([street.index], HelpSought(ACME, SH, HERE, 16.2, 5.0, 5), Group.STAFF, T0)[0]
    assert first.approach is not None
    assert (first.approach.is_live, first.approach.r95_m, first.approach.age_s) == (True, 16, 1)
    assert first.approach.eta_s == pytest.approx((300 + 16.2 + 16.2) / 5 + 1, abs=0.2)


def test_whose_phone_is_quiet_takes_no_place_of_one_who_is_heard_be_they_hundreds() -> None:
    street = Street()
    for nth in range(300):
        street.put(f"quiet_{nth:03d}", 10.0 + nth, Flag.RESPONDER if nth % 2 else STAFF, age_s=1.0 if nth % 2 else 300)
    street.put("heard", 5_000.0)
    line = street.line(limit=5)
    assert line[0] == "heard"
    assert line[1:] == ["quiet_001", "quiet_003", "quiet_005", "quiet_007", "quiet_009"]
    street.put("nowhere", None)
    assert "nowhere" in street.line(limit=400)
    for nth in range(100):
        street.put(f"heard_{nth:03d}", 6_000.0 + nth)
    line = street.line(limit=100)
    assert line[:100] == ["heard", *(f"heard_{nth:03d}" for nth in range(99))]
    assert len(line) == 100 + QUIET_MAX, "some beside a full line"


def test_of_several_cities_one_line_is_made() -> None:
    here, there = Street(), Street()
    here.put("first", 100.0)
    here.put("third", 900.0)
    there.put("second", 500.0)
    there.put("nowhere", None)
    sought = HelpSought(ACME, None, HERE, 16.2, 5.0, 5)
    found = in_line([here.index, there.index], sought, Group.STAFF, T0)
    assert [responder.user for responder in found] == ["first", "second", "third", "nowhere"]
    assert in_line([], sought, Group.STAFF, T0) == []


def test_technicians_are_asked_who_agreed_are_free_and_in_no_danger_themselves() -> None:
    street = Street()
    street.put("free", 500.0, HELPS)
    street.put("offered", 600.0, (HELPS & ~Flag.IDLE) | Flag.OFFERED)
    street.put("busy", 10.0, (HELPS & ~Flag.IDLE) | Flag.BUSY)
    street.put("alarmed", 20.0, HELPS | Flag.ALARM)
    street.put("never agreed", 30.0, HELPS & ~Flag.HELPER)
    street.put("staff", 40.0, HELPS | Flag.RESPONDER)
    assert street.line(Group.CONSENTING) == ["free", "offered"]
    assert street.line(Group.STAFF) == ["staff"]


def test_consent_withdrawn_counts_at_once() -> None:
    street = Street()
    street.put("free", 500.0, HELPS)
    assert street.asked(Group.CONSENTING) == ["free"]
    assert not street.surroundings.unwilling(ACME, [UserId("free")])
    street.consents = lambda tenant, user: False
    assert street.asked(Group.CONSENTING) == []
    assert street.surroundings.unwilling(ACME, [UserId("free")]) == {"free"}


def test_without_a_point_all_are_named_those_who_are_heard_first() -> None:
    street = Street()
    street.put("a_quiet", 1.0, age_s=300.0)
    street.put("b_heard", 2.0)
    street.put("c_nowhere", None)
    assert street.line(point=None) == ["b_heard", "a_quiet", "c_nowhere"]


def test_a_block_keeps_apart_whichever_of_the_two_is_the_customer() -> None:
    street = Street()
    street.barred = {"anna": {"tec_1"}}
    around = street.surroundings
    assert around.kept_apart(ACME, UserId("anna"), [UserId("tec_1"), UserId("tec_2")]) == {"tec_1"}
    assert around.kept_apart(ACME, UserId("tec_1"), [UserId("anna"), UserId("ben")]) == {"anna"}


@pytest.mark.parametrize(("mocked_after_s", "is_made_up"), [(None, False), (0.0, True), (-1.0, False)])
def test_a_fix_that_the_phone_calls_made_up_is_marked(mocked_after_s: float | None, is_made_up: bool) -> None:
    positions = ShardPositions(PositionSettings())
    slot = positions.index.claim(UserId("tec"))
    positions.index.move(np.array([slot]), [31.0], [121.0], fixed_at=T0, seen_at=T0, accuracy_m=10.0)
    if mocked_after_s is not None:
        positions.index.mocked_at[slot] = T0 + mocked_after_s
    part = SimpleNamespace(positions=positions, shard=SimpleNamespace(city=SH))
    cities, presence = SimpleNamespace(get=lambda *_: part), SimpleNamespace(shard_of=lambda *_: part.shard)
    rest = cast(Any, None)
    surroundings = CitySurroundings(cast(Any, cities), cast(Any, presence), rest, rest, rest, rest, rest, rest)
    found = surroundings.last_fix(ACME, UserId("tec"), T0)
    assert found is not None
    assert found[1].is_made_up is is_made_up


def test_an_address_that_is_read_out_comes_with_all_other_orders_and_people_of_its_person() -> None:
    def order(name: str, technician: str) -> Any:
        site = SimpleNamespace(point=HERE, address="1 Long Lane", unit="", entrance_note="")
        return SimpleNamespace(order_id=name, city="sh", customer="cus_1", technician=technician, site=site)

    place = _booked([order("ord_1", "tec_1"), order("ord_2", "tec_2"), order("ord_3", "tec_1")], UserId("cus_1"))
    assert place.orders == ("ord_1", "ord_2", "ord_3")
    assert place.kept_out == ("tec_1", "tec_2")
