"""Who may watch whom, and that every change of a right is felt by whoever holds it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.rights import Rights
from core.errors import NotFound
from core.ids import CityId, DeviceId, IncidentId, OrderId, TenantId, UserId
from core.principal import Principal, Role
from core.shard import Shard
from dispatch.model import Mode, Order, OrderState, Site
from dispatch.order import SETTLED_STATES
from geo.point import LatLng
from safety.model import Incident, IncidentState, Target

TENANT = TenantId("acme")
CITY = CityId("shenzhen")
SHARD = Shard(TENANT, CITY)
POINT = LatLng(22.5, 114.0)
CUSTOMER, TECHNICIAN = UserId("cus_1"), UserId("tec_1")
NOW = 1.8e9

ORDER = Order(
    tenant=TENANT, city=CITY, order_id=OrderId("ord_1"), version=1, state=OrderState.MATCHING, mode=Mode.AUTO,
    customer=CUSTOMER, service="massage", skills=(), duration_s=3600, site=Site(POINT, POINT, "gcj02", "1 Road"),
    contact_name="Li", contact_phone="1", gender_preference=None, service_fen=1, travel_fen=0, placed_at=NOW,
    changed_at=NOW, placed_by=CUSTOMER,
)  # fmt: skip
INCIDENT = Incident(
    tenant=TENANT, city=CITY, incident_id=IncidentId("inc_1"), version=1, state=IncidentState.OPEN, level=0,
    subject=TECHNICIAN, subject_role="technician", raised_at=NOW, changed_at=NOW, silent=False, restricted=False,
    triggers=1, last_trigger_at=NOW, fix=None, order_id=None, note="",
    targets=(Target(UserId("res_1"), "near", 0),), repeat_at=None, widen_at=None, avoid=(CUSTOMER,),
)  # fmt: skip


def _who(user: str, role: Role, tenant: str = TENANT, cities: tuple[str, ...] = (CITY,)) -> Principal:
    return Principal(
        TenantId(tenant),
        UserId(user),
        role,
        frozenset({role}),
        frozenset(CityId(c) for c in cities),
        DeviceId("d"),
        NOW,
    )


def _rights(state: OrderState, technician: UserId | None = TECHNICIAN) -> Rights:
    rights = Rights(frozenset({SHARD}))
    rights.duty_changed(TENANT, TECHNICIAN, SHARD)
    rights.tracking_changed(replace(ORDER, state=state, technician=technician))
    return rights


SEEN = {OrderState.EN_ROUTE, OrderState.ARRIVED, OrderState.IN_SERVICE}
WAITING = {OrderState.PLACED, OrderState.MATCHING, OrderState.ASSIGNED, OrderState.SCHEDULED}


def test_a_link_watches_its_one_order_and_nothing_else() -> None:
    rights = _rights(OrderState.EN_ROUTE)
    link = replace(_who(CUSTOMER, Role.CUSTOMER), order=ORDER.order_id)
    assert rights.grant(link, "order:ord_1", NOW).subject == TECHNICIAN
    for who, topic in (
        (replace(link, order=OrderId("ord_2")), "order:ord_1"), (link, "incident:inc_1"), (link, "area:shenzhen"),
        (link, f"technician:{TECHNICIAN}"),
    ):  # fmt: skip
        with pytest.raises(NotFound):
            rights.grant(who, topic, NOW)


@pytest.mark.parametrize("state", list(OrderState))
def test_a_customer_sees_their_technician_from_en_route_to_in_service_only(state: OrderState) -> None:
    rights = _rights(state)
    customer = _who(CUSTOMER, Role.CUSTOMER)
    if state in SEEN | WAITING:
        grant = rights.grant(customer, "order:ord_1", NOW)
        assert grant.subject == (TECHNICIAN if state in SEEN else None)
    else:
        with pytest.raises(NotFound):
            rights.grant(customer, "order:ord_1", NOW)


@pytest.mark.parametrize(
    "who",
    [
        _who("cus_2", Role.CUSTOMER), _who("tec_2", Role.TECHNICIAN), _who(TECHNICIAN, Role.TECHNICIAN),
        _who("ops", Role.OPS, cities=("beijing",)), _who("ops", Role.OPS, cities=()), _who("res_1", Role.RESPONDER),
        _who(CUSTOMER, Role.CUSTOMER, "other"), _who("ops", Role.OPS, "other"), _who(CUSTOMER, Role.TECHNICIAN),
        replace(_who(CUSTOMER, Role.CUSTOMER), restricted=True), _who("prog", Role.SERVICE),
    ],
)  # fmt: skip
def test_nobody_else_watches_an_order(who: Principal) -> None:
    with pytest.raises(NotFound):
        _rights(OrderState.EN_ROUTE).grant(who, "order:ord_1", NOW)


@pytest.mark.parametrize(
    "topic", ["", "order", "order:", "order:none", ":", "technician:tec_9", "area:mars", "x:y", "ORDER:ord_1"]
)
def test_topics_that_are_none_look_like_foreign_ones(topic: str) -> None:
    with pytest.raises(NotFound, match="no such topic"):
        _rights(OrderState.EN_ROUTE).grant(_who("ops", Role.OPS), topic, NOW)


def test_ops_watch_technicians_areas_and_incidents_of_their_cities() -> None:
    rights = _rights(OrderState.EN_ROUTE)
    rights.incident_changed(INCIDENT)
    near, far = _who("ops", Role.OPS), _who("ops", Role.OPS, cities=("beijing",))
    for topic in ("technician:tec_1", "incident:inc_1", "area:shenzhen", "order:ord_1"):
        assert rights.grant(near, topic, NOW).shard == SHARD
        with pytest.raises(NotFound):
            rights.grant(far, topic, NOW)


def test_an_incident_is_watched_by_whom_it_was_told_and_never_by_the_other_side() -> None:
    rights = _rights(OrderState.IN_SERVICE)
    rights.incident_changed(INCIDENT)
    assert rights.grant(_who("res_1", Role.RESPONDER), "incident:inc_1", NOW).subject == TECHNICIAN
    for who in (
        _who("res_2", Role.RESPONDER),
        _who(CUSTOMER, Role.CUSTOMER),
        _who(CUSTOMER, Role.OPS),
        _who(TECHNICIAN, Role.TECHNICIAN),
    ):
        with pytest.raises(NotFound):
            rights.grant(who, "incident:inc_1", NOW)
    rights.incident_changed(replace(INCIDENT, state=IncidentState.RESOLVED))
    with pytest.raises(NotFound):
        rights.grant(_who("res_1", Role.RESPONDER), "incident:inc_1", NOW)


def test_an_incident_does_not_change_the_version_of_the_orders_topic() -> None:
    """Else the other side of the booking could tell from a purge that something happened."""
    rights = _rights(OrderState.IN_SERVICE)
    before = rights.version("order:ord_1")
    rights.incident_changed(INCIDENT)
    assert rights.version("order:ord_1") == before


_changes = st.lists(
    st.tuples(st.sampled_from(list(OrderState)), st.sampled_from([None, TECHNICIAN, UserId("tec_2")]), st.booleans()),
    max_size=12,
)


@settings(max_examples=60)
@given(_changes)
def test_a_grant_of_the_current_version_says_what_is_true_now(
    changes: list[tuple[OrderState, UserId | None, bool]],
) -> None:
    """A right that changed always has another version than any grant given before it."""
    rights = Rights(frozenset({SHARD}))
    customer = _who(CUSTOMER, Role.CUSTOMER)
    given_before: list[tuple[int, object]] = []
    for state, technician, on_duty in changes:
        rights.duty_changed(TENANT, TECHNICIAN, SHARD if on_duty else None)
        rights.tracking_changed(replace(ORDER, state=state, technician=technician))
        try:
            grant = rights.grant(customer, "order:ord_1", NOW)
            now: object = (grant.subject, grant.shard, grant.destination)
        except NotFound:
            now = None
        version = rights.version("order:ord_1")
        for earlier_version, earlier in given_before:
            assert earlier_version != version or earlier == now
        given_before.append((version, now))


@pytest.mark.parametrize("state", sorted(SETTLED_STATES))
def test_nothing_is_remembered_of_an_order_that_is_settled(state: OrderState) -> None:
    rights = _rights(OrderState.MATCHING, None)
    assert rights.tracking_changed(replace(ORDER, state=state)) == "order:ord_1"
    assert not rights._orders
    assert "order:ord_1" not in rights._versions


def test_an_area_has_one_version_whatever_is_settled_elsewhere() -> None:
    """Else each settled order of any tenant makes every console's next batch a whole snapshot."""
    rights = _rights(OrderState.EN_ROUTE)
    rights.incident_changed(INCIDENT)
    before = rights.grant(_who("ops", Role.OPS), "area:shenzhen", NOW)
    rights.tracking_changed(replace(ORDER, state=OrderState.CANCELLED))
    rights.incident_changed(replace(INCIDENT, state=IncidentState.RESOLVED))
    assert rights.version("area:shenzhen") == before.version
    assert rights.version("order:ord_1") != before.version
