"""The shell of care: asked in the stream, raised whatever the disk does, told once more, nothing lost by a restart."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

import sim.loop
from core.errors import DoorstepError, Unavailable
from core.ids import CityId, IncidentId, OrderId, TenantId, UserId
from core.outbox import OutboxDraft, OutboxRow, Stream
from core.principal import Principal, Role
from safety.care import CareEngine
from safety.care_events import AskPerson, CareEffect, TellConsole
from safety.care_model import Alarm, Answer, Contact, Job, JobState, Watch
from safety.care_ports import Stored
from safety.care_service import CareService, ServiceEffect
from safety.care_settings import CareSettings
from safety.drills import ShowDrill
from safety.settings import SafetySettings
from safety.trips import TripRevoked, TripShared
from sim.clock import SeededIds, VirtualClock
from store.memory_care import MemoryCareStore
from store.memory_outbox import MemoryOutbox
from tests.unit.safety.careful_street import ANNA, MEI, ORDER, a_job
from tests.unit.safety.neighbourhood import ACME, SH, person


class World:
    """One process at a time over one store, with everything around it in memory."""

    def __init__(self, **settings: Any) -> None:
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.began_at = self.clock.now()
        self.store = MemoryCareStore(MemoryOutbox(Stream.SAFETY, "e1"))
        self.settings = SafetySettings(care=CareSettings(**settings))
        self.ids = SeededIds(7)
        self.jobs: list[Job] = []
        self.raised: list[tuple[float, Alarm, Stored]] = []
        self.late: list[tuple[float, str]] = []
        self.keeps_alarms = True
        self.sent: list[tuple[float, str, UserId, str]] = []
        self.answers: list[str] = []
        self.care = self._new()

    def _new(self) -> CareService:
        return CareService(
            self.clock,
            settings=self.settings,
            ids=self.ids,
            store=self.store,
            phones=self,
            jobs=self,
            alarms=self,
            drills=self,
            outbound=self,
            delivery=self,
            link=self,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """One life of the process."""
        self.care = self._new()
        await self.care.start()
        task = asyncio.create_task(self.care.run())
        try:
            yield
        finally:
            await self.care.drain()
            self.care.stop()
            await task

    @asynccontextmanager
    async def crashing(self) -> AsyncIterator[None]:
        """A life that ends without a word."""
        self.care = self._new()
        await self.care.start()
        task = asyncio.create_task(self.care.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def job(self, state: JobState = JobState.IN_SERVICE, **facts: Any) -> None:
        now = self.clock.now()
        times: dict[str, Any] = {"since": now}
        if state is JobState.IN_SERVICE:
            times["ends_at"] = now + 5_400.0
        job = a_job(state, **times | facts)
        self.jobs = [job]
        self.care.job_changed(job)

    def tap(self, check_id: str, answer: Answer = Answer.OK, who: UserId = MEI) -> None:
        def done(outcome: Sequence[ServiceEffect] | DoorstepError) -> None:
            self.answers.append(outcome.code if isinstance(outcome, DoorstepError) else "answered")

        self.care.answer(ACME, who, "technician", check_id, answer, done)

    def asked(self) -> str:
        """The check that the technician is asked now."""
        return self.care.asked_of(ACME, MEI)[0][1].check_id

    async def until(self, seconds: float) -> None:
        await asyncio.sleep(self.began_at + seconds - self.clock.now())

    # -- ports ----------------------------------------------------------------------------------------

    def of(self, tenant: TenantId, city: CityId, user: UserId) -> Contact:
        return Contact(self.clock.now())

    def found(self, now: float) -> tuple[Sequence[Job], frozenset[tuple[TenantId, CityId]]]:
        return self.jobs, frozenset({(ACME, SH)})

    def raise_alarm(
        self, tenant: TenantId, watch: Watch | None, alarm: Alarm, role: str, now: float, stored: Stored
    ) -> None:
        self.raised.append((round(now - self.began_at, 3), alarm, stored))
        if self.keeps_alarms:
            stored(IncidentId(f"inc_{alarm.key}"))

    def answered_late(self, tenant: TenantId, alarm: Alarm) -> None:
        self.late.append((round(self.clock.now() - self.began_at, 3), alarm.key))

    def raise_drill(self, who: Principal, city: CityId, key: str, now: float, raised: Callable[[bool], None]) -> None:
        asyncio.get_running_loop().call_later(0.012, raised, self.keeps_alarms)

    def drafts(self, effect: CareEffect | ShowDrill, now: float) -> Sequence[OutboxDraft]:
        match effect:
            case ShowDrill(drill):
                body = json.dumps({"type": "drill", "state": drill.state.value}).encode()
                return [OutboxDraft(ACME, drill.user, Stream.SAFETY, body)]
            case AskPerson(_, check, people):
                body = json.dumps({"type": "checkin", "state": check.state.value}).encode()
                return [OutboxDraft(ACME, user, Stream.SAFETY, body) for user in people]
            case TellConsole(_, line):
                body = json.dumps({"type": "care.news", "state": line.value}).encode()
                return [OutboxDraft(ACME, UserId("ops_1"), Stream.SAFETY, body)]
        return []

    def deliver(self, rows: Sequence[OutboxRow]) -> None:
        for row in rows:
            self._note("row", row.recipient, row.body)

    def send_direct(self, tenant: TenantId, user: UserId, body: bytes) -> None:
        self._note("direct", user, body)

    answer_raiser = send_direct

    def _note(self, how: str, user: UserId, body: bytes) -> None:
        at = round(self.clock.now() - self.began_at, 1)
        self.sent.append((at, how, user, json.loads(body)["state"]))


Body = Callable[[World], Coroutine[Any, Any, None]]


def in_a_world(body: Body, **settings: Any) -> World:
    async def main() -> World:
        world = World(**settings)
        await body(world)
        return world

    return sim.loop.run(main())


def test_a_question_is_stored_and_sent_in_its_stream_and_its_answer_too() -> None:
    async def body(world: World) -> None:
        async with world.running():
            world.job()
            await world.until(1_801)
            world.tap(world.asked())
            await world.until(1_802)

    world = in_a_world(body)
    assert world.sent == [
        (1_680, "row", MEI, "reminded"),
        (1_800, "row", MEI, "asked"),
        (1_801, "row", MEI, "answered"),
    ]
    assert world.answers == ["answered"]
    assert world.raised == []
    assert (world.care.counts["asked"], world.care.counts["answered"]) == (1, 1)


def test_silence_is_raised_and_the_raised_incident_is_remembered() -> None:
    async def body(world: World) -> None:
        async with world.running():
            world.job()
            await world.until(2_150)

    world = in_a_world(body)
    (at, alarm, _) = world.raised[0]
    assert (at, alarm.cause, alarm.gravity, len(world.raised)) == (2_100, "checkin_missed", "unconfirmed", 1)
    stored = sim.loop.run(world.store.load(0.0, drills_since=0.0)).watches[0]
    assert stored.alarms[0].incident == f"inc_{alarm.key}"
    assert world.care.counts["alarm_checkin_missed"] == 1


@pytest.mark.parametrize(("answer", "tells"), [(Answer.OK, True), (Answer.NO, False), (Answer.HELP, False)])
def test_a_late_ok_is_told_to_the_incident_though_the_disk_fails_and_a_late_cry_is_one_of_its_own(
    answer: Answer, tells: bool
) -> None:
    async def body(world: World) -> None:
        async with world.running():
            world.job()
            await world.until(2_050)
            check = world.asked()
            await world.until(2_150)
            world.store.faults.hold()
            world.tap(check, answer)
            await world.until(2_151)
            world.store.faults.release()
            await world.until(2_152)

    world = in_a_world(body)
    missed = world.raised[0][1].key
    assert [key for _, key in world.late] == ([missed] if tells else [])
    assert len({alarm.key for _, alarm, _ in world.raised}) == (1 if tells else 2)


@pytest.mark.parametrize("answer", [Answer.NO, Answer.HELP])
def test_a_cry_is_raised_in_the_moment_of_the_tap_and_answered_as_ok_is(answer: Answer) -> None:
    async def body(world: World) -> None:
        async with world.running():
            world.job()
            await world.until(1_900)
            world.store.faults.hold()
            world.tap(world.asked(), answer)
            assert len(world.raised) == 1  # before anything else
            await world.until(1_901)
            world.store.faults.release()
            await world.until(1_902)

    world = in_a_world(body)
    assert {alarm.key for _, alarm, _ in world.raised} == {world.raised[0][1].key}
    assert world.answers == ["answered"]
    assert [row[2:] for row in world.sent][-1] == (MEI, "answered")


def test_a_cry_over_a_check_that_nobody_knows_is_raised_and_ok_to_it_refused() -> None:
    async def body(world: World) -> None:
        async with world.running():
            world.tap("chk_gone", Answer.HELP)
            world.tap("chk_gone", Answer.NO)
            world.tap("chk_gone", Answer.OK)
            await world.until(1)

    world = in_a_world(body)
    assert [alarm.gravity for _, alarm, _ in world.raised] == ["panic", "duress"]
    assert world.answers == ["answered", "answered", "not_found"]


def test_while_the_disk_is_away_people_are_asked_and_alarms_raised_all_the_same() -> None:
    async def body(world: World) -> None:
        async with world.running():
            world.job()
            await world.until(1_000)
            world.store.faults.fail_commits(10**6)
            await world.until(2_150)
            assert world.care.unstored > 0
            world.store.faults.fail_commits(0)
            await world.until(2_200)
            assert world.care.unstored == 0

    world = in_a_world(body)
    assert [row[1:] for row in world.sent[:2]] == [("direct", MEI, "reminded"), ("direct", MEI, "asked")]
    assert next((at, alarm.gravity) for at, alarm, _ in world.raised) == (2_100, "unconfirmed")
    assert ("row", MEI, "asked") in [row[1:] for row in world.sent]
    assert sim.loop.run(world.store.load(0.0, drills_since=0.0)).watches[0].alarms[0].incident is not None


def test_a_disk_that_hangs_holds_a_question_no_longer_than_commit_wait() -> None:
    async def body(world: World) -> None:
        async with world.running():
            world.job()
            await world.until(1_000)
            world.store.faults.hold()
            await world.until(2_200)
            world.store.faults.release()
            await world.until(2_201)

    world = in_a_world(body)
    assert world.sent[0][1:] == ("direct", MEI, "reminded")
    assert 1_680 <= world.sent[0][0] <= 1_680.5
    assert 2_100 <= world.raised[0][0] <= 2_100.5


def test_a_disk_that_is_away_for_long_keeps_few_turns_waiting_and_loses_no_watch() -> None:
    async def body(world: World) -> None:
        async with world.running():
            world.store.faults.fail_commits(10**6)
            for version in range(1, 200):
                world.job(JobState.IN_SERVICE, version=version, ends_at=world.clock.now() + version)
                await asyncio.sleep(0.5)
            assert world.care.unstored <= 64
            world.store.faults.fail_commits(0)
            await asyncio.sleep(60)
            assert world.care.unstored == 0

    world = in_a_world(body)
    assert sim.loop.run(world.store.load(0.0, drills_since=0.0)).watches[0].job.version == 199


def test_an_alarm_that_was_not_stored_is_raised_again_after_a_crash_under_its_key() -> None:
    async def body(world: World) -> None:
        world.keeps_alarms = False
        async with world.crashing():
            world.job()
            await world.until(2_101)
        world.keeps_alarms = True
        async with world.running():
            await asyncio.sleep(6)

    world = in_a_world(body)
    assert len(world.raised) == 2
    assert len({alarm.key for _, alarm, _ in world.raised}) == 1


def test_what_a_crash_between_the_databases_lost_is_found_at_the_start() -> None:
    async def body(world: World) -> None:
        world.jobs = [a_job(JobState.IN_SERVICE, since=world.clock.now(), ends_at=world.clock.now() + 5_400)]
        async with world.running():
            await asyncio.sleep(1)
            assert world.care.watched == 1
        world.jobs = []
        async with world.running():
            await asyncio.sleep(1)
            assert world.care.watched == 0

    in_a_world(body)


def test_before_the_start_and_after_the_end_a_job_changes_nothing_and_breaks_nothing() -> None:
    async def body(world: World) -> None:
        world.care.job_changed(a_job(JobState.IN_SERVICE))
        assert world.care.waiting == 0
        async with world.running():
            pass
        world.care.job_changed(a_job(JobState.IN_SERVICE))
        with pytest.raises(Unavailable):
            world.tap("chk_1", Answer.HELP)
        assert len(world.raised) == 1

    in_a_world(body)


def test_a_watch_that_breaks_the_engine_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World) -> None:
        async with world.running():
            world.job()
            ends_at = world.clock.now() + 5_400.0
            other = a_job(
                JobState.IN_SERVICE,
                order_id=OrderId("ord_2"),
                since=world.clock.now(),
                ends_at=ends_at,
                technician=UserId("tec_li"),
            )
            world.care.job_changed(other)
            await world.until(10)
            broken = next(w.watch_id for w in world.care._engine.watches() if w.job.order_id == ORDER)
            act = CareEngine.act

            def failing(engine: CareEngine, watch_id: Any, now: float) -> list[CareEffect]:
                if watch_id == broken:
                    raise RuntimeError("broken")
                return act(engine, watch_id, now)

            monkeypatch.setattr(CareEngine, "act", failing)
            await world.until(1_801)

    world = in_a_world(body)
    assert [row[2] for row in world.sent] == [UserId("tec_li")] * 2


def test_a_neighbour_that_breaks_does_not_end_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World) -> None:
        def broken(*args: object) -> None:
            raise RuntimeError("broken")

        async with world.running():
            world.job()
            monkeypatch.setattr(world, "raise_alarm", broken)
            await world.until(2_110)
            monkeypatch.undo()
            await world.until(2_120)

    assert len(in_a_world(body).raised) == 1


def test_staff_see_every_open_check_of_their_tenant_alone() -> None:
    async def body(world: World) -> None:
        async with world.running():
            world.job()
            await world.until(1)
            assert sorted(c.kind.value for _, c in world.care.open_checks(ACME)) == ["check_in", "overdue"]
            assert world.care.open_checks(TenantId("other")) == []
            assert world.care.asked_of(ACME, ANNA) == []

    in_a_world(body)


def test_a_drill_is_asked_at_the_start_of_duty_and_its_tap_says_how_long_it_took() -> None:
    async def body(world: World) -> None:
        async with world.running():
            world.care.duty_began(ACME, MEI, SH)
            await world.until(10)
            heard: list[object] = []
            world.care.drill(person("tec_mei", Role.TECHNICIAN), SH, heard.append)
            await world.until(11)
            drill = world.care.last_drill(ACME, MEI)
            assert drill is not None
            assert drill.round_trip_ms == pytest.approx(12.0)
            assert heard == [[ShowDrill(drill)]]
            assert world.care.drills_of(ACME, frozenset({SH})) == [drill]
        async with world.running():  # it stands also after a restart
            world.care.duty_began(ACME, MEI, SH)
            await world.until(1_000)

    world = in_a_world(body)
    assert [row[1:] for row in world.sent] == [("row", MEI, "asked"), ("row", MEI, "passed")]


def test_a_drill_that_does_not_come_through_is_told_and_one_that_is_skipped_recorded() -> None:
    async def body(world: World) -> None:
        world.keeps_alarms = False
        async with world.running():
            world.care.duty_began(ACME, MEI, SH)
            heard: list[object] = []
            world.care.drill(person("tec_mei", Role.TECHNICIAN), SH, heard.append)
            await world.until(10)
            assert [error.code for error in heard if isinstance(error, Unavailable)] == ["store_unavailable"]
            await world.until(301)

    world = in_a_world(body)
    assert [row[1:] for row in world.sent] == [("row", MEI, "asked"), ("row", MEI, "skipped")]
    assert world.care.counts["drill_skipped"] == 1


def test_a_link_opens_what_was_shared_until_it_is_taken_back_also_after_a_restart() -> None:
    async def body(world: World) -> None:
        async with world.running():
            made = await world.care.share(TripShared(ACME, ORDER, SH, ANNA, is_customer=True, contact="Ma"))
            for _ in range(3):
                assert world.care.opened(made.token) is not None
            assert world.care.opened(made.token + "x") is None
            await world.until(1)
            assert [views for _, views in world.care.shared(ACME, ANNA, ORDER)] == [3]
            await world.until(10)
            assert world.care.opened(made.token) is not None
            await world.until(11)
        async with world.running():
            assert [views for _, views in world.care.shared(ACME, ANNA, ORDER)] == [4]
            await world.care.revoke(TripRevoked(ACME, ANNA, made.trip.trip_id))
            assert world.care.opened(made.token) is None
            again = await world.care.share(TripShared(ACME, ORDER, SH, ANNA, is_customer=True, expires_s=100))
            await asyncio.sleep(101)
            assert world.care.opened(again.token) is None
            assert len(world.care.shared(ACME, ANNA, ORDER)) == 1
        stored = await world.store.load(0.0, drills_since=0.0)
        assert made.token not in repr(stored)

    in_a_world(body)
