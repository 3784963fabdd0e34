"""An incident under duress leaves the house by two people: one of ops asks for its export, another allows it."""

from typing import Annotated

from msgspec import Meta, Struct

from api.auth import check_signed_in_lately
from api.exchange import Request, Response, answer, check_said
from api.incidents import Incidents
from core.ids import UserId
from core.principal import Principal
from realtime.messages import EpochS, Id, Text
from safety.looks import LookStore
from safety.second_person import ASKS_MAX, ExportAsk, SecondPerson


class ExportIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Why somebody wants to export an incident."""

    reason: Text


class AllowExportIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Who may export it: the one who asked."""

    by: Id


class ExportView(Struct, frozen=True, omit_defaults=True):
    """An export that is asked for until then, or allowed until then."""

    incident: Id
    by: Id
    reason: Text
    asked_at: EpochS
    until: EpochS
    allowed_by: Id | None = None


class ExportList(Struct, frozen=True):
    """Exports of an incident that are asked for or allowed now, oldest first."""

    exports: Annotated[list[ExportView], Meta(max_length=ASKS_MAX)]


class IncidentExports:
    """Handlers of ``/v1/incidents/{id}/export``."""

    def __init__(self, incidents: Incidents, second: SecondPerson, audit: LookStore, fresh_s: float) -> None:
        """Keep where they are; ``audit`` has each step before it counts."""
        self._incidents = incidents
        self._second = second
        self._audit = audit
        self._fresh_s = fresh_s

    async def listing(self, who: Principal, request: Request) -> Response:
        """GET /v1/incidents/{id}/export."""
        incident = await self._incidents.for_ops(who, request.path["id"])
        return answer(ExportList([_view(ask) for ask in self._second.of(incident, request.now)]))

    async def ask(self, who: Principal, request: Request) -> Response:
        """POST /v1/incidents/{id}/export."""
        body: ExportIn = request.data
        incident = await self._incidents.for_ops(who, request.path["id"])
        check_said(body.reason, "say why it is to be exported")
        ask, entry = self._second.asked(incident, who.user, body.reason, request.now)
        await self._audit.add([], [entry])
        self._second.keep(ask)
        return answer(_view(ask))

    async def allow(self, who: Principal, request: Request) -> Response:
        """POST /v1/incidents/{id}/export/allow: by another than who asked, who signed in lately."""
        body: AllowExportIn = request.data
        incident = await self._incidents.for_ops(who, request.path["id"])
        check_signed_in_lately(who, request.now, self._fresh_s)
        ask, entry = self._second.allowed(incident, who.user, UserId(body.by), request.now)
        await self._audit.add([], [entry])
        self._second.keep(ask)
        return answer(_view(ask))


def _view(ask: ExportAsk) -> ExportView:
    return ExportView(ask.incident_id, ask.by, ask.reason, round(ask.asked_at, 3), round(ask.until, 3), ask.allowed_by)
