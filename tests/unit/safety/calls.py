"""A safety engine with its paging in virtual time: providers that answer as told, people with phones."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from core.ids import IncidentId, TenantId, UserId
from safety.call_plan import CallPlan
from safety.engine import SafetyEngine
from safety.events import DeliveryReceived, Effect, Event, PageSettled, SendPage, SosRaised
from safety.model import Incident, SosReport
from safety.pages import Address, Channel, Hop, Page, PageOutcome
from safety.paging import Paging
from safety.reach import GatewaySettings, LastResortSettings, ReachSettings, RobotKind, RobotSettings
from safety.reach import SupervisorSettings as Supervisor
from safety.settings import SafetySettings
from tests.unit.safety.neighbourhood import ACME, T0, CountingIds, Neighbourhood, fix_at, ladder, person, town

GATEWAY = GatewaySettings(url="https://gateway.example/", secret_env="X")
REACH = ReachSettings(
    last_resort=LastResortSettings(log=True),
    sms=GATEWAY,
    voice=GATEWAY,
    robots={
        "hq": RobotSettings(tenant="acme", secret_env="X"),
        "sh": RobotSettings(tenant="acme", kind=RobotKind.FEISHU, cities=("shanghai",), secret_env="X"),
        "bj": RobotSettings(tenant="acme", kind=RobotKind.WECOM, cities=("beijing",), secret_env="X"),
        "rival": RobotSettings(tenant="rival", secret_env="X"),
    },
    supervisors={"night": Supervisor(tenant="acme", phone="139")},
)


@dataclass
class Person:
    name: str
    phone: str
    email: str = ""
    emergency: tuple[Address, ...] = ()


@dataclass
class Calls:
    """``answer`` says what an attempt comes to; None for never."""

    reach: ReachSettings = REACH
    place: Neighbourhood = field(default_factory=town)
    with_push: bool = True
    online: set[str] = field(default_factory=lambda: {"ops_0"})
    answer: Callable[[SendPage], PageOutcome | None] = lambda effect: PageOutcome.TAKEN
    now: float = T0
    sent: list[tuple[float, SendPage]] = field(default_factory=list)
    people: dict[str, Person] = field(default_factory=dict)
    phoneless: set[str] = field(default_factory=set)
    settings: SafetySettings | None = None

    def __post_init__(self) -> None:
        self.engine = SafetyEngine(self.settings or ladder(reach=self.reach), CountingIds(), self.place)
        plan = CallPlan(self.reach, with_push=self.with_push, phonebook=self, presence=_Online(self.online))
        self.paging = Paging(self.reach, plan, self.engine.incident)
        self._results: list[tuple[float, PageSettled]] = []

    def of(self, tenant: TenantId, user: UserId) -> Person | None:
        del tenant
        return None if user in self.phoneless else self.people.get(user) or Person(user, "138")

    def sos(self, name: str = "cus_anna", key: str = "k1", tenant: TenantId = ACME, **more: Any) -> Incident:
        report = SosReport(key=key, fix=fix_at(at=self.now))
        effects = self.tell(SosRaised(person(name, tenant=tenant), report, self.now, **more))
        return effects[0].incident

    def tell(self, event: Event) -> list[Effect]:
        effects = self.engine.handle(event, self.now)
        if isinstance(event, DeliveryReceived):
            self.paging.received(event.incident_id, event.recipient, self.now)
        self.paging.follow(effects, self.now)
        return effects

    def receive(self, incident: Incident, user: str) -> None:
        self.tell(DeliveryReceived(ACME, UserId(user), incident.incident_id))

    def now_of(self, incident: Incident) -> Incident:
        found = self.engine.incident(ACME, incident.incident_id)
        assert found is not None
        return found

    def run(self, seconds: float) -> None:
        """Let time pass, timer by timer."""
        end = self.now + seconds
        while (at := self._next()) is not None and at <= end:
            self.now = max(self.now, at)
            self.turn()
        self.now = end

    def turn(self) -> None:
        for result in [r for r in self._results if r[0] <= self.now]:
            self._results.remove(result)
            self.paging.settled(result[1], self.now)
        self.paging.follow(self.engine.on_deadline(self.now), self.now)
        for effect in self.paging.begin(self.now):
            assert isinstance(effect, SendPage)
            self.sent.append((self.now, effect))
            outcome = self.answer(effect)
            if outcome is not None:
                self._results.append((self.now + 0.1, PageSettled(effect.pages, effect.channel, outcome)))
        self.paging.check()

    def _next(self) -> float | None:
        times = [self.engine.next_deadline(), self.paging.next_deadline(), *(at for at, _ in self._results)]
        return min((at for at in times if at is not None), default=None)

    def calls(self, channel: Channel | None = None) -> list[tuple[float, str, str]]:
        """(seconds since the start, channel, recipient) of each attempt so far."""
        return [
            (round(at - T0, 3), effect.channel.value, effect.pages[0].recipient)
            for at, effect in self.sent
            if channel in (None, effect.channel)
        ]

    def first(self) -> dict[tuple[str, str], float]:
        """When each recipient was first tried by each channel."""
        found: dict[tuple[str, str], float] = {}
        for at, channel, recipient in self.calls():
            found.setdefault((recipient, channel), at)
        return found

    def hops(self, incident_id: IncidentId) -> dict[str, list[Hop]]:
        found: dict[str, list[Hop]] = defaultdict(list)
        for page in self.paging.pages(incident_id):
            found[page.recipient] += page.hops
        return found

    def page(self, incident: Incident, recipient: str) -> Page:
        return next(p for p in self.paging.pages(incident.incident_id) if p.recipient == recipient)


@dataclass
class _Online:
    users: set[str]

    def online(self, tenant: TenantId, user: UserId) -> bool:
        del tenant
        return user in self.users
