"""The shell and its pager: stored before it is tried, tried while the disk is away, and never at the alarm's cost."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

import sim.loop
from safety.events import PageSettled, SendPage
from safety.pages import HopState, Page, PageOutcome
from safety.paging import Paging
from safety.ports import Outside
from tests.unit.safety.calls import REACH, Person, _Online
from tests.unit.safety.neighbourhood import ladder, town
from tests.unit.safety.safety_world import World


class Desk:
    """A pager that answers at once, when it answers; a phonebook in which everybody has a phone."""

    def __init__(self) -> None:
        self.world: World
        self.sent: list[SendPage] = []
        self.stored_when_sent: list[bool] = []
        self.outcome: PageOutcome | None = PageOutcome.TAKEN

    def send(self, effect: SendPage) -> None:
        self.sent.append(effect)
        page = effect.pages[0]
        held = self.world.store._pages.get((page.tenant, page.incident_id, page.recipient))
        self.stored_when_sent.append(held is not None and any(hop.state is HopState.SENDING for hop in held.hops))
        if self.outcome is not None:
            self.world.service.post(PageSettled(effect.pages, effect.channel, self.outcome))

    def of(self, tenant: str, user: str) -> Person:
        return Person(user, "138")


def in_a_world(body: Callable[[World, Desk], Coroutine[Any, Any, None]], **settings: Any) -> tuple[World, Desk]:
    async def main() -> tuple[World, Desk]:
        desk = Desk()
        reach = replace(REACH, **settings)
        world = World(town(), ladder(reach=reach), Outside(desk, desk, _Online({"ops_0"}), with_push=True))
        desk.world = world
        await body(world, desk)
        return world, desk

    return sim.loop.run(main())


def of_robot(desk: Desk) -> list[SendPage]:
    return [effect for effect in desk.sent if effect.pages[0].recipient == "robot:hq"]


def test_an_attempt_is_stored_before_it_is_made_and_its_result_after() -> None:
    async def body(world: World, desk: Desk) -> None:
        async with world.running() as service:
            world.tap()
            await world.sleep(1)
            (effect,) = of_robot(desk)
            stored = {page.recipient: page for page in (await world.stored()).pages}
            assert stored["robot:hq"].hops[0].state is HopState.TAKEN
            assert service.pages(effect.incident.incident_id)

    _, desk = in_a_world(body)
    assert desk.stored_when_sent
    assert all(desk.stored_when_sent)


def test_what_had_no_result_when_the_process_was_killed_is_tried_again() -> None:
    async def body(world: World, desk: Desk) -> None:
        desk.outcome = None
        async with world.running_until_killed():
            world.tap()
            await world.sleep(1)
        assert len(of_robot(desk)) == 1
        async with world.running():
            await world.sleep(0.5)
        assert len(of_robot(desk)) == 2

    in_a_world(body)


def test_while_the_disk_is_away_people_are_called_all_the_same() -> None:
    """P18: nothing that fails changes that the first SOS is told."""

    async def body(world: World, desk: Desk) -> None:
        async with world.running():
            world.store.faults.fail_commits(1_000_000)
            world.tap()
            await world.sleep(20)
            assert len(of_robot(desk)) == 1
            assert {effect.channel.value for effect in desk.sent} >= {"robot", "push", "sms"}
            assert (await world.stored()).pages == []
            world.store.faults.fail_commits(0)
            await world.sleep(10)
            stored: list[Page] = list((await world.stored()).pages)
            assert {page.recipient for page in stored} >= {"robot:hq", "person:tec_00"}

    in_a_world(body)


@pytest.mark.parametrize("broken", ["follow", "begin", "received", "settled"])
def test_a_fault_of_paging_costs_calls_and_never_the_alarm(
    monkeypatch: pytest.MonkeyPatch, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*args: object) -> None:
        raise RuntimeError("a fault of ours")

    async def body(world: World, desk: Desk) -> None:
        async with world.running():
            world.tap()
            await world.sleep(1)
            monkeypatch.setattr(Paging, broken, fails)
            world.tap("k2")
            incident = (await world.stored()).incidents[0]
            world.receive("tec_00", incident.incident_id)
            await world.sleep(70)
            assert len((await world.stored()).triggers) == 2
            assert world.post.of("incident")
            monkeypatch.undo()
            await world.sleep(70)

    world, desk = in_a_world(body)
    assert of_robot(desk)  # and when the fault is gone, they are called again
    assert len(world.post.of("sos_ack")) >= 2
