"""A snapshot fits into one message whatever is open, says what it leaves out, and leaves out the least urgent."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import msgspec
import pytest

from api.cities import Cities, ShardParts
from api.snapshots import OpenThings
from core.ids import CityId, DeviceId, IncidentId, OfferId, OrderId, TenantId, UserId
from core.outbox import Stream
from core.principal import Principal, Role
from core.shard import Shard
from dispatch.model import Gender, Mode, Offer, OfferState, Order, OrderState, Site, Technician
from geo.point import Frame, LatLng
from realtime.codec import splice, transcode
from realtime.messages import MESSAGE_BYTES_MAX, Snapshot
from safety.care_model import Check, CheckKind, CheckState, Watch, WatchId
from safety.model import BookedPlace, FixSource, Incident, IncidentFix, IncidentState
from tests.unit.safety.careful_street import a_job

NOW = 1.8e9
TENANT, CITY, OTHER_CITY = TenantId("acme"), CityId("shenzhen"), CityId("beijing")
OPS = UserId("ops_1")
POINT = LatLng(22.5432101, 114.0543210)
ORDER = Order(
    tenant=TENANT, city=CITY, order_id=OrderId("ord_0"), version=1, state=OrderState.EN_ROUTE, mode=Mode.AUTO,
    customer=UserId("cus_1"), service="massage", skills=(), duration_s=3600,
    site=Site(POINT, POINT, "gcj02", "南山区科技园1号", "7B", "门禁 4711", "Nanshan"), contact_name="李",
    contact_phone="138", gender_preference=None, service_fen=20_000, travel_fen=500, placed_at=NOW, changed_at=NOW,
    placed_by=UserId("cus_1"), technician=UserId("tec_1"),
)  # fmt: skip
RECORD = Technician(TENANT, UserId("tec_1"), "王", frozenset(), Gender.FEMALE, "gold", (CITY,), True, 1, NOW)
INCIDENT = Incident(
    tenant=TENANT, city=CITY, incident_id=IncidentId("inc_0"), version=1, state=IncidentState.ACKNOWLEDGED, level=1,
    subject=UserId("tec_1"), subject_role="technician", raised_at=NOW, changed_at=NOW, silent=True, restricted=False,
    triggers=2, last_trigger_at=NOW, fix=IncidentFix(POINT, 12.0, NOW - 5, FixSource.SOS), order_id=ORDER.order_id,
    note="帮" * 200, targets=(), repeat_at=NOW, widen_at=NOW, owner=OPS,
    booked=BookedPlace(ORDER.order_id, CITY, POINT, "南山区科技园1号", "7B", "", UserId("cus_1")),
)  # fmt: skip


class _Dispatch:
    """What a city's dispatch says is open."""

    def __init__(self, orders: Sequence[Order], offer: Offer | None = None) -> None:
        self._orders = {order.order_id: order for order in orders}
        self._offer = offer

    def open_orders(self) -> list[Order]:
        return list(self._orders.values())

    def orders_of(self, user: UserId) -> list[Order]:
        return [order for order in self._orders.values() if user in (order.customer, order.technician)]

    def live_offer(self, user: UserId) -> Offer | None:
        return self._offer if self._offer is not None and self._offer.technician == user else None

    def order(self, order_id: OrderId) -> Order | None:
        return self._orders.get(order_id)

    def technician(self, user: UserId) -> Technician:
        return RECORD

    def rating(self, user: UserId, now: float) -> float:
        return 4.7

    def eta_s(self, order: Order) -> float | None:
        return order.eta_s


class _Safety:
    def __init__(self, incidents: Sequence[Incident]) -> None:
        self._incidents = incidents

    def visible(self, who: Principal) -> Sequence[Incident]:
        return self._incidents


def _who(user: UserId, *roles: Role, cities: Sequence[CityId] = (CITY,)) -> Principal:
    return Principal(TENANT, user, roles[0], frozenset(roles), frozenset(cities), DeviceId("d"), NOW)


class _Care:
    def asked_of(self, tenant: TenantId, user: UserId) -> Sequence[tuple[Watch, Check]]:
        return ASKED.get(user, ())


ASKED: dict[UserId, list[tuple[Watch, Check]]] = {}


def _open_things(incidents: Sequence[Incident] = (), **cities: _Dispatch) -> OpenThings:
    parts = [
        ShardParts(Shard(TENANT, CityId(city)), cast(Any, dispatch), cast(Any, None))
        for city, dispatch in cities.items()
    ]
    return OpenThings(Frame.GCJ02, Cities(parts, {}), cast(Any, _Safety(incidents)), cast(Any, _Care()))


def _numbered(count: int, **changes: Any) -> list[Order]:
    """Orders, oldest first."""
    return [
        replace(ORDER, order_id=OrderId(f"ord_{n:05}"), placed_at=NOW + n, changed_at=NOW + n, **changes)
        for n in range(count)
    ]


def _frames(snapshot: Snapshot, stream: Stream) -> list[bytes]:
    """The snapshot as it goes out, in each encoding, in the platform's frame and in another."""
    body = splice(msgspec.json.encode(snapshot), stream=stream.value, seq=2**53 - 1, epoch="e" * 64)
    return [transcode(body, to_json=to_json, crs=crs) for to_json in (True, False) for crs in (None, Frame.WGS84)]


def _build(things: OpenThings, who: Principal, stream: Stream = Stream.MAIN) -> Snapshot:
    snapshot = things.build(who, stream, NOW)
    assert snapshot is not None
    assert max(map(len, _frames(snapshot, stream))) <= MESSAGE_BYTES_MAX
    return snapshot


def test_a_console_of_a_city_with_5000_open_orders_gets_the_newest_and_how_many_more_there_are() -> None:
    snapshot = _build(_open_things(shenzhen=_Dispatch(_numbered(5_000))), _who(OPS, Role.OPS))
    assert snapshot.orders_left_out > 4_000
    assert len(snapshot.orders) + snapshot.orders_left_out == 5_000
    assert [order.order for order in snapshot.orders] == [f"ord_{4_999 - n:05}" for n in range(len(snapshot.orders))]


@pytest.mark.parametrize("text", ["", "x" * 512, "帮" * 512, '\x7f"\\' * 170], ids=["short", "long", "wide", "escaped"])
@pytest.mark.parametrize("place", [LatLng(22.5, 114.0), LatLng(22.5432101, 114.0543212)], ids=["round", "exact"])
def test_no_text_and_no_place_makes_it_larger_than_a_message(text: str, place: LatLng) -> None:
    orders = _numbered(5_000, site=Site(place, place, "gcj02", text, text, text), contact_name=text)
    snapshot = _build(_open_things(shenzhen=_Dispatch(orders)), _who(OPS, Role.OPS))
    assert len(snapshot.orders) >= 5


def test_what_fits_is_whole() -> None:
    snapshot = _build(_open_things(shenzhen=_Dispatch(_numbered(50))), _who(OPS, Role.OPS))
    assert (len(snapshot.orders), snapshot.orders_left_out) == (50, 0)
    assert b"left_out" not in msgspec.json.encode(snapshot)


@pytest.mark.parametrize("freed_at", [None, NOW])
def test_a_technician_who_was_freed_after_the_job_has_its_order_without_the_address(freed_at: float | None) -> None:
    done = replace(ORDER, state=OrderState.FINISHED, freed_at=freed_at)
    snapshot = _build(_open_things(shenzhen=_Dispatch([done])), _who(UserId("tec_1"), Role.TECHNICIAN))
    said = msgspec.json.encode(snapshot).decode()
    assert [secret in said for secret in ("南山区科技园1号", "4711", "22.5432")] == [freed_at is None] * 3
    assert [(order.order, order.state) for order in snapshot.orders] == [("ord_0", "finished")]


@pytest.mark.parametrize("user", ["cus_1", "tec_1", "ops_1"])
@pytest.mark.parametrize("writer", ["cus_1", "tec_1", "tec_2", "ops_2"])
def test_a_snapshot_holds_what_somebody_wrote_for_staff_and_for_who_wrote_it_alone(user: str, writer: str) -> None:
    order = replace(ORDER, reason="reassigned", said="a creep", said_by=UserId(writer))
    role = {"cus_1": Role.CUSTOMER, "tec_1": Role.TECHNICIAN, "ops_1": Role.OPS}[user]
    (shown,) = _build(_open_things(shenzhen=_Dispatch([order])), _who(UserId(user), role)).orders
    assert shown.reason == "reassigned"
    assert (shown.said == "a creep") is (user in (writer, "ops_1"))
    assert ("a creep" in msgspec.json.encode(shown).decode()) is (user in (writer, "ops_1"))


def test_a_consoles_cities_are_merged_by_time() -> None:
    here, there = _numbered(6)[::2], [replace(order, city=OTHER_CITY) for order in _numbered(6)[1::2]]
    things = _open_things(shenzhen=_Dispatch(here), beijing=_Dispatch(there))
    found = _build(things, _who(OPS, Role.OPS, cities=[CITY, OTHER_CITY])).orders
    assert [order.order for order in found] == [f"ord_{n:05}" for n in range(5, -1, -1)]
    assert [order.order for order in _build(things, _who(OPS, Role.OPS)).orders] == [
        "ord_00004",
        "ord_00002",
        "ord_00000",
    ]


def test_ones_own_orders_and_offer_come_before_those_one_looks_after() -> None:
    orders = _numbered(5_000)
    orders[0] = replace(orders[0], customer=OPS)
    orders[1] = replace(orders[1], technician=OPS, city=CITY)
    offer = Offer(
        TENANT, CITY, OfferId("ofr_1"), orders[2].order_id, OPS, 1, OfferState.PENDING, NOW, NOW + 20, NOW, "rnd_1",
        300.0, 280.0, 1_500.0,
    )  # fmt: skip
    snapshot = _build(_open_things(shenzhen=_Dispatch(orders, offer)), _who(OPS, Role.OPS, Role.TECHNICIAN))
    assert [order.order for order in snapshot.orders][:3] == ["ord_00001", "ord_00000", "ord_04999"]
    assert [found.offer for found in snapshot.offers] == ["ofr_1"]
    assert len({order.order for order in snapshot.orders}) == len(snapshot.orders)


def test_of_too_many_incidents_those_that_nobody_has_come_first_then_the_newest() -> None:
    incidents = [replace(INCIDENT, incident_id=IncidentId(f"inc_{n}"), raised_at=NOW + n) for n in range(1_000)]
    for n in (3, 700):
        incidents[n] = replace(incidents[n], state=IncidentState.OPEN, owner=None)
    snapshot = _build(_open_things(incidents), _who(OPS, Role.OPS), Stream.SAFETY)
    assert [incident.incident for incident in snapshot.incidents][:4] == ["inc_700", "inc_3", "inc_999", "inc_998"]
    assert len(snapshot.incidents) + snapshot.incidents_left_out == 1_000
    assert snapshot.incidents_left_out > 0


def test_nothing_open_is_no_snapshot() -> None:
    things = _open_things(shenzhen=_Dispatch([]))
    assert things.build(_who(OPS, Role.OPS), Stream.MAIN, NOW) is None
    assert things.build(_who(OPS, Role.OPS), Stream.SAFETY, NOW) is None
    assert (
        _open_things(shenzhen=_Dispatch(_numbered(3))).build(_who(UserId("x"), Role.CUSTOMER), Stream.MAIN, NOW) is None
    )


def test_what_somebody_is_asked_stands_in_their_snapshot_even_without_an_incident() -> None:
    user = UserId("tec_asked")
    check = Check("chk_1", CheckKind.CHECK_IN, CheckState.PANIC, (user,), ask_at=NOW, unconfirmed_at=NOW + 300)
    watch = Watch(WatchId("wch_1"), a_job(), 1, NOW, checks=(check,))
    ASKED[user] = [(watch, check)]
    try:
        snapshot = _open_things().build(_who(user, Role.TECHNICIAN), Stream.SAFETY, NOW)
    finally:
        ASKED.clear()
    assert snapshot is not None
    assert [(c.checkin, c.state, c.answer_by) for c in snapshot.checkins] == [("chk_1", "asked", NOW + 300)]
    assert _open_things().build(_who(user, Role.TECHNICIAN), Stream.SAFETY, NOW) is None
