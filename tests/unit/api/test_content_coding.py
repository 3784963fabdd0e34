"""Bodies that a client compressed."""

import gzip
import zlib

import pytest

from api.content_coding import decoded
from core.errors import Invalid, Refused

BODY = b'{"key":"K","note":"' + b"help " * 40 + b'"}'


@pytest.mark.parametrize("coding", ["", "identity", " Identity "])
def test_a_body_without_a_coding_stays_as_it_is(coding: str) -> None:
    assert decoded(BODY, coding, 10) == BODY


def test_gzip_and_deflate_are_unpacked() -> None:
    for coding, body in {
        "gzip": gzip.compress(BODY),
        "X-GZIP": gzip.compress(BODY),
        "deflate": zlib.compress(BODY),
    }.items():
        assert decoded(body, coding, 1_000) == BODY
    assert decoded(b"", "gzip", 1_000) == b""


def test_what_cannot_be_unpacked_is_refused_by_name() -> None:
    with pytest.raises(Refused) as caught:
        decoded(BODY, "br", 1_000)
    assert caught.value.code == "encoding_unsupported"
    for body in (BODY, zlib.compress(BODY)[:-3], zlib.compress(BODY) + b"more"):
        with pytest.raises(Invalid) as broken:
            decoded(body, "deflate", 1_000)
        assert broken.value.code == "malformed"


def test_nothing_is_unpacked_beyond_the_limit() -> None:
    bomb = zlib.compress(b" " * 10_000_000)
    with pytest.raises(Refused) as caught:
        decoded(bomb, "deflate", 1_000)
    assert caught.value.code == "too_large"
    assert decoded(bomb, "deflate", 1_000, whole=False) == b" " * 1_000


def test_of_a_cut_body_the_beginning_can_be_had() -> None:
    start = decoded(gzip.compress(BODY)[:-12], "gzip", 1_000, whole=False)
    assert start
    assert BODY.startswith(start)
