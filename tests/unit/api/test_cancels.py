"""Taking an alarm back: what is answered, when, and what only the engine learns."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from api.cancels import Cancels
from core.errors import DoorstepError, NotFound, Unavailable
from core.ids import IncidentId, TenantId
from safety.events import AnswerCancel, CancelAsked
from safety.model import Incident, PinVerdict
from safety.pin_desk import PinDesk
from safety.profiles import PinHashes, Profile, Profiles
from safety.settings import PinSettings
from store.memory import MemoryProfileStore
from tests.contract.store_values import NOW, make_incident, make_principal

FLOOR_S = 0.05
RIGHT, DURESS, WRONG = "4821", "8350", "9173"
TAKEN = {"incident": "inc_1", "state": "cancel_asked"}


@dataclass
class Hasher:
    """Looks a PIN up by its text, after a while."""

    takes_s: float = 0.001
    looks: list[tuple[str, str] | None] = field(default_factory=list)

    async def hash(self, pin: str) -> str:
        return f"hash of {pin}"

    def look(self, hashes: tuple[str, str] | None, pin: str, done: Callable[[tuple[bool, bool] | None], None]) -> None:
        self.looks.append(hashes)
        first, second = hashes or ("", "")
        found = None if pin == "broken" else (first == f"hash of {pin}", second == f"hash of {pin}")
        asyncio.get_running_loop().call_later(self.takes_s, done, found)

    async def compare(self, hashes: tuple[str, str] | None, pin: str) -> tuple[bool, bool] | None:
        raise NotImplementedError


@dataclass
class Engine:
    """Stands for the safety service: knows one incident, and shows that a PIN is wrong twice."""

    incident_: Incident
    told: list[CancelAsked] = field(default_factory=list)
    takes_s: float = 0.001
    failure: DoorstepError | None = None

    def incident(self, tenant: TenantId, incident_id: IncidentId) -> Incident | None:
        known = self.incident_
        return known if (known.tenant, known.incident_id) == (tenant, incident_id) else None

    def post(self, event: CancelAsked, done: Callable[[object], None]) -> None:
        self.told.append(event)
        known = self.incident_
        outcome: object = [AnswerCancel(known, accepted=self.is_accepted(event.verdict))]
        if (event.incident_id, event.who.user) != (known.incident_id, known.subject):
            outcome = NotFound("no such incident")
        asyncio.get_running_loop().call_later(self.takes_s, done, self.failure or outcome)

    def is_accepted(self, verdict: PinVerdict) -> bool:
        return verdict is not PinVerdict.WRONG or [event.verdict for event in self.told].count(verdict) > 2


@dataclass
class Desk:
    engine: Engine = field(default_factory=lambda: Engine(make_incident()))
    hasher: Hasher = field(default_factory=Hasher)
    settings: PinSettings = field(default_factory=PinSettings)

    def __post_init__(self) -> None:
        self.profiles = Profiles(MemoryProfileStore())
        pins = PinDesk(self.profiles, self.hasher, self.settings)
        self.cancels = Cancels(self.engine, pins, FLOOR_S)  # type: ignore[arg-type]  # as much of it as is asked

    async def with_pins(self, **changes: Any) -> "Desk":
        pins = replace(PinHashes(f"hash of {RIGHT}", f"hash of {DURESS}", NOW - 60), **changes)
        who = make_principal()
        empty = self.profiles.profile(who.tenant, who.user)
        await self.profiles.put(replace(empty, pins=pins), empty.user, NOW)
        return self

    async def ask(self, pin: str, incident: str = "inc_1", user: str = "tec_1", now: float = NOW) -> tuple[Any, float]:
        """The answer, and after how many seconds it came."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Any] = loop.create_future()
        began = loop.time()
        self.cancels.ask(make_principal(user), incident, pin, now, answered.set_result)
        answer = await answered
        return (answer.code if isinstance(answer, DoorstepError) else answer), loop.time() - began

    @property
    def verdicts(self) -> list[PinVerdict]:
        return [event.verdict for event in self.engine.told]


async def test_right_and_duress_are_answered_alike_and_the_first_wrong_ones_are_not() -> None:
    desk = await Desk().with_pins()
    assert (await desk.ask(RIGHT))[0] == TAKEN
    assert (await desk.ask(DURESS))[0] == TAKEN
    assert (await desk.ask(WRONG))[0] == "pin_wrong"
    assert desk.verdicts == [PinVerdict.RIGHT, PinVerdict.DURESS, PinVerdict.WRONG]


async def test_the_third_wrong_pin_looks_right() -> None:
    desk = await Desk().with_pins()
    assert [(await desk.ask(pin))[0] for pin in (WRONG, "5555", "6301")] == ["pin_wrong", "pin_wrong", TAKEN]
    assert desk.verdicts == [PinVerdict.WRONG] * 3


async def test_without_pins_nobody_takes_it_back_and_the_work_is_the_same() -> None:
    desk = Desk()
    assert [(await desk.ask(RIGHT))[0] for _ in range(3)] == ["pin_wrong", "pin_wrong", TAKEN]
    assert desk.verdicts == [PinVerdict.WRONG] * 3
    assert desk.hasher.looks == [None] * 3


async def test_pins_set_after_the_tap_or_by_force_prove_nothing() -> None:
    for changes in ({"set_at": NOW + 1}, {"forced": True}):
        desk = await Desk().with_pins(**changes)
        assert (await desk.ask(RIGHT))[0] == TAKEN
        assert desk.verdicts == [PinVerdict.DURESS]


async def test_an_incident_of_others_looks_like_none_and_costs_the_same() -> None:
    desk = await Desk().with_pins()
    assert (await desk.ask(RIGHT, incident="inc_none"))[0] == "not_found"
    assert (await desk.ask(RIGHT, user="tec_2"))[0] == "not_found"
    assert len(desk.hasher.looks) == 2


async def test_every_answer_leaves_at_the_same_time() -> None:
    desk = await Desk().with_pins()
    for pin, incident in ((RIGHT, "inc_1"), (DURESS, "inc_1"), (WRONG, "inc_1"), (RIGHT, "inc_none")):
        _, took_s = await desk.ask(pin, incident)
        assert FLOOR_S - 0.001 <= took_s < 1.5 * FLOOR_S
    desk.engine.takes_s = 1.4 * FLOOR_S
    _, took_s = await desk.ask(RIGHT)
    assert 2 * FLOOR_S - 0.001 <= took_s < 2.5 * FLOOR_S, "a slow one waits for the next multiple"


async def test_what_could_not_be_stored_or_looked_at_is_said() -> None:
    desk = await Desk(Engine(make_incident(), failure=Unavailable("no disk", code="store_unavailable"))).with_pins()
    assert (await desk.ask(RIGHT))[0] == (await desk.ask(DURESS))[0] == "store_unavailable"
    assert (await desk.ask("broken"))[0] == "unavailable"


async def test_one_question_of_a_person_at_a_time() -> None:
    desk = await Desk().with_pins()
    first, second, other = await asyncio.gather(
        desk.ask(RIGHT), desk.ask(RIGHT), desk.ask(RIGHT, "inc_none", user="tec_2")
    )
    assert (first[0], second[0], other[0]) == (TAKEN, "rate_limited", "not_found")
    assert (await desk.ask(RIGHT))[0] == TAKEN


async def test_a_profile_without_pins_is_as_good_as_none() -> None:
    desk = Desk()
    who = make_principal()
    await desk.profiles.put(Profile(who.tenant, desk.profiles.profile(who.tenant, who.user).contact), who.user, NOW)
    assert (await desk.ask(RIGHT))[0] == "pin_wrong"
