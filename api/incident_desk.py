"""What those do over HTTP who handle an incident: each route is one message of the hub."""

from api.bodies import Done, ResolveIn
from api.exchange import Request, Response, answer
from api.inbound import Inbound
from api.incident_bodies import AssignResponderIn, IncidentNoteIn, NoteIn, OnSceneIn, RespondIn
from core.principal import Principal
from realtime import messages


class IncidentDesk:
    """Handlers of ``/v1/incidents/{id}/…`` that change something."""

    def __init__(self, inbound: Inbound) -> None:
        """Keep who decides."""
        self._inbound = inbound

    async def acknowledge(self, who: Principal, request: Request) -> Response:
        """POST /v1/incidents/{id}/ack."""
        return await self._handle(who, request, messages.IncidentAckIn(request.path["id"]))

    async def join(self, who: Principal, request: Request) -> Response:
        """POST /v1/incidents/{id}/join."""
        return await self._handle(who, request, messages.IncidentJoin(request.path["id"]))

    async def note(self, who: Principal, request: Request) -> Response:
        """POST /v1/incidents/{id}/note."""
        body: NoteIn = request.data
        message = messages.IncidentNote(request.path["id"], body.text, body.call_to, body.outcome)
        return await self._handle(who, request, message)

    async def respond(self, who: Principal, request: Request) -> Response:
        """POST /v1/incidents/{id}/respond."""
        body: RespondIn = request.data
        return await self._handle(who, request, messages.IncidentRespond(request.path["id"], body.fence))

    async def decline(self, who: Principal, request: Request) -> Response:
        """POST /v1/incidents/{id}/decline."""
        return await self._handle(who, request, messages.IncidentDecline(request.path["id"]))

    async def assign(self, who: Principal, request: Request) -> Response:
        """POST /v1/incidents/{id}/assign."""
        body: AssignResponderIn = request.data
        return await self._handle(who, request, messages.IncidentAssign(request.path["id"], body.responder))

    async def on_scene(self, who: Principal, request: Request) -> Response:
        """POST /v1/incidents/{id}/on-scene."""
        body: OnSceneIn = request.data
        message = messages.IncidentOnScene(request.path["id"], body.responder, body.fence)
        return await self._handle(who, request, message)

    async def resolve(self, who: Principal, request: Request) -> Response:
        """POST /v1/incidents/{id}/resolve."""
        body: ResolveIn = request.data
        message = messages.IncidentResolve(request.path["id"], body.disposition, body.note)
        return await self._handle(who, request, message)

    async def reopen(self, who: Principal, request: Request) -> Response:
        """POST /v1/incidents/{id}/reopen."""
        body: IncidentNoteIn = request.data
        return await self._handle(who, request, messages.IncidentReopen(request.path["id"], body.note))

    async def close(self, who: Principal, request: Request) -> Response:
        """POST /v1/incidents/{id}/close."""
        body: IncidentNoteIn = request.data
        return await self._handle(who, request, messages.IncidentClose(request.path["id"], body.note))

    async def _handle(self, who: Principal, request: Request, message: messages.IncidentCommand) -> Response:
        return answer(Done(await self._inbound.ask(who, message, request.now)))
