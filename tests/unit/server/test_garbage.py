"""Who collects what, and that everything is given back."""

import asyncio
import gc

from server.garbage import Collector


class Knot:
    """An object that only the cycle collector can free."""

    alive = 0

    def __init__(self) -> None:
        self.me = self
        Knot.alive += 1

    def __del__(self) -> None:
        Knot.alive -= 1


async def test_a_full_collection_comes_when_its_time_has_come_and_not_before() -> None:
    thresholds = gc.get_threshold()
    collector = Collector(0.05)
    collector.start()
    try:
        Knot()
        gc.collect(1)  # survivors of the young generations
        old = Knot()
        gc.collect(1)
        del old
        for _ in range(3):
            gc.collect(1)
        assert Knot.alive == 1
        assert gc.get_threshold()[2] > 1_000_000
        await asyncio.sleep(0.2)
        assert Knot.alive == 0
    finally:
        collector.stop()
    assert gc.get_threshold() == thresholds
    assert gc.get_freeze_count() == 0


async def test_a_full_collection_comes_early_when_much_has_grown_old() -> None:
    collector = Collector(3_600, look_every_s=0.02, middle_max=5)
    collector.start()
    try:
        old = Knot()
        gc.collect(1)
        del old
        await asyncio.sleep(0.1)
        assert Knot.alive == 1
        for _ in range(6):
            gc.collect(1)  # as the collector counts them: each adds one to what the oldest generation waits for
        await asyncio.sleep(0.1)
        assert Knot.alive == 0
    finally:
        collector.stop()


async def test_never_means_never() -> None:
    collector = Collector(0)
    collector.start()
    collector.stop()
    collector.stop()
