"""The send queue on real sockets: an SOS behind a backlog, a reader that stalls, a console on a fast link."""

import array
import asyncio
import fcntl
import socket
import termios
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from realtime.ports import Connection
from realtime.send_queue import SendQueue, SendQueueSettings
from tests.hub_double import Recorder, RecordingAcceptor, until
from tests.raw_client import CLOSE, PING, PONG, TEXT, RawClient, encode, request
from transport.settings import WebSocketSettings
from transport.websocket import WebSocketListener

pytestmark = pytest.mark.slow

KIB = 1_024
SETTINGS = SendQueueSettings()


class Written:
    """A connection that writes down what is written to it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.frames: list[bytes] = []
        self.send_ping = connection.send_ping
        self.close = connection.close
        self.abort = connection.abort
        self.pause_reading = connection.pause_reading
        self.resume_reading = connection.resume_reading
        self.peer = connection.peer
        self.subprotocol = connection.subprotocol

    @property
    def is_open(self) -> bool:
        return self._connection.is_open

    def send(self, payload: bytes) -> None:
        self.frames.append(payload)
        self._connection.send(payload)


class Queued(Recorder):
    """A handler with a send queue, as the hub's sessions are."""

    settings = SETTINGS

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.written = Written(connection)
        self.queue = SendQueue(self.written, self.settings)

    def on_pong(self, payload: bytes) -> None:
        super().on_pong(payload)
        self.queue.on_pong(payload, self.now)

    def on_paused(self) -> None:
        super().on_paused()
        self.queue.on_paused()

    def on_writable(self) -> None:
        super().on_writable()
        self.queue.on_writable(self.now)

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def offer(self, number: int, size: int = 200) -> None:
        self.queue.offer_position(("area:sh", f"tec_{number}"), b"%07d" % number + b"p" * (size - 7), self.now)


@pytest.fixture
async def acceptor() -> RecordingAcceptor:
    return RecordingAcceptor(Queued)


@pytest.fixture
async def listener(acceptor: RecordingAcceptor) -> AsyncIterator[WebSocketListener]:
    listener = WebSocketListener(acceptor, WebSocketSettings(port=0))
    await listener.start()
    yield listener
    await listener.stop()


async def session(acceptor: RecordingAcceptor) -> Queued:
    await until(lambda: acceptor.handlers)
    handler = acceptor.handlers[0]
    assert isinstance(handler, Queued)
    return handler


class SlowReader:
    """Takes ``bytes_per_s`` out of the kernel, answers pings when it comes to them, and notes when it read what."""

    def __init__(self, port: int, bytes_per_s: int) -> None:
        self._port = port
        self._bytes_per_s = bytes_per_s
        self._buffer = bytearray()
        self._socket = socket.socket()
        self.read: list[tuple[float, bytes]] = []

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self._socket.setblocking(False)
        await loop.sock_connect(self._socket, ("127.0.0.1", self._port))
        await loop.sock_sendall(self._socket, request())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await loop.sock_recv(self._socket, 1)
        started_at, taken = loop.time(), 0
        while True:
            # Steps of a tenth of a second, as an app that drains its socket now and then.
            allowed = int((loop.time() - started_at) * self._bytes_per_s) - taken
            if allowed > 0:
                data = await loop.sock_recv(self._socket, allowed)
                if not data:
                    return
                taken += len(data)
                self._buffer += data
                await self._parse(loop)
            await asyncio.sleep(0.1)

    async def _parse(self, loop: asyncio.AbstractEventLoop) -> None:
        while len(self._buffer) >= 2:
            length, start = self._buffer[1], 2
            if length == 126:
                length, start = int.from_bytes(self._buffer[2:4], "big"), 4
            if len(self._buffer) < start + length:
                return
            opcode, payload = self._buffer[0] & 15, bytes(self._buffer[start : start + length])
            del self._buffer[: start + length]
            if opcode == PING:
                await loop.sock_sendall(self._socket, encode(PONG, payload))
            elif opcode == TEXT:
                self.read.append((loop.time(), payload))

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("waits_s", [(0.0, 1.5), (0.6, 0.9)])
async def test_an_sos_overtakes_a_megabyte_of_positions_on_a_link_of_8_kib(
    listener: WebSocketListener, acceptor: RecordingAcceptor, waits_s: tuple[float, ...]
) -> None:
    reader = SlowReader(listener.port, 8 * KIB)
    task = asyncio.get_running_loop().create_task(reader.run())
    handler = await session(acceptor)
    for number in range((1 << 20) // 200):
        handler.offer(number)
    assert handler.queue.pending_bytes > 1_000_000
    for count, wait_s in enumerate(waits_s):
        await asyncio.sleep(wait_s)
        sos = b'{"type":"incident","n":%d}' % count
        written = len(handler.written.frames)
        sent_at = handler.now
        handler.queue.send_safety(sos)
        assert handler.written.frames[written:] == [sos], "nothing is written between queueing it and writing it"
        await until(lambda sos=sos: any(payload == sos for _, payload in reader.read))  # type: ignore[misc]
        (read_at,) = (at for at, payload in reader.read if payload == sos)
        assert read_at - sent_at < 2.0
    assert handler.queue.pending_bytes > 0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    reader.close()


def queued_in_kernel(sock: socket.socket, what: int) -> int:
    """Bytes in a socket's send (TIOCOUTQ) or receive (FIONREAD) buffer."""
    size = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), what, size)
    return size[0]


async def stall(listener: WebSocketListener, acceptor: RecordingAcceptor, seconds: float) -> None:
    """Stop reading for a while under a thousand positions a second; check what it costs and what comes after."""
    async with RawClient(listener.port) as client:
        await client.upgrade()
        handler = await session(acceptor)
        transport = handler.connection._tap.transport  # type: ignore[attr-defined]
        server_end: socket.socket = transport.get_extra_info("socket")
        client_end: socket.socket = client.writer.get_extra_info("socket")
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        loop = asyncio.get_running_loop()
        until_at, number, cost_max = loop.time() + seconds, 0, 0
        while loop.time() < until_at:
            for _ in range(20):
                number += 1
                handler.offer(number % 2_000)
            await asyncio.sleep(0.02)
        for _ in range(10):
            handler.queue.send_main(b"m" * 500)
        cost_max = (
            handler.queue.pending_bytes
            + transport.get_write_buffer_size()
            + queued_in_kernel(server_end, termios.TIOCOUTQ)
            + queued_in_kernel(client_end, termios.FIONREAD)
        )
        assert handler.queue.dropped > 0
        assert cost_max < 64 * KIB
        # It wakes, and is served at once: nothing of this ended the connection.
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        mains = 0
        while mains < 10:
            frame = await client.read_frame()
            assert frame.opcode != CLOSE
            if frame.opcode == PING:
                client.send(PONG, frame.payload)
            mains += frame.payload[:1] == b"m"


async def test_a_stalled_reader_costs_little(listener: WebSocketListener, acceptor: RecordingAcceptor) -> None:
    # The same test as below with the queue's patience shortened from 5 s to 0.3 s.
    class Impatient(Queued):
        settings = replace(SETTINGS, stalled_after_s=0.3)

    acceptor._make = Impatient
    await stall(listener, acceptor, 1.5)


@pytest.mark.full
async def test_a_reader_stalled_for_a_minute_costs_little(
    listener: WebSocketListener, acceptor: RecordingAcceptor
) -> None:
    await stall(listener, acceptor, 60)


class Relay:
    """A TCP relay that delays both directions, to stand for a distant client."""

    def __init__(self, port: int, delay_s: float) -> None:
        self._port = port
        self._delay_s = delay_s
        self._tasks: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, far_writer]
        loop = asyncio.get_running_loop()
        self._tasks += [
            loop.create_task(self._pump(reader, far_writer)),
            loop.create_task(self._pump(far_reader, writer)),
        ]

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(65_536):
            loop.call_later(self._delay_s, writer.write, data)

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(self._delay_s * 2)


async def read_rate(port: int, acceptor: RecordingAcceptor, *, has_credit: bool) -> float:
    """Bytes per second that a client 50 ms away reads of a stream of 1 MB/s, after two seconds of warming up."""
    relay = Relay(port, 0.025)
    client = SlowReader(await relay.start(), 1_000_000_000)
    task = asyncio.get_running_loop().create_task(client.run())
    handler = await session(acceptor)
    loop = asyncio.get_running_loop()
    started_at, number = loop.time(), 0
    while loop.time() < started_at + 4:
        while number < (loop.time() - started_at) * 1_000:
            number += 1
            if has_credit:
                handler.offer(number % 1_000, 1_000)
            else:
                handler.queue.send_main(b"%07d" % number + b"p" * 993)
        await asyncio.sleep(0.01)
    read = sum(len(payload) for at, payload in client.read if started_at + 2 <= at < started_at + 4)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    client.close()
    await relay.stop()
    acceptor.handlers.clear()
    return read / 2


async def test_a_console_far_away_on_a_fast_link_is_not_throttled_by_its_credit(
    listener: WebSocketListener, acceptor: RecordingAcceptor
) -> None:
    with_credit = await read_rate(listener.port, acceptor, has_credit=True)
    without = await read_rate(listener.port, acceptor, has_credit=False)
    print(f"with credit {with_credit:,.0f} B/s, without {without:,.0f} B/s")
    # The first window of 8 KiB would allow 164 kB/s over this distance.
    assert with_credit > 0.9 * without > 500_000
