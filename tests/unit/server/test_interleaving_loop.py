"""The server's loop: like any asyncio loop, and what is ready or due can be run early, in the same order."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.interleaving_loop import InterleavingLoop
from server.read_lag import ReadLag

ROOT = Path(__file__).parents[3]


@pytest.fixture
def loop() -> Iterator[InterleavingLoop]:
    loop = InterleavingLoop()
    yield loop
    loop.close()


def test_tasks_timers_and_threads_work_as_on_any_loop() -> None:
    async def main() -> list[str]:
        order: list[str] = []
        loop = asyncio.get_running_loop()
        loop.call_later(0.02, order.append, "later")
        loop.call_soon(order.append, "soon")
        order.append(await loop.run_in_executor(None, lambda: "thread"))
        await asyncio.sleep(0.05)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        return order

    with asyncio.Runner(loop_factory=InterleavingLoop) as runner:
        assert runner.run(main()) == ["soon", "thread", "later"]


def test_what_is_ready_runs_between_two_frames_and_once(loop: InterleavingLoop) -> None:
    order: list[str] = []

    reader, writer = socket.socketpair()
    writer.send(b"two frames")

    def read_frames() -> None:
        reader.recv(64)
        order.append("frame 1")
        loop.call_soon(order.append, "first")
        loop.call_soon(order.append, "second")
        loop.run_ready()
        order.append("frame 2")
        loop.call_soon(loop.stop)

    loop.add_reader(reader, read_frames)
    loop.run_forever()
    loop.remove_reader(reader)
    reader.close()
    writer.close()
    assert order == ["frame 1", "first", "second", "frame 2"]
    assert not loop.ready


def test_what_becomes_ready_meanwhile_waits_for_the_next_frame(loop: InterleavingLoop) -> None:
    order: list[int] = []

    def again(n: int) -> None:
        order.append(n)
        loop.call_soon(again, n + 1)

    loop.call_soon(again, 0)
    loop.run_ready()
    loop.run_ready()
    assert order == [0, 1]


def test_nothing_runs_inside_a_callback(loop: InterleavingLoop) -> None:
    order: list[str] = []

    def outer() -> None:
        loop.run_ready()
        order.append("outer")

    loop.call_soon(outer)
    loop.call_soon(order.append, "inner")
    loop.run_ready()
    assert order == ["outer", "inner"]


def test_a_timer_that_is_due_runs_in_a_long_pass(loop: InterleavingLoop) -> None:
    rung: list[float] = []
    loop.call_later(0.01, lambda: rung.append(loop.time()))
    due_at = loop.due_at
    loop.run_ready()
    assert rung == []
    while loop.clock() < due_at:
        pass
    loop.run_ready()
    assert len(rung) == 1
    assert loop.due_at == float("inf")


def test_a_cancelled_callback_does_not_run(loop: InterleavingLoop) -> None:
    ran: list[str] = []
    loop.call_soon(ran.append, "soon").cancel()
    loop.call_later(0.0, ran.append, "later").cancel()
    loop.run_ready()
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert ran == []


def test_an_earlier_timer_wakes_a_sleeping_loop_before_a_later_one(loop: InterleavingLoop) -> None:
    order: list[str] = []
    began = loop.time()  # its own clock: timers count from the time it last looked, not from now
    loop.call_later(0.05, loop.stop)
    loop.call_later(0.03, order.append, "b")
    loop.call_later(0.01, order.append, "a")
    loop.run_forever()
    assert order == ["a", "b"]
    assert loop.time() - began >= 0.049


def test_timers_that_were_cancelled_do_not_pile_up(loop: InterleavingLoop) -> None:
    kept = [loop.call_later(60, print) for _ in range(10)]
    for _ in range(10_000):
        loop.call_later(60, print).cancel()
    assert len(loop._timers) < 300
    assert sum(timer in loop._timers for timer in kept) == 10


def test_another_thread_wakes_the_loop(loop: InterleavingLoop) -> None:
    thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(loop.stop))
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()


def test_a_callback_that_fails_is_reported_and_the_next_one_runs(loop: InterleavingLoop) -> None:
    told: list[str] = []
    loop.set_exception_handler(lambda _, context: told.append(str(context["exception"])))
    loop.call_soon(lambda: 1 / 0)
    loop.call_soon(told.append, "next")
    loop.run_ready()
    assert told == ["division by zero", "next"]


def test_a_closed_loop_takes_nothing() -> None:
    loop = InterleavingLoop()
    loop.close()
    with pytest.raises(RuntimeError):
        loop.call_soon(print)


async def test_the_read_lag_is_how_long_a_byte_waits() -> None:
    waits: list[float] = []
    lag = ReadLag(waits.append)
    assert lag() == 0.0
    await asyncio.sleep(0.01)
    assert len(waits) == 1
    lag()
    time.sleep(0.05)  # nothing is read meanwhile
    assert lag() >= 0.05
    await asyncio.sleep(0.01)
    assert waits[1] >= 0.05
    assert len(waits) == 3
    lag.close()


async def test_probes_that_are_never_read_are_bounded() -> None:
    waits: list[float] = []
    lag = ReadLag(waits.append)
    for _ in range(1_000):
        lag()
    assert waits == []
    await asyncio.sleep(0.01)
    assert 1 < len(waits) < 100
    lag.close()


WITHOUT_UVLOOP = """
import sys
sys.modules["uvloop"] = None
import asyncio
from server.interleaving_loop import InterleavingLoop
assert issubclass(InterleavingLoop, asyncio.SelectorEventLoop)

async def main():
    rung = []
    loop = asyncio.get_running_loop()
    loop.call_later(0.01, rung.append, 1)
    await asyncio.sleep(0.05)
    assert rung == [1]
    try:
        await asyncio.wait_for(asyncio.Event().wait(), 0.02)
    except TimeoutError:
        rung.append(2)
    for _ in range(300):
        loop.call_later(60, print).cancel()
    rung.append(await loop.run_in_executor(None, lambda: 3))
    assert rung == [1, 2, 3]

with asyncio.Runner(loop_factory=InterleavingLoop) as runner:
    runner.run(main())
"""


def test_it_works_on_asyncios_own_loop_where_there_is_no_uvloop() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_UVLOOP], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
