import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackers.credentials import hash_of, secret_in_head


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("query", "authorization", "secret"),
    [
        ("id=s3cret&lat=1", "", "s3cret"),
        ("deviceid=s3cret", "", "s3cret"),
        ("token=s3cret", "", "s3cret"),
        ("access_token=s3cret", "", "s3cret"),
        ("", "Bearer s3cret", "s3cret"),
        ("", "bearer  s3cret ", "s3cret"),
        ("", basic("trk_1:s3cret"), "s3cret"),
        ("", basic("trk_1:s3:cret"), "s3:cret"),
        ("id=other", basic("trk_1:s3cret"), "s3cret"),
        ("id=s3cret", "Basic ???", "s3cret"),
        ("id=", "Digest x", ""),
        ("id=" + "x" * 257, "", ""),
        ("", "", ""),
    ],
)
def test_the_secret_is_found_where_each_app_puts_it(query: str, authorization: str, secret: str) -> None:
    assert secret_in_head(query, {"authorization": authorization} if authorization else {}) == secret


@given(st.text(), st.text())
def test_no_head_breaks_it(query: str, authorization: str) -> None:
    secret = secret_in_head(query, {"authorization": authorization})
    assert len(secret) <= 256
    assert len(hash_of(secret)) == 32
