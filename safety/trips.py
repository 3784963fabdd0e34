"""Links to a job: made, counted, taken back. Synchronous.

Of two kinds: a trip is for somebody whom one of its sides trusts, who looks on; an arrival link is for the customer,
or whoever receives the therapist for them, and may act for the customer in that order. Neither opens the other's page.

Only a hash of a link's token is kept: whoever reads the database can open none. What a link shows is decided where it
is opened (``api/trips.py``), by what its sharer may see at that moment.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from typing import Final, NewType

from core.errors import Conflict, NotFound
from core.ids import CityId, IdSource, OrderId, TenantId, UserId
from safety.care_settings import SharingSettings
from safety.deadlines import Deadlines

TripId = NewType("TripId", str)
TRIP_PREFIX: Final = "trp_"


class LinkKind(StrEnum):
    """What a link is for."""

    TRIP = "trip"
    ARRIVAL = "arrival"


@dataclass(frozen=True, slots=True)
class Trip:
    """One link. Frozen: each change makes a new value with ``version`` one higher.

    Attributes:
        is_customer: Whether the customer shares it, else the technician.
        token_hash: SHA-256 of the token, hexadecimal.
        contact: For whom, as the sharer calls them; shown to whoever opens it.
        views: How often it was opened.
        sharer: Whose link it is: of an arrival link always the customer.
        made_by: Who asked for it, where that is not the sharer.
    """

    tenant: TenantId
    trip_id: TripId
    order_id: OrderId
    city: CityId
    sharer: UserId
    is_customer: bool
    token_hash: str
    contact: str
    shared_at: float
    expires_at: float
    version: int = 1
    revoked_at: float | None = None
    views: int = 0
    viewed_at: float | None = None
    kind: LinkKind = LinkKind.TRIP
    made_by: UserId | None = None


@dataclass(frozen=True, slots=True)
class TripShared:
    """A side of a job wants a link, or staff for its customer; the edge has checked that. Answered by ``TripOpened``.

    Refused: ``trips_full``.
    """

    tenant: TenantId
    order_id: OrderId
    city: CityId
    sharer: UserId
    is_customer: bool
    contact: str = ""
    expires_s: float | None = None
    kind: LinkKind = LinkKind.TRIP
    made_by: UserId | None = None


@dataclass(frozen=True, slots=True)
class TripRevoked:
    """A link of somebody is taken back. A repeat is no news. Refused: ``not_found``, also for one of another kind."""

    tenant: TenantId
    sharer: UserId
    trip_id: TripId
    kind: LinkKind = LinkKind.TRIP


@dataclass(frozen=True, slots=True)
class TripViewed:
    """A link was opened ``views`` times more. Never refused."""

    trip_id: TripId
    views: int


@dataclass(frozen=True, slots=True)
class SharerForgotten:
    """A person is to be forgotten: their links are let go of, but for those of ``kept`` orders."""

    tenant: TenantId
    sharer: UserId
    kept: frozenset[OrderId]


TripEvent = TripShared | TripRevoked | TripViewed | SharerForgotten


@dataclass(frozen=True, slots=True)
class TripOpened:
    """A link was made: tell its sharer the token, which nobody can ask for again."""

    trip: Trip
    token: str


def hashed(token: str) -> str:
    """What is kept of a token."""
    return sha256(token.encode("utf-8", "replace")).hexdigest()


class Trips:
    """Links that have not expired, of all tenants; those that were taken back are kept for their count."""

    def __init__(self, settings: SharingSettings, ids: IdSource) -> None:
        self._settings = settings
        self._ids = ids
        self._changes: dict[TripId, Trip] = {}
        self._clear()

    def _clear(self) -> None:
        self._trips: dict[TripId, Trip] = {}
        self._by_hash: dict[str, TripId] = {}
        self._of: dict[tuple[TenantId, UserId, OrderId], dict[TripId, None]] = {}
        self._deadlines: Deadlines[TripId] = Deadlines()

    def load(self, trips: list[Trip]) -> None:
        """Replace everything by what is stored; changes not taken yet are dropped."""
        self._clear()
        self._changes = {}
        for trip in trips:
            self._put(trip)

    def adopt(self, trips: dict[TripId, Trip]) -> None:
        """Put changes on top of what was loaded: decided before, not stored yet."""
        for trip in trips.values():
            self._put(trip)

    def take_changes(self) -> dict[TripId, Trip]:
        """What changed since the last call."""
        changes, self._changes = self._changes, {}
        return changes

    def opened_by(self, token: str, now: float, kind: LinkKind = LinkKind.TRIP) -> Trip | None:
        """The link that a token opens; None for one that is unknown, of another kind, expired or taken back."""
        trip_id = self._by_hash.get(hashed(token))
        trip = self._trips[trip_id] if trip_id is not None else None
        if trip is None or trip.kind is not kind or trip.revoked_at is not None or trip.expires_at <= now:
            return None
        return trip

    def of(self, tenant: TenantId, sharer: UserId, order_id: OrderId, kind: LinkKind = LinkKind.TRIP) -> list[Trip]:
        """Somebody's links of one kind to an order that have not expired, oldest first."""
        found = [self._trips[trip_id] for trip_id in self._of.get((tenant, sharer, order_id), ())]
        return [trip for trip in found if trip.kind is kind]

    def by(self, tenant: TenantId, sharer: UserId) -> list[Trip]:
        """All that somebody has shared and has not expired. Cost: a look at each order of which there are links."""
        return [
            self._trips[trip_id]
            for (owner, user, _), ids in self._of.items()
            if (owner, user) == (tenant, sharer)
            for trip_id in ids
        ]

    def __len__(self) -> int:
        """Links that are kept."""
        return len(self._trips)

    def handle(self, event: TripEvent, now: float) -> list[TripOpened]:
        """Decide about one event. Raises ``Refused``; then nothing is changed."""
        match event:
            case TripShared():
                return [self._share(event, now)]
            case TripRevoked():
                trip = self._trips.get(event.trip_id)
                wanted = event.tenant, event.sharer, event.kind
                if trip is None or (trip.tenant, trip.sharer, trip.kind) != wanted:
                    raise NotFound("there is no such link")
                if trip.revoked_at is None:
                    self._keep(replace(trip, revoked_at=now))
            case TripViewed(trip_id, views):
                trip = self._trips.get(trip_id)
                if trip is not None:
                    self._keep(replace(trip, views=trip.views + views, viewed_at=now))
            case SharerForgotten(tenant, sharer, kept):
                for shared in self.by(tenant, sharer):
                    if shared.order_id not in kept:
                        self._drop(shared)
        return []

    def _share(self, event: TripShared, now: float) -> TripOpened:
        settings = self._settings
        of = self.of(event.tenant, event.sharer, event.order_id, event.kind)
        open_ = [t for t in of if t.revoked_at is None]
        if len(open_) >= settings.links_max:
            raise Conflict(f"{len(open_)} links are open: take one back first", code="trips_full")
        token = self._ids.new("") + self._ids.new("")  # each has at least 96 random bits
        longest_s = settings.expires_s if event.kind is LinkKind.TRIP else settings.arrival_expires_s
        lasts_s = longest_s if event.expires_s is None else min(event.expires_s, longest_s)
        trip = Trip(
            event.tenant,
            TripId(self._ids.new(TRIP_PREFIX)),
            event.order_id,
            event.city,
            event.sharer,
            event.is_customer,
            hashed(token),
            event.contact,
            shared_at=now,
            expires_at=now + lasts_s,
            version=0,
            kind=event.kind,
            made_by=event.made_by,
        )
        return TripOpened(self._keep(trip), token)

    def next_deadline(self) -> float | None:
        """When the next link expires."""
        return self._deadlines.next_at()

    def expire(self, now: float) -> list[TripId]:
        """Forget links whose time is over, and say which; the store keeps them for a while."""
        over = self._deadlines.due(now)
        for trip_id in over:
            self._drop(self._trips[trip_id])
        return over

    def _drop(self, trip: Trip) -> None:
        del self._trips[trip.trip_id]
        self._deadlines.set(trip.trip_id, None)
        del self._by_hash[trip.token_hash]
        key = (trip.tenant, trip.sharer, trip.order_id)
        self._of[key].pop(trip.trip_id)
        if not self._of[key]:
            del self._of[key]

    def _keep(self, trip: Trip) -> Trip:
        if trip.trip_id not in self._changes:
            trip = replace(trip, version=trip.version + 1)
        self._changes[trip.trip_id] = trip
        self._put(trip)
        return trip

    def _put(self, trip: Trip) -> None:
        self._trips[trip.trip_id] = trip
        self._by_hash[trip.token_hash] = trip.trip_id
        self._of.setdefault((trip.tenant, trip.sharer, trip.order_id), {})[trip.trip_id] = None
        self._deadlines.set(trip.trip_id, trip.expires_at)
