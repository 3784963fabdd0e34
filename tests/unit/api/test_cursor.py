"""Cursors come back as they were given, with what they were given for, or are refused."""

import math
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cursor import CURSOR_LEN_MAX, next_cursor, read_cursor
from core.errors import Invalid

ASKED = {"": "orders", "state": "placed"}


@given(st.floats(0, 4e9), st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=64))
def test_a_cursor_comes_back_as_it_was(at: float, name: str) -> None:
    text = next_cursor(ASKED, at, name)
    assert len(text) <= CURSOR_LEN_MAX
    assert text.isascii()
    assert read_cursor(text, ASKED) == (at, name)


@given(st.text(max_size=200))
def test_no_text_breaks_a_cursor(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_cursor(text, ASKED)
    assert (caught.value.code, caught.value.field) == ("cursor_invalid", "after")


@given(st.binary(min_size=17, max_size=80))
def test_no_bytes_break_a_cursor(packed: bytes) -> None:
    try:
        found = read_cursor(urlsafe_b64encode(packed).decode().rstrip("="), ASKED)
    except Invalid:
        return
    assert found is not None
    assert math.isfinite(found[0])


def test_a_cursor_of_other_filters_or_another_listing_is_refused() -> None:
    text = next_cursor(ASKED, 1.5, "ord_1")
    for other in (
        {"": "offers", "state": "placed"},
        {"": "orders"},
        {**ASKED, "city": "x"},
        {"": "orders", "state": "s"},
    ):
        with pytest.raises(Invalid):
            read_cursor(text, other)


def test_every_changed_letter_is_found() -> None:
    text = next_cursor(ASKED, 1_790_000_000.125, "ord_1")
    for at in range(len(text) - 1):  # the last letter of base64 holds spare bits
        changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
        with pytest.raises(Invalid):
            read_cursor(changed, ASKED)


def test_without_a_cursor_the_listing_begins_at_its_beginning() -> None:
    assert read_cursor(None, ASKED) is None
