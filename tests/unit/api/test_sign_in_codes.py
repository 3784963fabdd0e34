"""Codes: used once, soon over, the newest of a person alone, and not to be guessed."""

import pytest

from api.settings import SignInSettings
from api.sign_in_codes import ALPHABET, CODE_LEN, SignInCodes
from core.browser_session import Grant
from core.errors import Refused, Unavailable
from core.ids import TenantId, UserId
from core.principal import Role
from tests.unit.safety.neighbourhood import CountingIds

NOW = 1_000.0
HERE = "192.0.2.1"


def make(**settings: float) -> SignInCodes:
    return SignInCodes(SignInSettings(**settings), CountingIds())  # type: ignore[arg-type]  # numbers only


def grant(user: str = "tec_1", tenant: str = "demo") -> Grant:
    role = Role.TECHNICIAN
    return Grant(TenantId(tenant), UserId(user), role, frozenset({role}), frozenset())


def refused(codes: SignInCodes, typed: str, now: float = NOW, peer: str = HERE) -> str:
    with pytest.raises((Refused, Unavailable)) as caught:
        codes.use(typed, peer, now)
    return caught.value.code


def test_a_code_is_what_it_was_made_for_however_it_is_typed_and_once() -> None:
    codes = make()
    for spell in (str, str.lower, lambda text: text.replace("-", ""), lambda text: f"  {text.replace('-', ' ')} "):
        code, expires_at = codes.make(grant(), NOW)
        assert expires_at == NOW + 600
        assert len(code.replace("-", "")) == CODE_LEN
        assert set(code) <= set(ALPHABET) | {"-"}
        assert codes.use(spell(code), HERE, NOW) == grant()
        assert refused(codes, code) == "code_invalid"
    assert len(codes) == 0


def test_no_sign_of_a_code_is_mistaken_for_another() -> None:
    assert not set("01OIL") & set(ALPHABET)
    assert len(set(ALPHABET)) == len(ALPHABET) == 31


def test_a_code_is_over_at_its_time() -> None:
    codes = make()
    code, expires_at = codes.make(grant(), NOW)
    assert refused(codes, code, expires_at) == "code_invalid"
    assert len(codes) == 0


def test_of_one_person_the_newest_is_good_and_others_keep_theirs() -> None:
    codes = make()
    first, _ = codes.make(grant(), NOW)
    elsewhere, _ = codes.make(grant(tenant="other"), NOW)
    second, _ = codes.make(grant(), NOW + 1)
    assert refused(codes, first, NOW + 1) == "code_invalid"
    assert codes.use(second, HERE, NOW + 1) == grant()
    assert codes.use(elsewhere, HERE, NOW + 1).tenant == "other"


def test_more_codes_than_may_wait_are_refused_until_some_are_over() -> None:
    codes = make(codes_max=2)
    for n in range(2):
        codes.make(grant(f"tec_{n}"), NOW)
    with pytest.raises(Unavailable) as caught:
        codes.make(grant("tec_9"), NOW)
    assert caught.value.code == "overloaded"
    codes.make(grant("tec_1"), NOW)  # in the place of one's own
    codes.make(grant("tec_9"), NOW + 600)


def test_wrong_tries_run_out_for_an_address_and_come_back_with_time() -> None:
    codes = make(guesses_per_address=3)
    code, _ = codes.make(grant(), NOW)
    assert [refused(codes, "x") for _ in range(3)] == ["code_invalid"] * 3
    assert refused(codes, code) == "rate_limited", "else guessing on would pay"
    assert refused(codes, "x", peer="192.0.2.2") == "code_invalid", "another address has its own tries"
    assert codes.use(code, HERE, NOW + 200) == grant()


def test_right_codes_of_many_people_behind_one_address_cost_no_tries() -> None:
    codes = make(guesses_per_address=3)
    for n in range(20):
        code, _ = codes.make(grant(f"tec_{n}"), NOW)
        codes.use(code, HERE, NOW)


def test_wrong_tries_from_everywhere_together_are_bounded() -> None:
    codes = make(guesses_max=10)
    assert [refused(codes, "x", peer=f"192.0.2.{n}") for n in range(10)] == ["code_invalid"] * 10
    assert refused(codes, "x", peer="198.51.100.1") == "rate_limited"


def test_no_code_is_kept_as_it_is() -> None:
    codes = make()
    code, _ = codes.make(grant(), NOW)
    assert code.replace("-", "") not in repr(vars(codes))
