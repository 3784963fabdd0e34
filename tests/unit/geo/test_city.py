import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import geo
from core.errors import Invalid, NotFound
from core.ids import CityId
from geo.city import CityMap
from geo.frames import convert_point
from geo.point import Frame, LatLng

CITIES = Path(geo.__file__).parent / "cities"


def square(west: float, south: float, side: float = 1.0) -> dict[str, Any]:
    ring = [[west, south], [west + side, south], [west + side, south + side], [west, south + side], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def feature(kind: str, area_id: str, geometry: dict[str, Any], **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": {"kind": kind, "id": area_id, **properties}, "geometry": geometry}


def collection(*features: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


def shipped(name: str, frame: Frame = Frame.GCJ02) -> CityMap:
    return CityMap.from_geojson(json.loads((CITIES / f"{name}.geojson").read_text("utf-8")), frame=frame)


@pytest.mark.parametrize(
    ("city", "point", "district"),
    [
        ("shenzhen", (22.5431, 114.0579), "Futian"),
        ("shenzhen", (22.5329, 113.9305), "Nanshan"),
        ("shenzhen", (22.7200, 114.2500), "Longgang"),
        ("shanghai", (31.2304, 121.4737), "Huangpu"),
        ("shanghai", (31.2214, 121.5447), "Pudong"),
        ("shanghai", (31.6230, 121.3970), "Chongming"),
    ],
)
@pytest.mark.parametrize("frame", [Frame.WGS84, Frame.GCJ02])
def test_shipped_cities_know_their_districts(
    city: str, point: tuple[float, float], district: str, frame: Frame
) -> None:
    here = convert_point(LatLng(*point), Frame.WGS84, frame)
    found = shipped(city, frame).locate(here)
    assert found is not None
    assert (found.city_id, found.district_of(here)) == (city, district)


@pytest.mark.parametrize(
    "point", [(22.3193, 114.1694), (23.0207, 113.7518), (22.1987, 113.5439), (0.0, 0.0)],
    ids=["Hong Kong", "Dongguan", "Macau", "Null Island"],
)  # fmt: skip
def test_places_beside_the_city_are_outside_the_service_area(point: tuple[float, float]) -> None:
    assert shipped("shenzhen").locate(convert_point(LatLng(*point), Frame.WGS84, Frame.GCJ02)) is None


def test_the_centre_of_a_city_is_inside_and_points_are_tested_in_bulk() -> None:
    (city,) = shipped("shenzhen").cities
    assert city.contains(city.center)
    west, south, east, north = city.box
    lat, lng = np.array([city.center.lat_deg, south - 1.0]), np.array([city.center.lng_deg, west])
    assert city.contains_many(lat, lng).tolist() == [True, False]
    assert east > west
    assert north > south


def test_the_boundary_moves_with_the_frame() -> None:
    in_wgs84, in_gcj02 = (shipped("shenzhen", frame).cities[0].box for frame in (Frame.WGS84, Frame.GCJ02))
    assert 0.003 < in_gcj02[0] - in_wgs84[0] < 0.007


def test_a_closed_city_and_a_closed_zone_take_no_orders() -> None:
    cities = CityMap.from_geojson(
        collection(
            feature("city", "one", square(0, 0)),
            feature("zone", "airport", square(0.2, 0.2, 0.1), open=False),
            feature("zone", "centre", square(0.5, 0.5, 0.3), tariff="high"),
        )
    )
    city = cities.locate(LatLng(0.6, 0.6))
    assert city is not None
    zone = city.zone_of(LatLng(0.6, 0.6))
    assert zone is not None
    assert (zone.area_id, zone.properties["tariff"]) == ("centre", "high")
    assert cities.locate(LatLng(0.25, 0.25)) is None
    assert cities.locate(LatLng(0.05, 0.05)) is not None
    cities.set_open(CityId("one"), is_open=False)
    assert cities.locate(LatLng(0.6, 0.6)) is None
    assert not cities.city(CityId("one")).is_open


def test_an_unknown_city_is_not_found() -> None:
    with pytest.raises(NotFound):
        CityMap().city(CityId("nowhere"))


def test_maps_are_merged_unless_a_city_stands_in_both() -> None:
    one = CityMap.from_geojson(collection(feature("city", "one", square(0, 0))))
    two = CityMap.from_geojson(collection(feature("city", "two", square(5, 5))))
    assert len(one.merged(two)) == 2
    with pytest.raises(Invalid, match="'one' is defined twice"):
        one.merged(one)


def test_a_point_on_an_overlap_belongs_to_the_city_loaded_first() -> None:
    cities = CityMap.from_geojson(
        collection(feature("city", "one", square(0, 0)), feature("city", "two", square(0.5, 0)))
    )
    found = cities.locate(LatLng(0.5, 0.75))
    assert found is not None
    assert found.city_id == "one"


CITY = feature("city", "one", square(0, 0))
BOWTIE = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}
OPEN_RING = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}
SWAPPED = {"type": "Polygon", "coordinates": [[[22.5, 114.0], [22.6, 114.0], [22.6, 114.1], [22.5, 114.0]]]}
FAR = {"type": "Polygon", "coordinates": [[[200, 0], [201, 0], [201, 1], [200, 0]]]}
NOT_NUMBERS = {"type": "Polygon", "coordinates": [[["0", 0], [1, 0], [1, 1], ["0", 0]]]}


@pytest.mark.parametrize(
    ("document", "field", "text"),
    [
        ([], "type", "must be a GeoJSON FeatureCollection"),
        ({"type": "Feature"}, "type", "must be a GeoJSON FeatureCollection, is 'Feature'"),
        (collection(), "features", "at least one feature"),
        ({**collection(CITY), "crs": {"properties": {"name": "EPSG:3857"}}}, "crs", "must be longitude and latitude"),
        (collection(7), "features[0]", "must be a GeoJSON Feature"),
        (collection({"type": "Feature"}), "features[0].properties", "must be an object"),
        (collection(feature("town", "one", square(0, 0))), "features[0].properties.kind", "must be one of city"),
        (collection(feature("city", "", square(0, 0))), "features[0].properties.id", "1 to 64 characters"),
        (collection(feature("city", "one", square(0, 0), open="yes")), "features[0].properties.open", "true or false"),
        (collection(feature("city", "one", {"type": "Point"})), "features[0].geometry", "Polygon or MultiPolygon"),
        (collection(feature("city", "one", BOWTIE)), "features[0].geometry", "must not cross itself"),
        (collection(feature("city", "one", OPEN_RING)), "features[0].geometry.coordinates", "closed rings"),
        (collection(feature("city", "one", SWAPPED)), "features[0].geometry.coordinates", "latitude first"),
        (collection(feature("city", "one", FAR)), "features[0].geometry.coordinates", "within 180 and 90"),
        (collection(feature("city", "one", NOT_NUMBERS)), "features[0].geometry.coordinates", "positions"),
        (collection(CITY, CITY), "features[1].properties.id", "defined twice"),
        (collection(feature("zone", "z", square(0, 0))), "features", "at least one feature of kind 'city'"),
        (collection(CITY, feature("zone", "z", square(0, 0), city="two")), "features[1].properties.city", "city of"),
        (collection(CITY, feature("zone", "z", square(9, 9))), "features[1].geometry", "must touch its city"),
    ],
)
def test_bad_geojson_is_refused_naming_the_place_and_what_was_expected(document: Any, field: str, text: str) -> None:
    with pytest.raises(Invalid) as refused:
        CityMap.from_geojson(document)
    assert refused.value.field == field
    assert text in refused.value.message


def test_with_several_cities_a_zone_must_say_where_it_is() -> None:
    with pytest.raises(Invalid, match="must name its city"):
        CityMap.from_geojson(collection(CITY, feature("city", "two", square(5, 5)), feature("zone", "z", square(0, 0))))


def test_shipped_boundaries_are_small_and_credited() -> None:
    for path in CITIES.glob("*.geojson"):
        assert path.stat().st_size < 60_000
        assert path.name in (CITIES / "README.md").read_text("utf-8")
