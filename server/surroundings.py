"""What is known around a subject at the moment of an SOS, from memory: ``safety.ports.Surroundings``."""

from collections.abc import Callable, Sequence

from api.cities import Cities, ShardParts
from api.ports import Presence, Staff
from api.views import TECHNICIAN_STATES
from core.clock import Clock
from core.ids import CityId, OrderId, TenantId, UserId
from core.principal import Role
from core.units import ACCURACY_M_MAX
from dispatch.model import Order
from geo.point import LatLng
from geo.position_index import Flag
from safety import synthetic
from safety.contacts import Contact
from safety.model import BookedPlace, FixSource, IncidentFix
from safety.ports import Contacts, NearbyResponder
from server.last_seen import LastSeen


class CitySurroundings:
    """Looks into the cities' indexes, their orders and the directory of staff."""

    def __init__(
        self,
        cities: Cities,
        presence: Presence,
        staff: Staff,
        last_seen: LastSeen,
        clock: Clock,
        online: Callable[[TenantId, UserId], bool],
        contacts: Contacts,
    ) -> None:
        """Keep where to look; ``online`` is the hub's."""
        self._contacts = contacts
        self._online = online
        self._cities = cities
        self._presence = presence
        self._staff = staff
        self._last_seen = last_seen
        self._clock = clock

    def city_of(self, tenant: TenantId, point: LatLng) -> CityId | None:
        """The tenant's city in whose boundary the point lies."""
        return self._cities.city_of(tenant, point)

    def last_fix(self, tenant: TenantId, user: UserId, now: float) -> tuple[CityId, IncidentFix] | None:
        """Newest live position of the user and the city it is indexed in, else where they were seen last."""
        shard = self._presence.shard_of(tenant, user)
        part = self._cities.get(tenant, shard.city) if shard is not None else None
        live = part.positions.live(user) if part is not None else None
        if part is None or live is None:
            return self._seen_last(tenant, user, now)
        accuracy_m = live.accuracy_m if live.accuracy_m is not None else ACCURACY_M_MAX
        return part.shard.city, IncidentFix(live.point, accuracy_m, live.seen_at, FixSource.LIVE)

    def _seen_last(self, tenant: TenantId, user: UserId, now: float) -> tuple[CityId, IncidentFix] | None:
        """After a restart, or once they are off duty; its age is shown with it."""
        last = self._last_seen.of(tenant, user, now)
        if last is None:
            return None
        point = LatLng(last.lat, last.lng)
        return last.city, IncidentFix(point, last.accuracy_m, last.received_at, FixSource.LAST_SEEN)

    def booking(self, tenant: TenantId, user: UserId, order_id: OrderId | None) -> BookedPlace | None:
        """The user's job under way (the named one of several), else the named order if it is theirs, else None.

        A phone may name another booking than the one that it is at: the name chooses, it never lets anybody in.
        """
        jobs = [order for _, order in self._cities.orders_of(tenant, user) if order.state in TECHNICIAN_STATES]
        jobs.sort(key=lambda order: (order.order_id == order_id, order.changed_at), reverse=True)
        found = self._cities.order(tenant, order_id) if order_id is not None else None
        if found is not None and user in (found[1].customer, found[1].technician) and found[1] not in jobs:
            jobs.append(found[1])
        return _booked(jobs, user) if jobs else None

    def contact(self, tenant: TenantId, user: UserId) -> Contact | None:
        """What they told of themselves and theirs; nothing told is known as well."""
        return self._contacts.of(tenant, user) or Contact(user)

    def responders(
        self, tenant: TenantId, city: CityId | None, point: LatLng | None, limit: int, now: float
    ) -> Sequence[NearbyResponder]:
        """Responders on duty, nearest first, then those without a known position."""
        del now
        one = self._cities.get(tenant, city) if city is not None else None
        parts = [one] if one is not None else self._cities.of(tenant)
        placed: list[NearbyResponder] = []
        unplaced: list[NearbyResponder] = []
        for part in parts:
            near = _nearest(part, point, limit)
            placed += near
            if len(near) < limit:
                known = {responder.user for responder in near}
                unplaced += [NearbyResponder(user, None) for user in _responders_of(part) if user not in known]
        placed.sort(key=lambda responder: (responder.distance_m or 0.0, responder.user))
        unplaced.sort(key=lambda responder: responder.user)
        return (placed + unplaced)[:limit]

    def is_connected(self, tenant: TenantId, user: UserId) -> bool:
        """Whether a device of theirs is connected to the hub."""
        return self._online(tenant, user)

    def ops(self, tenant: TenantId, city: CityId | None) -> Sequence[UserId]:
        """Ops users of the city seen in the last 24 h; the whole tenant's when the city is None or has none."""
        if tenant == synthetic.TENANT:
            return (synthetic.WATCH,)
        now = self._clock.now()
        found = self._staff.users(tenant, Role.OPS, city, now) if city is not None else ()
        return found or self._staff.users(tenant, Role.OPS, None, now)


def _nearest(part: ShardParts, point: LatLng | None, limit: int) -> list[NearbyResponder]:
    if point is None:
        return []
    index = part.positions.index
    # Who reports a made-up place is told like somebody without one: nobody ranks themselves to the front.
    is_honest = ~(index.seen_at <= index.mocked_at)
    slots, distances_m = index.nearest(point, limit, require=int(Flag.RESPONDER), mask=is_honest)
    return [
        NearbyResponder(index.user(slot), metres)
        for slot, metres in zip(slots.tolist(), distances_m.tolist(), strict=True)
    ]


def _responders_of(part: ShardParts) -> list[UserId]:
    index = part.positions.index
    return index.users((index.flags & int(Flag.RESPONDER)).nonzero()[0])


def _booked(jobs: Sequence[Order], user: UserId) -> BookedPlace:
    """The first of somebody's jobs, with the other sides of all of them."""
    order, site = jobs[0], jobs[0].site
    others = (_other_side(job, user) for job in jobs[1:])
    return BookedPlace(
        order_id=order.order_id,
        city=order.city,
        point=site.point,
        address=site.address,
        unit=site.unit,
        entrance_note=site.entrance_note,
        other_party=_other_side(order, user),
        others=tuple(dict.fromkeys(other for other in others if other is not None)),
    )


def _other_side(order: Order, user: UserId) -> UserId | None:
    return order.technician if user == order.customer else order.customer
