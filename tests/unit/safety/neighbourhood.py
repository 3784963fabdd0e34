"""Fakes and makers that the tests of safety share."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.ids import CityId, DeviceId, IncidentId, OrderId, TenantId, UserId
from core.principal import Principal, Role
from geo.distance import distance_m
from geo.point import LatLng
from safety.contacts import Contact
from safety.engine import SafetyEngine
from safety.events import AckRaiser, Effect, NotifyTargets, SosRaised
from safety.model import Approach, BookedPlace, FixSource, IncidentFix, SosReport
from safety.ports import HelpSought, NearbyResponder
from safety.ranking import Group, place_in_line
from safety.settings import SafetySettings

ACME = TenantId("acme")
SH = CityId("shanghai")
BJ = CityId("beijing")
HOME = LatLng(31.23, 121.47)
T0 = 1_800_000_000.0


class CountingIds:
    """Ids in order, so that a run repeats."""

    def __init__(self) -> None:
        self._count = 0

    def new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count:06d}"


@dataclass
class Neighbourhood:
    """An in-memory ``Surroundings``: who stands where. ``broken`` names look-ups that raise."""

    people: dict[UserId, tuple[CityId, LatLng | None]] = field(default_factory=dict)
    staff: dict[UserId, CityId] = field(default_factory=dict)
    live: dict[UserId, tuple[CityId, IncidentFix]] = field(default_factory=dict)
    bookings: dict[UserId, BookedPlace] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    away: set[UserId] = field(default_factory=set)
    contacts: dict[UserId, Contact] = field(default_factory=dict)
    helpers: dict[UserId, tuple[CityId, LatLng | None]] = field(default_factory=dict)
    """Technicians who consent."""
    quiet: set[UserId] = field(default_factory=set)
    """Whose phone was not heard of for long."""
    blocks: set[frozenset[UserId]] = field(default_factory=set)

    def _fail(self, what: str) -> None:
        if what in self.broken:
            raise RuntimeError(f"{what} is broken")

    def city_of(self, tenant: TenantId, point: LatLng) -> CityId | None:
        self._fail("city_of")
        return SH if distance_m(point, HOME) < 100_000 else None

    def last_fix(self, tenant: TenantId, user: UserId, now: float) -> tuple[CityId, IncidentFix] | None:
        self._fail("last_fix")
        return self.live.get(user)

    def booking(self, tenant: TenantId, user: UserId, order_id: OrderId | None) -> BookedPlace | None:
        self._fail("booking")
        return self.bookings.get(user)

    def contact(self, tenant: TenantId, user: UserId) -> Contact | None:
        self._fail("contact")
        return self.contacts.get(user)

    def responders(self, sought: HelpSought, group: Group, now: float) -> Sequence[NearbyResponder]:
        self._fail("responders" if group is Group.STAFF else "consents")
        if sought.city is not None and group is Group.STAFF:
            self._fail("responders_of_city")
        if sought.point is not None and group is Group.STAFF:
            self._fail("distances")
        found = []
        for user, (where, at) in (self.people if group is Group.STAFF else self.helpers).items():
            if sought.city is None or sought.city == where:
                metres = distance_m(at, sought.point) if at and sought.point else None
                eta_s = None if metres is None else metres / sought.speed_mps
                is_live = metres is not None and user not in self.quiet
                found.append(NearbyResponder(user, metres, Approach(group.value, is_live, eta_s)))
        found.sort(key=lambda r: place_in_line(r.user, r.distance_m, r.approach))
        kinds = [[r for r in found if r.approach and r.approach.is_live == is_live] for is_live in (True, False)]
        return [responder for kind in kinds for responder in kind[: sought.limit]]

    def kept_apart(self, tenant: TenantId, user: UserId, others: Collection[UserId]) -> Collection[UserId]:
        self._fail("blocks")
        return {other for other in others if frozenset({user, other}) in self.blocks}

    def unwilling(self, tenant: TenantId, users: Collection[UserId]) -> Collection[UserId]:
        self._fail("consents")
        return {user for user in users if user not in self.helpers}

    def is_connected(self, tenant: TenantId, user: UserId) -> bool:
        self._fail("connected")
        return user not in self.away

    def ops(self, tenant: TenantId, city: CityId | None) -> Sequence[UserId]:
        self._fail("ops")
        of_city = sorted(user for user, where in self.staff.items() if where == city)
        return of_city or sorted(self.staff)


def town(*, responders: int = 8, ops: int = 2) -> Neighbourhood:
    """Responders in a row to the north of ``HOME``, 1 km apart; ops there; one of each in Beijing."""
    place = Neighbourhood()
    for n in range(responders):
        place.people[UserId(f"tec_{n:02d}")] = (SH, LatLng(HOME.lat_deg + 0.009 * (n + 1), HOME.lng_deg))
    for n in range(ops):
        place.staff[UserId(f"ops_{n}")] = SH
    place.people[UserId("tec_bj")] = (BJ, LatLng(39.9, 116.4))
    place.staff[UserId("ops_bj")] = BJ
    return place


def person(
    name: str,
    *roles: Role,
    cities: tuple[CityId, ...] = (SH,),
    device: str = "phone",
    restricted: bool = False,
    tenant: TenantId = ACME,
) -> Principal:
    held = roles or (Role.CUSTOMER,)
    return Principal(
        tenant, UserId(name), held[0], frozenset(held), frozenset(cities), DeviceId(device), T0 + 3600, restricted
    )


ANNA = person("cus_anna")
OPS = person("ops_0", Role.OPS, device="console")
OPS_2 = person("ops_1", Role.OPS, device="console")
OPS_BJ = person("ops_bj", Role.OPS, cities=(BJ,), device="console")
NEAR = person("tec_00", Role.TECHNICIAN, Role.RESPONDER)


def fix_at(point: LatLng = HOME, at: float = T0, source: FixSource = FixSource.SOS) -> IncidentFix:
    return IncidentFix(point, 10.0, at, source)


def booked(other_party: str | None = "tec_00", *, point: LatLng = HOME) -> BookedPlace:
    party = None if other_party is None else UserId(other_party)
    return BookedPlace(OrderId("ord_1"), SH, point, "1 Long Lane", "3b", "second door", party)


def engine_in(place: Neighbourhood, settings: SafetySettings | None = None) -> SafetyEngine:
    return SafetyEngine(settings or ladder(), CountingIds(), place)


def ladder(**settings: Any) -> SafetySettings:
    """Settings under which only levels and repeats come by themselves: nobody is asked anew, nobody looked after."""
    return SafetySettings(**{"offer_ttl_s": 3_600.0, "assign_within_s": 3_600.0, "look_s": 60.0, **settings})


def tap(
    engine: SafetyEngine,
    now: float = T0,
    *,
    who: Principal = ANNA,
    key: str = "k1",
    fix: IncidentFix | None = None,
    report: SosReport | None = None,
) -> list[Effect]:
    report = report or SosReport(key=key, fix=fix)
    effects = engine.handle(SosRaised(who, report, now), now)
    engine.check()
    return effects


def told(effects: Sequence[Effect]) -> list[str]:
    """Users whose devices ring, in order."""
    return [t.user for e in effects if isinstance(e, NotifyTargets) for t in e.targets]


def answer(effects: Sequence[Effect]) -> AckRaiser:
    (ack,) = [e for e in effects if isinstance(e, AckRaiser) and e.answer]
    return ack


def incident_id(effects: Sequence[Effect]) -> IncidentId:
    return answer(effects).incident.incident_id
