"""Somebody who works in two cities: what they have accepted in one is kept free in the other."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest

from core.errors import Conflict
from core.ids import CityId, OfferId, UserId
from core.shard import Shard
from dispatch import events as e
from dispatch.model import DutyState, Gender, Order, Technician, WorkState
from dispatch.order import is_booking
from dispatch.places import Places
from dispatch.service import DispatchService
from dispatch.settings import DispatchSettings, ScheduleSettings
from geo.point import LatLng
from geo.position_index import Flag, PositionIndex
from store.memory import MemoryStores
from tests.unit.dispatch.test_service import LoopClock, Surroundings
from tests.unit.dispatch.world import ANNA, CENTRE, ON_TRUST, SHARD, Ids, Walk, draft

SH = Shard(SHARD.tenant, CityId("sh"))
FAR = LatLng(31.23, 121.47)
TINA = UserId("tina")
HOUR = 3_600.0


class City(Surroundings):
    """One of the cities; tells the others of technicians unless ``mute``."""

    def __init__(self, shard: Shard, country: "Country") -> None:
        self.shard = shard
        self.country = country
        self.index = PositionIndex()
        self.service = DispatchService(
            shard,
            store=country.stores.dispatch,
            outbound=self,
            watchers=self,
            delivery=self,
            fleet=self,
            places=Places(self.index),
            travel=Walk(),
            clock=country.clock,
            ids=country.ids,
            settings=country.settings,
        )
        self.told = []

    def technician_changed(self, shard: Shard, technician: Technician) -> None:
        if not self.country.mute:
            for city in self.country.cities:
                if city is not self:
                    city.service.post(e.TechnicianCopied(technician), urgent=True)

    def come(self, at: LatLng) -> None:
        slot = self.index.claim(TINA)
        self.index.move(np.array([slot]), [at.lat_deg], [at.lng_deg], seen_at=self.country.clock.now())
        self.index.heard_at[slot] = self.country.clock.now()
        self.index.set_flags(slot, set=int(Flag.CONNECTED))

    async def duty(self, duty: DutyState, at: LatLng = CENTRE) -> None:
        await self.service.ask(e.DutySet(TINA, duty))
        if duty is DutyState.ON:
            self.come(at)

    async def place(self, at: LatLng, later_s: float = 0.0) -> Order:
        wanted = replace(draft(at), scheduled_for=self.country.began_at + HOUR + later_s)
        effects = await self.service.ask(e.OrderPlaced(wanted, ANNA, "", "f"))
        return next(x.order for x in effects if isinstance(x, e.OrderChanged))

    def offer(self) -> OfferId:
        offer = self.service.live_offer(TINA)
        assert offer is not None
        return offer.offer_id

    async def accept(self) -> None:
        await self.service.ask(e.OfferAccepted(self.offer(), TINA))

    def bookings(self) -> list[str]:
        known = self.service.technician(TINA)
        assert known is not None
        return [booking.city for booking in known.bookings]


class Country:
    """Two cities on one store."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.began_at = self.clock.now()
        self.ids = Ids()
        self.stores = MemoryStores(self.clock, self.ids)
        schedule = ScheduleSettings(lead_s=4 * HOUR)
        self.settings = DispatchSettings(arrival=ON_TRUST, schedule=schedule)
        self.mute = False
        self.cities = [City(SHARD, self), City(SH, self)]

    async def settled(self) -> None:
        for _ in range(3):
            for city in self.cities:
                await city.service.drain()


@contextlib.asynccontextmanager
async def running(country: Country) -> AsyncIterator[tuple[City, City]]:
    for city in country.cities:
        await city.service.load()
    async with asyncio.TaskGroup() as group:
        for city in country.cities:
            group.create_task(city.service.run())
        try:
            yield country.cities[0], country.cities[1]
        finally:
            for city in country.cities:
                city.service.stop()


async def registered(country: Country, here: City) -> None:
    """Both cities know Tina."""
    both = (SHARD.city, SH.city)
    await here.service.ask(e.TechnicianPut(TINA, "Tina", frozenset({"massage"}), Gender.FEMALE, "", both, True))
    await country.settled()


async def booked(country: Country, here: City, there: City, *, mute: bool = False) -> Order:
    """Tina has a booking in the first city, and is on duty in the second."""
    await registered(country, here)
    country.mute = mute
    await here.duty(DutyState.ON)
    order = await here.place(CENTRE)
    await here.accept()
    await here.duty(DutyState.OFF)
    await country.settled()
    await there.duty(DutyState.ON, FAR)
    return order


async def test_a_job_accepted_in_one_city_is_kept_free_in_the_other() -> None:
    country = Country()
    async with running(country) as (here, there):
        order = await booked(country, here, there)
        assert there.bookings() == ["hz"]
        await there.place(FAR)
        await country.settled()
        assert there.service.live_offer(TINA) is None
        other = await there.place(FAR, later_s=60.0)
        with pytest.raises(Conflict, match="calendar") as caught:
            await there.service.ask(e.OrderAssigned(other.order_id, TINA, UserId("ops"), "why"))
        assert caught.value.code == "filter_holds"
        await here.service.ask(e.OrderCancelled(order.order_id, ANNA))
        await country.settled()
        assert there.bookings() == []
        await asyncio.sleep(country.settings.round.round_min_ms / 1_000.0 + 0.1)
        await country.settled()
        assert there.offer()


async def test_after_a_restart_the_other_city_still_knows() -> None:
    country = Country()
    async with running(country) as (here, there):
        await booked(country, here, there)
    again = Country()
    again.stores, again.clock, again.ids = country.stores, country.clock, country.ids
    again.cities = [City(SHARD, again), City(SH, again)]
    async with running(again) as (_, there):
        assert there.bookings() == ["hz"]
        there.come(FAR)
        await there.place(FAR)
        await again.settled()
        assert there.service.live_offer(TINA) is None


async def test_the_record_alone_keeps_the_time_free_when_no_copy_ever_comes() -> None:
    country = Country()
    async with running(country) as (here, there):
        await booked(country, here, there, mute=True)  # going on duty is decided again, on what is stored
        assert there.bookings() == ["hz"]
        await there.place(FAR)
        await country.settled()
        assert there.service.live_offer(TINA) is None


async def test_of_two_acceptances_at_once_in_two_cities_one_stands() -> None:
    country = Country()
    async with running(country) as (here, there):
        await registered(country, here)
        await there.duty(DutyState.ON, FAR)
        await there.place(FAR)
        await country.settled()
        country.mute = True
        # What must not happen: the first city takes her for on duty there, and the second hears nothing of it.
        known = there.service.technician(TINA)
        assert known is not None
        mistaken = replace(known, duty_city=SHARD.city, work=WorkState.IDLE)
        here.service.engine._book.take_technician(mistaken)
        here.come(CENTRE)
        here.service._write(mistaken, 4.7)
        await here.place(CENTRE)
        answers = await asyncio.gather(here.accept(), there.accept(), return_exceptions=True)
        await country.settled()
        assert [type(answer) for answer in answers if answer is not None] == [Conflict]
        assert len([o for o in country.stores.dispatch._orders.values() if is_booking(o)]) == 1
