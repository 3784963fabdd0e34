import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trackers.test_osmand import check
from tests.unit.trackers.test_traccar import JSON
from trackers.model import Poison, Reading, Report
from trackers.owntracks import read_owntracks

NOW = 1_700_000_100.0


def read(value: Any) -> Report:
    return read_owntracks(value if isinstance(value, bytes) else json.dumps(value).encode(), NOW, 100)


def location(**changes: Any) -> dict[str, Any]:
    return {
        "_type": "location",
        "lat": 48.85,
        "lon": 2.29,
        "tst": 1_700_000_000,
        "acc": 12,
        "vel": 54,
        "cog": 270,
        **changes,
    }


def test_speed_is_in_kilometres_an_hour() -> None:
    assert read(location()).readings == (Reading(1_700_000_000.0, 48.85, 2.29, 12.0, 15.0, 270.0),)


def test_the_time_of_the_message_is_not_that_of_the_fix() -> None:
    (found,) = read(location(created_at=1_700_000_090)).readings
    assert found.fixed_at == 1_700_000_000.0


def test_numbers_may_be_written_as_text() -> None:
    (found,) = read(location(lat="48.85", tst="1700000000")).readings
    assert (found.lat, found.fixed_at) == (48.85, 1_700_000_000.0)


@pytest.mark.parametrize("kind", ["lwt", "status", "waypoints", "card", "steps", "beacon", "configuration", None, 7])
def test_other_kinds_are_no_positions(kind: Any) -> None:
    assert dict(read(location(_type=kind)).poison) == {Poison.NO_POSITION: 1}


def test_an_encrypted_message_is_counted_by_its_name() -> None:
    assert dict(read({"_type": "encrypted", "data": "x"}).poison) == {Poison.ENCRYPTED: 1}


def test_an_empty_body_says_nothing() -> None:
    assert read(b"") == read(b" \n") == Report()


def test_a_list_of_messages_is_read_one_by_one() -> None:
    report = read([location(), location(tst=1), {"_type": "lwt"}, 3])
    assert len(report.readings) == 1
    assert dict(report.poison) == {Poison.BAD_TIME: 1, Poison.NO_POSITION: 1, Poison.UNREADABLE: 1}


@given(JSON)
def test_odd_json_never_raises(value: Any) -> None:
    check(read(value if not isinstance(value, bytes) else b""))


@given(st.binary(max_size=300))
def test_garbage_never_raises(data: bytes) -> None:
    check(read(data))
