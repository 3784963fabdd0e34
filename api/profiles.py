"""Safety profiles over HTTP: whom to call, who helps, and the PINs, which nobody ever reads."""

from dataclasses import replace

from api.bodies import Done
from api.exchange import Request, Response, answer
from api.people import People
from api.safety_bodies import EmergencyContactView, OwnSafetyIn, PersonSafetyIn, SafetyProfileView
from api.turns import Turns
from api.views import stamp
from core.errors import Conflict, Invalid
from core.ids import IncidentId, OrderId, TenantId, UserId
from core.principal import Principal
from safety.care_service import CareService
from safety.contacts import Contact, EmergencyContact
from safety.holds import Holds
from safety.pin_desk import PinDesk
from safety.ports import SafetyStore
from safety.profiles import Profile, Profiles
from safety.service import SafetyService


class SafetyProfiles:
    """Handlers of ``/v1/me/safety`` and ``/v1/people/{id}/safety``."""

    def __init__(
        self,
        profiles: Profiles,
        pins: PinDesk,
        people: People,
        safety: SafetyService,
        store: SafetyStore,
        holds: Holds,
        care: CareService,
    ) -> None:
        """Keep what the handlers need."""
        self._profiles = profiles
        self._pins = pins
        self._people = people
        self._safety = safety
        self._store = store
        self._holds = holds
        self._care = care
        self._turns: Turns[tuple[TenantId, UserId]] = Turns()

    def read_own(self, who: Principal, request: Request) -> Response:
        """GET /v1/me/safety."""
        return answer(profile_view(self._profiles.profile(who.tenant, who.user)))

    async def put_own(self, who: Principal, request: Request) -> Response:
        """PUT /v1/me/safety: the whole profile; PINs only when they are given."""
        body: OwnSafetyIn = request.data
        contact = _contact(who.user, body)
        async with self._turns.taken((who.tenant, who.user)):
            pins = self._profiles.profile(who.tenant, who.user).pins
            if body.pins is not None:
                given = body.pins
                pins = await self._pins.renewed(who, given.pin, given.duress_pin, given.old_pin, request.now)
            profile = Profile(who.tenant, contact, body.consents_to_respond, pins)
            return answer(profile_view(await self._profiles.put(profile, who.user, request.now)))

    async def put_person(self, who: Principal, request: Request) -> Response:
        """PUT /v1/people/{id}/safety: by staff, without what is the person's own."""
        body: PersonSafetyIn = request.data
        user = (await self._people.person(who, request.path["id"])).user
        contact = _contact(user, body)
        async with self._turns.taken((who.tenant, user)):
            changed = replace(self._profiles.profile(who.tenant, user), contact=contact)
            return answer(profile_view(await self._profiles.put(changed, who.user, request.now)))

    async def erase_person(self, who: Principal, request: Request) -> Response:
        """DELETE /v1/people/{id}/safety: what safety keeps of a person, unless it is held. Idempotent.

        While an alarm of theirs is on it is held: nobody takes their PINs away from under it.
        """
        user = (await self._people.person(who, request.path["id"])).user
        async with self._turns.taken((who.tenant, user)):
            found = [i.incident_id for i in await self._store.incidents_of(who.tenant, user)]
            held = [id_ for id_ in found if self._is_held(who.tenant, id_, request.now)]
            jobs = self._holds.jobs(request.now)
            if held or jobs is None or self._safety.raised_at(who.tenant, user) is not None:
                raise Conflict("an incident of theirs is held as evidence, or ended just now", code="evidence_held")
            # First from memory: what is written after the disk has forgotten it would come back.
            kept = frozenset(OrderId(name) for tenant, name in jobs if tenant == who.tenant)
            await self._care.forget(who.tenant, user, kept)
            self._safety.forget_subject(who.tenant, user)
            await self._profiles.erase(who.tenant, user, found, jobs, who.user, request.now)
        return answer(Done({"user": user, "erased": True}))

    def _is_held(self, tenant: TenantId, incident_id: IncidentId, now: float) -> bool:
        # One that is still in memory may be opened again: its next commit would miss the row.
        return (
            self._holds.until(tenant, incident_id, now) is not None
            or self._safety.incident(tenant, incident_id) is not None
        )


def _contact(user: UserId, body: OwnSafetyIn | PersonSafetyIn) -> Contact:
    for nth, one in enumerate(body.emergency_contacts):
        if not (one.phone or one.email):
            raise Invalid("needs a phone or an email", field=f"emergency_contacts.{nth}")
    theirs = tuple(EmergencyContact(one.name, one.phone, one.email) for one in body.emergency_contacts)
    return Contact(user, body.name, body.phone, body.email, theirs)


def profile_view(profile: Profile) -> SafetyProfileView:
    """A profile as its person sees it."""
    contact = profile.contact
    return SafetyProfileView(
        user=contact.user,
        name=contact.name,
        phone=contact.phone,
        email=contact.email,
        emergency_contacts=[EmergencyContactView(one.name, one.phone, one.email) for one in contact.emergency],
        consents_to_respond=profile.consents,
        pins_set=profile.pins is not None,
        changed_at=stamp(profile.changed_at) if profile.changed_at else None,
    )
