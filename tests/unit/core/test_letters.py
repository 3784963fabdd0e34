import json
import string

import pytest

from core.letters import plain_letters


@pytest.mark.parametrize("letter", string.ascii_letters)
def test_every_letter_is_found_under_its_escape(letter: str) -> None:
    for form in (f"\\u{ord(letter):04x}", f"\\u{ord(letter):04X}"):
        assert plain_letters(f'"a{form}b"'.encode()) == f'"a{letter}b"'.encode()


@pytest.mark.parametrize("code", sorted(set(range(256)) - {ord(letter) for letter in string.ascii_letters}))
def test_nothing_but_letters_is_put_plain(code: int) -> None:
    payload = f'"\\u{code:04x}"'.encode()
    assert plain_letters(payload) == payload
    assert json.loads(payload) == chr(code)
