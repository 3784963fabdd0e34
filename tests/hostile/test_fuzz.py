"""Bytes nobody thought of, on both listeners: seconds in every full run, half an hour before a release.

Unlike its neighbours it knows no rules of what must be refused how. It only knows what must never happen: a failure of
ours (500, a trace in the log: looked for around every test), a server that is gone, memory that grows with the noise.
A seed that finds something is printed, can be given back (``DOORSTEP_FUZZ_SEED``), and becomes a test.
"""

import asyncio
import json
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from core.principal import Role
from tests.hostile.attacker import Target
from tests.hostile.damage import BODIES, EXAMPLES, VALUES, malformed_files
from tests.raw_client import BINARY, TEXT, encode, request

pytestmark = pytest.mark.slow
SHORT_S = 4.0
LONG_S = 1_800.0
AT_ONCE = 24
ANSWER_S = 0.25
GROWN_KIB_MAX = 96 * 1024
"""What caches of limits and of verified tokens may fill, and fragments of the heap."""
OURS = re.compile(rb"HTTP/1\.[01] (5\d\d)")
ALLOWED = {b"503"}
"""Too much at once is an answer; the rest is a failure of ours."""
GOOD = [json.dumps({"type": name, **fields}).encode() for name, fields in EXAMPLES.items()]
NOISE = [value.json for value in VALUES] + list(malformed_files().values())


def _mutated(rng: random.Random, data: bytes) -> bytes:
    """A few of: bytes changed, cut out, doubled, moved, and noise put in."""
    piece = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(piece) + 1)
        length = rng.choice((1, 1, 2, 4, 16, 64))
        match rng.randrange(6):
            case 0:
                piece[at : at + length] = rng.randbytes(length)
            case 1:
                del piece[at : at + length]
            case 2:
                piece[at:at] = piece[at : at + length] * rng.choice((1, 2, 50))
            case 3:
                piece[at:at] = rng.choice(NOISE)[: rng.choice((16, 256, 4096, 70_000))]
            case 4:
                piece[at:at] = rng.choice(
                    (b"\r\n", b"\n", b"\x00", b"\xff", b"\xed\xa0\x80", b"\r\n\r\n", b": ", b"%00")
                )
            case _:
                del piece[at:]
    return bytes(piece)


def _http(rng: random.Random, target: Target) -> bytes:
    (method, path), (_, good) = rng.choice(list(BODIES.items()))
    body = json.dumps(good).encode()
    if rng.random() < 0.4:
        body = _mutated(rng, body)
    path = path.replace("{id}", rng.choice(("ord_x", "%2e%2e", "a" * 300, "ö", ""))).replace("{technician}", "t")
    token = target.server.token(f"fuzz_{rng.randrange(50)}", rng.choice(list(Role)))
    head = [
        f"{method.upper()} {path}{rng.choice(('', '?limit=1', '?limit=-1&limit=2', '?after=%ff', '?x[]=1'))} HTTP/1.1",
        "Host: x", f"Authorization: Bearer {token}", "Content-Type: application/json",
        rng.choice((f"Content-Length: {len(body)}", "Transfer-Encoding: chunked", f"Content-Length: {len(body) + 9}")),
        rng.choice(("Connection: close", "Content-Encoding: gzip", "Expect: 100-continue", "X-Forwarded-For: 1, 2")),
    ]  # fmt: skip
    whole = "\r\n".join([*head, "", ""]).encode("utf-8", "replace") + body
    return _mutated(rng, whole) if rng.random() < 0.4 else whole


def _upgrade(rng: random.Random, target: Target) -> bytes:
    del target
    whole = request(subprotocol=rng.choice(("doorstep.v1.json", "doorstep.v1.msgpack", None, "x")))
    return _mutated(rng, whole)


def _frames(rng: random.Random, target: Target) -> bytes:
    """A good handshake and hello, and then anything: bent messages, bent frames, or bytes that are neither."""
    is_json = rng.random() < 0.7
    token = target.server.token(f"fuzz_{rng.randrange(50)}", rng.choice(list(Role)))
    hello = json.dumps({"type": "hello", "token": token, "device": f"d{rng.randrange(9)}"}).encode()
    said = request(subprotocol="doorstep.v1.json" if is_json else "doorstep.v1.msgpack")
    opcode = TEXT if is_json else BINARY
    if rng.random() < 0.9:
        said += encode(opcode, hello)
    for _ in range(rng.randint(1, 12)):
        message = rng.choice(GOOD)
        if rng.random() < 0.8:
            message = _mutated(rng, message)
        frame = encode(
            opcode if rng.random() < 0.9 else rng.randrange(16), message[:70_000],
            fin=rng.random() < 0.9, rsv=0 if rng.random() < 0.95 else rng.randrange(8), masked=rng.random() < 0.97,
        )  # fmt: skip
        said += _mutated(rng, frame) if rng.random() < 0.2 else frame
    return said


KINDS: tuple[tuple[str, Callable[[random.Random, Target], bytes]], ...] = (
    ("http", _http), ("hub", _upgrade), ("hub", _frames), ("http", _frames), ("hub", _http),
)  # fmt: skip


async def _throw(address: tuple[str, int], said: bytes, rng: random.Random) -> bytes:
    """Send it in one piece or several, and read what comes back for a moment."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        cut = rng.randrange(len(said) + 1) if rng.random() < 0.3 else len(said)
        writer.write(said[:cut])
        await writer.drain()
        writer.write(said[cut:])
        if rng.random() < 0.2 and writer.can_write_eof():
            writer.write_eof()
        async with asyncio.timeout(ANSWER_S):
            return await reader.read(65_536)
    except (TimeoutError, OSError):  # the other side was quicker to end it
        return b""
    finally:
        writer.transport.abort()


async def _worker(target: Target, seed: int, until: float, seen: Counter[str], faults: list[Any]) -> None:
    rng = random.Random(seed)
    addresses = {
        name: (str(parts.hostname), int(parts.port or 0))
        for name, parts in (("http", urlsplit(target.server.http_url)), ("hub", urlsplit(target.server.hub_url)))
    }
    while time.monotonic() < until and not faults:
        where, make = rng.choice(KINDS)
        said = make(rng, target)
        answer = await _throw(addresses[where], said, rng)
        seen[f"{where} {answer[9:12].decode('latin-1') if answer.startswith(b'HTTP/') else 'none'}"] += 1
        if any(status not in ALLOWED for status in OURS.findall(answer)):
            faults.append((seed, where, said[:2_000], answer[:500]))


@pytest.mark.parametrize(
    "length_s",
    [SHORT_S, pytest.param(LONG_S, marks=[pytest.mark.full, pytest.mark.timeout(LONG_S + 300)])],
)
async def test_no_bytes_break_the_server(target: Target, length_s: float) -> None:
    first = int(os.environ.get("DOORSTEP_FUZZ_SEED") or random.SystemRandom().randrange(2**32))
    print(f"DOORSTEP_FUZZ_SEED={first}")
    seen: Counter[str] = Counter()
    faults: list[Any] = []
    before_kib = 0
    warm_until = time.monotonic() + min(length_s / 2, 60)
    for until in (warm_until, warm_until + length_s):
        before_kib = target.server.usage().rss_kib
        async with asyncio.TaskGroup() as group:
            for n in range(AT_ONCE):
                group.create_task(_worker(target, first + n, until, seen, faults))
        first += AT_ONCE
    assert not faults, faults
    assert target.server.is_running
    assert target.server.usage().rss_kib - before_kib < GROWN_KIB_MAX
    assert sum(seen[f"http {status}"] for status in (200, 201, 403, 404, 409, 422)) > 10, seen  # some was understood
    assert seen["hub 101"] > 0, seen
    assert sum(seen.values()) > 20 * length_s, seen
    print(dict(seen))
