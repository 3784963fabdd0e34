import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackers.steering import Goal, overland_answer, owntracks_answer

WORDS = ["1s", "5s", "10s", "15s", "30s", "1m", "2m", "5m", "10m", "30m"]


@pytest.mark.parametrize(
    ("interval_s", "word"), [(0.5, "1s"), (1, "1s"), (4.9, "1s"), (5, "5s"), (15, "15s"), (59, "30s"), (7_200, "30m")]
)
def test_overland_is_told_the_nearest_interval_that_is_no_longer(interval_s: float, word: str) -> None:
    assert overland_answer(interval_s) == b'{"result":"ok","set":{"send_interval":"%s"}}' % word.encode()


@given(st.floats(0.1, 1e6))
def test_overland_is_never_told_to_send_no_more(interval_s: float) -> None:
    assert json.loads(overland_answer(interval_s))["set"]["send_interval"] in WORDS


def test_answers_without_news_are_those_that_every_version_takes() -> None:
    assert overland_answer(None) == b'{"result":"ok"}'
    assert owntracks_answer(None, is_news=False) == b"[]"
    assert owntracks_answer(Goal("ord_1", 1.0, 2.0, 100.0, 3.0), is_news=False) == b"[]"


def test_a_place_is_set_and_taken_away_by_commands() -> None:
    assert owntracks_answer(Goal("ord_1", 22.5431, 114.0579, 100.0, 1_700_000_000.7), is_news=True) == (
        b'[{"_type":"cmd","action":"setWaypoints","waypoints":{"_type":"waypoints","waypoints":[{"_type":"waypoint",'
        b'"desc":"job","lat":22.5431,"lon":114.0579,"rad":100,"tst":1700000000,"rid":"ord_1"}]}}]'
    )
    assert owntracks_answer(None, is_news=True) == b'[{"_type":"cmd","action":"clearWaypoints"}]'
