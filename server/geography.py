"""Reads the cities of the config: GeoJSON files become one map for each tenant."""

import json
from collections.abc import Sequence
from pathlib import Path

import geo
from core.errors import DoorstepError
from core.ids import CityId, TenantId
from geo.city import CityMap
from geo.settings import CoordinateSettings
from server.config import ConfigError, Problem
from server.settings import CitySettings

SHIPPED_FOLDER = Path(geo.__file__).parent / "cities"
"""Boundaries that come with Doorstep."""


def load_maps(cities: Sequence[CitySettings], coordinates: CoordinateSettings, folder: Path) -> dict[TenantId, CityMap]:
    """One map for each tenant.

    Args:
        cities: The config's list.
        coordinates: Frame of the platform and of the files.
        folder: Where relative paths start.

    Raises:
        ConfigError: A file is missing, unreadable or does not hold its city; all problems at once.
    """
    maps: dict[TenantId, CityMap] = {}
    problems: list[Problem] = []
    for number, settings in enumerate(cities):
        path = (
            folder / settings.boundary_file if settings.boundary_file else SHIPPED_FOLDER / f"{settings.city}.geojson"
        )
        try:
            one = _city(path, settings, coordinates)
            tenant = TenantId(settings.tenant)
            maps[tenant] = maps.get(tenant, CityMap()).merged(one)
        except OSError as error:
            problems.append(Problem(str(path), f"cities.{number}.boundary_file", error.strerror or str(error)))
        except ValueError as error:
            problems.append(Problem(str(path), f"cities.{number}", f"is not valid JSON: {error}"))
        except DoorstepError as error:
            where = f" ({error.field})" if error.field else ""
            problems.append(Problem(str(path), f"cities.{number}", f"{error.message}{where}"))
    if problems:
        raise ConfigError(problems)
    return maps


def _city(path: Path, settings: CitySettings, coordinates: CoordinateSettings) -> CityMap:
    document = json.loads(path.read_bytes())
    whole = CityMap.from_geojson(document, frame=coordinates.frame, geojson_frame=coordinates.geojson_frame)
    city_id = CityId(settings.city)
    one = CityMap([whole.city(city_id)])
    if not settings.open:
        one.set_open(city_id, is_open=False)
    return one
