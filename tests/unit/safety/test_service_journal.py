"""The emergency journal in the shell: it promises what the database does not take, and gives it back once."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import sim.loop
from core.ids import IncidentId
from safety.events import IncidentAcknowledged, IncidentResolved
from safety.incident import fold
from tests.unit.safety.neighbourhood import ACME, OPS, ladder, person, town
from tests.unit.safety.safety_world import World

Body = Callable[[World], Coroutine[Any, Any, None]]
DOWN = 1_000_000


def in_a_world(body: Body, **settings: Any) -> World:
    async def main() -> World:
        world = World(town(), ladder(**settings))
        await body(world)
        return world

    return sim.loop.run(main())


def durables(world: World, how: str | None = None) -> list[bool]:
    return [ack["durable"] for ack in world.post.of("sos_ack", how)]


async def same_as_stored(world: World) -> None:
    """The store has every incident as the service has it, each with a whole history."""
    for incident in (await world.stored()).incidents:
        known = world.service.incident(ACME, incident.incident_id)
        assert known == incident
        state, _ = fold(await world.store.events(ACME, incident.incident_id))
        assert state == incident.state


def test_with_the_database_down_the_journal_promises_at_once() -> None:
    async def body(world: World) -> None:
        world.store.faults.fail_commits(DOWN)
        async with world.running():
            began = world.now()
            world.tap()
            await world.sleep(0.01)
            assert durables(world) == [True]
            assert world.now() - began < 0.02
            assert len(world.post.users("direct", "incident")) == 7
            assert len(world.journal.payloads) == 1
            world.store.faults.fail_commits(0)
            await world.sleep(6)
            assert world.service.unstored == 0
            assert world.journal.payloads == [], "the database has everything: it is let go"
            await same_as_stored(world)

    world = in_a_world(body)
    assert durables(world) == [True], "nobody is told twice what was promised once"
    assert len(world.post.users("row", "incident")) == 7


def test_with_the_database_hanging_the_promise_comes_within_half_a_second() -> None:
    async def body(world: World) -> None:
        world.store.faults.hold()
        async with world.running():
            world.tap()
            await world.sleep(0.299)
            assert durables(world) == []
            await world.sleep(0.01)
            assert durables(world) == [True]
            world.tap("k2", person("cus_bea"))
            await world.sleep(0.04)
            assert durables(world) == [True, True]
            world.store.faults.release()
            await world.sleep(0.1)
            assert world.journal.payloads == []

    in_a_world(body)


def test_with_both_hanging_it_is_not_durable_until_one_of_them_has_it() -> None:
    async def body(world: World) -> None:
        world.store.faults.hold()
        world.journal.delay_s = 3.0
        async with world.running():
            world.tap()
            await world.sleep(0.49)
            assert durables(world) == []
            await world.sleep(0.02)
            assert durables(world) == [False]
            world.tap("k2", person("cus_bea"))
            await world.sleep(0.06)
            assert durables(world) == [False, False], "a second one does not wait as long"
            await world.sleep(3)
            assert durables(world, "direct") == [True, True]
            world.store.faults.release()
            await world.sleep(4)
            assert world.journal.payloads == []
            assert durables(world, "direct") == [True, True]

    in_a_world(body)


@pytest.mark.parametrize("outcome", ["full", "failed"])
def test_a_journal_that_refuses_is_told_and_promises_nothing(outcome: str, caplog: pytest.LogCaptureFixture) -> None:
    async def body(world: World) -> None:
        world.store.faults.fail_commits(DOWN)
        world.journal.refuses = outcome
        async with world.running():
            world.tap()
            await world.sleep(0.1)
            assert durables(world) == [False]
            assert len(world.post.users("direct", "incident")) == 7
            world.store.faults.fail_commits(0)
            await world.sleep(6)
            assert durables(world) == [False, True]

    in_a_world(body)
    assert "the emergency journal did not take a turn" in caplog.text


def test_what_only_the_journal_had_is_there_after_a_kill_and_goes_on() -> None:
    async def body(world: World) -> None:
        async with world.running_until_killed():
            world.tap("stored")
            await world.sleep(1)
            world.store.faults.fail_commits(DOWN)
            world.tap("only here", person("cus_bea"))
            await world.sleep(40)
            assert durables(world, "answer") == [True, True]
            before = {i.incident_id: i for i in world.service.visible(OPS)}
            assert {i.level for i in before.values()} == {1}
        world.store.faults.fail_commits(0)
        world.post.sent.clear()
        async with world.running():
            assert {i.incident_id: i for i in world.service.visible(OPS)} == before
            assert world.journal.payloads != [] or world.service.unstored == 0
            await same_as_stored(world)
            await world.sleep(25)
            assert {i.level for i in world.service.visible(OPS)} == {2}
            world.tap("only here", person("cus_bea"))
            await world.sleep(0.1)
            assert world.journal.payloads == []
            await same_as_stored(world)

    world = in_a_world(body)
    assert {ack["incident"] for ack in world.post.of("sos_ack", "answer")} <= {
        i.incident_id for i in world.service.visible(OPS)
    }


def test_a_journal_that_was_stored_already_changes_nothing_however_often_it_is_read() -> None:
    async def body(world: World) -> None:
        async with world.running_until_killed():
            world.store.faults.fail_commits(DOWN)
            world.tap()
            await world.sleep(0.1)
            world.tap("k2")
            await world.sleep(70)
            held = list(world.journal.payloads)
            assert len(held) > 3
        world.store.faults.fail_commits(0)
        for _ in range(3):
            async with world.running():
                await world.sleep(0.01)
                state = await world.stored()
                rows = {key: list(found) for key, found in world.outbox.rows.items()}
                await same_as_stored(world)
            world.journal.payloads[:] = held
            async with world.running():
                assert await world.stored() == state
                assert {key: list(found) for key, found in world.outbox.rows.items()} == rows

    in_a_world(body)


def test_a_turn_of_unknown_outcome_is_in_both_and_there_once() -> None:
    async def body(world: World) -> None:
        async with world.running_until_killed():
            world.store.faults.fail_commits(1, stored_anyway=True)
            world.tap()
            await world.sleep(0.01)
            assert durables(world) == [True]
            assert len(world.journal.payloads) == 1
        async with world.running():
            (incident,) = (await world.stored()).incidents
            assert incident.triggers == 1
            assert [len(rows) for rows in world.outbox.rows.values()] == [1] * 7
            assert world.service.unstored == 0

    in_a_world(body)


def test_many_turns_that_were_joined_meanwhile_come_back_from_the_journal_as_they_were() -> None:
    async def body(world: World) -> None:
        async with world.running_until_killed():
            world.tap("a")
            await world.sleep(0.1)
            world.store.faults.fail_commits(DOWN)
            for n in range(30):
                world.tap(f"a{n}")
                world.tap(f"b{n}", person("cus_bea"))
                await world.sleep(3)
                if n == 20:
                    (bea,) = [i for i in world.service.visible(OPS) if i.subject == "cus_bea"]
                    await world.ask(IncidentAcknowledged(OPS, bea.incident_id))
            assert world.service.unstored <= 4 + 4
            assert all(durables(world, "answer"))
            before = world.service.visible(OPS)
        world.store.faults.fail_commits(0)
        async with world.running():
            after = {i.incident_id: i for i in world.service.visible(OPS)}
            assert after == {i.incident_id: i for i in before}
            assert world.service.unstored == 0
            await same_as_stored(world)
            assert {i.triggers for i in after.values()} == {30, 31}
            triggers = (await world.stored()).triggers
            assert len({t.trigger_id for t in triggers}) == len(triggers) == 61

    in_a_world(body, unstored_turns_max=4)


def test_a_database_that_is_still_down_at_the_next_start_is_no_reason_to_lose_anything() -> None:
    async def body(world: World) -> None:
        world.store.faults.fail_commits(DOWN)
        async with world.running_until_killed():
            world.tap()
            await world.sleep(0.1)
        for _ in range(2):
            async with world.running_until_killed():
                assert len(world.service.visible(OPS)) == 1
                await world.sleep(40)
        world.store.faults.fail_commits(0)
        async with world.running():
            (incident,) = world.service.visible(OPS)
            assert incident.level == 3 or incident.level == 2
            await same_as_stored(world)
            await world.ask(IncidentResolved(OPS, incident.incident_id, "real_handled"))
            await same_as_stored(world)

    in_a_world(body)


def test_a_version_that_was_lost_with_damage_costs_history_and_not_the_incident(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def body(world: World) -> None:
        world.store.faults.fail_commits(DOWN)
        async with world.running_until_killed():
            world.tap()
            await world.sleep(70)
            (incident,) = world.service.visible(OPS)
        del world.journal.payloads[0:2]
        world.journal.damage = "turn 0 cannot be read"
        world.store.faults.fail_commits(0)
        for _ in range(2):
            held = list(world.journal.payloads)
            async with world.running():
                (found,) = world.service.visible(OPS)
                assert found.incident_id == incident.incident_id
                assert found.level == incident.level
                assert world.service.unstored == 0
                version = found.version
            world.journal.payloads[:] = held
            async with world.running():
                assert world.service.visible(OPS)[0].version == version

    in_a_world(body)
    assert "the emergency journal was damaged" in caplog.text
    assert "part of an incident's history is lost" in caplog.text


def test_a_stopping_server_stays_while_it_is_the_only_one_who_knows(caplog: pytest.LogCaptureFixture) -> None:
    async def body(world: World) -> None:
        world.store.faults.fail_commits(DOWN)
        world.journal.refuses = "full"
        async with world.running() as service:
            world.tap()
            await world.sleep(0.1)
            service.stop()
            await world.sleep(60)
            assert service.unstored == 1
            world.journal.refuses = ""
        assert world.clock.monotonic() < 70
        world.store.faults.fail_commits(0)
        async with world.running():
            assert len((await world.stored()).incidents) == 1

    in_a_world(body)
    assert "cannot stop" in caplog.text


def test_the_journal_is_not_touched_while_the_database_works() -> None:
    async def body(world: World) -> None:
        async with world.running():
            for n in range(5):
                world.tap(f"k{n}")
                await world.sleep(0.1)

    assert in_a_world(body).journal.outcomes == {}


def test_what_comes_while_the_journal_is_let_go_is_kept() -> None:
    async def body(world: World) -> None:
        world.journal.delay_s = 0.05
        async with world.running_until_killed():
            for n in range(40):
                world.store.faults.fail_commits(1)
                world.tap(f"k{n}", person(f"cus_{n}"))
                await world.sleep(0.06 + 0.003 * n)
            world.store.faults.fail_commits(DOWN)
            world.tap("last", person("cus_last"))
            await world.sleep(0.2)
            promised = {ack["key"]: ack["incident"] for ack in world.post.of("sos_ack") if ack["durable"]}
        world.store.faults.fail_commits(0)
        async with world.running():
            stored = {trigger.key: trigger.incident_id for trigger in (await world.stored()).triggers}
            assert promised.items() <= stored.items()
            assert "last" in stored

    in_a_world(body)


def test_a_hit_of_both_in_turns_never_loses_what_was_promised() -> None:
    """Kills at random moments while database and journal fail in turns: promised is a subset of stored."""
    import random

    async def body(world: World) -> None:
        rng = random.Random(11)
        promised: dict[str, IncidentId] = {}
        for life in range(25):
            async with world.running_until_killed():
                for n in range(rng.randrange(1, 8)):
                    world.store.faults.fail_commits(rng.choice((0, 0, 1, DOWN)), stored_anyway=rng.random() < 0.5)
                    world.journal.refuses = rng.choice(("", "", "", "full", "failed"))
                    world.journal.delay_s = rng.choice((0.0, 0.0, 0.1, 1.0))
                    for _ in range(rng.randrange(1, 4)):
                        world.tap(f"k{life}-{n}-{rng.random()}", person(f"cus_{rng.randrange(6)}"))
                    await world.sleep(rng.choice((0.0, 0.01, 0.2, 1.0, 7.0)))
                for ack in world.post.of("sos_ack"):
                    if ack["durable"]:
                        promised[ack["key"]] = ack["incident"]
                world.post.sent.clear()
            world.store.faults.fail_commits(0)
            world.journal.delay_s, world.journal.refuses = 0.0, ""
        async with world.running():
            state = await world.stored()
            stored = {trigger.key: trigger.incident_id for trigger in state.triggers}
            assert len(promised) > 100
            assert promised.items() <= stored.items()
            subjects = [i.subject for i in state.incidents if i.is_active]
            assert len(subjects) == len(set(subjects))
            await same_as_stored(world)
            for rows in world.outbox.rows.values():
                assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
                assert all(json.loads(row.body)["type"] for row in rows)

    in_a_world(body, unstored_turns_max=3)


def test_a_journal_that_fills_up_is_rewritten_with_what_waits_and_loses_nothing() -> None:
    async def body(world: World) -> None:
        world.store.faults.fail_commits(DOWN)
        world.journal.holds_max = 24
        async with world.running_until_killed():
            for n in range(6):
                world.tap(f"k{n}", person(f"cus_{n}"))
                await world.sleep(0.01)
            await world.sleep(900)  # each is told to everybody again and again
            assert world.journal.rewrites > 0
            assert world.journal.outcomes["full"] == 0
            assert world.service.unpromised == 0
            world.tap("k6", person("cus_6"))
            await world.sleep(0.1)
        assert durables(world) == [True] * 7
        world.store.faults.fail_commits(0)
        async with world.running():
            await world.sleep(1)
            assert world.service.unstored == 0
            assert len((await world.stored()).incidents) == 7
            await same_as_stored(world)

    in_a_world(body, unstored_turns_max=4)


def test_what_a_full_journal_refused_is_promised_once_it_was_rewritten() -> None:
    async def body(world: World) -> None:
        world.store.faults.fail_commits(DOWN)
        world.journal.delay_s = 0.1
        async with world.running_until_killed():
            world.journal.refuses = "full"
            world.tap()
            await world.sleep(0.15)
            assert durables(world) == [False]
            world.journal.refuses = ""  # the rewriting that began at the refusal makes room
            await world.sleep(1)
            assert durables(world) == [False, True]
            assert (world.service.unpromised, world.journal.rewrites) == (0, 1)

    in_a_world(body)


def test_rewriting_that_breaks_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def body(world: World) -> None:
        world.store.faults.fail_commits(DOWN)
        world.journal.holds_max = 4

        async def broken(entries: object) -> bool:
            raise ValueError("a bug")

        world.journal.rewrite = broken  # type: ignore[method-assign]
        async with world.running():
            for n in range(6):
                world.tap(f"k{n}", person(f"cus_{n}"))
                await world.sleep(0.1)
            assert durables(world) == [True] * 4 + [False] * 2
            world.store.faults.fail_commits(0)
            await world.sleep(6)
            assert world.service.unstored == 0

    in_a_world(body)
    assert "could not be rewritten" in caplog.text
