"""People on real sockets who come back after every loss, resume, and write down whatever they were told.

Written against docs/protocol.md alone: nothing of the server or of ``doorstep_client`` is used, so that a mistake
made there on both sides is still seen.
"""

import asyncio
import json
import random
import time
from collections.abc import Coroutine
from typing import Any

import aiohttp
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.faults.ledger import STEPS, Ledger, Received, canonical

LAT, LNG = 22.5431, 114.0579
CITY = "shenzhen"
ANSWER_S = 20.0
"""An answer that takes longer, on a connection that stands, is a fault."""
GIVE_UP_S = 60.0
"""A server that takes longer to come back and answer does not come back."""
TOO_LATE = frozenset({"offer_expired", "offer_revoked", "offer_taken", "order_cancelled"})


TAKEN_AWAY = {
    "order": {"customer", "technician", "contact_name", "contact_phone", "location", "eta_s"},
}
"""What a repeated message may lack because its reader's right to it has ended (docs/protocol.md, Reliable streams)."""


def is_repeat(first: dict[str, Any], again: dict[str, Any]) -> bool:
    """Whether a row that came again is the same row, up to what its reader may no longer see, in either order.

    A row may reach two devices of a user, or one device twice, on different sides of the end of a right; so what
    came first may also be the shorter one.
    """
    if first["type"].startswith("incident") and again.get("why") == "withdrawn":
        return bool(again["incident"] == first["incident"])
    if first["type"] != again["type"]:
        return False
    may_lack = TAKEN_AWAY.get(first["type"], set())
    return all(
        first.get(name) == again.get(name) for name in first.keys() | again.keys() if name not in may_lack
    ) and all(first[name] == again[name] for name in may_lack & first.keys() & again.keys())


class Tasks:
    """A task group that can be told to go home: what people still wait for will not come any more."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()


class Line:
    """One device at the hub.

    Args:
        tasks: Where work that frames cause is started.
        calm: Speaks JSON, takes every offer and rests never.
    """

    def __init__(
        self, url: str, token: str, user: str, device: str, ledger: Ledger, seed: int, tasks: Tasks,
        calm: bool = False,
    ) -> None:  # fmt: skip
        self.user, self.device, self.ledger = user, device, ledger
        self.rng = random.Random(f"{seed}/{user}/{device}")
        self.online = asyncio.Event()
        self.welcomes = 0
        self._url, self._token, self.start = url, token, tasks.start
        self._is_calm = calm
        self._is_json = self.rng.random() < 0.5 or calm
        self._socket: ClientConnection | None = None
        self._answers: dict[str, asyncio.Future[dict[str, Any] | None]] = {}
        self._refs = 0
        self._next: dict[str, int] = {}

    async def run(self) -> None:
        """Connect again and again until cancelled."""
        subprotocol: Any = "doorstep.v1.json" if self._is_json else "doorstep.v1.msgpack"
        while True:
            try:
                async with connect(
                    self._url, subprotocols=[subprotocol], compression=None, proxy=None, open_timeout=5, close_timeout=1
                ) as socket:
                    await self._hello(socket)
                    async for frame in socket:
                        await self._take(self._decode(frame))
            except (OSError, TimeoutError, WebSocketException):
                pass
            finally:
                self._lost()
            await asyncio.sleep(self.rng.uniform(0.01, 0.15))

    def _decode(self, frame: str | bytes) -> dict[str, Any]:
        message: dict[str, Any] = (
            json.loads(frame) if isinstance(frame, str) else msgspec.msgpack.decode(frame, strict=True)
        )
        return message

    async def send(self, kind: str, **fields: Any) -> bool:
        """Whether it was handed to a socket; no more is known."""
        if self._socket is None:
            return False
        message = {"type": kind, **fields}
        try:
            await self._socket.send(json.dumps(message) if self._is_json else msgspec.msgpack.encode(message))
        except (OSError, WebSocketException):
            return False
        return True

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Ask until it is answered, over as many connections as that takes."""
        started = time.monotonic()
        while True:
            answer = await self.ask_once(kind, **fields)
            if answer is not None and not answer.get("retry"):
                return answer
            assert time.monotonic() < started + GIVE_UP_S, f"{kind} of {self.user} is only ever answered {answer}"
            await asyncio.sleep(0.02)

    async def ask_once(self, kind: str, **fields: Any) -> dict[str, Any] | None:
        """The answer, or None when the connection was lost before it came."""
        await self.online.wait()
        self._refs += 1
        ref = f"r{self._refs}"
        future = self._answers[ref] = asyncio.get_running_loop().create_future()
        if not await self.send(kind, ref=ref, **fields):
            self._answers.pop(ref, None)
            return None
        try:
            async with asyncio.timeout(ANSWER_S):
                answer: dict[str, Any] | None = await future
        except TimeoutError:
            self.ledger.fault(f"{kind} of {self.user} was not answered")
            return None
        if answer is not None:
            self.ledger.answers[f"{kind}: {answer.get('code', 'ok')}"] += 1
        return answer

    # -- frames -----------------------------------------------------------------------------------------

    async def _hello(self, socket: ClientConnection) -> None:
        hello: dict[str, Any] = {"type": "hello", "token": self._token, "device": self.device}
        resume = {}
        for stream in ("main", "safety"):
            got = self.ledger.received.get((self.user, self.device, stream))
            if got is not None:
                # Sometimes as an app that died before it had saved the last of them.
                seq = got.last if self.rng.random() < 0.7 else max(got.base, got.last - self.rng.randint(1, 10))
                resume[stream] = {"epoch": got.epoch, "seq": seq}
                self._next[stream] = seq + 1
        if resume:
            hello["resume"] = resume
        await socket.send(json.dumps(hello) if self._is_json else msgspec.msgpack.encode(hello))
        self._socket = socket

    async def _take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "welcome":
            self._welcome(message)
        elif "stream" in message:
            await self._row(message)
        elif kind in ("ok", "error") and message.get("ref") in self._answers:
            self._settle(message["ref"], message)
        elif kind == "error":
            self.ledger.fault(f"{self.user} was told {message}")
        else:
            self.handle(message)

    def _welcome(self, message: dict[str, Any]) -> None:
        for stream, state in message["streams"].items():
            key = (self.user, self.device, stream)
            got = self.ledger.received.get(key)
            if got is None:
                self.ledger.received[key] = Received(base=state["seq"], epoch=state["epoch"])
                # A snapshot stands for everything up to its own number and is sent with it.
                self._next[stream] = state["seq"] + (state["how"] != "snapshot")
            elif (state["how"], state["epoch"]) != ("replayed", got.epoch):
                self.ledger.fault(f"{stream} of {self.user}/{self.device} at {got.last} was not resumed: {state}")
        self.welcomes += 1
        self.online.set()

    async def _row(self, message: dict[str, Any]) -> None:
        stream, seq = message["stream"], message["seq"]
        got = self.ledger.received[self.user, self.device, stream]
        if message["epoch"] != got.epoch:
            self.ledger.fault(f"epoch of {stream} of {self.user} changed")
        if seq != self._next[stream]:
            self.ledger.fault(f"{self.user}/{self.device} got {stream} {seq} instead of {self._next[stream]}")
        self._next[stream] = seq + 1
        body = canonical(message)
        is_new = seq not in got.rows and message["type"] != "snapshot"
        if is_new:
            got.rows[seq] = body
        elif message["type"] != "snapshot":
            got.repeats += 1
            if not is_repeat(json.loads(got.rows[seq]), json.loads(body)):
                self.ledger.fault(f"{stream} {seq} of {self.user} came with two bodies")
        if message["type"] == "offer" or self.rng.random() < 0.9:
            await self.send("ack", **{stream: seq})
        if is_new:
            self.handle(message)

    def handle(self, message: dict[str, Any]) -> None:
        """A new message that is no answer."""

    def _settle(self, ref: str, answer: dict[str, Any] | None) -> None:
        future = self._answers.pop(ref, None)
        if future is not None and not future.done():
            future.set_result(answer)

    def _lost(self) -> None:
        self._socket = None
        self.online.clear()
        for ref in list(self._answers):
            self._settle(ref, None)


class Technician(Line):
    """Pings, answers offers, works."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.is_retired = False
        self._pings = int(time.time() * 1000)
        self._jobs: set[str] = set()
        self._lat = LAT + self.rng.uniform(-0.02, 0.02)
        self._lng = LNG + self.rng.uniform(-0.02, 0.02)
        self._sos: dict[str, asyncio.Event] = {}

    async def live(self) -> None:
        """On duty for ever, with pauses."""
        await self.set_duty(True)
        pauses_at = self.rng.uniform(1.0, 4.0)
        while True:
            now = time.time()
            self._pings += 1
            await self.send(
                "ping", seq=self._pings, fixed_at=now, sent_at=now, lat=self._lat, lng=self._lng, accuracy_m=10
            )
            await asyncio.sleep(0.25)
            pauses_at -= 0.25
            if pauses_at < 0 and not self.is_retired and not self._is_calm:
                pauses_at = self.rng.uniform(1.0, 4.0)
                await self.set_duty(False)
                await self.set_duty(True)

    async def set_duty(self, on: bool) -> None:
        self.ledger.duty[self.user] = None
        answer = await self.ask("duty", on=on, city=CITY)
        if answer["type"] == "ok":
            self.ledger.duty[self.user] = on
        else:
            self.ledger.fault(f"duty of {self.user}: {answer}")

    def handle(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "offer" and not self.is_retired:
            self.start(self._consider(message["offer"], message["order"]))
        elif kind == "order" and message["state"] == "assigned" and message["order"] not in self._jobs:
            self._jobs.add(message["order"])
            self.start(self._work(message["order"]))
        elif kind == "sos_ack" and message["durable"]:
            self.ledger.sos[message["key"]] = (self.user, message["incident"])
            if message["key"] in self._sos:
                self._sos[message["key"]].set()

    async def _consider(self, offer: str, order: str) -> None:
        await asyncio.sleep(self.rng.uniform(0.0, 0.1))
        mood = 0.5 if self._is_calm else self.rng.random()
        if mood < 0.03:
            return
        kind = "offer.accept" if mood < 0.85 else "offer.decline"
        # Half of those cut off while asking ask again; the others wait to be told.
        insists = self.rng.random() < 0.5
        answer = await (self.ask(kind, offer=offer) if insists else self.ask_once(kind, offer=offer))
        if answer is None:
            return
        if answer["type"] == "ok" and kind == "offer.accept":
            self.ledger.accepted(offer, self.user, order)
        elif answer["type"] == "ok":
            self.ledger.declines[offer] = self.user
        elif answer["code"] not in TOO_LATE and order not in self.ledger.cancel_asked:
            self.ledger.fault(f"{kind} {offer} of {self.user}: {answer}")

    async def _work(self, order: str) -> None:
        for step in STEPS:
            await asyncio.sleep(self.rng.uniform(0.02, 0.12))
            answer = await self.ask("job.step", order=order, step=step, evidence="photo:door")
            while answer["type"] == "error" and answer["code"] == "position_needed":
                await asyncio.sleep(0.2)  # the server has begun anew and has not heard a position yet
                answer = await self.ask("job.step", order=order, step=step, evidence="photo:door")
            if answer["type"] == "ok":
                self.ledger.raise_state(order, step)
            elif order in self.ledger.cancel_asked or (step == "departed_safe" and answer["code"] == "order_confirmed"):
                return
            else:
                self.ledger.fault(f"{step} of {order} by {self.user}: {answer}")
                return

    async def tap(self, key: str) -> None:
        """SOS over the hub, until it is acknowledged as durable."""
        done = self._sos[key] = asyncio.Event()
        while not done.is_set():
            await self.online.wait()
            await self.send("sos", key=key, lat=self._lat, lng=self._lng, accuracy_m=10.0, note="fault test")
            try:
                async with asyncio.timeout(1.0):
                    await done.wait()
            except TimeoutError:
                continue


class Ops(Line):
    """Takes every incident in hand and ends it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._seen: set[str] = set()

    def handle(self, message: dict[str, Any]) -> None:
        if message["type"] == "incident" and message["incident"] not in self._seen:
            self._seen.add(message["incident"])
            self.start(self._deal(message["incident"]))

    async def _deal(self, incident: str) -> None:
        await asyncio.sleep(self.rng.uniform(0.05, 0.4))
        answer = await self.ask("incident.ack", incident=incident)
        if answer["type"] == "ok":
            self.ledger.raise_incident(incident, "acknowledged")
        elif answer["code"] not in ("already_acknowledged", "already_resolved"):
            self.ledger.fault(f"ack of {incident}: {answer}")
        await asyncio.sleep(self.rng.uniform(0.05, 0.4))
        answer = await self.ask("incident.resolve", incident=incident, disposition="false_test")
        if answer["type"] == "ok":
            self.ledger.raise_incident(incident, answer["result"]["state"])
        elif answer["code"] != "already_resolved":
            self.ledger.fault(f"resolve of {incident}: {answer}")


class Web:
    """HTTP that insists: a request whose answer was lost is sent again, with the same key."""

    def __init__(self, base: str, http: aiohttp.ClientSession, ledger: Ledger) -> None:
        self._base, self._http, self.ledger = base, http, ledger

    async def once(self, method: str, path: str, token: str, body: Any = None, key: str = "") -> tuple[int, Any] | None:
        headers = {"Authorization": f"Bearer {token}"} | ({"Idempotency-Key": key} if key else {})
        try:
            async with self._http.request(method, self._base + path, json=body, headers=headers) as answer:
                return answer.status, await answer.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None

    async def call(self, method: str, path: str, token: str, body: Any = None, key: str = "") -> tuple[int, Any]:
        started = time.monotonic()
        while True:
            answer = await self.once(method, path, token, body, key)
            if answer is not None and answer[0] != 503:
                self.ledger.answers[f"{method} {path.split('/')[2]}: {answer[0]}"] += 1
                return answer
            assert time.monotonic() < started + GIVE_UP_S, f"{method} {path} is only ever answered {answer}"
            await asyncio.sleep(0.05)


def order_body() -> dict[str, Any]:
    return {
        "service": "massage",
        "skills": ["massage"],
        "duration_s": 3600,
        "location": {"lat": LAT, "lng": LNG, "address": "1 Test Road", "unit": "7B"},
        "contact": {"name": "Li", "phone": "13800000000"},
        "price": {"service_fen": 20_000},
    }


async def place_orders(web: Web, customer: str, token: str, rng: random.Random) -> None:
    """One customer's orders, one after the other; some are called off at once, some confirmed later."""
    n = 0
    while True:
        n += 1
        key, body = f"{customer}-{n}", order_body()
        insists = rng.random() < 0.8
        answer = await (web.call if insists else web.once)("POST", "/v1/orders", token, body, key)
        if answer is not None and answer[0] in (200, 201):
            order = answer[1]["order"]
            web.ledger.orders[order] = (customer, key, body)
            web.ledger.raise_state(order, "placed")
            if rng.random() < 0.1:
                web.ledger.cancel_asked.add(order)
                status, _ = await web.call("POST", f"/v1/orders/{order}/cancel", token, {"reason": "test"})
                if status == 200:
                    web.ledger.cancelled.add(order)
        elif answer is not None and answer[0] != 503:
            web.ledger.fault(f"order {key}: {answer}")
        await asyncio.sleep(rng.uniform(0.1, 0.5))


async def tap_over_http(web: Web, user: str, token: str, key: str) -> None:
    """SOS over HTTP, until it is acknowledged as durable."""
    while True:
        status, ack = await web.call("POST", "/v1/sos", token, {"key": key, "lat": LAT, "lng": LNG})
        if status != 200:
            web.ledger.fault(f"sos {key}: {status} {ack}")
            return
        if ack["durable"]:
            web.ledger.sos[key] = (user, ack["incident"])
            return
        await asyncio.sleep(0.1)
