"""k-nearest queries and judged pings, on one core: ``python -m bench.knn``.

Equal density (50 technicians per square kilometre) from 10**3 to 10**6, so that only the number grows. A query asks
for the 10 nearest who are on duty (100 % eligible) or idle with a skill (5 %). Half of the queries stand at a random
place, half beside a technician. Pings: everybody moves on a little, in batches of 512 as the ping path makes them;
``pings`` is single pings of different people, ``pings_batch20`` is 20 pings of each person in a row.
"""

import json
import time
from math import cos, radians, sqrt
from typing import Any

import numpy as np

from core.ids import UserId
from geo.pings import PingBatch
from geo.point import Frame, LatLng
from geo.position_index import Flag, PositionIndex
from geo.settings import PositionSettings
from geo.shard_positions import ShardPositions

DENSITY_PER_KM2 = 50.0
SOUTH, WEST = 22.5, 113.8
KM_PER_DEG = 111.195
SIZES = (1_000, 10_000, 100_000, 1_000_000)
NOW = 1_700_000_000.0


def build(n: int, rng: np.random.Generator) -> tuple[PositionIndex, float]:
    """An index of n technicians in a square; returns it and the square's side in degrees of latitude."""
    side_deg = sqrt(n / DENSITY_PER_KM2) / KM_PER_DEG
    index = PositionIndex(n)
    slots = np.array([index.claim(UserId(f"tec_{number}")) for number in range(n)])
    lat = SOUTH + rng.random(n) * side_deg
    lng = WEST + rng.random(n) * side_deg / cos(radians(SOUTH))
    index.move(slots, lat, lng, fixed_at=NOW, seen_at=NOW)
    index.flags[slots] |= int(Flag.TECHNICIAN)
    index.flags[slots[rng.random(n) < 0.05]] |= int(Flag.IDLE)
    return index, side_deg


def query_times_us(
    index: PositionIndex, side_deg: float, require: int, rounds: int, rng: np.random.Generator
) -> dict[str, float]:
    """Percentiles of one query's wall time, and of its CPU time for machines that others use as well."""
    times, cpu_times = np.empty(rounds), np.empty(rounds)
    for number in range(rounds):
        if number % 2:
            point = LatLng(SOUTH + rng.random() * side_deg, WEST + rng.random() * side_deg / cos(radians(SOUTH)))
        else:
            slot = int(rng.integers(len(index)))
            point = LatLng(float(index.lat[slot]) + 1e-4, float(index.lng[slot]))
        cpu_begin = time.thread_time()
        begin = time.perf_counter()
        found, _ = index.nearest(point, 10, require=require, seen_after=NOW - 60.0)
        times[number] = time.perf_counter() - begin
        cpu_times[number] = time.thread_time() - cpu_begin
        assert len(found) == 10
    wall, cpu = np.percentile(times, [50, 99]) * 1e6, np.percentile(cpu_times, [50, 99]) * 1e6
    return {
        "p50": round(float(wall[0]), 1),
        "p99": round(float(wall[1]), 1),
        "p50_cpu": round(float(cpu[0]), 1),
        "p99_cpu": round(float(cpu[1]), 1),
    }


def judged_per_cpu_s(people: int, in_a_row: int, rounds: int, rng: np.random.Generator) -> int:
    positions = ShardPositions(PositionSettings(), Frame.GCJ02, capacity=people)
    slots = np.array([positions.claim(UserId(f"tec_{number}")) for number in range(people)])
    lat, lng = SOUTH + rng.random(people) * 0.3, WEST + rng.random(people) * 0.3
    seq = np.zeros(people, dtype=np.int64)
    group = max(512 // in_a_row, 1)
    spent = 0.0
    judged = 0
    for number in range(rounds + 1):
        at = NOW + number * 5.0 * in_a_row
        for begin in range(0, people, group):
            who = np.repeat(slots[begin : begin + group], in_a_row)
            step = np.tile(np.arange(in_a_row), len(who) // in_a_row)
            sent_at = np.full(len(who), at + 5.0 * in_a_row)
            batch = PingBatch(
                slot=who,
                device=np.ones(len(who), dtype=np.int64),
                seq=seq[who] + step,
                fixed_at=np.asarray(at + step * 5.0, dtype=np.float64),
                sent_at=sent_at,
                received_at=sent_at + 0.05,
                lat=lat[who] + (number * in_a_row + step) * 2e-4,
                lng=lng[who] + rng.normal(0.0, 3e-5, len(who)),
                accuracy_m=np.full(len(who), 8.0),
                speed_mps=np.full(len(who), 4.0),
                heading_deg=np.full(len(who), 0.0),
                crs=np.zeros(len(who), dtype=np.uint8),
                clock_rate=np.ones(len(who)),
            )
            began = time.process_time()
            answer = positions.ingest(batch, at)
            # The first round places everybody by the exact path; a day has thousands of rounds.
            if number:
                spent += time.process_time() - began
                judged += len(batch)
                assert not answer.verdict.any()
        seq += in_a_row
    return int(judged / spent)


def run(rounds: int = 2_000) -> dict[str, Any]:
    """All figures; under a minute."""
    rng = np.random.default_rng(7)
    everybody: dict[str, dict[str, float]] = {}
    idle: dict[str, dict[str, float]] = {}
    for n in SIZES:
        index, side_deg = build(n, rng)
        for flag, figures in ((Flag.TECHNICIAN, everybody), (Flag.TECHNICIAN | Flag.IDLE, idle)):
            query_times_us(index, side_deg, int(flag), 100, rng)
            figures[str(n)] = query_times_us(index, side_deg, int(flag), rounds, rng)
    return {
        "knn_us": everybody,
        "knn_5pct_us": idle,
        "judged_indexed_per_cpu_s": judged_per_cpu_s(10_000, 1, 8, rng),
        "judged_indexed_batch20_per_cpu_s": judged_per_cpu_s(10_000, 20, 2, rng),
    }


def main() -> dict[str, Any]:
    """All figures with the full number of queries."""
    return run()


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
