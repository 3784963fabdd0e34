"""One device over a real socket, with asyncio and the ``websockets`` library.

    async with Client(url, token=token, device="phone-1") as client:
        client.ping(Fix(lat=39.9, lng=116.4, fixed_at=time.time()))
        async for event in client.events():
            if isinstance(event, OfferReceived):
                await client.ask("offer.accept", offer=event.offer)

Reconnects by itself, with jitter, and resumes. For thousands of devices in one process see ``load.py``.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from doorstep_client.backoff import Backoff
from doorstep_client.clock import SteadyClock
from doorstep_client.events import (
    AreaReceived,
    Event,
    PingsJudged,
    PositionReceived,
    RequestDone,
    RequestFailed,
    SosAcked,
    TokenNeeded,
    Welcomed,
)
from doorstep_client.outbox import Outbox
from doorstep_client.ping_buffer import Fix
from doorstep_client.ping_file import PingFile
from doorstep_client.ping_keeper import PingKeeper
from doorstep_client.protocol import ClientProtocol, State
from doorstep_client.settings import ClientSettings, Encoding
from doorstep_client.sos_keeper import SosKeeper

if TYPE_CHECKING:
    from doorstep_client.http_sender import HttpSender

_log = logging.getLogger(__name__)
EVENTS_MAX = 10_000
"""Events kept for a slow application; beyond it the oldest are dropped (``events_dropped`` counts them), of those first
that a newer one replaces."""
REPLACED_BY_NEWER: Final = (PositionReceived, AreaReceived, PingsJudged)


class RequestRefused(Exception):
    """The server refused a request, or did not answer in time."""

    def __init__(self, failure: RequestFailed) -> None:
        super().__init__(f"{failure.type}: {failure.code}: {failure.message}")
        self.code = failure.code
        self.retry = failure.retry


class _ListeningConnection(ClientConnection):
    """Also notices the server's WebSocket pings, which are a sign of life."""

    on_ping: Callable[[], None] | None = None

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame) and event.opcode is Opcode.PING and self.on_ping is not None:
            self.on_ping()
        super().process_event(event)


class Client:
    """A device that stays connected.

    Args:
        url: ``ws://`` or ``wss://`` address of the hub.
        token: JWT of the user.
        device: Stable name of this installation.
        new_token: Asked for a newer token when the server wants one, again while it fails; without it the client waits
            for ``renew``.
        proxy: Proxy address, None for none.
        protocol: A prepared core instead of the arguments above.
        outbox: Where taps of SOS outlive this process; without it they live as long as the client.
        ping_file: Where pings outlive this process; without it they live as long as the client.
        http: The way for an SOS when the socket cannot be had, and for pings with ``settings.pings_over_http``;
            without it there is none.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        device: str = "",
        encoding: Encoding = Encoding.JSON,
        crs: str | None = None,
        settings: ClientSettings | None = None,
        new_token: Callable[[], Awaitable[str]] | None = None,
        proxy: str | None = None,
        protocol: ClientProtocol | None = None,
        outbox: Outbox | None = None,
        ping_file: PingFile | None = None,
        http: "HttpSender | None" = None,
    ) -> None:
        self.url = url
        self.protocol = protocol or ClientProtocol(
            device=device,
            token=token,
            encoding=encoding,
            crs=crs,
            settings=settings,
            phone_clock=lambda now: time.time(),  # what the phone believes, whatever it was set to
        )
        self.now = SteadyClock().now
        """The time line of ``protocol``, for callers that speak to it directly."""
        self.events_dropped = 0
        self._new_token = new_token
        self._proxy = proxy
        self._events: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._wake = asyncio.Event()
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._sos_acks: dict[str, asyncio.Future[SosAcked]] = {}
        self._welcomed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_fetching = False
        self._sos_keeper = SosKeeper(outbox, self.protocol, self.now, self._tell)
        self._ping_keeper = None
        if ping_file is not None:
            self._ping_keeper = PingKeeper(ping_file, self.protocol, self.now, self._tell)
        self._http = http
        self._is_closing = asyncio.Event()
        self._side_tasks: set[asyncio.Task[None]] = set()

    # -- life -----------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the file of pings, if there is one, and start to connect (``ready`` waits for the welcome)."""
        if self._ping_keeper is not None:
            await self._ping_keeper.open()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection and stop."""
        await self.close()

    async def close(self) -> None:
        """Send what is queued, close and stop. Idempotent."""
        self.protocol.end()
        self._is_closing.set()
        self._wake.set()
        if self._task is not None:
            done, _ = await asyncio.wait([self._task], timeout=3.0)
            if not done:
                self._task.cancel()
                await asyncio.wait([self._task])
        for task in self._side_tasks:
            task.cancel()
        if self._http is not None:
            await self._http.close()
        for ack in self._sos_acks.values():
            ack.cancel()  # also of taps after the server had sent the device away
        await self._sos_keeper.close()
        if self._ping_keeper is not None:
            await self._ping_keeper.close()

    async def ready(self, timeout_s: float = 10.0) -> None:
        """Wait for a welcome. Raises ``TimeoutError``."""
        async with asyncio.timeout(timeout_s):
            await self._welcomed.wait()

    async def events(self) -> AsyncIterator[Event]:
        """Everything that happens, in order, until the client has ended."""
        while True:
            while self._events:
                yield self._events.popleft()
            if self._task is None or self._task.done():
                return
            self._arrived.clear()
            await self._arrived.wait()

    # -- what the application says --------------------------------------------------------------------

    def ping(self, fix: Fix) -> int:
        """Report a position; see ``ClientProtocol.send_ping``. With a ``ping_file`` only once the client is entered."""
        seq = self.protocol.send_ping(fix, self.now())
        self._stir()
        return seq

    async def pings_written(self) -> bool:
        """Wait until all pings so far stand in the file; False where there is none, or it cannot be written."""
        return self._ping_keeper is not None and await self._ping_keeper.written()

    async def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send a request and wait for its result.

        Raises:
            RequestRefused: The server said no, or nothing in time.
        """
        return await self.answer(self.protocol.request(kind, self.now(), **fields))

    async def answer(self, ref: str) -> dict[str, Any]:
        """Wait for the result of a request made on ``protocol``; raises ``RequestRefused``."""
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[ref] = future
        self._wake.set()
        return await future

    async def duty(self, on: bool, city: str | None = None) -> None:
        """Go on or off duty; raises ``RequestRefused``."""
        await self.answer(self.protocol.duty(on, self.now(), city))

    async def watch(self, topic: str, **fields: Any) -> None:
        """Receive a topic's positions; raises ``RequestRefused``."""
        await self.answer(self.protocol.watch(topic, self.now(), **fields))

    async def sos(self, **fields: Any) -> SosAcked:
        """Call for help and wait until the server has stored it; repeats by itself until then.

        It leaves at once; the outbox is written meanwhile. ``SosNotReceived`` comes among the events when nobody
        answers: then show another way to get help.
        """
        key = self.protocol.send_sos(self.now(), **fields)
        future: asyncio.Future[SosAcked] = asyncio.get_running_loop().create_future()
        self._sos_acks[key] = future
        self._stir()
        self._sos_keeper.watch()
        return await future

    async def cancel_sos(self, incident: str, pin: str) -> None:
        """Take one's alarm back; raises ``RequestRefused``."""
        await self.answer(self.protocol.cancel_sos(incident, pin, self.now()))

    async def answer_checkin(self, checkin: str, answer: str) -> dict[str, Any]:
        """``ok``, ``help`` or ``no`` to a check, repeated until it is answered; raises ``RequestRefused``."""
        return await self.answer(self.protocol.answer_checkin(checkin, answer, self.now()))

    async def tap_drill(self) -> float:
        """Try the alarm; milliseconds from its arrival at the server to the disk. Raises ``RequestRefused``."""
        return float((await self.answer(self.protocol.tap_drill(self.now())))["round_trip_ms"])

    def renew(self, token: str) -> None:
        """Use a newer token."""
        self.protocol.renew(token, self.now())
        self._wake.set()

    # -- the loop -------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._sos_keeper.open()
            self.protocol.fallback.no_session(self.now())
            while self.protocol.state is not State.ENDED:
                if await self._wait_for_turn():
                    await self._one_connection()
            await self._send_sos_on()
        finally:
            self._arrived.set()
            for answer in self._answers.values():
                answer.cancel()
            for ack in self._sos_acks.values():
                ack.cancel()

    async def _send_sos_on(self) -> None:
        """The server wants no session any more; taps go on over HTTP until they are stored, or the user leaves."""
        while self._http is not None and self.protocol.sos_waiting and not self._is_closing.is_set():
            self._wake.clear()
            await self._wake.wait()

    async def _wait_for_turn(self) -> bool:
        at = self.protocol.reconnect_at
        wait_s = None if at is None else at - self.now()
        if wait_s is not None and wait_s <= 0:
            return True
        self._wake.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return True
        return False

    async def _one_connection(self) -> None:
        protocol = self.protocol
        try:
            socket = await connect(
                self.url,
                subprotocols=[Subprotocol(protocol.subprotocol)],
                compression=None,
                ping_interval=None,
                proxy=self._proxy,
                create_connection=_ListeningConnection,
                open_timeout=protocol.settings.welcome_timeout_s,
                close_timeout=protocol.settings.close_timeout_s,
            )
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as error:
            self._tell(protocol.lost(1006, self.now(), reason=str(error)[:200]))
            return
        if isinstance(socket, _ListeningConnection):
            socket.on_ping = lambda: protocol.heard(self.now())
        protocol.connected(self.now())
        reader = asyncio.create_task(self._read(socket))
        writer = asyncio.create_task(self._write(socket))
        try:
            await asyncio.wait([reader, writer], return_when=asyncio.FIRST_COMPLETED)
        finally:
            reader.cancel()
            writer.cancel()
            await asyncio.wait([reader, writer])
            await self._leave(socket)
            self._welcomed.clear()
            self._tell(protocol.lost(socket.close_code or 1006, self.now(), reason=socket.close_reason or ""))
        for task in (reader, writer):
            failure = None if task.cancelled() else task.exception()
            if failure is not None and not isinstance(failure, ConnectionClosed):
                raise failure

    async def _leave(self, socket: ClientConnection) -> None:
        if self.protocol.is_server_silent:
            socket.transport.abort()  # there is nobody to say goodbye to, and an SOS may wait for the next connection
        await socket.close()

    async def _read(self, socket: ClientConnection) -> None:
        async for message in socket:
            frame = message.encode() if isinstance(message, str) else message
            self._tell(self.protocol.receive(frame, self.now()))
            self._wake.set()

    async def _write(self, socket: ClientConnection) -> None:
        protocol = self.protocol
        while not protocol.must_close:
            self._wake.clear()
            for frame in protocol.frames_to_send(self.now()):
                await self._send(socket, frame)
            if protocol.must_close:
                return
            deadline = protocol.next_deadline()
            try:
                async with asyncio.timeout(None if deadline is None else max(deadline - self.now(), 0.0)):
                    await self._wake.wait()
            except TimeoutError:
                self._tell(protocol.on_deadline(self.now()))

    async def _send(self, socket: ClientConnection, frame: bytes) -> None:
        # Where no byte gets through ``send`` waits for the network to say so: up to a quarter of an hour.
        loop, limit_s = asyncio.get_running_loop(), self.protocol.settings.send_timeout_s
        timer = loop.call_later(limit_s, socket.transport.abort)
        try:
            await socket.send(frame, text=self.protocol.is_text)
        finally:
            timer.cancel()

    def _stir(self) -> None:
        """Something is to be sent or kept: whoever does it looks."""
        self._wake.set()
        self._sos_keeper.stir()
        if self._ping_keeper is not None:
            self._ping_keeper.stir()
        if self._http is not None:
            self._http.stir(self.protocol, self.now, self._tell)

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, RequestDone | RequestFailed):
                self._settle(event)
            elif isinstance(event, Welcomed):
                self._welcomed.set()
            elif isinstance(event, SosAcked) and event.durable:
                future = self._sos_acks.pop(event.key, None)
                if future is not None and not future.done():
                    future.set_result(event)
            elif isinstance(event, TokenNeeded) and self._new_token is not None and not self._is_fetching:
                self._is_fetching = True
                self._start(self._fetch_token(self._new_token))
            if len(self._events) >= EVENTS_MAX:
                self._make_room()
            self._events.append(event)
        self._arrived.set()
        self._stir()

    def _make_room(self) -> None:
        kept = [event for event in self._events if not isinstance(event, REPLACED_BY_NEWER)]
        if len(kept) == len(self._events):
            kept = kept[1:]
        self.events_dropped += len(self._events) - len(kept)
        self._events = deque(kept)

    def _settle(self, event: RequestDone | RequestFailed) -> None:
        future = self._answers.pop(event.ref, None)
        if future is None or future.done():
            return
        if isinstance(event, RequestDone):
            future.set_result(event.result)
        else:
            future.set_exception(RequestRefused(event))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._side_tasks.add(task)
        task.add_done_callback(self._side_tasks.discard)

    async def _fetch_token(self, new_token: Callable[[], Awaitable[str]]) -> None:
        settings = self.protocol.settings
        backoff = Backoff(settings.reconnect_base_s, settings.reconnect_max_s, random.SystemRandom())
        try:
            while self.protocol.state is not State.ENDED:
                try:
                    token = await new_token()
                except Exception:  # noqa: BLE001 - the application's code; without a token nothing else works either
                    _log.exception("no new token; trying again")
                    await asyncio.sleep(backoff.next_wait_s())
                else:
                    self.renew(token)
                    return
        finally:
            self._is_fetching = False
