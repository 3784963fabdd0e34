from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.local_time import hour_of, hours_of, moment_of

ZONES = [
    ZoneInfo(name)
    for name in ("Asia/Shanghai", "America/New_York", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe")
]
SINCE_2012, UNTIL_2040 = 1_325_376_000.0, 2_208_988_800.0
BERLIN = ZoneInfo("Europe/Berlin")


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_the_hour_of_the_day_is_that_of_the_place() -> None:
    at = utc("2026-11-23T13:15")
    assert [hour_of(at, zone) for zone in ZONES] == [21.25, 8.25, 14.25, 19.0, 0.25]


@given(st.sampled_from(ZONES), st.lists(st.floats(SINCE_2012, UNTIL_2040), max_size=20))
def test_many_moments_have_the_hours_of_each(zone: ZoneInfo, moments: list[float]) -> None:
    expected = [int(hour_of(at, zone)) for at in moments]
    assert hours_of(np.array(moments, dtype=np.float64), zone).tolist() == expected


@given(st.sampled_from(ZONES), st.integers(int(SINCE_2012), int(UNTIL_2040)))
def test_a_moment_is_found_again_by_its_clock(zone: ZoneInfo, at: int) -> None:
    local = datetime.fromtimestamp(at, zone)
    found = moment_of(local.replace(tzinfo=None, fold=0), zone)
    assert found == at or (local.fold == 1 and at - 3_600 <= found < at)


@pytest.mark.parametrize(
    ("wall", "moment"),
    [
        ("2026-03-29T01:59", "2026-03-29T00:59"),
        ("2026-03-29T02:00", "2026-03-29T01:00"),
        ("2026-03-29T02:30", "2026-03-29T01:00"),  # left out: clocks go from 2:00 to 3:00
        ("2026-03-29T03:00", "2026-03-29T01:00"),
        ("2026-03-29T03:01", "2026-03-29T01:01"),
        ("2026-10-25T01:59", "2026-10-24T23:59"),
        ("2026-10-25T02:30", "2026-10-25T00:30"),  # comes twice: from 3:00 back to 2:00
        ("2026-10-25T03:00", "2026-10-25T02:00"),
    ],
)
def test_times_that_are_left_out_or_come_twice(wall: str, moment: str) -> None:
    assert moment_of(datetime.fromisoformat(wall), BERLIN) == utc(moment)


def test_a_day_that_was_left_out() -> None:
    apia = ZoneInfo("Pacific/Apia")  # from the 29th to the 31st of December 2011
    assert moment_of(datetime.fromisoformat("2011-12-30T12:00"), apia) == utc("2011-12-30T10:00")
