"""Stars, means and what they are worth."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ids import UserId
from dispatch import rating
from dispatch.book import Book
from dispatch.rating import DAY_S, Tally
from dispatch.reach import _ratings
from dispatch.settings import RatingSettings
from dispatch.sheets import Sheets
from tests.unit.dispatch.test_tables import a_technician
from tests.unit.dispatch.world import SHARD, T0

SETTINGS = RatingSettings()
finite = st.floats(0, 1e5)
stars = st.lists(st.tuples(st.integers(1, 5), st.floats(0, 400 * DAY_S)), max_size=8)


def test_a_new_technician_has_the_city_mean() -> None:
    assert rating.mean(a_technician(), 4.6, T0, SETTINGS) == pytest.approx(4.6)


def test_many_good_ratings_beat_one_perfect_one() -> None:
    veteran = replace(a_technician(), rating_sum=4.9 * 200, rating_weight=200.0, rating_at=T0)
    beginner = rating.rated(a_technician(), 5, T0, SETTINGS)
    assert rating.mean(veteran, 4.6, T0, SETTINGS) > rating.mean(beginner, 4.6, T0, SETTINGS) > 4.6


def test_a_rating_counts_half_after_the_half_life() -> None:
    once = rating.rated(a_technician(), 1, T0, SETTINGS)
    twice = rating.rated(once, 5, T0 + SETTINGS.half_life_days * DAY_S, SETTINGS)
    assert twice.rating_sum == pytest.approx(5.5)
    assert twice.rating_weight == pytest.approx(1.5)


@given(stars)
def test_decaying_the_sums_equals_decaying_each_rating(given_stars: list[tuple[int, float]]) -> None:
    it, end = a_technician(), T0 + 500 * DAY_S
    for count, at in sorted(given_stars, key=lambda pair: pair[1]):
        it = rating.rated(it, count, T0 + at, SETTINGS)
    weights = [0.5 ** ((end - T0 - at) / (SETTINGS.half_life_days * DAY_S)) for _, at in given_stars]
    tally = rating.tally_of(it).at_time(end, SETTINGS.half_life_days)
    assert tally.weight == pytest.approx(sum(weights))
    assert tally.total == pytest.approx(sum(w * s for w, (s, _) in zip(weights, given_stars, strict=True)))


@given(finite, finite, finite, finite)
def test_what_was_added_can_be_taken_out(total: float, weight: float, at: float, later: float) -> None:
    base, more = Tally(100.0, 25.0, at), Tally(total, weight, at + later)
    back = base.add(more, 180.0).take_out(more, 180.0)
    then = base.at_time(at + later, 180.0)
    assert back.total == pytest.approx(then.total, rel=1e-6, abs=1e-6)
    assert back.weight == pytest.approx(then.weight, rel=1e-6, abs=1e-6)


@given(stars, st.floats(1, 5))
def test_means_stay_between_one_and_five(given_stars: list[tuple[int, float]], city: float) -> None:
    it = a_technician()
    for count, at in given_stars:
        it = rating.rated(it, count, T0 + at, SETTINGS)
    assert 1.0 <= rating.mean(it, city, T0, SETTINGS) <= 5.0


def test_a_city_without_ratings_has_the_configured_mean() -> None:
    assert rating.city_mean(Tally(), SETTINGS) == pytest.approx(SETTINGS.city_mean)
    assert rating.city_mean(Tally(3.0 * 1e6, 1e6, T0), SETTINGS) == pytest.approx(3.0, abs=0.001)


@given(st.lists(stars, min_size=1, max_size=4))
def test_a_rounds_column_of_means_equals_the_mean_of_each(people: list[list[tuple[int, float]]]) -> None:
    them = [a_technician() for _ in people]
    for number, given_stars in enumerate(people):
        for count, at in given_stars:
            them[number] = rating.rated(them[number], count, T0 + at, SETTINGS)
    now = T0 + 401 * DAY_S
    sheets = Sheets(Book(SHARD, SETTINGS), ())
    rows = sheets.technicians([UserId(f"t{number}") for number in range(len(them))], them)
    column = _ratings(rows, 4.5, now, SETTINGS)
    assert column.tolist() == pytest.approx([rating.mean(it, 4.5, now, SETTINGS) for it in them])


def test_a_clock_that_steps_back_changes_nothing() -> None:
    assert Tally(4.0, 1.0, T0).at_time(T0 - 100, 180.0) == Tally(4.0, 1.0, T0)
