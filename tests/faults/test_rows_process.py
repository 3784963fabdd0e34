"""The process in trouble: out of descriptors or memory, standing still, stopped, ended in the middle of a burst."""

import asyncio
import os
import resource
import shutil
import signal
import socket
import sqlite3
import time
from pathlib import Path

import pytest
from doorstep_client.connection import Client
from doorstep_client.outbox import Outbox

from server.migration import migrate_folder
from tests.faults.injected import traced, waited_s
from tests.faults.plant import Plant
from tests.faults.zygote import Node, Zygote

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

BURST = 120


async def _ready(plant: Plant) -> bool:
    async with plant.http.get(f"{plant.node.admin_url}/readyz") as answer:
        return answer.status == 200


async def _burst(plant: Plant, count: int, name: str = "k") -> None:
    """Many people at once, each until promised."""
    await asyncio.gather(*(plant.tap(f"{name}{n}", f"{name}_{n}", 60.0) for n in range(count)))


async def test_row_18_without_a_file_descriptor_to_spare_whoever_is_connected_is_served_and_it_recovers(
    plant: Plant,
) -> None:
    async with plant.people():
        await plant.tap("k0", "cus_0")  # its connection stays
        used = len(list(Path(f"/proc/{plant.node.pid}/fd").iterdir()))
        limits = resource.prlimit(plant.node.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(plant.node.pid, resource.RLIMIT_NOFILE, (used, limits[1]))
        idle = [socket.create_connection(("127.0.0.1", plant.node.hub_port), timeout=2) for _ in range(30)]
        for n in range(1, 4):
            ack = await plant.tap_once(f"k{n}", f"cus_{n}")
            assert ack is not None
            assert ack["durable"]
            await plant.heard(ack["incident"], 2.0)
        for connection in idle:
            connection.close()
        resource.prlimit(plant.node.pid, resource.RLIMIT_NOFILE, limits)
        began = time.monotonic()
        while not await asyncio.to_thread(plant.node._is_ready):
            assert waited_s(began) < 10, "it does not accept any more"
            await asyncio.sleep(0.05)
        await plant.end()


async def test_row_19_out_of_memory_it_may_die_and_no_promise_with_it(plant: Plant) -> None:
    async with plant.people():
        plant.may_fail = True
        await plant.tap("k0", "cus_0")
        status = Path(f"/proc/{plant.node.pid}/status").read_text()
        size = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmSize")) * 1024
        resource.prlimit(plant.node.pid, resource.RLIMIT_AS, (size + 2_000_000, resource.RLIM_INFINITY))
        for start in range(0, 200, 50):
            await asyncio.gather(*(plant.tap_once(f"k{n}", f"cus_{n}") for n in range(start, start + 50)))
        plant.node.kill()
        plant.oracle.check_promises(plant.look())
        plant.may_fail = False
        await plant.start()
        await plant.end()


async def test_row_20_a_loop_that_stands_still_is_noticed_makes_the_node_unready_and_doubles_nothing(
    plant: Plant,
) -> None:
    plant.node.kill()
    await plant.start(crash="standing")
    async with plant.people():
        assert await _ready(plant)
        ack = await plant.tap_once("k1")
        assert ack is not None
        assert ack["durable"]
        assert not await _ready(plant)
        assert await plant.metric("doorstep_loop_stalls") >= 1  # a busy machine adds its own
        assert "crash_points" in plant.node.log_tail(), "the line names the place"
        began = time.monotonic()
        while not await _ready(plant):
            assert waited_s(began) < 10
            await asyncio.sleep(0.1)
        assert waited_s(began) > 3
        await plant.end()


@pytest.mark.parametrize("stopped_s", [3.5, pytest.param(30.0, marks=pytest.mark.full)])
async def test_row_21_stopped_and_continued_it_takes_up_what_waited_and_no_level_comes_twice(
    plant: Plant, stopped_s: float
) -> None:
    plant.node.kill()
    plant.configure(level_1_after_s=1.0, level_2_after_s=2.0, level_3_after_s=3.0)
    plant.node.start()
    async with plant.people():
        ack = await plant.tap("k1")
        os.kill(plant.node.pid, signal.SIGSTOP)
        waiting = [asyncio.create_task(plant.tap_once(f"w{n}", f"cus_w{n}")) for n in range(3)]
        await asyncio.sleep(stopped_s)
        os.kill(plant.node.pid, signal.SIGCONT)
        await asyncio.gather(*waiting)
        async with asyncio.timeout(8):
            while plant.history(ack["incident"])[-1]["level"] < 3:
                await asyncio.sleep(0.1)
        levels = [event["level"] for event in plant.history(ack["incident"]) if event["what"] == "widened"]
        assert levels == sorted(set(levels))
        assert await plant.metric("doorstep_loop_stalls") >= 1  # a busy machine adds its own
        await plant.end()


def test_row_26_there_is_no_redis_that_could_be_lost(zygote: Zygote) -> None:
    """One process holds everything: nothing that it imports knows of a bus between nodes."""
    assert zygote.ask(imported="server") == 1
    assert [zygote.ask(imported=name) for name in ("redis", "valkey")] == [0, 0]


async def test_row_30_a_database_whose_volume_hangs_is_as_good_as_gone(plant: Plant) -> None:
    """The nearest to a network between node and database that one process has: a sync that does not return."""
    async with plant.people():
        inject = "inject=fdatasync:delay_enter=4000000:when=1"
        names = ("safety.db", "safety.db-wal")
        paths = [plant.data / name for name in names]
        async with traced(plant.node.pid, "-e", "trace=fdatasync", "-e", inject, paths=paths):
            for n in range(5):
                began = time.monotonic()
                ack = await plant.tap_once(f"k{n}", f"cus_{n}")
                assert waited_s(began) < 0.7
                assert ack is not None
                assert ack["durable"]
                await plant.heard(ack["incident"], 1.0)
            assert await plant.metric("doorstep_safety_unstored") > 0
            await asyncio.sleep(3.5)
        await plant.end()


async def test_row_33_a_console_that_reads_nothing_holds_nobody_and_loses_no_alarm(plant: Plant) -> None:
    async with plant.people():
        frozen, other = plant.consoles
        frozen.reads.clear()
        slowest_s = 0.0
        for n in range(120):
            began = time.monotonic()
            ack = await plant.tap(f"k{n}", f"cus_{n % 40}")
            while ack["incident"] not in other.heard_at:
                assert waited_s(began) < 2, "somebody who reads nothing held up another"
                await asyncio.sleep(0.005)
            slowest_s = max(slowest_s, waited_s(began))
        print(f"slowest way to the console that reads: {slowest_s * 1000:.0f} ms")
        frozen.reads.set()
        await plant.end()


async def test_row_36_told_to_stop_in_a_burst_it_loses_nothing_and_ends_well(plant: Plant) -> None:
    async with plant.people():
        burst = asyncio.create_task(_burst(plant, BURST))
        while len(plant.oracle.heard) < BURST // 4:
            await asyncio.sleep(0.005)
        os.kill(plant.node.pid, signal.SIGTERM)
        assert await plant.dead(20) == 0
        plant.oracle.check_promises(plant.look())
        began = time.monotonic()
        await plant.start()
        await plant.consoles_online()
        assert waited_s(began) < 5
        await burst
        await plant.end()


async def test_row_36_told_to_stop_while_the_database_is_locked_the_journal_keeps_it(plant: Plant) -> None:
    plant.node.kill()
    plant.configure(stop_wait_s=0.5)
    plant.node.start()
    async with plant.people():
        with plant.locked():
            for n in range(3):
                await plant.tap(f"k{n}", f"cus_{n}")
            os.kill(plant.node.pid, signal.SIGTERM)
            assert await plant.dead(20) == 0
        stored = plant.look()
        assert stored.taps == {}
        plant.oracle.check_promises(stored)
        await plant.start()
        await plant.end()


async def test_row_40_a_wall_clock_that_jumps_by_hours_moves_no_timer_and_no_order(plant: Plant) -> None:
    plant.node.kill()
    plant.configure(level_1_after_s=1.0, level_2_after_s=2.0, level_3_after_s=3.0)
    await plant.start(crash="jumping_wall")
    async with plant.people():
        began = time.monotonic()
        ack = await plant.tap("k1")
        async with asyncio.timeout(8):
            while plant.history(ack["incident"])[-1]["level"] < 3:
                await asyncio.sleep(0.05)
        assert 2.8 < waited_s(began) < 5.0
        history = plant.history(ack["incident"])
        assert [event["at"] for event in history] == sorted(event["at"] for event in history)
        widened = [event["at"] - history[0]["at"] for event in history if event["what"] == "widened"]
        assert widened == pytest.approx([1, 2, 3], abs=0.5)
        await plant.end()


@pytest.mark.parametrize("count", [250, pytest.param(1_000, marks=pytest.mark.full)])
async def test_row_64_a_thousand_people_at_once_are_all_kept_and_all_told(plant: Plant, count: int) -> None:
    async with plant.people():
        began = time.monotonic()
        await _burst(plant, count)
        promised_s = waited_s(began)
        for incident in set(plant.oracle.promised.values()):
            await plant.heard(incident, 30.0)
        print(f"{count} SOS at once: promised after {promised_s:.1f} s, on the consoles after {waited_s(began):.1f} s")
        assert promised_s < 30
        await plant.end()


async def test_row_77_after_a_restore_the_keys_that_people_still_hold_bring_their_alarms_back(plant: Plant) -> None:
    async with plant.people():
        await plant.tap("old", "cus_1")
        assert plant.node.stop() == 0
        shutil.copytree(plant.data, plant.folder / "backup")
        await plant.start()
        await plant.tap("newer", "cus_2")
        assert plant.node.stop() == 0
        shutil.rmtree(plant.data)
        shutil.copytree(plant.folder / "backup", plant.data)
        assert len(list(migrate_folder(plant.data, new_epoch=True))) == 4
        stored = plant.look()
        assert stored.taps.keys() == {"old"}
        plant.oracle.heard.pop("newer")
        plant.oracle.promised.pop("newer")
        for device in list(plant.oracle.received):
            plant.oracle.received[device].clear()
        plant.ledger.received.clear()
        await plant.start()
        again = await plant.tap("newer", "cus_2")
        assert (await plant.tap("old", "cus_1"))["incident"] == plant.oracle.promised["old"]
        await plant.heard(again["incident"])
        assert plant.node.stop() == 0
        assert plant.look().taps.keys() == {"old", "newer"}


async def test_row_77_the_client_offers_its_last_taps_to_a_restored_server_by_itself_also_after_its_own_restart(
    plant: Plant,
) -> None:
    outboxes = {user: Outbox(plant.folder / f"{user}.json") for user in ("cus_1", "cus_2")}

    def phone(user: str) -> Client:
        return Client(plant.node.hub_url, token=plant.token(user), device=user, outbox=outboxes[user])

    async with plant.people():
        assert plant.node.stop() == 0
        shutil.copytree(plant.data, plant.folder / "backup")
        await plant.start()
        async with phone("cus_1") as stays:  # the other one's app ends before the restore and starts after it
            async with phone("cus_2") as ends:
                lost = {(await stays.sos(note="one")).incident, (await ends.sos(note="two")).incident}
            assert plant.node.stop() == 0
            shutil.rmtree(plant.data)
            shutil.copytree(plant.folder / "backup", plant.data)
            assert len(list(migrate_folder(plant.data, new_epoch=True))) == 4
            plant.ledger.received.clear()
            plant.oracle.received.clear()
            await plant.start()
            async with phone("cus_2"), asyncio.timeout(20):
                while not all(
                    tap.epoch and tap.incident not in lost for box in outboxes.values() for tap in box.read()
                ):
                    await asyncio.sleep(0.05)
        for (tap,) in (box.read() for box in outboxes.values()):
            await plant.heard(tap.incident)
        assert plant.node.stop() == 0
        stored = plant.look()
    assert stored.taps == {tap.key: tap.incident for box in outboxes.values() for tap in box.read()}
    assert lost.isdisjoint(stored.incidents)


async def test_row_80_a_second_process_is_refused_and_a_foreign_hand_on_the_file_does_no_harm(plant: Plant) -> None:
    second = Node(plant.node._cities, plant.node._overrides, folder=plant.folder / "server")
    second.zygote = plant.node.zygote
    second.begin()
    assert second.wait() == 1
    assert "is in use by process" in " ".join(plant.node.log_tail().split())
    async with plant.people():
        stop = asyncio.Event()
        hand = asyncio.create_task(asyncio.to_thread(_handle, plant.data / "safety.db", stop))
        for n in range(60):
            ack = await plant.tap(f"k{n}", f"cus_{n % 7}")
            assert ack["durable"]
        stop.set()
        assert await hand > 10
        await plant.end()


def _handle(path: Path, stop: asyncio.Event) -> int:
    """Write locks, reads and checkpoints by somebody else, again and again; how often."""
    done = 0
    other = sqlite3.connect(path, isolation_level=None, timeout=0.01)
    while not stop.is_set():
        for statement in (
            "BEGIN IMMEDIATE",
            "SELECT count(*) FROM incidents",
            "ROLLBACK",
            "PRAGMA wal_checkpoint(PASSIVE)",
            "PRAGMA wal_checkpoint(TRUNCATE)",
        ):
            try:
                other.execute(statement).fetchall()
                done += 1
            except sqlite3.OperationalError:
                continue
        time.sleep(0.002)
    other.close()
    return done
