"""Whom the cities' indexes name as near."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from core.ids import UserId
from geo.point import LatLng
from geo.position_index import Flag, PositionIndex
from server.surroundings import _nearest

HERE = LatLng(31.0, 121.0)
T0 = 1_800_000_000.0


def part_with(**places: LatLng) -> tuple[Any, PositionIndex]:
    index = PositionIndex()
    for user, point in places.items():
        slot = index.claim(UserId(user))
        index.set_flags(slot, int(Flag.RESPONDER))
        index.move(np.array([slot]), [point.lat_deg], [point.lng_deg], fixed_at=T0, seen_at=T0)
    return SimpleNamespace(positions=SimpleNamespace(index=index)), index


def test_who_makes_up_a_place_is_not_ranked_by_it_until_an_honest_one_comes() -> None:
    part, index = part_with(honest=LatLng(31.1, 121.0), made_up=HERE)
    assert [near.user for near in _nearest(part, HERE, 5)] == ["made_up", "honest"]
    slot = index.slot(UserId("made_up"))
    assert slot is not None
    index.mocked_at[slot] = T0
    assert [near.user for near in _nearest(part, HERE, 5)] == ["honest"]
    index.seen_at[slot] = T0 + 1
    assert [near.user for near in _nearest(part, HERE, 5)] == ["made_up", "honest"]
