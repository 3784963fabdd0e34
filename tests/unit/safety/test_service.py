"""The shell: durable before it says so, out on time even when the disk is not there, alive through every fault."""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import sim.loop
from core.errors import Unavailable
from core.ids import IncidentId
from safety.engine import SafetyEngine
from safety.errors import AlreadyAcknowledged
from safety.events import CancelAsked, IncidentAcknowledged, IncidentClosed, IncidentResolved, NotifyTargets, SosRaised
from safety.incident import fold
from safety.model import CapStatus, Incident, IncidentKind, PinVerdict, SosReport, TriggerSource
from safety.old_taps import WAITING_MAX
from tests.unit.safety.neighbourhood import ACME, ANNA, NEAR, OPS, OPS_2, fix_at, ladder, person, town
from tests.unit.safety.safety_world import World

Body = Callable[[World], Coroutine[Any, Any, None]]


def in_a_world(body: Body, **settings: Any) -> World:
    """Run ``body`` in virtual time and return the world as it ended."""

    async def main() -> World:
        world = World(town(), ladder(**settings))
        await body(world)
        return world

    return sim.loop.run(main())


def test_an_sos_is_stored_then_told_then_answered() -> None:
    async def body(world: World) -> None:
        async with world.running():
            world.tap()
            await world.sleep(0.1)
            assert len((await world.stored()).incidents) == 1

    post = in_a_world(body).post
    assert [how for _, how, _, _ in post.sent] == ["rights", *["row"] * 7, "answer"]
    assert post.of("sos_ack") == [
        {
            "type": "sos_ack",
            "key": "k1",
            "incident": post.rights[0].incident_id,
            "durable": True,
            "level": 0,
            "delivered": 0,
            "seen": False,
        }
    ]


def test_changes_that_wait_for_a_disk_stay_few_however_long_it_is_away() -> None:
    async def body(world: World) -> None:
        async with world.running():
            world.tap()
            world.tap("b1", person("cus_bea"))
            await world.sleep(0.1)
            anna, bea = (incident.incident_id for incident in (await world.stored()).incidents)
            world.store.faults.fail_commits(1_000_000)
            for n in range(60):
                world.tap(f"a{n}")
                await world.sleep(1)
                world.receive(f"tec_{n % 5:02d}", bea)
                await world.sleep(1)
            assert world.service.unstored <= 4 + 4
            await world.ask(IncidentAcknowledged(OPS, bea))
            world.store.faults.fail_commits(0)
            await world.sleep(10)
            assert world.service.unstored == 0
            state = await world.stored()
            kept = {incident.incident_id: incident for incident in state.incidents}
            assert (kept[anna].triggers, kept[bea].owner) == (61, OPS.user)
            assert kept[anna] == world.service.incident(ACME, anna)
            for which in (anna, bea):
                fold(await world.store.events(ACME, which))
            await world.ask(IncidentResolved(OPS, bea, "real_handled"))

    rows = [
        m for _, how, user, m in in_a_world(body, unstored_turns_max=4).post.sent if how == "row" and user == "ops_0"
    ]
    assert len([m for m in rows if m["type"] == "incident"]) < 20


def test_nothing_is_said_before_the_disk_has_it() -> None:
    async def body(world: World) -> None:
        world.store.faults.delay_s = 0.2
        async with world.running():
            world.tap()
            await world.sleep(0.19)
            assert world.post.sent == []
            await world.sleep(0.02)
            assert world.post.of("sos_ack")[0]["durable"]

    in_a_world(body)


def test_receipts_and_the_first_human_are_told_to_the_raiser() -> None:
    async def body(world: World) -> None:
        async with world.running():
            world.tap()
            await world.sleep(0.1)
            which = world.post.rights[0].incident_id
            for user in ("ops_0", "ops_0", "tec_00"):
                world.receive(user, which)
                await world.sleep(0.1)
            await world.ask(IncidentAcknowledged(OPS, which))
            with pytest.raises(AlreadyAcknowledged):
                await world.ask(IncidentAcknowledged(OPS_2, which))
            assert world.service.visible(NEAR)[0].owner == OPS.user
            await world.ask(IncidentResolved(OPS, which, "real_handled"))
            assert world.service.visible(NEAR) == []

    post = in_a_world(body).post
    news = post.of("sos_ack", "direct")
    assert [(ack["delivered"], ack["seen"]) for ack in news] == [(1, False), (2, False), (2, True)]
    assert post.users("direct", "sos_ack") == ["cus_anna"] * 3


def test_receipts_of_one_turn_are_told_once() -> None:
    async def body(world: World) -> None:
        async with world.running():
            world.tap()
            await world.sleep(0.1)
            for user in ("ops_0", "ops_1", "tec_00"):
                world.receive(user, world.post.rights[0].incident_id)

    assert [ack["delivered"] for ack in in_a_world(body).post.of("sos_ack", "direct")] == [3]


def test_an_sos_overtakes_a_full_mailbox() -> None:
    async def body(world: World) -> None:
        async with world.running():
            world.tap()
            await world.sleep(0.1)
            for _ in range(10):
                world.receive("tec_00", "inc_none")
            with pytest.raises(Unavailable):
                world.receive("tec_00", "inc_none")
            world.tap("k2", person("cus_bea"))
            await world.sleep(0.1)
            assert len(world.post.of("sos_ack", "answer")) == 2

    in_a_world(body, mailbox_len_max=10)


def test_one_persons_flood_waits_in_few_places_and_every_tap_is_answered_by_its_key() -> None:
    async def body(world: World) -> None:
        world.store.faults.delay_s = 0.002
        async with world.running():
            world.tap("first")
            await world.sleep(0.1)
            which = world.post.rights[0].incident_id
            for n in range(400):
                world.tap(f"flood-{n}")
            world.tap("bea", person("cus_bea"))
            assert world.service.waiting <= 8 + 1
            asked_at = world.now()
            await world.ask(IncidentAcknowledged(OPS, which))
            assert world.now() - asked_at < 0.01
            (stored,) = [i for i in (await world.stored()).incidents if i.incident_id == which]
            assert stored.triggers == 401

    post = in_a_world(body).post
    answered = {ack["key"] for ack in post.of("sos_ack", "answer")}
    assert answered == {"first", "bea", *(f"flood-{n}" for n in range(400))}


def test_the_newest_of_many_waiting_taps_tells_where_its_person_is() -> None:
    async def body(world: World) -> None:
        async with world.running():
            for n in range(20):
                world.tap(f"k{n}", report=SosReport(key=f"k{n}", note=f"floor {n}"))
            await world.sleep(0.1)
            (incident,) = (await world.stored()).incidents
            assert (incident.note, incident.triggers) == ("floor 19", 20)

    in_a_world(body)


# -- what is offered again -------------------------------------------------------------------------------


def offered_again(world: World, tapped_at: float, key: str = "k1") -> None:
    """A client offers a tap that it made then."""
    world.tap(report=SosReport(key=key, sent_at=world.now(), age_s=world.now() - tapped_at))


async def ended_and_forgotten(world: World) -> tuple[IncidentId, float]:
    """An incident that is in no memory: it was closed, and the server started anew."""
    async with world.running():
        world.tap()
        tapped_at = world.now()
        await world.sleep(0.1)
        which = world.post.rights[0].incident_id
        await world.ask(IncidentAcknowledged(OPS, which))
        await world.ask(IncidentResolved(OPS, which, "real_handled"))
        await world.ask(IncidentClosed(OPS_2, which))
    world.post.sent.clear()
    await world.sleep(3_600)
    return which, tapped_at


def test_a_tap_that_was_stored_long_ago_rings_nobody_when_it_is_offered_again() -> None:
    async def body(world: World) -> None:
        which, tapped_at = await ended_and_forgotten(world)
        async with world.running() as service:
            for _ in range(3):
                offered_again(world, tapped_at)
            await world.sleep(0.1)
            assert service.visible(OPS) == []
            (ack, *_) = acks = world.post.of("sos_ack", "answer")
            assert len(acks) == 3
            assert (ack["key"], ack["incident"], ack["durable"]) == ("k1", which, True)
            assert world.post.users("row") == []
            # The same key without an age, or of a later tap, is somebody who needs help again.
            offered_again(world, tapped_at + 60)
            await world.sleep(0.1)
            (incident,) = service.visible(OPS)
            assert incident.incident_id != which

    in_a_world(body)


def test_an_old_tap_that_nobody_knows_or_can_look_up_rings() -> None:
    async def body(world: World) -> None:
        _, tapped_at = await ended_and_forgotten(world)
        async with world.running() as service:
            offered_again(world, tapped_at - 7_200, key="k0")
            await world.sleep(0.1)
            assert len(service.visible(OPS)) == 1
            world.store.faults.fail_reads(1)
            offered_again(world, tapped_at)
            await world.sleep(0.1)
            assert service.visible(OPS)[0].triggers == 2

    in_a_world(body)


def test_an_old_tap_waits_for_a_hanging_database_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(world: World) -> None:
        async def hang(*_: object, **__: object) -> None:
            await world.sleep(1_000)

        monkeypatch.setattr(world.store, "known_tap", hang)
        async with world.running():
            began = world.now()
            for n in range(300):
                offered_again(world, began - 7_200, key=f"old-{n}")
            world.tap("k9", person("cus_bea"))
            await world.sleep(0.1)
            answered = [ack["key"] for ack in world.post.of("sos_ack", "answer")]
            assert "k9" in answered
            assert len(answered) == 1 + 300 - WAITING_MAX
            await world.sleep(0.5)
            assert len(world.post.of("sos_ack", "answer")) == 301
            offered_again(world, began - 7_200, key="last")
        assert world.post.of("sos_ack", "answer")[-1]["key"] == "last", "a server that stops lets it ring"

    in_a_world(body)


# -- the disk -------------------------------------------------------------------------------------------


def test_with_database_and_journal_down_the_alarm_goes_out_and_says_that_it_is_not_stored() -> None:
    async def body(world: World) -> None:
        world.store.faults.fail_commits(3)
        world.journal.refuses = "failed"
        async with world.running():
            began = world.now()
            world.tap()
            await world.sleep(0.01)
            assert world.now() - began < 0.02
            assert len(world.post.users("direct", "incident")) == 7
            assert [ack["durable"] for ack in world.post.of("sos_ack")] == [False]
            assert world.service.unstored == 1
            await world.sleep(5)
            assert world.service.unstored == 0
            assert len((await world.stored()).incidents) == 1

    post = in_a_world(body).post
    assert [ack["durable"] for ack in post.of("sos_ack")] == [False, True]
    assert len(post.users("row", "incident")) == 7, "they come in their streams as well, so that a resume finds them"


def test_with_the_database_hanging_the_alarm_waits_a_moment_only() -> None:
    async def body(world: World) -> None:
        world.store.faults.hold()
        world.journal.refuses = "full"
        async with world.running():
            world.tap()
            await world.sleep(0.31)
            assert [ack["durable"] for ack in world.post.of("sos_ack")] == [False]
            assert len(world.post.users("direct", "incident")) == 7
            world.tap("k2", person("cus_bea"))
            await world.sleep(0.04)
            assert len(world.post.of("sos_ack")) == 2, "the second does not wait as long as the first"
            world.store.faults.release()
            await world.sleep(0.1)
            assert [ack["durable"] for ack in world.post.of("sos_ack")] == [False, False, True, True]

    in_a_world(body)


def test_the_incident_escalates_and_is_acknowledged_while_the_database_is_down() -> None:
    async def body(world: World) -> None:
        async with world.running():
            world.tap()
            await world.sleep(0.1)
            world.store.faults.fail_commits(10_000)
            await world.sleep(65)
            which = world.post.rights[0].incident_id
            await world.ask(IncidentAcknowledged(OPS, which))
            assert world.post.of("sos_ack")[-1] == {
                "type": "sos_ack", "key": "k1", "incident": which,
                "durable": True, "level": 2, "delivered": 0, "seen": True,
            }  # fmt: skip
            world.store.faults.fail_commits(0)
            await world.sleep(6)
            assert world.service.unstored == 0
            state = await world.stored()
            assert state.incidents[0] == world.service.incident(ACME, which)
            assert [e.what for e in await world.store.events(ACME, which)] == [
                "raised", "widened", "widened", "repeated", "acknowledged"
            ]  # fmt: skip

    in_a_world(body)


def test_a_write_that_failed_but_was_stored_is_not_written_twice() -> None:
    async def body(world: World) -> None:
        world.store.faults.fail_commits(1, stored_anyway=True)
        async with world.running():
            world.tap()
            await world.sleep(2)
            assert world.service.unstored == 0
            world.tap("k2")
            await world.sleep(1)
            (incident,) = (await world.stored()).incidents
            assert incident.triggers == 2
            assert [e.seq for e in await world.store.events(ACME, incident.incident_id)] == [1, 2]

    post = in_a_world(body).post
    assert [ack["durable"] for ack in post.of("sos_ack")] == [True, True]


def test_a_batch_that_the_store_cannot_take_does_not_keep_others_from_it(caplog: pytest.LogCaptureFixture) -> None:
    async def body(world: World) -> None:
        async with world.running():
            world.tap()
            await world.sleep(0.1)
            which = world.post.rights[0].incident_id
            world.store.chokes_on = which
            world.tap("k2")
            await world.sleep(0.1)
            world.tap("b1", person("cus_bea"))
            await world.sleep(0.1)
            assert [ack["durable"] for ack in world.post.of("sos_ack", "answer")] == [True, True, True]
            assert world.service.unstored == 1
            world.store.chokes_on = None
            await world.sleep(6)
            assert world.service.unstored == 0

    in_a_world(body)
    assert "the store failed on a batch" in caplog.text


def test_a_stopping_server_stores_what_it_can() -> None:
    async def body(world: World) -> None:
        world.store.faults.fail_commits(3)
        async with world.running():
            world.tap()
            await world.sleep(0.01)
        assert len((await world.stored()).incidents) == 1

    in_a_world(body)


def test_a_stopping_server_does_not_wait_for_ever_for_the_database(caplog: pytest.LogCaptureFixture) -> None:
    async def body(world: World) -> None:
        world.store.faults.fail_commits(10_000)
        async with world.running():
            world.tap()
        assert world.clock.monotonic() < 7

    in_a_world(body)
    assert "stopped with changes that only the journal holds" in caplog.text


def test_an_sos_is_taken_while_stopping_and_refused_when_nobody_is_left() -> None:
    async def body(world: World) -> None:
        world.store.faults.delay_s = 0.1
        async with world.running() as service:
            world.tap()
            await world.sleep(0.01)
            service.stop()
            world.tap("late", person("cus_bea"))
        assert len(world.post.of("sos_ack", "answer")) == 2
        with pytest.raises(Unavailable):
            world.tap("too late")

    in_a_world(body)


def test_a_crash_loses_nothing_that_was_called_durable_and_timers_go_on() -> None:
    async def body(world: World) -> None:
        async with world.running_until_killed():
            world.tap()
            await world.sleep(20)
        which = world.post.rights[0].incident_id
        world.post.sent.clear()
        world.post.rights.clear()
        async with world.running():
            assert [incident.incident_id for incident in world.post.rights] == [which], "its phone is attended to"
            await world.sleep(11)
            assert world.service.visible(OPS)[0].level == 1
            world.tap("k1")
            await world.sleep(0.1)
            assert world.post.of("sos_ack", "answer")[0]["incident"] == which

    in_a_world(body)


def test_start_fails_while_the_database_cannot_be_read() -> None:
    async def body(world: World) -> None:
        world.store.faults.fail_reads()
        with pytest.raises(Unavailable):
            await world.service.start()

    in_a_world(body)


# -- faults of ours -------------------------------------------------------------------------------------


def test_broken_look_ups_reach_the_log_and_ops(caplog: pytest.LogCaptureFixture) -> None:
    async def body(world: World) -> None:
        world.place.broken = {"responders", "last_fix", "booking", "city_of"}
        async with world.running():
            world.tap()
            await world.sleep(0.1)
        assert world.post.users("row", "incident") == ["ops_0", "ops_1"]

    in_a_world(body)
    assert "an incident has trouble reaching people" in caplog.text


def test_an_engine_that_fails_on_a_report_raises_it_bare(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = SafetyEngine.handle

    def brittle(self: SafetyEngine, event: Any, now: float) -> Any:
        if isinstance(event, SosRaised) and event.report.note == "poison":
            raise ZeroDivisionError
        return handle(self, event, now)

    monkeypatch.setattr(SafetyEngine, "handle", brittle)

    async def body(world: World) -> None:
        async with world.running():
            world.tap("b1", person("cus_bea"))
            world.tap(report=SosReport(key="k1", note="poison", fix=fix_at()))
            await world.sleep(0.1)
        assert [ack["key"] for ack in world.post.of("sos_ack", "answer")] == ["b1", "k1"]
        assert world.refused == []

    in_a_world(body)


def test_an_engine_that_fails_altogether_says_so_and_harms_no_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = SafetyEngine.handle

    def broken(self: SafetyEngine, event: Any, now: float) -> Any:
        if getattr(event, "who", None) == ANNA:
            raise ZeroDivisionError
        return handle(self, event, now)

    monkeypatch.setattr(SafetyEngine, "handle", broken)

    async def body(world: World) -> None:
        async with world.running():
            world.tap()
            world.tap("b1", person("cus_bea"))
            await world.sleep(0.1)
        assert [ack["key"] for ack in world.post.of("sos_ack", "answer")] == ["b1"]
        assert [error.code for error in world.refused] == ["internal"]

    in_a_world(body)


def test_a_timer_that_fails_is_tried_again_and_holds_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    act = SafetyEngine.act
    failed: list[float] = []

    def brittle(self: SafetyEngine, incident_id: IncidentId, now: float) -> Any:
        if len(failed) < 2 and self._book.incidents[incident_id].subject == ANNA.user:
            failed.append(now)
            raise ZeroDivisionError
        return act(self, incident_id, now)

    monkeypatch.setattr(SafetyEngine, "act", brittle)

    async def body(world: World) -> None:
        async with world.running():
            world.tap()
            world.tap("b1", person("cus_bea"))
            await world.sleep(31)
            assert sorted(incident.level for incident in world.service.visible(OPS)) == [0, 1]
            await world.sleep(11)
            assert sorted(incident.level for incident in world.service.visible(OPS)) == [1, 1]

    in_a_world(body)
    assert len(failed) == 2


def test_a_timer_that_fails_for_ever_is_late_from_when_it_was_due_and_its_people_are_told_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    late: list[float] = []

    def broken(self: SafetyEngine, incident_id: IncidentId, now: float) -> Any:
        raise ZeroDivisionError

    async def body(world: World) -> None:
        async with world.running() as service:
            world.tap()
            await world.sleep(0.1)
            which = world.post.rights[0].incident_id
            act = SafetyEngine.act
            monkeypatch.setattr(SafetyEngine, "act", broken)
            assert service.overdue_s(world.now()) == 0
            for _ in range(4):
                await world.sleep(30)
                late.append(service.overdue_s(world.now()))
                world.receive("tec_00", which)  # what else happens to it is no sign that its timer works
            assert service.failing == [which]
            monkeypatch.setattr(SafetyEngine, "act", act)
            await world.sleep(6)
            assert service.overdue_s(world.now()) == 0
            assert service.failing == []

    post = in_a_world(body).post
    assert [round(seconds) for seconds in late] == [0, 30, 60, 90]
    began = post.sent[0][0]
    rung = [at - began for at, _, user, m in post.sent if user == "tec_00" and m["type"] == "incident"]
    assert [round(at) for at in rung[:3]] == [0, 35, 95]
    assert any(getattr(r, "what", "") == "timer_fails" and r.levelno == logging.CRITICAL for r in caplog.records)


def test_a_timer_that_fails_while_somebody_has_it_in_hand_rings_ops(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: SafetyEngine, incident_id: IncidentId, now: float) -> Any:
        raise ZeroDivisionError

    async def body(world: World) -> None:
        async with world.running():
            world.tap()
            await world.sleep(0.1)
            await world.ask(IncidentAcknowledged(OPS, world.post.rights[0].incident_id))
            monkeypatch.setattr(SafetyEngine, "act", broken)
            world.post.sent.clear()
            await world.sleep(70)

    assert set(in_a_world(body).post.users("row")) == {"ops_0", "ops_1"}


def test_neighbours_that_fail_do_not_end_the_service(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("not ours")

    async def body(world: World) -> None:
        for name in ("deliver", "incident_changed", "answer"):
            monkeypatch.setattr(world.post, name, fail)
        async with world.running():
            world.tap()
            await world.sleep(0.1)
            assert len((await world.stored()).incidents) == 1

    in_a_world(body)
    assert caplog.text.count("a neighbour failed") == 3


def test_an_outbound_that_fails_on_one_message_still_builds_the_others(caplog: pytest.LogCaptureFixture) -> None:
    async def body(world: World) -> None:
        async with world.running():
            world.tap()
            await world.sleep(0.1)
            world.post.sent.clear()
            world.outbound.fails_on = NotifyTargets
            await world.sleep(31)
            assert len(world.post.users("row", "incident.update")) == 7
            assert world.post.users("row", "incident") == []

    with caplog.at_level(logging.ERROR):
        in_a_world(body)
    assert "outbound is broken" in caplog.text


def test_discarding_keeps_what_is_still_on_its_way_to_the_disk() -> None:
    async def body(world: World) -> None:
        world.store.faults.fail_commits(10_000)
        async with world.running() as service:
            world.tap()
            await world.sleep(0.1)
            await service.discard()
            assert len(service.visible(OPS)) == 1
            world.store.faults.fail_commits(0)
            await world.sleep(6)
            await service.discard()
            assert len(service.visible(OPS)) == 1

    in_a_world(body)


def test_what_the_subject_did_not_tap_is_taken_stored_and_told_like_a_tap() -> None:
    found: list[Incident] = []

    async def body(world: World) -> None:
        async with world.running() as service:
            for _ in range(2):
                service.raise_for(
                    ANNA,
                    SosReport("checkin:ord_1:3"),
                    world.now(),
                    source=TriggerSource.SYSTEM,
                    kind=IncidentKind.UNCONFIRMED,
                    cause="checkin_missed",
                    raised=found.append,
                )
            await world.sleep(1)
        stored = await world.stored()
        assert [incident.cause for incident in stored.incidents] == ["checkin_missed"]
        assert [trigger.source for trigger in stored.triggers] == [TriggerSource.SYSTEM]

    assert in_a_world(body).post.users("row")
    assert [incident.incident_id for incident in found] == [found[0].incident_id] * 2


def test_the_other_pin_in_a_drill_raises_a_real_incident_that_says_nothing_to_its_subject() -> None:
    async def body(world: World) -> None:
        async with world.running() as service:
            service.raise_for(
                ANNA,
                SosReport("d"),
                world.now(),
                source=TriggerSource.HUB,
                cap_status=CapStatus.EXERCISE,
                cause="drill",
            )
            await world.sleep(0.1)
            which = world.post.rights[0].incident_id
            world.post.sent.clear()
            await world.ask(CancelAsked(ANNA, which, PinVerdict.DURESS))
            await world.sleep(0.1)
            (real,) = [i for i in (await world.stored()).incidents if i.cap_status is CapStatus.ACTUAL]
            assert (real.kind, real.level, real.silent, real.cause) == (IncidentKind.DURESS, 3, True, "forced_in_drill")
            assert len(world.post.users("row")) >= len(real.targets) > 0
            assert world.post.of("sos_ack") == []
            assert not {user for _, _, user, _ in world.post.sent} & {ANNA.user}

    in_a_world(body)


def test_a_drill_and_an_emergency_never_wait_as_one() -> None:
    async def body(world: World) -> None:
        async with world.running() as service:
            drill = SosReport("d")
            service.raise_sos(ANNA, drill, world.now(), world.post.answer, cap_status=CapStatus.EXERCISE)
            world.tap("k1")
            await world.sleep(1)
        statuses = sorted(incident.cap_status for incident in (await world.stored()).incidents)
        assert statuses == [CapStatus.ACTUAL, CapStatus.EXERCISE]

    in_a_world(body, taps_waiting_max=1)
