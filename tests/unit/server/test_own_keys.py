from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.keys import Key
from server.own_keys import own_keys
from server.settings import Algorithm

SPARE = b"s" * 40


def test_own_keys_come_from_those_that_sign_are_none_of_them_and_are_the_same_again() -> None:
    private = Ed25519PrivateKey.generate()
    keys = {
        "b": Key("b", Algorithm.HS256, b"x" * 40, b"x" * 40),
        "a": Key("a", Algorithm.EDDSA, private.public_key(), private),
    }
    made = own_keys(keys, SPARE)
    assert list(made) == ["_own.a", "_own.b"]
    assert made == own_keys(keys, b"t" * 40)
    secrets = {key.signing for key in made.values()}
    assert len(secrets) == 2
    assert secrets.isdisjoint({b"x" * 40, private.private_bytes_raw(), SPARE})


def test_where_others_sign_a_key_of_this_process_does() -> None:
    public = Ed25519PrivateKey.generate().public_key()
    keys = {"a": Key("a", Algorithm.EDDSA, public, None)}
    (made,) = own_keys(keys, SPARE).values()
    (other,) = own_keys(keys, b"t" * 40).values()
    assert made.signing != other.signing
    assert made.signing != SPARE
