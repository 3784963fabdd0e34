import numpy as np
import pytest

from geo.arrays import FloatArray
from geo.trips import TripRules, Trips, cut, joined

M_PER_DEG = 111_195.0
LAT, LNG = 22.54, 114.05


def north(*metres: float) -> FloatArray:
    """Latitudes so far north of the start."""
    return LAT + np.array(metres) / M_PER_DEG


def ride(seconds: int, mps: float, *, every_s: int = 20, start_s: int = 0, start_m: float = 0.0) -> FloatArray:
    """Rows of (time, metres north)."""
    at = np.arange(0, seconds + 1, every_s)
    return np.stack([start_s + at, start_m + at * mps], axis=1)


def cut_one(rows: FloatArray, rules: TripRules | None = None) -> Trips:
    return cut(np.zeros(len(rows)), rows[:, 0], north(*rows[:, 1]), np.full(len(rows), LNG), rules)


def test_a_ride_is_one_trip_with_its_way_and_time() -> None:
    trips = cut_one(ride(600, 5.0))
    assert len(trips) == 1
    assert trips.duration_s[0] == 600
    assert trips.way_m[0] == pytest.approx(3_000, rel=1e-4)
    assert trips.direct_m[0] == pytest.approx(3_000, rel=1e-4)
    assert trips.leg_s.sum() == 600
    assert set(trips.leg_trip.tolist()) == {0}


def test_the_order_of_fixes_and_repeated_ones_do_not_matter() -> None:
    rows = ride(600, 5.0)
    shuffled = np.random.default_rng(1).permutation(np.concatenate([rows, rows]))
    assert np.allclose(cut_one(shuffled).leg_m, cut_one(rows).leg_m)


def test_people_and_named_legs_do_not_share_a_trip() -> None:
    rows = np.concatenate([ride(600, 5.0), ride(600, 5.0, start_s=620, start_m=3_100)])
    who = np.repeat([7, 8], 31)
    trips = cut(who, rows[:, 0], north(*rows[:, 1]), np.full(len(rows), LNG))
    assert trips.duration_s.tolist() == [600, 600]


def test_a_gap_ends_a_trip() -> None:
    rows = np.concatenate([ride(400, 5.0), ride(400, 5.0, start_s=400 + 181, start_m=2_905)])
    assert cut_one(rows).duration_s.tolist() == [400, 400]
    assert len(cut_one(rows, TripRules(gap_s=200))) == 1


def test_a_jump_ends_a_trip() -> None:
    rows = ride(800, 5.0)
    rows[20, 1] += 5_000.0
    trips = cut_one(rows)
    assert trips.duration_s.tolist() == [380, 380]
    assert trips.way_m.max() < 2_000


def test_a_stop_is_no_part_of_a_trip_but_a_traffic_light_is() -> None:
    def with_rest(rest_s: int) -> Trips:
        rest = np.stack([np.arange(420, 400 + rest_s, 20), np.full(rest_s // 20 - 1, 2_000.0)], axis=1)
        return cut_one(np.concatenate([ride(400, 5.0), rest, ride(400, 5.0, start_s=400 + rest_s, start_m=2_000)]))

    assert len(with_rest(100)) == 1
    assert with_rest(100).duration_s[0] == 900
    stopped = with_rest(600)
    assert len(stopped) == 2
    assert stopped.duration_s.sum() == pytest.approx(800, abs=60)


def test_driving_round_the_block_is_no_stop() -> None:
    angle = np.linspace(0, 2 * np.pi, 10)  # back where they were after 180 s
    at = np.concatenate([np.arange(10) * 20.0, 200.0 + np.arange(20) * 20.0])
    metres_north = np.concatenate([np.sin(angle) * 300, np.arange(20) * 100.0])
    metres_east = np.concatenate([np.cos(angle) * 300 - 300, np.zeros(20)])
    lng = LNG + metres_east / M_PER_DEG / np.cos(np.radians(LAT))
    trips = cut(np.zeros(30), at, north(*metres_north), lng)
    assert trips.started_at.tolist() == [0.0]


def test_short_trips_say_nothing() -> None:
    assert len(cut_one(ride(100, 10.0))) == 0
    assert len(cut_one(ride(400, 1.0))) == 0
    assert len(cut_one(np.zeros((0, 2)))) == 0
    assert len(cut_one(np.zeros((1, 2)))) == 0


def test_fixes_of_every_second_are_thinned() -> None:
    rows = ride(600, 5.0, every_s=1)
    rows[:, 1] += np.random.default_rng(2).normal(0, 5.0, len(rows))
    trips = cut_one(rows)
    assert len(trips.leg_s) == 30
    assert trips.way_m[0] < 1.1 * trips.direct_m[0]
    assert cut_one(rows, TripRules(thin_s=1.0)).way_m[0] > 1.2 * trips.direct_m[0]


def test_cuts_can_be_joined() -> None:
    a, b = cut_one(ride(600, 5.0)), cut_one(ride(400, 8.0))
    both = joined([a, b, a])
    assert both.duration_s.tolist() == [600, 400, 600]
    assert np.bincount(both.leg_trip, both.leg_m).tolist() == pytest.approx(both.way_m.tolist())
