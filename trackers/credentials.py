"""What a request's head says of who sends it: an id or token in the query, a Bearer token, or HTTP Basic."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Final

from trackers.forms import read_form

SECRET_LEN_MAX: Final = 256
_NAMES: Final = ("id", "deviceid", "device_id", "token", "access_token")


def secret_in_head(query: str, headers: Mapping[str, str]) -> str:
    """The secret; ``""`` for none. A header counts before the query.

    Args:
        query: The raw query.
        headers: By lower-case name.
    """
    scheme, _, given = headers.get("authorization", "").partition(" ")
    found = ""
    if scheme.lower() == "bearer":
        found = given.strip()
    elif scheme.lower() == "basic":
        found = _password(given)
    if not found and query:
        said = read_form(query)
        found = next((said[name] for name in _NAMES if said.get(name)), "")
    return found if len(found) <= SECRET_LEN_MAX else ""


def _password(given: str) -> str:
    try:
        text = base64.b64decode(given.strip(), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""
    return text.partition(":")[2]


def hash_of(secret: str) -> bytes:
    """What is stored of a secret. It has 120 random bits: there is nothing to try, and nothing slow is needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
