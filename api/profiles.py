"""Safety profiles over HTTP: whom to call, who helps, and the PINs, which nobody ever reads."""

from dataclasses import replace

from api.bodies import EmergencyContactView, OwnSafetyIn, PersonSafetyIn, SafetyProfileView
from api.cities import Cities
from api.exchange import Request, Response, answer
from api.turns import Turns
from api.views import stamp
from core.errors import Invalid, NotFound
from core.ids import TenantId, UserId
from core.principal import Principal, Role
from dispatch.ports import DispatchStore
from safety.pin_desk import PinDesk
from safety.profiles import Contact, EmergencyContact, Profile, Profiles

_USER_LEN_MAX = 64


class People:
    """Whom staff may speak for."""

    def __init__(self, cities: Cities, store: DispatchStore) -> None:
        """Keep where people are known."""
        self._cities = cities
        self._store = store

    async def person(self, who: Principal, user: str) -> UserId:
        """A person whom this staff may speak for: a technician of their cities, or anybody who is no technician.

        Who is no technician belongs to no city, and is not known here at all before their first order.

        Raises:
            Invalid: This is nobody's name.
            NotFound: A technician of other cities; as for staff without a city.
        """
        if not (0 < len(user) <= _USER_LEN_MAX and user.isprintable()):
            raise Invalid(f"between 1 and {_USER_LEN_MAX} printable characters", field="id")
        found = self._cities.technician(who.tenant, UserId(user))
        record = found[1] if found is not None else await self._store.technician(who.tenant, UserId(user))
        everywhere = who.holds(Role.SERVICE) and not who.cities
        if not everywhere and not (bool(who.cities) if record is None else set(record.cities) & who.cities):
            raise NotFound("there is no such person for you")
        return UserId(user)


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
        user = await self._people.person(who, request.path["id"])
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
