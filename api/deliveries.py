"""How an incident reached people, and how not: for ops, without a word that promises more than is known."""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from api.exchange import Request, Response, answer
from api.incidents import Incidents
from core.principal import Principal
from realtime.messages import Count, EpochS, Id, Word
from safety.model import Incident, Target
from safety.pages import Page as StoredPage
from safety.ports import SafetyStore
from safety.ranking import Group
from safety.service import SafetyService


class Rank(Struct, frozen=True, omit_defaults=True):
    """Why a responder stands where they stand in the line: staff first, the soonest there first, quiet phones last.

    `eta_s` is (`distance_m` + `r95_m` + the 95 % radius of the person) / `safety.responder_mps` + `fix_age_s`: when
    they would be there at worst.
    """

    group: Literal["staff", "consenting"]
    live: bool
    """Connected, with a position of the last minute."""
    eta_s: Annotated[float, Meta(ge=0.0, le=1e10)] | None = None
    distance_m: Annotated[float, Meta(ge=0.0, le=2.1e7)] | None = None
    r95_m: Annotated[float, Meta(ge=0.0, le=2e5)] | None = None
    fix_age_s: Annotated[float, Meta(ge=0.0, le=1e10)] | None = None


class Told(Struct, frozen=True, omit_defaults=True):
    """Somebody whom an incident was sent to over the hub."""

    user: Word
    why: Word
    level: Count
    told_at: EpochS | None = None
    received_at: EpochS | None = None
    """When a device of theirs confirmed it; only this counts as delivered."""
    rank: Rank | None = None
    """Absent for who was not told for being near."""


class Hop(Struct, frozen=True, omit_defaults=True):
    """One channel by which a page goes: `waiting`, `sending`, `taken` (by the provider, no more) or `spared`."""

    channel: Word
    state: Word
    due_at: EpochS
    attempts: Count = 0
    outcome: Word = ""
    begun_at: EpochS | None = None
    settled_at: EpochS | None = None
    merged: bool = False


class Page(Struct, frozen=True, omit_defaults=True):
    """Somebody who is called outside the hub."""

    recipient: Annotated[str, Meta(max_length=128)]
    round: Count
    reason: Word
    level: Count
    told_at: EpochS
    hops: Annotated[list[Hop], Meta(max_length=16)]
    received_at: EpochS | None = None


class Deliveries(Struct, frozen=True):
    """How an incident reached people, and how not."""

    incident: Id
    delivered: Count
    seen: bool
    told: Annotated[list[Told], Meta(max_length=100_000)]
    pages: Annotated[list[Page], Meta(max_length=100_000)]


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
        return answer(deliveries_of(incident, pages))


def deliveries_of(incident: Incident, pages: Sequence[StoredPage]) -> Deliveries:
    """How an incident reached people by now."""
    told = [Told(t.user, t.why, t.level, t.told_at, t.received_at, _rank(t)) for t in incident.targets]
    called = [_view(page) for page in pages]
    return Deliveries(incident.incident_id, incident.delivered, incident.seen, told, called)


def _rank(target: Target) -> Rank | None:
    known, metres = target.approach, target.distance_m
    if known is None:
        return None
    is_staff = known.group == Group.STAFF
    return Rank(
        "staff" if is_staff else "consenting",
        known.is_live,
        known.eta_s,
        None if metres is None else round(metres),
        known.r95_m,
        known.age_s,
    )


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
