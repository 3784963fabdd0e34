"""SOS and incidents over HTTP. Nothing in this file may refuse an SOS of somebody who is who they say."""

from dataclasses import replace
from typing import Final

import msgspec

from api.bodies import Done, Timeline, TimelineEntry
from api.cursor import next_cursor, read_cursor
from api.exchange import Request, Response, answer, whole
from api.inbound import Inbound
from api.incidents import Incidents
from api.ports import Raisers
from api.safety_bodies import CancelSosIn, SosStatus
from api.settings import ApiSettings
from api.sos_acks import first_ack
from api.views import incident_end, incident_view, stamp
from core.principal import Principal
from geo.point import Frame
from realtime.messages import IncidentView, SosCancel
from realtime.ports import Reply, SendDirect
from safety.access import may_read
from safety.events import Reason
from safety.model import Incident, TriggerSource
from safety.ports import SafetyStore
from safety.whereabouts import latest_fix

_ASKED: Final = {"": "incidents"}
"""What a cursor of incidents is bound to; they have no filters."""


class IncidentPage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Incidents, newest first."""

    incidents: list[IncidentView]
    next: str | None = None


class Safety:
    """Handlers of ``/v1/sos`` and ``/v1/incidents``."""

    def __init__(
        self,
        incidents: Incidents,
        raisers: Raisers,
        store: SafetyStore,
        inbound: Inbound,
        frame: Frame,
        settings: ApiSettings,
    ) -> None:
        """Keep what the handlers need."""
        self._incidents = incidents
        self._raisers = raisers
        self._store = store
        self._inbound = inbound
        self._frame = frame
        self._settings = settings

    async def sos(self, who: Principal, request: Request) -> Response:
        """POST /v1/sos: the body is read field by field; answers with the first ``sos_ack``."""
        source = TriggerSource.HTTP
        if who.is_on_page:
            # Its pass can do nothing else from the beginning: that says nothing of a sign-in that is old.
            who, source = replace(who, restricted=False), TriggerSource.PAGE
        is_json = "msgpack" not in request.headers.get("content-type", "")

        def start(send: SendDirect, reply: Reply) -> None:
            self._inbound.sos(
                who, request.body, is_json=is_json, now=request.now, send=send, reply=reply, source=source
            )

        return Response(200, await first_ack(start))

    async def status(self, who: Principal, request: Request) -> Response:
        """GET /v1/sos/{id}: what ``sos_ack`` tells, for who cannot be sent one; never where anybody is."""
        incident = await self._incidents.own(who, request.path["id"])
        return answer(sos_status(incident))

    async def cancel(self, who: Principal, request: Request) -> Response:
        """POST /v1/sos/{id}/cancel: as `sos.cancel` on the hub; answered at a fixed time, whatever the PIN was."""
        body: CancelSosIn = request.data
        return answer(Done(await self._inbound.ask(who, SosCancel(request.path["id"], body.pin), request.now)))

    async def listing(self, who: Principal, request: Request) -> Response:
        """GET /v1/incidents: of the caller's cities and those without one; newest first, by keyset."""
        limit = whole(request, "limit", 1, self._settings.page_len_max, min(50, self._settings.page_len_max))
        found = await self._store.incidents(
            who.tenant, cities=who.cities, before=read_cursor(request.query.get("after"), _ASKED), limit=limit + 1
        )
        page = found[:limit]
        following = next_cursor(_ASKED, page[-1].raised_at, page[-1].incident_id) if len(found) > limit else None
        read = [incident for incident in page if may_read(incident, who)]
        for incident in read:
            if incident.fix is not None:
                self._incidents.looked(who, incident)
        return answer(IncidentPage([self._view(incident, who, request.now) for incident in read], following))

    async def read(self, who: Principal, request: Request) -> Response:
        """GET /v1/incidents/{id}: the case; its state and one's own part for who has no more to do with it."""
        incident, is_read = await self._incidents.seen(who, request.path["id"])
        if not is_read:
            return answer(incident_end(incident, who.user, Reason.WITHDRAWN))
        live = self._raisers.last_fix(who.tenant, incident.subject, request.now) if incident.is_active else None
        view = self._view(replace(incident, fix=latest_fix(incident.fix, live)), who, request.now)
        lost_at = self._raisers.lost_at(who.tenant, incident.incident_id)
        return answer(msgspec.structs.replace(view, lost_at=stamp(lost_at) if lost_at is not None else None))

    async def timeline(self, who: Principal, request: Request) -> Response:
        """GET /v1/incidents/{id}/timeline."""
        incident = await self._incidents.visible(who, request.path["id"])
        told = await self._store.events(who.tenant, incident.incident_id)
        entries = [TimelineEntry(e.seq, e.at, e.what, e.who, e.state.value, e.detail) for e in told]
        return answer(Timeline(incident.incident_id, entries))

    def _view(self, incident: Incident, who: Principal, now: float) -> IncidentView:
        target = next((t for t in incident.targets if t.user == who.user), None)
        return incident_view(incident, self._frame, now, target, target.why if target is not None else "")


def sos_status(incident: Incident) -> SosStatus:
    """What whoever raised an alarm is told of it."""
    shown = incident.seen_by_subject
    return SosStatus(
        incident=incident.incident_id,
        received_at=stamp(incident.raised_at),
        delivered=shown.delivered or 0,
        seen=bool(shown.seen),
        ended=shown.ended,
    )
