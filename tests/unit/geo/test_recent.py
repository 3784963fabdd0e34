from core.ids import UserId
from geo.pings import PingBatch
from geo.point import Frame
from geo.settings import PositionSettings
from geo.shard_positions import ShardPositions

NOW = 1_700_000_000.0


def streamed(people: int, ticks: int, settings: PositionSettings, *, tick_s: float = 1.0) -> ShardPositions:
    positions = ShardPositions(settings, Frame.WGS84)
    for number in range(people):
        positions.claim(UserId(f"tec_{number}"))
    for tick in range(ticks):
        at = NOW + tick * tick_s
        n = people
        positions.ingest(
            PingBatch.of(
                slot=range(n), seq=[tick] * n, fixed_at=[at] * n, sent_at=[at] * n, received_at=[at] * n,
                lat=[22.5] * n, lng=[114.0] * n,
            ),
            at,
        )  # fmt: skip
    return positions


def test_everything_of_the_last_two_minutes_is_there_however_much_it_is() -> None:
    positions = streamed(100, 300, PositionSettings())
    for number in (0, 57, 99):
        trail = positions.trail(UserId(f"tec_{number}"), NOW + 299.0 - 120.0)
        assert [fix.seq for fix in trail] == list(range(179, 300))


def test_memory_is_bounded_and_the_oldest_go_first() -> None:
    positions = streamed(100, 300, PositionSettings(recent_rows_max=4096))
    trail = positions.trail(UserId("tec_3"), 0.0)
    assert [fix.seq for fix in trail] == list(range(300 - len(trail), 300))
    assert 39 <= len(trail) <= 41


def test_one_who_left_leaves_no_trail_to_the_next_in_the_slot() -> None:
    positions = streamed(2, 10, PositionSettings())
    positions.release(UserId("tec_0"))
    assert positions.claim(UserId("tec_new")) == 0
    assert positions.trail(UserId("tec_new"), 0.0) == []
    assert len(positions.trail(UserId("tec_1"), 0.0)) == 10


def test_what_nobody_asks_for_any_more_takes_no_memory() -> None:
    positions = streamed(1000, 400, PositionSettings())
    assert len(positions._recent._pieces) * 4096 <= 1000 * 122 + 2 * 4096
    trail = positions.trail(UserId("tec_999"), NOW + 399.0 - 120.0)
    assert [fix.seq for fix in trail] == list(range(279, 400))
