import numpy as np
import pytest

from geo.travel_time import TravelMode
from transport.osrm import OsrmDialect
from transport.road_engine import EngineFailed

ORIGINS = np.array([[47.14, 9.52], [47.166, 9.51]])
DESTINATIONS = np.array([[47.17, 9.52]])
DIALECT = OsrmDialect("driving", TravelMode.CAR)

PUBLISHED = b"""{
  "sources": [
    {"location": [13.3888, 52.517033], "hint": "PAMAgEVJAoAUAAAAIAAA", "name": "Friedrichstrasse"},
    {"location": [13.397631, 52.529432], "hint": "WIQBgL6mAoAEAAAABgAA", "name": "Torstrasse"}
  ],
  "durations": [[0, 192.6, 382.8], [199, 0, 283.9]],
  "destinations": [
    {"location": [13.3888, 52.517033], "hint": "PAMAgEVJAoAUAAAAIAAA", "name": "Friedrichstrasse"},
    {"location": [13.397631, 52.529432], "hint": "WIQBgL6mAoAEAAAABgAA", "name": "Torstrasse"},
    {"location": [13.428554, 52.523239], "hint": "7UcAgP___38fAAAAUQAA", "name": "Platz der Vereinten Nationen"}
  ],
  "code": "Ok",
  "distances": [[0, 1886.89, 3791.3], [1824, 0, 2838.09]]
}"""
"""The example of OSRM's documents, shortened."""


def test_it_asks_longitude_first_and_numbers_the_places() -> None:
    ask = DIALECT.ask(ORIGINS, DESTINATIONS, TravelMode.CAR)
    assert ask is not None
    assert ask.body is None
    assert ask.path == (
        "/table/v1/driving/9.520000,47.140000;9.510000,47.166000;9.520000,47.170000"
        "?sources=0;1&destinations=2&annotations=duration,distance&generate_hints=false&skip_waypoints=true"
    )


def test_it_knows_no_other_mode() -> None:
    assert DIALECT.ask(ORIGINS, DESTINATIONS, TravelMode.WALK) is None


def test_it_reads_the_published_example() -> None:
    assert DIALECT.read(PUBLISHED) == ([[0, 192.6, 382.8], [199, 0, 283.9]], [[0, 1886.89, 3791.3], [1824, 0, 2838.09]])


def test_no_route_and_no_distances_are_answers() -> None:
    assert DIALECT.read(b'{"code":"Ok","durations":[[null,1.5]]}') == ([[None, 1.5]], None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>nginx</html>",
        b"[]",
        b'{"code":"Ok"}',
        b'{"code":"NoTable","message":"none","durations":[[1]]}',
        b'{"code":"Ok","durations":[[NaN]]}',
        b'{"code":"Ok","durations":[[1e999]]}',
        b'{"code":"Ok","durations":[["12"]]}',
        b'{"code":"Ok","durations":[[true]]}',
        b'{"code":"Ok","durations":' + b"[" * 5_000,
        b'{"code":"\xff","durations":[[1]]}',
    ],
)
def test_anything_else_is_no_answer(body: bytes) -> None:
    with pytest.raises(EngineFailed):
        DIALECT.read(body)
