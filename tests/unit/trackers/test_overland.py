import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trackers.test_osmand import check
from tests.unit.trackers.test_traccar import JSON
from trackers.model import Poison, Reading, Report
from trackers.overland import read_overland

NOW = 1_443_800_000.0
AT = 1_443_711_600.0


def feature(**changes: Any) -> dict[str, Any]:
    properties = {
        "timestamp": "2015-10-01T08:00:00-0700", "speed": 4, "horizontal_accuracy": 30, "vertical_accuracy": -1,
        "course": 90, "battery_level": 0.8, "motion": ["driving"], **changes,
    }  # fmt: skip
    geometry = {"type": "Point", "coordinates": [-122.030581, 37.3318]}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def read(value: Any, points_max: int = 100) -> Report:
    return read_overland(value if isinstance(value, bytes) else json.dumps(value).encode(), NOW, points_max)


def test_a_point_is_read_longitude_first_and_its_offset_without_a_colon() -> None:
    assert read({"locations": [feature()]}).readings == (Reading(AT, 37.3318, -122.030581, 30.0, 4.0, 90.0),)


def test_the_current_point_of_a_long_backlog_is_taken_with_it() -> None:
    newest = feature(timestamp="2015-10-01T09:00:00-0700")
    report = read({"locations": [feature(), feature(timestamp="2015-10-01T07:00:00-0700")], "current": newest})
    assert [reading.fixed_at - AT for reading in report.readings] == [-3_600, 0, 3_600]


def test_of_too_many_points_the_newest_are_taken() -> None:
    rows = [feature(timestamp=AT + place) for place in (3, 1, 2, 0)]
    report = read({"locations": rows}, points_max=2)
    assert [reading.fixed_at - AT for reading in report.readings] == [2, 3]
    assert dict(report.poison) == {Poison.OVER_LIMIT: 2}


def test_trips_and_places_that_ios_disclaims_are_counted_beside_the_rest() -> None:
    trip = {"type": "Feature", "geometry": {"type": "LineString"}, "properties": {"type": "trip"}}
    rows = [feature(), trip, feature(type="trip"), feature(action="visit"), feature(horizontal_accuracy=-1), None]
    report = read({"locations": rows})
    assert len(report.readings) == 1
    assert dict(report.poison) == {Poison.NO_POSITION: 4, Poison.BAD_PLACE: 1}


def test_a_slip_in_one_point_costs_that_point() -> None:
    text = json.dumps({"locations": [feature(), feature(speed=float("nan"))]}).encode()
    report = read(text.replace(b"driving", b"dri\xffing"))
    assert [reading.speed_mps for reading in report.readings] == [4.0, None]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"locations":7}', b'"x"'])
def test_what_holds_no_list_is_unreadable(body: bytes) -> None:
    assert dict(read(body).poison) == {Poison.UNREADABLE: 1}


def test_an_empty_batch_says_nothing() -> None:
    assert read({"locations": []}) == read({}) == Report()


@given(JSON)
def test_odd_json_never_raises(value: Any) -> None:
    check(read({"locations": [value], "current": value}))


@given(st.binary(max_size=300))
def test_garbage_never_raises(data: bytes) -> None:
    check(read(data))
