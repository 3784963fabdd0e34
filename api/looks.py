"""Who looked at my position: the person's own view of it."""

from api.exchange import Request, Response, answer, number, whole
from api.incident_bodies import LookRow, LooksPage
from api.ports import OwnIncidents
from core.principal import Principal, Role
from core.units import EPOCH_S_MAX
from safety.looks import Look, LookStore, area_of

LOOKS_LEN_MAX = 200
_STAFF = frozenset({Role.OPS, Role.RESPONDER, Role.SERVICE})


class Looks:
    """Handler of ``/v1/me/looks``."""

    def __init__(self, store: LookStore, incidents: OwnIncidents) -> None:
        """Keep where they are."""
        self._store = store
        self._incidents = incidents

    async def own(self, who: Principal, request: Request) -> Response:
        """GET /v1/me/looks?before&limit: newest first.

        While the person has an active incident, looks since it began are not told: whoever holds their phone must
        not learn that somebody is looking.
        """
        limit = whole(request, "limit", 1, LOOKS_LEN_MAX, 50)
        before = number(request, "before", 0, EPOCH_S_MAX, EPOCH_S_MAX)
        raised_at = self._incidents.raised_at(who.tenant, who.user)
        if raised_at is not None:
            before = min(before, raised_at)
        subjects: list[str] = [who.user]
        if who.holds(Role.TECHNICIAN, Role.RESPONDER):
            subjects += [area_of(city) for city in sorted(who.cities)]
        found = await self._store.of(who.tenant, subjects, before=before, limit=limit)
        following = round(found[-1].at, 3) if len(found) == limit else None
        return answer(LooksPage([look_row(look) for look in found], following))


def look_row(look: Look) -> LookRow:
    """Staff are named; a customer who watched their order's technician is only that."""
    return LookRow(
        at=round(look.at, 3),
        last_at=round(look.last_at, 3),
        count=look.count,
        kind=look.kind.value,
        about=look.about,
        role=look.role,
        by=look.by if look.role in _STAFF else None,
        reason=look.reason,
    )
