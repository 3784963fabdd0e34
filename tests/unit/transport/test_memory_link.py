"""What the in-memory link adds to the contract: delay, rate and faults."""

import asyncio

from tests.hub_double import Recorder, RecordingAcceptor, until
from transport import memory


def link(**options: float) -> tuple[memory.MemoryConnection, Recorder, Recorder]:
    acceptor = RecordingAcceptor()
    recorders: list[Recorder] = []

    def make(connection: object) -> Recorder:
        recorders.append(Recorder(connection))  # type: ignore[arg-type]
        return recorders[0]

    client = memory.connect(acceptor, make, **options)  # type: ignore[arg-type]
    return client, acceptor.handlers[0], recorders[0]


async def test_a_delay_holds_back_both_ways_and_keeps_the_order() -> None:
    client, server, phone = link(delay_s=0.02)
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    client.send(b"1")
    client.send(b"2")
    server.connection.send(b"3")
    await until(lambda: server.messages and phone.messages)
    assert loop.time() - started_at >= 0.02
    assert (server.messages, phone.messages) == ([b"1", b"2"], [b"3"])


async def test_a_rate_makes_bytes_take_their_time() -> None:
    _, server, phone = link(bytes_per_s=100_000.0)
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    for _ in range(10):
        server.connection.send(b"x" * 494)
    await until(lambda: len(phone.messages) == 10)
    assert 0.05 <= loop.time() - started_at < 0.2


async def test_a_cut_link_tells_nobody() -> None:
    client, server, phone = link()
    client.send(b"before")
    await until(lambda: server.messages)
    client.cut()
    client.send(b"x")
    server.connection.send_ping(b"y")
    await asyncio.sleep(0.01)
    assert (server.messages, server.pongs, phone.messages, server.closes) == ([b"before"], [], [], [])
    assert server.connection.is_open


async def test_an_abort_overtakes_what_was_on_its_way() -> None:
    client, server, _ = link(delay_s=0.01)
    client.send(b"never")
    client.abort()
    await until(lambda: server.closes)
    assert (server.messages, server.closes) == ([], [1006])


async def test_an_acceptor_that_fails_closes_with_1011() -> None:
    def fail(connection: object) -> Recorder:
        raise ValueError

    recorders: list[Recorder] = []

    def make(connection: object) -> Recorder:
        recorders.append(Recorder(connection))  # type: ignore[arg-type]
        return recorders[0]

    memory.connect(RecordingAcceptor(fail), make)
    await until(lambda: recorders[0].closes)
    assert recorders[0].closes == [1011]
