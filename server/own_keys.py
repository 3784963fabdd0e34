"""Keys with which the server signs tokens of its own: for the pages, which have nobody else who would sign for them.

They are made from the secrets that sign tokens anyway, never one of those, so that a restart changes nothing. Where
others sign and only their public keys are here, a key of this process does: its tokens live minutes, and a page that
has one of before a restart asks for another.
"""

from collections.abc import Mapping
from hmac import digest
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.keys import Key
from server.settings import Algorithm

OWN_PREFIX: Final = "_own."
"""How the `kid` of one begins; no key of the config may be called so."""
_PURPOSE: Final = b"doorstep own tokens 1"


def own_keys(keys: Mapping[str, Key], spare: bytes) -> dict[str, Key]:
    """The server's own keys by `kid`, the one that signs first.

    Args:
        keys: Those of the config.
        spare: A random secret of this process, of at least 32 bytes.
    """
    secrets = {kid: secret for kid, key in sorted(keys.items()) if (secret := _secret(key))}
    made = {f"{OWN_PREFIX}{kid}": digest(secret, _PURPOSE, "sha256") for kid, secret in secrets.items()}
    made = made or {f"{OWN_PREFIX}process": digest(spare, _PURPOSE, "sha256")}
    return {kid: Key(kid, Algorithm.HS256, secret, secret) for kid, secret in made.items()}


def _secret(key: Key) -> bytes:
    if isinstance(key.signing, Ed25519PrivateKey):
        return key.signing.private_bytes_raw()
    return key.signing or b""
