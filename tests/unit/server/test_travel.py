import asyncio
from dataclasses import replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from core.errors import Unavailable
from core.ids import CityId, OrderId, UserId
from core.shard import Shard
from dispatch.model import OrderEvent, OrderState
from geo.point import LatLng
from geo.settings import TravelSettings
from server import travel as travel_module
from server.travel import SpeedLearner, Travel
from store.memory import MemoryStores
from tests.contract.store_values import CITY, NOW, SHARD, TENANT, CountedIds, ManualClock, changes_of, make_order

ELSEWHERE = Shard(TENANT, CityId("shenzhen"))
TINA = UserId("tec_1")
SHANGHAI, NEW_YORK = ZoneInfo("Asia/Shanghai"), ZoneInfo("America/New_York")
SETTINGS = TravelSettings(setup_s=0.0, learn_trips_min=10)
MPS = 10.0
M_PER_DEG = 111_195.0


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(travel_module, "_REST_S", 0.0)


class Town:
    """Stores with past orders, whose technicians rode north at ``MPS``."""

    def __init__(self, settings: TravelSettings = SETTINGS) -> None:
        clock = ManualClock()
        self.stores = MemoryStores(clock, CountedIds())
        self.travel = Travel(settings, {SHARD: SHANGHAI, ELSEWHERE: NEW_YORK})
        self.learner = SpeedLearner(
            self.travel,
            listings=self.stores.listings,
            orders=self.stores.dispatch,
            tracks=self.stores.tracks,
            clock=clock,
            settings=settings,
        )

    async def past_order(
        self, number: int, state: OrderState = OrderState.CONFIRMED, shard: Shard = SHARD, phone_ahead_s: float = 0.0
    ) -> None:
        """Set out at 100 s, arrived at 700 s; the track goes on at a walk, as that of a service does not."""
        name, at = str(number), NOW + number
        order = make_order(name, state=state, technician=TINA, placed_at=at, city=shard.city)
        steps = ((OrderState.EN_ROUTE, 100.0), (OrderState.ARRIVED, 700.0))
        events = [
            OrderEvent(TENANT, OrderId(f"ord_{name}"), seq, at + after, str(what), TINA, what)
            for seq, (what, after) in enumerate(steps, start=1)
        ]
        await self.stores.dispatch.commit(shard, changes_of(order, *events), [], at)
        seconds = np.arange(0, 1_400, 20.0)
        metres = np.interp(seconds, [100, 700, 1_400], [0, 600 * MPS, 600 * MPS + 700])
        columns = {
            "fixed_at": at + seconds + phone_ahead_s,
            "received_at": at + seconds,
            "lat": 31.2 + metres / M_PER_DEG,
            "lng": np.full(len(seconds), 121.5),
            "accuracy_m": np.full(len(seconds), 5.0),
            "speed_mps": np.full(len(seconds), np.nan),
            "heading_deg": np.full(len(seconds), np.nan),
        }
        self.stores.tracks.append(shard, TINA, f"ord_{name}", columns)

    def s_per_m(self, shard: Shard = SHARD) -> float:
        return self.travel.cities[shard].rate(NOW)[1]


async def test_the_ways_of_past_orders_become_the_citys_speed() -> None:
    town = Town()
    before = town.s_per_m()
    for number in range(12):
        await town.past_order(number)
    await town.learner.learn_city(SHARD)
    assert town.s_per_m() == pytest.approx(1 / MPS, rel=0.02)
    assert town.s_per_m(ELSEWHERE) == before
    assert town.travel.trips_learned() == {SHARD: 12.0, ELSEWHERE: 0.0}


def test_two_cities_in_two_zones_have_their_rush_at_eight_by_their_own_clock() -> None:
    travel = Travel(TravelSettings(default_mode="car"), {SHARD: SHANGHAI, ELSEWHERE: NEW_YORK})
    usual = 1.35 / (28.0 / 3.6)
    for zone, slow, free in ((SHANGHAI, SHARD, ELSEWHERE), (NEW_YORK, ELSEWHERE, SHARD)):
        eight = datetime(2026, 11, 23, 8, tzinfo=zone).timestamp()
        assert travel.cities[slow].rate(eight) == pytest.approx((90.0, usual / 0.65))
        assert travel.cities[free].rate(eight) == pytest.approx((90.0, usual))


@pytest.mark.parametrize("ahead_s", [0.0, -7_200.0, 86_400.0 * 366 * 9_000])
async def test_what_is_learned_is_learned_of_the_hour_that_the_citys_clock_showed(ahead_s: float) -> None:
    town = Town()
    hours = {}
    for shard in (SHARD, ELSEWHERE):
        for number in range(12):
            await town.past_order(number + 100 * (shard == ELSEWHERE), shard=shard, phone_ahead_s=ahead_s)
        await town.learner.learn_city(shard)
        learned = town.travel.cities[shard].estimate.learned
        assert learned is not None
        hours[shard] = np.flatnonzero(learned.seen.any(axis=0)).tolist()
    at = [datetime.fromtimestamp(NOW, zone).hour for zone in (SHANGHAI, NEW_YORK)]
    assert hours == {SHARD: [at[0]], ELSEWHERE: [at[1]]}


async def test_arrivals_are_guessed_by_what_was_learned() -> None:
    town = Town()
    here, there = LatLng(31.2, 121.5), LatLng(31.2 + 3_000 / M_PER_DEG, 121.5)
    plain_s = town.travel.eta_s(SHARD, here, there, NOW)
    for number in range(12):
        await town.past_order(number)
    await town.learner.learn_city(SHARD)
    assert plain_s == pytest.approx(3_000 * 1.35 / 5.0, rel=0.01)
    assert town.travel.eta_s(SHARD, here, there, NOW) == pytest.approx(3_000 / MPS, rel=0.02)
    assert town.travel.eta_s(Shard(TENANT, CityId("nowhere")), here, there, NOW) is None


async def test_one_way_takes_one_time_for_rounds_for_jobs_and_for_watchers() -> None:
    town = Town()
    rate = town.travel.cities[SHARD]
    ways = np.array([[31.2, 121.5], [31.21, 121.52]]), np.array([[31.23, 121.51], [31.2, 121.5]])
    assert not rate.has_learned()
    assert rate.learned_s(*ways, NOW) is None
    for number in range(12):
        await town.past_order(number)
    await town.learner.learn_city(SHARD)
    assert rate.has_learned()
    seconds = rate.learned_s(*ways, NOW)
    assert seconds is not None
    for origin, destination, way_s in zip(*(map(LatLng._make, way) for way in ways), seconds, strict=True):
        assert rate.between_s(origin, destination, NOW) == pytest.approx(way_s)
        assert town.travel.eta_s(SHARD, origin, destination, NOW) == rate.between_s(origin, destination, NOW)


async def test_few_orders_and_orders_under_way_leave_the_config_in_force() -> None:
    town = Town()
    before = town.s_per_m()
    for number in range(9):
        await town.past_order(number)
    for number in range(9, 20):
        await town.past_order(number, OrderState.EN_ROUTE)
    await town.learner.learn_city(SHARD)
    assert town.s_per_m() == before


async def test_only_so_many_of_the_newest_orders_are_read() -> None:
    town = Town(replace(SETTINGS, learn_orders_max=60))
    for number in range(75):
        await town.past_order(number)
    await town.learner.learn_city(SHARD)
    assert town.travel.trips_learned()[SHARD] == 60.0


async def test_a_city_that_cannot_be_read_does_not_end_the_learning(monkeypatch: pytest.MonkeyPatch) -> None:
    town = Town(replace(SETTINGS, learn_every_s=60.0))
    asked: list[Any] = []
    done = asyncio.Event()

    async def fails(tenant: Any, wanted: Any, **page: Any) -> list[Any]:
        asked.append(wanted.cities)
        if len(asked) == 2:
            done.set()
        raise Unavailable("no disk")

    monkeypatch.setattr(town.stores.listings, "orders", fails)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(town.learner.run())
        await done.wait()
        task.cancel()
    assert asked == [frozenset({CITY}), frozenset({ELSEWHERE.city})]


async def test_learning_can_be_switched_off() -> None:
    town = Town(replace(SETTINGS, learn_every_s=0.0))
    await asyncio.wait_for(town.learner.run(), 1.0)
