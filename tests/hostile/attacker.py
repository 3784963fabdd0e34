"""Those who send anything: sessions that throw frames and tell what came back."""

import asyncio
import itertools
import json
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from core.codes import MEANINGS
from core.principal import Role
from sim.local_server import LocalServer

ANSWER_S = 10.0
UNREADABLE = frozenset({"malformed", "invalid", "unknown_type", "member_repeated"})
_users = itertools.count()


@dataclass(frozen=True)
class Target:
    server: LocalServer
    log: Path


def put_technician(target: Target, user: str) -> None:
    record = {"name": user, "cities": ["shenzhen"], "skills": ["massage"], "verified": True}
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{target.server.http_url}/v1/technicians/{user}",
        json.dumps(record).encode(),
        {"Authorization": f"Bearer {target.server.token('prog', Role.SERVICE)}"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        assert answer.status in (200, 201)


class Attacker:
    """One connection."""

    def __init__(self, socket: ClientConnection, *, is_json: bool) -> None:
        self.socket = socket
        self.is_json = is_json
        self.verdicts: Counter[str] = Counter()
        self._beats = 0

    async def say(self, kind: str, **fields: Any) -> None:
        """A good frame."""
        message = {"type": kind, **fields}
        await self.throw(msgspec.json.encode(message) if self.is_json else msgspec.msgpack.encode(message))

    async def throw(self, payload: bytes) -> None:
        """Any bytes as one frame of the session's kind."""
        await self.socket.send(payload, text=self.is_json)

    async def throw_pieces(self, payload: bytes, size: int) -> None:
        """Any bytes as one message in fragments."""
        parts = [payload[start : start + size] for start in range(0, len(payload), size)]
        await self.socket.send(parts, text=self.is_json)

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(ANSWER_S):
            frame = await self.socket.recv()
        message: dict[str, Any] = json.loads(frame) if isinstance(frame, str) else msgspec.msgpack.decode(frame)
        if message["type"] == "ping_ack":
            self.verdicts.update(message["verdicts"])
        elif message["type"] == "error":
            assert message["code"] in MEANINGS, message
            assert message["code"] != "internal", message
        return message

    async def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        while True:
            message = await self.hear()
            if message["type"] == kind and all(message.get(k) == v for k, v in fields.items()):
                return message

    async def answer(self, payload: bytes) -> dict[str, Any] | int | None:
        """What a frame led to at once: its error, the close code, or None when it was taken without a word."""
        try:
            await self.throw(payload)
            await self.say("heartbeat")
            found = None
            while True:
                message = await self.hear()
                if message["type"] == "heartbeat":
                    return found
                if message["type"] == "error":
                    found = message
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else 1006


@asynccontextmanager
async def attacker(
    target: Target, *, is_json: bool, says_hello: bool = True, role: Role = Role.TECHNICIAN, user: str = ""
) -> AsyncIterator[Attacker]:
    subprotocol: Any = "doorstep.v1.json" if is_json else "doorstep.v1.msgpack"
    async with connect(
        target.server.hub_url, subprotocols=[subprotocol], compression=None, proxy=None, close_timeout=2
    ) as socket:
        one = Attacker(socket, is_json=is_json)
        if says_hello:
            user = user or f"tec_bad_{next(_users)}"
            await one.say("hello", token=target.server.token(user, role), device=f"bad-{next(_users)}")
            await one.until("welcome")
        yield one
