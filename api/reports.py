"""After an incident: everything that is known of it, as JSON, as a page, and as a message for other centres."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from api.bodies import TimelineEntry
from api.deliveries import Deliveries, deliveries_of
from api.exchange import Request, Response, answer
from api.incident_bodies import LookRow, TrailGap
from api.incidents import Incidents
from api.looks import LOOKS_LEN_MAX, look_row
from api.ports import Tracks
from api.views import incident_view
from core.principal import Principal
from core.units import EPOCH_S_MAX
from geo.frames import convert_point
from geo.point import Frame
from realtime.messages import EpochS, IncidentView, Text, Word
from safety.cap import CapPlace, cap_message
from safety.freshness import r95_m
from safety.looks import LookStore
from safety.model import Incident
from safety.ports import SafetyStore
from safety.report import response_times
from safety.service import SafetyService
from safety.trail import shape

TRAIL_POINTS_MAX = 5_000


class Span(Struct, frozen=True, omit_defaults=True):
    """How long something took beside what it should take; ``kept`` is absent where nobody has said."""

    name: Text
    took_s: float | None = None
    budget_s: float | None = None
    kept: bool | None = None


class TrailSpot(Struct, frozen=True, omit_defaults=True):
    """A position of the picture; ``at`` in the server's time."""

    at: EpochS
    lat: float
    lng: float
    accuracy_m: float
    before: bool = False


class AuditHead(Struct, frozen=True):
    """The end of the audit when the report was made: it must still hold this value later."""

    seq: int
    mac: Annotated[str, Meta(max_length=64)]


class IncidentReport(Struct, frozen=True, omit_defaults=True):
    """Everything that is known of an incident."""

    incident: IncidentView
    made_at: EpochS
    kind: Word
    status: Literal["actual", "exercise", "test"]
    disposition: Word
    resolution_note: Text
    timeline: Annotated[list[TimelineEntry], Meta(max_length=100_000)]
    times: Annotated[list[Span], Meta(max_length=16)]
    deliveries: Deliveries
    trail: Annotated[list[TrailSpot], Meta(max_length=5_000)]
    gaps: Annotated[list[TrailGap], Meta(max_length=20_000)]
    looks: Annotated[list[LookRow], Meta(max_length=200)]
    audit: AuditHead | None = None


class Reports:
    """Handlers of ``/v1/incidents/{id}/report``, ``…/report.html`` and ``…/cap``. For ops; each reading is a look.

    Args:
        page: Makes a page of a report in plain values.
        page_headers: What that page may load.
    """

    def __init__(
        self,
        incidents: Incidents,
        service: SafetyService,
        store: SafetyStore,
        looks: LookStore,
        tracks: Tracks,
        frame: Frame,
        page: Callable[[dict[str, Any]], str],
        page_headers: dict[str, str],
    ) -> None:
        self._incidents = incidents
        self._service = service
        self._store = store
        self._looks = looks
        self._tracks = tracks
        self._frame = frame
        self._page = page
        self._page_headers = page_headers

    async def report(self, who: Principal, request: Request) -> Response:
        """GET /v1/incidents/{id}/report."""
        return answer(await self._report(who, request))

    async def report_page(self, who: Principal, request: Request) -> Response:
        """GET /v1/incidents/{id}/report.html: the same in one file, for people."""
        report = await self._report(who, request)
        text = self._page(msgspec.to_builtins(report))
        return Response(200, text.encode(), "text/html; charset=utf-8", self._page_headers)

    async def cap(self, who: Principal, request: Request) -> Response:
        """GET /v1/incidents/{id}/cap: the newest message of the incident in CAP 1.2."""
        incident = await self._incidents.for_ops(who, request.path["id"])
        self._incidents.check_way(who, incident, request.now)
        events = await self._store.events(who.tenant, incident.incident_id)
        text = cap_message(incident, events, f"doorstep.{who.tenant}", self._cap_place(incident))
        return Response(200, text.encode(), "application/cap+xml")

    def _cap_place(self, incident: Incident) -> CapPlace | None:
        fix, booked = incident.fix, incident.booked
        if fix is not None:
            point, radius_m, what = fix.point, r95_m(fix.accuracy_m), "Measured position of the person"
        elif booked is not None:
            point, radius_m, what = booked.point, None, "Booked address, not a measurement"
        else:
            return None
        gps = convert_point(point, self._frame, Frame.WGS84)
        if booked is not None:
            what += f"; booked: {booked.address} {booked.unit}".rstrip()
        return CapPlace(what, gps.lat_deg, gps.lng_deg, radius_m)

    async def _report(self, who: Principal, request: Request) -> IncidentReport:
        now = request.now
        incident = await self._incidents.for_ops(who, request.path["id"])
        self._incidents.check_way(who, incident, request.now)
        events = await self._store.events(who.tenant, incident.incident_id)
        pages = self._service.pages(incident.incident_id) or await self._store.pages(who.tenant, incident.incident_id)
        kept = await self._tracks.track(who.tenant, incident.incident_id, limit=TRAIL_POINTS_MAX)
        told = shape(kept, incident.raised_at, now, is_active=incident.is_active)
        looks = await self._looks.of(who.tenant, [incident.subject], before=EPOCH_S_MAX, limit=LOOKS_LEN_MAX)
        head = (await self._store.audit_heads()).get(who.tenant)
        return IncidentReport(
            incident=incident_view(incident, self._frame, now, None, "report"),
            made_at=round(now, 3),
            kind=incident.kind.value,
            status=incident.cap_status.value,
            disposition=incident.disposition,
            resolution_note=incident.resolution_note,
            timeline=[TimelineEntry(e.seq, round(e.at, 3), e.what, e.who, e.state.value, e.detail) for e in events],
            times=[Span(t.name, t.took_s, t.budget_s, t.is_kept) for t in response_times(incident, events)],
            deliveries=deliveries_of(incident, pages),
            trail=[
                TrailSpot(
                    round(point.fixed_at + told.skew_s, 3), round(point.lat, 7), round(point.lng, 7),
                    point.accuracy_m, point.received_at <= incident.raised_at,
                )
                for point in kept
            ],
            gaps=[TrailGap(gap.from_at, gap.to_at) for gap in told.gaps],
            looks=[look_row(look) for look in looks if look.last_at >= incident.raised_at],
            audit=AuditHead(head.seq, head.mac.hex()) if head is not None else None,
        )  # fmt: skip
