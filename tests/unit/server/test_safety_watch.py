"""The watch over safety in virtual time: what is late or broken is told in time, and the heartbeat stops."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import pytest

import sim.loop
from safety.engine import SafetyEngine
from safety.events import PageSettled, SendPage
from safety.pages import Channel, PageOutcome
from safety.ports import Outside
from safety.reach import ReachSettings, SyntheticSettings
from safety.service import SafetyService
from server.safety_watch import SafetyWatch
from sim.clock import VirtualClock
from tests.unit.safety.calls import REACH
from tests.unit.safety.neighbourhood import ladder, town
from tests.unit.safety.safety_world import World
from webhooks.model import Outcome

QUIET = ReachSettings(
    heartbeat_url="https://watch.example/ping", synthetic=SyntheticSettings(first_s=3_600, every_s=3_600, timeout_s=20)
)
"""Without a synthetic SOS."""


@dataclass
class Told:
    """A pager and a heartbeat's other end, of which the watch needs no more than this."""

    clock: VirtualClock
    lines: tuple[str, ...] = ("sms", "robot:hq")
    alarms: list[tuple[float, str]] = field(default_factory=list)
    beats: list[float] = field(default_factory=list)

    async def alarm(self, what: str, *, without: Collection[str] = ()) -> int:
        self.alarms.append((self.clock.now(), what))
        return 1

    async def ask(self, url: str, headers: object, body: bytes) -> Any:
        self.beats.append(self.clock.now())
        return type("Answer", (), {"outcome": Outcome.DELIVERED})


class NoCare:
    def overdue_s(self, now: float) -> float:
        return 0.0


class Adapter:
    """A pager that takes everything after 0.3 s, until one of its channels dies: it fails, or says nothing at all."""

    def __init__(self, *, is_mute: bool) -> None:
        self.service: SafetyService
        self._is_mute = is_mute
        self.dead: set[Channel] = set()

    def send(self, effect: SendPage) -> None:
        asyncio.get_running_loop().call_later(0.3, self._settle, effect)

    def _settle(self, effect: SendPage) -> None:
        outcome = PageOutcome.FAILED if effect.channel in self.dead else PageOutcome.TAKEN
        if outcome is PageOutcome.TAKEN or not self._is_mute:
            self.service.post(PageSettled(effect.pages, effect.channel, outcome))

    def of(self, tenant: str, user: str) -> None:
        return None

    def online(self, tenant: str, user: str) -> bool:
        return False


async def noticed_after_s(phase_s: float, *dead: Channel, is_mute: bool) -> float:
    """For how long nobody hears of it when channels die in this phase of the minute, with the defaults."""
    adapter = Adapter(is_mute=is_mute)
    assert REACH.synthetic == SyntheticSettings()
    world = World(town(), ladder(reach=REACH), Outside(adapter, adapter, adapter, with_push=True))
    told = Told(world.clock, lines=("robot:hq", "voice"))
    async with world.running() as service:
        adapter.service = service
        watch = SafetyWatch(world.clock, REACH, service, NoCare(), told, told)  # type: ignore[arg-type]
        watching = asyncio.get_running_loop().create_task(watch.run())
        await world.sleep(62 + phase_s)
        assert (watch.synthetic.missed, told.alarms) == (0, [])
        adapter.dead.update(dead)
        died_at = world.now()
        await world.sleep(130)
        watching.cancel()
    assert not watch.is_well
    assert watch.synthetic.last is not None
    assert ("voice" in watch.synthetic.last.broken) == (Channel.VOICE in dead)
    return told.alarms[0][0] - died_at


PHASES_S = (0, 0.2, 0.5, 1, 1.5, 2, 15, 30, 57, 59.5)
ALL = (Channel.ROBOT, Channel.VOICE, Channel.PUSH, Channel.SMS)


@pytest.mark.parametrize("dead", [(Channel.ROBOT,), ALL])
def test_a_channel_that_dies_in_any_phase_of_the_minute_is_told_within_120_s(dead: tuple[Channel, ...]) -> None:
    times = [sim.loop.run(noticed_after_s(phase_s, *dead, is_mute=False)) for phase_s in PHASES_S]
    assert 98 < max(times) <= 102  # the worst moment is among them


def test_attempts_without_any_result_are_told_sooner() -> None:
    times = [sim.loop.run(noticed_after_s(phase_s, *ALL, is_mute=True)) for phase_s in PHASES_S]
    assert max(times) < 80


def test_a_timer_that_fails_for_ever_is_told_by_name_and_ends_the_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: SafetyEngine, incident_id: str, now: float) -> Any:
        raise ZeroDivisionError

    async def main() -> None:
        world = World(town(), ladder())
        told = Told(world.clock)
        async with world.running() as service:
            watch = SafetyWatch(world.clock, QUIET, service, NoCare(), told, told)  # type: ignore[arg-type]
            watching = asyncio.get_running_loop().create_task(watch.run())
            world.tap()
            await world.sleep(0.1)
            which = world.post.rights[0].incident_id
            monkeypatch.setattr(SafetyEngine, "act", broken)
            due_at = world.now() + 30
            await world.sleep(25)
            assert (told.alarms, watch.is_well) == ([], True)
            await world.sleep(20)
            ((at, what),) = told.alarms
            assert which in what
            assert 5 < at - due_at <= 11  # it failed twice by then
            assert not watch.is_well
            beats = len(told.beats)
            assert beats
            await world.sleep(300)
            assert len(told.beats) == beats
            assert len(told.alarms) == 2  # said again while it lasts
            watching.cancel()

    sim.loop.run(main())
