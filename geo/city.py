"""Cities: boundary, districts, zones and whether they are open, from GeoJSON.

Not here: reading files (``server``), tariffs (they hang on zone names).

A file is a FeatureCollection (RFC 7946). Each feature is a Polygon or MultiPolygon with these properties:

- ``kind``: ``city``, ``district`` (where somebody lives, said in offers) or ``zone`` (where rules differ);
- ``id``: of a city, its id in keys and URLs; of the others, their name in rules;
- ``name``: what people read (default: the id);
- ``city``: of districts and zones, the city's id; may be left out where the file has one city;
- ``open``: of cities and zones, whether orders are taken there (default true).

GeoJSON is WGS-84 unless told otherwise; areas are converted into the platform's frame when they are loaded, so that
each question afterwards is asked in that frame alone. Long edges stay straight in it (error under 1 m for 1 km).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import ArrayLike

from core.errors import Invalid, NotFound
from core.ids import CityId
from geo.arrays import BoolArray, FloatArray
from geo.frames import convert
from geo.point import Frame, LatLng

_KINDS: Final = ("city", "district", "zone")
_GEOMETRIES: Final = ("Polygon", "MultiPolygon")
_WGS84_NAMES: Final = ("CRS84", "4326")
Geometry = shapely.Polygon | shapely.MultiPolygon


@dataclass(frozen=True, slots=True)
class Area:
    """A named part of a city.

    Attributes:
        area_id: Name in rules.
        name: What people read.
        shape: Polygon or MultiPolygon of (lng, lat) in the platform's frame, prepared.
        is_open: Whether orders are taken here.
        properties: All properties of the feature.
    """

    area_id: str
    name: str
    shape: Geometry
    is_open: bool = True
    properties: Mapping[str, Any] = field(default_factory=dict)

    def contains(self, point: LatLng) -> bool:
        """Whether a point is inside; the edge itself is not."""
        return bool(shapely.contains_xy(self.shape, point.lng_deg, point.lat_deg))


@dataclass(frozen=True, slots=True)
class City:
    """One city of a tenant, in the platform's frame.

    Attributes:
        city_id: Its id in keys and URLs.
        name: What people read.
        boundary: Polygon or MultiPolygon of (lng, lat), prepared.
        is_open: Whether it takes orders.
        districts: In the order of the file.
        zones: In the order of the file; the first that holds a point rules it.
    """

    city_id: CityId
    name: str
    boundary: Geometry
    is_open: bool = True
    districts: tuple[Area, ...] = ()
    zones: tuple[Area, ...] = ()

    def contains(self, point: LatLng) -> bool:
        """Whether a point is inside the boundary."""
        return bool(shapely.contains_xy(self.boundary, point.lng_deg, point.lat_deg))

    def contains_many(self, lat_deg: ArrayLike, lng_deg: ArrayLike) -> BoolArray:
        """``contains`` for arrays; about 0.1 us a point."""
        inside: BoolArray = shapely.contains_xy(self.boundary, np.asarray(lng_deg), np.asarray(lat_deg))
        return inside

    def district_of(self, point: LatLng) -> str:
        """Name of the district that holds a point, "" where none does."""
        return next((area.name for area in self.districts if area.contains(point)), "")

    def zone_of(self, point: LatLng) -> Area | None:
        """The first zone that holds a point."""
        return next((area for area in self.zones if area.contains(point)), None)

    def takes_orders_at(self, point: LatLng) -> bool:
        """Whether the city is open, and no closed zone holds the point."""
        if not self.is_open or not self.contains(point):
            return False
        return not any(not area.is_open and area.contains(point) for area in self.zones)

    @property
    def center(self) -> LatLng:
        """A point well inside the boundary."""
        inner = shapely.point_on_surface(self.boundary)
        return LatLng(float(inner.y), float(inner.x))

    @property
    def box(self) -> tuple[float, float, float, float]:
        """West, south, east, north, degrees."""
        west, south, east, north = self.boundary.bounds
        return west, south, east, north


class CityMap:
    """All cities of one tenant. Where boundaries overlap, the city loaded first has the point."""

    def __init__(self, cities: Iterable[City] = ()) -> None:
        self._cities = {city.city_id: city for city in cities}

    @classmethod
    def from_geojson(
        cls, document: object, *, frame: Frame = Frame.GCJ02, geojson_frame: Frame = Frame.WGS84
    ) -> "CityMap":
        """Build from a decoded GeoJSON document.

        Args:
            document: What ``json.loads`` returned.
            frame: The platform's frame.
            geojson_frame: Frame of the document.

        Raises:
            Invalid: Names the feature, the field and what was expected.
        """
        return cls(_Reader(frame, geojson_frame).read(document))

    def __len__(self) -> int:
        """Number of cities."""
        return len(self._cities)

    @property
    def cities(self) -> tuple[City, ...]:
        """All cities, open or not."""
        return tuple(self._cities.values())

    def city(self, city_id: CityId) -> City:
        """A city by id.

        Raises:
            NotFound: ``no_such_city``.
        """
        city = self._cities.get(city_id)
        if city is None:
            raise NotFound(f"there is no city {city_id!r}", code="no_such_city", field="city")
        return city

    def locate(self, point: LatLng) -> City | None:
        """The open city that takes orders at a point (platform's frame); None is ``outside_service_area``."""
        return next((city for city in self._cities.values() if city.takes_orders_at(point)), None)

    def set_open(self, city_id: CityId, *, is_open: bool) -> None:
        """Open or close a city. Raises ``NotFound``."""
        self._cities[city_id] = replace(self.city(city_id), is_open=is_open)

    def merged(self, other: "CityMap") -> "CityMap":
        """Both maps in one (one file for each city is usual).

        Raises:
            Invalid: A city stands in both.
        """
        twice = self._cities.keys() & other._cities.keys()
        if twice:
            raise Invalid(f"city {min(twice)!r} is defined twice", field="features")
        return CityMap((*self.cities, *other.cities))


class _Reader:
    """Reads one document; every complaint says where and what was expected."""

    def __init__(self, frame: Frame, geojson_frame: Frame) -> None:
        self._frame = frame
        self._geojson_frame = geojson_frame

    def read(self, document: object) -> list[City]:
        features = self._features(document)
        cities: dict[str, City] = {}
        parts: list[tuple[int, str, str | None, Area]] = []
        for number, feature in enumerate(features):
            kind, city_id, area = self._feature(number, feature)
            if kind == "city":
                if area.area_id in cities:
                    raise Invalid(f"city {area.area_id!r} is defined twice", field=f"features[{number}].properties.id")
                cities[area.area_id] = City(CityId(area.area_id), area.name, area.shape, area.is_open)
            else:
                parts.append((number, kind, city_id, area))
        if not cities:
            raise Invalid("must hold at least one feature of kind 'city'", field="features")
        for number, kind, city_id, area in parts:
            owner = self._owner(number, city_id, area, cities)
            if kind == "district":
                cities[owner.city_id] = replace(owner, districts=(*owner.districts, area))
            else:
                cities[owner.city_id] = replace(owner, zones=(*owner.zones, area))
        return list(cities.values())

    @staticmethod
    def _features(document: object) -> list[object]:
        if not isinstance(document, Mapping) or document.get("type") != "FeatureCollection":
            found = document.get("type") if isinstance(document, Mapping) else type(document).__name__
            raise Invalid(f"must be a GeoJSON FeatureCollection, is {_short(found)}", field="type")
        crs = document.get("crs")
        if crs is not None and not any(name in str(crs) for name in _WGS84_NAMES):
            raise Invalid(
                f"must be longitude and latitude (RFC 7946 has no other crs), is {_short(crs)}; "
                "set coordinates.geojson_frame for GCJ-02 or BD-09",
                field="crs",
            )
        features = document.get("features")
        if not isinstance(features, list) or not features:
            raise Invalid("must be a list with at least one feature", field="features")
        return features

    @staticmethod
    def _owner(number: int, city_id: str | None, area: Area, cities: Mapping[str, City]) -> City:
        path = f"features[{number}]"
        if city_id is None:
            if len(cities) > 1:
                raise Invalid(
                    f"{area.name!r} must name its city: the file has {len(cities)}", field=f"{path}.properties.city"
                )
            owner = next(iter(cities.values()))
        elif city_id in cities:
            owner = cities[city_id]
        else:
            raise Invalid(
                f"{area.name!r} must be in a city of this file, is in {city_id!r}", field=f"{path}.properties.city"
            )
        if not owner.boundary.intersects(area.shape):
            raise Invalid(f"{area.name!r} must touch its city {owner.name!r}, lies outside", field=f"{path}.geometry")
        return owner

    def _feature(self, number: int, feature: object) -> tuple[str, str | None, Area]:
        path = f"features[{number}]"
        if not isinstance(feature, Mapping) or feature.get("type") != "Feature":
            raise Invalid(f"must be a GeoJSON Feature, is {_short(feature)}", field=path)
        properties = feature.get("properties")
        if not isinstance(properties, Mapping):
            raise Invalid("must be an object with kind and id", field=f"{path}.properties")
        kind = properties.get("kind")
        if kind not in _KINDS:
            raise Invalid(f"must be one of {', '.join(_KINDS)}, is {_short(kind)}", field=f"{path}.properties.kind")
        area_id = _text(properties, "id", path)
        if area_id is None:
            raise Invalid("must be a text of 1 to 64 characters, is missing", field=f"{path}.properties.id")
        is_open = properties.get("open", True)
        if not isinstance(is_open, bool):
            raise Invalid(f"must be true or false, is {_short(is_open)}", field=f"{path}.properties.open")
        name = _text(properties, "name", path) or area_id
        shape = self._shape(f"{path}.geometry", name, feature.get("geometry"))
        return str(kind), _text(properties, "city", path), Area(area_id, name, shape, is_open, dict(properties))

    def _shape(self, path: str, name: str, geometry: object) -> Geometry:
        if not isinstance(geometry, Mapping) or geometry.get("type") not in _GEOMETRIES:
            found = geometry.get("type") if isinstance(geometry, Mapping) else geometry
            raise Invalid(f"{name!r} must be a Polygon or MultiPolygon, is {_short(found)}", field=path)
        polygons = geometry.get("coordinates")
        if geometry["type"] == "Polygon":
            polygons = [polygons]
        if not isinstance(polygons, list) or not polygons:
            raise Invalid(f"{name!r} must have a list of polygons", field=f"{path}.coordinates")
        built = [_polygon(polygon, f"{path}.coordinates", name) for polygon in polygons]
        shape = built[0] if len(built) == 1 else shapely.MultiPolygon(built)
        if not shape.is_valid:
            raise Invalid(f"{name!r} must not cross itself: {shapely.is_valid_reason(shape)}", field=path)
        moved: Geometry = shapely.transform(shape, self._to_platform_frame)
        shapely.prepare(moved)
        return moved

    def _to_platform_frame(self, lng_lat: FloatArray) -> FloatArray:
        lat, lng = convert(lng_lat[:, 1], lng_lat[:, 0], self._geojson_frame, self._frame)
        return np.column_stack((lng, lat))


def _polygon(rings: object, path: str, name: str) -> shapely.Polygon:
    if not isinstance(rings, list) or not rings:
        raise Invalid(f"{name!r} must have an outer ring", field=path)
    outer, *holes = (_ring(ring, path, name) for ring in rings)
    return shapely.Polygon(outer, holes)


def _ring(ring: object, path: str, name: str) -> list[tuple[float, float]]:
    if not isinstance(ring, list) or len(ring) < 4:
        raise Invalid(f"{name!r} must have rings of at least 4 positions, the last like the first", field=path)
    places = []
    for place in ring:
        if not isinstance(place, list) or len(place) < 2 or not all(_is_number(value) for value in place[:2]):
            raise Invalid(f"{name!r} must have positions [longitude, latitude], has {_short(place)}", field=path)
        lng, lat = float(place[0]), float(place[1])
        if abs(lat) > 90.0 and abs(lng) <= 90.0:
            raise Invalid(
                f"{name!r} has [{lng:g}, {lat:g}], which looks like latitude first: GeoJSON is [longitude, latitude]",
                field=path,
            )
        if abs(lat) > 90.0 or abs(lng) > 180.0:
            raise Invalid(f"{name!r} must stay within 180 and 90 degrees, has [{lng:g}, {lat:g}]", field=path)
        places.append((lng, lat))
    if places[0] != places[-1]:
        raise Invalid(f"{name!r} must have closed rings: the last position like the first", field=path)
    return places


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _text(properties: Mapping[str, object], key: str, path: str) -> str | None:
    value = properties.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= 64:
        raise Invalid(f"must be a text of 1 to 64 characters, is {_short(value)}", field=f"{path}.properties.{key}")
    return value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
