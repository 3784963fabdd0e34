"""The cities of all tenants with what works in each, and the way from an id to the city that knows it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from core.errors import Invalid, NotFound
from core.ids import CityId, OfferId, OrderId, TenantId, UserId
from core.shard import Shard
from dispatch.model import Offer, Order, Technician
from dispatch.service import DispatchService
from geo.city import CityMap
from geo.point import LatLng
from geo.shard_positions import ShardPositions


class Spot(NamedTuple):
    """Where a point lies: its open city, and the names of the district and of the zone there, ``""`` for none."""

    part: "ShardParts"
    district: str
    zone: str


@dataclass(frozen=True, slots=True)
class ShardParts:
    """One city of one tenant: its dispatch and its positions."""

    shard: Shard
    dispatch: DispatchService
    positions: ShardPositions
    timezone: str = "UTC"
    """IANA name of the city's clock."""


class Cities:
    """Finds the city of a point, an order, an offer or a technician. Look-ups are from memory."""

    def __init__(self, parts: Iterable[ShardParts], maps: Mapping[TenantId, CityMap]) -> None:
        self._parts = {part.shard: part for part in parts}
        self._maps = dict(maps)
        self._by_tenant: dict[TenantId, list[ShardParts]] = {}
        for part in self._parts.values():
            self._by_tenant.setdefault(part.shard.tenant, []).append(part)

    def all(self) -> Sequence[ShardParts]:
        """Every city of every tenant, in the order of the config."""
        return list(self._parts.values())

    def of(self, tenant: TenantId) -> Sequence[ShardParts]:
        """A tenant's cities, in the order of the config."""
        return self._by_tenant.get(tenant, ())

    def get(self, tenant: TenantId, city: CityId) -> ShardParts | None:
        """One city."""
        return self._parts.get(Shard(tenant, city))

    def require(self, tenant: TenantId, city: CityId) -> ShardParts:
        """One city. Raises ``NotFound``."""
        part = self.get(tenant, city)
        if part is None:
            raise NotFound("there is no such city", field="city")
        return part

    def city_of(self, tenant: TenantId, point: LatLng) -> CityId | None:
        """The tenant's city in whose boundary a point lies, open or closed."""
        places = self._maps.get(tenant)
        cities = places.cities if places is not None else ()
        return next((city.city_id for city in cities if city.contains(point)), None)

    def open_city(self, tenant: TenantId, point: LatLng) -> Spot:
        """The open city around a point, and what is there.

        Raises:
            Invalid: ``outside_service_area``.
        """
        places = self._maps.get(tenant)
        city = places.locate(point) if places is not None else None
        part = self.get(tenant, city.city_id) if city is not None else None
        if city is None or part is None:
            raise Invalid("no open city holds this point", code="outside_service_area", field="location")
        zone = city.zone_of(point)
        return Spot(part, city.district_of(point), zone.area_id if zone is not None else "")

    def has_zone(self, tenant: TenantId, city_id: CityId, zone: str) -> bool:
        """Whether a city has a zone of this id."""
        places = self._maps.get(tenant)
        cities = places.cities if places is not None else ()
        return any(area.area_id == zone for city in cities if city.city_id == city_id for area in city.zones)

    def order(self, tenant: TenantId, order_id: OrderId) -> tuple[ShardParts, Order] | None:
        """An open or recently settled order with its city."""
        for part in self.of(tenant):
            order = part.dispatch.order(order_id)
            if order is not None:
                return part, order
        return None

    def offer(self, tenant: TenantId, offer_id: OfferId) -> tuple[ShardParts, Offer] | None:
        """An offer of an open or recently settled order with its city."""
        for part in self.of(tenant):
            offer = part.dispatch.offer(offer_id)
            if offer is not None:
                return part, offer
        return None

    def technician(self, tenant: TenantId, user: UserId) -> tuple[ShardParts, Technician] | None:
        """A technician as the newest of their cities knows them."""
        newest: tuple[ShardParts, Technician] | None = None
        for part in self.of(tenant):
            found = part.dispatch.technician(user)
            if found is not None and (newest is None or found.version > newest[1].version):
                newest = (part, found)
        return newest

    def orders_of(self, tenant: TenantId, user: UserId) -> list[tuple[ShardParts, Order]]:
        """Open orders in which the user is the customer or the technician, oldest first."""
        found = [(part, order) for part in self.of(tenant) for order in part.dispatch.orders_of(user)]
        return sorted(found, key=lambda pair: (pair[1].placed_at, pair[1].order_id))
