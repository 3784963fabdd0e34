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

    async def place(self, at: LatLng, later_s: float | None = 0.0) -> Order:
        """An order for an hour after the beginning and so much later; None for now."""
        wanted_at = None if later_s is None else self.country.began_at + HOUR + later_s
        wanted = replace(draft(at), scheduled_for=wanted_at)
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


# -- what they are doing now --------------------------------------------------------------------------------


async def at_work(country: Country, here: City, *steps: e.Step) -> Order:
    """Tina has an order for now, of an hour, in the first city, and has come so far with it."""
    await registered(country, here)
    await here.duty(DutyState.ON)
    order = await here.place(CENTRE, later_s=None)
    await here.accept()
    for step in steps:
        await here.service.ask(e.StepTaken(order.order_id, TINA, step))
    await country.settled()
    return order


async def may_have(city: City, later_s: float) -> bool:
    """Whether staff can give Tina an order of the city for so long after the beginning."""
    order = await city.place(CENTRE, later_s - HOUR)
    (answer,) = await asyncio.gather(
        city.service.ask(e.OrderAssigned(order.order_id, TINA, UserId("ops"), "why")), return_exceptions=True
    )
    await city.service.ask(e.OrderCancelled(order.order_id, ANNA))
    if isinstance(answer, Conflict):
        assert (answer.code, "calendar" in str(answer)) == ("filter_holds", True)
    return not isinstance(answer, BaseException)


WORKING = (e.Step.EN_ROUTE, e.Step.ARRIVED, e.Step.IN_SERVICE)


@pytest.mark.parametrize("steps_len", [0, 1, 2, 3])
async def test_a_running_job_is_time_given_away_in_every_city(steps_len: int) -> None:
    country = Country()
    async with running(country) as (here, there):
        await at_work(country, here, *WORKING[:steps_len])
        assert there.bookings() == ["hz"]
        # Two buffers and the way, which is a minute at the same place; the way to the job is short.
        assert not await may_have(there, 0.75 * HOUR)
        assert not await may_have(there, HOUR)
        assert await may_have(there, 2.0 * HOUR)


async def test_a_service_that_is_made_longer_is_so_in_every_city() -> None:
    country = Country()
    async with running(country) as (here, there):
        order = await at_work(country, here, *WORKING)
        assert await may_have(there, 2.0 * HOUR)
        await here.service.ask(e.TimeAdded(order.order_id, ANNA, HOUR))
        await country.settled()
        assert not await may_have(there, 2.0 * HOUR)
        assert await may_have(there, 3.0 * HOUR)


@pytest.mark.parametrize("end", ["left", "confirmed", "freed", "cancelled", "reassigned"])
async def test_a_job_that_has_ended_keeps_no_time(end: str) -> None:
    country = Country()
    async with running(country) as (here, there):
        order = await at_work(country, here, *(() if end == "reassigned" else WORKING))
        if end in ("left", "confirmed", "freed"):
            await here.service.ask(e.StepTaken(order.order_id, TINA, e.Step.FINISHED))
            await country.settled()
            assert there.bookings() == ["hz"], "until she has left"
            assert await may_have(there, 0.75 * HOUR), "but it will not take long any more"
        events: dict[str, e.DispatchEvent] = {
            "left": e.StepTaken(order.order_id, TINA, e.Step.DEPARTED_SAFE),
            "confirmed": e.OrderConfirmed(order.order_id, ANNA),
            "freed": e.DutySet(TINA, DutyState.OFF),
            "cancelled": e.OrderCancelled(order.order_id, UserId("ops"), staff=True),
            "reassigned": e.OrderReassigned(order.order_id, UserId("ops")),
        }
        await here.service.ask(events[end])
        await country.settled()
        assert there.bookings() == here.bookings() == []


async def test_after_a_restart_a_running_job_is_known_and_ends() -> None:
    country = Country()
    async with running(country) as (here, there):
        order = await at_work(country, here, *WORKING)
    again = Country()
    again.stores, again.clock, again.ids, again.began_at = country.stores, country.clock, country.ids, country.began_at
    again.cities = [City(SHARD, again), City(SH, again)]
    async with running(again) as (here, there):
        assert there.bookings() == ["hz"]
        assert not await may_have(there, 0.75 * HOUR)
        for step in (e.Step.FINISHED, e.Step.DEPARTED_SAFE):
            await here.service.ask(e.StepTaken(order.order_id, TINA, step))
        await again.settled()
        assert there.bookings() == []
        assert await may_have(there, 0.75 * HOUR)


async def test_what_was_stored_of_a_job_that_is_over_is_put_right_at_the_start() -> None:
    country = Country()
    async with running(country) as (here, _):
        order = await at_work(country, here, *WORKING)
        record = here.service.technician(TINA)
        assert record is not None
        for step in (e.Step.FINISHED, e.Step.DEPARTED_SAFE):
            await here.service.ask(e.StepTaken(order.order_id, TINA, step))
    stored = country.stores.dispatch._technicians[SHARD.tenant, TINA]
    country.stores.dispatch._technicians[SHARD.tenant, TINA] = replace(stored, bookings=record.bookings)
    again = Country()
    again.stores, again.clock, again.ids = country.stores, country.clock, country.ids
    again.cities = [City(SHARD, again), City(SH, again)]
    async with running(again) as (here, there):
        await asyncio.sleep(0.05)  # the first turn, which nobody waits for
        await again.settled()
        assert here.bookings() == there.bookings() == []


async def test_who_works_in_one_city_only_is_not_written_for_the_others() -> None:
    country = Country()
    async with running(country) as (here, _):
        put = e.TechnicianPut(TINA, "Tina", frozenset({"massage"}), Gender.FEMALE, "", (SHARD.city,), True)
        await here.service.ask(put)
        await here.duty(DutyState.ON)
        order = await here.place(CENTRE, later_s=None)
        await here.accept()
        versions = []
        for step in WORKING:
            await here.service.ask(e.StepTaken(order.order_id, TINA, step))
            known = here.service.technician(TINA)
            assert known is not None
            versions.append(known.version)
        assert here.bookings() == []
        assert len(set(versions)) == 1
