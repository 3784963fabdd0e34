"""What is known around a subject at the moment of an SOS, from memory: ``safety.ports.Surroundings``."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
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
from geo.shard_positions import LiveFix
from safety import synthetic
from safety.contacts import Contact
from safety.freshness import R95_PER_R68
from safety.model import Approach, BookedPlace, FixSource, IncidentFix
from safety.ports import Contacts, HelpSought, NearbyResponder
from safety.ranking import ACCURACY_ASSUMED_M, QUIET_S, Group, pessimistic_eta_s, place_in_line
from server.aside import Aside, aside_of
from server.last_seen import LastSeen

RANKED_MORE: Final = 64
"""So many more of a city are ranked than are wanted: the nearest."""
QUIET_MAX: Final = 64
"""Most of those whose phone is quiet who are named beside a full line of others: more than the levels below the last
ask for by default, and at the last nobody is told beside a full line."""
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
        aside: Aside,
    ) -> None:
        """Keep where to look; ``online`` is the hub's."""
        self._contacts = contacts
        self._aside = aside
        self._online = online
        self._cities = cities
        self._presence = presence
        self._staff = staff
        self._last_seen = last_seen
        self._clock = clock

    def city_of(self, tenant: TenantId, point: LatLng) -> CityId | None:
        """The tenant's city in whose boundary the point lies."""
        return self._cities.city_of(tenant, point)

    def last_fix(self, tenant: TenantId, user: UserId, now: float) -> tuple[CityId | None, IncidentFix] | None:
        """Newest live position of the user and the city it is in, else where they were seen last."""
        shard = self._presence.shard_of(tenant, user)
        part = self._cities.get(tenant, shard.city) if shard is not None else None
        live = part.positions.live(user) if part is not None else None
        if part is not None and live is not None:
            return part.shard.city, _live(live, part.positions.index, user)
        aside = self._aside.positions.get(aside_of(tenant)) if part is None else None
        if aside is not None and (live := aside.live(user)) is not None:
            return self.city_of(tenant, live.point), _live(live, aside.index, user)
        return self._seen_last(tenant, user, now)

    def _seen_last(self, tenant: TenantId, user: UserId, now: float) -> tuple[CityId | None, IncidentFix] | None:
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
        found = in_line([part.positions.index for part in parts], sought, group, now)
        if group is Group.CONSENTING:
            found = [responder for responder in found if self._contacts.consents(sought.tenant, responder.user)]
        return found

    def kept_apart(self, tenant: TenantId, user: UserId, others: Collection[UserId]) -> Collection[UserId]:
        """Those of ``others`` of whom one of the two has blocked the other, whichever is the customer."""
        apart: set[UserId] = set()
        for part in self._cities.of(tenant):
            barred = part.dispatch.barred
            own = barred(user)
            apart.update(other for other in others if other in own or user in barred(other))
        return apart

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


def in_line(indexes: Sequence[PositionIndex], sought: HelpSought, group: Group, now: float) -> list[NearbyResponder]:
    """Those of a group in some cities, in line: up to the limit of those who are heard, and of the others.

    Of these not more than fill the line up or ``QUIET_MAX``, whichever is more. Ranked are the nearest of each kind:
    somebody farther off would have to be known better than each of so many. Cost: 0.2 ms with 10,000 people for a
    limit of 5 (``bench.responders``).
    """
    found: list[NearbyResponder] = []
    rows = [_Rows(index, group, now) for index in indexes]
    quiet_max = min(sought.limit, QUIET_MAX)
    for is_live, most in ((True, sought.limit), (False, quiet_max)):
        most = max(most, sought.limit - len(found))
        if sought.point is not None:
            found += _soonest(rows, sought.point, most, sought, is_live=is_live)
        else:
            found += _without_place((row.anywhere(is_live=is_live) for row in rows), most, group, is_live=is_live)
    quiet_len = sum(1 for responder in found if responder.approach and not responder.approach.is_live)
    left = max(sought.limit - len(found), quiet_max - quiet_len)
    if sought.point is not None and left > 0:
        found += _without_place((row.unplaced() for row in rows), left, group, is_live=False)
    return sorted(found, key=lambda r: place_in_line(r.user, r.distance_m, r.approach))


class _Rows:
    """What is asked of one city's columns for one group."""

    def __init__(self, index: PositionIndex, group: Group, now: float) -> None:
        self.index, self.group, self.now = index, group, now
        self.require, self.forbid = _BITS[group]
        # Who reports a made-up place is told like somebody without one: nobody ranks themselves to the front.
        self._is_placed = ~(index.seen_at <= index.mocked_at)
        self._is_heard = (index.flags & _CONNECTED != 0) & (index.seen_at >= now - QUIET_S)
        self._is_wanted = index.flags & (self.require | self.forbid) == self.require

    def nearest(self, point: LatLng, most: int, *, is_live: bool) -> tuple[IntArray, FloatArray]:
        """Slots and distances of those with a place who are heard, or of those who are not."""
        mask = self._is_wanted & self._is_placed & (self._is_heard == is_live)
        if not mask.any():  # often: nobody is quiet, nobody agreed to be asked; a search would look everywhere
            return np.empty(0, dtype=np.int64), np.empty(0)
        return self.index.nearest(point, most, require=self.require, forbid=self.forbid, mask=mask)

    def unplaced(self) -> list[UserId]:
        """Those without a place."""
        return self._users(~self._is_placed)

    def anywhere(self, *, is_live: bool) -> list[UserId]:
        """Those who are heard, or those who are not, wherever they are."""
        return self._users(self._is_heard == is_live)

    def _users(self, mask: BoolArray) -> list[UserId]:
        return self.index.users(np.flatnonzero(self._is_wanted & mask))


def _soonest(
    cities: Sequence[_Rows], point: LatLng, limit: int, sought: HelpSought, *, is_live: bool
) -> list[NearbyResponder]:
    tables = []
    for nth, rows in enumerate(cities):
        index = rows.index
        slots, distances_m = rows.nearest(point, limit + RANKED_MORE, is_live=is_live)
        if not len(slots):
            continue
        accuracy_m = index.accuracy_m[slots]
        r95_m = R95_PER_R68 * np.where(accuracy_m < ACCURACY_M_MAX, accuracy_m, ACCURACY_ASSUMED_M)
        age_s = np.maximum(0.0, rows.now - index.seen_at[slots])
        eta_s = pessimistic_eta_s(distances_m, r95_m, age_s, person_r95_m=sought.r95_m, speed_mps=sought.speed_mps)
        tables.append(np.column_stack((eta_s, np.full(len(slots), nth), slots, distances_m, r95_m, age_s)))
    if not tables:
        return []
    table = np.concatenate(tables)
    first = table[np.argsort(table[:, 0], kind="stable")[:limit]]
    # Whole numbers, written small: they are stored with each turn of the incident.
    eta_s, (nths, slots, r95_m, age_s) = first[:, 0].round(1), first[:, (1, 2, 4, 5)].round().astype(np.int64).T
    return [
        NearbyResponder(
            cities[nth].index.user(slot), metres, Approach(cities[nth].group.value, is_live, eta, radius, age)
        )
        for nth, slot, metres, eta, radius, age in zip(
            *(column.tolist() for column in (nths, slots, first[:, 3], eta_s, r95_m, age_s)), strict=True
        )
    ]


def _without_place(cities: Iterable[list[UserId]], most: int, group: Group, *, is_live: bool) -> list[NearbyResponder]:
    approach = Approach(group.value, is_live)
    users = sorted(user for users in cities for user in users)
    return [NearbyResponder(user, None, approach) for user in users[:most]]


def _live(live: LiveFix, index: PositionIndex, user: UserId) -> IncidentFix:
    accuracy_m = live.accuracy_m if live.accuracy_m is not None else ACCURACY_M_MAX
    is_made_up = live.seen_at <= _mocked_at(index, user)
    return IncidentFix(live.point, accuracy_m, live.seen_at, FixSource.LIVE, is_made_up)


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
        other_orders=tuple(job.order_id for job in jobs[1:]),
    )


def _other_side(order: Order, user: UserId) -> UserId | None:
    return order.technician if user == order.customer else order.customer
