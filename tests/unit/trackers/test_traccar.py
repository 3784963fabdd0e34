import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trackers.test_osmand import check
from trackers.model import Poison, Reading, Report
from trackers.traccar import read_traccar

NOW = 1_750_000_000.0
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["location", "coords", "latitude", "longitude", "timestamp", "extras", "alarm", "battery",
                         "level", "locations", "properties", "geometry", "coordinates", "_type", "lat", "lon", "tst",
                         "device_id", "current"]), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


def body(**changes: Any) -> bytes:
    location = {
        "timestamp": "2025-06-15T13:45:12.862Z", "is_moving": True, "battery": {"level": 0.5, "is_charging": False},
        "coords": {"latitude": 1.0, "longitude": 2.0, "accuracy": 5, "speed": 1.2, "heading": 90, "altitude": 10},
        "extras": {}, **changes,
    }  # fmt: skip
    return json.dumps({"location": location, "device_id": "s3cret"}).encode()


def read(data: bytes) -> Report:
    return read_traccar(data, NOW, 100)


def test_a_location_is_read_in_metres_a_second() -> None:
    report = read(body(mock=True))
    assert report.readings == (Reading(1_749_995_112.862, 1.0, 2.0, 5.0, 1.2, 90.0, True),)
    assert report.secret == "s3cret"


def test_minus_one_says_unknown() -> None:
    coords = {"latitude": 1.0, "longitude": 2.0, "accuracy": -1, "speed": -1, "heading": -1}
    (found,) = read(body(coords=coords, battery={"level": -1})).readings
    assert (found.speed_mps, found.heading_deg, found.accuracy_m) == (None, None, 30.0)


def test_a_heartbeat_without_a_place_is_none_and_its_alarm_counts() -> None:
    report = read(body(coords=None, extras={"alarm": "sos"}))
    assert dict(report.poison) == {Poison.NO_PLACE: 1}
    assert report.alarms[0].said == {"fixed_at": 1_749_995_112.862, "battery": 0.5}


def test_a_list_of_locations_is_taken_whole() -> None:
    rows = [json.loads(body(timestamp=f"2025-06-15T13:45:1{n}Z"))["location"] for n in (3, 1, 2)]
    report = read(json.dumps({"location": [*rows, 7], "device_id": 48}).encode())
    assert [reading.fixed_at for reading in report.readings] == [1_749_995_111.0, 1_749_995_112.0, 1_749_995_113.0]
    assert (dict(report.poison), report.secret) == ({Poison.UNREADABLE: 1}, "48")


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"null", b"\xff", b"7"])
def test_what_is_no_location_is_unreadable(data: bytes) -> None:
    assert dict(read(data).poison) == {Poison.UNREADABLE: 1}


@given(JSON)
def test_odd_json_never_raises(value: Any) -> None:
    check(read(json.dumps(value).encode()))


@given(st.binary(max_size=300))
def test_garbage_never_raises(data: bytes) -> None:
    check(read(data))
