"""Ops hold the evidence of an incident, or let go of it."""

from math import inf

from msgspec import Struct

from api.exchange import Request, Response, answer, check_said
from api.incidents import Incidents
from core.principal import Principal
from realtime.messages import EpochS, Id, Text
from safety.holds import Holds


class HoldIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the evidence is to be held without an end, and why."""

    hold: bool
    reason: Text


class HoldView(Struct, frozen=True, omit_defaults=True):
    """Whether evidence is held; ``until`` is absent while it has no end."""

    incident: Id
    held: bool
    until: EpochS | None = None


class EvidenceHolds:
    """Handler of ``/v1/incidents/{id}/hold``."""

    def __init__(self, incidents: Incidents, holds: Holds) -> None:
        """Keep where they are."""
        self._incidents = incidents
        self._holds = holds

    async def put(self, who: Principal, request: Request) -> Response:
        """PUT /v1/incidents/{id}/hold: from now on without an end, or no longer."""
        body: HoldIn = request.data
        incident = await self._incidents.for_ops(who, request.path["id"])
        check_said(body.reason, "say why the evidence is held, or let go of")
        until = await self._holds.mark(incident, who.user, body.reason, request.now, hold=body.hold)
        ends = None if until is None or until == inf else round(until, 3)
        return answer(HoldView(incident.incident_id, until is not None, ends))
