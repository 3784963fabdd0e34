"""What every ``Connection`` promises; runs on the socket and on its in-memory twin."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from core.errors import DoorstepError, Unavailable
from realtime.ports import Connection
from tests.hub_double import Recorder, RecordingAcceptor, until
from tests.raw_client import BINARY, CLOSE, PING, PONG, TEXT, RawClient, close_payload, request
from transport import memory
from transport.settings import WebSocketSettings
from transport.websocket import WebSocketListener

JSON = "doorstep.v1.json"
MSGPACK = "doorstep.v1.msgpack"


class Client(Protocol):
    """The other end, whichever way it is made."""

    def send(self, payload: bytes) -> None: ...
    def close(self, code: int) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    @property
    def messages(self) -> list[bytes]: ...
    @property
    def close_code(self) -> int | None: ...


class World(Protocol):
    """A server that listens, and clients of it."""

    acceptor: RecordingAcceptor

    async def connect(self, subprotocol: str = JSON) -> Client: ...
    async def stop(self) -> None: ...


class MemoryClient:
    def __init__(self, end: memory.MemoryConnection, recorder: Recorder) -> None:
        self._end = end
        self._recorder = recorder
        self.send = end.send
        self.abort = end.abort
        self.pause_reading = end.pause_reading
        self.resume_reading = end.resume_reading

    def close(self, code: int) -> None:
        self._end.close(code)

    @property
    def messages(self) -> list[bytes]:
        return self._recorder.messages

    @property
    def close_code(self) -> int | None:
        return self._recorder.closes[0] if self._recorder.closes else None


class MemoryWorld:
    def __init__(self) -> None:
        self.acceptor = RecordingAcceptor()

    async def connect(self, subprotocol: str = JSON) -> Client:
        recorders: list[Recorder] = []

        def make(connection: Connection) -> Recorder:
            recorders.append(Recorder(connection))
            return recorders[0]

        end = memory.connect(self.acceptor, make, subprotocol=subprotocol)
        return MemoryClient(end, recorders[0])

    async def stop(self) -> None:
        pass


class SocketClient:
    def __init__(self, raw: RawClient, kind: int) -> None:
        self.raw = raw
        self._kind = kind
        self.messages: list[bytes] = []
        self.close_code: int | None = None
        self._reading = asyncio.Event()
        self._reading.set()
        self.task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        try:
            while True:
                await self._reading.wait()
                frame = await self.raw.read_frame(60)
                if frame.opcode == PING:
                    self.raw.send(PONG, frame.payload)
                elif frame.opcode == CLOSE:
                    self.close_code = frame.close_code
                    self.raw.send(CLOSE, frame.payload)
                else:
                    assert frame.opcode == self._kind
                    self.messages.append(frame.payload)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.close_code = self.close_code or 1006

    def send(self, payload: bytes) -> None:
        self.raw.send(self._kind, payload)

    def close(self, code: int) -> None:
        self.raw.send(CLOSE, close_payload(code))

    def abort(self) -> None:
        self.raw.writer.transport.abort()

    def pause_reading(self) -> None:
        self._reading.clear()
        self.raw.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume_reading(self) -> None:
        self._reading.set()
        self.raw.writer.transport.resume_reading()  # type: ignore[attr-defined]


class SocketWorld:
    def __init__(self) -> None:
        self.acceptor = RecordingAcceptor()
        self._listener = WebSocketListener(self.acceptor, WebSocketSettings(port=0))
        self._clients: list[SocketClient] = []

    async def start(self) -> None:
        await self._listener.start()

    async def connect(self, subprotocol: str = JSON) -> Client:
        raw = RawClient(self._listener.port, receive_buffer_bytes=4_096)
        await raw.__aenter__()
        if await raw.upgrade(request(subprotocol=subprotocol)) != 101:
            raw.writer.transport.abort()
            raise Unavailable(raw.body.decode())
        client = SocketClient(raw, TEXT if subprotocol == JSON else BINARY)
        self._clients.append(client)
        expected = len(self._clients)
        await until(lambda: len(self.acceptor.handlers) == expected)
        return client

    async def stop(self) -> None:
        for client in self._clients:
            client.task.cancel()
            client.raw.writer.transport.abort()
        await asyncio.gather(*(client.task for client in self._clients), return_exceptions=True)
        await self._listener.stop()


@pytest.fixture(params=["memory", "socket"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    sockets = SocketWorld()
    await sockets.start()
    yield sockets
    await sockets.stop()


async def test_messages_arrive_whole_and_in_order_both_ways(world: World) -> None:
    client = await world.connect()
    handler = world.acceptor.handlers[0]
    sent = [b"%d" % number * (number % 7 * 1_000 + 1) for number in range(100)]
    for payload in sent:
        client.send(payload)
        handler.connection.send(payload)
    await until(lambda: len(handler.messages) == len(client.messages) == 100)
    assert handler.messages == client.messages == sent


async def test_no_message_arrives_inside_the_call_that_sent_it(world: World) -> None:
    client = await world.connect()
    handler = world.acceptor.handlers[0]
    client.send(b"a")
    handler.connection.send(b"b")
    handler.connection.send_ping(b"c")
    assert (handler.messages, handler.pongs, client.messages) == ([], [], [])


@pytest.mark.parametrize("subprotocol", [JSON, MSGPACK])
async def test_the_connection_tells_its_subprotocol_and_its_peer(world: World, subprotocol: str) -> None:
    await world.connect(subprotocol)
    connection = world.acceptor.handlers[0].connection
    assert (connection.subprotocol, connection.peer, connection.is_open) == (subprotocol, "127.0.0.1", True)


async def test_a_refused_client_hears_why(world: World) -> None:
    world.acceptor.refusal = Unavailable("the hub rests")
    with pytest.raises(DoorstepError, match="the hub rests"):
        await world.connect()
    assert world.acceptor.handlers == []


async def test_a_ping_is_answered_behind_what_was_sent_before_it(world: World) -> None:
    client = await world.connect()
    handler = world.acceptor.handlers[0]
    handler.connection.send(b"first")
    handler.connection.send_ping(b"q7")
    await until(lambda: handler.pongs)
    assert (handler.pongs, client.messages) == ([b"q7"], [b"first"])


async def test_a_reader_that_does_not_read_answers_no_ping(world: World) -> None:
    client = await world.connect()
    handler = world.acceptor.handlers[0]
    client.pause_reading()
    # More than a stream reader's own buffer takes before the pause is felt.
    for _ in range(20):
        handler.connection.send(b"x" * 1_000)
    handler.connection.send_ping(b"q1")
    await asyncio.sleep(0.05)
    assert handler.pongs == []
    client.resume_reading()
    await until(lambda: handler.pongs == [b"q1"])


async def test_a_full_wire_pauses_the_queue_and_an_emptied_one_resumes_it(world: World) -> None:
    client = await world.connect()
    handler = world.acceptor.handlers[0]
    client.pause_reading()
    sent = 0
    while not handler.pauses and sent < 4_000_000:
        handler.connection.send(b"x" * 1_000)
        sent += 1_000
    assert handler.pauses == [True]
    handler.connection.send(b"sos")
    client.resume_reading()
    await until(lambda: handler.pauses == [True, False])
    await until(lambda: client.messages[-1:] == [b"sos"])
    assert sum(map(len, client.messages)) == sent + 3


async def test_what_comes_while_reading_is_paused_is_heard_in_order_afterwards(world: World) -> None:
    client = await world.connect()
    handler = world.acceptor.handlers[0]
    handler.connection.pause_reading()
    handler.connection.pause_reading()
    for number in range(3):
        client.send(b"%d" % number)
    await asyncio.sleep(0.05)
    assert handler.messages == []
    handler.connection.resume_reading()
    handler.connection.resume_reading()
    await until(lambda: len(handler.messages) == 3)
    assert handler.messages == [b"0", b"1", b"2"]


async def test_a_connection_that_is_gone_may_be_told_to_read(world: World) -> None:
    client = await world.connect()
    handler = world.acceptor.handlers[0]
    handler.connection.pause_reading()
    handler.connection.abort()
    await until(lambda: handler.closes)
    handler.connection.resume_reading()
    handler.connection.pause_reading()
    assert client.messages == []


async def test_a_close_is_answered_and_told_once_to_both(world: World) -> None:
    client = await world.connect()
    handler = world.acceptor.handlers[0]
    handler.connection.send(b"last")
    handler.connection.close(4403, "draining")
    assert not handler.connection.is_open
    assert handler.closes == []
    await until(lambda: handler.closes and client.close_code)
    assert (handler.closes, client.close_code, client.messages) == ([4403], 4403, [b"last"])


async def test_after_a_close_nothing_is_heard_and_nothing_sent(world: World) -> None:
    client = await world.connect()
    handler = world.acceptor.handlers[0]
    handler.connection.close(4403)
    handler.connection.close(1000)
    handler.connection.send(b"x")
    handler.connection.send_ping(b"x")
    client.send(b"y")
    await until(lambda: handler.closes)
    await asyncio.sleep(0.01)
    assert (handler.closes, handler.messages, client.messages) == ([4403], [], [])


async def test_the_clients_close_is_told_with_its_code(world: World) -> None:
    client = await world.connect()
    handler = world.acceptor.handlers[0]
    client.send(b"bye")
    client.close(4001)
    await until(lambda: handler.closes)
    assert (handler.messages, handler.closes, handler.connection.is_open) == ([b"bye"], [4001], False)


async def test_a_code_that_must_not_be_said_is_a_protocol_error(world: World) -> None:
    client = await world.connect()
    client.close(1006)
    handler = world.acceptor.handlers[0]
    await until(lambda: handler.closes)
    assert handler.closes == [1002]


async def test_a_lost_connection_is_1006(world: World) -> None:
    client = await world.connect()
    handler = world.acceptor.handlers[0]
    client.abort()
    await until(lambda: handler.closes)
    assert (handler.closes, handler.connection.is_open) == ([1006], False)


async def test_an_abort_ends_both_sides_but_not_inside_the_call(world: World) -> None:
    client = await world.connect()
    handler = world.acceptor.handlers[0]
    handler.connection.abort()
    handler.connection.abort()
    assert (handler.closes, handler.connection.is_open) == ([], False)
    await until(lambda: handler.closes and client.close_code)
    assert (handler.closes, client.close_code) == ([1006], 1006)


@pytest.mark.slow
async def test_a_close_that_a_stalled_reader_does_not_answer_is_aborted_after_two_seconds(world: World) -> None:
    client = await world.connect()
    handler = world.acceptor.handlers[0]
    client.pause_reading()
    for _ in range(300):
        handler.connection.send(b"x" * 1_000)
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    handler.connection.close(4408)
    await until(lambda: handler.closes)
    assert handler.closes == [4408]
    assert 1.9 < loop.time() - started_at < 2.6


async def test_text_must_be_utf8_and_messages_must_fit(world: World) -> None:
    for payload, code in [(b"\xff", 1007), (b"a" * 65_537, 1009)]:
        client = await world.connect()
        handler = world.acceptor.handlers[-1]
        client.send(payload)
        await until(lambda client=client: client.close_code)  # type: ignore[misc]
        client.abort()
        await until(lambda handler=handler: handler.closes)  # type: ignore[misc]
        assert (client.close_code, handler.closes, handler.messages) == (code, [code], [])


DAMAGED = [(b"sos \xff", 1007), (b"sos" + b"a" * 65_534, 1009), (b"a" * 131_069 + b"sos", 1009)]


@pytest.mark.parametrize(("payload", "code"), DAMAGED, ids=["not UTF-8", "too long", "twice too long"])
async def test_a_message_to_be_refused_is_shown_first_and_kept_when_it_is_precious(
    world: World, payload: bytes, code: int
) -> None:
    client = await world.connect()
    handler = world.acceptor.handlers[0]
    handler.precious = b"sos"
    client.send(payload)
    await until(lambda: handler.damaged)
    assert handler.damaged == [(payload, code)]
    handler.connection.send(b"acknowledged")
    client.send(b"next")
    await until(lambda: handler.messages and client.messages)
    assert (handler.messages, client.messages, handler.closes) == ([b"next"], [b"acknowledged"], [])


async def test_a_message_to_be_refused_that_is_not_precious_is_refused(world: World) -> None:
    for payload, code in [(b"\xff", 1007), (b"a" * 65_537, 1009)]:
        client = await world.connect()
        handler = world.acceptor.handlers[-1]
        handler.precious = b"sos"
        client.send(payload)
        await until(lambda client=client: client.close_code)  # type: ignore[misc]
        assert (client.close_code, handler.damaged, handler.messages) == (code, [(payload, code)], [])


@pytest.mark.parametrize(
    ("precious", "payload", "code"),
    [(None, b"sos \xff", 1007), (None, b"sos" * 30_000, 1009), (b"sos", b"sos" * 43_691, 1009)],
    ids=["nobody takes it", "nobody takes it, too long", "longer than is read"],
)
async def test_a_message_that_nobody_takes_or_that_is_not_read_is_refused_unseen(
    world: World, precious: bytes | None, payload: bytes, code: int
) -> None:
    client = await world.connect()
    handler = world.acceptor.handlers[0]
    handler.precious = precious
    client.send(payload)
    await until(lambda: client.close_code)
    assert (client.close_code, handler.damaged, handler.messages) == (code, [], [])


async def test_the_error_of_a_handler_that_judges_ends_its_connection(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(payload: bytes, close_code: int) -> bool:
        raise ValueError(close_code)

    client = await world.connect()
    handler = world.acceptor.handlers[0]
    handler.precious = b"sos"
    handler.on_damaged = fail  # type: ignore[method-assign]
    client.send(b"\xff")
    await until(lambda: client.close_code)
    assert client.close_code == 1011
    assert "connection handler failed" in caplog.text


async def test_the_error_of_a_handler_ends_its_connection_with_1011(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(payload: bytes) -> None:
        raise ValueError(payload)

    client = await world.connect()
    handler = world.acceptor.handlers[0]
    handler.on_message_do = fail
    client.send(b"x")
    client.send(b"y")
    await until(lambda: handler.closes)
    assert (handler.closes, handler.messages) == ([1011], [b"x"])
    assert "connection handler failed" in caplog.text
