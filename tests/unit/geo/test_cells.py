import h3
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.cells import cell_center, cell_of, cells_of, distance_band, snapped_distance_m
from geo.distance import distance_m
from geo.point import LatLng


def test_a_cell_is_an_h3_cell_of_the_resolution_asked_for() -> None:
    cell = cell_of(LatLng(22.5431, 114.0579))
    assert h3.get_resolution(cell) == 9
    assert distance_m(cell_center(cell), LatLng(22.5431, 114.0579)) < 250.0


def test_cells_of_many_points_are_the_cells_of_each() -> None:
    lat, lng = np.array([22.5, 31.2]), np.array([114.0, 121.5])
    assert cells_of(lat, lng, 7) == [cell_of(LatLng(22.5, 114.0), 7), cell_of(LatLng(31.2, 121.5), 7)]


def test_a_word_that_is_no_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="must be an H3 cell, is 'nonsense'"):
        cell_center("nonsense")


@pytest.mark.parametrize(
    ("metres", "band"),
    [(0, "<500 m"), (500, "0.5-1 km"), (1000, "1-2 km"), (4999, "3-5 km"), (49_999, "30-50 km"), (50_000, ">50 km")],
)
def test_distances_are_told_in_bands(metres: float, band: str) -> None:
    assert distance_band(metres) == band


@given(st.floats(-80, 80), st.floats(-179, 179), st.floats(-0.0005, 0.0005), st.floats(-0.0005, 0.0005))
def test_a_snapped_distance_tells_no_more_than_the_cells(lat: float, lng: float, north: float, east: float) -> None:
    here, there = LatLng(lat, lng), LatLng(22.5, 114.0)
    moved = LatLng(lat + north, lng + east)
    if cell_of(here, 8) == cell_of(moved, 8):
        assert snapped_distance_m(here, there) == snapped_distance_m(moved, there)
