"""One real server for many rows, people who call for help on it by every door, and what is stored of them."""

import asyncio
import itertools
import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
from websockets.asyncio.client import connect

from core.principal import Role
from sim.local_server import LocalCity, LocalServer, world_boundary
from tests.hostile.attacker import Attacker, Target, attacker
from tests.integration.served import Session

CITY: Final = "world"
OVERRIDES: Final[dict[str, Any]] = {
    "log": {"level": "info"},
    "coordinates": {"frame": "wgs84"},
    "realtime": {"positions": {"ack_idle_s": 0.05}},
    # A pause of this busy machine must not turn into `durable: false`.
    "safety": {"commit_wait_s": 5.0, "level_1_after_s": 2.0, "level_2_after_s": 4.0, "level_3_after_s": 6.0},
}
ANYWHERE: Final = "anywhere"
"""Stands for a position that nobody checks."""
_numbers = itertools.count()

Place = tuple[float, float] | str | None


@dataclass(frozen=True)
class Tap:
    """One SOS as it is put on the wire.

    Attributes:
        fields: Everything but type and key; values may be raw bytes of either encoding.
        place: Latitude and longitude that must be stored, None when none may be.
        ignored: These must be listed.
    """

    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    place: Place = ANYWHERE
    ignored: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Door:
    """One way in."""

    name: str
    is_json: bool
    is_hub: bool

    def encoded(self, tap: Tap, key: str) -> bytes:
        encode: Any = msgspec.json.encode if self.is_json else msgspec.msgpack.encode
        fields = {name: _raw(value, is_json=self.is_json) for name, value in tap.fields.items()}
        return bytes(encode({"type": "sos", "key": key, **fields}))


@dataclass(frozen=True)
class Both:
    """One value in both encodings, as bytes."""

    json: bytes
    msgpack: bytes


def _raw(value: Any, *, is_json: bool) -> Any:
    return msgspec.Raw(value.json if is_json else value.msgpack) if isinstance(value, Both) else value


DOORS: Final = (
    Door("hub_json", is_json=True, is_hub=True),
    Door("hub_msgpack", is_json=False, is_hub=True),
    Door("http_json", is_json=True, is_hub=False),
    Door("http_msgpack", is_json=False, is_hub=False),
)


@dataclass
class Stored:
    """The safety database of a running server."""

    incidents: dict[str, dict[str, Any]]
    taps: dict[tuple[str, str], dict[str, Any]]
    """(subject, key) -> trigger"""

    def place(self, subject: str, key: str) -> tuple[float, float] | None:
        fix = self.taps[subject, key]["report"]["fix"]
        return None if fix is None else (fix["point"][0], fix["point"][1])

    def active_of(self, subject: str) -> list[dict[str, Any]]:
        return [i for i in self.incidents.values() if i["subject"] == subject and i["state"] != "resolved"]


def stored_in(folder: Path) -> Stored:
    with closing(sqlite3.connect(f"file:{folder / 'safety.db'}?mode=ro", uri=True)) as database:
        database.execute("BEGIN")  # both questions of one moment
        incidents = [msgspec.msgpack.decode(row[0]) for row in database.execute("SELECT body FROM incidents")]
        triggers = [msgspec.msgpack.decode(row[0]) for row in database.execute("SELECT body FROM triggers")]
    by_id = {incident["incident_id"]: incident for incident in incidents}
    return Stored(by_id, {(by_id[t["incident_id"]]["subject"], t["key"]): t for t in triggers})


class Town:
    """A running server and what its people do."""

    def __init__(self, server: LocalServer) -> None:
        self.server = server
        self.target = Target(server, server.folder / "server.log")

    def stored(self) -> Stored:
        return stored_in(self.server.folder / "data")

    @asynccontextmanager
    async def session(self, user: str, role: Role, *roles: Role, **hello: Any) -> AsyncIterator[Session]:
        """A device at the hub that acknowledges what it reads."""
        async with connect(
            self.server.hub_url,
            subprotocols=["doorstep.v1.json"],  # type: ignore[list-item]
            compression=None,
            proxy=None,
            max_queue=None,
        ) as socket:
            session = Session(socket)
            hello.setdefault("device", f"dev-{next(_numbers)}")
            await session.send("hello", token=self.server.token(user, role, roles=roles), **hello)
            session.seen.append(await session.until("welcome"))
            yield session

    @asynccontextmanager
    async def console(self, user: str = "ops_1", **hello: Any) -> AsyncIterator[Session]:
        async with self.session(user, Role.OPS, **hello) as session:
            yield session

    async def post(
        self, user: str, body: bytes, *, role: Role = Role.CUSTOMER, content_type: str = "application/json"
    ) -> tuple[int, dict[str, Any]]:
        """An SOS over HTTP."""
        headers = {"Authorization": f"Bearer {self.server.token(user, role)}", "Content-Type": content_type}
        timeout = aiohttp.ClientTimeout(total=20)
        async with (
            aiohttp.ClientSession(self.server.http_url, timeout=timeout) as http,
            http.post("/v1/sos", data=body, headers=headers) as answer,
        ):
            return answer.status, await answer.json()

    async def call(self, method: str, path: str, user: str, role: Role, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.server.token(user, role)}"}
        async with (
            aiohttp.ClientSession(self.server.http_url) as http,
            http.request(method, path, json=body, headers=headers) as answer,
        ):
            return answer.status, await answer.json(content_type=None)

    async def put_technician(self, user: str, **record: Any) -> None:
        body = {"name": user, "cities": [CITY], "skills": ["massage"], "verified": True, **record}
        status, told = await self.call("PUT", f"/v1/technicians/{user}", "prog", Role.SERVICE, body)
        assert status in (200, 201), told

    @asynccontextmanager
    async def caller(self, user: str, *, is_json: bool = True, role: Role = Role.CUSTOMER) -> AsyncIterator[Attacker]:
        """Somebody at the hub who may send any bytes."""
        async with attacker(self.target, is_json=is_json, role=role, user=user) as one:
            yield one

    async def raise_all(self, taps: Sequence[Tap], door: Door, user: str) -> dict[str, dict[str, Any]]:
        """Put every tap through a door; key -> its ack."""
        keys = {f"{tap.name[:40]}/{door.name}": tap for tap in taps}
        acks: dict[str, dict[str, Any]] = {}
        if door.is_hub:
            async with self.caller(user, is_json=door.is_json) as one:
                for key, tap in keys.items():
                    await one.throw(door.encoded(tap, key))
                while len(acks) < len(keys):
                    ack = await one.until("sos_ack")
                    acks.setdefault(ack["key"], ack)
        else:
            for key, tap in keys.items():
                content_type = "application/json" if door.is_json else "application/msgpack"
                status, acks[key] = await self.post(user, door.encoded(tap, key), content_type=content_type)
                assert status == 200, (tap.name, acks[key])
        return acks


async def hold(town: Town, row: str, taps: Sequence[Tap], doors: Sequence[Door] = DOORS) -> None:
    """The oracle of rows about input: by every door each tap is acknowledged as durable and stored, with the position
    that it must have; each person has one incident, and the console was told of it.
    """
    async with town.console() as console:
        for door in doors:
            user = f"{row}_{door.name}"
            acks = await town.raise_all(taps, door, user)
            stored = town.stored()
            (incident,) = stored.active_of(user)
            for tap in taps:
                key = f"{tap.name[:40]}/{door.name}"
                assert acks[key]["durable"] is True, tap.name
                assert acks[key]["incident"] == incident["incident_id"], tap.name
                assert tap.ignored <= set(acks[key]["ignored"]), (tap.name, acks[key])
                if tap.place != ANYWHERE:
                    assert stored.place(user, key) == tap.place, (tap.name, door.name)
            told = await console.until("incident", subject=user)
            assert told["incident"] == incident["incident_id"]


def start_town(folder: Path) -> LocalServer:
    return LocalServer([LocalCity(CITY, world_boundary(CITY))], OVERRIDES, folder=folder)


def json_bytes(value: Any) -> bytes:
    return json.dumps(value).encode()


async def within(seconds: float, coroutine: Any) -> Any:
    async with asyncio.timeout(seconds):
        return await coroutine
