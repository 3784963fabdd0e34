"""Who is near: positions for ops; for customers cards that locate nobody better than an H3 cell.

A card's distance is that between the centres of two res-8 cells, the asked point's own snapped too, and cards
are ordered by it and then by their token: neither the answer nor its order or its end depends on where inside
a cell anybody is.
"""

from api.bodies import Nearby, NearbyCard, NearbyTechnician
from api.cities import Cities, ShardParts
from api.exchange import Request, Response, answer, number, whole
from api.picks import Picks
from api.ports import Looks
from api.settings import ApiSettings
from core.errors import Invalid, NotFound
from core.principal import Principal, Role
from core.units import LAT_DEG_MAX, LNG_DEG_MAX
from dispatch import limits
from geo.cells import CARD_RESOLUTION, cell_center, cell_of, distance_band, snapped_distance_m
from geo.frames import convert_point
from geo.point import Frame, LatLng
from geo.position_index import Flag, PositionIndex
from safety.looks import LookKind, area_of

EARLIEST_STEP_S = 300.0
"""Earliest times are rounded up to this, so that they tell no more than the distance band."""
SLOWEST_MPS = 4.0
"""Speed behind the earliest time: an electric bicycle with lights and corners, 14 km/h as the crow flies."""
CELL_REACH_M = 800.0
"""Nobody is farther than this from the centre of their cell: one and a half times a cell's mean edge (531 m)."""


class NearbyTechnicians:
    """Handler of ``GET /v1/technicians/nearby``."""

    def __init__(self, cities: Cities, frame: Frame, settings: ApiSettings, picks: Picks, looks: Looks) -> None:
        """Keep what the handler needs."""
        self._looks = looks
        self._cities = cities
        self._frame = frame
        self._settings = settings
        self._picks = picks

    def listing(self, who: Principal, request: Request) -> Response:
        """GET /v1/technicians/nearby?lat&lng[&crs][&limit]."""
        crs = request.query.get("crs", Frame.WGS84.value)
        asked = LatLng(
            number(request, "lat", -LAT_DEG_MAX, LAT_DEG_MAX), number(request, "lng", -LNG_DEG_MAX, LNG_DEG_MAX)
        )
        if crs not in list(Frame):
            raise Invalid(f"crs must be one of {', '.join(Frame)}", field="crs")
        limit = whole(request, "limit", 1, self._settings.nearby_len_max, min(20, self._settings.nearby_len_max))
        point = convert_point(asked, Frame(crs), self._frame)
        part, _, zone = self._cities.open_city(who.tenant, point)
        if who.holds(Role.OPS) and part.shard.city in who.cities:
            self._looks.note(who, area_of(part.shard.city), LookKind.NEARBY, part.shard.city)
            return answer(Nearby(technicians=self._positions(part, point, limit, request.now)))
        if who.holds(Role.OPS) and not who.holds(Role.CUSTOMER, Role.SERVICE):
            raise NotFound("there is no such city for you")
        return answer(Nearby(cards=self._cards(who, part, point, zone, limit, request.now)))

    def _positions(self, part: ShardParts, point: LatLng, limit: int, now: float) -> list[NearbyTechnician]:
        index = part.positions.index
        slots, distances_m = index.nearest(
            point,
            limit,
            require=int(Flag.TECHNICIAN),
            seen_after=now - self._settings.nearby_seen_s,
            within_m=self._settings.nearby_radius_m,
        )
        found = []
        for slot, distance_m in zip(slots.tolist(), distances_m.tolist(), strict=True):
            flags = int(index.flags[slot])
            found.append(
                NearbyTechnician(
                    technician=index.user(slot),
                    lat=round(float(index.lat[slot]), 7),
                    lng=round(float(index.lng[slot]), 7),
                    crs=self._frame.value,
                    accuracy_m=round(float(index.accuracy_m[slot]), 1),
                    distance_m=round(distance_m, 1),
                    age_s=round(max(0.0, now - float(index.seen_at[slot])), 1),
                    state=_work(flags),
                    connected=bool(flags & Flag.CONNECTED),
                    rating=_rating(float(index.rating[slot])),
                )
            )
        return found

    def _cards(
        self, who: Principal, part: ShardParts, point: LatLng, zone: str, limit: int, now: float
    ) -> list[NearbyCard]:
        index = part.positions.index
        centre = cell_center(cell_of(point, CARD_RESOLUTION))
        # Whom the asker has blocked, or who has blocked them, is not there for them: one cannot be told from the other.
        barred = part.dispatch.barred(who.user)
        ranked = [
            (distance_m, self._picks.token(who, index.user(slot), now), index.user(slot))
            for slot, distance_m in self._snapped(index, centre, limit + len(barred), now)
            if index.user(slot) not in barred
        ]
        cards = []
        for distance_m, pick, user in sorted(ranked)[:limit]:
            record = part.dispatch.technician(user)
            if record is None or not limits.goes_to(record, part.shard.city, zone):
                continue  # whom the customer could pick in vain
            steps = 1 + int(distance_m / SLOWEST_MPS / EARLIEST_STEP_S)
            cards.append(
                NearbyCard(
                    pick=pick,
                    distance_band=distance_band(distance_m),
                    services=sorted(record.services or record.skills),
                    earliest_s=steps * EARLIEST_STEP_S,
                    rating=_rating(part.dispatch.rating(user, now) or 0.0),
                )
            )
        return cards

    def _snapped(self, index: PositionIndex, centre: LatLng, limit: int, now: float) -> list[tuple[int, float]]:
        """At least the ``limit`` nearest by snapped distance, and everybody who is as near as the last of them.

        The index knows exact distances only. ``limit`` people by those bound the snapped distance of the last card;
        all who can come within it are looked at, so that nobody is left out or let in by metres.
        """
        wanted = int(Flag.TECHNICIAN | Flag.VERIFIED | Flag.IDLE)
        seen_after, radius_m = now - self._settings.nearby_seen_s, self._settings.nearby_radius_m

        def snapped_m(slot: int) -> float:
            place = LatLng(float(index.lat[slot]), float(index.lng[slot]))
            return snapped_distance_m(centre, place, CARD_RESOLUTION)

        slots, _ = index.nearest(centre, limit, require=wanted, seen_after=seen_after, within_m=radius_m)
        last_m = min(max(map(snapped_m, slots.tolist())), radius_m) if len(slots) == limit else radius_m
        slots, _ = index.within(centre, last_m + CELL_REACH_M, require=wanted, seen_after=seen_after)
        found = ((slot, snapped_m(slot)) for slot in slots.tolist())
        return [(slot, distance_m) for slot, distance_m in found if distance_m <= last_m]


def _work(flags: int) -> str:
    if flags & Flag.BUSY:
        return "busy"
    return "offered" if flags & Flag.OFFERED else "idle"


def _rating(stars: float) -> float | None:
    """One decimal: a mean to many digits would tell two cards of one person apart from all others."""
    return round(stars, 1) if stars > 0 else None
