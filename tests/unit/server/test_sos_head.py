"""Heads of an SOS: what is clean goes through as it came, everything else is put right, nothing else is touched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.sos_head import HEAD_BYTES_MAX, SosHead, is_clean, put_right

TOKEN = b"eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl"
CLEAN = (
    b"POST /v1/sos HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + TOKEN + b"\r\nContent-Type: application/json\r\n"
    b"Content-Length: 11"
)
BODY = b'{"key":"k"}'
OTHERS = [
    b"GET /v1/sos HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /v1/orders HTTP/1.1\r\nHost x\r\n\r\n",
    b"POST /v1/sos/inc_1/cancel HTTP/1.1\r\nHost x\r\n\r\n",
    b"POST /v1/sosx HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00",
    b"POSTAGE",
]


def fed(*pieces: bytes) -> bytes:
    head = SosHead()
    return b"".join(head.take(piece) for piece in pieces) + head.rest()


def fields(head: bytes) -> dict[bytes, bytes]:
    return {name: value for name, _, value in (line.partition(b": ") for line in head.split(b"\r\n")[1:])}


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_a_clean_sos_goes_through_as_it_came(size: int) -> None:
    whole = CLEAN + b"\r\n\r\n" + BODY
    assert fed(*(whole[at : at + size] for at in range(0, len(whole), size))) == whole


@pytest.mark.parametrize("raw", OTHERS)
@pytest.mark.parametrize("size", [1, 1_000])
def test_what_is_no_sos_goes_through_as_it_came(raw: bytes, size: int) -> None:
    assert fed(*(raw[at : at + size] for at in range(0, len(raw), size))) == raw


@pytest.mark.parametrize("raw", OTHERS[:4])
def test_what_is_no_sos_does_not_wait_for_the_end_of_its_head(raw: bytes) -> None:
    assert SosHead().take(raw.partition(b"\r\n")[0] + b"\r\n") != b""


def test_nothing_is_given_before_the_head_is_whole() -> None:
    head = SosHead()
    assert head.take(CLEAN) == b""
    assert head.is_holding
    assert head.take(b"\r\n\r\n" + BODY) == CLEAN + b"\r\n\r\n" + BODY
    assert not head.is_holding


UNCLEAN = {
    "header without colon": CLEAN + b"\r\nbad header",
    "control sign": CLEAN + b"\r\nX: \x00\x01",
    "no version": CLEAN.replace(b" HTTP/1.1", b""),
    "other version": CLEAN.replace(b"HTTP/1.1", b"HTTP/2.0"),
    "query": CLEAN.replace(b"/v1/sos", b"/v1/sos?now=1"),
    "whole address": CLEAN.replace(b"/v1/sos", b"http://x.example/v1/sos"),
    "slashes": CLEAN.replace(b"/v1/sos", b"//v1//sos//"),
    "small letters": CLEAN.replace(b"POST", b"post"),
    "no host": CLEAN.replace(b"Host: x\r\n", b""),
    "two hosts": CLEAN + b"\r\nHost: y",
    "newlines only": CLEAN.replace(b"\r\n", b"\n"),
    "folded line": CLEAN.replace(b"Bearer ", b"Bearer\r\n "),
    "long header": CLEAN + b"\r\nX: " + b"x" * 20_000,
    "300 headers": CLEAN + b"\r\nX: y" * 300,
    "upgrade": CLEAN + b"\r\nUpgrade: websocket",
    "expectation": CLEAN + b"\r\nExpect: nonsense",
    "name of the token damaged": CLEAN.replace(b"Authorization", b"Authoriz\xffation"),
}


@pytest.mark.parametrize("name", UNCLEAN)
def test_what_is_not_clean_is_put_right(name: str) -> None:
    head = UNCLEAN[name]
    assert not is_clean(head)
    end = b"\n\n" if name == "newlines only" else b"\r\n\r\n"
    given = fed(head + end + BODY)
    right, _, body = given.partition(b"\r\n\r\n")
    assert is_clean(right)
    assert body == BODY
    assert fields(right)[b"Authorization"] == b"Bearer " + TOKEN
    assert fields(right)[b"Content-Length"] == b"11"


@pytest.mark.parametrize(
    ("framing", "kept"),
    [
        (b"Content-Length: 7\r\nX y", b"Content-Length: 7"),
        (b"Transfer-Encoding: Chunked\r\nX y", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 7\r\nContent-Length: 8", b"Content-Length: 9999999"),
        (b"Content-Length: +7", b"Content-Length: 9999999"),
        (b"Content-Length: 7\r\nTransfer-Encoding: chunked", b"Content-Length: 9999999"),
        (b"Transfer-Encoding: gzip, chunked", b"Content-Length: 9999999"),
        (b"X y", b"Content-Length: 9999999"),
    ],
)
def test_a_length_that_is_not_sure_is_not_believed(framing: bytes, kept: bytes) -> None:
    head = b"POST /v1/sos HTTP/1.1\r\nHost: x\r\n" + framing
    assert not is_clean(head)
    assert kept in put_right(head).split(b"\r\n")


def test_no_token_is_made_of_what_was_not_sent_as_one() -> None:
    head = b"POST /v1/sos HTTP/1.1\r\nHost: x\r\nCookie: session=" + TOKEN + b"\r\nX y"
    assert b"Authorization" not in fields(put_right(head))


@pytest.mark.parametrize("body", [BODY, b""])
def test_a_head_that_never_ends_is_ended(body: bytes) -> None:
    given = fed(CLEAN + (b"\r\n" + body if body else b""))
    assert is_clean(given.partition(b"\r\n\r\n")[0])
    assert given.endswith(b"\r\n\r\n" + body)


def test_a_head_is_held_up_to_its_bound() -> None:
    head = SosHead()
    assert head.take(CLEAN + b"\r\nX: " + b"x" * (HEAD_BYTES_MAX - len(CLEAN) - 5)) == b""
    assert head.take(b"xx").endswith(b"\r\n\r\n")
    assert not head.is_holding


@given(st.integers(0, len(CLEAN) - 1), st.binary(max_size=4), st.integers(0, 3))
def test_any_damage_behind_the_first_line_ends_in_a_clean_head(at: int, junk: bytes, cut: int) -> None:
    head, body = CLEAN[: at + 1], CLEAN[at + 1 + cut :]
    given = fed(head + junk + body + b"\r\n\r\n")
    if given.upper().lstrip().startswith(b"POST /V1/SOS HTTP/1.1\r\nCONNECTION: CLOSE"):
        assert is_clean(given.partition(b"\r\n\r\n")[0])
