"""How an incident reached people, and how not: for ops, without a word that promises more than is known."""

from api.bodies import Deliveries, Hop, Page, Told
from api.exchange import Request, Response, answer
from api.incidents import Incidents
from core.principal import Principal
from safety.pages import Page as StoredPage
from safety.ports import SafetyStore
from safety.service import SafetyService


class IncidentDeliveries:
    """The handler of ``/v1/incidents/{id}/deliveries``."""

    def __init__(self, incidents: Incidents, service: SafetyService, store: SafetyStore) -> None:
        """Keep where incidents and their pages are."""
        self._incidents = incidents
        self._service = service
        self._store = store

    async def read(self, who: Principal, request: Request) -> Response:
        """GET /v1/incidents/{id}/deliveries: of each person and channel, from memory while it is there."""
        incident = await self._incidents.for_ops(who, request.path["id"])
        pages = self._service.pages(incident.incident_id) or await self._store.pages(who.tenant, incident.incident_id)
        told = [Told(t.user, t.why, t.level, t.told_at, t.received_at) for t in incident.targets]
        called = [_view(page) for page in pages]
        return answer(Deliveries(incident.incident_id, incident.delivered, incident.seen, told, called))


def _view(page: StoredPage) -> Page:
    hops = [
        Hop(
            hop.channel.value,
            hop.state.value,
            hop.due_at,
            hop.attempts,
            hop.outcome,
            hop.begun_at,
            hop.settled_at,
            hop.merged,
        )
        for hop in page.hops
    ]
    return Page(page.recipient, page.round, page.reason, page.level, page.told_at, hops, page.received_at)
