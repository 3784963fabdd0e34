import numpy as np
import pytest

from transport.road_engine import is_a_lie, is_too_fast, says_one_time


@pytest.mark.parametrize(
    ("duration_s", "distance_m", "direct_m", "lie"),
    [
        (300.0, 2_600.0, 2_000.0, False),
        (300.0, np.nan, 2_000.0, False),
        (0.0, 0.0, 300.0, False),  # both places moved to the same road
        (3_900.0, 900.0, 100.0, False),  # a ferry
        (-1.0, 2_600.0, 2_000.0, True),
        (np.inf, 2_600.0, 2_000.0, True),
        (300.0, -5.0, 2_000.0, True),
        (300.0, np.inf, 2_000.0, True),
        (5.0, 2_600.0, 2_000.0, True),
        (0.0, 0.0, 2_000.0, True),
        (1_500.0, 12_800.0, 4_000_000.0, True),  # a map of somewhere else
        (12_000.0, 2_600.0, 2_000.0, True),
        (300.0, 500.0, 2_000.0, True),
    ],
)
def test_what_no_way_can_be_is_a_lie(duration_s: float, distance_m: float, direct_m: float, lie: bool) -> None:
    good = np.array([300.0]), np.array([2_600.0]), np.array([2_000.0])
    cells = [np.append(column, value) for column, value in zip(good, (duration_s, distance_m, direct_m), strict=True)]
    assert is_a_lie(*cells) is lie


@pytest.mark.parametrize(
    ("minutes", "kilometres", "lie"),
    [
        ([1.0, 1.0, 1.0], [1.0, 4.0, 7.0], True),
        ([5.0, 5.0, 5.01], [0.2, 4.0, 7.0], True),
        ([1.0, 1.0, 9.0], [1.0, 4.0, 7.0], False),
        ([4.0, 4.0, 4.0], [2.0, 2.1, 2.2], False),  # a street of houses
        ([1.0, 1.0], [0.1, 0.9], False),  # both near: moved to the same road
        ([], [], False),
    ],
)
def test_one_time_for_near_and_far_is_a_lie(minutes: list[float], kilometres: list[float], lie: bool) -> None:
    assert says_one_time(np.array(minutes) * 60.0, np.array(kilometres) * 1_000.0) is lie


@pytest.mark.parametrize(
    ("minutes", "lie"),
    [
        ([1.0, 1.2, 1.5], True),  # of ten each
        ([1.0, 2.0, 9.0], False),  # a motorway for one of them
        ([9.0, 10.0, 30.0], False),
    ],
)
def test_a_table_far_faster_than_the_estimate_is_a_lie(minutes: list[float], lie: bool) -> None:
    expected_s, direct_m = np.full(3, 600.0), np.full(3, 4_000.0)
    assert is_too_fast(np.array(minutes) * 60.0, expected_s, direct_m, 6.0) is lie


def test_near_places_say_nothing_of_how_fast_an_engine_is() -> None:
    near_m = np.array([900.0, 100.0])
    assert not is_too_fast(np.array([1.0, 1.0]), np.array([180.0, 20.0]), near_m, 6.0)
