"""The house without sockets: the same services on stores in memory, asked by plain function calls."""

import asyncio
import json
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from api.exchange import Request
from core.errors import Unavailable
from core.ids import CityId, DeviceId, TenantId, UserId
from core.outbox import Stream
from core.principal import Principal, Role
from core.shard import Shard
from dispatch import events
from dispatch.model import Gender, Technician
from dispatch.ports import DispatchChanges, DispatchState
from geo.frames import convert_point
from geo.point import Frame, LatLng
from server.config import load
from server.root import DERIVED, Settings
from server.settings import CitySettings
from server.system import SystemClock, SystemIds
from server.tokens import issue
from store.memory import MemoryDispatchStore, MemoryStores
from tests.integration.memory_house import KEY, SETTINGS, memory_house
from tests.integration.served import order


async def test_handlers_are_called_without_a_web_framework() -> None:
    async with memory_house() as house:
        settings = load(Settings, None, {}, derived=DERIVED)
        token = issue(
            KEY,
            settings.auth,
            house.clock,
            SystemIds(),
            user="cus_1",
            role=Role.CUSTOMER,
            tenant="demo",
            cities=["shenzhen"],
        )
        headers = {"authorization": f"Bearer {token}"}
        now = house.clock.now()
        body = json.dumps(order()).encode()
        placed = await house.api.answer(house.api.route("order_place"), Request(now, headers=headers, body=body))
        assert placed.status == 201
        order_id = json.loads(placed.body)["order"]
        read = await house.api.answer(
            house.api.route("order_read"), Request(now, path={"id": order_id}, headers=headers)
        )
        assert json.loads(read.body)["order"] == order_id
        sos = await house.api.answer(house.api.route("sos"), Request(now, headers=headers, body=b'{"key": "k"}'))
        assert json.loads(sos.body)["durable"] is True
        refused = await house.api.answer(house.api.route("order_read"), Request(now, request_id="req_9"))
        assert (refused.status, json.loads(refused.body)["request_id"]) == (401, "req_9")


async def test_each_city_has_its_rush_by_the_clock_that_the_config_gives_it() -> None:
    zones = {"shenzhen": "Asia/Shanghai", "shanghai": "America/New_York"}
    cities = tuple(CitySettings("demo", city, timezone=zone) for city, zone in zones.items())
    settings = replace(SETTINGS, cities=cities, travel=replace(SETTINGS.travel, default_mode="car"))
    async with memory_house(settings=settings) as house:
        for city, zone in zones.items():
            eight, noon = (datetime(2026, 11, 23, hour, tzinfo=ZoneInfo(zone)).timestamp() for hour in (8, 12))
            here = house.travel.cities[Shard(TenantId("demo"), CityId(city))]
            assert here.rate(eight)[1] == pytest.approx(here.rate(noon)[1] / settings.travel.rush_factor)


@pytest.mark.parametrize("crs", list(Frame))
async def test_the_place_of_an_sos_is_read_in_the_frame_of_its_session(crs: Frame) -> None:
    async with memory_house() as house:
        who = Principal(
            TenantId("demo"), UserId("cus_1"), Role.CUSTOMER, frozenset({Role.CUSTOMER}),
            frozenset({CityId("shenzhen")}), DeviceId("phone"), house.clock.now() + 60,
        )  # fmt: skip
        place = convert_point(LatLng(22.5431, 114.0579), Frame.GCJ02, crs)
        payload = json.dumps({"type": "sos", "key": "k", "lat": place.lat_deg, "lng": place.lng_deg}).encode()
        acked: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        house.inbound.sos(
            who,
            payload,
            is_json=True,
            crs=crs,
            now=house.clock.now(),
            send=lambda body: None if acked.done() else acked.set_result(body),
            reply=print,
        )
        incident = house.safety.incident(who.tenant, json.loads(await acked)["incident"])
        assert incident is not None
        assert incident.fix is not None
        assert incident.fix.point.lat_deg == pytest.approx(22.5431, abs=1e-6)
        assert incident.fix.point.lng_deg == pytest.approx(114.0579, abs=1e-6)


async def test_a_turn_of_expiry_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.house.EXPIRE_EVERY_S", 0.01)
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        if turns == 2:
            raise ValueError("a defect")

    async with memory_house() as house:
        house._last_seen.turn = turn  # type: ignore[method-assign]
        async with asyncio.timeout(2):
            while turns < 4:
                await asyncio.sleep(0.005)
    assert len(faults) == 1


@pytest.mark.parametrize(("cities", "status"), [((), 200), (("shenzhen",), 404)], ids=["of all cities", "of one"])
async def test_a_record_that_no_open_city_knows_is_neither_new_nor_free_to_take(
    cities: tuple[str, ...], status: int
) -> None:
    stores = MemoryStores(SystemClock(), SystemIds())
    elsewhere = Technician(
        TenantId("demo"), UserId("tec_1"), "Han", frozenset({"massage"}), Gender.FEMALE, "", (CityId("gone"),),
        True, 1, 0.0, rating_sum=9.0, rating_weight=2.0,
    )  # fmt: skip
    shard = Shard(TenantId("demo"), CityId("gone"))
    await stores.dispatch.commit(shard, DispatchChanges(technicians={elsewhere.technician: elsewhere}), [], 0.0)
    async with memory_house(stores) as house:
        token = issue(
            KEY, load(Settings, None, {}, derived=DERIVED).auth, house.clock, SystemIds(),
            user="svc_1", role=Role.SERVICE, tenant="demo", cities=list(cities),
        )  # fmt: skip
        body = {
            "name": "Han", "cities": ["shenzhen"], "skills": ["massage"], "gender": "female", "tier": "",
            "verified": True,
        }  # fmt: skip
        request = Request(
            house.clock.now(), path={"id": "tec_1"}, headers={"authorization": f"Bearer {token}"},
            body=json.dumps(body).encode(),
        )  # fmt: skip
        answered = await house.api.answer(house.api.route("technician_put"), request)
        assert answered.status == status
    stored = await stores.dispatch.technician(TenantId("demo"), UserId("tec_1"))
    assert stored is not None
    assert (stored.version, stored.rating_sum) == (2 if status == 200 else 1, 9.0)


class HardToRead(MemoryDispatchStore):
    """One city cannot be read for a number of times; then it is written by another city while it is read."""

    failures = 3
    reads = 0

    async def load(self, shard: Shard, now: float) -> DispatchState:
        if shard.city == "shenzhen":
            self.reads += 1
            if self.reads <= self.failures:
                raise Unavailable("malformed", code="store_unavailable")
        return await super().load(shard, now)


async def test_a_city_that_could_not_be_read_opens_when_it_can_be_and_is_told_closed_until_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server.house.REOPEN_WAIT_MIN_S", 0.01)
    stores = MemoryStores(SystemClock(), SystemIds())
    stores.dispatch = HardToRead(stores.outboxes[Stream.MAIN])
    async with memory_house(stores) as house:
        (part,) = house.cities.all()
        assert house.addresses.closed_cities == ["demo/shenzhen"]
        record = events.TechnicianPut(
            UserId("tec_1"), "Han", frozenset({"massage"}), Gender.FEMALE, "", (CityId("shenzhen"),), True
        )
        with pytest.raises(Unavailable):
            await part.dispatch.ask(record)
        async with asyncio.timeout(2):
            while house.addresses.closed_cities:
                await asyncio.sleep(0.005)
        await part.dispatch.ask(record)
        assert part.dispatch.technician(UserId("tec_1")) is not None
    assert stores.dispatch.reads == 5


async def test_a_house_stops_although_a_city_never_opened() -> None:
    stores = MemoryStores(SystemClock(), SystemIds())
    stores.dispatch = HardToRead(stores.outboxes[Stream.MAIN])
    async with asyncio.timeout(2), memory_house(stores) as house:
        assert house.addresses.closed_cities == ["demo/shenzhen"]
