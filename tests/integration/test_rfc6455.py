"""RFC 6455 conduct of the listener, byte by byte, on both event loops."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from core.errors import Unavailable
from tests.hub_double import Recorder, RecordingAcceptor, until
from tests.raw_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    RawClient,
    close_payload,
    encode,
    request,
)
from transport.settings import WebSocketSettings
from transport.websocket import WebSocketListener

SETTINGS = WebSocketSettings(
    port=0, handshake_timeout_s=0.15, close_timeout_s=0.15, linger_s=0.15, message_timeout_s=0.15
)


@pytest.fixture
def acceptor() -> RecordingAcceptor:
    return RecordingAcceptor()


@pytest.fixture
async def port(acceptor: RecordingAcceptor) -> AsyncIterator[int]:
    listener = WebSocketListener(acceptor, SETTINGS)
    await listener.start()
    yield listener.port
    await listener.stop()
    assert listener.sockets == 0


@pytest.fixture
async def client(port: int) -> AsyncIterator[RawClient]:
    async with RawClient(port) as raw:
        assert await raw.upgrade() == 101
        yield raw


def heard(acceptor: RecordingAcceptor) -> list[bytes]:
    return acceptor.handlers[0].messages


async def with_settings(acceptor: RecordingAcceptor, raw: bytes, **changes: object) -> RawClient:
    """The answer of a listener with other settings to one upgrade request."""
    listener = WebSocketListener(acceptor, replace(SETTINGS, **changes))  # type: ignore[arg-type]
    await listener.start()
    try:
        async with RawClient(listener.port) as client:
            await client.upgrade(raw)
            return client
    finally:
        await listener.stop()


# -- handshake -------------------------------------------------------------------------------------------


async def test_the_upgrade_names_the_subprotocol_that_the_client_prefers(port: int) -> None:
    async with RawClient(port) as client:
        await client.upgrade(request(subprotocol="x, doorstep.v1.msgpack, doorstep.v1.json"))
    assert (client.status, client.headers["sec-websocket-protocol"]) == (101, "doorstep.v1.msgpack")


async def test_a_client_that_offers_no_subprotocol_speaks_json_and_is_named_none(
    port: int, acceptor: RecordingAcceptor
) -> None:
    async with RawClient(port) as client:
        assert await client.upgrade(request(subprotocol=None)) == 101
        await until(lambda: acceptor.handlers)
    assert "sec-websocket-protocol" not in client.headers
    assert acceptor.handlers[0].connection.subprotocol == "doorstep.v1.json"


async def test_only_unknown_subprotocols_are_refused_with_the_known_ones(port: int) -> None:
    async with RawClient(port) as client:
        assert await client.upgrade(request(subprotocol="chat, superchat")) == 400
    assert b"doorstep.v1.json, doorstep.v1.msgpack" in client.body


async def test_firefox_upgrades_with_keep_alive_in_connection(port: int) -> None:
    async with RawClient(port) as client:
        assert await client.upgrade(request(connection="keep-alive, Upgrade")) == 101


@pytest.mark.parametrize("version", ["8", "7", "14", "x", None])
async def test_other_versions_are_told_which_one_is_spoken(port: int, version: str | None) -> None:
    async with RawClient(port) as client:
        assert await client.upgrade(request(version=version)) == 426
    assert client.headers["sec-websocket-version"] == "13"


async def test_other_paths_are_not_found(port: int) -> None:
    async with RawClient(port) as client:
        assert await client.upgrade(request("/")) == 404
    async with RawClient(port) as client:
        assert await client.upgrade(request("/ws?from=test")) == 101


async def test_plain_http_on_the_path_is_told_to_upgrade(port: int) -> None:
    async with RawClient(port) as client:
        assert await client.upgrade(b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n") == 426
    assert client.headers["upgrade"] == "websocket"


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /ws HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /ws HTTP/1.0\r\nHost: x\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost : x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
        request().replace(b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: short"),
        request(headers={"Content-Length": "5"}),
    ],
    ids=["POST", "HTTP/1.0", "bad header", "TLS to a plain port", "bad key", "body"],
)
async def test_what_is_no_upgrade_is_a_bad_request(port: int, raw: bytes) -> None:
    async with RawClient(port) as client:
        assert await client.upgrade(raw) == 400


@pytest.mark.parametrize(
    ("origins", "origin", "status"),
    [
        ((), "http://127.0.0.1:8080", 101),
        ((), "https://evil.example", 403),
        ((), "null", 403),
        (("https://console.example",), "https://console.example", 101),
        (("https://console.example",), "https://CONSOLE.example/", 101),
        (("https://console.example",), "http://console.example", 403),
        (("https://console.example",), None, 101),
        (("*",), "https://evil.example", 101),
    ],
)
async def test_browsers_come_from_allowed_origins(
    acceptor: RecordingAcceptor, origins: tuple[str, ...], origin: str | None, status: int
) -> None:
    raw = request(headers={} if origin is None else {"Origin": origin})
    assert (await with_settings(acceptor, raw, origins=origins)).status == status


async def test_an_acceptor_that_is_full_is_answered_503_and_too_many_429(
    port: int, acceptor: RecordingAcceptor
) -> None:
    for error, status in [(Unavailable("later"), 503), (Unavailable("too many", code="too_many"), 429)]:
        acceptor.refusal = error
        async with RawClient(port) as client:
            assert await client.upgrade() == status
        assert error.message.encode() in client.body


async def test_the_error_of_an_acceptor_is_not_shown(port: int, acceptor: RecordingAcceptor) -> None:
    acceptor.refusal = 1 / 3  # type: ignore[assignment]  # no error at all: a bug of ours
    async with RawClient(port) as client:
        assert await client.upgrade() == 500
    assert b"float" not in client.body


async def test_one_address_cannot_take_all_connections(acceptor: RecordingAcceptor) -> None:
    listener = WebSocketListener(acceptor, replace(SETTINGS, connections_per_address_max=2, connections_max=3))
    await listener.start()
    async with RawClient(listener.port) as one, RawClient(listener.port) as two, RawClient(listener.port) as three:
        assert [await one.upgrade(), await two.upgrade(), await three.upgrade()] == [101, 101, 429]
        one.writer.transport.abort()
        await until(lambda: listener.connections == 1)
        async with RawClient(listener.port) as four:
            assert await four.upgrade() == 101
    await listener.stop()


async def test_a_full_hub_says_so(acceptor: RecordingAcceptor) -> None:
    listener = WebSocketListener(acceptor, replace(SETTINGS, connections_max=1))
    await listener.start()
    async with RawClient(listener.port) as one, RawClient(listener.port) as two:
        assert [await one.upgrade(), await two.upgrade()] == [101, 503]
        assert two.headers["retry-after"] == "5"
    assert listener.refused == {"too_many_connections": 1}
    await listener.stop()


async def test_the_address_behind_a_trusted_proxy_is_the_clients(acceptor: RecordingAcceptor) -> None:
    raw = request(headers={"X-Forwarded-For": "6.6.6.6, 203.0.113.9, 127.0.0.2"})
    await with_settings(acceptor, raw, trusted_proxies=("127.0.0.0/8",))
    await with_settings(acceptor, raw)
    assert [handler.connection.peer for handler in acceptor.handlers] == ["203.0.113.9", "127.0.0.1"]


async def test_a_silent_client_is_dropped(port: int) -> None:
    async with RawClient(port) as client:
        assert await client.read_end(2) == b""


async def test_a_request_byte_by_byte_is_cut_off_by_the_handshake_timeout(port: int) -> None:
    async with RawClient(port) as client:
        started_at = time.monotonic()
        for byte in request(headers={"X-Padding": "x" * 1_000}):
            client.writer.write(bytes([byte]))
            await asyncio.sleep(0.005)
            if client.reader.at_eof() or client.writer.transport.is_closing():
                break
        await client.read_end(2)
        assert time.monotonic() - started_at < 1


async def test_endless_headers_are_refused(port: int) -> None:
    async with RawClient(port) as client:
        started_at = time.monotonic()
        sent = 0
        client.writer.write(b"GET /ws HTTP/1.1\r\n")
        try:
            while not client.reader.at_eof() and not client.writer.is_closing():
                client.writer.write(b"X-%06d: x\r\n" % sent * 16)
                sent += 16 * 13
                await client.writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            pass
        assert sent < 1_000_000
        assert time.monotonic() - started_at < 1


async def test_frames_that_come_with_the_request_are_heard(port: int, acceptor: RecordingAcceptor) -> None:
    async with RawClient(port) as client:
        await client.upgrade(request() + encode(TEXT, b"early"))
        await until(lambda: acceptor.handlers and heard(acceptor) == [b"early"])


# -- messages --------------------------------------------------------------------------------------------


async def test_one_byte_at_a_time_is_a_message_like_any_other(client: RawClient, acceptor: RecordingAcceptor) -> None:
    for byte in encode(TEXT, "Straße 颐和园".encode()):
        client.writer.write(bytes([byte]))
        await asyncio.sleep(0)
    await until(lambda: heard(acceptor))
    assert heard(acceptor) == ["Straße 颐和园".encode()]


async def test_fragments_are_joined_and_control_frames_pass_between_them(
    client: RawClient, acceptor: RecordingAcceptor
) -> None:
    euro = "€".encode()
    client.send(TEXT, b"a" + euro[:1], fin=False)
    client.send(PING, b"now")
    client.send(CONTINUATION, b"", fin=False)
    client.send(PONG, b"unasked")
    client.send(CONTINUATION, euro[1:] + b"z")
    frame = await client.read_frame()
    assert (frame.opcode, frame.payload) == (PONG, b"now")
    await until(lambda: heard(acceptor))
    assert heard(acceptor) == ["a€z".encode()]
    assert acceptor.handlers[0].pongs == [b"unasked"]


async def test_fragments_that_never_end_are_closed(client: RawClient) -> None:
    client.send(TEXT, b"a", fin=False)
    assert await client.read_close() == 1008


async def test_msgpack_is_spoken_in_binary_frames(port: int, acceptor: RecordingAcceptor) -> None:
    async with RawClient(port) as client:
        await client.upgrade(request(subprotocol="doorstep.v1.msgpack"))
        client.send(BINARY, b"\x81\xff")
        await until(lambda: acceptor.handlers and heard(acceptor))
        acceptor.handlers[0].connection.send(b"\x80")
        frame = await client.read_frame()
        assert (frame.opcode, frame.payload) == (BINARY, b"\x80")
        client.send(TEXT, b"{}")
        assert await client.read_close() == 1003


@pytest.mark.parametrize("size", [0, 1, 125, 126, 8_192, 8_193, 65_535, 65_536, 200_000])
async def test_messages_of_every_length_are_sent_whole(
    client: RawClient, acceptor: RecordingAcceptor, size: int
) -> None:
    acceptor.handlers[0].connection.send(b"x" * size)
    acceptor.handlers[0].connection.send(b"next")
    assert [len((await client.read_frame()).payload), (await client.read_frame()).payload] == [size, b"next"]


async def test_large_and_small_messages_stay_whole_when_the_socket_blocks(
    port: int, acceptor: RecordingAcceptor
) -> None:
    async with RawClient(port, receive_buffer_bytes=4_096) as client:
        await client.upgrade()
        await until(lambda: acceptor.handlers)
        sizes = [20_000, 5, 9_000, 300, 60_000, 1, 8_192, 8_193] * 8
        for number, size in enumerate(sizes):
            acceptor.handlers[0].connection.send(bytes([number]) * size)
        assert True in acceptor.handlers[0].pauses
        for number, size in enumerate(sizes):
            assert (await client.read_frame()).payload == bytes([number]) * size


BAD_FRAMES = {
    "reserved bit 1": (encode(TEXT, b"{}", rsv=4), 1002),
    "reserved bit 2": (encode(TEXT, b"{}", rsv=2), 1002),
    "reserved bit 3 on a ping": (encode(PING, b"", rsv=1), 1002),
    "unmasked": (encode(TEXT, b"{}", masked=False), 1002),
    "opcode 3": (encode(3, b""), 1002),
    "opcode 7": (encode(7, b"", fin=False), 1002),
    "opcode 11": (encode(11, b""), 1002),
    "fragmented ping": (encode(PING, b"", fin=False), 1002),
    "ping of 126 bytes": (encode(PING, b"x" * 126), 1002),
    "continuation of nothing": (encode(CONTINUATION, b"x"), 1002),
    "message inside a fragmented one": (encode(TEXT, b"a", fin=False) + encode(TEXT, b"b"), 1002),
    "length not in its shortest form": (b"\x81\xfe\x00\x05\0\0\0\0hello", 1002),
    "length over 2^63": (b"\x81\xff" + b"\xff" * 8 + b"\0\0\0\0", 1002),
    "binary on a JSON session": (encode(BINARY, b"{}"), 1003),
    "text that is not UTF-8": (encode(TEXT, b"\xff"), 1007),
    "text that ends inside a character": (encode(TEXT, b"\xe2\x82"), 1007),
    "a surrogate": (encode(TEXT, b"\xed\xa0\x80"), 1007),
    "bad UTF-8 in a fragment": (encode(TEXT, b"ok", fin=False) + encode(CONTINUATION, b"\xc0", fin=False), 1007),
    "fragments over the limit": (
        encode(TEXT, b"a" * 40_000, fin=False) + encode(CONTINUATION, b"a" * 30_000, fin=False),
        1009,
    ),
    "a frame over the limit": (encode(TEXT, b"a" * 65_537), 1009),
    "one byte in a close": (encode(CLOSE, b"\x03"), 1002),
    "close with a reason that is not UTF-8": (encode(CLOSE, b"\x03\xe8\xff"), 1007),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_a_broken_frame_is_told_by_its_close_code(
    name: str, client: RawClient, acceptor: RecordingAcceptor
) -> None:
    raw, code = BAD_FRAMES[name]
    client.writer.write(raw)
    assert await client.read_close() == code
    client.send(CLOSE, close_payload(code))
    await client.read_end()
    await until(lambda: acceptor.handlers[0].closes)
    assert acceptor.handlers[0].closes == [code]
    assert heard(acceptor) == []


async def test_a_message_of_exactly_the_limit_is_heard(client: RawClient, acceptor: RecordingAcceptor) -> None:
    client.send(TEXT, b"a" * 65_536)
    client.send(TEXT, b"b" * 40_000, fin=False)
    client.send(CONTINUATION, b"b" * 25_536)
    await until(lambda: len(heard(acceptor)) == 2)


@pytest.mark.parametrize("attempt", range(5))
async def test_the_close_code_survives_a_message_that_is_far_over_the_limit(client: RawClient, attempt: int) -> None:
    # Bytes that were not read when a socket is closed make the kernel reset it, and the close frame is lost.
    client.writer.write(encode(TEXT, b"a" * 3_000_000))
    await asyncio.sleep(0.05)
    assert await client.read_close() == 1009


async def test_a_valid_message_in_front_of_a_broken_frame_is_still_heard(
    client: RawClient, acceptor: RecordingAcceptor
) -> None:
    client.writer.write(encode(TEXT, b"sos") + encode(3, b""))
    assert await client.read_close() == 1002
    assert heard(acceptor) == [b"sos"]


async def test_nothing_behind_a_broken_frame_is_heard(client: RawClient, acceptor: RecordingAcceptor) -> None:
    client.writer.write(encode(TEXT, b"a", rsv=4) + encode(TEXT, b"b") + encode(TEXT, b"c"))
    assert await client.read_close() == 1002
    client.send(TEXT, b"d")
    await client.read_end()
    assert heard(acceptor) == []


# -- messages that are refused unless they are precious ----------------------------------------------------


async def precious(acceptor: RecordingAcceptor, port: int, subprotocol: str = "doorstep.v1.json") -> RawClient:
    client = RawClient(port)
    await client.__aenter__()
    assert await client.upgrade(request(subprotocol=subprotocol)) == 101
    await until(lambda: acceptor.handlers)
    acceptor.handlers[0].precious = b"sos"
    return client


def pieces(kind: int, payload: bytes, size: int) -> bytes:
    """A message in fragments."""
    parts = [payload[start : start + size] for start in range(0, len(payload), size)]
    last = len(parts) - 1
    return b"".join(encode(CONTINUATION if n else kind, part, fin=n == last) for n, part in enumerate(parts))


KEPT = {
    "bad UTF-8 in the first fragment": (b"\xff then sos", 5, 1007),
    "bad UTF-8 in the last fragment": (b"sos and then \xff", 5, 1007),
    "a character cut short by the end": (b"sos and then \xe2\x82", 5, 1007),
    "too long by a byte": (b"a" * 65_534 + b"sos", 10_000, 1009),
    "too long in the first fragment": (b"sos" + b"a" * 90_000, 80_000, 1009),
    "twice too long": (b"a" * 131_069 + b"sos", 10_000, 1009),
    "bad UTF-8 and then too long": (b"\xff" + b"a" * 100_000 + b"sos", 10_000, 1007),
}


@pytest.mark.parametrize("name", KEPT)
async def test_a_damaged_message_in_fragments_is_shown_whole(name: str, port: int, acceptor: RecordingAcceptor) -> None:
    payload, size, code = KEPT[name]
    client = await precious(acceptor, port)
    client.writer.write(pieces(TEXT, payload, size))
    client.send(TEXT, b"next")
    await until(lambda: heard(acceptor))
    assert (acceptor.handlers[0].damaged, heard(acceptor)) == ([(payload, code)], [b"next"])
    await client.__aexit__(None, None, None)


async def test_control_frames_are_answered_inside_a_damaged_message(port: int, acceptor: RecordingAcceptor) -> None:
    client = await precious(acceptor, port)
    client.writer.write(encode(TEXT, b"\xff", fin=False) + encode(PING, b"p") + encode(CONTINUATION, b"sos"))
    assert await client.read_frame() == Frame(PONG, b"p")
    await until(lambda: acceptor.handlers[0].damaged)
    client.send(CLOSE, close_payload(1000))
    assert await client.read_close() == 1000
    await client.__aexit__(None, None, None)


async def test_what_is_over_twice_the_limit_is_dropped_as_it_comes(port: int, acceptor: RecordingAcceptor) -> None:
    client = await precious(acceptor, port)
    client.writer.write(pieces(TEXT, b"sos" + b"a" * 1_000_000, 20_000))
    client.send(TEXT, b"next")
    await until(lambda: heard(acceptor) == [b"next"])
    ((shown, code),) = acceptor.handlers[0].damaged
    assert (shown[:4], code, 131_072 < len(shown) <= 151_072) == (b"sosa", 1009, True)
    await client.__aexit__(None, None, None)


async def test_a_precious_message_without_end_is_closed_with_1009(port: int, acceptor: RecordingAcceptor) -> None:
    client = await precious(acceptor, port)
    client.send(TEXT, b"sos", fin=False)
    for _ in range(17):
        client.send(CONTINUATION, b"a" * 65_536, fin=False)
    assert await client.read_close() == 1009
    assert len(acceptor.handlers[0].damaged) == 1
    await client.__aexit__(None, None, None)


@pytest.mark.parametrize(("first", "code"), [(b"sos \xff", 1007), (b"sos", 1008)], ids=["damaged", "only late"])
async def test_of_fragments_that_do_not_end_those_that_came_are_shown(
    first: bytes, code: int, port: int, acceptor: RecordingAcceptor
) -> None:
    client = await precious(acceptor, port)
    client.send(TEXT, first, fin=False)
    await until(lambda: acceptor.handlers[0].damaged)
    assert acceptor.handlers[0].damaged == [(first, code)]
    acceptor.handlers[0].connection.send(b"acknowledged")
    assert (await client.read_frame()).payload == b"acknowledged"
    # They have as much time again, and no more.
    assert await client.read_close() == 1008
    await client.__aexit__(None, None, None)


@pytest.mark.parametrize(("first", "code"), [(b"\xff", 1007), (b"x", 1008)])
async def test_fragments_that_do_not_end_and_are_not_precious_are_refused(
    first: bytes, code: int, port: int, acceptor: RecordingAcceptor
) -> None:
    client = await precious(acceptor, port)
    client.send(TEXT, first, fin=False)
    assert await client.read_close() == code
    assert acceptor.handlers[0].damaged == [(first, code)]
    await client.__aexit__(None, None, None)


@pytest.mark.parametrize("size", [100, 2])
async def test_a_precious_message_of_the_other_kind_is_kept(size: int, port: int, acceptor: RecordingAcceptor) -> None:
    client = await precious(acceptor, port, "doorstep.v1.msgpack")
    client.writer.write(pieces(TEXT, b"an sos", size))
    client.send(BINARY, b"next")
    await until(lambda: heard(acceptor))
    assert (acceptor.handlers[0].damaged, heard(acceptor)) == ([(b"an sos", 1003)], [b"next"])
    acceptor.handlers[0].connection.send(b"acknowledged")
    assert (await client.read_frame()).opcode == BINARY
    await client.__aexit__(None, None, None)


# -- closing ---------------------------------------------------------------------------------------------

CLOSES = {
    "empty": (b"", 1000, 1005),
    "normal": (close_payload(1000, "bye"), 1000, 1000),
    "going away": (close_payload(1001), 1001, 1001),
    "private": (close_payload(4001), 4001, 4001),
    "registered": (close_payload(3000), 3000, 3000),
    "0": (close_payload(0), 1002, 1002),
    "999": (close_payload(999), 1002, 1002),
    "1004": (close_payload(1004), 1002, 1002),
    "1005": (close_payload(1005), 1002, 1002),
    "1006": (close_payload(1006), 1002, 1002),
    "1015": (close_payload(1015), 1002, 1002),
    "2999": (close_payload(2999), 1002, 1002),
    "5000": (close_payload(5000), 1002, 1002),
    "65535": (close_payload(65_535), 1002, 1002),
}


@pytest.mark.parametrize("name", CLOSES)
async def test_a_close_is_answered_and_the_socket_closed_by_the_server(
    name: str, client: RawClient, acceptor: RecordingAcceptor
) -> None:
    payload, answer, told = CLOSES[name]
    client.send(CLOSE, payload)
    assert await client.read_close() == answer
    assert await client.read_end() == b""
    await until(lambda: acceptor.handlers[0].closes)
    assert acceptor.handlers[0].closes == [told]


async def test_what_follows_a_close_is_not_read(client: RawClient, acceptor: RecordingAcceptor) -> None:
    client.writer.write(encode(CLOSE, close_payload(1000)) + encode(TEXT, b"late") + encode(3, b"", masked=False))
    assert await client.read_close() == 1000
    await client.read_end()
    assert heard(acceptor) == []


async def test_a_close_followed_by_rubbish_is_answered_as_a_close(client: RawClient) -> None:
    client.writer.write(encode(CLOSE, close_payload(4001)) + b"\xff\xff\xff\xff")
    assert await client.read_close() == 4001


async def test_the_servers_close_waits_for_the_answer_and_hears_nothing_meanwhile(
    client: RawClient, acceptor: RecordingAcceptor
) -> None:
    handler = acceptor.handlers[0]
    handler.connection.close(4403, "draining")
    handler.connection.close(1000)
    handler.connection.send(b"too late")
    assert not handler.connection.is_open
    frame = await client.read_frame()
    assert (frame.opcode, frame.payload) == (CLOSE, close_payload(4403, "draining"))
    client.send(TEXT, b"meanwhile")
    assert handler.closes == []
    client.send(CLOSE, close_payload(4403))
    assert await client.read_end() == b""
    await until(lambda: handler.closes)
    assert (handler.closes, handler.messages) == ([4403], [])


async def test_a_close_reason_is_cut_between_characters(client: RawClient, acceptor: RecordingAcceptor) -> None:
    acceptor.handlers[0].connection.close(4000, "长" * 100)
    frame = await client.read_frame()
    assert len(frame.payload) <= 125
    assert frame.payload[2:].decode() == "长" * 41


async def test_a_close_that_is_not_answered_is_aborted(client: RawClient, acceptor: RecordingAcceptor) -> None:
    acceptor.handlers[0].connection.close(4000)
    started_at = time.monotonic()
    assert await client.read_close() == 4000
    await client.read_end()
    await until(lambda: acceptor.handlers[0].closes)
    assert 0.1 < time.monotonic() - started_at < 1
    assert acceptor.handlers[0].closes == [4000]


async def test_a_stalled_reader_is_freed_by_a_close(port: int, acceptor: RecordingAcceptor) -> None:
    async with RawClient(port, receive_buffer_bytes=4_096) as client:
        await client.upgrade()
        await until(lambda: acceptor.handlers)
        handler = acceptor.handlers[0]
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(400):
            handler.connection.send(b"x" * 4_000)
        assert handler.pauses == [True]
        handler.connection.close(4408)
        started_at = time.monotonic()
        await until(lambda: handler.closes)
        assert time.monotonic() - started_at < 1
        assert handler.closes == [4408]


async def test_a_lost_socket_is_1006_and_told_once(client: RawClient, acceptor: RecordingAcceptor) -> None:
    client.writer.transport.abort()
    await until(lambda: acceptor.handlers[0].closes)
    acceptor.handlers[0].connection.abort()
    acceptor.handlers[0].connection.close(1000)
    acceptor.handlers[0].connection.send(b"x")
    acceptor.handlers[0].connection.send_ping(b"x")
    await asyncio.sleep(0.02)
    assert acceptor.handlers[0].closes == [1006]


async def test_a_peer_that_pings_and_never_reads_is_owed_one_pong(port: int, acceptor: RecordingAcceptor) -> None:
    async with RawClient(port, receive_buffer_bytes=4_096) as client:
        await client.upgrade()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(20_000):
            client.send(PING, b"x" * 100)
        client.send(TEXT, b"end")
        await until(lambda: heard(acceptor), 20)
        connection = acceptor.handlers[0].connection
        assert connection._tap.transport.get_write_buffer_size() < 40_000  # type: ignore[attr-defined]


async def test_the_error_of_a_handler_closes_its_connection_only(
    port: int, client: RawClient, acceptor: RecordingAcceptor, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(payload: bytes) -> None:
        raise ValueError(payload)

    async with RawClient(port) as other:
        await other.upgrade()
        await until(lambda: len(acceptor.handlers) == 2)
        acceptor.handlers[0].on_message_do = fail
        client.send(TEXT, b"x")
        assert await client.read_close() == 1011
        other.send(TEXT, b"y")
        await until(lambda: acceptor.handlers[1].messages == [b"y"])
    assert "connection handler failed" in caplog.text


async def test_an_acceptor_that_fails_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    def fail(connection: object) -> Recorder:
        raise ValueError

    listener = WebSocketListener(RecordingAcceptor(fail), SETTINGS)
    await listener.start()
    async with RawClient(listener.port) as client:
        await client.upgrade()
        assert await client.read_close() == 1011
    await listener.stop()


async def test_stopping_says_going_away(acceptor: RecordingAcceptor) -> None:
    listener = WebSocketListener(acceptor, SETTINGS)
    await listener.start()
    async with RawClient(listener.port) as client, RawClient(listener.port) as silent:
        await client.upgrade()
        await silent.upgrade()
        await until(lambda: listener.connections == 2)
        await listener.stop()
        assert await client.read_close() == 1001
    assert [handler.closes for handler in acceptor.handlers] == [[1001], [1001]]
    assert (listener.connections, listener.sockets) == (0, 0)


@pytest.mark.slow
async def test_five_hundred_connections_opened_and_closed_leave_nothing(acceptor: RecordingAcceptor) -> None:
    listener = WebSocketListener(acceptor, SETTINGS)
    await listener.start()

    async def visit(number: int) -> None:
        async with RawClient(listener.port) as client:
            await client.upgrade()
            client.send(TEXT, b"hello")
            if number % 4 == 0:
                client.send(CLOSE, close_payload(1000))
                assert await client.read_close() == 1000
            elif number % 4 == 1:
                client.send(3)
                assert await client.read_close() == 1002
            elif number % 4 == 2:
                client.writer.write(b"\x81")

    for start in range(0, 500, 50):
        await asyncio.gather(*(visit(number) for number in range(start, start + 50)))
    await until(lambda: listener.sockets == 0)
    assert (listener.connections, listener._due, listener._addresses) == (0, {}, {})
    assert listener.closed.total() == len(acceptor.handlers) == 500
    assert all(len(handler.closes) == 1 for handler in acceptor.handlers)
    await listener.stop()
