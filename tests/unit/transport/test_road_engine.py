import numpy as np
import pytest

from transport.road_engine import is_a_lie


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
