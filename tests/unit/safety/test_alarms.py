import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.point import Frame, LatLng
from safety.alarms import ALARMS_MAX, has_alarm, read_alarms

NOW = 1_800_000_000.0


def body(alarm: object = True, pings: object = None, **more: object) -> bytes:
    rows = [[1, NOW - 60, 22.5, 114.0, 9.0, None, None], [2, NOW - 30, 22.6, 114.1, 5.0, None, None]]
    fields = {"device": "T1", "pings": rows if pings is None else pings, "alarm": alarm, **more}
    return json.dumps(fields).encode()


@pytest.mark.parametrize("alarm", [True, [1], [7], 1, "sos", {"sos": True}, -1, "0"])
def test_whatever_a_tracker_says_for_alarm_is_one(alarm: object) -> None:
    assert has_alarm(body(alarm))
    assert has_alarm(body(alarm).replace(b'"alarm":', b'"alarm" :  \n '))
    assert has_alarm(body(alarm)[:-1]), "also of a body that broke off"


@pytest.mark.parametrize("alarm", [False, None, 0, [], ""])
def test_no_alarm_is_none(alarm: object) -> None:
    assert not has_alarm(body(alarm))
    assert not has_alarm(body(alarm).replace(b'"alarm":', b'"alarm" :  \n '))
    assert not has_alarm(b'{"device":"alarm","pings":[]}')


def test_true_means_the_last_row_and_numbers_mean_theirs() -> None:
    (last,) = read_alarms(body(), NOW, Frame.WGS84)
    assert last.fix is not None
    assert (last.fix.point, last.fix.accuracy_m, last.fix.fixed_at) == (LatLng(22.6, 114.1), 5.0, NOW - 30)
    both = read_alarms(body([1, 2]), NOW, Frame.WGS84)
    assert [report.fix and report.fix.point.lat_deg for report in both] == [22.5, 22.6]
    assert both[1].key == last.key
    assert len({report.key for report in both}) == 2


def test_the_key_is_of_the_device_and_the_time_of_the_fix() -> None:
    (first,) = read_alarms(body(), NOW, Frame.WGS84)
    moved = [[9, NOW - 30, 1.0, 2.0, 5.0, None, None]]
    assert [r.key for r in read_alarms(body(pings=moved, sent_at=NOW), NOW + 999, Frame.GCJ02)] == [first.key]
    later = [[2, NOW - 29, 22.6, 114.1, 5.0, None, None]]
    assert read_alarms(body(pings=later), NOW, Frame.WGS84)[0].key != first.key
    assert read_alarms(body(device="T2"), NOW, Frame.WGS84)[0].key != first.key


@pytest.mark.parametrize(
    ("row", "ignored"),
    [
        ([1, NOW, 0, 0, 5, None, None], "null_island"),
        ([1, NOW, 114, 22.5, 5, None, None], "lat/lng swapped"),
        ([1, NOW, "x", None, 5], "lat"),
        ([1], None),
        ([], None),
    ],
)
def test_a_fix_that_is_not_believed_costs_the_fix_only(row: list[object], ignored: str | None) -> None:
    (report,) = read_alarms(body(pings=[row]), NOW, Frame.WGS84)
    assert report.fix is None
    assert ignored is None or ignored in report.ignored


def test_a_damaged_body_is_an_alarm_with_what_can_be_found_in_it() -> None:
    (report,) = read_alarms(body()[:-1], NOW, Frame.WGS84)
    assert report.key.startswith("srv_")
    (bare,) = read_alarms(b'{"alarm":true}', NOW, Frame.WGS84)
    assert bare.fix is None


def test_of_very_many_the_newest_are_raised_one_by_one() -> None:
    rows = [[n, NOW - 500 + n, 22.5, 114.0, 5.0, None, None] for n in range(200)]
    found = read_alarms(body(list(range(200)), rows), NOW, Frame.WGS84)
    assert len(found) == ALARMS_MAX
    assert found[-1].fix is not None
    assert found[-1].fix.fixed_at == NOW - 301


@given(st.binary(max_size=300), st.sampled_from([b"", b'{"alarm":true,"pings":[[', b'{"alarm":[1],']))
def test_nothing_in_a_body_raises(tail: bytes, head: bytes) -> None:
    has_alarm(head + tail)
    assert read_alarms(head + tail, NOW, Frame.WGS84)
