import math

import pytest

from core.ids import CityId, UserId
from core.shard import Shard
from store.track_points import LastPosition
from tests.contract.conftest import Node
from tests.contract.store_values import CITY, NOW, OTHER_TENANT, SHARD, TENANT

TEC = UserId("tec_1")


def columns(*fixed_at: float) -> dict[str, list[float]]:
    return {
        "fixed_at": list(fixed_at),
        "received_at": [at + 1 for at in fixed_at],
        "lat": [31.2 + n / 1000 for n in range(len(fixed_at))],
        "lng": [121.5] * len(fixed_at),
        "accuracy_m": [8.0] * len(fixed_at),
        "speed_mps": [math.nan if n else 1.5 for n in range(len(fixed_at))],
        "heading_deg": [90.0] * len(fixed_at),
    }


async def test_a_track_is_read_in_the_order_of_its_fixes(node: Node) -> None:
    calls: list[str] = []
    node.stores.tracks.append(SHARD, TEC, "ord_1", columns(NOW + 5, NOW + 1), lambda: calls.append("stored"))
    node.stores.tracks.append(SHARD, TEC, "inc_1", columns(NOW + 3))
    await node.stores.tracks.flush()
    assert calls == ["stored"]
    await node.reopen()
    track = await node.stores.tracks.track(TENANT, "ord_1")
    assert [(p.fixed_at, p.lat, p.speed_mps, p.city) for p in track] == [
        (NOW + 1, 31.201, None, CITY),
        (NOW + 5, 31.2, 1.5, CITY),
    ]
    both = await node.stores.tracks.track_of(TENANT, TEC, from_at=NOW + 1, to_at=NOW + 5)
    assert [(p.fixed_at, p.order) for p in both] == [(NOW + 1, "ord_1"), (NOW + 3, "inc_1")]
    assert list(await node.stores.tracks.track(OTHER_TENANT, "ord_1")) == []


async def test_the_last_position_of_each_technician_wins(node: Node) -> None:
    for at in (NOW, NOW + 9):
        node.stores.tracks.note_last(LastPosition(TENANT, CITY, TEC, at, at, 31.2, 121.5, 5.0))
    node.stores.tracks.note_last(LastPosition(TENANT, CityId("suzhou"), UserId("tec_2"), NOW, NOW, 1.0, 2.0, 5.0))
    await node.stores.tracks.flush()
    await node.reopen()
    assert [p.fixed_at for p in await node.stores.tracks.last_positions(SHARD)] == [NOW + 9]
    assert [p.technician for p in await node.stores.tracks.last_positions(Shard(TENANT, CityId("suzhou")))] == ["tec_2"]


async def test_positions_without_a_place_or_time_are_refused(node: Node) -> None:
    broken = columns(NOW) | {"lat": [math.nan]}
    with pytest.raises(ValueError, match="must be numbers"):
        node.stores.tracks.append(SHARD, TEC, "ord_1", broken)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        node.stores.tracks.append(SHARD, TEC, "ord_1", columns(NOW) | {"lng": [1.0, 2.0]})
