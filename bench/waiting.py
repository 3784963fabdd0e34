"""What an order's waiting should be worth, for ``python -m bench.waiting``.

Cities of 20 technicians, four hours, on the engine itself.
The same orders and places for every variant, from seeds; an offer is accepted at once, a service takes 40 minutes, and
an order that nobody could be found for within 10 minutes is given up. ``load`` is orders for each that could be done.
``whole_wait_s`` counts an order that nobody came for as 600 s; the waits are of those that were served.
"""

import json
import random
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from core.ids import OrderId, UserId
from dispatch.model import OrderState
from dispatch.settings import DispatchSettings, LostSettings, OverdueSettings, ScheduleSettings, WaitingSettings
from geo.point import LatLng
from tests.unit.dispatch.world import ALL_STEPS, CENTRE, M_PER_DEG, T0, World

SEEDS: Final = range(10)
LOADS: Final = (0.7, 0.85, 1.3)
TECHNICIANS: Final = 20
HOURS_S: Final = 4 * 3_600.0
SERVICE_S: Final = 2_400.0
WAY_S: Final = 350.0
SIDE_M: Final = 8_000.0
EDGE_M: Final = 2_500.0
STEP_S: Final = 5.0
GIVEN_UP_S: Final = 600.0
VARIANTS: Final = {
    "none": WaitingSettings(s_per_min=0.0),
    "60 a minute": WaitingSettings(after_s=0.0),
    "30 a minute": WaitingSettings(s_per_min=30.0, after_s=0.0),
    "60, at most 300": WaitingSettings(max_s=300.0, after_s=0.0),
    "60 after 5 minutes": WaitingSettings(after_s=300.0),
}


@dataclass(slots=True)
class Day:
    """What came of one city."""

    waits_s: list[float] = field(default_factory=list)
    ways_s: list[float] = field(default_factory=list)
    orders_len: int = 0
    unfilled_len: int = 0
    edge_len: int = 0
    edge_unfilled_len: int = 0


def somewhere(rng: random.Random) -> LatLng:
    """Most live near the middle."""
    north_m, east_m = (
        rng.gauss(0, SIDE_M / 5) if rng.random() < 0.7 else rng.uniform(-SIDE_M / 2, SIDE_M / 2) for _ in range(2)
    )
    return LatLng(CENTRE.lat_deg + north_m / M_PER_DEG, CENTRE.lng_deg + east_m / M_PER_DEG / 0.864)


def is_at_the_edge(place: LatLng) -> bool:
    """Whether it is far from the middle, north or east."""
    north_m = abs(place.lat_deg - CENTRE.lat_deg) * M_PER_DEG
    east_m = abs(place.lng_deg - CENTRE.lng_deg) * M_PER_DEG * 0.864
    return max(north_m, east_m) > EDGE_M


def live(seed: int, load: float, waiting: WaitingSettings) -> Day:
    """One city."""
    rng = random.Random(seed)
    rules = replace(
        DispatchSettings(),
        schedule=ScheduleSettings(chain_s=0.0),
        overdue=OverdueSettings(repair=False),
        lost=LostSettings(repair=False),
        waiting=waiting,
    )
    world = World(rules)
    world.check_every = 10**9
    places = {UserId(f"t{number:02}"): somewhere(rng) for number in range(TECHNICIANS)}
    for user in places:
        world.join(user, 0.0)
    wanted: list[tuple[float, LatLng]] = []
    at = rng.expovariate(load * TECHNICIANS / (SERVICE_S + WAY_S))
    while at < HOURS_S:
        wanted.append((at, somewhere(rng)))
        at += rng.expovariate(load * TECHNICIANS / (SERVICE_S + WAY_S))
    day, jobs = Day(orders_len=len(wanted)), list[tuple[float, OrderId, UserId]]()
    placed: list[OrderId] = []
    for now in np.arange(STEP_S, HOURS_S + STEP_S, STEP_S).tolist():
        while len(placed) < len(wanted) and wanted[len(placed)][0] < now:
            world.tick(max(wanted[len(placed)][0], world.now - T0))
            for user, place in places.items():
                world.seen(user, place)
            placed.append(world.place(at=wanted[len(placed)][1], by=UserId(f"c{len(placed)}")).order_id)
        world.tick(max(now, world.now - T0))
        for user, place in places.items():
            world.seen(user, place)
        for job in [job for job in jobs if job[0] <= now]:
            jobs.remove(job)
            _, order_id, user = job
            places[user] = world.order(order_id).site.point
            world.seen(user, places[user])
            world.steps(world.order(order_id), *ALL_STEPS)
        for offer in world.engine.live_offers():
            world.receive(offer.technician)
            world.accept(offer.technician)
            day.waits_s.append(offer.offered_at - world.order(offer.order_id).placed_at)
            day.ways_s.append(offer.travel_s)
            jobs.append((now + offer.travel_s + SERVICE_S, offer.order_id, offer.technician))
    for order_id in placed:
        order = world.ledger.orders[order_id]
        is_unfilled, is_edge = order.state is OrderState.UNFILLED, is_at_the_edge(order.site.point)
        day.unfilled_len += is_unfilled
        day.edge_len += is_edge
        day.edge_unfilled_len += is_unfilled and is_edge
    return day


def summed(days: list[Day]) -> dict[str, float]:
    """Figures of one variant over all its cities."""
    waits_s = np.array([wait_s for day in days for wait_s in day.waits_s])
    orders_len = sum(day.orders_len for day in days)
    return {
        "orders": orders_len,
        "served": len(waits_s),
        "unfilled": sum(day.unfilled_len for day in days),
        "edge_unfilled": sum(day.edge_unfilled_len for day in days),
        "way_s": round(float(np.mean([way_s for day in days for way_s in day.ways_s])), 1),
        "wait_s": round(float(waits_s.mean()), 1),
        "wait_p95_s": round(float(np.quantile(waits_s, 0.95)), 1),
        "whole_wait_s": round(float(waits_s.sum() + (orders_len - len(waits_s)) * GIVEN_UP_S) / orders_len, 1),
    }


def main() -> None:
    """Print all figures; ten minutes, so it is no part of ``make bench``."""
    for load in LOADS:
        for name, rules in VARIANTS.items():
            figures = summed([live(seed, load, rules) for seed in SEEDS])
            print(json.dumps({"load": load, "waiting": name} | figures))


if __name__ == "__main__":
    main()
