from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from geo.distance import distance_m
from geo.point import LatLng
from geo.settings import TravelSettings
from geo.speed_map import learn
from geo.travel_time import EstimateTravelTimes, TravelMode
from geo.trips import Trips, speed_cells

SHENZHEN, NEW_YORK, BERLIN = (ZoneInfo(name) for name in ("Asia/Shanghai", "America/New_York", "Europe/Berlin"))
NOON = 1_700_020_800.0 - 1_700_020_800.0 % 86_400.0 + 4 * 3_600.0  # 12:00 in UTC+8
A, B, C = LatLng(22.54, 114.05), LatLng(22.55, 114.06), LatLng(22.70, 114.25)


def test_a_table_has_a_row_for_each_origin_and_says_what_was_used() -> None:
    table = EstimateTravelTimes(SHENZHEN).table_now([A, B], [A, B, C], NOON)
    assert table.duration_s.shape == table.distance_m.shape == (2, 3)
    assert table.source == "estimate"
    assert table.detail == "great circle x 1.35 by ebike at 18 km/h"
    assert table.distance_m[0, 1] == pytest.approx(distance_m(A, B) * 1.35)
    assert table.duration_s[0, 1] == pytest.approx(distance_m(A, B) * 1.35 / 5.0 + 90.0)
    assert table.duration_s[0, 0] == 90.0


def test_arrays_of_points_do_as_well() -> None:
    estimate = EstimateTravelTimes(SHENZHEN)
    points = np.array([A, B, C])
    assert (
        estimate.table_now(points, points, NOON).duration_s == estimate.table_now([A, B, C], [A, B, C], NOON).duration_s
    ).all()
    assert estimate.table_now([], [A], NOON).duration_s.shape == (0, 1)


def test_one_way_agrees_with_the_table() -> None:
    estimate = EstimateTravelTimes(SHENZHEN)
    assert estimate.between_s(A, C, NOON) == pytest.approx(estimate.table_now([A], [C], NOON).duration_s[0, 0])


async def test_the_port_gives_the_same_answer() -> None:
    estimate = EstimateTravelTimes(SHENZHEN)
    table = await estimate.table([A], [C], NOON, TravelMode.WALK)
    assert table.duration_s[0, 0] == estimate.between_s(A, C, NOON, TravelMode.WALK)


def test_cars_are_slower_in_the_rush_hours_and_others_are_not() -> None:
    estimate = EstimateTravelTimes(SHENZHEN)
    rush = NOON - 4 * 3_600.0
    assert estimate.speed_mps(rush, TravelMode.CAR) == pytest.approx(estimate.speed_mps(NOON, TravelMode.CAR) * 0.65)
    assert estimate.speed_mps(rush, TravelMode.EBIKE) == estimate.speed_mps(NOON, TravelMode.EBIKE)
    assert estimate.speed_mps(rush + 3_600.0, TravelMode.CAR) == estimate.speed_mps(NOON, TravelMode.CAR)


def slowness(zone: ZoneInfo, wall: str, of: ZoneInfo) -> float:
    """How much slower than at best a car is in a city of this zone when the clocks of another say so."""
    estimate = EstimateTravelTimes(zone, TravelSettings(default_mode="car"))
    now = datetime.fromisoformat(wall).replace(tzinfo=of).timestamp()
    return estimate.s_per_m(now) * 28.0 / 3.6 / 1.35


@pytest.mark.parametrize("zone", [SHENZHEN, NEW_YORK, BERLIN])
def test_the_rush_is_by_the_clock_of_the_city(zone: ZoneInfo) -> None:
    walls = [f"2026-11-23T{hour:02}:30" for hour in range(24)]
    slow = [hour for hour, wall in enumerate(walls) if slowness(zone, wall, zone) > 1.01]
    assert slow == [7, 8, 17, 18]


def test_the_rush_of_one_city_is_not_that_of_another_at_the_same_moment() -> None:
    eight = "2026-11-23T08:00"
    assert slowness(NEW_YORK, eight, NEW_YORK) == pytest.approx(1 / 0.65)
    assert slowness(SHENZHEN, eight, NEW_YORK) == pytest.approx(1.0)
    assert slowness(NEW_YORK, eight, SHENZHEN) == pytest.approx(1.0)  # 19:00 there: the rush is just over


@pytest.mark.parametrize(
    ("utc", "factor"),
    [
        ("2026-03-28T05:30", 1.0),  # 6:30, the day before the clocks are set forward
        ("2026-03-28T06:30", 1 / 0.65),
        ("2026-03-29T05:30", 1 / 0.65),  # 7:30
        ("2026-03-29T07:30", 1.0),
        ("2026-10-24T05:30", 1 / 0.65),
        ("2026-10-25T05:30", 1.0),  # set back: 6:30 again
        ("2026-10-25T06:30", 1 / 0.65),
    ],
)
def test_the_rush_moves_with_summer_time(utc: str, factor: float) -> None:
    assert slowness(BERLIN, utc, ZoneInfo("UTC")) == pytest.approx(factor)


def test_faster_modes_take_less_time() -> None:
    estimate = EstimateTravelTimes(SHENZHEN, TravelSettings(setup_s=0.0))
    times = [estimate.between_s(A, C, NOON, mode) for mode in TravelMode]
    assert times == sorted(times, reverse=True)


def learned(mps: float = 10.0) -> EstimateTravelTimes:
    """An estimate of a fleet that goes at this speed everywhere, with a detour of 1.2."""
    estimate = EstimateTravelTimes(SHENZHEN)
    n, cell = 60, speed_cells(np.array([A.lat_deg]), np.array([A.lng_deg]))[0]
    column = np.full(n, 600.0)
    trips = Trips(
        started_at=np.full(n, NOON),
        lat_deg=np.zeros((n, 2)),
        lng_deg=np.zeros((n, 2)),
        duration_s=column,
        way_m=column * mps,
        direct_m=column * mps / 1.2,
        leg_trip=np.arange(n),
        leg_at=np.full(n, NOON),
        leg_s=column,
        leg_m=column * mps,
        leg_cell=np.full(n, cell),
    )
    estimate.learn_from(learn(trips, estimate.hour_speeds_mps(), zone=SHENZHEN))
    return estimate


def test_learned_speeds_are_used_and_named() -> None:
    table = learned().table_now([A, B], [A, B, C], NOON)
    assert table.source == "learned"
    assert table.detail == "great circle x 1.2 at speeds learned from 60 trips"
    assert table.distance_m[0, 1] == pytest.approx(distance_m(A, B) * 1.2)
    assert table.duration_s[0, 1] == pytest.approx(distance_m(A, B) * 1.2 / 10.0 + 90.0)
    assert learned().between_s(A, C, NOON) == pytest.approx(table.duration_s[0, 2])
    assert learned().duration_s(1_000.0, NOON) == pytest.approx(1_000 * 1.2 / 10.0 + 90.0)


def test_another_mode_than_the_fleets_keeps_the_speeds_of_the_config() -> None:
    estimate, plain = learned(), EstimateTravelTimes(SHENZHEN)
    assert estimate.table_now([A], [C], NOON, TravelMode.WALK).source == "estimate"
    assert estimate.between_s(A, C, NOON, TravelMode.WALK) == plain.between_s(A, C, NOON, TravelMode.WALK)
    assert estimate.table_now([A], [C], NOON, TravelMode.EBIKE).source == "learned"


def test_a_large_table_uses_the_citys_speed_and_says_so() -> None:
    rng = np.random.default_rng(1)
    points = np.stack([22.5 + rng.random(142) * 0.1, 114.0 + rng.random(142) * 0.1], axis=1)
    table = learned().table_now(points, points, NOON)
    assert table.detail.endswith("in the city as a whole")
    assert table.duration_s[3, 4] == pytest.approx(table.distance_m[3, 4] / 10.0 + 90.0)


def test_unlearning_brings_the_config_back() -> None:
    estimate = learned()
    estimate.learn_from(None)
    assert estimate.table_now([A], [C], NOON).source == "estimate"


def test_speeds_by_the_hour_know_the_rush() -> None:
    speeds = EstimateTravelTimes(SHENZHEN, TravelSettings(default_mode="car")).hour_speeds_mps()
    assert speeds[8] == pytest.approx(speeds[12] * 0.65)
    assert speeds.shape == (24,)
