"""What reaches the public listener as raw bytes: heads that are no HTTP, and bodies that break on their way."""

import asyncio
import gc
import json
import zlib
from pathlib import Path
from typing import Any

from core.codes import MEANINGS
from server.http import _Handler
from tests.integration.served import LAT, LNG, Served, order, served

BODY_TIMEOUT_S = 0.5
TAP = json.dumps({"key": "K", "lat": LAT, "lng": LNG, "note": "help"}).encode()
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
NOT_HTTP: dict[str, tuple[bytes, int, str]] = {
    "no request line": (b"NONSENSE\r\n\r\n", 400, "malformed"),
    "TLS on a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "malformed"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed"),
    "path not ASCII": (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed"),
    "no host": (b"GET /config.json HTTP/1.1\r\n\r\n", 400, "malformed"),
    "header without colon": (b"GET /config.json HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", 400, "malformed"),
    "too many headers": (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: x\r\n" * 300 + b"\r\n", 400, "malformed"),
    "long header": (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 20_000 + b"\r\n\r\n", 431, "head_too_large"),
    "long request line": (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "head_too_large"),
    "length no number": (b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n", 400, "malformed"),
    "transfer coding": (b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 400, "malformed"),
}


class Answer:
    """One HTTP answer as it stood on the wire."""

    def __init__(self, head: bytes, body: bytes) -> None:
        line, *fields = head.decode().rstrip("\r\n").split("\r\n")
        self.status = int(line.split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        self.told: dict[str, Any] = json.loads(body)


async def talk(server: Served, *parts: bytes, count: int = 1) -> list[Answer]:
    """Send the parts apart from each other and read ``count`` answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.app.http_url.rsplit(":", 1)[1]))
    answers = []
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0.02)
    async with asyncio.timeout(5):
        for _ in range(count):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            answers.append(Answer(head, await reader.readexactly(length)))
    writer.close()
    return answers


def head(server: Served, path: str, user: str = "cus_1", fields: bytes = b"") -> bytes:
    token = server.token(user, "customer")
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n".encode() + fields


async def test_what_is_no_request_is_a_problem_that_names_no_version(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        for name, (raw, status, code) in NOT_HTTP.items():
            (answer,) = await talk(server, raw)
            assert (answer.status, answer.told["code"]) == (status, code), name
            assert code in MEANINGS
            assert answer.headers["content-type"] == "application/problem+json", name
            assert answer.headers["x-request-id"] == answer.told["request_id"], name
            assert answer.headers["server"] == "doorstep", name
        async with server.http.get(f"{server.app.admin_url}/healthz") as health:
            assert health.headers["Server"] == "doorstep"


UNCLEAN: dict[str, tuple[bytes, bytes]] = {
    "header without colon": (b"Host: x", b"Host: x\r\nbad header"),
    "header name no token": (b"Host: x", b"Host: x\r\nb d\xff: 1"),
    "control signs": (b"Host: x", b"Host: x\r\nX: \x00\x01\x7f"),
    "no host": (b"Host: x\r\n", b""),
    "two hosts": (b"Host: x", b"Host: x\r\nHost: y"),
    "HTTP/2.0": (b"HTTP/1.1", b"HTTP/2.0"),
    "no version": (b" HTTP/1.1", b""),
    "not ASCII": (b"/v1/sos", b"/v1/sos?\xff\xfe"),
    "slash at its end": (b"/v1/sos", b"/v1/sos/"),
    "two slashes": (b"/v1/sos", b"//v1/sos//"),
    "small letters": (b"POST", b"post"),
    "whole address": (b"/v1/sos", b"http://127.0.0.1/v1/sos"),
    "newlines only": (b"\r\n", b"\n"),
    "long header": (b"Host: x", b"Host: x\r\nX: " + b"x" * 20_000),
    "endless header": (b"Host: x", b"Host: x\r\nX: " + b"x" * 100_000),
    "too many headers": (b"Host: x", b"Host: x" + b"\r\nX: y" * 300),
    "token given twice": (b"Authorization:", b"Authorization: Bearer a.b.c\r\nAuthorization:"),
    "folded": (b"Bearer ", b"Bearer\r\n "),
    "length no number": (b"Content-Length: ", b"Content-Length: abc"),
    "two lengths": (b"Content-Length: ", b"Content-Length: 3\r\nContent-Length: "),
    "length and chunks": (b"Host: x", b"Host: x\r\nTransfer-Encoding: chunked"),
    "transfer coding": (b"Host: x", b"Host: x\r\nTransfer-Encoding: gzip"),
    "expectation": (b"Host: x", b"Host: x\r\nExpect: nonsense"),
    "upgrade": (b"Host: x", b"Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket"),
}


def tap(server: Served, user: str) -> bytes:
    return head(server, "/v1/sos", user) + b"Content-Length: %d\r\n\r\n" % len(TAP) + TAP


async def test_an_sos_whose_head_is_not_clean_is_raised(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        for number, (name, (good, bad)) in enumerate(UNCLEAN.items()):
            raw = tap(server, f"cus_{number}").replace(good, bad)
            (answer,) = await talk(server, raw)
            assert (answer.status, answer.told["key"], answer.told["ignored"]) == (200, "K", []), (name, answer.told)
        raw = tap(server, "cus_1")
        (answer,) = await talk(server, *(raw[:40], raw[40:200], raw[200:]))
        assert answer.status == 200
        (refused,) = await talk(server, tap(server, "cus_1").replace(b"Host: x", b"bad header").replace(b"eyJ", b"eyX"))
        assert (refused.status, refused.told["code"]) == (401, "token_invalid")


async def test_an_sos_whose_head_is_damaged_at_any_place_is_raised(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        whole = tap(server, "cus_1")
        first, last = whole.index(b"\r\n"), whole.index(b"\r\n\r\n")
        word, token = whole.index(b"Authorization"), whole.index(b"eyJ")
        places = [*range(first, word, 2), *range(whole.index(b"\r\n", token), last, 2)]
        for at in places:
            for junk in (b"", b"\x00", b"\xff\r"):
                (answer,) = await talk(server, whole[:at] + junk + whole[at + 1 :])
                assert answer.status == 200, (at, junk, answer.told)


async def test_an_sos_whose_head_never_ends_is_raised(tmp_path: Path) -> None:
    async with served(tmp_path, http__header_timeout_s=str(BODY_TIMEOUT_S)) as server:
        lost = tap(server, "cus_1").replace(b"\r\n\r\n", b"\r\n")
        (answer,) = await talk(server, lost)
        assert (answer.status, answer.told["key"]) == (200, "K")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.app.http_url.rsplit(":", 1)[1]))
        writer.write(lost.partition(b"Content-Length")[0])
        writer.write_eof()
        async with asyncio.timeout(5):
            assert b" 200 " in await reader.readline()
        writer.close()


async def test_no_route_takes_a_parameter_twice(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        routes = [route for route in server.app.house.api.routes if route.query]
        assert {"order_list", "offer_list", "technician_nearby"} <= {route.name for route in routes}
        for route in routes:
            token = server.token("u_1", sorted(route.who)[0])
            for param in route.query:
                path = route.path.replace("{id}", "u_1")
                for values in (("1", "2"), ("1", "1"), ("", "1")):
                    asked = "&".join(f"{param.name}={value}" for value in values)
                    status, told, _ = await server.call(route.method, f"{path}?{asked}", token)
                    got = status, told.get("code"), told.get("field")
                    assert got == (422, "parameter_repeated", param.name), (path, asked)


async def test_no_body_may_hold_a_member_twice(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        token = server.token("cus_1", "customer")
        plain = json.dumps(order()).encode()
        for body, field in (
            (plain[:-1] + b',"mode":"auto","mode":"manual"}', "mode"),
            (b'{"a":[{"b":1,"b":2}]}', None),
        ):
            status, told, _ = await server.call("POST", "/v1/orders", token, body)
            assert status == 422
            assert field is None or (told["code"], told["field"]) == ("member_repeated", field)


async def test_garbage_behind_a_whole_request_does_not_cost_the_request(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        raw = head(server, "/v1/sos") + b"Content-Length: %d\r\n\r\n" % len(TAP) + TAP + b"GARBAGE\r\n\r\n"
        answer, refusal = await talk(server, raw, count=2)
        assert (answer.status, answer.told["key"], answer.told.get("ignored", [])) == (
            200, "K", [],
        )  # fmt: skip
        assert (refusal.status, refusal.told["code"]) == (400, "malformed")


async def test_an_sos_whose_body_breaks_is_raised_from_what_came(tmp_path: Path) -> None:
    size = b"%x\r\n" % len(TAP)
    half = len(TAP) // 2
    length = b"Content-Length: %d\r\n" % len(TAP)
    broken: dict[str, tuple[bytes, ...]] = {
        "first chunk size": (CHUNKED + b"zz\r\n" + TAP + b"\r\n0\r\n\r\n",),
        "first chunk size, in a piece of its own": (CHUNKED, b"zz\r\n" + TAP + b"\r\n0\r\n\r\n"),
        "head cut in its end": (CHUNKED[:-1], CHUNKED[-1:] + b"zz\r\n" + TAP + b"\r\n0\r\n\r\n"),
        "last chunk size": (CHUNKED + size + TAP + b"\r\nzz",),
        "chunk longer than its size": (CHUNKED + b"%x\r\n" % (len(TAP) - 4) + TAP + b"\r\n0\r\n\r\n",),
        "second chunk size": (
            CHUNKED + b"%x\r\n" % half + TAP[:half] + b"\r\n", b"zz\r\n" + TAP[half:] + b"\r\n0\r\n\r\n",
        ),
        "not gzip": (length + b"Content-Encoding: gzip\r\n\r\n" + TAP,),
        "not Brotli": (length + b"Content-Encoding: br\r\n\r\n" + TAP,),
        "stops": (b"Content-Length: 500\r\n\r\n" + TAP[:-1],),
        "stops in a chunk": (CHUNKED + b"fff\r\n" + TAP[:-1],),
    }  # fmt: skip
    async with served(tmp_path, http__header_timeout_s=str(BODY_TIMEOUT_S)) as server:
        ops = server.token("ops_1", "ops")
        for number, (name, parts) in enumerate(broken.items()):
            (answer,) = await talk(server, head(server, "/v1/sos", f"cus_{number}"), *parts)
            assert answer.status == 200, (name, answer.told)
            assert answer.told["key"] == "K", (name, answer.told)
            status, incident, _ = await server.call("GET", f"/v1/incidents/{answer.told['incident']}", ops)
            assert status == 200
            assert "fix" in incident or name == "second chunk size", (name, incident)


async def test_an_sos_of_which_nothing_can_be_read_is_raised_all_the_same_but_not_for_nobody(tmp_path: Path) -> None:
    packed = zlib.compress(TAP)
    bodies: dict[str, tuple[bytes, ...]] = {
        "nothing came": (b"Content-Length: 500\r\n\r\n",),
        "no chunk": (CHUNKED + b"zz",),
        "noise": (b"Content-Length: 3\r\n\r\n\xff\x00\xfe",),
        "unknown coding": (b"Content-Encoding: zstd\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed,),
    }
    async with served(tmp_path, http__header_timeout_s=str(BODY_TIMEOUT_S)) as server:
        for number, (name, parts) in enumerate(bodies.items()):
            (answer,) = await talk(server, head(server, "/v1/sos", f"cus_{number}"), *parts)
            assert answer.status == 200, (name, answer.told)
            assert answer.told["incident"], name
            assert "frame" in answer.told["ignored"], name
        (answer,) = await talk(server, b"POST /v1/sos HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"zz\r\n" + TAP)
        assert (answer.status, answer.told["code"]) == (401, "token_missing")


async def test_an_sos_that_is_whole_does_not_wait_for_the_bytes_that_were_promised(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        async with asyncio.timeout(1.5):
            (answer,) = await talk(
                server, head(server, "/v1/sos"), b"Content-Length: %d\r\n\r\n" % (len(TAP) + 40) + TAP
            )
        assert (answer.status, answer.told["ignored"]) == (200, [])
        long = TAP[:-1] + b',"note":"' + b"x" * 20_000 + b'"}'  # not looked at before its time
        for length, part in ((len(TAP), TAP[:-9]), (len(long) + 40, long)):
            async with asyncio.timeout(4):
                (answer,) = await talk(server, head(server, "/v1/sos"), b"Content-Length: %d\r\n\r\n" % length + part)
            assert answer.status == 200


async def test_an_expectation_that_nobody_knows_is_passed_over(tmp_path: Path) -> None:
    """It may be refused (RFC 9110 section 10.1.1), but not an SOS for it; what is no text made aiohttp fail."""
    async with served(tmp_path) as server:
        for value in (b"nonsense", b"10w\x80\xd1gntinue", b"100-continue, x"):
            fields = b"Expect: " + value + b"\r\n"
            (answer,) = await talk(server, head(server, "/v1/sos", fields=fields) + b"Content-Length: 2\r\n\r\n{}")
            assert (answer.status, answer.told["durable"]) == (200, True)
            (answer,) = await talk(server, b"POST /v1/orders HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n")
            assert (answer.status, answer.told["code"]) == (401, "token_missing")
            (answer,) = await talk(server, b"GET /nowhere HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n")
            assert (answer.status, answer.told["code"]) == (404, "not_found")


async def test_an_sos_is_raised_though_its_sender_is_gone_before_the_end(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        ops = server.token("ops_1", "ops")
        for number, body in enumerate((TAP, TAP[:-1])):
            _, writer = await asyncio.open_connection("127.0.0.1", int(server.app.http_url.rsplit(":", 1)[1]))
            writer.write(head(server, "/v1/sos", f"cus_{number}") + b"Content-Length: %d\r\n\r\n" % len(TAP) + body)
            writer.close()
            async with asyncio.timeout(5):
                while True:
                    _, page, _ = await server.call("GET", "/v1/incidents", ops)
                    if len(page["incidents"]) > number:
                        break
                    await asyncio.sleep(0.02)
            assert "fix" in page["incidents"][0]


async def test_a_broken_body_of_anything_else_is_malformed_at_once(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        for parts in ((CHUNKED + b"zz\r\n",), (CHUNKED, b"2\r\n{}\r\nzz\r\n")):
            (answer,) = await talk(server, head(server, "/v1/orders"), *parts)
            assert (answer.status, answer.told["code"]) == (400, "malformed")
            assert answer.headers["connection"] == "close"


async def test_compressed_bodies_are_unpacked_within_the_limit_of_bodies(tmp_path: Path) -> None:
    async with served(tmp_path) as server:
        token = server.token("cus_1", "customer")
        plain = json.dumps(order()).encode()
        for body, coding, end in (
            (zlib.compress(plain), "deflate", (201, None)),
            (zlib.compress(plain)[:-9], "deflate", (400, "malformed")),
            (plain, "gzip", (400, "malformed")),
            (plain, "br", (415, "encoding_unsupported")),
            (zlib.compress(b" " * 10_000_000), "deflate", (413, "too_large")),
        ):
            status, told, _ = await server.call("POST", "/v1/orders", token, body, **{"Content-Encoding": coding})
            assert (status, told.get("code")) == end, (coding, told)


def connections_alive() -> int:
    return sum(isinstance(each, _Handler) for each in gc.get_objects())


async def test_what_is_no_request_leaves_nothing_behind_that_only_the_collector_can_free(tmp_path: Path) -> None:
    parts = (
        b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PUT /config.json HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x81\x93\r\n\r\n",
    )
    async with served(tmp_path) as server:
        gc.collect()
        before = connections_alive()
        gc.disable()
        try:
            for part in parts:
                await talk(server, part)
            _, writer = await asyncio.open_connection("127.0.0.1", int(server.app.http_url.rsplit(":", 1)[1]))
            writer.close()
            async with asyncio.timeout(5):
                while connections_alive() > before:
                    await asyncio.sleep(0.02)
        finally:
            gc.enable()
