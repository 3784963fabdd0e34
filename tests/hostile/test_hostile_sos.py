"""Damage inside an SOS costs the damaged field, never the alarm."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import pytest

from core.principal import Role
from tests.hostile.attacker import Target, attacker
from tests.hostile.damage import NOT_NUMBERS, VALUES, malformed_files
from tests.hostile.test_hostile_frames import BOTH, LAT, LNG, each

pytestmark = pytest.mark.slow
FRAME_BYTES_MAX = 131_072
"""A longer frame is closed with 1009 by its header; nobody reads it."""
GOOD: dict[str, Any] = {
    "lat": LAT, "lng": LNG, "accuracy_m": 8.0, "order": "ord_none", "silent": False, "battery": 0.5,
    "note": "help", "crs": "wgs84", "fixed_at": 1_800_000_000.0, "sent_at": 1_800_000_001.0,
}  # fmt: skip
NUMBERS = frozenset({"lat", "lng", "accuracy_m", "battery", "fixed_at", "sent_at"})
_numbers = itertools.count()


@dataclass(frozen=True)
class Tap:
    """One damaged SOS.

    Attributes:
        key: As sent; None where it is part of the damage.
        ignored: One of these must be listed; empty where the frame may be whole after all.
    """

    name: str
    key: str | None
    payload: bytes
    ignored: frozenset[str]


def _key() -> str:
    return f"tap-{next(_numbers)}"


def file_taps(*, is_json: bool) -> Iterator[Tap]:
    """Every file of the suite as the value of a field, and behind a whole frame."""
    for name, content in malformed_files().items():
        key = _key()
        if is_json:
            head = b'{"type":"sos","key":"' + key.encode() + b'"'
            yield Tap(f"{name} as note", key, head + b',"note":' + content + b"}", _expected("note", content))
            key = _key()
            head = b'{"type":"sos","key":"' + key.encode() + b'"'
            tail = frozenset({"frame"}) if content.strip() else frozenset()
            yield Tap(f"{name} behind", key, head + b"}" + content, tail)
        else:
            head = b"\xa4type\xa3sos\xa3key" + msgspec.msgpack.encode(key)
            yield Tap(f"{name} as note", key, b"\x83" + head + b"\xa4note" + content, frozenset())
            key = _key()
            head = b"\xa4type\xa3sos\xa3key" + msgspec.msgpack.encode(key)
            yield Tap(f"{name} behind", key, b"\x82" + head + content, frozenset({"frame"} if content else ()))


def _expected(field: str, content: bytes) -> frozenset[str]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return frozenset({field, "frame"})
    return frozenset() if value is None or isinstance(value, str) else frozenset({field, "frame"})


def value_taps(*, is_json: bool) -> Iterator[Tap]:
    """Every bad value in every field, and in the key."""
    encode: Any = msgspec.json.encode if is_json else msgspec.msgpack.encode
    for field in GOOD:
        for value in VALUES:
            key = _key()
            raw = msgspec.Raw(value.json if is_json else value.msgpack)
            payload = encode({"type": "sos", "key": key, **GOOD, field: raw})
            # Text may be cleaned and cut instead of dropped, and what is out of JSON's range is a number here.
            must = value.name in (
                "NaN",
                "Infinity",
                "-Infinity",
                "1e999",
                "5,000 digits",
                "nested",
                "nested objects",
            ) or (field in NUMBERS and value.name in NOT_NUMBERS)
            expected = {field, "frame", "lat", "lng"} if must else set()
            yield Tap(f"{field} = {value.name}", key, payload, frozenset(expected))
    for value in VALUES:
        raw = msgspec.Raw(value.json if is_json else value.msgpack)
        payload = encode({"type": "sos", "key": raw, "note": _key(), "lat": LAT, "lng": LNG})
        yield Tap(f"key = {value.name}", None, payload, frozenset())


def place_taps(*, is_json: bool) -> Iterator[Tap]:
    encode: Any = msgspec.json.encode if is_json else msgspec.msgpack.encode
    for name, place, ignored in (
        ("swapped", {"lat": LNG, "lng": LAT}, "lat/lng swapped"),
        ("null island", {"lat": 0.0, "lng": 0.0}, "null_island"),
        ("beyond the pole", {"lat": 91.0, "lng": LNG}, "lat"),
        ("half a place", {"lat": LAT}, "lng"),
    ):
        key = _key()
        yield Tap(name, key, encode({"type": "sos", "key": key, **place}), frozenset({ignored}))
    whole = encode({"type": "sos", "key": "cut", "note": "help", "lat": LAT, "lng": LNG})
    start = whole.index(b"cut") + 4
    for end in range(start, len(whole), 3):
        key = _key()
        cut = encode({"type": "sos", "key": key, "note": "help", "lat": LAT, "lng": LNG})
        yield Tap(
            f"cut {len(whole) - end} before its end", key, cut[: len(cut) - (len(whole) - end)], frozenset({"frame"})
        )


def taps(*, is_json: bool) -> list[Tap]:
    return [*file_taps(is_json=is_json), *value_taps(is_json=is_json), *place_taps(is_json=is_json)]


def _check(tap: Tap, ack: dict[str, Any]) -> None:
    assert ack["incident"], tap.name
    assert ack["durable"] is True, tap.name
    if tap.key is not None:
        assert ack["key"] == tap.key, (tap.name, ack)
    else:
        assert 0 < len(ack["key"]) <= 64
    if tap.ignored:
        assert tap.ignored & set(ack["ignored"]), (tap.name, ack)


@BOTH
async def test_any_damage_in_an_sos_over_the_hub_still_raises_it(target: Target, is_json: bool) -> None:
    waiting = [tap for tap in taps(is_json=is_json) if len(tap.payload) <= FRAME_BYTES_MAX]
    ends: Counter[str] = Counter()
    for start in range(0, len(waiting), 100):
        some = waiting[start : start + 100]
        user = f"sos_{is_json}_{start}"
        async with attacker(target, is_json=is_json, role=Role.CUSTOMER, user=user) as one:
            keyed = {tap.key: tap for tap in some if tap.key is not None}
            for tap in some:
                await one.throw(tap.payload)
            unkeyed = len(some) - len(keyed)
            while keyed or unkeyed > 0:
                ack = await one.until("sos_ack")
                tap = keyed.pop(ack["key"]) if ack["key"] in keyed else next(t for t in some if t.key is None)
                unkeyed -= tap.key is None
                _check(tap, ack)
                ends["damaged" if ack["ignored"] else "whole"] += 1
    print(f"{ends.total()} SOS over the hub: {dict(ends)}")


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
async def test_any_damage_in_an_sos_over_http_still_raises_it(target: Target, encoding: str) -> None:
    ends: Counter[str] = Counter()

    async def one_tap(item: tuple[int, Tap]) -> None:
        n, tap = item
        token = target.server.token(f"sos_http_{encoding}_{n // 100}", Role.CUSTOMER)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": f"application/{encoding}"}
        async with http.post("/v1/sos", data=tap.payload, headers=headers) as answer:
            assert answer.status == 200, (tap.name, await answer.text())
            ack = await answer.json()
        _check(tap, ack)
        ends["damaged" if ack["ignored"] else "whole"] += 1

    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(target.server.http_url, timeout=timeout) as http:
        count = await each(enumerate(taps(is_json=encoding == "json")), one_tap)
    print(f"{count} SOS over HTTP: {dict(ends)}")


async def test_an_sos_larger_than_any_body_is_raised_from_its_beginning(target: Target) -> None:
    token = target.server.token("sos_huge", Role.CUSTOMER)
    body = b'{"type":"sos","key":"huge","lat":22.5,"lng":114.0,"note":"' + b"x" * 400_000 + b'"}'
    async with (
        aiohttp.ClientSession(target.server.http_url) as http,
        http.post("/v1/sos", data=body, headers={"Authorization": f"Bearer {token}"}) as answer,
    ):
        ack = await answer.json()
    assert (answer.status, ack["key"], ack["durable"]) == (200, "huge", True)
    assert "frame" in ack["ignored"]


@BOTH
async def test_bytes_that_are_not_utf8_anywhere_in_an_sos_do_not_refuse_it(target: Target, is_json: bool) -> None:
    # At every fourth place behind the type, put in or put over what stood there, in one frame or in pieces.
    encode: Any = msgspec.json.encode if is_json else msgspec.msgpack.encode
    start = len(encode({"type": "sos"}))
    count = 0
    async with attacker(target, is_json=is_json, role=Role.CUSTOMER, user=f"sos_utf8_{is_json}") as one:
        for at in range(start, len(encode({"type": "sos", "key": _key(), **GOOD})), 4):
            whole: bytes = encode({"type": "sos", "key": _key(), **GOOD})
            for junk, end in ((b"\xff", at), (b"\xc0\xaf", at + 2), (b"\xed\xa0\x80", at)):
                payload = whole[:at] + junk + whole[end:]
                await (one.throw(payload) if count % 2 else one.throw_pieces(payload, at + 1))
                ack = await one.until("sos_ack")
                assert (bool(ack["incident"]), ack["durable"]) == (True, True), payload
                count += 1
        assert await one.answer(encode({"type": "heartbeat"})) is None  # the connection lives on
    print(f"{count} SOS with bytes that are not UTF-8")


@BOTH
@pytest.mark.parametrize("size", [100_000, 10_000, 70_000], ids=["one frame", "fragments", "two fragments"])
@pytest.mark.parametrize("key_is_last", [False, True])
async def test_an_sos_with_a_note_of_100_kb_is_raised_over_the_hub(
    target: Target, is_json: bool, size: int, key_is_last: bool
) -> None:
    key = _key()
    tap = {"note": "x" * 100_000, "lat": LAT, "lng": LNG, "key": key}
    ordered = {"type": "sos", **(tap if key_is_last else dict(reversed(tap.items())))}
    payload = (msgspec.json.encode if is_json else msgspec.msgpack.encode)(ordered)
    async with attacker(target, is_json=is_json, role=Role.CUSTOMER) as one:
        await (one.throw_pieces(payload, size) if size < 100_000 else one.throw(payload))
        ack = await one.until("sos_ack")
        assert (ack["key"], ack["durable"], ack["ignored"]) == (key, True, ["note (cut)"])
        await one.say("sos", key=key)
        again = await one.until("sos_ack")
        assert again["incident"] == ack["incident"]


@BOTH
async def test_the_rest_of_a_huge_sos_in_fragments_is_dropped_and_the_line_stays(target: Target, is_json: bool) -> None:
    key = _key()
    encode: Any = msgspec.json.encode if is_json else msgspec.msgpack.encode
    payload = encode({"type": "sos", "key": key, "lat": LAT, "lng": LNG, "note": "x" * 900_000})
    async with attacker(target, is_json=is_json, role=Role.CUSTOMER) as one:
        await one.throw_pieces(payload, 20_000)
        ack = await one.until("sos_ack")
        assert (ack["key"], ack["durable"], "frame" in ack["ignored"]) == (key, True, True)
        assert await one.answer(encode({"type": "heartbeat"})) is None


@BOTH
async def test_an_sos_in_the_other_encodings_frame_is_raised(target: Target, is_json: bool) -> None:
    key = _key()
    payload = (msgspec.msgpack.encode if is_json else msgspec.json.encode)({"type": "sos", "key": key})
    async with attacker(target, is_json=is_json, role=Role.CUSTOMER) as one:
        await one.socket.send(payload, text=not is_json)
        assert (await one.until("sos_ack"))["key"] == key


@pytest.mark.parametrize("junk", [b"x" * 100_000, b"\xff"], ids=["oversize", "not UTF-8"])
async def test_before_hello_a_damaged_sos_is_closed_as_anything_else(target: Target, junk: bytes) -> None:
    async with attacker(target, is_json=True, says_hello=False) as one:
        code = await one.answer(b'{"type":"sos","key":"k","note":"' + junk + b'"}')
    assert code == (1007 if junk == b"\xff" else 1009)


async def test_an_sos_in_a_frame_that_is_not_read_is_raised_over_http(target: Target) -> None:
    body = b'{"type":"sos","key":"carried","lat":22.5,"lng":114.0,"note":"' + b"x" * FRAME_BYTES_MAX + b'"}'
    async with attacker(target, is_json=True, role=Role.CUSTOMER) as one:
        assert await one.answer(body) == 1009
    token = target.server.token("sos_carried", Role.CUSTOMER)
    async with (
        aiohttp.ClientSession(target.server.http_url) as http,
        http.post("/v1/sos", data=body, headers={"Authorization": f"Bearer {token}"}) as answer,
    ):
        ack = await answer.json()
    assert (answer.status, ack["key"], ack["durable"]) == (200, "carried", True)


async def test_the_same_broken_bytes_are_the_same_tap(target: Target) -> None:
    async with attacker(target, is_json=True, role=Role.CUSTOMER, user="sos_again") as one:
        acks = []
        for _ in range(3):
            await one.throw(b'{"type":"sos","key":[],"lat":')
            acks.append(await one.until("sos_ack"))
            await asyncio.sleep(0)
    assert len({ack["key"] for ack in acks}) == 1
    assert len({ack["incident"] for ack in acks}) == 1


async def test_an_sos_whose_chunks_are_damaged_anywhere_is_raised(target: Target) -> None:
    tap = msgspec.json.encode({"key": "chunks", "lat": LAT, "lng": LNG})
    token = target.server.token("sos_chunks", Role.CUSTOMER)
    head = f"POST /v1/sos HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = (tap[:9], tap[9:])
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    ends: Counter[str] = Counter()

    async def one_body(item: tuple[str, bytes, bool]) -> None:
        name, damaged, is_apart = item
        reader, writer = await asyncio.open_connection("127.0.0.1", target.server.http_port)
        writer.write(head.encode() + (b"" if is_apart else damaged))
        if is_apart:
            await asyncio.sleep(0.02)
            writer.write(damaged)
        async with asyncio.timeout(20):
            assert b" 200 " in await reader.readline(), name
            while (line := await reader.readline()).strip():
                assert b"aiohttp" not in line
            ack = json.loads(await reader.readuntil(b"}"))
        assert ack["durable"] is True, name
        ends["key read" if ack["key"] == "chunks" else "key made"] += 1
        writer.close()

    places = range(0, len(body), 2)
    bodies = [(f"{at} put over", body[:at] + b"Z" + body[at + 1 :], at % 4 == 0) for at in places]
    bodies += [(f"{at} left out", body[:at] + body[at + 1 :], at % 4 == 0) for at in places]
    count = await each(bodies, one_body)
    print(f"{count} SOS with damaged chunks: {dict(ends)}")
