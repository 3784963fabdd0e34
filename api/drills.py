"""Drills over HTTP: the alarm tried by one tap, with the time that it took; for ops who has, and who has not."""

from api.care import drill_view
from api.care_bodies import (
    DrillRow,
    DrillsSeen,
)
from api.exchange import Request, Response, answer
from api.inbound import Inbound
from core.principal import Principal, Role
from realtime.messages import DrillTap
from safety.care_service import CareService


class DrillDesk:
    """Handlers of ``/v1/drills``."""

    def __init__(self, care: CareService, inbound: Inbound) -> None:
        """Keep what the handlers need."""
        self._care = care
        self._inbound = inbound

    async def tap(self, who: Principal, request: Request) -> Response:
        """POST /v1/drills."""
        await self._inbound.ask(who, DrillTap(), request.now)
        return self.listing(who, request)

    def listing(self, who: Principal, request: Request) -> Response:
        """GET /v1/drills."""
        own = self._care.last_drill(who.tenant, who.user)
        found = self._care.drills_of(who.tenant, who.cities) if who.holds(Role.OPS) else []
        rows = [
            DrillRow(d.drill_id, d.user, d.city, d.state.value, round(d.asked_at, 3), d.round_trip_ms) for d in found
        ]
        return answer(DrillsSeen(None if own is None else drill_view(own), rows))
