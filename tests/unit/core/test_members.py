import pytest

from core.members import repeated_member


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        (b'{"a":1,"a":1}', "a"),
        (b'{"a":1,"b":{"c":1,"d":2,"c":3}}', "c"),
        (b'[{"a":1},{"b":1,"\\u0062":1}]', "b"),
        (b'{"a":1,"A":1,"b":{"a":1}}', None),
        (b'[{"a":1},{"a":1}]', None),
        (b"{}", None),
        (b"7", None),
        (b"{", None),
        (b"[" * 100_000, None),
        (b'{"a":"\xff","a":1}', None),
    ],
)
def test_a_member_given_twice_is_named(payload: bytes, name: str | None) -> None:
    assert repeated_member(payload) == name
