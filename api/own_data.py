"""All that safety keeps of a person, for the person: one document to take away."""

from typing import Final

from api.care_bodies import OwnShareRow
from api.exchange import Request, Response, answer
from api.looks import LOOKS_LEN_MAX, look_row
from api.profiles import profile_view
from api.safety import sos_status
from api.safety_bodies import OwnSafetyExport
from core.principal import Principal, Role
from core.units import EPOCH_S_MAX
from safety.care_service import CareService
from safety.looks import Look, LookStore, area_of
from safety.ports import SafetyStore
from safety.profiles import Profiles
from safety.service import SafetyService

EXPORT_LOOKS_MAX: Final = 10_000
"""Rows of looks that an export has at most; older ones are read page by page in ``/v1/me/looks``."""


class OwnData:
    """Handler of ``/v1/me/safety/export``."""

    def __init__(
        self, profiles: Profiles, safety: SafetyService, store: SafetyStore, looks: LookStore, care: CareService
    ) -> None:
        """Keep where it lies."""
        self._profiles = profiles
        self._safety = safety
        self._store = store
        self._looks = looks
        self._care = care

    async def export(self, who: Principal, request: Request) -> Response:
        """GET /v1/me/safety/export.

        While an alarm is on it tells nothing of it, nor of looks since it began: who holds the phone may be whom it
        was raised against, and it may have been raised without a sound. One that was taken back is over for them.
        """
        stored = await self._store.incidents_of(who.tenant, who.user)
        own = [self._safety.incident(who.tenant, one.incident_id) or one for one in stored]
        return answer(
            OwnSafetyExport(
                made_at=round(request.now, 3),
                profile=profile_view(self._profiles.profile(who.tenant, who.user)),
                alarms=[sos_status(one) for one in own if not one.is_active or one.shown is not None],
                shares=[
                    OwnShareRow(
                        trip.trip_id, trip.order_id, round(trip.shared_at, 3), round(trip.expires_at, 3), views,
                        trip.contact, revoked=trip.revoked_at is not None,
                    )
                    for trip, views in self._care.shared_by(who.tenant, who.user)
                ],
                looks=[look_row(look) for look in await self._looks_at(who)],
            )
        )  # fmt: skip

    async def _looks_at(self, who: Principal) -> list[Look]:
        subjects: list[str] = [who.user]
        if who.holds(Role.TECHNICIAN, Role.RESPONDER):
            subjects += [area_of(city) for city in sorted(who.cities)]
        raised_at = self._safety.raised_at(who.tenant, who.user)
        before = EPOCH_S_MAX if raised_at is None else raised_at
        found: list[Look] = []
        while len(found) < EXPORT_LOOKS_MAX:
            page = await self._looks.of(who.tenant, subjects, before=before, limit=LOOKS_LEN_MAX)
            found += page
            if len(page) < LOOKS_LEN_MAX:
                break
            before = page[-1].at
        return found[:EXPORT_LOOKS_MAX]
