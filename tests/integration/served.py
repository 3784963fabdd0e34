"""A whole server inside the test's own loop, on SQLite in a temporary folder, and people who speak to it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from websockets.asyncio.client import ClientConnection, connect

from core.principal import Role
from safety.audit import AuditKeys
from server.app import App
from server.config import load
from server.keys import Key
from server.outgoing_secrets import OutgoingSecrets
from server.renewal import FreshSecrets
from server.root import DERIVED, Settings
from server.settings import Algorithm
from server.system import SystemClock, SystemIds
from server.tokens import issue

SECRET = b"a test secret of more than thirty-two bytes"
KEY = Key("main", Algorithm.HS256, SECRET, SECRET)
AUDIT = AuditKeys([b"an audit key of more than thirty-two bytes"])
CITY = "shenzhen"
LAT, LNG = 22.5431, 114.0579


class Session:
    """A hub client that acknowledges at once and keeps what it was sent."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []
        self._refs = 0

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send a request and wait for its ``ok``."""
        self._refs += 1
        ref = f"r{self._refs}"
        await self.send(kind, ref=ref, **fields)
        return await self.until("ok", ref=ref)

    async def until(self, kind: str, timeout_s: float = 10.0, **fields: Any) -> dict[str, Any]:
        """The first message of this kind with these fields; others are kept."""
        async with asyncio.timeout(timeout_s):
            while True:
                for message in self.seen:
                    if message["type"] == kind and all(message.get(name) == value for name, value in fields.items()):
                        self.seen.remove(message)
                        return message
                message = json.loads(await self.socket.recv())
                if "stream" in message:
                    await self.send("ack", **{message["stream"]: message["seq"]})
                self.seen.append(message)


class Served:
    """One running server."""

    def __init__(self, app: App, http: aiohttp.ClientSession) -> None:
        self.app = app
        self.http = http
        self._clock = SystemClock()
        self._ids = SystemIds()
        self._sessions: list[Session] = []

    def token(
        self,
        user: str,
        role: str,
        *,
        roles: tuple[str, ...] = (),
        tenant: str = "demo",
        cities: Any = (CITY,),
        key: Key = KEY,
        **more: Any,
    ) -> str:
        return issue(
            key, self.app.settings.auth, self._clock, self._ids, user=user, role=Role(role), tenant=tenant,
            cities=cities, roles=[Role(r) for r in roles], **more,
        )  # fmt: skip

    async def call(
        self, method: str, path: str, token: str | None = None, body: Any = None, **headers: str
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, decoded body, headers."""
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        given: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with self.http.request(method, path, headers=headers, **given) as answer:
            text = await answer.read()
            return answer.status, (json.loads(text) if "json" in answer.content_type else text), answer.headers

    async def session(self, user: str, role: str, **claims: Any) -> Session:
        socket = await connect(self.app.hub_url, subprotocols=["doorstep.v1.json"])  # type: ignore[list-item]
        session = Session(socket)
        self._sessions.append(session)
        await session.send("hello", token=self.token(user, role, **claims), device=f"{user}-phone")
        await session.until("welcome")
        return session

    async def technician(
        self, user: str = "tec_1", lat: float = LAT + 0.01, lng: float = LNG, **record: Any
    ) -> Session:
        """Registered, connected, on duty and located."""
        body = {"name": f"Name {user}", "cities": [CITY], "skills": ["massage"], "verified": True, **record}
        status, answer, _ = await self.call("PUT", f"/v1/technicians/{user}", self.token("prog", "service"), body)
        assert status in (200, 201), answer
        phone = await self.session(user, "technician")
        await phone.ask("duty", on=True, city=CITY)
        await self.ping(phone, 1, lat, lng)
        return phone

    async def ping(self, phone: Session, seq: int, lat: float, lng: float) -> dict[str, Any]:
        now = self._clock.now()
        await phone.send("ping", seq=seq, fixed_at=now, sent_at=now, lat=lat, lng=lng, accuracy_m=10)
        return await phone.until("ping_ack")

    async def close(self) -> None:
        for session in self._sessions:
            await session.socket.close()


def order(**changes: Any) -> dict[str, Any]:
    return {
        "service": "massage",
        "skills": ["massage"],
        "duration_s": 3600,
        "location": {"lat": LAT, "lng": LNG, "address": "1 Secret Road", "unit": "7B"},
        "contact": {"name": "Li", "phone": "13800000000"},
        "price": {"service_fen": 20_000},
        **changes,
    }


@asynccontextmanager
async def served(
    folder: Path, reread: Callable[[], FreshSecrets] | None = None, /, **overrides: str
) -> AsyncIterator[Served]:
    """A server on free ports. ``overrides`` are config keys with ``__`` for dots."""
    environ = {
        "DOORSTEP__HTTP__PORT": "0",
        "DOORSTEP__HUB__PORT": "0",
        "DOORSTEP__ADMIN__PORT": "0",
        "DOORSTEP__DATA_FOLDER": str(folder / "data"),
        "DOORSTEP__REALTIME__DRAIN__OVER_S": "0",
        "DOORSTEP__REALTIME__POSITIONS__ACK_JOB_S": "0.2",
        "DOORSTEP__REALTIME__POSITIONS__ACK_IDLE_S": "0.2",
        "DOORSTEP__SAFETY__JOURNAL__SIZE_MIB": "1",
        "DOORSTEP__SAFETY__JOURNAL__RESERVE_MIB": "1",
        "DOORSTEP__SAFETY__REACH__LAST_RESORT__LOG": "true",
        "DOORSTEP__SAFETY__REACH__SYNTHETIC__FIRST_S": "86400",
        "DOORSTEP__CITIES": "[{tenant: demo, city: shenzhen}, {tenant: other, city: shenzhen}]",
    }
    environ.update({f"DOORSTEP__{name.upper()}": value for name, value in overrides.items()})
    settings = load(Settings, None, environ, derived=DERIVED)
    reach = settings.safety.reach
    channels = ["sms", "voice", "email", *(f"robots.{name}" for name in reach.robots)]
    channels += [f"webhooks.{name}" for name in reach.webhooks]
    secrets = OutgoingSecrets(
        dict.fromkeys(settings.webhooks.endpoints, (SECRET,)), (SECRET,), dict.fromkeys(channels, (SECRET, SECRET))
    )
    app = App(settings, keys={"main": KEY}, folder=folder, secrets=secrets, audit=AUDIT, reread=reread)
    await app.start()
    try:
        async with aiohttp.ClientSession(app.http_url) as http:
            server = Served(app, http)
            yield server
            await server.close()
    finally:
        await app.stop()
