import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.distance import EARTH_RADIUS_M, bearing_between_deg, bearing_deg, distance_m, haversine_m
from geo.point import LatLng

points = st.builds(LatLng, st.floats(-90.0, 90.0), st.floats(-180.0, 180.0))


def test_a_degree_of_the_meridian_is_111_195_metres() -> None:
    assert distance_m(LatLng(0, 0), LatLng(1, 0)) == pytest.approx(111_195.08, abs=0.01)


def test_the_antimeridian_is_no_wall() -> None:
    assert distance_m(LatLng(0, 179.9999), LatLng(0, -179.9999)) == pytest.approx(22.239, abs=0.001)


def test_antipodes_are_half_the_circumference_apart() -> None:
    assert distance_m(LatLng(0, 0), LatLng(0, 180)) == pytest.approx(np.pi * EARTH_RADIUS_M)


@given(points, points)
def test_distance_is_symmetric_and_the_same_in_bulk(a: LatLng, b: LatLng) -> None:
    assert distance_m(a, b) == pytest.approx(distance_m(b, a), abs=1e-6)
    assert haversine_m([a.lat_deg], [a.lng_deg], b.lat_deg, b.lng_deg)[0] == pytest.approx(distance_m(a, b), abs=1e-6)


@given(points, points, points)
def test_the_way_over_a_third_point_is_not_shorter(a: LatLng, b: LatLng, c: LatLng) -> None:
    assert distance_m(a, c) <= distance_m(a, b) + distance_m(b, c) + 1.0


@pytest.mark.parametrize(
    ("goal", "expected"),
    [((1, 0), 0.0), ((0, 1), 90.0), ((-1, 0), 180.0), ((0, -1), 270.0)],
    ids=["north", "east", "south", "west"],
)
def test_bearings_count_clockwise_from_north(goal: tuple[float, float], expected: float) -> None:
    assert bearing_between_deg(LatLng(0, 0), LatLng(*goal)) == pytest.approx(expected)


@given(points, points)
def test_bearings_lie_in_0_to_360_and_agree_in_bulk(a: LatLng, b: LatLng) -> None:
    bearing = bearing_between_deg(a, b)
    assert 0.0 <= bearing < 360.0
    turn = abs(bearing - float(bearing_deg(*a, *b))) % 360.0
    assert min(turn, 360.0 - turn) < 1e-6
