from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trackers.test_osmand import check
from trackers.gpslogger import read_gpslogger
from trackers.model import Poison, Reading

NOW = 1_650_655_200.0
ALL = (
    "lat=37.421998&lon=-122.084&sat=0&desc=&alt=5.0&acc=5.0&dir=0.0&prov=gps&spd=1.5&timestamp=1650655193"
    "&timeoffset=2022-04-22T20:19:53.228%2B01:00&time=2022-04-22T19:19:53.228Z&batt=100.0&ischarging=false&hdop=&"
)
"""What ``%ALL`` writes."""


def test_everything_that_the_app_writes_is_read_in_metres_a_second() -> None:
    report = read_gpslogger(f"id=s&{ALL}", b"", NOW, 100)
    assert report.readings == (Reading(1_650_655_193.0, 37.421998, -122.084, 5.0, 1.5, 0.0),)
    assert report.secret == "s"
    assert read_gpslogger("id=s", ALL.encode(), NOW, 100).readings == report.readings


def test_the_written_times_count_where_there_is_no_number() -> None:
    for text in ("time=2022-04-22T19:19:53.228Z", "timeoffset=2022-04-22T20:19:53.228%2B01:00"):
        (found,) = read_gpslogger(f"lat=1&lon=1&timestamp=&{text}", b"", NOW, 100).readings
        assert found.fixed_at == 1_650_655_193.228


def test_a_placeholder_that_the_app_does_not_know_is_no_time() -> None:
    assert dict(read_gpslogger("lat=1&lon=1&timestamp=%25TIMESTAMP", b"", NOW, 100).poison) == {Poison.BAD_TIME: 1}


@given(st.text(max_size=200), st.binary(max_size=200))
def test_garbage_never_raises(query: str, body: bytes) -> None:
    check(read_gpslogger(query, body, NOW, 100))
