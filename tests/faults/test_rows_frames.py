"""Rows 53, 54 and 57 to 59: bytes that are no WebSocket, or one that nobody should speak; who calls for help passes."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from core.principal import Role
from tests.faults.town import Tap as SosTap
from tests.faults.town import Town, hold, json_bytes
from tests.hub_double import Recorder, RecordingAcceptor
from tests.raw_client import CLOSE, CONTINUATION, PING, PONG, TEXT, RawClient, close_payload, encode, request
from transport.settings import WebSocketSettings
from transport.websocket import WebSocketListener

pytestmark = pytest.mark.slow
KIB = 1_024
LAT, LNG = 31.2, 121.4


@asynccontextmanager
async def greeted(town: Town, user: str) -> AsyncIterator[RawClient]:
    """A session whose frames the test writes byte by byte."""
    async with RawClient(town.server.hub_port) as client:
        assert await client.upgrade() == 101
        client.send(TEXT, json_bytes(hello(town, user)))
        while (await message(client))["type"] != "welcome":
            pass
        yield client


def hello(town: Town, user: str) -> dict[str, Any]:
    return {"type": "hello", "device": "raw", "token": town.server.token(user, Role.CUSTOMER)}


async def message(client: RawClient) -> dict[str, Any]:
    while True:
        frame = await client.read_frame()
        assert frame.opcode != CLOSE, frame
        if frame.opcode == PING:
            client.send(PONG, frame.payload)
        elif frame.opcode == TEXT:
            told: dict[str, Any] = msgspec.json.decode(frame.payload)
            return told


async def until(client: RawClient, kind: str) -> dict[str, Any]:
    while (told := await message(client))["type"] != kind:
        pass
    return told


# -- too large ----------------------------------------------------------------------------------------------


def head(length: int) -> bytes:
    """The beginning of a masked text frame that announces so many bytes."""
    return bytes([0x80 | TEXT, 0x80 | 127]) + struct.pack("!Q", length) + b"mask"


@pytest.mark.parametrize("length", [1 << 20, 1 << 30, (1 << 63) - 1])
async def test_row_53_an_oversize_frame_is_closed_by_its_header_and_holds_nobody(town: Town, length: int) -> None:
    async with greeted(town, "row53_other") as other, greeted(town, "row53") as client:
        before_kib = town.server.usage().rss_kib
        client.writer.write(head(length) + b"x" * 4_000)
        assert await client.read_close() == 1009
        other.send(TEXT, json_bytes({"type": "sos", "key": f"{length}"}))
        assert (await until(other, "sos_ack"))["durable"] is True
        assert town.server.usage().rss_kib - before_kib < 8 * KIB


async def test_row_53_a_frame_of_16_kib_is_heard_and_one_over_the_limit_closed(town: Town) -> None:
    async with greeted(town, "row53_edge") as client:
        client.send(TEXT, json_bytes({"type": "unwatch", "topic": "x", "ref": "r", "junk": "x" * 16 * KIB}))
        assert (await until(client, "ok"))["ref"] == "r"
        client.send(TEXT, json_bytes({"type": "unwatch", "topic": "x", "junk": "x" * 70_000}))
        assert await client.read_close() == 1009


async def test_row_53_an_sos_with_a_huge_note_is_raised_and_the_note_cut(town: Town) -> None:
    note = "x" * 60_000
    await hold(town, "row53_note", [SosTap("huge", {"lat": LAT, "lng": LNG, "note": note}, (LAT, LNG))])
    assert len(town.stored().taps["row53_note_hub_json", "huge/hub_json"]["report"]["note"]) == 512
    body = json_bytes({"key": "mb", "lat": LAT, "lng": LNG, "note": "x" * 900_000})
    status, ack = await town.post("row53_http", body)
    assert (status, ack["key"], ack["durable"]) == (200, "mb", True)


# -- in pieces ----------------------------------------------------------------------------------------------


async def test_row_54_an_sos_in_fragments_of_one_byte_is_raised(town: Town) -> None:
    payload = json_bytes({"type": "sos", "key": "bytes", "lat": LAT, "lng": LNG})
    async with greeted(town, "row54") as client:
        for n in range(len(payload)):
            kind = CONTINUATION if n else TEXT
            client.writer.write(encode(kind, payload[n : n + 1], fin=n == len(payload) - 1))
            await client.writer.drain()
        ack = await until(client, "sos_ack")
        assert (ack["key"], ack["durable"], ack["ignored"]) == ("bytes", True, [])


async def test_row_54_a_message_that_never_ends_is_closed_by_size(town: Town) -> None:
    async with greeted(town, "row54_size") as client:
        client.send(TEXT, b'{"type":"watch","topic":"', fin=False)
        # Twice the limit is waited for, in case it turns out to be an SOS.
        for _ in range(17):
            client.send(CONTINUATION, b"x" * 8_000, fin=False)
        assert await client.read_close() == 1009


@pytest.fixture
async def listener_port() -> AsyncIterator[int]:
    """The same listener with its patience of 30 s shortened."""
    listener = WebSocketListener(RecordingAcceptor(Recorder), WebSocketSettings(port=0, message_timeout_s=0.3))
    await listener.start()
    yield listener.port
    await listener.stop()


async def test_row_54_a_message_that_never_ends_is_closed_by_time(listener_port: int) -> None:
    async with RawClient(listener_port) as client:
        assert await client.upgrade() == 101
        client.send(TEXT, b"{", fin=False)
        began = time.monotonic()
        for _ in range(20):
            await asyncio.sleep(0.05)
            client.send(CONTINUATION, b" ", fin=False)  # it is the whole message that has a time, not each piece
        assert await client.read_close() == 1008
        assert time.monotonic() - began < 2.0


# -- compressed ---------------------------------------------------------------------------------------------


async def test_row_57_compression_is_not_negotiated_and_a_bomb_is_a_broken_frame(town: Town) -> None:
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame"}
    async with RawClient(town.server.hub_port) as client:
        assert await client.upgrade(request(headers=offer)) == 101
        assert "sec-websocket-extensions" not in client.headers
        client.send(TEXT, b"\x4a\xcb\x07\x00" * 1_000, rsv=4)
        assert await client.read_close() == 1002


# -- broken frames ------------------------------------------------------------------------------------------

BROKEN = {
    "unmasked": encode(TEXT, b"{}", masked=False),
    "reserved bit 1": encode(TEXT, b"{}", rsv=4),
    "reserved bit 2": encode(TEXT, b"{}", rsv=2),
    "reserved bit 3": encode(TEXT, b"{}", rsv=1),
    "opcode 3": encode(3, b"{}"),
    "opcode 15": encode(15, b""),
    "continuation of nothing": encode(CONTINUATION, b"{}"),
    "ping in fragments": encode(PING, b"", fin=False),
    "ping of 126 bytes": encode(PING, b"x" * 126),
    "close of one byte": encode(CLOSE, b"\x03"),
    "close 1005": encode(CLOSE, close_payload(1005)),
    "close 1006": encode(CLOSE, close_payload(1006)),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_row_58_a_frame_against_the_rules_is_closed_with_1002_and_an_sos_before_it_is_raised(
    town: Town, name: str
) -> None:
    user = f"row58_{name}"
    async with greeted(town, user) as client:
        client.writer.write(encode(TEXT, json_bytes({"type": "sos", "key": name})) + BROKEN[name])
        assert await client.read_close() == 1002
    async with asyncio.timeout(5):
        while (user, name) not in town.stored().taps:
            await asyncio.sleep(0.02)


# -- handshakes ---------------------------------------------------------------------------------------------


def without(raw: bytes, name: bytes) -> bytes:
    return b"\r\n".join(line for line in raw.split(b"\r\n") if not line.startswith(name))


HANDSHAKES: dict[str, tuple[bytes, frozenset[int]]] = {
    "foreign origin": (request(headers={"Origin": "https://evil.example"}), frozenset({403})),
    "two origins": (request(headers={"Origin": "https://a.example", "origin": "null"}), frozenset({403})),
    "no Upgrade": (without(request(), b"Upgrade"), frozenset({400, 426})),
    "no Connection": (without(request(), b"Connection"), frozenset({400, 426})),
    "no key": (without(request(), b"Sec-WebSocket-Key"), frozenset({400})),
    "HTTP/1.0": (request().replace(b"HTTP/1.1", b"HTTP/1.0"), frozenset({400, 426, 505})),
    "POST": (request().replace(b"GET", b"POST"), frozenset({400, 405})),
    "64 KiB of a header": (request(headers={"X": "x" * 65_536}), frozenset({400, 431})),
    "500 headers": (request(headers={f"X-{n}": "y" for n in range(500)}), frozenset({400, 431})),
    "version 8": (request(version="8"), frozenset({426})),
    "another path": (request("/admin"), frozenset({404})),
}


@pytest.mark.parametrize("name", HANDSHAKES)
async def test_row_59_a_bad_handshake_is_refused_and_nothing_is_upgraded(town: Town, name: str) -> None:
    raw, statuses = HANDSHAKES[name]
    async with RawClient(town.server.hub_port) as client:
        try:
            status = await client.upgrade(raw)
        except (asyncio.IncompleteReadError, ConnectionError):
            status = 0  # closed without a word: what is larger than any head is not read to its end
        assert status in statuses or (status == 0 and name in ("64 KiB of a header", "500 headers"))
    async with town.caller("row59") as one:
        await one.say("sos", key=name)
        assert (await one.until("sos_ack", key=name))["durable"] is True
