import json

import numpy as np
import pytest

from geo.settings import TravelSettings
from geo.travel_time import TravelMode
from transport.road_engine import EngineFailed
from transport.valhalla import ValhallaDialect

ORIGINS = np.array([[47.14, 9.52], [47.166, 9.51]])
DESTINATIONS = np.array([[47.17, 9.52]])
DIALECT = ValhallaDialect(TravelSettings())

SHORT = (
    b'{"sources_to_targets":{"durations":[[378,null],[136,90]],"distances":[[4.111,null],[1.125,0.5]]},'
    b'"units":"kilometers","algorithm":"costmatrix"}'
)
LONG = (
    b'{"sources_to_targets":[[{"distance":0.0,"time":0,"to_index":0,"from_index":0},'
    b'{"distance":4.477,"time":346,"to_index":1,"from_index":0,"cost":391.127},'
    b'{"to_index":2,"from_index":0,"time":null,"distance":null}]],"units":"kilometers"}'
)


def test_it_asks_for_the_short_form_by_the_configs_speeds() -> None:
    ask = DIALECT.ask(ORIGINS, DESTINATIONS, TravelMode.EBIKE)
    assert ask is not None
    assert ask.path == "/sources_to_targets"
    assert ask.body is not None
    assert json.loads(ask.body) == {
        "sources": [{"lat": 47.14, "lon": 9.52}, {"lat": 47.166, "lon": 9.51}],
        "targets": [{"lat": 47.17, "lon": 9.52}],
        "costing": "bicycle",
        "costing_options": {"bicycle": {"bicycle_type": "city", "cycling_speed": 18.0}},
        "units": "kilometers",
        "verbose": False,
    }


def test_each_mode_has_its_costing_except_public_transport() -> None:
    asks = {mode: DIALECT.ask(ORIGINS, DESTINATIONS, mode) for mode in TravelMode}
    assert asks.pop(TravelMode.TRANSIT) is None
    costings = {mode: json.loads(ask.body)["costing"] for mode, ask in asks.items() if ask is not None and ask.body}
    assert costings == {TravelMode.WALK: "pedestrian", TravelMode.EBIKE: "bicycle", TravelMode.CAR: "auto"}


def test_it_reads_the_short_form_in_metres() -> None:
    assert DIALECT.read(SHORT) == ([[378, None], [136, 90]], [[4_111, None], [1_125, 500]])


def test_it_reads_the_long_form_of_older_servers() -> None:
    assert DIALECT.read(LONG) == ([[0, 346, None]], [[0, 4_477, None]])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b'{"error_code":154,"error":"Path distance exceeds the max distance limit"}',
        SHORT.replace(b"kilometers", b"miles"),
        SHORT.replace(b"378", b"NaN"),
        SHORT.replace(b"378", b'"378"'),
        LONG.replace(b'"to_index":1', b'"to_index":2'),
        LONG.replace(b'"from_index":0', b'"from_index":1'),
    ],
)
def test_anything_else_is_no_answer(body: bytes) -> None:
    with pytest.raises(EngineFailed):
        DIALECT.read(body)
