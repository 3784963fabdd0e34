"""An SOS on somebody's behalf: ops were called, or a program of the platform noticed something."""

import asyncio
import hashlib

import msgspec

from api.bodies import Done
from api.exchange import Request, Response, answer, check_said
from api.people import People, Person
from api.safety_bodies import PersonSosIn
from core.errors import DoorstepError
from core.ids import DeviceId
from core.principal import Principal, Role
from geo.point import Frame
from safety.intake import NOTE_LEN_MAX, decode_sos
from safety.model import CapStatus, Incident, SosReport, TriggerSource
from safety.service import SafetyService


class PeopleSos:
    """Handler of ``POST /v1/people/{id}/sos``."""

    def __init__(self, safety: SafetyService, people: People, frame: Frame) -> None:
        """``frame`` is the platform's, into which a position is converted."""
        self._safety = safety
        self._people = people
        self._frame = frame

    async def raise_for(self, who: Principal, request: Request) -> Response:
        """POST /v1/people/{id}/sos: answers with the incident once it is taken."""
        body: PersonSosIn = request.data
        check_said(body.reason, "say how it is known")
        person = await self._people.person(who, request.path["id"])
        raised: asyncio.Future[Incident] = asyncio.get_running_loop().create_future()

        def made(incident: Incident) -> None:
            if not raised.done():
                raised.set_result(incident)

        def failed(error: DoorstepError) -> None:
            if not raised.done():
                raised.set_exception(error)

        self._safety.raise_for(
            _subject(who, person),
            self._report(who, body, request.now),
            request.now,
            source=TriggerSource.OPS,
            cap_status=CapStatus.EXERCISE if body.exercise else CapStatus.ACTUAL,
            raised_by=who.user,
            raised=made,
            failed=failed,
        )
        incident = await raised
        told = {"incident": incident.incident_id, "state": incident.state.value, "level": incident.level}
        return answer(Done(told))

    def _report(self, who: Principal, body: PersonSosIn, now: float) -> SosReport:
        # Its own space of keys: none of theirs may be the key of a tap, or of somebody else's call.
        key = "ops_" + hashlib.sha256(f"{who.user}\0{body.key}".encode()).hexdigest()[:32]
        note = f"{body.note}\n{body.reason}".strip()[:NOTE_LEN_MAX]
        said = {**msgspec.structs.asdict(body), "key": key, "note": note}
        del said["exercise"]  # no word of a tap: a tap is always meant
        return decode_sos(msgspec.json.encode(said), True, now, self._frame)


def _subject(who: Principal, person: Person) -> Principal:
    """Who needs help, as far as they are known; nothing is said in their name but this."""
    record = person.technician
    role = Role.CUSTOMER if record is None else Role.TECHNICIAN
    return Principal(
        tenant=who.tenant,
        user=person.user,
        role=role,
        roles=frozenset({role}),
        cities=frozenset(record.cities if record is not None else ()),
        device=DeviceId(""),
        expires_at=0.0,
    )
