"""Valhalla's matrix service: ``POST /sources_to_targets``.

Source: https://valhalla.github.io/valhalla/api/matrix/api-reference. Asked for the short form (``verbose: false``:
two tables of numbers, kilometres); servers that do not know it answer with one object for each pair, which is read as
well. Null where there is no route. A server allows 2,500 pairs of places within 200 to 400 km (``service_limits``).
"""

from typing import Final

import msgspec

from geo.arrays import FloatArray
from geo.settings import TravelSettings
from geo.travel_time import TravelMode
from transport.road_engine import Ask, Cells, answered, lied

_M_PER_KM: Final = 1_000.0
_COSTING: Final = {TravelMode.WALK: "pedestrian", TravelMode.EBIKE: "bicycle", TravelMode.CAR: "auto"}
"""Its matrix knows no public transport."""


class _Tables(msgspec.Struct):
    durations: list[list[float | None]]
    distances: list[list[float | None]] | None = None


class _Pair(msgspec.Struct):
    from_index: int
    to_index: int
    time: float | None = None
    distance: float | None = None


class _Answer(msgspec.Struct):
    sources_to_targets: _Tables | list[list[_Pair]]
    units: str = ""


_DECODER: Final = msgspec.json.Decoder(_Answer)


class ValhallaDialect:
    """``transport.road_engine.Dialect`` of Valhalla. People walk and cycle at the config's speeds."""

    name = "valhalla"

    def __init__(self, travel: TravelSettings) -> None:
        self._options = {
            "pedestrian": {"walking_speed": travel.walk_kmh},
            "bicycle": {"bicycle_type": "city", "cycling_speed": travel.ebike_kmh},
        }

    def ask(self, origins: FloatArray, destinations: FloatArray, mode: TravelMode) -> Ask | None:
        """See ``Dialect``."""
        costing = _COSTING.get(mode)
        if costing is None:
            return None
        sources, targets = (
            [{"lat": round(lat, 6), "lon": round(lng, 6)} for lat, lng in places.tolist()]
            for places in (origins, destinations)
        )
        asked: dict[str, object] = {
            "sources": sources,
            "targets": targets,
            "costing": costing,
            "units": "kilometers",
            "verbose": False,
        }
        if costing in self._options:
            asked["costing_options"] = {costing: self._options[costing]}
        return Ask("/sources_to_targets", msgspec.json.encode(asked))

    def read(self, body: bytes) -> tuple[Cells, Cells | None]:
        """See ``Dialect``."""
        answer = answered(_DECODER, body)
        if answer.units != "kilometers":
            raise lied(f"answered in {answer.units[:40]!r} where kilometers were asked for")
        table = answer.sources_to_targets
        if isinstance(table, _Tables):
            return table.durations, None if table.distances is None else _metres(table.distances)
        for i, row in enumerate(table):
            if any(pair.from_index != i or pair.to_index != j for j, pair in enumerate(row)):
                raise lied("answered with pairs in another order than asked")
        return (
            [[pair.time for pair in row] for row in table],
            _metres([[pair.distance for pair in row] for row in table]),
        )


def _metres(km: Cells) -> Cells:
    return [[None if cell is None else cell * _M_PER_KM for cell in row] for row in km]
