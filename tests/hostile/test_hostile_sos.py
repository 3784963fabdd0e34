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
from tests.hostile.test_hostile_frames import BOTH, LAT, LNG, each, is_utf8

pytestmark = pytest.mark.slow
HUB_BYTES_MAX = 65_536
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
    waiting = [
        tap for tap in taps(is_json=is_json)
        # These two never are a message: RFC 6455 ends the connection (1009, 1007) before anybody reads them.
        if len(tap.payload) <= HUB_BYTES_MAX and (not is_json or is_utf8(tap.payload))
    ]  # fmt: skip
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


@pytest.mark.parametrize(("junk", "code"), [(b"x" * 66_000, 1009), (b"\xff\xfe", 1007)], ids=["oversize", "not UTF-8"])
async def test_an_sos_that_a_websocket_cannot_carry_is_raised_over_http(target: Target, junk: bytes, code: int) -> None:
    body = b'{"type":"sos","key":"carried","lat":22.5,"lng":114.0,"note":"' + junk + b'"}'
    async with attacker(target, is_json=True, role=Role.CUSTOMER) as one:
        assert await one.answer(body) == code
    token = target.server.token(f"sos_carried_{code}", Role.CUSTOMER)
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
