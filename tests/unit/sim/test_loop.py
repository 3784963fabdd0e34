import asyncio
import sqlite3
import time
from pathlib import Path

import pytest

from sim.clock import SeededIds, VirtualClock, stream_of
from sim.loop import Deadlock, VirtualTimeLoop, pending_timers, run


def test_27_hours_of_waiting_take_a_moment() -> None:
    async def day() -> tuple[float, list[int]]:
        loop = asyncio.get_running_loop()
        order: list[int] = []

        async def nap(n: int) -> None:
            for _ in range(27):
                await asyncio.sleep(3600 + n * 1e-3)
                order.append(n)

        await asyncio.gather(*(nap(n) for n in range(10)))
        return loop.time(), order

    began = time.perf_counter()
    first, second = run(day()), run(day())
    assert time.perf_counter() - began < 30.0  # of real time, for 54 hours; a busy machine is slow
    assert first == second
    assert first[0] == pytest.approx(27 * 3600.243 / 1.0, rel=1e-4)


def test_timeouts_fire_at_their_own_number() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout_at(1234.56789):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run(main()) == 1234.56789


def test_waiting_for_nothing_is_an_error_not_a_hang() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        run(main())


def test_executor_jobs_run_on_the_loop_and_take_the_modelled_time() -> None:
    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        value = await asyncio.to_thread(lambda: 7)
        assert value == 7
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 / 0)
        return loop.time(), loop.jobs

    assert run(main()) == (0.0, 2)
    assert run(main(), latency_s=lambda: 0.25) == (0.5, 2)


def test_sqlite_through_the_executor_replays_identically(tmp_path: Path) -> None:
    async def main(path: Path) -> list[tuple[float, int, int]]:
        loop = asyncio.get_running_loop()
        database = await loop.run_in_executor(None, lambda: sqlite3.connect(path, check_same_thread=False))
        await loop.run_in_executor(None, database.execute, "create table t (who, n)")
        log: list[tuple[float, int, int]] = []

        async def write(who: int) -> None:
            for n in range(20):
                await asyncio.sleep(0.001 * (who + 1))
                await loop.run_in_executor(None, database.execute, "insert into t values (?, ?)", (who, n))
                log.append((loop.time(), who, n))

        await asyncio.gather(*(write(w) for w in range(5)))
        rows = database.execute("select who, n from t order by rowid").fetchall()
        database.close()
        assert len(rows) == 100
        return log

    assert run(main(tmp_path / "a.db")) == run(main(tmp_path / "b.db"))


def test_sockets_are_refused() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="no sockets"):
            await asyncio.open_connection("127.0.0.1", 9)

    run(main())


def test_the_clock_follows_the_loop() -> None:
    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        clock = VirtualClock(loop, start_at=1000.0)
        loop.call_later(5, lambda: None)
        assert pending_timers(loop)[0] == 5.0
        await asyncio.sleep(2.5)
        return clock.now(), clock.monotonic()

    assert run(main()) == (1002.5, 2.5)


def test_ids_and_streams_follow_from_the_seed() -> None:
    one, same, other = SeededIds(1), SeededIds(1), SeededIds(2)
    ids = [one.new("ord_") for _ in range(100)]
    assert ids == [same.new("ord_") for _ in range(100)]
    assert len({*ids, *(other.new("ord_") for _ in range(100))}) == 200
    assert stream_of(1, "phone", 3).random() == stream_of(1, "phone", 3).random()
    assert stream_of(1, "phone", 3).random() != stream_of(1, "phone", 4).random()
