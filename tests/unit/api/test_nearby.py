"""What cards of people near may tell of where those are."""

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from api.bodies import Nearby
from api.exchange import Request
from api.nearby import CELL_REACH_M, NearbyTechnicians
from api.picks import Picks
from api.settings import ApiSettings
from core.errors import Invalid
from core.ids import CityId, DeviceId, TenantId, UserId
from core.principal import Principal, Role
from core.shard import Shard
from dispatch.model import Gender, Technician
from geo.cells import CARD_RESOLUTION, cell_center, cell_of
from geo.distance import distance_m
from geo.point import Frame, LatLng
from geo.position_index import Flag, PositionIndex

NOW = 1.8e9
NOBODY: Any = None
"""Cards are no look at anybody: they tell no place."""
TENANT, CITY = TenantId("acme"), CityId("shenzhen")
MIDDLE = cell_center(cell_of(LatLng(22.54, 114.05), CARD_RESOLUTION))
WHO = Principal(
    TENANT, UserId("cus_1"), Role.CUSTOMER, frozenset({Role.CUSTOMER}), frozenset(), DeviceId("d"), NOW + 60
)


class _Town:
    """Everybody stands somewhere; nobody has ratings."""

    def __init__(self, metres_north: list[float]) -> None:
        self.index = PositionIndex()
        for number, metres in enumerate(metres_north):
            slot = self.index.claim(UserId(f"tec_{number}"))
            place = [MIDDLE.lat_deg + metres / 111_195], [MIDDLE.lng_deg]
            self.index.move(np.array([slot]), *place, seen_at=NOW)
            self.index.set_flags(slot, set=int(Flag.TECHNICIAN | Flag.VERIFIED | Flag.IDLE))
        self.shard = Shard(TENANT, CITY)
        self.positions = SimpleNamespace(index=self.index)
        self.dispatch = self
        self.kept_apart: frozenset[UserId] = frozenset()

    def open_city(self, tenant: TenantId, point: LatLng) -> tuple["_Town", str, str]:
        return self, "", ""

    def technician(self, user: UserId) -> Technician:
        return Technician(TENANT, user, user, frozenset(), Gender.OTHER, "", (CITY,), True, 1, NOW)

    def barred(self, customer: UserId) -> frozenset[UserId]:
        return self.kept_apart

    def rating(self, user: UserId, now: float) -> None:
        return None

    def cards(self, limit: int, key: bytes = b"key", **settings: Any) -> list[tuple[str, str]]:
        chosen = ApiSettings(**settings)
        nearby = NearbyTechnicians(cast(Any, self), Frame.WGS84, chosen, Picks(key, chosen.pick_token_life_s), NOBODY)
        query = {"lat": str(MIDDLE.lat_deg), "lng": str(MIDDLE.lng_deg), "limit": str(limit)}
        sent = nearby.listing(WHO, Request(now=NOW, query=query)).body
        return [(card.pick, card.distance_band) for card in msgspec.json.decode(sent, type=Nearby).cards or ()]


def test_who_is_shown_does_not_depend_on_metres_inside_a_cell() -> None:
    near_first = _Town([20.0 * number for number in range(12)])
    near_last = _Town([20.0 * (11 - number) for number in range(12)])
    assert all(distance_m(MIDDLE, LatLng(lat, MIDDLE.lng_deg)) < 300 for lat in near_first.index.lat[:12])
    for number in range(8):
        key = bytes([number])
        everybody = near_first.cards(20, key)
        assert len(everybody) == 12
        for limit in (1, 2, 5):
            assert near_first.cards(limit, key) == near_last.cards(limit, key) == everybody[:limit]


def test_the_cut_is_by_cells_also_across_them() -> None:
    town = _Town([137.0 * number for number in range(40)])
    everybody = town.cards(20, nearby_len_max=40)
    assert town.cards(3) == everybody[:3]
    assert town.cards(11) == everybody[:11]


def test_the_radius_is_measured_between_cells() -> None:
    town = _Town([3_000.0 + 50.0 * number for number in range(40)])
    for radius_m in (4_000.0, 4_200.0, 4_400.0):
        shown = {pick for pick, _ in town.cards(50, nearby_radius_m=radius_m, nearby_len_max=50)}
        places = [LatLng(lat, MIDDLE.lng_deg) for lat in town.index.lat[:40].tolist()]
        within = [p for p in places if distance_m(MIDDLE, cell_center(cell_of(p, CARD_RESOLUTION))) <= radius_m]
        assert len(shown) == len(within)


@pytest.mark.parametrize("lat", [-60.0, 0.0, 22.5, 45.0, 70.0])
def test_nobody_is_farther_from_the_centre_of_their_cell_than_is_looked_for(lat: float) -> None:
    for number in range(200):
        place = LatLng(lat + 0.0007 * number, 114.0 + 0.0011 * number)
        assert distance_m(place, cell_center(cell_of(place, CARD_RESOLUTION))) < CELL_REACH_M


def test_whoever_is_kept_apart_from_the_asker_has_no_card_and_takes_nobodys_place() -> None:
    town = _Town([20.0 * number for number in range(6)])
    everybody = town.cards(6)
    town.kept_apart = frozenset({UserId("tec_0"), UserId("tec_1")})
    left = town.cards(4)
    assert len(left) == 4
    assert set(left) < set(everybody)


def test_an_unknown_frame_is_a_wrong_field_like_any_other() -> None:
    town = _Town([20.0])
    nearby = NearbyTechnicians(cast(Any, town), Frame.WGS84, ApiSettings(), Picks(b"key", 60.0), NOBODY)
    query = {"lat": "22.5", "lng": "114.0", "crs": "foo"}
    with pytest.raises(Invalid, match="wgs84, gcj02, bd09") as caught:
        nearby.listing(WHO, Request(now=NOW, query=query))
    assert caught.value.field == "crs"
