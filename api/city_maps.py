"""The outlines of a city for the pages' own map: boundary, districts, and for who works there the zones."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import msgspec
import shapely

from api.exchange import Request, Response
from api.site import is_known
from core.errors import NotFound
from core.ids import CityId, TenantId
from core.principal import Principal, Role
from geo.city import Area, City, CityMap
from geo.point import Frame

_DIGITS: Final = 6
"""A tenth of a metre."""
_WORKERS: Final = (Role.TECHNICIAN, Role.OPS, Role.SERVICE)
"""Whom the rules of zones concern; customers are told by refusal what does not go."""


@dataclass(frozen=True, slots=True)
class _Drawn:
    body: bytes
    etag: str


class CityMaps:
    """Handler of ``/v1/map/{city}``. The documents are made at the start: 100 KB and 5 ms for a city."""

    def __init__(self, maps: Mapping[TenantId, CityMap], frame: Frame) -> None:
        self._drawn = {
            (tenant, city.city_id, with_zones): _drawn(city, frame, with_zones=with_zones)
            for tenant, places in maps.items()
            for city in places.cities
            for with_zones in (False, True)
        }

    def read(self, who: Principal, request: Request) -> Response:
        """GET /v1/map/{city}: as GeoJSON, in the platform's frame; a city beyond the token is not there."""
        city = CityId(request.path["city"])
        may_see = city in who.cities or not (who.cities or who.holds(Role.OPS))
        drawn = self._drawn.get((who.tenant, city, who.holds(*_WORKERS)))
        if drawn is None or not may_see:
            raise NotFound("there is no such city")
        headers = {"ETag": drawn.etag, "Cache-Control": "private, no-cache"}
        if is_known(request.headers.get("if-none-match", ""), drawn.etag):
            return Response(304, b"", "application/geo+json", headers)
        return Response(200, drawn.body, "application/geo+json", headers)


def _drawn(city: City, frame: Frame, *, with_zones: bool) -> _Drawn:
    features = [_feature("boundary", city.boundary, city=city.city_id, name=city.name)]
    features += [_area("district", area) for area in city.districts]
    if with_zones:
        features += [_area("zone", area) for area in city.zones]
    # Not a member of GeoJSON any more (RFC 7946 section 4): whoever does not know ours, reads past it.
    body = msgspec.json.encode({"type": "FeatureCollection", "frame": frame.value, "features": features})
    return _Drawn(body, f'"{sha256(body).hexdigest()[:24]}"')


def _area(kind: str, area: Area) -> dict[str, Any]:
    return _feature(kind, area.shape, id=area.area_id, name=area.name, open=area.is_open)


def _feature(kind: str, shape: shapely.Geometry, **properties: Any) -> dict[str, Any]:
    rounded = shapely.transform(shape, lambda points: points.round(_DIGITS))
    geometry = msgspec.Raw(shapely.to_geojson(rounded).encode())
    return {"type": "Feature", "properties": {"kind": kind, **properties}, "geometry": geometry}
