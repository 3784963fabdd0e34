"""What phones and browsers need beside the hub: positions and trackers' alarms over HTTP, and one-time tickets."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import msgspec

from api.auth import DEVICE_HEADER
from api.bodies import AlarmAck, PositionsIn, Ticket, TicketIn
from api.exchange import Request, Response, answer
from api.ports import Tickets
from api.safety_bodies import SosPass
from api.sos_acks import first_ack
from core.errors import DoorstepError, Invalid, Refused
from core.ids import CLIENT_KEY_LEN_MAX, DeviceId
from core.principal import Principal
from geo.point import Frame
from realtime.messages import PingAck, Pings, SosAck
from realtime.ports import Reply, SendDirect
from realtime.service import RealtimeService
from safety.alarms import read_alarms
from safety.model import SosReport, TriggerSource
from safety.service import SafetyService

PAGE_PATH: Final = "/sos"


class Phones:
    """Handlers of ``/v1/positions`` and ``/v1/tickets``."""

    def __init__(
        self, hub: RealtimeService, safety: SafetyService, tickets: Tickets, frame: Frame, hub_url: Callable[[], str]
    ) -> None:
        """``hub_url`` is asked at each request: the port is known only once the hub listens."""
        self._hub = hub
        self._safety = safety
        self._frame = frame
        self._tickets = tickets
        self._hub_url = hub_url

    async def positions(self, who: Principal, request: Request) -> Response:
        """POST /v1/positions: judged as the hub would; answers with its ``ping_ack`` once what is kept is stored."""
        body: PositionsIn = request.data
        speaker = replace(who, device=_device(who, body.device))
        return answer(await self._hub.ingest_http(speaker, Pings(body.pings, body.sent_at, body.mock, body.crs)))

    async def alarm(self, who: Principal, request: Request, positions: Callable[[], Awaitable[Response]]) -> Response:
        """POST /v1/positions with ``alarm``: raised first; a position that is refused costs the position only."""

        def start(report: SosReport) -> Callable[[SendDirect, Reply], None]:
            return lambda send, reply: self._safety.raise_sos(
                who, report, request.now, send, reply, source=TriggerSource.TRACKER
            )

        reports = read_alarms(request.body, request.now, self._frame)
        raised = asyncio.gather(*(first_ack(start(report)) for report in reports), return_exceptions=True)
        taken, refused = None, ""
        try:
            taken = msgspec.json.decode((await positions()).body, type=PingAck)
        except DoorstepError as error:
            refused = error.code
        acks = await raised
        told = [msgspec.json.decode(ack, type=SosAck) for ack in acks if isinstance(ack, bytes)]
        if not told:
            raise next(ack for ack in acks if isinstance(ack, BaseException))
        return answer(AlarmAck(told, taken, refused))

    def ticket(self, who: Principal, request: Request) -> Response:
        """POST /v1/tickets: a one-time ticket for ``hello``, for browsers that must not keep a token."""
        body: TicketIn = request.data
        device = _device(who, body.device)
        is_page = body.kind == "sos"
        ticket, expires_at = self._tickets.issue_ticket(who, None if is_page else device, request.now)
        # In the fragment: no server, proxy or log is told what stands there.
        page = f"{PAGE_PATH}#{ticket}" if is_page else ""
        return answer(Ticket(ticket, round(expires_at, 3), self._hub_url(), page), 201)

    def sos_pass(self, request: Request) -> Response:
        """POST /v1/sos/pass: the page's ticket becomes what it raises an SOS with, also after a restart of ours."""
        scheme, _, ticket = request.headers.get("authorization", "").partition(" ")
        device = request.headers.get(DEVICE_HEADER, "")
        if scheme.lower() != "ticket" or not (0 < len(device) <= CLIENT_KEY_LEN_MAX and device.isprintable()):
            raise Refused("send `Authorization: Ticket …` and `Doorstep-Device: …`", code="ticket_invalid")
        text, expires_at = self._tickets.sos_pass(ticket.strip(), DeviceId(device), request.now)
        return answer(SosPass(text, round(expires_at, 3)), 201)


def _device(who: Principal, claimed: str) -> DeviceId:
    if who.device and who.device != claimed:
        raise Invalid("the token is bound to another device", field="device")
    return DeviceId(claimed)
