"""The house on stores in memory, without sockets: running for the length of a test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from safety.settings import PinSettings
from server.config import load
from server.geography import load_maps
from server.house import House
from server.keys import Key
from server.pin_hasher import Argon2Pins
from server.root import DERIVED, Settings
from server.settings import Algorithm
from server.system import SystemClock, SystemIds
from server.tokens import Tokens
from server.wiring import build_house
from store.memory import MemoryStores

KEY = Key("main", Algorithm.HS256, b"x" * 40, b"x" * 40)
SETTINGS = load(Settings, None, {}, derived=DERIVED)


@asynccontextmanager
async def memory_house(stores: MemoryStores | None = None, settings: Settings = SETTINGS) -> AsyncIterator[House]:
    clock, ids = SystemClock(), SystemIds()
    house = build_house(
        settings,
        tokens=Tokens(settings.auth, {"main": KEY}, ids),
        stores=stores or MemoryStores(clock, ids),
        maps=load_maps(settings.cities, settings.coordinates, Path()),
        clock=clock,
        ids=ids,
        seed=1,
        pick_key=b"k",
        pin_hasher=Argon2Pins(PinSettings(memory_kib=8, passes=1)),
    )
    await house.load()
    async with asyncio.TaskGroup() as group:
        house.run(group)
        yield house
        await house.stop()
