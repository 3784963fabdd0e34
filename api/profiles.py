"""Safety profiles over HTTP: whom to call, who helps, and the PINs, which nobody ever reads."""

from dataclasses import replace

from api.exchange import Request, Response, answer
from api.people import People
from api.safety_bodies import EmergencyContactView, OwnSafetyIn, PersonSafetyIn, SafetyProfileView
from api.turns import Turns
from api.views import stamp
from core.errors import Invalid
from core.ids import TenantId, UserId
from core.principal import Principal
from safety.pin_desk import PinDesk
from safety.profiles import Contact, EmergencyContact, Profile, Profiles


class SafetyProfiles:
    """Handlers of ``/v1/me/safety`` and ``/v1/people/{id}/safety``."""

    def __init__(self, profiles: Profiles, pins: PinDesk, people: People) -> None:
        """Keep what the handlers need."""
        self._profiles = profiles
        self._pins = pins
        self._people = people
        self._turns: Turns[tuple[TenantId, UserId]] = Turns()

    def read_own(self, who: Principal, request: Request) -> Response:
        """GET /v1/me/safety."""
        return answer(_view(self._profiles.profile(who.tenant, who.user)))

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
            return answer(_view(await self._profiles.put(profile, request.now)))

    async def put_person(self, who: Principal, request: Request) -> Response:
        """PUT /v1/people/{id}/safety: by staff, without what is the person's own."""
        body: PersonSafetyIn = request.data
        user = (await self._people.person(who, request.path["id"])).user
        contact = _contact(user, body)
        async with self._turns.taken((who.tenant, user)):
            known = self._profiles.profile(who.tenant, user)
            return answer(_view(await self._profiles.put(replace(known, contact=contact), request.now)))


def _contact(user: UserId, body: OwnSafetyIn | PersonSafetyIn) -> Contact:
    for nth, one in enumerate(body.emergency_contacts):
        if not (one.phone or one.email):
            raise Invalid("needs a phone or an email", field=f"emergency_contacts.{nth}")
    theirs = tuple(EmergencyContact(one.name, one.phone, one.email) for one in body.emergency_contacts)
    return Contact(user, body.name, body.phone, body.email, theirs)


def _view(profile: Profile) -> SafetyProfileView:
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
