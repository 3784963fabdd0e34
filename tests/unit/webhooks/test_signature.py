"""The signature is what the docs say: their own snippet checks it."""

import re
from pathlib import Path
from typing import Any

import pytest

from webhooks.signature import sign

SECRETS = (b"a secret of at least thirty-two bytes, really", b"another secret of at least thirty-two bytes")
PAGE = Path(__file__).parents[3] / "docs" / "webhooks.md"


def verifier() -> Any:
    (source,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    scope: dict[str, Any] = {}
    exec(source, scope)  # noqa: S102 - our own page
    return scope["is_genuine"]


def test_the_signature_is_an_hmac_over_time_and_body() -> None:
    assert sign(b'{"a":1}', 1_790_000_000, SECRETS[:1]) == (
        "t=1790000000,v1=" + _hmac(SECRETS[0], b'1790000000.{"a":1}')
    )


def _hmac(secret: bytes, message: bytes) -> str:
    import hmac
    from hashlib import sha256

    return hmac.new(secret, message, sha256).hexdigest()


@pytest.mark.parametrize("secret", SECRETS)
def test_the_snippet_of_the_docs_takes_each_secret_while_one_is_changed(secret: bytes) -> None:
    assert verifier()(sign(b"{}", 1_000, SECRETS), b"{}", secret, now=1_010)


@pytest.mark.parametrize(
    ("header", "body", "now"),
    [
        (sign(b"{}", 1_000, SECRETS), b"{ }", 1_000),
        (sign(b"{}", 1_000, SECRETS).replace("t=1000", "t=1001"), b"{}", 1_000),
        (sign(b"{}", 1_000, SECRETS), b"{}", 1_301),
        (sign(b"{}", 1_000, SECRETS), b"{}", 699),
        (sign(b"{}", 1_000, [b"x" * 32]), b"{}", 1_000),
        ("", b"{}", 1_000),
        ("t=,v1=", b"{}", 1_000),
    ],
)
def test_the_snippet_of_the_docs_refuses_everything_else(header: str, body: bytes, now: float) -> None:
    assert not verifier()(header, body, SECRETS[0], now=now)
