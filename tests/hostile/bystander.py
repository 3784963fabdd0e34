"""Well-behaved clients on the attacked server, in a thread of their own: they must feel nothing."""

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

LAT, LNG = 22.5431, 114.0579
PAUSE_S = 0.05


@dataclass
class Felt:
    """What one client went through."""

    oks: int = 0
    ping_acks: int = 0
    pings: int = 0
    slowest_s: float = 0.0
    faults: list[str] = field(default_factory=list)


class Bystander(threading.Thread):
    """A technician on duty who pings and asks without a pause, until told to stop.

    Args:
        is_json: Encoding.
    """

    def __init__(self, url: str, token: str, *, is_json: bool) -> None:
        super().__init__(name="bystander", daemon=True)
        self.felt = Felt()
        self._url, self._token, self._is_json = url, token, is_json
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()
        self.join(20)

    def run(self) -> None:
        try:
            asyncio.run(self._live())
        except (OSError, TimeoutError, WebSocketException, AssertionError) as error:
            self.felt.faults.append(f"{type(error).__name__}: {error}")

    async def _live(self) -> None:
        subprotocol: Any = "doorstep.v1.json" if self._is_json else "doorstep.v1.msgpack"
        async with connect(self._url, subprotocols=[subprotocol], compression=None, proxy=None) as socket:

            async def send(kind: str, **fields: Any) -> None:
                message = {"type": kind, **fields}
                await socket.send(json.dumps(message) if self._is_json else msgspec.msgpack.encode(message))

            async def until(kind: str, **fields: Any) -> dict[str, Any]:
                async with asyncio.timeout(15):
                    while True:
                        frame = await socket.recv()
                        message: dict[str, Any] = (
                            json.loads(frame) if isinstance(frame, str) else msgspec.msgpack.decode(frame)
                        )
                        if "stream" in message:
                            await send("ack", **{message["stream"]: message["seq"]})
                        if message["type"] == "ping_ack":
                            assert set(message["verdicts"]) <= {"live", "late"}, message
                            self.felt.ping_acks += 1
                        assert message["type"] != "error", message
                        if message["type"] == kind and all(message.get(k) == v for k, v in fields.items()):
                            return message

            await send("hello", token=self._token, device="quiet")
            await until("welcome")
            await send("duty", on=True, city="shenzhen", ref="first")
            await until("ok", ref="first")
            seq = int(time.time() * 1000)
            while not self._stopping.is_set():
                seq += 1
                now = time.time()
                await send("ping", seq=seq, fixed_at=now, sent_at=now, lat=LAT, lng=LNG, accuracy_m=9)
                self.felt.pings += 1
                began = time.monotonic()
                # Every other one goes to the disk and back.
                if seq % 2:
                    await send("duty", on=True, city="shenzhen", ref=f"r{seq}")
                else:
                    await send("unwatch", topic="order:none", ref=f"r{seq}")
                await until("ok", ref=f"r{seq}")
                self.felt.oks += 1
                self.felt.slowest_s = max(self.felt.slowest_s, time.monotonic() - began)
                await asyncio.sleep(PAUSE_S)
