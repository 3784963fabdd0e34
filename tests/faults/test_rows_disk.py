"""A disk that is full, a database that somebody else holds (rows 12 to 15 of the fault table)."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.faults.injected import fill, small_disk, waited_s
from tests.faults.plant import Plant
from tests.faults.zygote import Zygote

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

DISK_MIB = 16


@asynccontextmanager
async def on_a_small_disk(tmp_path: Path, zygote: Zygote, *, reserve_mib: int) -> AsyncIterator[Plant]:
    """A server whose data folder is a disk of its own."""
    safety = {"journal": {"size_mib": 1, "reserve_mib": reserve_mib}, "unstored_turns_max": 4, "stop_wait_s": 1.0}
    plant = Plant(tmp_path, zygote, {"safety": safety})
    with small_disk(plant.data, DISK_MIB) as (keeper, seen):
        plant.node.inside, plant.data = keeper, seen
        try:
            await plant.start()
            async with plant.people():
                yield plant
        finally:
            plant.node.kill()


async def test_row_12_on_a_full_disk_the_sos_is_kept_and_told_and_positions_go_first(
    tmp_path: Path, zygote: Zygote
) -> None:
    async with on_a_small_disk(tmp_path, zygote, reserve_mib=4) as plant:
        assert await plant.metric("doorstep_reserve_held") == 1
        filler = fill(plant.data)
        for n in range(20):
            began = time.monotonic()
            ack = await plant.tap_once(f"k{n}", f"cus_{n}")
            assert waited_s(began) < 0.7
            assert ack is not None
            assert ack["durable"]
            await plant.heard(ack["incident"], 1.0)
        await plant.until("doorstep_safety_unstored", 0)
        assert await plant.metric("doorstep_reserve_released") == 1
        assert await plant.metric("doorstep_reserve_held") == 0
        assert await plant.metric("doorstep_journal_turns") > 0
        plant.node.kill()
        plant.oracle.check_promises(plant.look())
        await plant.start()  # a full disk does not keep it from starting
        filler.unlink()
        await plant.until("doorstep_reserve_held", 1)
        await plant.end()


async def test_row_13_with_disk_and_journal_full_it_is_told_as_not_durable_and_heard_until_there_is_room(
    tmp_path: Path, zygote: Zygote
) -> None:
    async with on_a_small_disk(tmp_path, zygote, reserve_mib=0) as plant:
        filler = fill(plant.data)
        undurable: list[str] = []
        rng = random.Random(13)

        async def one(n: int) -> None:
            note = "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(400))  # the journal compresses what it can
            ack = await plant.tap_once(f"k{n}", f"cus_{n}", note)
            assert ack is not None
            if not ack["durable"]:
                undurable.append(ack["incident"])

        for start in range(0, 1_000, 200):
            await asyncio.gather(*(one(n) for n in range(start, start + 200)))
            if undurable:
                break
        assert undurable, "the journal was never full"
        assert "'full'" in plant.node.log_tail() or '"full"' in plant.node.log_tail()
        assert await plant.metric("doorstep_safety_unpromised") > 0
        for incident in undurable:
            await plant.heard(incident)
        filler.unlink()
        await plant.until("doorstep_safety_unpromised", 0, 40)
        await plant.end()


@pytest.mark.parametrize("lock_s", [2.0, pytest.param(10.0, marks=pytest.mark.full)])
async def test_row_14_with_a_locked_database_the_sos_is_promised_within_half_a_second_and_stored_once(
    plant: Plant, lock_s: float
) -> None:
    async with plant.people():
        with plant.locked():
            began = time.monotonic()
            n = 0
            while waited_s(began) < lock_s:
                tapped = time.monotonic()
                ack = await plant.tap_once(f"k{n}", f"cus_{n % 5}")
                assert waited_s(tapped) < 0.7, "300 ms for the database, some for the journal, some for this machine"
                assert ack is not None
                assert ack["durable"]
                await plant.heard(ack["incident"], 1.0)
                n += 1
                await asyncio.sleep(0.1)
        await plant.until("doorstep_safety_unstored", 0)
        await plant.end()


async def test_row_14_locked_while_it_dies_and_while_it_starts_again(plant: Plant) -> None:
    async with plant.people():
        with plant.locked():
            for n in range(3):
                await plant.tap(f"k{n}", f"cus_{n}")
            plant.node.kill()
        plant.oracle.check_promises(plant.look())
        await plant.start()
        await plant.end()
