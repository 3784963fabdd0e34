"""Matching rounds of 10 to 5,000 orders and technicians: wall time, memory, and how long the event loop stands still.

Wall time is of ``rounds.solve_and_encode``, the whole work of a round apart from
collecting its columns (which is timed as ``build``). The loop's stall is measured while the round runs in a thread:
a ticker on the loop notes its longest gap; ``none`` is the gap that it has without a round.

The city is a lived-in one: everyone has shifts, a fifth have a rest ahead, a tenth a booked job, and every tenth order
is for later. 5,000 x 5,000 is sparse: as dense on the ground as 1,000 x 1,000, each order with 30 candidates. A server
never asks that at once (``columns_len_max``): it is what the solver can do, not what a shard does. ``greedy`` is what a
round over its budget falls back to, ``peak_mib`` the most that Python and numpy held during the exact solution. Shares
are of the whole round: collecting the columns, weighing the pairs, and assigning them.
"""

import asyncio
import json
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np

from core.ids import UserId
from dispatch import events as e
from dispatch import matching, reach, rounds
from dispatch.calendar import DAY_S, Hours
from dispatch.model import DutyState, Gender, Order, Rest, Shift
from dispatch.problem import Problem, Solution, Solver
from dispatch.sheets import Sheets
from geo.point import LatLng
from tests.unit.dispatch.world import ANNA, CENTRE, M_PER_DEG, World, draft

SIZES = (10, 100, 1_000, 5_000)
CITY_M = 15_000.0
EVERY_DAY = tuple(range(7))
SHIFTS = (
    (Shift(EVERY_DAY, 10 * 60, 22 * 60),),
    (Shift(EVERY_DAY, 13 * 60, 60),),
    (Shift(EVERY_DAY, 0, 24 * 60 - 1),),
    (Shift((0, 1, 2, 3, 4), 9 * 60, 18 * 60), Shift((5, 6), 14 * 60, 2 * 60)),
)
AFTERNOON_S = 14 * 3_600.0
BOOKED_AHEAD_S = 2_400.0
TICK_S = 0.0002


def wall_ms(work: Callable[[], object], repeats: int) -> float:
    """Median wall time."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1e3)
    return median(times)


def cpu_ms(work: Callable[[], object], repeats: int) -> float:
    """Least CPU time: what a core that nobody else uses would need."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        times.append((time.process_time() - began) * 1e3)
    return min(times)


def place_ms(m: int, repeats: int) -> float:
    """Median wall time of one whole turn of the engine: an order arrives and its offer is decided."""
    world = city(m, 1)
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        world.engine.handle(e.OrderPlaced(draft(middle()), ANNA), world.now)
        effects = world.engine.settle(world.now)
        times.append((time.perf_counter() - began) * 1e3)
        assert any(isinstance(effect, e.SendOffer) for effect in effects)
        world._perform(effects)
        world.engine.committed()
    return median(times)


def middle() -> LatLng:
    """The middle of the city."""
    return LatLng(CENTRE.lat_deg + CITY_M / 2 / M_PER_DEG, CENTRE.lng_deg + CITY_M / 2 / M_PER_DEG)


async def stall_ms(work: Callable[[], object], pool: ThreadPoolExecutor) -> float:
    """Longest gap between two ticks of the loop while ``work`` runs in a thread."""
    loop = asyncio.get_running_loop()
    job = loop.run_in_executor(pool, work)
    longest, last = 0.0, loop.time()
    while not job.done():
        await asyncio.sleep(TICK_S)
        now = loop.time()
        longest, last = max(longest, now - last), now
    await job
    return longest * 1e3


def city(m: int, seed: int, side_m: float = CITY_M) -> World:
    """A city with ``m`` technicians on duty at two in the afternoon."""
    rng = np.random.default_rng(seed)
    world = World()
    world.now += (AFTERNOON_S - world.now) % DAY_S
    for number in range(m):
        user = UserId(f"t{number}")
        put = e.TechnicianPut(
            user, f"T{number}", frozenset({"massage"}), Gender.FEMALE, "gold", (world.engine.shard.city,), True
        )
        world.engine.handle(put, world.now)
        rest_at = world.now + 7_200.0 + 600.0 * (number % 9)
        rests = (Rest(rest_at, rest_at + 1_800.0),) if number % 5 == 0 else ()
        world.engine.handle(e.CalendarSet(user, SHIFTS[number % len(SHIFTS)], rests), world.now)
        effects = world.engine.handle(e.DutySet(user, DutyState.ON), world.now)
        world.index.claim(user)
        world.seen(user, somewhere(rng, side_m))
        for effect in effects:
            if isinstance(effect, e.TechnicianChanged):
                world.places.write(effect.technician, world.engine.masks(effect.technician), effect.rating)
    world.engine.committed()
    return world


def somewhere(rng: np.random.Generator, side_m: float = CITY_M) -> LatLng:
    """Anywhere in the city."""
    lat_deg, lng_deg = (float(metres) / M_PER_DEG for metres in rng.uniform(0, side_m, 2))
    return LatLng(CENTRE.lat_deg + lat_deg, CENTRE.lng_deg + lng_deg)


def book(world: World, jobs_len: int, rng: np.random.Generator, side_m: float) -> None:
    """Give the city jobs that are accepted already and begin later, as many as find somebody."""
    for _ in range(jobs_len):
        wanted = draft(somewhere(rng, side_m), scheduled_for=world.now + BOOKED_AHEAD_S)
        world.engine.handle(e.OrderPlaced(wanted, ANNA), world.now)
    while True:
        effects = world.engine.settle(world.now)
        for effect in list(effects):
            if isinstance(effect, e.SolveRound):
                answer = e.RoundSolved(effect.round_id, *rounds.solve_and_encode(effect.problem))
                effects.extend(world.engine.handle(answer, world.now))
        offers = [effect.offer for effect in effects if isinstance(effect, e.SendOffer)]
        if not offers:
            return
        for offer in offers:
            world.engine.handle(e.OfferAccepted(offer.offer_id, offer.technician), world.now)
        world.engine.committed()
        world.now += 1.0


def built(n: int, m: int, seed: int, side_m: float) -> Callable[[], Problem]:
    """A function that collects the columns of a round of ``n`` orders and ``m`` technicians."""
    rng = np.random.default_rng(seed + 1)
    world = city(m, seed, side_m)
    book(world, m // 10, rng, side_m)
    orders: list[Order] = []
    for number in range(n):
        later_at = world.now + 3_600.0 * (1 + number % 3) if number % 10 == 9 else None
        placed = e.OrderPlaced(draft(somewhere(rng, side_m), scheduled_for=later_at), ANNA)
        effects = world.engine.handle(placed, world.now)
        orders.extend(x.order for x in effects if isinstance(x, e.OrderChanged))
    hours, sheets = Hours(UTC), Sheets(world.engine._book, ())
    return lambda: reach.build(
        orders,
        world.engine._book,
        world.places,
        now=world.now,
        seed=seed,
        travel=(90.0, 0.27),
        hours=hours,
        settings=world.settings,
        sheets=sheets,
    )


def peak_mib(work: Callable[[], object]) -> float:
    """Most memory held at a time during ``work``, above what was held before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def assign_ms(problem: Problem) -> float:
    """Time of one solution that is spent assigning, the rest being distances, filters and costs."""
    spent: list[float] = []
    assign = matching.assign

    def timed(*args: Any) -> Any:
        began = time.perf_counter()
        found = assign(*args)
        spent.append((time.perf_counter() - began) * 1e3)
        return found

    with patch.object(matching, "assign", timed):
        matching.solve(problem)
    return sum(spent)


def measure(n: int, m: int, pool: ThreadPoolExecutor) -> dict[str, float]:
    """One size."""
    build = built(n, m, 1, CITY_M * max(1.0, (n / 1_000) ** 0.5))
    problem = build()
    repeats = 1 if n > 1_000 else 5 if n == 1_000 else 20

    def work() -> tuple[Solution, bytes]:
        return rounds.solve_and_encode(problem)

    _, stored = work()
    build_ms, solve_ms = wall_ms(build, repeats), wall_ms(lambda: matching.solve(problem), repeats)
    assigning_ms = min(assign_ms(problem), solve_ms)
    whole_ms = build_ms + solve_ms
    return {
        "wall_ms": round(wall_ms(work, repeats), 2),
        "greedy_ms": round(wall_ms(lambda: matching.solve(problem, Solver.GREEDY), repeats), 2),
        "peak_mib": round(peak_mib(lambda: matching.solve(problem)), 1),
        "build_share": round(build_ms / whole_ms, 3),
        "weigh_share": round((solve_ms - assigning_ms) / whole_ms, 3),
        "assign_share": round(assigning_ms / whole_ms, 3),
        "cpu_ms": round(cpu_ms(lambda: matching.solve(problem), repeats), 2),
        "build_ms": round(build_ms, 2),
        "stall_ms": round(median(asyncio.run(stall_ms(work, pool)) for _ in range(repeats)), 2),
        "stored_kib": round(len(stored) / 1024, 1),
    }


def main() -> dict[str, Any]:
    """All figures; some minutes, most of them for 5,000 x 5,000."""
    pool = ThreadPoolExecutor(1)
    results = {f"{n}x{m}": measure(n, m, pool) for n, m in [(s, s) for s in SIZES] + [(1, 1_000), (50, 1_000)]}
    by_name = {name: {size: figures[name] for size, figures in results.items()} for name in results["10x10"]}
    return {
        "round_ms": by_name["wall_ms"],
        "round_greedy_ms": by_name["greedy_ms"],
        "round_peak_mib": by_name["peak_mib"],
        "round_share": {part: by_name[f"{part}_share"] for part in ("build", "weigh", "assign")},
        "round_cpu_ms": by_name["cpu_ms"],
        "round_build_ms": by_name["build_ms"],
        "round_stall_ms": by_name["stall_ms"] | {"none": asyncio.run(stall_ms(lambda: time.sleep(0.1), pool))},
        "round_stored_kib": by_name["stored_kib"],
        "order_turn_ms": round(place_ms(1_000, 100), 2),
    }


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
