"""kill -9 at every point of the raise path (rows 1 to 7 of the fault table)."""

import asyncio
import time

import pytest

from tests.faults.plant import Plant

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


async def _killed_at(plant: Plant, point: str, key: str = "k1", user: str = "cus_1") -> None:
    """A life that ends at a point while somebody taps; the promises hold in its files."""
    plant.node.kill()
    await plant.start(crash=point)
    ack = await plant.tap_once(key, user)
    assert await plant.dead() == -9
    assert (ack is None) or point in ("answered", "received", "widening", "widened")
    plant.oracle.check_promises(plant.look())


async def test_row_01_killed_after_the_frame_was_read_nothing_is_said_and_the_repeat_is_one_incident(
    plant: Plant,
) -> None:
    async with plant.people():
        await _killed_at(plant, "taken")
        assert plant.look().taps == {}
        await plant.start()
        ack = await plant.tap("k1")
        answered_at = time.monotonic()
        assert await plant.heard(ack["incident"]) - answered_at < 1.0
        await plant.end()


async def test_row_03_killed_after_the_commit_the_repeat_is_told_the_same_incident(plant: Plant) -> None:
    async with plant.people():
        await _killed_at(plant, "stored")
        (incident,) = plant.look().incidents
        await plant.start()
        assert (await plant.tap("k1"))["incident"] == incident
        await plant.end()


async def test_row_04_killed_when_it_was_answered_everybody_is_told_within_five_seconds_of_the_start(
    plant: Plant,
) -> None:
    async with plant.people():
        for life in range(2):
            await _killed_at(plant, "answered", f"k{life}", f"cus_{life}")
            incident = plant.look().taps[f"k{life}"]
            plant.node.begin()
            began = time.monotonic()
            await asyncio.to_thread(plant.node.wait_ready)
            await plant.heard(incident, 5.0)
            assert time.monotonic() - began < 5.0
        await plant.end()


async def test_row_05_killed_before_a_receipt_was_noted_the_message_comes_again_as_the_same_row(plant: Plant) -> None:
    async with plant.people():
        await _killed_at(plant, "received")
        await plant.start()
        await plant.end()
        received = [got for (_, _, stream), got in plant.ledger.received.items() if stream == "safety"]
        assert received, "the ledger holds every row to one body: a second sending is the same message"
        assert all(not got.missing for got in received)


@pytest.mark.parametrize("point", ["widened", pytest.param("widening", marks=pytest.mark.full)])
async def test_row_06_killed_while_it_spreads_every_level_is_reached_once(plant: Plant, point: str) -> None:
    plant.node.kill()
    plant.configure(level_1_after_s=1.0, level_2_after_s=2.0, level_3_after_s=3.0)
    async with plant.people(online=False):
        await plant.start(crash=point)
        await plant.consoles_online()
        ack = await plant.tap("k1")
        assert await plant.dead() == -9
        plant.oracle.check_promises(plant.look())
        await plant.start()
        async with asyncio.timeout(10):
            while plant.history(ack["incident"])[-1]["level"] < 3:
                await asyncio.sleep(0.1)
        assert [e["level"] for e in plant.history(ack["incident"]) if e["what"] == "widened"] == [1, 2, 3]
        await plant.end()


@pytest.mark.parametrize("times", [3, pytest.param(50, marks=pytest.mark.full)])
async def test_row_07_killed_again_and_again_while_it_recovers_it_comes_to_the_same(plant: Plant, times: int) -> None:
    async with plant.people():
        for n in range(4):
            with plant.locked():
                await plant.tap(f"k{n}", f"cus_{n}")
        with plant.locked():
            for n in range(4, 8):
                await plant.tap(f"k{n}", f"cus_{n}")
            plant.node.kill()
        assert plant.look().journaled.keys() >= {"k4", "k5", "k6", "k7"}
        for n in range(times):
            plant.node.begin(("loading", "replaying", "replayed")[n % 3])
            assert await plant.dead() == -9
            plant.oracle.check_promises(plant.look())
        await plant.start()
        await plant.until("doorstep_safety_unstored", 0)
        await plant.end()


@pytest.mark.parametrize(
    "point",
    ["rewritten", *(pytest.param(point, marks=pytest.mark.full) for point in ("rewriting", "flipped"))],
)
async def test_row_07_killed_while_the_journal_is_rewritten_every_promise_is_kept(plant: Plant, point: str) -> None:
    plant.node.kill()
    plant.configure(unstored_turns_max=4, commit_wait_s=0.05)
    async with plant.people(online=False):
        await plant.start(crash=point)
        await plant.consoles_online()
        with plant.locked():
            for n in range(400):  # half of half a MiB is 64 blocks
                if not plant.node.is_running:
                    break
                await plant.tap_once(f"k{n}", f"cus_{n % 5}")
            assert await plant.dead() == -9
        assert len(plant.oracle.promised) > 10
        plant.oracle.check_promises(plant.look())
        await plant.start()
        await plant.end()
