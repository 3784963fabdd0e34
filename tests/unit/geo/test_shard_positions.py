from math import inf, nan

import numpy as np
import pytest

from core.ids import UserId
from geo.distance import distance_m
from geo.frames import convert_point
from geo.pings import FRAME_CODES, PingBatch, Verdict
from geo.point import Frame, LatLng
from geo.settings import PositionSettings
from geo.shard_positions import ShardPositions

NOW = 1_700_000_000.0
HERE = LatLng(22.5431, 114.0579)
ANNA, BO = UserId("tec_anna"), UserId("tec_bo")


def ping(positions: ShardPositions, *users: UserId, seq: int = 1, at: float = NOW, north: float = 0.0) -> PingBatch:
    n = len(users)
    return PingBatch.of(
        slot=positions.slots(users).tolist(),
        seq=[seq] * n,
        fixed_at=[at] * n,
        sent_at=[at] * n,
        received_at=[at] * n,
        lat=[HERE.lat_deg + north] * n,
        lng=[HERE.lng_deg] * n,
        accuracy_m=[8.0] * n,
        speed_mps=[1.5] * n,
    )


@pytest.fixture
def positions() -> ShardPositions:
    positions = ShardPositions(PositionSettings())
    positions.claim(ANNA)
    return positions


def test_a_ping_moves_the_live_position_in_the_platforms_frame(positions: ShardPositions) -> None:
    judged = positions.ingest(ping(positions, ANNA), NOW)
    live = positions.live(ANNA)
    assert live is not None
    assert distance_m(live.point, convert_point(HERE, Frame.WGS84, Frame.GCJ02)) < 0.001
    assert (live.seen_at, live.speed_mps, live.heading_deg) == (NOW, 1.5, None)
    assert judged.raw.lat[0] == HERE.lat_deg
    assert judged.pings.lat[0] == live.point.lat_deg
    assert positions.index.heard_at[0] == NOW
    assert judged.counts() == {Verdict.LIVE: 1}


def test_each_ping_is_converted_from_its_own_frame(positions: ShardPositions) -> None:
    points = [convert_point(HERE, Frame.WGS84, frame) for frame in Frame]
    batch = PingBatch.of(
        slot=[0, 0, 0],
        seq=[1, 2, 3],
        fixed_at=[NOW, NOW + 1, NOW + 2],
        received_at=[NOW + 2] * 3,
        lat=[point.lat_deg for point in points],
        lng=[point.lng_deg for point in points],
        crs=[FRAME_CODES[frame] for frame in Frame],
    )
    judged = positions.ingest(batch, NOW)
    assert judged.verdict.tolist() == [Verdict.LIVE] * 3
    np.testing.assert_allclose(judged.pings.lat, points[1].lat_deg, atol=1e-8)


def test_whoever_is_not_on_duty_is_counted_and_nothing_else(positions: ShardPositions) -> None:
    judged = positions.ingest(ping(positions, BO, ANNA), NOW)
    assert judged.counts() == {Verdict.LIVE: 1, Verdict.OFF_DUTY: 1}
    assert positions.live(BO) is None
    assert positions.trail(BO, 0.0) == []


def test_the_index_finds_who_pinged_and_forgets_who_left(positions: ShardPositions) -> None:
    positions.ingest(ping(positions, ANNA), NOW)
    center = convert_point(HERE, Frame.WGS84, Frame.GCJ02)
    assert positions.index.nearest(center, 5)[0].tolist() == [0]
    assert positions.release(ANNA) == 0
    assert positions.release(ANNA) is None
    assert positions.index.nearest(center, 5)[0].tolist() == []
    assert positions.live(ANNA) is None
    positions.claim(BO)
    assert positions.trail(BO, 0.0) == []
    assert positions.ingest(ping(positions, BO, at=NOW - 500.0), NOW).counts() == {Verdict.LIVE: 1}


def test_a_position_that_grows_stale_leaves_the_index_until_the_next_ping(positions: ShardPositions) -> None:
    positions.ingest(ping(positions, ANNA), NOW)
    assert positions.expire(NOW + 599.0).tolist() == []
    assert positions.expire(NOW + 601.0).tolist() == [0]
    assert positions.live(ANNA) is None
    positions.ingest(ping(positions, ANNA, seq=2, at=NOW + 700.0), NOW + 700.0)
    assert positions.live(ANNA) is not None


def test_the_trail_before_an_sos_holds_inaccurate_fixes_too(positions: ShardPositions) -> None:
    for number in range(10):
        batch = ping(positions, ANNA, seq=number, at=NOW + number, north=number * 1e-5)
        if number == 5:
            batch.accuracy_m[0] = 900.0
        positions.ingest(batch, NOW + number)
    trail = positions.trail(ANNA, NOW + 3.0)
    assert [fix.seq for fix in trail] == list(range(3, 10))
    assert [fix.verdict for fix in trail].count(Verdict.INACCURATE) == 1


def test_more_people_than_expected_find_room() -> None:
    positions = ShardPositions(PositionSettings(), capacity=16)
    users = [UserId(f"tec_{number}") for number in range(100)]
    for user in users:
        positions.claim(user)
    assert positions.ingest(ping(positions, *users), NOW).counts() == {Verdict.LIVE: 100}
    assert len(positions) == positions.index.placed_len == 100


def test_hostile_numbers_end_in_a_verdict(positions: ShardPositions) -> None:
    for value in (nan, inf, -inf, 1e300, -1e300):
        for column in ("lat", "lng", "fixed_at", "sent_at", "accuracy_m", "speed_mps", "heading_deg", "clock_rate"):
            batch = ping(positions, ANNA, seq=1)
            getattr(batch, column)[0] = value
            assert len(positions.ingest(batch, NOW).verdict) == 1
    live = positions.live(ANNA)
    assert live is None or abs(live.point.lat_deg) <= 90.0


def test_an_empty_batch_is_nothing(positions: ShardPositions) -> None:
    assert positions.ingest(ping(positions), NOW).counts() == {}
