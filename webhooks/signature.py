"""The signature of an attempt: who sent it, when, and that nothing was changed. Pure.

``Doorstep-Signature: t=<seconds>,v1=<hex>`` where the hex is HMAC-SHA256 with the endpoint's secret over
``<seconds>.<body>``. The time is of the attempt, so that a receiver can refuse what somebody recorded and sends again
later. While a secret is being changed there is a ``v1`` for each.
"""

import hmac
from collections.abc import Sequence
from hashlib import sha256

SECRET_BYTES_MIN = 32
"""As long as the hash (RFC 2104 section 3)."""


def sign(body: bytes, sent_at: int, secrets: Sequence[bytes]) -> str:
    """The header's value."""
    signed = b"%d.%s" % (sent_at, body)
    marks = [f"v1={hmac.new(secret, signed, sha256).hexdigest()}" for secret in secrets]
    return ",".join([f"t={sent_at}", *marks])
