import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.units import SEQ_MAX
from trackers.numbers import number, seq_of, within

TIMES = st.floats(946_684_800, 4_102_444_800)
LATS, LNGS = st.floats(-90, 90), st.floats(-180, 180)


@pytest.mark.parametrize(
    ("value", "found"),
    [("1.5", 1.5), (" 7 ", 7.0), ("-0.5", -0.5), (".5", 0.5), ("1e3", 1000.0), (3, 3.0), ("+2", 2.0)],
)
def test_numbers_are_read_also_from_text(value: object, found: float) -> None:
    assert number(value) == found


@pytest.mark.parametrize(
    "value",
    ["", "1_000", "nan", "Infinity", "1e999", "0x1", True, False, None, [1], float("nan"), 10**400, "9" * 5_000],
)
def test_what_is_no_number_is_none(value: object) -> None:
    assert number(value) is None


@given(st.text() | st.integers() | st.floats() | st.booleans(), st.floats(-10, 0), st.floats(0, 10))
def test_a_number_between_bounds_is_between_them(value: object, low: float, high: float) -> None:
    found = within(value, low, high)
    assert found is None or low <= found <= high


@given(TIMES, TIMES, LATS, LNGS)
def test_the_number_of_a_point_fits_rises_with_its_time_and_is_the_same_again(
    one: float, other: float, lat: float, lng: float
) -> None:
    seq = seq_of(one, lat, lng)
    assert 0 < seq <= SEQ_MAX
    assert seq == seq_of(one, lat, lng)
    if one + 1 / 128 < other:
        assert seq < seq_of(other, lat, lng)


def test_points_of_one_second_at_different_places_have_numbers_of_their_own() -> None:
    seqs = [seq_of(1_700_000_000.0, 22.5 + place / 1e5, 114.0) for place in range(20)]
    assert all(one != other for one, other in itertools.combinations(seqs, 2))
