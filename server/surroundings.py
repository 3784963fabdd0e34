"""What is known around a subject at the moment of an SOS, from memory: ``safety.ports.Surroundings``."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Final

import numpy as np

from api.cities import Cities
from api.ports import Presence, Staff
from api.views import TECHNICIAN_STATES
from core.clock import Clock
from core.ids import CityId, OrderId, TenantId, UserId
from core.principal import Role
from core.units import ACCURACY_M_MAX
from dispatch.model import Order
from geo.arrays import BoolArray, FloatArray, IntArray
from geo.point import LatLng
from geo.position_index import Flag, PositionIndex
from safety import synthetic
from safety.contacts import Contact
from safety.freshness import R95_PER_R68
from safety.model import Approach, BookedPlace, FixSource, IncidentFix
from safety.ports import Contacts, HelpSought, NearbyResponder
from safety.ranking import ACCURACY_ASSUMED_M, QUIET_S, Group, pessimistic_eta_s, place_in_line
from server.last_seen import LastSeen

RANKED_MIN: Final = 64
"""Nearest of a city who are ranked at least."""
_CONNECTED: Final = int(Flag.CONNECTED)
_BITS: Final = {
    Group.STAFF: (int(Flag.RESPONDER), 0),
    Group.CONSENTING: (int(Flag.HELPER | Flag.TECHNICIAN), int(Flag.RESPONDER | Flag.BUSY | Flag.ALARM)),
}
"""Bits that must be set, and those of which none may be."""


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
        is_made_up = live.seen_at <= _mocked_at(part.positions.index, user)
        return part.shard.city, IncidentFix(live.point, accuracy_m, live.seen_at, FixSource.LIVE, is_made_up)

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

    def responders(self, sought: HelpSought, group: Group, now: float) -> Sequence[NearbyResponder]:
        """Those of a group who are on duty, in line."""
        one = self._cities.get(sought.tenant, sought.city) if sought.city is not None else None
        parts = [one] if one is not None else self._cities.of(sought.tenant)
        found = [responder for part in parts for responder in in_line(part.positions.index, sought, group, now)]
        if group is Group.CONSENTING:
            found = [responder for responder in found if self._contacts.consents(sought.tenant, responder.user)]
        found.sort(key=lambda r: place_in_line(r.user, r.distance_m, r.approach))
        return found

    def kept_apart(self, tenant: TenantId, user: UserId, others: Collection[UserId]) -> Collection[UserId]:
        """Those of ``others`` of whom one of the two has blocked the other, whichever is the customer."""
        parts = self._cities.of(tenant)
        own = [barred for part in parts if (barred := part.dispatch.barred(user))]
        return {
            other
            for other in others
            if any(other in barred for barred in own) or any(user in part.dispatch.barred(other) for part in parts)
        }

    def unwilling(self, tenant: TenantId, users: Collection[UserId]) -> Collection[UserId]:
        """Those of some technicians who do not consent."""
        return {user for user in users if not self._contacts.consents(tenant, user)}

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


def in_line(index: PositionIndex, sought: HelpSought, group: Group, now: float) -> list[NearbyResponder]:
    """Those of a group in one city: up to the limit of those who are heard, and of the others.

    Ranked are the nearest of each kind, four times as many as are wanted: somebody farther off would have to be known
    much better than all of them. Cost: 0.1 to 0.3 ms with 10,000 people for a limit of 5.
    """
    require, forbid = _BITS[group]
    # Who reports a made-up place is told like somebody without one: nobody ranks themselves to the front.
    is_placed = ~(index.seen_at <= index.mocked_at)
    is_heard = (index.flags & _CONNECTED != 0) & (index.seen_at >= now - QUIET_S)
    found: list[NearbyResponder] = []
    for is_live in (True, False):
        if sought.point is not None:
            mask = is_placed & (is_heard == is_live)
            most = max(RANKED_MIN, 4 * sought.limit)
            slots, distances_m = index.nearest(sought.point, most, require=require, forbid=forbid, mask=mask)
            found += _soonest(index, slots, distances_m, sought, group, now, is_live=is_live)
    left = sought.limit - sum(1 for responder in found if responder.approach and not responder.approach.is_live)
    return found + (_unplaced(index, sought, group, is_placed, is_heard, left) if left > 0 else [])


def _soonest(
    index: PositionIndex,
    slots: IntArray,
    distances_m: FloatArray,
    sought: HelpSought,
    group: Group,
    now: float,
    *,
    is_live: bool,
) -> list[NearbyResponder]:
    accuracy_m = index.accuracy_m[slots]
    r95_m = R95_PER_R68 * np.where(accuracy_m < ACCURACY_M_MAX, accuracy_m, ACCURACY_ASSUMED_M)
    age_s = np.maximum(0.0, now - index.seen_at[slots])
    eta_s = pessimistic_eta_s(distances_m, r95_m, age_s, person_r95_m=sought.r95_m, speed_mps=sought.speed_mps)
    first = np.argsort(eta_s, kind="stable")[: sought.limit]
    columns = (column[first].tolist() for column in (slots, distances_m, eta_s, r95_m, age_s))
    return [
        NearbyResponder(
            index.user(slot), metres, Approach(group.value, is_live, round(eta, 1), round(radius), round(age))
        )
        for slot, metres, eta, radius, age in zip(*columns, strict=True)
    ]


def _unplaced(
    index: PositionIndex, sought: HelpSought, group: Group, is_placed: BoolArray, is_heard: BoolArray, most: int
) -> list[NearbyResponder]:
    """Those on duty of whom nobody knows where they are, by name; all, those who are heard first, without a point."""
    require, forbid = _BITS[group]
    is_wanted = index.flags & (require | forbid) == require
    if sought.point is not None:
        users = sorted(index.users(np.flatnonzero(is_wanted & ~is_placed)))
        return [NearbyResponder(user, None, Approach(group.value, is_live=False)) for user in users[:most]]
    return [
        NearbyResponder(user, None, Approach(group.value, is_live=is_live))
        for is_live in (True, False)
        for user in sorted(index.users(np.flatnonzero(is_wanted & (is_heard == is_live))))[: sought.limit]
    ]


def _mocked_at(index: PositionIndex, user: UserId) -> float:
    """When the phone last called its position made up; -inf when never."""
    slot = index.slot(user)
    return float(index.mocked_at[slot]) if slot is not None else -math.inf


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
