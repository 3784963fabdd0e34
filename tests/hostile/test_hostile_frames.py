"""Whatever a client sends over the hub ends in a named error, a named close code, or a counted verdict."""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from geo.track_filter import Verdict
from tests.hostile.attacker import UNREADABLE, Attacker, Target, attacker, put_technician
from tests.hostile.damage import (
    EXAMPLES,
    FRAMES_JSON,
    FRAMES_MSGPACK,
    NOW,
    REQUESTS,
    STRUCTS,
    VALUES,
    Damaged,
    damaged,
    fields_of,
    malformed_files,
)
from tests.raw_client import BINARY, CONTINUATION, TEXT, RawClient, request

pytestmark = pytest.mark.slow
BOTH = pytest.mark.parametrize("is_json", [True, False], ids=["json", "msgpack"])
AT_ONCE = 8
VERDICTS = {verdict.word for verdict in Verdict} | {"invalid", "off_duty", "rate_limited", "shed"}
LAT, LNG = 22.5431, 114.0579


def hostile_frames(*, is_json: bool) -> dict[str, bytes]:
    return malformed_files() | (FRAMES_JSON if is_json else FRAMES_MSGPACK)


def is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def same_field(told: str | None, expected: str) -> bool:
    """Whether the field named is the damaged one or holds it; elements of a list are not always numbered."""
    if told is None:
        return False
    plain = [re.sub(r"\[[^\]]*\]", "[]", text) for text in (told, expected)]
    return plain[1].startswith(plain[0]) or told.startswith(expected)


async def each(items: Iterable[Any], work: Callable[[Any], Awaitable[None]]) -> int:
    """Do it to all of them, some at a time."""
    waiting = list(items)
    count = len(waiting)

    async def worker() -> None:
        while waiting:
            await work(waiting.pop())

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(worker())
    return count


# -- frames as they are -----------------------------------------------------------------------------------


@BOTH
async def test_any_frame_of_a_running_session_ends_in_a_named_error_or_close(target: Target, is_json: bool) -> None:
    ends: Counter[str] = Counter()
    waiting = list(hostile_frames(is_json=is_json).items())
    while waiting:
        async with attacker(target, is_json=is_json) as one:
            while waiting:
                name, payload = waiting.pop()
                answer = await one.answer(payload)
                if isinstance(answer, int):
                    expected = 1009 if len(payload) > 65_536 else 1007
                    assert answer == expected, (name, answer)
                    assert answer == 1009 or (is_json and not is_utf8(payload)), name
                    ends[str(answer)] += 1
                    break
                assert answer is not None, f"{name} was taken without a word"
                assert answer["code"] in UNREADABLE, (name, answer)
                ends[answer["code"]] += 1
    print(f"{ends.total()} frames after hello: {dict(ends)}")


@BOTH
async def test_any_frame_before_hello_ends_in_a_named_error_and_close(target: Target, is_json: bool) -> None:
    ends: Counter[str] = Counter()

    async def one_frame(item: tuple[str, bytes]) -> None:
        name, payload = item
        async with attacker(target, is_json=is_json, says_hello=False) as one:
            code, errors = await _until_closed(one, payload)
        assert code in (4500, 1007, 1009), (name, code)
        if code == 4500:
            assert [error["code"] for error in errors if error["code"] not in UNREADABLE | {"hello_first"}] == [], name
            assert errors, name
            ends[errors[0]["code"]] += 1
        ends[str(code)] += 1

    good = {f"a good {tag}": fields | {"type": tag} for tag, fields in EXAMPLES.items() if tag != "hello"}
    encode = msgspec.json.encode if is_json else msgspec.msgpack.encode
    frames = hostile_frames(is_json=is_json) | {name: encode(message) for name, message in good.items()}
    count = await each(frames.items(), one_frame)
    print(f"{count} frames before hello: {dict(ends)}")


async def _until_closed(one: Attacker, payload: bytes) -> tuple[int, list[dict[str, Any]]]:
    errors = []
    try:
        await one.throw(payload)
        while True:
            message = await one.hear()
            if message["type"] == "error":
                errors.append(message)
    except ConnectionClosed as closed:
        return (closed.rcvd.code if closed.rcvd is not None else 1006), errors


@BOTH
async def test_a_frame_of_the_other_kind_is_closed_with_1003(target: Target, is_json: bool) -> None:
    async with attacker(target, is_json=is_json) as one:
        await one.socket.send(b'{"type":"heartbeat"}', text=not is_json)
        with pytest.raises(ConnectionClosed) as closed:
            await one.until("never")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1003


@BOTH
@pytest.mark.parametrize("in_fragments", [False, True])
async def test_a_message_over_the_limit_is_closed_with_1009(target: Target, is_json: bool, in_fragments: bool) -> None:
    async with attacker(target, is_json=is_json) as one:
        await one.say("unwatch", topic="x", ref="r" * 65, junk="x" * 65_300)
        assert (await one.until("error"))["field"] == "ref"  # just under the limit it is read
    subprotocol = f"doorstep.v1.{'json' if is_json else 'msgpack'}"
    async with RawClient(target.server.hub_port) as client:
        assert await client.upgrade(request(subprotocol=subprotocol)) == 101
        kind = TEXT if is_json else BINARY
        if in_fragments:
            client.send(kind, b"x" * 40_000, fin=False)
            client.send(CONTINUATION, b"x" * 40_000)
        else:
            client.send(kind, b"x" * 65_537)
        assert await client.read_close() == 1009


# -- every field of every message -------------------------------------------------------------------------


def test_the_examples_name_every_message_and_every_field() -> None:
    assert EXAMPLES.keys() == STRUCTS.keys()
    for tag, struct in STRUCTS.items():
        # `ref` is added where it is wanted, and nobody has both a token and a ticket.
        assert EXAMPLES[tag].keys() == fields_of(struct) - {"ref", "ticket"}, tag
        msgspec.convert(EXAMPLES[tag] | {"type": tag}, struct)


@BOTH
@pytest.mark.parametrize("tag", sorted(STRUCTS.keys() - {"hello", "heartbeat", "ping", "pings"}))
async def test_a_bad_value_in_any_field_is_refused_by_name(target: Target, tag: str, is_json: bool) -> None:
    ends: Counter[str] = Counter()
    good = EXAMPLES[tag] | {"type": tag} | ({"ref": "r1"} if tag in REQUESTS else {})
    waiting = list(damaged(STRUCTS[tag], good, is_json=is_json))
    while waiting:
        async with attacker(target, is_json=is_json) as one:
            while waiting:
                end = await _one_bad_value(one, tag, waiting.pop())
                ends[end] += 1
                if end == "1007":
                    break
    print(f"{tag}: {dict(ends)}")


async def _one_bad_value(one: Attacker, tag: str, bad: Damaged) -> str:
    if bad.is_valid:
        assert not bad.must_fail, f"{tag}: the catalogue takes {bad.name}"
        await one.throw(bad.payload)
        # Whatever the domain says of it, it says it.
        return str((await _reply(one)).get("code", "ok")) if tag in REQUESTS else "taken"
    answer = await one.answer(bad.payload)
    if isinstance(answer, int):
        assert (answer, one.is_json) == (1007, True), (bad.name, answer)
        assert not is_utf8(bad.payload)
        return "1007"
    assert answer is not None, f"{tag}: {bad.name} was taken without a word"
    assert answer["code"] in UNREADABLE, (bad.name, answer)
    if answer["code"] == "invalid":
        assert same_field(answer.get("field"), bad.field), (bad.name, answer)
        assert answer.get("ref") == ("r1" if tag in REQUESTS else None)
    return str(answer["code"])


@BOTH
async def test_a_bad_ref_is_refused_or_returned(target: Target, is_json: bool) -> None:
    encode = msgspec.json.encode if is_json else msgspec.msgpack.encode
    async with attacker(target, is_json=is_json) as one:
        for tag in sorted(REQUESTS - {"refresh"}):
            for value in VALUES:
                raw = msgspec.Raw(value.json if is_json else value.msgpack)
                payload = encode({"type": tag, **EXAMPLES[tag], "ref": raw})
                if is_json and not is_utf8(payload):
                    continue
                await one.throw(payload)
                reply = await _reply(one)
                if value.name == "null":
                    assert "ref" not in reply
                elif reply.get("ref") is None:
                    assert reply.get("code") in UNREADABLE, (value.name, reply)
                else:
                    assert reply["ref"] in ("here", "31.2", "a\x00b"), (value.name, reply)


async def _reply(one: Attacker) -> dict[str, Any]:
    while True:
        message = await one.hear()
        if message["type"] in ("ok", "error"):
            return message


@BOTH
async def test_a_bad_value_in_any_field_of_hello_is_refused_and_closed(target: Target, is_json: bool) -> None:
    ends: Counter[str] = Counter()

    async def one_hello(bad: Damaged) -> None:
        assert not (bad.is_valid and bad.must_fail), f"the catalogue takes {bad.name}"
        async with attacker(target, is_json=is_json, says_hello=False) as one:
            code, errors = await _until_closed(one, bad.payload)
        ends[str(code)] += 1
        if code == 1007:
            assert is_json
            return
        assert code in (4500, 4501), (bad.name, code)
        assert len(errors) == 1, bad.name
        ends[errors[0]["code"]] += 1
        if not bad.is_valid and errors[0]["code"] == "invalid":
            assert same_field(errors[0].get("field"), bad.field), (bad.name, errors)

    good = {"type": "hello", **EXAMPLES["hello"]}
    count = await each(damaged(STRUCTS["hello"], good, is_json=is_json), one_hello)
    print(f"{count} bad hellos: {dict(ends)}")


# -- positions --------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("tag", ["ping", "pings"])
async def test_every_bad_ping_is_counted_or_refused(target: Target, tag: str, is_json: bool) -> None:
    user = f"tec_pings_{tag}_{is_json}"
    put_technician(target, user)
    counted, ends, judged = 0, Counter[str](), Counter[str]()
    waiting = list(damaged(STRUCTS[tag], {"type": tag, **EXAMPLES[tag]}, is_json=is_json))
    while waiting:
        async with attacker(target, is_json=is_json, user=user) as one:
            await one.say("duty", on=True, city="shenzhen", ref="d")
            await one.until("ok", ref="d")
            mine = 0
            while waiting:
                bad = waiting.pop()
                assert not (bad.is_valid and bad.must_fail), f"the catalogue takes {bad.name}"
                if is_json and not is_utf8(bad.payload):
                    # It ends the connection, and with it what was not told yet.
                    await _until_told(one, mine)
                    assert await one.answer(bad.payload) == 1007
                    ends["1007"] += 1
                    break
                answer = await one.answer(bad.payload)
                if answer is None:
                    mine += 3 if bad.name == "pings = list of numbers" else 1
                    continue
                assert not isinstance(answer, int), (bad.name, answer)
                assert not bad.is_valid, (bad.name, answer)
                assert answer["code"] in UNREADABLE, (bad.name, answer)
                ends[answer["code"]] += 1
            else:
                await _until_told(one, mine)
            counted += mine
        judged += one.verdicts
    assert judged.total() == counted
    assert set(judged) <= VERDICTS
    assert judged["invalid"] > 100
    print(f"{tag}: {dict(judged)}, errors {dict(ends)}")


async def _until_told(one: Attacker, pings: int) -> None:
    while one.verdicts.total() < pings:
        await one.until("ping_ack")
    assert one.verdicts.total() == pings


@BOTH
async def test_null_island_swapped_and_impossible_fixes_are_each_counted(target: Target, is_json: bool) -> None:
    user = f"tec_fixes_{is_json}"
    put_technician(target, user)
    fixes: dict[str, dict[str, Any]] = {
        "null_island": {"lat": 0.0, "lng": 0.0},
        "invalid": {"lat": LNG, "lng": LAT},  # swapped: 114 degrees north there are not
        "teleport": {"lat": 31.23, "lng": 121.47},
        "future": {"fixed_at": NOW + 600.0},
        "inaccurate": {"accuracy_m": 90_000.0},
        "duplicate": {"seq": 1},
    }
    good: dict[str, Any] = {"lat": LAT, "lng": LNG, "accuracy_m": 9.0, "fixed_at": NOW, "sent_at": NOW, "seq": 1}
    async with attacker(target, is_json=is_json, user=user) as one:
        await one.say("duty", on=True, city="shenzhen", ref="d")
        await one.until("ok", ref="d")
        await one.say("ping", **good)
        for n, change in enumerate(fixes.values(), start=2):
            fixed_at = NOW + n
            await one.say("ping", **(good | {"seq": n, "fixed_at": fixed_at, "sent_at": fixed_at} | change))
        while one.verdicts.total() < len(fixes) + 1:
            await one.until("ping_ack")
    assert one.verdicts == {"live": 1, **dict.fromkeys(fixes, 1)}
