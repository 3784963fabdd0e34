"""Values that the store's tests write: small orders, offers and incidents with every kind of field filled."""

import itertools
from dataclasses import replace

from core.ids import CityId, DeviceId, IncidentId, OfferId, OrderId, TenantId, UserId
from core.outbox import OutboxDraft, Stream
from core.principal import Principal, Role
from core.shard import Shard
from dispatch.model import (
    BlockSide,
    DutyState,
    Gender,
    IdempotencyRecord,
    Mode,
    Offer,
    OfferState,
    OfferTerm,
    Order,
    OrderEvent,
    OrderState,
    PairBlock,
    Site,
    StoredRound,
    Technician,
)
from dispatch.ports import DispatchChanges
from geo.point import LatLng
from safety.model import (
    FixSource,
    Incident,
    IncidentEvent,
    IncidentFix,
    IncidentState,
    SosReport,
    SubjectRecord,
    Target,
    Trigger,
)
from safety.pages import Channel, Hop, HopState, Page, PageOutcome, RecipientKind
from safety.ports import SafetyChanges

NOW = 1_790_000_000.0
TENANT = TenantId("acme")
OTHER_TENANT = TenantId("other")
CITY = CityId("shanghai")
SHARD = Shard(TENANT, CITY)


class ManualClock:
    """A clock that stands still until it is set."""

    def __init__(self, now: float = NOW) -> None:
        self.at = now

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at - NOW


class CountedIds:
    """Ids that differ between instances as random ones would."""

    _instances = itertools.count(1)

    def __init__(self) -> None:
        self._instance = next(self._instances)
        self._count = itertools.count(1)

    def new(self, prefix: str) -> str:
        return f"{prefix}{self._instance}x{next(self._count)}"


def make_order(name: str = "1", **changes: object) -> Order:
    order = Order(
        tenant=TENANT,
        city=CITY,
        order_id=OrderId(f"ord_{name}"),
        version=1,
        state=OrderState.PLACED,
        mode=Mode.AUTO,
        customer=UserId("cus_1"),
        service="泰式按摩",
        skills=("massage", "thai"),
        duration_s=3600.0,
        site=Site(
            point=LatLng(31.2, 121.5),
            raw_point=LatLng(31.198, 121.495),
            raw_crs="wgs84",
            address="上海市黄浦区人民大道200号 🏠",
            unit="3-201",
        ),
        contact_name="李雷\u0000\u202e",
        contact_phone="+86 138 0000 0000",
        gender_preference=Gender.FEMALE,
        service_fen=29_900,
        travel_fen=1_500,
        placed_at=NOW,
        changed_at=NOW,
        placed_by=UserId("srv_1"),
        eta_s=312.5,
    )
    return replace(order, **changes)  # type: ignore[arg-type]


def make_offer(name: str = "1", order: str = "1", **changes: object) -> Offer:
    offer = Offer(
        tenant=TENANT,
        city=CITY,
        offer_id=OfferId(f"ofr_{name}"),
        order_id=OrderId(f"ord_{order}"),
        technician=UserId("tec_1"),
        version=1,
        state=OfferState.PENDING,
        offered_at=NOW,
        expires_at=NOW + 20,
        changed_at=NOW,
        round_id="rnd_1",
        cost_s=412.25,
        travel_s=300.0,
        distance_m=1234.5,
        terms=(OfferTerm("travel", 300.0), OfferTerm("rating", -30.0)),
    )
    return replace(offer, **changes)  # type: ignore[arg-type]


def make_technician(name: str = "1", **changes: object) -> Technician:
    technician = Technician(
        tenant=TENANT,
        technician=UserId(f"tec_{name}"),
        name="韩梅梅",
        skills=frozenset({"massage", "thai", "oil"}),
        gender=Gender.FEMALE,
        tier="gold",
        cities=(CITY, CityId("suzhou")),
        verified=True,
        version=1,
        changed_at=NOW,
        duty=DutyState.ON,
        duty_city=CITY,
        idle_since=NOW - 5,
        rating_sum=9.5,
        rating_weight=2.0,
        rating_at=NOW,
    )
    return replace(technician, **changes)  # type: ignore[arg-type]


def make_event(order: str = "1", seq: int = 1) -> OrderEvent:
    return OrderEvent(
        TENANT,
        OrderId(f"ord_{order}"),
        seq,
        NOW + seq,
        "placed",
        "cus_1",
        OrderState.PLACED,
        {"why": "理由", "wait_s": 1.5, "count": 3, "none": None},
    )


def make_round(name: str = "1", orders: tuple[str, ...] = ("1",), at: float = NOW) -> StoredRound:
    ids = tuple(OrderId(f"ord_{order}") for order in orders)
    return StoredRound(TENANT, CITY, f"rnd_{name}", at, "default/1", 7, ids, bytes(range(256)))


def make_key(key: str = "k1", at: float = NOW) -> IdempotencyRecord:
    return IdempotencyRecord(TENANT, UserId("cus_1"), key, "fingerprint", OrderId("ord_1"), at)


def make_block(
    customer: str = "cus_1",
    technician: str = "tec_1",
    side: BlockSide = BlockSide.CUSTOMER,
    at: float = NOW,
    *,
    by_staff: bool = False,
) -> PairBlock:
    block_id = f"blk_{customer}_{technician}_{side}"
    set_by = UserId("ops_1" if by_staff else customer)
    return PairBlock(TENANT, block_id, UserId(customer), UserId(technician), side, at, set_by, by_staff, "吵架")


def changes_of(*values: object) -> DispatchChanges:
    changes = DispatchChanges()
    for value in values:
        match value:
            case Order():
                changes.orders[value.order_id] = value
            case Offer():
                changes.offers[value.offer_id] = value
            case Technician():
                changes.technicians[value.technician] = value
            case OrderEvent():
                changes.events.append(value)
            case StoredRound():
                changes.rounds.append(value)
            case PairBlock():
                changes.blocks[value.customer, value.technician, value.side] = value
            case IdempotencyRecord():
                changes.idempotency.append(value)
            case _:
                raise TypeError(f"no change holds a {type(value).__name__}")
    return changes


def make_draft(
    user: str = "tec_1", body: bytes = b'{"type":"offer"}', stream: Stream = Stream.MAIN, receipt: str = ""
) -> OutboxDraft:
    return OutboxDraft(TENANT, UserId(user), stream, body, receipt)


def make_incident(name: str = "1", **changes: object) -> Incident:
    incident = Incident(
        tenant=TENANT,
        city=CITY,
        incident_id=IncidentId(f"inc_{name}"),
        version=1,
        state=IncidentState.OPEN,
        level=0,
        subject=UserId("tec_1"),
        subject_role="technician",
        raised_at=NOW,
        changed_at=NOW,
        silent=True,
        restricted=False,
        triggers=1,
        last_trigger_at=NOW,
        fix=IncidentFix(LatLng(31.2, 121.5), 12.0, NOW - 3, FixSource.LIVE),
        order_id=OrderId("ord_1"),
        note="救命",
        targets=(Target(UserId("ops_1"), "ops", 0), Target(UserId("res_1"), "nearest", 0, 120.5, NOW)),
        repeat_at=NOW + 15,
        widen_at=NOW + 30,
    )
    return replace(incident, **changes)  # type: ignore[arg-type]


def make_trigger(name: str = "1", incident: str = "1", key: str = "tap-1") -> Trigger:
    report = SosReport(key, ("lat",), None, OrderId("ord_1"), silent=True, battery=0.5, note="帮", sent_at=NOW)
    return Trigger(
        trigger_id=f"trg_{name}",
        incident_id=IncidentId(f"inc_{incident}"),
        key=key,
        device=DeviceId("phone"),
        received_at=NOW,
        restricted=False,
        report=report,
    )


def make_incident_event(incident: str = "1", seq: int = 1) -> IncidentEvent:
    return IncidentEvent(
        TENANT, IncidentId(f"inc_{incident}"), seq, NOW, "raised", "tec_1", IncidentState.OPEN, 0, "一键求助"
    )


def make_page(name: str = "ops_1", incident: str = "1") -> Page:
    hops = (
        Hop(Channel.PUSH, HopState.TAKEN, NOW + 3, 1, 0, PageOutcome.TAKEN, NOW + 3, NOW + 3.5),
        Hop(Channel.SMS, HopState.WAITING, NOW + 10),
    )
    return Page(TENANT, IncidentId(f"inc_{incident}"), RecipientKind.PERSON, name, 1, "raised", 0, NOW, hops)


def safety_changes(*values: object) -> SafetyChanges:
    changes = SafetyChanges()
    for value in values:
        match value:
            case Incident():
                changes.incidents[value.incident_id] = value
            case Trigger():
                changes.triggers.append(value)
            case SubjectRecord():
                changes.subjects[value.tenant, value.user] = value
            case IncidentEvent():
                changes.events.append(value)
            case Page():
                changes.pages[value.incident_id, value.recipient] = value
            case _:
                raise TypeError(f"no change holds a {type(value).__name__}")
    return changes


def make_principal(
    user: str = "tec_1",
    device: str = "phone",
    role: Role = Role.TECHNICIAN,
    cities: tuple[str, ...] = (CITY,),
    roles: tuple[Role, ...] = (),
) -> Principal:
    return Principal(
        tenant=TENANT,
        user=UserId(user),
        role=role,
        roles=frozenset({role, *roles}),
        cities=frozenset(CityId(city) for city in cities),
        device=DeviceId(device),
        expires_at=NOW + 3600,
    )
