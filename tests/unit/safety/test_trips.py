"""Links: bounded, theirs alone, forgotten at their end, opened by nothing but their token."""

import pytest

from core.errors import Conflict, NotFound
from core.ids import OrderId, TenantId, UserId
from safety.care_settings import SharingSettings
from safety.trips import LinkKind, Trip, TripId, TripOpened, TripRevoked, Trips, TripShared, TripViewed, hashed
from tests.unit.safety.neighbourhood import ACME, SH, T0, CountingIds

ANNA = UserId("cus_anna")
ORDER = OrderId("ord_1")


def make(**settings: float) -> Trips:
    return Trips(SharingSettings(**settings), CountingIds())  # type: ignore[arg-type]  # numbers only


def share(trips: Trips, now: float = T0, sharer: UserId = ANNA, expires_s: float | None = None) -> TripOpened:
    event = TripShared(ACME, ORDER, SH, sharer, is_customer=True, contact="Ma", expires_s=expires_s)
    return trips.handle(event, now)[0]


def test_a_link_is_opened_by_its_token_alone_which_is_not_kept() -> None:
    trips = make()
    made = share(trips)
    assert trips.opened_by(made.token, T0) == made.trip
    assert trips.opened_by(made.trip.token_hash, T0) is None
    assert trips.opened_by("", T0) is None
    assert trips.opened_by("\ud800", T0) is None
    assert made.token not in repr(trips.take_changes())
    assert hashed(made.token) == made.trip.token_hash


def test_a_life_longer_than_allowed_is_cut_and_at_its_end_nothing_is_left() -> None:
    trips = make(expires_s=1_000)
    assert share(trips, expires_s=5_000).trip.expires_at == T0 + 1_000
    short = share(trips, expires_s=60)
    assert trips.opened_by(short.token, T0 + 59.9) is not None
    assert trips.opened_by(short.token, T0 + 60) is None
    assert trips.next_deadline() == T0 + 60
    assert trips.expire(T0 + 60) == [short.trip.trip_id]
    assert len(trips) == 1
    trips.expire(T0 + 1_000)
    assert (len(trips), trips.next_deadline(), trips.of(ACME, ANNA, ORDER)) == (0, None, [])


def test_so_many_may_be_open_and_one_taken_back_makes_room() -> None:
    trips = make(links_max=2)
    first, _ = share(trips), share(trips)
    with pytest.raises(Conflict) as caught:
        share(trips)
    assert caught.value.code == "trips_full"
    share(trips, sharer=UserId("tec_mei"))  # the other side has its own
    for _ in range(2):
        trips.handle(TripRevoked(ACME, ANNA, first.trip.trip_id), T0 + 1)
    assert trips.opened_by(first.token, T0 + 1) is None
    share(trips)
    assert [trip.revoked_at for trip in trips.of(ACME, ANNA, ORDER)] == [T0 + 1, None, None]


def test_nobody_takes_back_what_another_shared() -> None:
    trips = make()
    made = share(trips)
    for tenant, who in ((ACME, UserId("tec_mei")), (TenantId("other"), ANNA)):
        with pytest.raises(NotFound):
            trips.handle(TripRevoked(tenant, who, made.trip.trip_id), T0)
    with pytest.raises(NotFound):
        trips.handle(TripRevoked(ACME, ANNA, TripId("trp_none")), T0)
    assert trips.opened_by(made.token, T0) is not None


def test_views_are_counted_and_one_turn_makes_one_version() -> None:
    trips = make()
    made = share(trips)
    trips.handle(TripViewed(made.trip.trip_id, 3), T0 + 5)
    trips.handle(TripViewed(TripId("trp_none"), 3), T0 + 5)
    changes: dict[TripId, Trip] = trips.take_changes()
    assert [(t.views, t.viewed_at, t.version) for t in changes.values()] == [(3, T0 + 5, 1)]
    trips.handle(TripViewed(made.trip.trip_id, 1), T0 + 6)
    again = make()
    again.load(list(changes.values()))
    again.adopt(trips.take_changes())
    assert [(t.views, t.version) for t in again.of(ACME, ANNA, ORDER)] == [(4, 2)]


def test_links_of_the_two_kinds_are_apart_in_everything() -> None:
    trips = make(links_max=1, expires_s=1_000, arrival_expires_s=5_000)
    trip = share(trips)
    event = TripShared(ACME, ORDER, SH, ANNA, is_customer=True, kind=LinkKind.ARRIVAL, made_by=UserId("ops_1"))
    (arrival,) = trips.handle(event, T0)  # the one trip takes none of its places
    assert arrival.trip.made_by == "ops_1"
    assert (trip.trip.expires_at, arrival.trip.expires_at) == (T0 + 1_000, T0 + 5_000)
    assert trips.opened_by(trip.token, T0) == trip.trip
    assert trips.opened_by(trip.token, T0, LinkKind.ARRIVAL) is None
    assert trips.opened_by(arrival.token, T0) is None
    assert trips.opened_by(arrival.token, T0, LinkKind.ARRIVAL) == arrival.trip
    assert trips.of(ACME, ANNA, ORDER) == [trip.trip]
    assert trips.of(ACME, ANNA, ORDER, LinkKind.ARRIVAL) == [arrival.trip]
    with pytest.raises(NotFound):
        trips.handle(TripRevoked(ACME, ANNA, arrival.trip.trip_id), T0)
    trips.handle(TripRevoked(ACME, ANNA, arrival.trip.trip_id, LinkKind.ARRIVAL), T0)
    assert trips.opened_by(arrival.token, T0, LinkKind.ARRIVAL) is None
    assert trips.opened_by(trip.token, T0) == trip.trip
