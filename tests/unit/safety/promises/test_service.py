"""What is promised around the engine: what was called durable stays (P1), nobody waits behind a flood (P19)."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import sim.loop
from core.ids import IncidentId, UserId
from safety.events import DeliveryReceived
from safety.model import SosReport
from server.system import SLEW_MAX, SystemClock
from store.memory_journal import MemoryJournal
from tests.unit.safety.neighbourhood import ACME, ANNA, T0, ladder, person, town
from tests.unit.safety.promises.history import often
from tests.unit.safety.safety_world import Post, World

FAULTS = ("database down", "database lies", "database slow", "journal full", "journal slow", "all well")
COMMIT_S = 0.01


def _break(world: World, what: str) -> None:
    world.store.faults.fail_commits(0)
    world.store.faults.delay_s = world.journal.delay_s = 0.0
    world.journal.refuses = ""
    match what:
        case "database down":
            world.store.faults.fail_commits(1_000_000)
        case "database lies":
            world.store.faults.fail_commits(2, stored_anyway=True)
        case "database slow":
            world.store.faults.delay_s = 1.5
        case "journal full":
            world.store.faults.fail_commits(1_000_000)
            world.journal.refuses = "full"
        case "journal slow":
            world.store.faults.fail_commits(1_000_000)
            world.journal.delay_s = 1.0


LIVES = st.lists(
    st.tuples(
        st.sampled_from(FAULTS),
        st.lists(st.tuples(st.sampled_from(["cus_anna", "cus_bea"]), st.floats(0.0, 2.0)), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=4,
)
"""Processes, one after the other: what is wrong, and who taps with how long a wait after it; then it is killed."""


@often(30)
@given(LIVES)
def test_p01_what_was_acknowledged_as_durable_is_there_after_any_crashes(lives: list[Any]) -> None:
    async def main() -> None:
        world, who_of, promised = World(town(), ladder()), dict[str, str](), dict[str, str]()
        for what, taps in lives:
            _break(world, what)
            world.post = Post(world.clock)
            async with world.running_until_killed():
                for user, wait_s in taps:
                    key = f"k{len(who_of)}"
                    who_of[key] = user
                    world.tap(key, person(user))
                    await world.sleep(wait_s)
            promised |= {ack["key"]: ack["incident"] for ack in world.post.of("sos_ack") if ack["durable"]}
            held, world.journal = world.journal.payloads, MemoryJournal()
            world.journal.payloads += held  # what was on its way to the disk went with the process
        _break(world, "all well")
        async with world.running():
            await world.sleep(10)
            state = await world.stored()
            stored = {trigger.key: trigger.incident_id for trigger in state.triggers}
            assert {key: stored.get(key) for key in promised} == promised
            for key, incident in promised.items():
                world.tap(key, person(who_of[key]))
                await world.sleep(0.1)
                again = world.post.of("sos_ack")[-1]
                assert (again["key"], again["incident"]) == (key, incident), "the same key is the same incident"
            assert len(state.incidents) == len({incident.subject for incident in state.incidents}), "once each"

    sim.loop.run(main())


@often(25)
@given(st.integers(0, 2_000), st.integers(0, 500), st.floats(0, 1), st.booleans())
def test_p19_a_flood_of_one_person_does_not_hold_the_first_tap_of_another(
    taps: int, receipts: int, share: float, reuse: bool
) -> None:
    async def main() -> None:
        world = World(town(), ladder())
        world.store.faults.delay_s = COMMIT_S
        async with world.running():
            before = int(taps * share)
            for n in range(taps):
                if n == before:
                    break
                world.tap("k0" if reuse else f"k{n}", ANNA, SosReport("k0" if reuse else f"k{n}"))
            for _ in range(receipts):
                world.service.post(DeliveryReceived(ACME, UserId("tec_00"), IncidentId("inc_none")))
            began = world.now()
            world.tap("bea", person("cus_bea"))
            for n in range(before, taps):
                world.tap(f"k{n}", ANNA, SosReport(f"k{n}"))
            while not [ack for ack in world.post.of("sos_ack", "answer") if ack["key"] == "bea"]:
                await world.sleep(COMMIT_S / 10)
                assert world.now() - began <= 3 * COMMIT_S, "within the turn under way and the next"
            (ack,) = (ack for ack in world.post.of("sos_ack", "answer") if ack["key"] == "bea")
            assert ack["durable"]
            rung = [m["incident"] for _, how, who, m in world.post.sent if (how, who) == ("row", "ops_0")]
            assert ack["incident"] in rung, "and told by then"

    sim.loop.run(main())


@often(60)
@given(st.lists(st.tuples(st.floats(0.001, 90.0), st.floats(-3_600, 3_600)), min_size=1, max_size=40))
def test_p20_a_wall_clock_that_steps_by_an_hour_moves_no_timer(steps: list[tuple[float, float]]) -> None:
    """Timers wait until the server's time has come to them: it runs as the monotonic clock does, whatever is set."""
    passed_s, set_by_s = 0.0, 0.0
    clock = SystemClock(lambda: T0 + passed_s + set_by_s, lambda: passed_s)
    began, last = clock.now(), clock.now()
    for wait_s, step_s in steps:
        passed_s += wait_s
        set_by_s += step_s
        now = clock.now()
        assert now >= last, "order is kept"
        assert abs((now - began) - passed_s) <= 1e-6 + SLEW_MAX * passed_s * 2, "and so is every wait"
        last = now
