"""Where somebody is who called for help, and what is read out for them: the part of an incident that rescuers need."""

from datetime import datetime
from zoneinfo import ZoneInfo

from msgspec import UNSET

from api.cities import Cities
from api.exchange import Request, Response, answer, number
from api.incident_bodies import CallText, IncidentTrail, TrailGap, TrailPoint
from api.incidents import Incidents
from api.ports import Raisers, Tracks
from api.views import crs_of, fix_view
from core.errors import Invalid
from core.ids import UserId
from core.principal import Principal, Role
from core.units import EPOCH_S_MAX
from dispatch.model import Order, Technician
from dispatch.ports import DispatchStore
from geo.frames import convert_point
from geo.point import Frame
from safety.call_text import CallFacts, Language, Place, call_text
from safety.freshness import r95_m
from safety.model import FixSource, Incident, IncidentFix
from safety.ports import Contacts
from safety.trail import shape
from safety.whereabouts import latest_fix

TRAIL_POINTS_MAX = 5_000
"""Points of one answer; at 2 s a fix nearly three hours. What follows is read with ``from``."""


class Emergency:
    """Handlers of ``/v1/incidents/{id}/trail`` and ``…/call-text``."""

    def __init__(
        self,
        incidents: Incidents,
        raisers: Raisers,
        tracks: Tracks,
        cities: Cities,
        orders: DispatchStore,
        contacts: Contacts,
        frame: Frame,
    ) -> None:
        """Keep where to look."""
        self._incidents = incidents
        self._raisers = raisers
        self._tracks = tracks
        self._cities = cities
        self._orders = orders
        self._contacts = contacts
        self._frame = frame

    async def trail(self, who: Principal, request: Request) -> Response:
        """GET /v1/incidents/{id}/trail?from: the way before the tap and since, gaps and late points told."""
        incident = await self._incidents.visible(who, request.path["id"])
        self._incidents.check_way(who, incident, request.now)
        since = number(request, "from", 0, EPOCH_S_MAX, 0.0)
        kept = await self._tracks.track(incident.tenant, incident.incident_id, limit=4 * TRAIL_POINTS_MAX)
        told = shape(kept, incident.raised_at, request.now, is_active=incident.is_active)
        points = [
            TrailPoint(
                at=round(point.fixed_at + told.skew_s, 3),
                received_at=round(point.received_at, 3),
                lat=round(point.lat, 7),
                lng=round(point.lng, 7),
                accuracy_m=point.accuracy_m,
                r95_m=r95_m(point.accuracy_m),
                speed_mps=point.speed_mps,
                heading_deg=point.heading_deg,
                before=point.received_at <= incident.raised_at,
                late=is_late,
            )
            for point, is_late in zip(kept, told.late, strict=True)
            if round(point.fixed_at + told.skew_s, 3) >= since  # as it was told: `from` may be the last `at`
        ]
        fix = self._newest(incident, request.now)
        lost_at = self._raisers.lost_at(incident.tenant, incident.incident_id)
        return answer(
            IncidentTrail(
                incident=incident.incident_id,
                crs=crs_of(self._frame),
                raised_at=round(incident.raised_at, 3),
                points=points[:TRAIL_POINTS_MAX],
                points_left_out=max(0, len(points) - TRAIL_POINTS_MAX),
                gaps=[TrailGap(gap.from_at, gap.to_at) for gap in told.gaps],
                fix=fix_view(fix, self._frame, request.now) if fix is not None else UNSET,
                lost_at=round(lost_at, 3) if lost_at is not None else UNSET,
            )
        )

    async def call(self, who: Principal, request: Request) -> Response:
        """GET /v1/incidents/{id}/call-text?lang: what to read out to the police or an ambulance."""
        incident = await self._incidents.visible(who, request.path["id"])
        try:
            language = Language(request.query.get("lang", Language.EN.value))
        except ValueError:
            raise Invalid(f"must be one of {', '.join(Language)}", field="lang") from None
        facts = await self._facts(incident, request.now)
        return answer(CallText(incident.incident_id, language.value, call_text(facts, language)))

    def _newest(self, incident: Incident, now: float) -> IncidentFix | None:
        live = self._raisers.last_fix(incident.tenant, incident.subject, now) if incident.is_active else None
        return latest_fix(incident.fix, live)

    async def _facts(self, incident: Incident, now: float) -> CallFacts:
        booked = incident.booked
        order = None
        if incident.order_id is not None:
            found = self._cities.order(incident.tenant, incident.order_id)
            order = found[1] if found is not None else await self._orders.order(incident.tenant, incident.order_id)
        name, phone, _ = await self._person(incident, incident.subject, order)
        other = booked.other_party if booked is not None else None
        other_name, _, is_verified = (
            await self._person(incident, other, order) if other is not None else ("", "", False)
        )
        other_role = ""
        if other is not None:
            other_role = Role.CUSTOMER if order is not None and other == order.customer else Role.TECHNICIAN
        part = self._cities.get(incident.tenant, incident.city) if incident.city is not None else None
        zone = part.timezone if part is not None else "UTC"
        raised = datetime.fromtimestamp(incident.raised_at, ZoneInfo(zone))
        return CallFacts(
            incident=incident.incident_id,
            name=name,
            phone=phone,
            role=incident.subject_role,
            raised=f"{raised:%Y-%m-%d %H:%M:%S} ({zone})",
            order=incident.order_id or "",
            city=incident.city or "",
            address=booked.address if booked is not None else "",
            unit=booked.unit if booked is not None else "",
            entrance_note=booked.entrance_note if booked is not None else "",
            place=self._place(incident, now),
            other_name=other_name,
            other_role=other_role,
            other_is_verified=is_verified,
            note=incident.note,
        )

    def _place(self, incident: Incident, now: float) -> Place | None:
        fix = self._newest(incident, now)
        if fix is None and incident.booked is None:
            return None
        if fix is None:
            point, source, age_s, within_m = incident.booked.point, FixSource.BOOKED_ADDRESS, 0.0, None  # type: ignore[union-attr]
        else:
            point, source = fix.point, fix.source
            age_s, within_m = max(0.0, now - fix.fixed_at), r95_m(fix.accuracy_m)
        gps = convert_point(point, self._frame, Frame.WGS84)
        return Place(gps.lat_deg, gps.lng_deg, age_s, within_m, source.value)

    async def _person(self, incident: Incident, user: UserId, order: Order | None) -> tuple[str, str, bool]:
        """Name, phone, and whether the name was checked; what they told safety themselves first, but for the name of
        a technician, whose papers the platform has seen."""
        # Whoever holds the subject's phone may have changed since the tap where they are called back.
        at_the_tap = incident.contact if user == incident.subject else None
        contact = at_the_tap or self._contacts.of(incident.tenant, user)
        name, phone = (contact.name, contact.phone) if contact is not None else ("", "")
        found = self._cities.technician(incident.tenant, user)
        record: Technician | None
        record = found[1] if found is not None else await self._orders.technician(incident.tenant, user)
        if record is not None and record.verified:
            return record.name, phone, True
        if order is not None and order.customer == user:
            name, phone = name or order.contact_name, phone or order.contact_phone
        if record is not None:
            name = name or record.name
        return name, phone, False
