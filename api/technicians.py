"""Technicians over HTTP: their record, their duty, where they were; and who is near."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from msgspec import UNSET

from api.bodies import Done, DutyIn, OrderSeen, RoundSeen, TechnicianIn, TechnicianView, Term, Track, WhyNoOffers
from api.cities import Cities
from api.cursor import next_cursor, read_cursor
from api.exchange import Request, Response, answer, number, whole
from api.inbound import Inbound
from api.ports import Looks, Tracks
from api.tracks import track_body
from core.errors import Forbidden, Invalid, NotFound
from core.ids import CityId, UserId
from core.principal import Principal, Role
from core.units import EPOCH_S_MAX
from dispatch import events, not_offered
from dispatch.model import Gender, Technician
from dispatch.ports import DispatchStore
from geo.point import Frame
from realtime.messages import Duty
from safety.looks import LookKind

ROUNDS_LEN_MAX: Final = 500
"""Stored rounds that one page of ``why-no-offers`` may look at."""
TRACK_SPAN_S_MAX: Final = 7 * 86_400.0
"""Longest time that one reading of a technician's track may cover."""
REASON_LEN_MAX: Final = 200
_PRINTABLE_ID_MAX: Final = 64


def no_such_technician() -> NotFound:
    """Absent and foreign look the same."""
    return NotFound("there is no such technician")


def may_see(who: Principal, record: Technician) -> bool:
    """Staff of one of their cities, and they themselves."""
    if who.holds(Role.TECHNICIAN) and who.user == record.technician:
        return True
    return is_staff_of(who, record)


def is_staff_of(who: Principal, record: Technician) -> bool:
    """Staff of one of the technician's cities; whatever else they are opens no door here."""
    everywhere = who.holds(Role.SERVICE) and not who.cities
    return who.holds(Role.OPS, Role.SERVICE) and (everywhere or bool(set(record.cities) & who.cities))


class Technicians:
    """Handlers of ``/v1/technicians/{id}``."""

    def __init__(
        self, cities: Cities, store: DispatchStore, tracks: Tracks, inbound: Inbound, frame: Frame, looks: Looks
    ) -> None:
        """Keep what the handlers need."""
        self._looks = looks
        self._cities = cities
        self._store = store
        self._tracks = tracks
        self._inbound = inbound
        self._frame = frame

    async def put(self, who: Principal, request: Request) -> Response:
        """PUT /v1/technicians/{id}: the whole record; 201 when it is new."""
        body: TechnicianIn = request.data
        technician = UserId(request.path["id"])
        if not (0 < len(technician) <= _PRINTABLE_ID_MAX and technician.isprintable()):
            raise Invalid(f"between 1 and {_PRINTABLE_ID_MAX} printable characters", field="id")
        async with self._inbound.turns.taken((who.tenant, technician)):
            return await self._put(who, request, technician, body)

    async def _put(self, who: Principal, request: Request, technician: UserId, body: TechnicianIn) -> Response:
        cities = tuple(dict.fromkeys(CityId(city) for city in body.cities))
        for city in cities:
            if self._cities.get(who.tenant, city) is None:
                raise Invalid("a city of this list is not served", field="cities")
        before = self._cities.technician(who.tenant, technician)
        # Whom no open city knows may be in the store all the same: from a city that is closed, or not served any more.
        record = before[1] if before is not None else await self._store.technician(who.tenant, technician)
        known: tuple[CityId, ...] = record.cities if record is not None else ()
        # Staff change only records that lie within their cities: a record cannot be pulled over from elsewhere.
        everywhere = who.holds(Role.SERVICE) and not who.cities
        if not everywhere and not set(cities) | set(known) <= who.cities:
            if record is not None and not set(known) & who.cities:
                raise no_such_technician()
            raise Forbidden("the record names cities that your token is not good for", field="cities")
        services = tuple(sorted(set(body.services)))
        zones = self._zones(who, cities, body.zones)
        for city in cities:
            dispatch = self._cities.require(who.tenant, city).dispatch
            dispatch.check_names(technician, body.skills, services, zones.get(city, ()))
        event = events.TechnicianPut(
            technician=technician,
            name=body.name,
            skills=frozenset(body.skills),
            gender=Gender(body.gender),
            tier=body.tier,
            cities=cities,
            verified=body.verified,
            stored=record if before is None else None,
            papers=body.papers,
            own_transport=body.own_transport,
            services=services,
            zones=zones,
        )
        owner = cities[0]
        if before is not None and before[1].duty_city is not None:
            owner = before[1].duty_city  # where they are on duty, the change must take effect at once
        part = self._cities.require(who.tenant, owner)
        if before is not None and part.dispatch.technician(technician) is None:
            # The city has never heard of them: the city that has keeps duty, work and rating.
            part = before[0]
        for effect in await part.dispatch.ask(event):
            if isinstance(effect, events.TechnicianChanged):
                return answer(self._view(effect.technician, effect.rating), 200 if record is not None else 201)
        stored = part.dispatch.technician(technician)
        if stored is None:
            raise no_such_technician()
        return answer(self._view(stored, part.dispatch.rating(technician, request.now)))

    def _zones(
        self, who: Principal, cities: Collection[CityId], asked: Mapping[str, Sequence[str]]
    ) -> dict[CityId, tuple[str, ...]]:
        """Limits by city, each zone once. Raises ``Invalid`` for a city that is not the record's, or a zone not its."""
        zones: dict[CityId, tuple[str, ...]] = {}
        for city, names in sorted((CityId(name), names) for name, names in asked.items()):
            if city not in cities:
                raise Invalid("a city of this map is not one of the record's", field="zones")
            unknown = [name for name in names if not self._cities.has_zone(who.tenant, city, name)]
            if unknown:
                raise Invalid(f"the city has no zone {unknown[0]}", code="zone_unknown", field=f"zones.{city}")
            zones[city] = tuple(sorted(set(names)))
        return zones

    async def read(self, who: Principal, request: Request) -> Response:
        """GET /v1/technicians/{id}."""
        record = await self.visible(who, UserId(request.path["id"]))
        found = self._cities.technician(who.tenant, record.technician)
        rating = found[0].dispatch.rating(record.technician, request.now) if found is not None else None
        return answer(self._view(record, rating))

    async def duty(self, who: Principal, request: Request) -> Response:
        """POST /v1/technicians/{id}/duty."""
        body: DutyIn = request.data
        technician = UserId(request.path["id"])
        await self.visible(who, technician)
        city = CityId(body.city) if body.city is not None else None
        if who.holds(Role.TECHNICIAN) and who.user == technician:
            return answer(Done(await self._inbound.ask(who, Duty(body.on, city), request.now)))
        return answer(Done(await self._inbound.ask_duty(who, technician, body.on, city)))

    async def track(self, who: Principal, request: Request) -> Response:
        """GET /v1/technicians/{id}/track?from&to: kept positions of jobs and incidents; who asked is logged."""
        record = await self.visible(who, UserId(request.path["id"]))
        if not (who.holds(Role.OPS) and set(record.cities) & who.cities):
            raise no_such_technician()  # another role in the token lets them read the record, not the track
        end = number(request, "to", 0, EPOCH_S_MAX, request.now)
        start = number(request, "from", 0, EPOCH_S_MAX, max(0.0, end - 3_600))
        if not 0 <= end - start <= TRACK_SPAN_S_MAX:
            raise Invalid(f"must lie before `to`, at most {TRACK_SPAN_S_MAX:.0f} s", field="from")
        await self._looks.kept(
            who, record.technician, LookKind.TRACK, record.technician, request.query.get("reason", "")[:REASON_LEN_MAX]
        )
        points = await self._tracks.track_of(who.tenant, record.technician, from_at=start, to_at=end)
        return answer(Track(self._frame.value, track_body(points)))

    async def why_no_offers(self, who: Principal, request: Request) -> Response:
        """GET /v1/technicians/{id}/why-no-offers?from&to: stored rounds from their side, recomputed, page by page."""
        record = await self.visible(who, UserId(request.path["id"]))
        cities = [city for city in record.cities if who.holds(Role.OPS) and city in who.cities]
        if not cities:
            raise no_such_technician()
        city = CityId(request.query.get("city", record.duty_city if record.duty_city in cities else cities[0]))
        if city not in cities:
            raise Invalid("is no city of the technician that your token is good for", field="city")
        end = number(request, "to", 0, EPOCH_S_MAX, request.now)
        start = number(request, "from", 0, EPOCH_S_MAX, max(0.0, end - 3_600))
        if not 0 <= end - start <= TRACK_SPAN_S_MAX:
            raise Invalid(f"must lie before `to`, at most {TRACK_SPAN_S_MAX:.0f} s", field="from")
        limit = whole(request, "limit", 1, ROUNDS_LEN_MAX, 100)
        asked = {"why": record.technician, "city": city}
        after = read_cursor(request.query.get("after"), asked)
        part = self._cities.require(who.tenant, city)
        found = await part.dispatch.why_no_offers(record.technician, from_at=start, to_at=end, after=after, limit=limit)
        return answer(
            WhyNoOffers(
                technician=record.technician,
                city=city,
                rounds=found.rounds_len,
                duty=record.duty.value,
                duty_since=UNSET if record.duty_at is None else round(record.duty_at, 3),
                in_reach=len(found.seen),
                unnamed=found.unnamed_len,
                outcomes=found.outcomes,
                seen=[_round_seen(seen) for seen in found.seen],
                next=next_cursor(asked, *found.last) if found.last is not None else None,
            )
        )

    async def visible(self, who: Principal, technician: UserId) -> Technician:
        """A technician whom the caller may know. Raises ``NotFound``."""
        found = self._cities.technician(who.tenant, technician)
        record = found[1] if found is not None else await self._store.technician(who.tenant, technician)
        if record is None:
            raise no_such_technician()
        if not may_see(who, record):
            raise no_such_technician()
        return record

    @staticmethod
    def _view(record: Technician, rating: float | None) -> TechnicianView:
        return TechnicianView(
            technician=record.technician,
            name=record.name,
            cities=list(record.cities),
            skills=sorted(record.skills),
            gender=record.gender.value,
            tier=record.tier,
            verified=record.verified,
            duty=record.duty.value,
            work=record.work.value,
            duty_city=record.duty_city,
            rating=round(rating, 2) if rating is not None else None,
            papers=record.papers,
            own_transport=record.own_transport,
            services=list(record.services),
            zones={city: list(names) for city, names in record.zones.items()},
        )


def _round_seen(seen: not_offered.RoundSeen) -> RoundSeen:
    nearest = [
        OrderSeen(
            order=order.order_id,
            distance_m=order.distance_m,
            outcome=order.outcome,
            chosen=list(order.chosen),
            cost_s=order.cost_s,
            travel_s=order.travel_s,
            terms=[Term(term.name, term.seconds) for term in order.terms],
            rank=order.rank,
            best_cost_s=order.best_cost_s,
            detail=order.detail,
        )
        for order in seen.nearest
    ]
    return RoundSeen(seen.round_id, seen.at, seen.policy, seen.solver, seen.outcomes, nearest)
