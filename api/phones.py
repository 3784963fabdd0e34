"""What phones and browsers need beside the hub: positions over HTTP, and tickets that stand for a token."""

from collections.abc import Callable
from dataclasses import replace

from api.bodies import PositionsIn, Ticket, TicketIn
from api.exchange import Request, Response, answer
from api.ports import Tickets
from core.errors import Invalid
from core.ids import DeviceId
from core.principal import Principal
from realtime.messages import Pings
from realtime.service import RealtimeService


class Phones:
    """Handlers of ``/v1/positions`` and ``/v1/tickets``."""

    def __init__(self, hub: RealtimeService, tickets: Tickets, hub_url: Callable[[], str]) -> None:
        """``hub_url`` is asked at each request: the port is known only once the hub listens."""
        self._hub = hub
        self._tickets = tickets
        self._hub_url = hub_url

    async def positions(self, who: Principal, request: Request) -> Response:
        """POST /v1/positions: judged as the hub would; answers with its ``ping_ack`` once what is kept is stored."""
        body: PositionsIn = request.data
        speaker = replace(who, device=_device(who, body.device))
        return answer(await self._hub.ingest_http(speaker, Pings(body.pings, body.sent_at, body.mock, body.crs)))

    def ticket(self, who: Principal, request: Request) -> Response:
        """POST /v1/tickets: a one-time ticket for ``hello``, for browsers that must not keep a token."""
        body: TicketIn = request.data
        device = _device(who, body.device)
        ticket, expires_at = self._tickets.issue_ticket(who, device, request.now)
        return answer(Ticket(ticket, round(expires_at, 3), self._hub_url()), 201)


def _device(who: Principal, claimed: str) -> DeviceId:
    if who.device and who.device != claimed:
        raise Invalid("the token is bound to another device", field="device")
    return DeviceId(claimed)
