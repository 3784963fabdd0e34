from typing import Any

import pytest

from geo.settings import CoordinateSettings, GeoSettings, PositionSettings, TravelSettings


def test_defaults_are_in_range() -> None:
    assert GeoSettings() == GeoSettings(CoordinateSettings(), PositionSettings(), TravelSettings())


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: PositionSettings(speed_max_mps=0), "speed_max_mps must be between 1 and 1000, is 0"),
        (lambda: PositionSettings(trail_len_max=3), "trail_len_max must be between 4 and 1024, is 3"),
        (lambda: PositionSettings(future_s=float("nan")), "future_s must be between 0 and 86400, is nan"),
        (lambda: TravelSettings(detour_factor=0.9), "detour_factor must be between 1 and 5, is 0.9"),
        (lambda: TravelSettings(default_mode="boat"), "default_mode must be walk, ebike, transit or car"),
        (lambda: TravelSettings(rush_hours=("9-7",)), "rush_hours must look like '07-09'"),
    ],
)
def test_values_out_of_range_are_refused_by_name(build: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text.replace("(", r"\(")):
        build()
