"""Many devices over real sockets in one process, with picows: for demos, replays and load tests.

One timer for all, no task for each device. An ``Agent`` decides what its device does; the swarm carries it.
"""

import asyncio
import heapq
from collections.abc import Callable
from typing import Final, Protocol, cast

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from doorstep_client.clock import SteadyClock
from doorstep_client.events import Event
from doorstep_client.protocol import ClientProtocol, State

CLOSE_TIMEOUT_S: Final = 2.0
"""A close that the server does not answer by then is not waited for."""


class Agent(Protocol):
    """One device's behaviour. Called on the event loop; must not block."""

    @property
    def protocol(self) -> ClientProtocol:
        """The device's side of the conversation."""
        ...

    def handle(self, event: Event, now: float) -> None:
        """Something happened."""
        ...

    def next_deadline(self) -> float | None:
        """When ``on_deadline`` must be called; None for never."""
        ...

    def on_deadline(self, now: float) -> None:
        """Do what is due."""
        ...


class _Device(WSListener):
    """One agent's socket and timers."""

    def __init__(self, swarm: "Swarm", agent: Agent) -> None:
        super().__init__()
        self.swarm = swarm
        self.agent = agent
        self.transport: WSTransport | None = None
        self.dialling = False
        self.armed_at = float("inf")
        self.close_code = 1006
        self.closing_at: float | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.dialling = False
        self.close_code = 1006
        self.swarm.open += 1
        now = self.swarm.now()
        self.agent.protocol.connected(now)
        self.flush(now)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        now = self.swarm.now()
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            self.swarm.frames_in += 1
            events = self.agent.protocol.receive(frame.get_payload_as_bytes(), now)
            self.deliver(events, now)
            self.flush(now)
        elif frame.msg_type == WSMsgType.CLOSE:
            self.close_code = cast(int, frame.get_close_code()) or 1005
            transport.send_close(cast(WSCloseCode, 1000))
            transport.disconnect()
        else:
            self.agent.protocol.heard(now)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.transport = None
        self.closing_at = None
        self.swarm.open -= 1
        code = self.close_code
        now = self.swarm.now()
        self.deliver(self.agent.protocol.lost(code, now), now)
        self.rearm(now)

    def deliver(self, events: list[Event], now: float) -> None:
        for event in events:
            self.agent.handle(event, now)

    def flush(self, now: float) -> None:
        """Write what is queued, close if the core wants it, and set the timer."""
        protocol, transport = self.agent.protocol, self.transport
        if transport is not None:
            kind = WSMsgType.TEXT if protocol.is_text else WSMsgType.BINARY
            for frame in protocol.frames_to_send(now):
                transport.send(kind, frame)
                self.swarm.frames_out += 1
            if protocol.must_close and self.closing_at is None:
                self.closing_at = now
                transport.send_close(cast(WSCloseCode, 1000))
        self.rearm(now)

    def due_at(self) -> float:
        """The earliest thing to do."""
        protocol = self.agent.protocol
        if self.closing_at is not None:
            return self.closing_at + CLOSE_TIMEOUT_S
        times = [self.agent.next_deadline(), protocol.next_deadline()]
        if self.transport is None and not self.dialling:
            times.append(protocol.reconnect_at)
        return min((t for t in times if t is not None), default=float("inf"))

    def rearm(self, now: float) -> None:
        due = self.due_at()
        if due < self.armed_at:
            self.armed_at = due
            self.swarm.arm(due, self)


class Swarm:
    """Carries agents over sockets until told to stop.

    Args:
        url: Address of the hub.
        dials_at_once: Handshakes in flight; a listener's backlog is finite.
        now: Clock of all devices, UTC epoch seconds; a steady one by default.
    """

    def __init__(self, url: str, *, dials_at_once: int = 100, now: Callable[[], float] | None = None) -> None:
        self.url = url
        self.now = now or SteadyClock().now
        self.open = 0
        self.frames_in = 0
        self.frames_out = 0
        self.dials_failed = 0
        self._dials = asyncio.Semaphore(dials_at_once)
        self._heap: list[tuple[float, int, _Device]] = []
        self._order = 0
        self._wake = asyncio.Event()
        self._devices: dict[int, _Device] = {}
        self._dial_tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    def add(self, agent: Agent) -> None:
        """Take in an agent; its device connects as soon as a handshake is free."""
        device = _Device(self, agent)
        self._devices[id(agent)] = device
        device.rearm(self.now())

    def touch(self, agent: Agent) -> None:
        """The agent queued something outside its callbacks: write it now."""
        self._devices[id(agent)].flush(self.now())

    def cut(self, agent: Agent) -> None:
        """Drop the agent's connection without a word, as a tunnel does; it will come back by itself."""
        transport = self._devices[id(agent)].transport
        if transport is not None:
            transport.disconnect(False)

    def arm(self, at: float, device: _Device) -> None:
        """Call the device back at ``at``; later calls with an earlier time win."""
        self._order += 1
        heapq.heappush(self._heap, (at, self._order, device))
        if self._heap[0][2] is device:
            self._wake.set()

    def stop(self) -> None:
        """Let ``run`` close all connections and return. Idempotent."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Serve timers until ``stop``."""
        try:
            while not self._stopping:
                self._wake.clear()
                self._serve_due()
                wait_s = self._heap[0][0] - self.now() if self._heap else None
                if wait_s is None or wait_s > 0:
                    try:
                        async with asyncio.timeout(wait_s):
                            await self._wake.wait()
                    except TimeoutError:
                        pass
                else:
                    await asyncio.sleep(0)
        finally:
            await self._close_all()

    def _serve_due(self) -> None:
        now = self.now()
        while self._heap and self._heap[0][0] <= now:
            at, _, device = heapq.heappop(self._heap)
            if at != device.armed_at:
                continue  # replaced by an earlier one
            device.armed_at = float("inf")
            self._serve(device, now)

    def _serve(self, device: _Device, now: float) -> None:
        protocol = device.agent.protocol
        if device.closing_at is not None and device.transport is not None:
            device.transport.disconnect(False)  # the server does not answer our close
            return
        due = device.agent.next_deadline()
        if due is not None and due <= now:
            device.agent.on_deadline(now)
        due = protocol.next_deadline()
        if due is not None and due <= now:
            device.deliver(protocol.on_deadline(now), now)
        at = protocol.reconnect_at
        if device.transport is None and not device.dialling and at is not None and at <= now:
            device.dialling = True
            task = asyncio.create_task(self._dial(device))
            self._dial_tasks.add(task)
            task.add_done_callback(self._dial_tasks.discard)
        device.flush(now)

    async def _dial(self, device: _Device) -> None:
        protocol = device.agent.protocol
        async with self._dials:
            try:
                await ws_connect(
                    lambda: device,
                    self.url,
                    extra_headers={"Sec-WebSocket-Protocol": protocol.subprotocol},
                    enable_auto_pong=True,
                    read_buffer_init_size=2048,
                    use_aiofastnet=False,
                    websocket_handshake_timeout=protocol.settings.welcome_timeout_s,
                )
            except Exception as error:  # noqa: BLE001  # whatever went wrong, a device tries again
                self.dials_failed += 1
                device.dialling = False
                now = self.now()
                device.deliver(protocol.lost(1006, now, reason=str(error)[:200]), now)
                device.rearm(now)

    async def _close_all(self) -> None:
        for task in list(self._dial_tasks):
            task.cancel()
        if self._dial_tasks:
            await asyncio.wait(self._dial_tasks)
        for device in self._devices.values():
            protocol = device.agent.protocol
            if protocol.state is not State.ENDED:
                protocol.end()
            device.flush(self.now())
        for _ in range(100):  # the close handshakes, at most 2 s
            if not self.open:
                return
            await asyncio.sleep(0.02)
