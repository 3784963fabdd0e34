"""The disk at the level of system calls: ended in the middle, failing, lying, losing what was not synced."""

import asyncio
import os
import random
import signal
import time
import zlib
from contextlib import suppress
from pathlib import Path

import pytest

from store.journal import FILE_NAME
from store.journal_file import BLOCK_BYTES
from tests.faults.injected import traced, waited_s
from tests.faults.oracle import Oracle, look
from tests.faults.plant import Plant
from tests.faults.power import disks_after_a_power_cut, recorded

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

DISK_CALLS = "pwrite64,fdatasync,fsync,ftruncate"
OTHER_CALLS = "sendto,sendmsg,write,writev,recvfrom,recvmsg,read"
CALLS_MAX = 80


def files(plant: Plant) -> list[Path]:
    return [plant.data / name for name in ("safety.db", "safety.db-wal", "safety.db-shm")]


async def _killed_at_call(plant: Plant, number: int, calls: str, paths: list[Path]) -> bool:
    """Tap, and be killed at the call with this number; False when the answer came first."""
    if not plant.node.is_running:
        await plant.start()
    await plant.consoles_online()
    async with traced(
        plant.node.pid, "-e", f"trace={calls}", "-e", f"inject={calls}:signal=SIGKILL:when={number}", paths=paths
    ):
        ack = await plant.tap_once(f"k{number}", f"cus_{number}")
        if ack is not None:
            return False
        await plant.ended()
    assert plant.node.wait() == -9
    plant.oracle.check_promises(plant.look())
    return True


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.full)])
async def test_row_02_killed_at_every_call_to_the_disk_it_is_all_or_nothing(plant: Plant, step: int) -> None:
    """Some of the calls at each run, all of them in the long one."""
    async with plant.people():
        number = 1
        while await _killed_at_call(plant, number, DISK_CALLS, files(plant)):
            number += step
            assert number < CALLS_MAX
        assert number > 3, "an SOS is written and synced by a few calls"
        print(f"killed at {number // step} of some {number} calls to the disk")
        await asyncio.sleep(0.5)
        if not plant.node.is_running:  # its call came after the answer, before the tracer had let go
            await plant.start()
        await plant.end()


async def test_row_02_killed_at_every_other_call_of_a_thread_as_well(plant: Plant) -> None:
    """Reading the request, waking each other, telling the consoles, answering."""
    async with plant.people():
        number = 1
        while await _killed_at_call(plant, number, OTHER_CALLS, []):
            number += 1
            assert number < CALLS_MAX
        assert number > 2
        await asyncio.sleep(0.5)
        if not plant.node.is_running:
            await plant.start()
        await plant.end()


@pytest.mark.parametrize(
    ("step", "variants"), [(4, 1), pytest.param(1, 20, marks=[pytest.mark.full, pytest.mark.timeout(1200)])]
)
async def test_row_08_whatever_a_power_cut_loses_of_what_was_not_synced_every_promise_is_there(
    plant: Plant, tmp_path: Path, step: int, variants: int
) -> None:
    async with plant.people():
        async with recorded(plant.node.pid, plant.data, tmp_path / "trace") as recording:
            for n in range(3):
                await plant.tap(f"k{n}", f"cus_{n}")
            await asyncio.sleep(1.3)  # the writer folds its log, and begins it anew
            await plant.tap("k3", "cus_3")
            with plant.locked():
                for n in range(4, 7):
                    await plant.tap(f"k{n}", f"cus_{n}")
            await plant.until("doorstep_safety_unstored", 0)
            await plant.tap("k7", "cus_7")
        await plant.end()
    cuts = 0
    rng = random.Random(8)
    most = 0
    for promised, disk in disks_after_a_power_cut(recording, tmp_path / "cut", rng, step, variants):
        oracle = Oracle(promised={key: plant.oracle.promised[key] for key in promised})
        oracle.check_promises(look(disk, tmp_path / "copy"))
        cuts += 1
        most = max(most, len(promised))
    print(f"{cuts} power cuts, {len(recording.calls)} calls, {most} promises at the last")
    assert most == 8
    assert cuts > 50


def _frame_with(content: bytearray, text: bytes) -> int:
    """Where the journal's frame that says ``text`` begins."""
    for at in range(0, len(content), BLOCK_BYTES):
        if content[at : at + 4] == b"DSJF":
            with suppress(zlib.error):
                if text in zlib.decompressobj().decompress(content[at + 32 :]):
                    return at
    raise AssertionError(f"no frame says {text!r}")


async def test_row_09_a_journal_with_a_damaged_tail_gives_back_the_rest_and_sounds_the_alarm(plant: Plant) -> None:
    async with plant.people():
        with plant.locked():
            for n in range(3):
                await plant.tap(f"k{n}", f"cus_{n}")
            plant.node.kill()
        journal = plant.data / FILE_NAME
        content = bytearray(journal.read_bytes())
        content[_frame_with(content, b"\xa3key\xa2k2") + 60] ^= 0x10
        journal.write_bytes(content)
        assert plant.look().journaled.keys() == {"k0", "k1"}
        del plant.oracle.promised["k2"]  # its disk has lost it: that is told, and its phone repeats it
        del plant.oracle.heard["k2"]
        await plant.start()
        assert await plant.metric("doorstep_journal_turns") == 1
        assert "the emergency journal was damaged" in plant.node.log_tail()
        await plant.until("doorstep_safety_unstored", 0)
        for device in plant.oracle.received:
            plant.oracle.received[device].clear()  # the one that is lost was heard of
        for console in plant.consoles:
            console.heard_at.clear()
        ack = await plant.tap("k2", "cus_2")
        await plant.heard(ack["incident"])
        assert plant.node.stop() == 0
        stored = plant.look()
        plant.oracle.check_promises(stored)
        assert stored.taps.keys() == {"k0", "k1", "k2"}


@pytest.mark.parametrize("when", ["1", pytest.param("1+", marks=pytest.mark.full)])
async def test_row_10_after_a_sync_that_failed_the_store_is_fenced_the_journal_used_and_the_process_ends_itself(
    plant: Plant, when: str
) -> None:
    plant.node.kill()
    plant.configure(stop_wait_s=0.5)
    plant.node.start()
    async with plant.people():
        inject = f"inject=fdatasync,fsync:error=EIO:when={when}"
        async with traced(plant.node.pid, "-e", "trace=fdatasync,fsync", "-e", inject, paths=files(plant)):
            ack = await plant.tap_once("k1")
            assert ack is not None
            assert ack["durable"], "the journal has it"
            await plant.ended()
        assert plant.node.wait() == 75
        stored = plant.look()
        plant.oracle.check_promises(stored)
        assert "k1" in stored.journaled
        assert "fenced" in plant.node.log_tail()
        await plant.start()
        await plant.tap("k2", "cus_2")
        await plant.end()


async def test_row_16_a_commit_that_takes_too_long_and_is_stored_all_the_same_is_there_once(plant: Plant) -> None:
    async with plant.people():
        inject = "inject=fdatasync:delay_exit=1500000:when=1"
        async with traced(plant.node.pid, "-e", "trace=fdatasync", "-e", inject, paths=files(plant)):
            began = time.monotonic()
            ack = await plant.tap_once("k1")
            assert waited_s(began) < 0.6
            assert ack is not None
            assert ack["durable"]
            await plant.heard(ack["incident"], 1.0)
            os.kill(plant.node.pid, signal.SIGKILL)
        plant.node.wait()
        stored = plant.look()
        assert "k1" in stored.journaled
        await plant.start()
        await plant.end()


@pytest.mark.parametrize("error", ["EROFS", "EACCES"])
async def test_row_17_on_a_disk_that_may_not_be_written_the_sos_is_kept_and_told(plant: Plant, error: str) -> None:
    async with plant.people():
        inject = f"inject=pwrite64,ftruncate:error={error}"
        async with traced(plant.node.pid, "-e", "trace=pwrite64,ftruncate", "-e", inject, paths=files(plant)):
            began = time.monotonic()
            for n in range(3):
                ack = await plant.tap_once(f"k{n}", f"cus_{n}")
                assert ack is not None
                assert ack["durable"]
                await plant.heard(ack["incident"], 1.0)
            assert waited_s(began) < 2.0
            assert await plant.metric("doorstep_safety_unstored") > 0
        await plant.end()
