"""OSRM's table service: ``GET /table/v1/{profile}/{lng},{lat};…?sources=…&destinations=…``.

Source: https://project-osrm.org/docs/v26.4.0/http (table service). Coordinates are longitude first; ``durations`` and
``distances`` hold null where there is no route. One server knows one profile, so it is asked for the default mode
only. ``osrm-routed`` refuses tables of more than 100 places unless started with a higher ``--max-table-size``.
"""

from typing import Final

import msgspec
import numpy as np

from geo.arrays import FloatArray
from geo.travel_time import TravelMode
from transport.road_engine import Ask, Cells, answered, lied


class _Answer(msgspec.Struct):
    code: str
    durations: list[list[float | None]]
    distances: list[list[float | None]] | None = None


_DECODER: Final = msgspec.json.Decoder(_Answer)


class OsrmDialect:
    """``transport.road_engine.Dialect`` of OSRM.

    Args:
        profile: The word in the path, as the server's data was prepared.
        mode: The mode that this profile is of.
    """

    name = "osrm"

    def __init__(self, profile: str, mode: TravelMode) -> None:
        self._profile = profile
        self._mode = mode

    def ask(self, origins: FloatArray, destinations: FloatArray, mode: TravelMode) -> Ask | None:
        """See ``Dialect``."""
        if mode is not self._mode:
            return None
        # Six decimals are 0.1 m; more would only make the path longer.
        places = ";".join(f"{lng:.6f},{lat:.6f}" for lat, lng in np.concatenate([origins, destinations]).tolist())
        n, m = len(origins), len(destinations)
        sources, targets = (";".join(map(str, numbers)) for numbers in (range(n), range(n, n + m)))
        options = f"sources={sources}&destinations={targets}&annotations=duration,distance"
        return Ask(f"/table/v1/{self._profile}/{places}?{options}&generate_hints=false&skip_waypoints=true")

    def read(self, body: bytes) -> tuple[Cells, Cells | None]:
        """See ``Dialect``."""
        answer = answered(_DECODER, body)
        if answer.code != "Ok":
            raise lied(f"answered {answer.code[:40]!r} where Ok was due")
        return answer.durations, answer.distances
