"""Fakes and makers that the tests of care share."""

from dataclasses import dataclass, field
from typing import Any

from core.ids import CityId, OrderId, TenantId, UserId
from geo.point import LatLng
from safety.care import CareEngine
from safety.care_events import AskPerson, CareEffect, CareEvent, CheckAnswered, JobChanged, RaiseAlarm, TellConsole
from safety.care_model import Answer, Check, CheckKind, Contact, Job, JobState, Watch, WatchId
from safety.care_ports import CareState
from safety.care_settings import CareSettings
from tests.unit.safety.neighbourhood import ACME, HOME, SH, T0, CountingIds

MEI = UserId("tec_mei")
ANNA = UserId("cus_anna")
ORDER = OrderId("ord_1")
NORTH_M = 1.0 / 111_195.0
"""Degrees of latitude in a metre."""


def north(metres: float, east_m: float = 0.0, of: LatLng = HOME) -> LatLng:
    return LatLng(of.lat_deg + metres * NORTH_M, of.lng_deg + east_m * NORTH_M / 0.855)


def a_job(state: JobState = JobState.EN_ROUTE, **facts: Any) -> Job:
    plan: dict[str, Any] = {
        "tenant": ACME,
        "city": SH,
        "order_id": ORDER,
        "version": 1,
        "state": state,
        "technician": MEI,
        "customer": ANNA,
        "service": "massage",
        "site": HOME,
        "since": T0,
    }
    if state is JobState.EN_ROUTE:
        plan["expected_at"] = T0 + 1_200.0
    if state is JobState.IN_SERVICE:
        plan["ends_at"] = T0 + 5_400.0
    return Job(**plan | facts)


@dataclass
class Pockets:
    """An in-memory ``Phones``: what is known of each phone. Who is not in it is heard all the time."""

    now: float = T0
    known: dict[UserId, Contact] = field(default_factory=dict)

    def of(self, tenant: TenantId, city: CityId, user: UserId) -> Contact:
        return self.known.get(user, Contact(self.now))


class Street:
    """An engine with its clock and everything that it wanted done."""

    def __init__(self, settings: CareSettings | None = None) -> None:
        self.settings = settings or CareSettings()
        self.ids = CountingIds()
        self.phones = Pockets()
        self.now = T0
        self.stored: dict[WatchId, Watch] = {}
        self.done: list[tuple[float, CareEffect]] = []
        self.engine = CareEngine(self.settings, self.ids, self.phones)
        self.engine.load(CareState([]), self.now)

    def tell(self, event: CareEvent) -> list[CareEffect]:
        effects = self.engine.handle(event, self.now)
        self._took(effects)
        return effects

    def job(self, state: JobState = JobState.EN_ROUTE, **facts: Any) -> list[CareEffect]:
        watch = self.engine.watch(facts.get("order_id", ORDER))
        version = watch.job.version + 1 if watch is not None else 1
        return self.tell(JobChanged(a_job(state, **{"version": version, "since": self.now} | facts)))

    def answer(self, check: Check, answer: Answer = Answer.OK, who: UserId = MEI) -> list[CareEffect]:
        return self.tell(CheckAnswered(ACME, who, check.check_id, answer))

    def run(self, until: float) -> None:
        """Let every deadline act at its time."""
        while (at := self.engine.next_deadline()) is not None and at <= until:
            self.now = self.phones.now = max(self.now, at)
            for watch_id in self.engine.due(self.now):
                self._took(self.engine.act(watch_id, self.now))
        self.now = self.phones.now = until

    def restart(self, after_s: float = 0.0) -> None:
        self.now = self.phones.now = self.now + after_s
        self.engine = CareEngine(self.settings, self.ids, self.phones)
        live = [w for w in self.stored.values() if w.ended_at is None or w.pending]
        self.engine.load(CareState(live), self.now)
        self._took([])

    def _took(self, effects: list[CareEffect]) -> None:
        for watch_id, watch in self.engine.take_changes().watches.items():
            known = self.stored.get(watch_id)
            assert known is None or watch.version == known.version + 1
            self.stored[watch_id] = watch
        self.done += [(self.now, effect) for effect in effects]
        self.engine.check()

    # -- what was done --------------------------------------------------------------------------------

    def watch(self, order_id: OrderId = ORDER) -> Watch:
        found = self.engine.watch(order_id)
        assert found is not None
        return found

    def check(self, kind: CheckKind) -> Check:
        found = self.watch().open_check(kind)
        assert found is not None, kind
        return found

    def asked(self) -> list[tuple[float, str, str, tuple[UserId, ...]]]:
        """(seconds since the start, kind, state, people) of each message to people."""
        return [
            (at - T0, effect.check.kind.value, effect.check.state.value, effect.people)
            for at, effect in self.done
            if isinstance(effect, AskPerson)
        ]

    def raised(self) -> list[tuple[float, str, str, UserId]]:
        """(seconds since the start, cause, gravity, subject) of each alarm, repeats included."""
        return [
            (at - T0, effect.alarm.cause.value, effect.alarm.gravity.value, effect.alarm.subject)
            for at, effect in self.done
            if isinstance(effect, RaiseAlarm)
        ]

    def first_raised(self) -> list[tuple[float, str, str, UserId]]:
        """The same, each alarm once."""
        seen: dict[str, tuple[float, str, str, UserId]] = {}
        for at, effect in self.done:
            if isinstance(effect, RaiseAlarm):
                alarm = effect.alarm
                row = (at - T0, alarm.cause.value, alarm.gravity.value, alarm.subject)
                seen.setdefault(alarm.key, row)
        return list(seen.values())

    def lines(self) -> list[tuple[float, str]]:
        return [(at - T0, effect.line.value) for at, effect in self.done if isinstance(effect, TellConsole)]


def seen_at(point: LatLng, at: float) -> Contact:
    return Contact(at, point, at)
