"""Joining fragments and saying close codes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.websocket_frames import (
    DamagedMessage,
    FrameError,
    MessageAssembler,
    check_text,
    close_reply,
    cut_reason,
    frame_bytes_max,
)


def cut(payload: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(position % (len(payload) + 1) for position in cuts), len(payload)]
    return [payload[start:end] for start, end in pairwise(edges)]


def joined(parts: list[bytes], *, is_text: bool, bytes_max: int = 1_000) -> bytes | int:
    """The message, or the close code."""
    assembler = MessageAssembler(is_text=is_text, bytes_max=bytes_max)
    try:
        for part in parts[:-1]:
            assert assembler.feed(part, fin=False) is None
        message = assembler.feed(parts[-1], fin=True)
    except FrameError as error:
        return error.code
    assert message is not None
    return message


@given(st.text(max_size=50), st.lists(st.integers(0, 200)))
def test_text_cut_anywhere_is_the_same_text(text: str, cuts: list[int]) -> None:
    payload = text.encode()
    assert joined(cut(payload, cuts), is_text=True) == payload


@given(st.binary(max_size=50), st.lists(st.integers(0, 200)))
def test_cutting_does_not_change_what_is_utf8(payload: bytes, cuts: list[int]) -> None:
    try:
        check_text(payload)
        expected: bytes | int = payload
    except FrameError as error:
        expected = error.code
    assert joined(cut(payload, cuts), is_text=True) == expected
    assert joined(cut(payload, cuts), is_text=False) == payload


def test_the_limit_is_on_the_whole_message() -> None:
    assert joined([b"a" * 600, b"a" * 400], is_text=True) == b"a" * 1_000
    assert joined([b"a" * 600, b"a" * 401], is_text=True) == 1009


def test_bad_text_is_refused_at_the_fragment_that_shows_it() -> None:
    assembler = MessageAssembler(is_text=True, bytes_max=100)
    assembler.feed(b"\xe2\x82", fin=False)
    with pytest.raises(FrameError):
        assembler.feed(b"x", fin=False)


@given(st.binary(max_size=300), st.binary(max_size=1_200), st.lists(st.integers(0, 2_000)))
def test_a_damaged_message_is_taken_once_and_whole_up_to_twice_the_limit(
    before: bytes, rest: bytes, cuts: list[int]
) -> None:
    damaged = DamagedMessage(FrameError(1007, "text is not UTF-8"), bytearray(before), 100)
    parts = cut(rest, cuts)
    taken = [damaged.feed(part, fin=n == len(parts) - 1) for n, part in enumerate(parts)]
    (whole,) = (part for part in taken if part is not None)
    assert (before + rest).startswith(whole)
    assert whole == before + rest or len(whole) > frame_bytes_max(100)
    assert damaged.take() is None
    assert (damaged.fault.code, damaged.fault.reason) == (1007, "text is not UTF-8")


def test_what_was_taken_of_a_damaged_message_is_followed_by_no_more_than_sixteen_limits() -> None:
    damaged = DamagedMessage(FrameError(1007, "text is not UTF-8"), bytearray(b"sos"), 100)
    assert damaged.take() == b"sos"
    assert damaged.feed(b"x" * 1_597, fin=False) is None
    with pytest.raises(FrameError) as refused:
        damaged.feed(b"x", fin=True)
    assert refused.value.code == 1009


@given(st.one_of(st.none(), st.integers(0, 65_535)))
def test_a_reply_is_always_a_code_that_may_be_said(code: int | None) -> None:
    reply = close_reply(code)
    assert 1000 <= reply <= 4999
    assert reply not in {1004, 1005, 1006, 1015}
    assert reply == code or reply in {1000, 1002}


@given(st.text(max_size=200))
def test_a_reason_is_cut_to_valid_utf8(reason: str) -> None:
    assert len(cut_reason(reason)) <= 123
    assert reason.encode("utf-8", "replace").decode().startswith(cut_reason(reason).decode())
