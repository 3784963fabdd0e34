from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackers.model import Poison, Reading, Report
from trackers.osmand import read_osmand
from trackers.points import ACCURACY_UNKNOWN_M

NOW = 1_700_000_100.0
GOOD = "id=s3cret&timestamp=1700000000&lat=60.0&lon=30.0"


def read(query: str, body: bytes = b"") -> Report:
    return read_osmand(query, body, NOW, 100)


def only(query: str) -> Reading:
    (found,) = read(query).readings
    return found


@pytest.mark.parametrize(
    ("unit", "mps"),
    [("", 40 * 1852 / 3600), ("&spd_unit=ms", 40.0), ("&spd_unit=KMH", 40 / 3.6), ("&spd_unit=x", 20.577)],
)
def test_speed_is_in_knots_unless_it_is_said_otherwise(unit: str, mps: float) -> None:
    assert only(f"{GOOD}&speed=40{unit}").speed_mps == pytest.approx(mps, abs=1e-3)


def test_a_point_is_read_with_all_that_stands_in_it() -> None:
    found = only(f"{GOOD}&bearing=7.2&accuracy=4&mock=true")
    assert found == Reading(1_700_000_000.0, 60.0, 30.0, 4.0, None, 7.2, True)
    assert read(GOOD).secret == "s3cret"


def test_other_names_of_the_same_things() -> None:
    found = only("deviceid=s&location=60.0,30.0&timestamp=1700000000000&heading=8&hacc=9")
    assert (found.lat, found.lng, found.heading_deg, found.accuracy_m) == (60.0, 30.0, 8.0, 9.0)
    assert only(f"{GOOD}&hdop=6.0").accuracy_m == 30.0
    assert only(f"{GOOD}&hdop=0.0").accuracy_m == ACCURACY_UNKNOWN_M
    assert only("id=s&lat=60&lon=30").fixed_at == NOW, "without a time it is now"


def test_a_form_in_the_body_counts_and_the_query_before_it() -> None:
    assert read("", GOOD.encode()).readings == read(GOOD).readings
    assert read(GOOD, b"lat=1&lon=1").readings == read(GOOD).readings


@pytest.mark.parametrize(
    ("change", "poison"),
    [
        ("lat=91&lon=0", Poison.BAD_PLACE),
        ("lat=x&lon=0", Poison.BAD_PLACE),
        ("lat=1", Poison.NO_PLACE),
        ("lat=1&lon=1&valid=false", Poison.BAD_PLACE),
        ("lat=1&lon=1&timestamp=0", Poison.BAD_TIME),
        ("lat=1&lon=1&timestamp=yesterday", Poison.BAD_TIME),
        ("location=1", Poison.BAD_PLACE),
        ("", Poison.NO_PLACE),
    ],
)
def test_what_will_never_be_a_position_is_poison(change: str, poison: Poison) -> None:
    report = read(f"id=s&{change}")
    assert (report.readings, dict(report.poison)) == ((), {poison: 1})


@pytest.mark.parametrize("place", ["lat=60&lon=30", "lat=999&lon=30", "lat=60&lon=30&timestamp=0", ""])
def test_an_alarm_is_there_whatever_the_position_is(place: str) -> None:
    (alarm,) = read(f"id=s&{place}&alarm=sos&batt=80").alarms
    assert alarm.word == "sos"
    assert alarm.said["battery"] == 0.8
    assert "fixed_at" not in alarm.said


@given(st.text(max_size=200), st.binary(max_size=200))
def test_garbage_never_raises_and_never_leaves_our_bounds(query: str, body: bytes) -> None:
    check(read(query, body))


@given(st.lists(st.tuples(st.sampled_from(["lat", "lon", "timestamp", "speed", "accuracy", "alarm", "id", "valid"]),
                          st.text(max_size=12) | st.floats().map(str) | st.integers().map(str))))  # fmt: skip
def test_known_names_with_odd_values_never_raise(pairs: list[tuple[str, str]]) -> None:
    check(read("&".join(f"{name}={value}" for name, value in pairs)))


def check(report: Report) -> None:
    """What every parser promises of anything: sorted, in bounds, and nothing that is neither taken nor counted."""
    assert list(report.readings) == sorted(report.readings, key=lambda reading: reading.fixed_at)
    for reading in report.readings:
        values: list[tuple[Any, float, float]] = [
            (reading.lat, -90, 90), (reading.lng, -180, 180), (reading.accuracy_m, 0, 100_000),
            (reading.speed_mps, 0, 1_000), (reading.heading_deg, 0, 360), (reading.fixed_at, 946_684_800, 1e10),
        ]  # fmt: skip
        assert all(value is None or low <= value <= high for value, low, high in values), reading
    assert len(report.alarms) <= 16
