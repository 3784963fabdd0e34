"""Short ways to let people act on one incident, for the tests of what they do."""

from dataclasses import dataclass, replace
from typing import Any

from core.ids import IncidentId, UserId
from core.principal import Principal, Role
from geo.point import LatLng
from safety.engine import SafetyEngine
from safety.events import (
    ArrivedOnScene,
    CallOutcome,
    CallTo,
    Effect,
    Event,
    IncidentAcknowledged,
    IncidentClosed,
    IncidentJoined,
    IncidentReopened,
    IncidentResolved,
    NoteTaken,
    NotifyTargets,
    OfferDeclined,
    Reason,
    ResponderAssigned,
    ResponseOffered,
    UpdateTargets,
)
from safety.model import FixSource, Incident, OfferState
from tests.unit.safety.neighbourhood import (
    ACME,
    HOME,
    OPS,
    SH,
    T0,
    Neighbourhood,
    engine_in,
    fix_at,
    incident_id,
    ladder,
    person,
    tap,
    town,
)


def responder(n: int) -> Principal:
    """The nth nearest of the town, from 0."""
    return person(f"tec_{n:02d}", Role.TECHNICIAN, Role.RESPONDER)


@dataclass
class Desk:
    """One incident at ``HOME``, its clock, and everything that was sent."""

    place: Neighbourhood
    engine: SafetyEngine
    which: IncidentId
    now: float = T0

    @property
    def incident(self) -> Incident:
        found = self.engine.incident(ACME, self.which)
        assert found is not None
        return found

    def do(self, event: Event, after_s: float = 1.0) -> list[Effect]:
        self.run(after_s)
        effects = self.engine.handle(event, self.now)
        self.engine.check()
        return effects

    def run(self, seconds: float) -> list[tuple[float, Effect]]:
        """Let time pass, every timer at its time: seconds since the tap, and what was done."""
        until, done = self.now + seconds, []
        while (at := self.engine.next_deadline()) is not None and at <= until:
            self.now = max(self.now, at)
            done += [(self.now - T0, effect) for effect in self.engine.on_deadline(self.now)]
            self.engine.check()
        self.now = until
        return done

    def go(self, who: Principal, fence: int | None = None) -> list[Effect]:
        return self.do(ResponseOffered(who, self.which, fence))

    def decline(self, who: Principal) -> list[Effect]:
        return self.do(OfferDeclined(who, self.which))

    def ack(self, who: Principal = OPS) -> list[Effect]:
        return self.do(IncidentAcknowledged(who, self.which))

    def join(self, who: Principal) -> list[Effect]:
        return self.do(IncidentJoined(who, self.which))

    def send(self, user: str, who: Principal = OPS) -> list[Effect]:
        return self.do(ResponderAssigned(who, self.which, UserId(user)))

    def arrive(self, who: Principal, user: str | None = None, fence: int | None = None) -> list[Effect]:
        return self.do(ArrivedOnScene(who, self.which, UserId(user) if user else None, fence))

    def note(self, text: str, who: Principal = OPS) -> list[Effect]:
        return self.do(NoteTaken(who, self.which, text))

    def call(self, outcome: CallOutcome, to: CallTo = CallTo.SUBJECT, who: Principal = OPS) -> list[Effect]:
        return self.do(NoteTaken(who, self.which, "", to, outcome))

    def resolve(self, how: str = "real_handled", who: Principal = OPS) -> list[Effect]:
        return self.do(IncidentResolved(who, self.which, how))

    def reopen(self, who: Principal = OPS) -> list[Effect]:
        return self.do(IncidentReopened(who, self.which))

    def close(self, who: Principal) -> list[Effect]:
        return self.do(IncidentClosed(who, self.which))

    def stands(self, n: int, metres: float, accuracy_m: float = 10.0) -> None:
        """The nth responder was seen just now so far from the subject."""
        at = LatLng(HOME.lat_deg + metres / 111_195, HOME.lng_deg)
        fix = replace(fix_at(at, self.now, FixSource.LIVE), accuracy_m=accuracy_m)
        self.place.live[UserId(f"tec_{n:02d}")] = (SH, fix)

    def asked(self) -> list[str]:
        return [offer.user for offer in self.incident.offers if offer.state is OfferState.PENDING]


def desk(place: Neighbourhood | None = None, **settings: Any) -> Desk:
    """An incident just raised; only levels and repeats come by themselves unless ``settings`` say otherwise."""
    place = place or town()
    engine = engine_in(place, ladder(**settings))
    return Desk(place, engine, incident_id(tap(engine, fix=fix_at())))


def rung(done: list[tuple[float, Effect]], reason: Reason) -> list[tuple[float, list[str]]]:
    """When whom a reason rang."""
    return [(at, [t.user for t in e.targets]) for at, e in done if isinstance(e, NotifyTargets) and e.reason is reason]


def updates(effects: list[Effect]) -> list[Reason]:
    """Why those were told who were not rung."""
    return [e.reason for e in effects if isinstance(e, UpdateTargets)]
