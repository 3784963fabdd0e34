"""Rows 50 and 51: places where longitudes meet, and places where nobody can be."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from core.principal import Role
from tests.faults.town import CITY, Town
from tests.integration.served import Session

pytestmark = pytest.mark.slow
NEAR_DEG = 0.002
"""About 222 m along a meridian or the equator."""


async def ping(phone: Session, seq: int, lat: float, lng: float, at: float, **more: Any) -> None:
    await phone.send("ping", seq=seq, fixed_at=at, sent_at=at, lat=lat, lng=lng, accuracy_m=8, **more)


@asynccontextmanager
async def responders(town: Town, **places: tuple[float, float]) -> AsyncIterator[dict[str, Session]]:
    """Technicians on duty who also answer incidents, each at a place."""
    async with AsyncExitStack() as stack:
        phones = {}
        for user, (lat, lng) in places.items():
            await town.put_technician(user)
            phone = phones[user] = await stack.enter_async_context(
                town.session(user, Role.TECHNICIAN, Role.TECHNICIAN, Role.RESPONDER)
            )
            await phone.ask("duty", on=True, city=CITY)
            await ping(phone, 1, lat, lng, time.time())
            assert (await phone.until("ping_ack"))["verdicts"] == {"live": 1}
        yield phones
        for phone in phones.values():
            await phone.ask("duty", on=False, city=CITY)


async def targets(town: Town, user: str, **fields: Any) -> dict[str, float | None]:
    """Raise an SOS; who is told of it, nearest first, with their distances."""
    async with town.caller(user) as one:
        await one.say("sos", key="k", **fields)
        ack = await one.until("sos_ack", key="k")
        assert ack["durable"] is True
    told = town.stored().incidents[ack["incident"]]["targets"]
    return {target["user"]: target["distance_m"] for target in told if target["why"] != "ops"}


PLACES = {
    "antimeridian": ((10.0, -179.999), (10.0, 179.999), (10.0, 178.0)),
    "antimeridian the other way": ((-16.5, 179.999), (-16.5, -179.999), (-16.5, 178.0)),
    "on the antimeridian": ((5.0, 180.0), (5.0, -179.998), (5.0, 179.9)),
    "north pole": ((89.999, 0.0), (89.999, 180.0), (89.0, 0.0)),
    "at the south pole": ((-90.0, 12.0), (-89.998, -77.0), (-89.5, 12.0)),
}


@pytest.mark.parametrize("name", PLACES)
async def test_row_50_the_nearest_is_near_where_longitudes_meet(town: Town, name: str) -> None:
    (lat, lng), near, far = PLACES[name]
    word = name.replace(" ", "_")
    users = {f"row50_near_{word}": near, f"row50_far_{word}": far}
    async with responders(town, **users) as phones:
        told = await targets(town, f"row50_{word}", lat=lat, lng=lng, accuracy_m=8)
        nearest, farther = (told[user] for user in users)
        assert nearest is not None
        assert farther is not None
        assert nearest == pytest.approx(218, abs=6)
        assert 5_000 < farther < 250_000
        assert next(iter(told)) == f"row50_near_{word}"
        shown = await phones[f"row50_near_{word}"].until("incident", subject=f"row50_{word}")
        assert shown["distance_m"] == pytest.approx(218, abs=6)


FAR_LAT = 40.0
"""1,000 km from where they were a second ago."""


async def test_row_51_a_jump_moves_nobody_to_the_front_and_is_believed_once_a_second_fix_agrees(town: Town) -> None:
    async with responders(town, row51_honest=(31.05, 121.4), row51_jumper=(40.0, 121.4)) as phones:
        jumper, now = phones["row51_jumper"], time.time()
        await ping(jumper, 2, 31.0001, 121.4, now + 1)
        assert (await jumper.until("ping_ack"))["verdicts"] == {"teleport": 1}
        told = await targets(town, "row51", lat=31.0, lng=121.4, accuracy_m=8)
        assert [user for user in told if user.startswith("row51")] == ["row51_honest", "row51_jumper"]
        assert told["row51_jumper"] == pytest.approx(1_000_000, rel=0.01)
        # It was kept: a second fix that agrees makes both of them true.
        await ping(jumper, 3, 31.0002, 121.4, now + 2)
        verdicts = (await jumper.until("ping_ack"))["verdicts"]
        assert verdicts.get("live", 0) >= 1, verdicts


async def test_row_51_an_sos_of_somebody_who_jumped_is_raised_where_they_say_or_were(town: Town) -> None:
    await town.put_technician("row51_subject")
    async with town.session("row51_subject", Role.TECHNICIAN) as phone:
        await phone.ask("duty", on=True, city=CITY)
        now = time.time()
        await ping(phone, 1, 31.0, 121.4, now)
        await ping(phone, 2, FAR_LAT, 121.4, now + 1)
        assert (await phone.until("ping_ack"))["verdicts"] == {"live": 1, "teleport": 1}
        await phone.send("sos", key="without")
        ack = await phone.until("sos_ack", key="without")
        assert ack["durable"] is True
        assert town.stored().incidents[ack["incident"]]["fix"]["point"][0] == pytest.approx(31.0, abs=0.001)
        await phone.send("sos", key="with", lat=FAR_LAT, lng=121.4, accuracy_m=8, fixed_at=now + 1, sent_at=now + 1)
        again = await phone.until("sos_ack", key="with")
        assert (again["incident"], again["durable"]) == (ack["incident"], True)
        assert town.stored().place("row51_subject", "with") == (FAR_LAT, 121.4)


async def test_row_51_a_made_up_place_ranks_nobody_and_they_are_told_all_the_same(town: Town) -> None:
    async with responders(town, row51_near=(50.05, 30.0), row51_mock=(50.1, 30.0)) as phones:
        await ping(phones["row51_mock"], 2, 50.1001, 30.0, time.time() + 30, mock=True)
        await phones["row51_mock"].until("ping_ack")
        told = await targets(town, "row51_m", lat=50.1, lng=30.0, accuracy_m=8)
        assert list(told).index("row51_near") < list(told).index("row51_mock")
        assert told["row51_mock"] is None
        assert (await phones["row51_mock"].until("incident", subject="row51_m"))["state"] == "open"
        async with town.session("row51_liar", Role.CUSTOMER) as one:  # of an SOS nothing is doubted
            await one.send("sos", key="k", lat=50.0, lng=30.0, mock=True)
            assert (await one.until("sos_ack", key="k"))["durable"] is True
