"""Keys of tokens: where they come from and what is unfit."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from server.config import ConfigError
from server.keys import Key, load_keys
from server.settings import Algorithm, AuthSettings, KeySettings

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PRIVATE_PEM = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
PUBLIC_PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
CURVE_PEM = (
    ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
).decode()

LONG = "VQ3p9c1xM7s-a-secret-with-enough-letters"


def _file(folder: Path, text: str) -> Path:
    path = folder / "secret"
    path.write_text(text)
    path.chmod(0o600)
    return path


def _load(algorithm: Algorithm, secret: str, folder: Path) -> Key:
    auth = AuthSettings(keys={"k": KeySettings(algorithm, "SECRET")})
    return load_keys(auth, {"SECRET": secret}, folder)["k"]


def test_a_secret_may_come_from_a_file_beside_the_config(tmp_path: Path) -> None:
    _file(tmp_path, LONG + "\n")
    auth = AuthSettings(keys={"k": KeySettings(secret_file="secret")})
    assert load_keys(auth, {}, tmp_path)["k"].verifying == LONG.encode()


def test_a_secret_that_every_user_of_the_machine_may_read_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, LONG)
    auth = AuthSettings(keys={"k": KeySettings(secret_file="secret")})
    for mode in (0o604, 0o644, 0o602, 0o601):
        path.chmod(mode)
        with pytest.raises(ConfigError, match="chmod o-rwx"):
            load_keys(auth, {}, tmp_path)
    path.chmod(0o640)  # how a container is given its own
    load_keys(auth, {}, tmp_path)
    signing = AuthSettings(keys={"k": KeySettings(Algorithm.EDDSA, secret_file="secret")})
    path.write_text(PRIVATE_PEM)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod o-rwx"):
        load_keys(signing, {}, tmp_path)
    path.write_text(PUBLIC_PEM)  # a public key is no secret
    load_keys(signing, {}, tmp_path)


def test_a_public_key_verifies_and_cannot_sign(tmp_path: Path) -> None:
    assert _load(Algorithm.EDDSA, PUBLIC_PEM, tmp_path).signing is None
    assert _load(Algorithm.EDDSA, PRIVATE_PEM, tmp_path).signing is not None


@pytest.mark.parametrize(
    ("algorithm", "secret", "told"),
    [
        (Algorithm.HS256, "short", "at least 32 bytes"),
        (Algorithm.HS256, "", "SECRET is empty"),
        (Algorithm.HS256, "x" * 64, "can be guessed"),
        (Algorithm.HS256, "abc123" * 12, "can be guessed"),
        (Algorithm.HS256, "please-ChangeMe-please-ChangeMe-0123456789", "out of an example"),
        (Algorithm.HS256, "your-256-bit-secret-your-256-bit-secret", "out of an example"),
        (Algorithm.HS256, PUBLIC_PEM, "did you mean algorithm EdDSA"),
        (Algorithm.EDDSA, "x" * 40, "PEM Ed25519"),
        (Algorithm.EDDSA, CURVE_PEM, "must be Ed25519"),
        (Algorithm.EDDSA, PUBLIC_PEM[:60], "PEM Ed25519"),
    ],
)
def test_an_unfit_secret_is_refused_without_showing_it(
    algorithm: Algorithm, secret: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        _load(algorithm, secret, tmp_path)
    assert "auth.keys.k" in str(caught.value)
    assert not secret or secret not in str(caught.value)


def test_every_missing_key_is_named_at_once(tmp_path: Path) -> None:
    auth = AuthSettings(keys={"a": KeySettings(secret_env="A"), "b": KeySettings(secret_file="none")})
    with pytest.raises(ConfigError) as caught:
        load_keys(auth, {}, tmp_path)
    assert len(caught.value.problems) == 2
