"""Where token keys come from: reads secrets that the config points to, and checks that they fit their algorithm."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from server.config import ConfigError, Problem
from server.secret_source import check_private, check_secret, read_secret
from server.settings import Algorithm, AuthSettings, KeySettings

HS256_SECRET_BYTES_MIN: Final = 32
"""A key as long as the hash output (RFC 7518 section 3.2)."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key, ready for use. ``signing`` is None when only the public half is known."""

    kid: str
    algorithm: Algorithm
    verifying: bytes | Ed25519PublicKey
    signing: bytes | Ed25519PrivateKey | None


def load_keys(auth: AuthSettings, environ: Mapping[str, str], folder: Path) -> dict[str, Key]:
    """Read every key.

    Args:
        auth: The config's auth section.
        environ: The process's environment.
        folder: Where relative ``secret_file`` paths start.

    Raises:
        ConfigError: A secret is missing or unfit; names the key and the place, never the secret.
    """
    keys: dict[str, Key] = {}
    problems: list[Problem] = []
    for kid, settings in auth.keys.items():
        try:
            keys[kid] = _key(kid, settings, _secret(settings, environ, folder))
        except ValueError as error:
            problems.append(Problem("config", f"auth.keys.{kid}", str(error)))
    if problems:
        raise ConfigError(problems)
    return keys


def _secret(settings: KeySettings, environ: Mapping[str, str], folder: Path) -> bytes:
    _, secret = read_secret(settings.secret_env, settings.secret_file, environ, folder)
    if settings.secret_env and not secret:
        raise ValueError(
            f"no key for tokens: the environment variable {settings.secret_env} is empty. "
            "Set it (at least 32 random bytes for HS256: `openssl rand -base64 48`), or point secret_file to a file"
        )
    secret = secret.strip() if settings.secret_file else secret
    if settings.algorithm is Algorithm.HS256 or b"PRIVATE KEY" in secret:
        check_private(settings.secret_file, folder)
    return secret


def _key(kid: str, settings: KeySettings, secret: bytes) -> Key:
    if settings.algorithm is Algorithm.HS256:
        if b"-----BEGIN" in secret or secret.startswith(b"ssh-"):
            # A public key used as a shared secret is the classic confusion: everyone could sign.
            raise ValueError("is an HS256 key, but its secret is a PEM or SSH key; did you mean algorithm EdDSA?")
        if len(secret) < HS256_SECRET_BYTES_MIN:
            raise ValueError(f"an HS256 secret must have at least {HS256_SECRET_BYTES_MIN} bytes, has {len(secret)}")
        check_secret(secret)
        return Key(kid, settings.algorithm, secret, secret)
    return _ed25519(kid, secret)


def _ed25519(kid: str, secret: bytes) -> Key:
    try:
        if b"PRIVATE KEY" in secret:
            private = load_pem_private_key(secret, password=None)
            if isinstance(private, Ed25519PrivateKey):
                return Key(kid, Algorithm.EDDSA, private.public_key(), private)
        else:
            public = load_pem_public_key(secret)
            if isinstance(public, Ed25519PublicKey):
                return Key(kid, Algorithm.EDDSA, public, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("an EdDSA key must be a PEM Ed25519 key without a password") from None
    raise ValueError("an EdDSA key must be Ed25519, is another kind of key")
