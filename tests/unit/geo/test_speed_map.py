from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import h3
import numpy as np
import pytest
from h3.api import basic_int as h3_int

from geo.distance import distance_m
from geo.point import LatLng
from geo.speed_map import HOURS, SpeedLevel, SpeedMap, SpeedRules, learn
from geo.trips import SPEED_RESOLUTION, Trips

DEFAULT_MPS = np.full(HOURS, 5.0)
NOON, FOUR = 43_200.0, 14_400.0
HERE = LatLng(22.54, 114.05)


def cell(lat: float, lng: float) -> int:
    return int(h3_int.latlng_to_cell(lat, lng, SPEED_RESOLUTION))


def trips(*rows: tuple[int, float, float], each_s: float = 600.0, repeat: int = 50, detour: float = 1.2) -> Trips:
    """Straight trips within one cell each: (cell, speed, start)."""
    rows = rows * repeat
    n = len(rows)
    speed, at = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
    duration_s = np.full(n, each_s)
    return Trips(
        started_at=at,
        lat_deg=np.zeros((n, 2)),
        lng_deg=np.zeros((n, 2)),
        duration_s=duration_s,
        way_m=speed * duration_s,
        direct_m=speed * duration_s / detour,
        leg_trip=np.arange(n),
        leg_at=at,
        leg_s=duration_s,
        leg_m=speed * duration_s,
        leg_cell=np.array([row[0] for row in rows], dtype=np.int64),
    )


def made(source: Trips, rules: SpeedRules | None = None, setup_s: float = 0.0) -> SpeedMap:
    found = learn(source, DEFAULT_MPS, zone=UTC, setup_s=setup_s, rules=rules)
    assert found is not None
    return found


def test_too_few_trips_teach_nothing() -> None:
    few = trips((cell(*HERE), 8.0, NOON), repeat=49)
    assert learn(few, DEFAULT_MPS, zone=UTC) is None
    assert learn(trips((cell(*HERE), 8.0, NOON)), DEFAULT_MPS, zone=UTC) is not None


def test_a_city_of_one_speed_has_that_speed_everywhere() -> None:
    speeds = made(trips((cell(*HERE), 8.0, NOON)))
    asked = [(cell(*HERE), 12), (cell(*HERE), 4), (cell(40.0, 100.0), 12)]
    found = [speeds.speed(where, hour) for where, hour in asked]
    assert [mps for mps, _ in found] == pytest.approx([8.0] * 3)
    assert [level for _, level in found] == [SpeedLevel.CELL_HOUR, SpeedLevel.CELL, SpeedLevel.CITY]
    assert speeds.detour == pytest.approx(1.2)
    assert speeds.s_per_m(NOON) == pytest.approx(1.2 / 8.0)


def test_each_place_and_hour_comes_to_its_own_speed_with_much_evidence() -> None:
    slow, fast = cell(*HERE), cell(22.60, 114.20)
    source = trips((slow, 4.0, NOON), (fast, 12.0, NOON), (slow, 6.0, FOUR), (fast, 15.0, FOUR), repeat=2_000)
    speeds = made(source)
    found = [speeds.speed(where, hour)[0] for where in (slow, fast) for hour in (12, 4)]
    assert found == pytest.approx([4.0, 6.0, 12.0, 15.0], rel=0.01)


def test_one_trip_hardly_moves_a_cell() -> None:
    rare, usual = cell(22.60, 114.20), cell(*HERE)
    source = trips(*[(usual, 8.0, NOON)] * 1_000, (rare, 1.0, NOON), repeat=1, each_s=120.0)
    assert 6.0 < made(source).speed(rare, 12)[0] < 8.0


def test_a_new_cell_takes_after_its_district_and_a_new_hour_after_the_default() -> None:
    district = h3_int.cell_to_parent(cell(*HERE), 6)
    children = sorted(h3_int.cell_to_children(district, SPEED_RESOLUTION))
    far = cell(23.5, 113.0)
    source = trips((children[0], 4.0, NOON), (far, 12.0, NOON), repeat=500)
    speeds = made(source)
    mps, level = speeds.speed(children[5], 12)
    assert level is SpeedLevel.COARSE
    assert mps == pytest.approx(4.0, rel=0.1)
    rush = np.where(np.arange(HOURS) == 18, 2.5, 5.0)
    learned = learn(source, rush, zone=UTC)
    assert learned is not None
    assert learned.speed(children[0], 18)[0] == pytest.approx(learned.speed(children[0], 4)[0] / 2)


def test_hours_are_local() -> None:
    speeds = learn(trips((cell(*HERE), 8.0, NOON)), DEFAULT_MPS, zone=ZoneInfo("Asia/Shanghai"))
    assert speeds is not None
    assert speeds.hour(NOON) == 20
    assert speeds.speed(cell(*HERE), 20)[1] is SpeedLevel.CELL_HOUR
    assert speeds.speed(cell(*HERE), 12)[1] is SpeedLevel.CELL


def test_the_same_hour_by_the_clock_is_learned_as_one_in_summer_and_in_winter() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    summer, winter = (datetime(2026, month, 24, 12, 30, tzinfo=berlin).timestamp() for month in (10, 11))
    speeds = learn(trips((cell(*HERE), 8.0, summer), (cell(*HERE), 8.0, winter)), DEFAULT_MPS, zone=berlin)
    assert speeds is not None
    assert speeds.hour(summer) == speeds.hour(winter) == 12
    assert np.flatnonzero(speeds.seen[0]).tolist() == [12]


def test_setting_out_is_not_taken_for_slowness() -> None:
    source = trips((cell(*HERE), 8.0, NOON), each_s=300.0)
    with_door = replace(source, duration_s=source.duration_s + 100.0, leg_s=source.leg_s + 100.0)
    assert made(with_door).speed(cell(*HERE), 12)[0] == pytest.approx(6.0)
    assert made(with_door, setup_s=100.0).speed(cell(*HERE), 12)[0] == pytest.approx(8.0)
    assert made(with_door, setup_s=100.0).s_per_m(NOON) == pytest.approx(1.2 / 8.0)


def test_the_map_is_bounded_and_keeps_the_busiest_cells() -> None:
    many = [cell(22.5 + i * 0.02, 114.05) for i in range(10)]
    rows = [(where, 8.0, NOON) for i, where in enumerate(many) for _ in range(10 + i)]
    speeds = made(trips(*rows, repeat=1), SpeedRules(cells_max=3))
    assert sorted(speeds.cells.tolist()) == sorted(many[-3:])
    assert len(speeds.coarse) <= 3


def test_a_way_is_priced_by_the_thirds_of_its_line() -> None:
    a, b = HERE, LatLng(22.54, 114.35)
    thirds = [LatLng(a.lat_deg, a.lng_deg + 0.30 * share) for share in (1 / 6, 1 / 2, 5 / 6)]
    source = trips(*[(cell(*p), mps, NOON) for p, mps in zip(thirds, (4.0, 8.0, 16.0), strict=True)], repeat=5_000)
    speeds = made(source)
    expected = distance_m(a, b) * 1.2 * (1 / 4 + 1 / 8 + 1 / 16) / 3
    assert speeds.way_between_s(a, b, NOON) == pytest.approx(expected, rel=0.01)
    assert float(speeds.way_s(*a, *b, NOON)) == pytest.approx(speeds.way_between_s(a, b, NOON))


def test_arrays_and_single_pairs_agree() -> None:
    rng = np.random.default_rng(3)
    places = np.stack([22.5 + rng.random(40) * 0.2, 114.0 + rng.random(40) * 0.2], axis=1)
    rows = [(cell(*place), 3.0 + 9.0 * rng.random(), float(rng.integers(86_400))) for place in places[:20]]
    speeds = made(trips(*rows, repeat=10))
    table = speeds.way_s(places[:, 0:1], places[:, 1:2], places[:, 0], places[:, 1], NOON)
    assert table.shape == (40, 40)
    for i, j in ((0, 1), (3, 39), (20, 21), (5, 5)):
        one = speeds.way_between_s(LatLng(*places[i]), LatLng(*places[j]), NOON)
        assert table[i, j] == pytest.approx(one)
    assert speeds.way_s(np.zeros((0, 1)), np.zeros((0, 1)), places[:, 0], places[:, 1], NOON).shape == (0, 40)


def test_cells_are_the_public_ones() -> None:
    assert h3.int_to_str(cell(*HERE)) == h3.latlng_to_cell(*HERE, SPEED_RESOLUTION)
