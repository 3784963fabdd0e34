from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackers.times import is_possible, read_time

NOON = datetime(2015, 10, 1, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1443700800", NOON),
        ("1443700800.25", NOON + 0.25),
        ("1443700800250", NOON + 0.25),
        (1443700800, NOON),
        (1443700800250.0, NOON + 0.25),
        ("2015-10-01T12:00:00Z", NOON),
        ("2015-10-01T12:00:00z", NOON),
        ("2015-10-01T12:00:00.5Z", NOON + 0.5),
        ("2015-10-01T12:00:00.123456789Z", NOON + 0.123456789),
        ("2015-10-01T05:00:00-0700", NOON),
        ("2015-10-01T05:00:00-07:00", NOON),
        ("2015-10-01T20:00:00+0800", NOON),
        ("2015-10-01T20:00:00 08:00", NOON),  # the plus of a query that was not escaped
        ("2015-10-01 12:00:00", NOON),
        ("2015-10-01T12:00:00", NOON),
        (2147483646, 2147483646.0),  # the last number that counts seconds
        (2147483647, 2147483.647),
    ],
)
def test_every_spelling_of_a_time_is_read(text: object, at: float) -> None:
    assert read_time(text) == pytest.approx(at, abs=1e-6)


@pytest.mark.parametrize(
    "text",
    ["", "now", "%TIMESTAMP", "2015-13-01T12:00:00Z", "2015-10-01", "2015-W40-4T12:00:00Z", "nan", "inf", "1e400", True,
     None, [], {}, "1" * 65, "٣", "2015-10-01T25:00:00Z", "2015-10-01T12:00:00+99:99"],
)  # fmt: skip
def test_what_is_no_time_is_none(text: object) -> None:
    assert read_time(text) is None


@given(st.integers(86_400, 7_000_000_000), st.integers(-14 * 60, 14 * 60))
def test_an_iso_time_means_the_same_moment_in_every_zone(at: int, offset_min: int) -> None:
    when = datetime.fromtimestamp(at, timezone(timedelta(minutes=offset_min)))
    for text in (when.isoformat(), when.strftime("%Y-%m-%dT%H:%M:%S%z")):
        assert read_time(text) == at


@given(st.text() | st.integers() | st.floats() | st.none() | st.lists(st.integers()))
def test_reading_never_raises(value: object) -> None:
    at = read_time(value)
    assert at is None or isinstance(at, float)


def test_a_time_before_2000_or_more_than_a_day_ahead_is_none_of_a_phone() -> None:
    assert [is_possible(at, NOON) for at in (0.0, 315_964_800.0, NOON, NOON + 86_400, NOON + 86_401)] == [
        False, False, True, True, False
    ]  # fmt: skip
