"""Answers of road engines: what cannot be true is not believed, and rivers, islands and one-way streets are."""

from dataclasses import replace

import numpy as np
import pytest

from geo.arrays import FloatArray
from transport import believing
from transport.believing import Told, is_impossible, is_too_fast, says_one_time, slower_than_walking, why_not

EBIKE_S_PER_M = 0.2
DETOUR = 1.35


@pytest.mark.parametrize(
    ("duration_s", "distance_m", "direct_m", "lie"),
    [
        (300.0, 2_600.0, 2_000.0, False),
        (300.0, np.nan, 2_000.0, False),
        (0.0, 0.0, 300.0, False),  # both places moved to the same road
        (3_900.0, 900.0, 100.0, False),  # nothing of the slow side: that is weighed, not forbidden
        (-1.0, 2_600.0, 2_000.0, True),
        (np.inf, 2_600.0, 2_000.0, True),
        (300.0, -5.0, 2_000.0, True),
        (300.0, np.inf, 2_000.0, True),
        (5.0, 2_600.0, 2_000.0, True),
        (0.0, 0.0, 2_000.0, True),
        (1_500.0, 12_800.0, 4_000_000.0, True),  # a map of somewhere else
        (300.0, 500.0, 2_000.0, True),
    ],
)
def test_what_no_way_can_be_is_a_lie(duration_s: float, distance_m: float, direct_m: float, lie: bool) -> None:
    good = np.array([300.0]), np.array([2_600.0]), np.array([2_000.0])
    cells = [np.append(column, value) for column, value in zip(good, (duration_s, distance_m, direct_m), strict=True)]
    assert is_impossible(*cells) is lie


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


def told(direct_m: object, duration_s: object, way_m: object = None, *, is_wide: bool = False) -> Told:
    """A table by e-bike; ways go 1.35 times as far as the straight line, or as they are told."""
    direct = np.array(direct_m, dtype=np.float64)
    way = direct * DETOUR if way_m is None else np.array(way_m, dtype=np.float64)
    expected_s = direct * DETOUR * EBIKE_S_PER_M
    return Told(np.array(duration_s, dtype=np.float64), way, direct, expected_s, EBIKE_S_PER_M, is_wide)


def untold(answers: Told) -> Told:
    return replace(answers, way_m=np.full(len(answers.way_m), np.nan))


def reason(answers: Told) -> str:
    return why_not(answers, faster_max=6.0, slower_max=6.0)


NEAR_M = np.array([330.0, 660.0, 1_000.0])
NOISE_S = np.random.default_rng(5).random(3) * 60.0


@pytest.mark.parametrize(
    "duration_s",
    [
        3_300.0 + NOISE_S,
        1_500.0 + NOISE_S,
        3_500.0 - NEAR_M,  # near slow, far fast
        NEAR_M * EBIKE_S_PER_M * DETOUR * 12.0 + 600.0,
    ],
    ids=["an hour", "25 minutes", "the wrong way round", "twelve times as slow"],
)
def test_a_slow_table_is_a_lie_with_or_without_noise(duration_s: FloatArray) -> None:
    assert reason(told(NEAR_M, duration_s)) == "is more than 6 times as slow as the estimate"


def test_a_slow_table_without_lengths_is_a_lie_too() -> None:
    assert reason(untold(told(NEAR_M, 3_300.0 + NOISE_S))) == "is more than 6 times as slow as the estimate"


HONEST = {
    "a river between all of them, its bridge 2 km off": told([330, 500, 700], [720, 760, 700], [4_100, 4_300, 3_900]),
    "one over the river": told([330, 350, 900], [720, 80, 220], [4_100, 430, 1_150]),
    "an island with a bridge": told([900, 1_500, 4_000], [2_400, 2_300, 2_900], [12_000, 11_500, 14_500]),
    "a ferry of 25 minutes": told([800, 900], [1_700, 1_720], [1_400, 1_600]),
    "one-way streets": told([40, 60, 90], [240, 200, 260], [1_100, 950, 1_200]),
    "moved to the same road": told([20, 30], [0, 0], [0, 0]),
    "a jam: three times as slow": told([2_000, 5_000, 9_000], [1_620, 4_050, 7_290]),
    "on foot instead of by e-bike": told([2_000, 5_000, 9_000], [2_025, 5_060, 9_110]),
    "a motorway among streets": told([3_000, 3_100, 12_000], [800, 820, 700]),
    "the farther ones nearer to the bridge": told(
        np.linspace(500, 2_500, 10), np.linspace(1_500, 900, 10), np.linspace(7_500, 4_500, 10)
    ),
}


@pytest.mark.parametrize("answers", HONEST.values(), ids=HONEST)
def test_what_real_cities_are_like_is_believed(answers: Told) -> None:
    assert reason(answers) == ""
    assert not slower_than_walking(answers).any()


@pytest.mark.parametrize("name", ["a river between all of them, its bridge 2 km off", "one over the river"])
def test_twelve_minutes_for_330_m_are_believed_without_a_length_as_well(name: str) -> None:
    assert reason(untold(HONEST[name])) == ""


def test_a_single_way_slower_than_on_foot_is_told_and_no_lie() -> None:
    answers = told([330, 660, 1_000, 1_200], [3_300, 180, 270, 320])
    assert reason(answers) == ""
    assert slower_than_walking(answers).tolist() == [True, False, False, False]


def test_more_than_a_third_slower_than_on_foot_is_a_lie() -> None:
    answers = told([500, 600, 1_000, 1_200, 1_300], [3_300, 3_400, 270, 320, 350])
    assert reason(answers) == "is slower than on foot too often"


def test_ways_that_go_round_half_the_country_are_a_lie() -> None:
    assert reason(told([330, 660, 1_000], [2_000, 2_000, 2_000], [16_000] * 3)) == "goes round too far"


def city(seed: int, n: int = 12) -> tuple[FloatArray, FloatArray]:
    """Straight lines and honest times of a table of n by n places in 6 km."""
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, n, 2)) * 6_000.0
    direct_m = np.linalg.norm(a[:, None] - b, axis=2).ravel()
    return direct_m, direct_m * rng.uniform(1.1, 2.5, n * n) * EBIKE_S_PER_M + rng.random(n * n) * 120.0


@pytest.mark.parametrize("seed", range(20))
def test_an_honest_table_grows_with_the_way(seed: int) -> None:
    direct_m, duration_s = city(seed)
    assert reason(told(direct_m, duration_s, is_wide=True)) == ""
    assert reason(untold(told(direct_m, duration_s, is_wide=True))) == ""


@pytest.mark.parametrize("seed", range(10))
def test_times_that_do_not_go_with_the_way_are_a_lie(seed: int) -> None:
    direct_m, duration_s = city(seed)
    ignorant = "answered with times that do not grow with the way"
    backwards = 200.0 + np.sort(duration_s)[::-1][np.argsort(np.argsort(direct_m))]
    assert reason(told(direct_m, backwards)) == ignorant
    assert reason(untold(told(direct_m, backwards, is_wide=True))) == ignorant
    assert reason(told(direct_m, 900.0 + 30.0 * np.random.default_rng(seed).random(len(direct_m)))) == ignorant


def test_ranks_are_cheap_in_a_large_table_and_say_nothing_of_a_small_one() -> None:
    direct_m = np.linspace(100.0, 9_000.0, 250_000)
    assert reason(told(direct_m, direct_m[::-1] * EBIKE_S_PER_M + 300.0)).endswith("do not grow with the way")
    few = slice(None, None, 40_000)
    assert reason(told(direct_m[few], direct_m[::-1][few] * EBIKE_S_PER_M + 300.0)) == ""


def test_a_table_is_wide_with_many_places_on_both_sides() -> None:
    assert believing.is_wide(8, 20)
    assert not believing.is_wide(7, 2_000)
