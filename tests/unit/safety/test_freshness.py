import math

import pytest

from core.units import ACCURACY_M_MAX
from safety.freshness import R95_PER_R68, Freshness, ago, freshness, r95_m


@pytest.mark.parametrize(
    ("age_s", "word"),
    [
        (0, Freshness.LIVE), (10, Freshness.LIVE), (10.1, Freshness.RECENT), (60, Freshness.RECENT),
        (60.1, Freshness.STALE), (1e9, Freshness.STALE), (None, Freshness.UNKNOWN),
    ],
)  # fmt: skip
def test_an_age_has_a_word(age_s: float | None, word: Freshness) -> None:
    assert freshness(age_s) is word


def test_the_radius_of_95_percent_is_that_of_a_normal_error_in_the_plane() -> None:
    # P(r) = 1 - exp(-r^2 / 2 s^2): the ratio of the radii of 95 % and 68 %.
    assert pytest.approx(math.sqrt(math.log(0.05) / math.log(0.32)), abs=0.01) == R95_PER_R68
    assert r95_m(10.0) == 16.2
    assert r95_m(ACCURACY_M_MAX) is None


@pytest.mark.parametrize(
    ("age_s", "said"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7_500, "2 h 5 min"), (260_000, "3 d")]
)
def test_an_age_is_read_out(age_s: float, said: str) -> None:
    assert ago(age_s) == said
