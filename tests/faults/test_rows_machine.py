"""Rows of the fault table about races for one incident, and about taps that repeat, on the service with its store.

Each race is run in many orders on one clock: two askers always meet in one mailbox, so an order is all there is.
"""

import asyncio
import itertools
import random
from collections.abc import Sequence

from core.errors import DoorstepError
from core.ids import IncidentId
from core.principal import Principal, Role
from safety.events import (
    CancelAsked,
    Event,
    IncidentAcknowledged,
    IncidentResolved,
    ResponseOffered,
)
from safety.incident import fold
from safety.model import IncidentState, PinVerdict, SosReport
from safety.settings import SafetySettings
from sim.loop import run as in_virtual_time
from tests.unit.safety.neighbourhood import ACME, ANNA, NEAR, OPS, OPS_2, person, town
from tests.unit.safety.safety_world import World

RACES = 1_000


async def raise_one(world: World, who: Principal) -> IncidentId:
    """A fresh incident of ``who``."""
    world.tap("k", who)
    await world.sleep(0.01)
    (which,) = [i.incident_id for i in world.service.visible(OPS) if i.subject == who.user]
    return which


async def all_at_once(world: World, events: Sequence[Event]) -> list[DoorstepError | None]:
    """What each asker is told, all posted before any is handled."""

    async def one(event: Event) -> DoorstepError | None:
        try:
            await world.ask(event)
        except DoorstepError as error:
            return error
        return None

    return list(await asyncio.gather(*(one(event) for event in events)))


def test_row_22_a_timer_that_is_run_twice_escalates_once() -> None:
    async def body() -> None:
        world = World(town(), SafetySettings(offer_ttl_s=3_600))
        async with world.running() as service:
            which = await raise_one(world, ANNA)
            for _ in range(RACES):
                before = service.incident(ACME, which)
                assert before is not None
                assert before.deadline is not None
                service.decide_deadlines(before.deadline)
                after = service.incident(ACME, which)
                assert after != before
                assert service.decide_deadlines(before.deadline) == []
                assert service.incident(ACME, which) == after

    in_virtual_time(body())


def test_row_23_of_two_who_say_that_they_go_one_does_and_the_other_is_told_who() -> None:
    async def body() -> None:
        world = World(town(), SafetySettings(responder_slots=1, taps_waiting_max=8))
        rivals = [person(f"tec_{n:02d}", Role.TECHNICIAN, Role.RESPONDER) for n in range(5)]
        rng = random.Random(23)
        async with world.running() as service:
            for n in range(RACES):
                which = await raise_one(world, person(f"cus_{n}"))
                askers = rng.sample(rivals, 2)
                told = await all_at_once(world, [ResponseOffered(who, which) for who in askers])
                incident = service.incident(ACME, which)
                assert incident is not None
                assert [slot.user for slot in incident.slots] == [askers[0].user]
                assert told[0] is None
                assert told[1] is not None
                assert (told[1].code, told[1].facts) == ("taken", {"taken_by": [askers[0].user]})
                await world.ask(IncidentResolved(OPS, which, "real_handled"))

    in_virtual_time(body())


def test_row_24_acknowledged_by_console_and_responder_at_once_one_owns_it() -> None:
    async def body() -> None:
        world = World(town(), SafetySettings())
        async with world.running() as service:
            for n, askers in enumerate(itertools.islice(itertools.cycle([(OPS, NEAR), (NEAR, OPS)]), RACES)):
                which = await raise_one(world, person(f"cus_{n}"))
                told = await all_at_once(world, [IncidentAcknowledged(who, which) for who in askers])
                incident = service.incident(ACME, which)
                assert incident is not None
                assert incident.owner == askers[0].user
                assert [error and error.code for error in told] == [None, "already_acknowledged"]
                await world.ask(IncidentResolved(OPS, which, "real_handled"))

    in_virtual_time(body())


def test_row_25_going_taking_back_and_ending_at_once_leave_a_legal_history() -> None:
    async def body() -> None:
        world = World(town(), SafetySettings())
        async with world.running() as service:
            for n in range(300):
                who = person(f"cus_{n}")
                which = await raise_one(world, who)
                events: list[Event] = [
                    ResponseOffered(NEAR, which),
                    CancelAsked(who, which, list(PinVerdict)[n % 3]),
                    IncidentResolved(OPS, which, "real_handled"),
                    IncidentAcknowledged(OPS_2, which),
                ]
                random.Random(n).shuffle(events)
                await all_at_once(world, events)
                await world.sleep(1)
                incident = service.incident(ACME, which)
                assert incident is not None
                told = await world.store.events(ACME, which)
                assert fold(told) == (incident.state, incident.level)
                if incident.state is IncidentState.RESOLVED:
                    ended = next(e.seq for e in told if e.what == "resolved")
                    cancelled = [e.seq for e in told if e.what in ("cancel_asked", "duress")]
                    assert all(seq > ended for seq in cancelled), "what was taken back is not ended unverified"

    in_virtual_time(body())


def test_row_41_fifty_taps_in_two_seconds_are_one_incident_and_every_one_is_counted() -> None:
    async def body() -> None:
        world = World(town(), SafetySettings())
        async with world.running():
            for n in range(50):
                world.tap(f"k{n}")
                await world.sleep(0.04)
            await world.sleep(1)
            (incident,) = (await world.stored()).incidents
            assert incident.triggers == 50
            assert len((await world.stored()).triggers) == 50
            rings = [at for at, how, user, m in world.post.sent if m["type"] == "incident" and user == "ops_0"]
            assert 2 <= len(rings) <= 20, "told again, and not flooded"

    in_virtual_time(body())


def test_row_42_the_same_key_with_another_payload_is_one_tap_that_says_more() -> None:
    async def body() -> None:
        world = World(town(), SafetySettings())
        async with world.running():
            for note in ("", "third floor", "other words"):
                world.tap("k", ANNA, SosReport("k", note=note))
                await world.sleep(0.1)
            (incident,) = (await world.stored()).incidents
            assert (incident.triggers, incident.note) == (1, "third floor")
            assert not world.refused
            assert len(world.post.of("sos_ack", "answer")) == 3

    in_virtual_time(body())


def test_row_44_a_tap_is_taken_and_told_again_whatever_became_of_the_incident() -> None:
    async def body() -> None:
        for state in ("open", "acknowledged", "responding", "cancel_pending", "resolved"):
            world = World(town(), SafetySettings())
            async with world.running() as service:
                which = await raise_one(world, ANNA)
                steps: dict[str, list[Event]] = {
                    "open": [],
                    "acknowledged": [IncidentAcknowledged(OPS, which)],
                    "responding": [ResponseOffered(NEAR, which)],
                    "cancel_pending": [CancelAsked(ANNA, which, PinVerdict.RIGHT)],
                    "resolved": [IncidentResolved(OPS, which, "false_accident")],
                }
                for event in steps[state]:
                    await world.ask(event)
                await world.sleep(3)
                before = len(world.post.users("row"))
                world.tap("again")
                await world.sleep(0.1)
                incident = service.incident(ACME, which)
                assert incident is not None
                assert incident.is_active, state
                assert incident.triggers == 2, state
                assert len(world.post.users("row")) > before, state
                assert not world.refused

    in_virtual_time(body())
