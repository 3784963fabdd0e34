import numpy as np
import pytest

from geo.distance import distance_m
from geo.point import LatLng
from geo.settings import TravelSettings
from geo.travel_time import EstimateTravelTimes, TravelMode

NOON = 1_700_020_800.0 - 1_700_020_800.0 % 86_400.0 + 4 * 3_600.0  # 12:00 in UTC+8
A, B, C = LatLng(22.54, 114.05), LatLng(22.55, 114.06), LatLng(22.70, 114.25)


def test_a_table_has_a_row_for_each_origin_and_says_what_was_used() -> None:
    table = EstimateTravelTimes().table_now([A, B], [A, B, C], NOON)
    assert table.duration_s.shape == table.distance_m.shape == (2, 3)
    assert table.source == "estimate"
    assert table.detail == "great circle x 1.35 by ebike at 18 km/h"
    assert table.distance_m[0, 1] == pytest.approx(distance_m(A, B) * 1.35)
    assert table.duration_s[0, 1] == pytest.approx(distance_m(A, B) * 1.35 / 5.0 + 90.0)
    assert table.duration_s[0, 0] == 90.0


def test_arrays_of_points_do_as_well() -> None:
    estimate = EstimateTravelTimes()
    points = np.array([A, B, C])
    assert (
        estimate.table_now(points, points, NOON).duration_s == estimate.table_now([A, B, C], [A, B, C], NOON).duration_s
    ).all()
    assert estimate.table_now([], [A], NOON).duration_s.shape == (0, 1)


def test_one_way_agrees_with_the_table() -> None:
    estimate = EstimateTravelTimes()
    assert estimate.between_s(A, C, NOON) == pytest.approx(estimate.table_now([A], [C], NOON).duration_s[0, 0])


async def test_the_port_gives_the_same_answer() -> None:
    estimate = EstimateTravelTimes()
    table = await estimate.table([A], [C], NOON, TravelMode.WALK)
    assert table.duration_s[0, 0] == estimate.between_s(A, C, NOON, TravelMode.WALK)


def test_cars_are_slower_in_the_rush_hours_and_others_are_not() -> None:
    estimate = EstimateTravelTimes()
    rush = NOON - 4 * 3_600.0
    assert estimate.speed_mps(rush, TravelMode.CAR) == pytest.approx(estimate.speed_mps(NOON, TravelMode.CAR) * 0.65)
    assert estimate.speed_mps(rush, TravelMode.EBIKE) == estimate.speed_mps(NOON, TravelMode.EBIKE)
    assert estimate.speed_mps(rush + 3_600.0, TravelMode.CAR) == estimate.speed_mps(NOON, TravelMode.CAR)


def test_faster_modes_take_less_time() -> None:
    estimate = EstimateTravelTimes(TravelSettings(setup_s=0.0))
    times = [estimate.between_s(A, C, NOON, mode) for mode in TravelMode]
    assert times == sorted(times, reverse=True)
