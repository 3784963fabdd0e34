"""Tokens and tickets: who gets in, and every known way of not being who one says."""

import base64
import hmac
import json
from collections.abc import Iterator
from dataclasses import replace

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from core.errors import Refused, Unavailable
from core.ids import DeviceId
from core.principal import Role
from server.keys import Key
from server.settings import Algorithm, AuthSettings
from server.tokens import Tokens, issue

NOW = 1_800_000_000.0
PHONE = DeviceId("phone")
SECRET = b"a shared secret of more than 32 bytes"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
HS = Key("hs", Algorithm.HS256, SECRET, SECRET)
ED = Key("ed", Algorithm.EDDSA, PRIVATE.public_key(), PRIVATE)
SETTINGS = AuthSettings()


class _Clock:
    def __init__(self, now: float = NOW) -> None:
        self.at = now

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class _Ids:
    def __init__(self) -> None:
        self._numbers: Iterator[int] = iter(range(1_000_000))

    def new(self, prefix: str) -> str:
        return f"{prefix}{next(self._numbers):06}"


def _tokens(settings: AuthSettings = SETTINGS) -> Tokens:
    return Tokens(settings, {"hs": HS, "ed": ED}, _Ids())


def _good(key: Key = HS, /, **claims: object) -> str:
    return _signed({}, key, **claims)


def _signed(headers: dict[str, object], key: Key = HS, /, **claims: object) -> str:
    body: dict[str, object] = {
        "sub": "tec_1", "role": "technician", "tenant": "acme", "cities": ["beijing"], "iss": "doorstep",
        "aud": "doorstep", "exp": NOW + 3600, "nbf": NOW, "jti": "tok_1",
    }  # fmt: skip
    body.update(claims)
    body = {name: value for name, value in body.items() if value is not None}
    assert key.signing is not None
    return jwt.encode(body, key.signing, algorithm=key.algorithm.value, headers={"kid": key.kid} | headers)


def _refusal(token: str, *, device: str = "phone", now: float = NOW, tokens: Tokens | None = None) -> str:
    with pytest.raises(Refused) as caught:
        (tokens or _tokens()).verify(token, device=DeviceId(device), now=now)
    return caught.value.code


@pytest.mark.parametrize("key", [HS, ED])
def test_a_good_token_says_who_it_is(key: Key) -> None:
    who = _tokens().verify(_good(key, roles=["responder"]), device=PHONE, now=NOW)
    assert (who.tenant, who.user, who.role, who.device) == ("acme", "tec_1", Role.TECHNICIAN, "phone")
    assert who.roles == {Role.TECHNICIAN, Role.RESPONDER}
    assert who.cities == {"beijing"}
    assert not who.restricted


def test_an_issued_token_is_accepted() -> None:
    token = issue(ED, SETTINGS, _Clock(), _Ids(), user="u", role=Role.OPS, tenant="t", cities=["c"], device="phone")
    assert _tokens().verify(token, device=PHONE, now=NOW).role is Role.OPS


def _forged(header: dict[str, object], payload: dict[str, object] | None = None, signature: str = "") -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = {"sub": "x", "role": "ops", "tenant": "t", "iss": "doorstep", "aud": "doorstep", "exp": NOW + 9}
    return f"{part(header)}.{part(payload or claims)}.{signature}"


def test_an_unsigned_token_is_refused() -> None:
    for alg in ("none", "None", "NONE", ""):
        assert _refusal(_forged({"alg": alg, "typ": "JWT", "kid": "hs"})) == "token_invalid"


def test_the_public_key_cannot_be_used_as_a_shared_secret() -> None:
    public = PRIVATE.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    token = jwt.encode(jwt.decode(_good(), options={"verify_signature": False}), public, "HS256", headers={"kid": "ed"})
    assert _refusal(token) == "token_invalid"


def test_a_token_cannot_choose_another_algorithm_than_its_keys() -> None:
    token = _signed({"kid": "ed"}, HS)
    assert _refusal(token) == "token_invalid"


def _with_header(header: dict[str, object]) -> str:
    """A good token with exactly this header, signed with the real key: only the header can be refused."""

    def part(value: object) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    claims = jwt.decode(_good(), options={"verify_signature": False})
    signed = part(header) + b"." + part(claims)
    signature = base64.urlsafe_b64encode(hmac.digest(SECRET, signed, "sha256")).rstrip(b"=")
    return (signed + b"." + signature).decode()


GOOD_HEADER: dict[str, object] = {"alg": "HS256", "typ": "JWT", "kid": "hs"}


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/jwt"])
def test_a_token_with_a_header_made_by_hand_is_accepted(typ: str) -> None:
    assert _tokens().verify(_with_header(GOOD_HEADER | {"typ": typ}), device=PHONE, now=NOW).user == "tec_1"


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"kid": "nobody"}, "its kid is unknown"),
        ({"kid": ""}, "its kid is unknown"),
        ({"kid": "../../etc/passwd"}, "its kid is unknown"),
        ({"kid": "file:///dev/null"}, "its kid is unknown"),
        ({"kid": 3}, "InvalidTokenError"),
        ({"kid": ["hs"]}, "InvalidTokenError"),
        ({"kid": None}, "InvalidTokenError"),
        ({"crit": ["exp"], "exp": 1}, "InvalidTokenError"),
        ({"crit": []}, "InvalidTokenError"),
        ({"typ": "JWE"}, "typ is not JWT"),
        ({"typ": "logout+jwt"}, "typ is not JWT"),
        ({"typ": ""}, "typ is not JWT"),
        ({"typ": None}, "typ is not JWT"),
        ({"typ": ["JWT"]}, "typ is not JWT"),
        ({"alg": "HS512"}, "its alg is not the key's"),
    ],
)
def test_a_signed_token_is_refused_for_its_header(headers: dict[str, object], why: str) -> None:
    with pytest.raises(Refused, match=why) as caught:
        _tokens().verify(_with_header(GOOD_HEADER | headers), device=PHONE, now=NOW)
    assert caught.value.code == "token_invalid"


def test_critical_extensions_are_refused_whatever_the_library_thinks_of_them() -> None:
    with pytest.raises(Refused, match="critical header extensions"):
        _tokens()._key(GOOD_HEADER | {"crit": ["exp"], "exp": 1})


@pytest.mark.parametrize(("missing", "why"), [("typ", "typ is not JWT"), ("kid", "its kid is unknown")])
def test_a_signed_token_without_a_needed_header_is_refused(missing: str, why: str) -> None:
    header = {name: value for name, value in GOOD_HEADER.items() if name != missing}
    with pytest.raises(Refused, match=why):
        _tokens().verify(_with_header(header), device=PHONE, now=NOW)


def test_key_urls_in_the_header_are_ignored() -> None:
    elsewhere: dict[str, object] = {
        "jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/x", "jwk": {"kty": "oct", "k": "AA"},
    }  # fmt: skip
    assert _tokens().verify(_with_header(GOOD_HEADER | elsewhere), device=PHONE, now=NOW).user == "tec_1"


@pytest.mark.parametrize("alg", ["HS256", "EdDSA"])
def test_a_key_that_comes_with_the_token_does_not_verify_it(alg: str) -> None:
    mine = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
    public = mine.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    own_secret = b"the attacker's own secret of 32 bytes"

    def word(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    own = (
        {"kty": "oct", "k": word(own_secret)} if alg == "HS256" else {"kty": "OKP", "crv": "Ed25519", "x": word(public)}
    )
    claims = jwt.decode(_good(), options={"verify_signature": False})
    signing = own_secret if alg == "HS256" else mine
    token = jwt.encode(claims, signing, alg, headers={"kid": "hs" if alg == "HS256" else "ed", "jwk": own})
    assert _refusal(token) == "token_invalid"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "other"}, {"iss": None}, {"aud": "other"}, {"aud": None}, {"exp": None}, {"sub": None}, {"sub": ""},
        {"sub": 5}, {"sub": "x" * 65}, {"tenant": None}, {"role": "admin"}, {"role": None}, {"roles": "ops"},
        {"roles": ["root"]}, {"cities": "beijing"}, {"cities": [1]}, {"exp": True}, {"nbf": NOW + 60},
        {"iat": NOW + 60}, {"nbf": None}, {"exp": NOW + 40 * 86400}, {"sub": "a\x00b"}, {"device": "other"},
    ],
)  # fmt: skip
def test_wrong_claims_are_refused(claims: dict[str, object]) -> None:
    assert _refusal(_good(**claims)) == "token_invalid"


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "." * 40, "é.é.é", "\ud800", "x" * 9000, "null", "{}"])
def test_noise_is_refused(token: str) -> None:
    assert _refusal(token) == "token_invalid"


def test_a_changed_signature_is_refused() -> None:
    head, body, signature = _good().split(".")
    flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
    assert _refusal(f"{head}.{body}.{flipped}") == "token_invalid"


def test_a_recently_expired_token_is_restricted_and_an_old_one_refused() -> None:
    tokens = _tokens()
    token = _good()
    assert not tokens.verify(token, device=PHONE, now=NOW + 3599.9).restricted
    assert tokens.verify(token, device=PHONE, now=NOW + 3600).restricted
    assert tokens.verify(token, device=PHONE, now=NOW + 3600 + 86399).restricted
    assert _refusal(token, now=NOW + 3600 + 86400, tokens=tokens) == "token_expired"


def test_the_cache_does_not_outlive_a_revocation() -> None:
    tokens = _tokens()
    tokens.verify(_good(), device=PHONE, now=NOW)
    tokens.revoke(["tok_1"])
    assert _refusal(_good(), tokens=tokens) == "token_revoked"
    tokens.revoke(["acme/tec_1"])
    assert _refusal(_good(), tokens=tokens) == "token_revoked"
    tokens.revoke([])
    tokens.verify(_good(), device=PHONE, now=NOW)


def test_a_device_bound_token_works_on_that_device_and_over_plain_http() -> None:
    tokens = _tokens()
    assert tokens.verify(_good(device="phone"), device=PHONE, now=NOW).device == "phone"
    assert tokens.verify(_good(device="phone"), device=DeviceId(""), now=NOW).device == "phone"


def test_the_cache_is_bounded() -> None:
    tokens = _tokens(replace(SETTINGS, verified_cache_max=3))
    for number in range(10):
        tokens.verify(_good(jti=f"t{number}"), device=PHONE, now=NOW)
    assert len(tokens._cache) == 3


def test_a_ticket_works_once_on_its_device_and_for_thirty_seconds() -> None:
    tokens = _tokens()
    who = tokens.verify(_good(), device=PHONE, now=NOW)
    ticket, expires_at = tokens.issue_ticket(who, PHONE, NOW)
    assert expires_at == NOW + 30
    assert tokens.redeem(ticket, device=PHONE, now=NOW + 29).user == "tec_1"
    with pytest.raises(Refused, match="unknown or was used"):
        tokens.redeem(ticket, device=PHONE, now=NOW + 29)
    late, _ = tokens.issue_ticket(who, PHONE, NOW)
    with pytest.raises(Refused, match="too old"):
        tokens.redeem(late, device=PHONE, now=NOW + 30)
    other, _ = tokens.issue_ticket(who, PHONE, NOW)
    with pytest.raises(Refused, match="another device"):
        tokens.redeem(other, device=DeviceId("laptop"), now=NOW)
    with pytest.raises(Refused):  # a wrong guess at the device uses it up
        tokens.redeem(other, device=PHONE, now=NOW)


def test_unused_tickets_are_bounded_and_forgotten_in_time() -> None:
    tokens = _tokens(replace(SETTINGS, tickets_max=2))
    who = tokens.verify(_good(), device=PHONE, now=NOW)
    tokens.issue_ticket(who, PHONE, NOW)
    tokens.issue_ticket(who, PHONE, NOW)
    with pytest.raises(Unavailable):
        tokens.issue_ticket(who, PHONE, NOW + 1)
    tokens.issue_ticket(who, PHONE, NOW + 31)


def test_one_user_cannot_take_all_tickets() -> None:
    tokens = _tokens(replace(SETTINGS, tickets_per_user_max=2))
    who, other = (tokens.verify(_good(sub=sub), device=PHONE, now=NOW) for sub in ("tec_1", "tec_2"))
    used, _ = tokens.issue_ticket(who, PHONE, NOW)
    tokens.issue_ticket(who, PHONE, NOW)
    with pytest.raises(Unavailable) as refusal:
        tokens.issue_ticket(who, PHONE, NOW)
    assert refusal.value.code == "rate_limited"
    tokens.issue_ticket(other, PHONE, NOW)
    tokens.redeem(used, device=PHONE, now=NOW)
    tokens.issue_ticket(who, PHONE, NOW + 1)
    tokens.issue_ticket(who, PHONE, NOW + 31)  # the unused ones are too old by now
    assert tokens._tickets_of == {("acme", "tec_1", None): 1}


def test_a_sign_in_that_is_over_takes_its_renewed_tokens_with_it_and_nobody_elses() -> None:
    tokens = _tokens()
    first, renewed = (_good(jti=f"t{n}", sid="s1") for n in range(2))
    who = tokens.verify(first, device=PHONE, now=NOW)
    until_at = tokens.end(who.tenant, who.sign_in, NOW)
    assert until_at >= NOW + SETTINGS.token_life_max_s + SETTINGS.restricted_for_s
    for token in (first, renewed):
        assert _refusal(token, tokens=tokens) == "token_revoked"
    tokens.verify(_good(sid="s1", tenant="other"), device=PHONE, now=NOW)
    tokens.verify(_good(sid="s2"), device=PHONE, now=NOW)
    tokens.end(who.tenant, "s3", until_at + 1)  # what has had its time is forgotten
    assert [sign_in for _, sign_in in tokens._ended] == ["s3"]


def test_a_token_without_any_name_is_told_from_others_by_what_was_signed() -> None:
    tokens = _tokens()
    token = _good(jti=None)
    who = tokens.verify(token, device=PHONE, now=NOW)
    tokens.end(who.tenant, who.sign_in, NOW)
    assert _refusal(token, tokens=tokens) == "token_revoked"
    assert _refusal(token + "=", tokens=tokens) in ("token_revoked", "token_invalid")
    tokens.verify(_good(jti=None, iat=NOW - 1), device=PHONE, now=NOW)


def test_a_revoked_sid_is_every_token_of_that_sign_in() -> None:
    tokens = _tokens()
    tokens.revoke(["s1"])
    assert _refusal(_good(sid="s1"), tokens=tokens) == "token_revoked"
    tokens.verify(_good(sid="s2"), device=PHONE, now=NOW)


def test_a_key_that_is_taken_away_verifies_nothing_not_even_what_was_remembered() -> None:
    tokens = _tokens()
    token = _good()
    tokens.verify(token, device=PHONE, now=NOW)
    tokens.renew_keys({"ed": ED})
    assert _refusal(token, tokens=tokens) == "token_invalid"
    tokens.renew_keys({"hs": HS, "ed": ED})
    tokens.verify(token, device=PHONE, now=NOW)


@pytest.mark.parametrize("header", [{"zip": "DEF"}, {"enc": "A256GCM"}])
def test_headers_of_other_kinds_of_tokens_are_ignored(header: dict[str, object]) -> None:
    """RFC 8725 section 3.6: nothing is decompressed or decrypted."""
    assert _tokens().verify(_with_header(GOOD_HEADER | header), device=PHONE, now=NOW).user == "tec_1"


@pytest.mark.parametrize("header", [{"b64": False}, {"alg": "HS256 "}, {"alg": ["HS256"]}, {"alg": None}])
def test_headers_that_change_how_a_token_is_read_are_refused(header: dict[str, object]) -> None:
    """RFC 7797 would have the payload read as it stands; RFC 8725 section 3.1: one algorithm, by its exact name."""
    assert _refusal(_with_header(GOOD_HEADER | header)) == "token_invalid"


def test_the_servers_own_tenant_is_nobodys() -> None:
    tokens = _tokens()
    with pytest.raises(Refused, match="begins with _ is reserved") as caught:
        tokens.verify(_good(tenant="_doorstep"), device=PHONE, now=NOW)
    assert caught.value.code == "token_invalid"
    with pytest.raises(ValueError, match="tenant must not begin with _"):
        issue(ED, SETTINGS, _Clock(), _Ids(), user="u", role=Role.OPS, tenant="_doorstep")
    assert tokens.verify(_good(tenant="door_step"), device=PHONE, now=NOW).tenant == "door_step"


def test_the_servers_own_tokens_say_what_they_were_made_for_also_after_a_restart() -> None:
    tokens = _tokens()
    who = replace(
        tokens.verify(_good(), device=PHONE, now=NOW), sign_in="web_1", issued_at=NOW - 100, expires_at=NOW + 600
    )
    minted = tokens.mint(who, NOW)
    for again in (tokens, _tokens()):
        read = again.verify(minted, device=PHONE, now=NOW)
        assert (read.user, read.roles, read.cities, read.device) == (who.user, who.roles, who.cities, PHONE)
        assert (read.sign_in, read.issued_at, read.expires_at) == ("web_1", NOW - 100, NOW + 600)
        assert _refusal(minted, device="other", tokens=again) == "token_invalid"
    tokens.end(who.tenant, "web_1", NOW)
    assert _refusal(minted, tokens=tokens) == "token_revoked"


def test_what_others_sign_is_no_key_of_the_servers_own_and_its_name_opens_nothing() -> None:
    public = Key("ed", Algorithm.EDDSA, PRIVATE.public_key(), None)
    tokens = Tokens(SETTINGS, {"ed": public}, _Ids())
    minted = tokens.mint(replace(tokens.verify(_good(ED), device=PHONE, now=NOW), expires_at=NOW + 60), NOW)
    assert tokens.verify(minted, device=PHONE, now=NOW).user == "tec_1"
    for kid in ("_own.process", "_own.ed", "_own.hs"):
        assert _refusal(_signed({"kid": kid}, HS), tokens=tokens) == "token_invalid"
    assert _refusal(_signed({"kid": "_own.hs"}, HS)) == "token_invalid", "it is made from the secret, and not it"
    assert _refusal(jwt.encode({"sub": "tec_1"}, SECRET, headers={"kid": "hs"}), tokens=tokens) == "token_invalid"


def test_a_key_that_is_taken_away_takes_the_servers_own_tokens_with_it() -> None:
    tokens = _tokens()
    minted = tokens.mint(replace(tokens.verify(_good(), device=PHONE, now=NOW), expires_at=NOW + 60), NOW)
    tokens.renew_keys({"next": replace(HS, kid="next", verifying=SECRET * 2, signing=SECRET * 2)})
    assert _refusal(minted, tokens=tokens) == "token_invalid"


def test_a_token_of_one_order_is_its_customers_and_keeps_its_limit_in_tickets() -> None:
    tokens = _tokens()
    one = tokens.verify(_good(role="customer", order="ord_1"), device=PHONE, now=NOW)
    assert one.order == "ord_1"
    ticket, _ = tokens.issue_ticket(one, PHONE, NOW)
    assert tokens.redeem(ticket, device=PHONE, now=NOW).order == "ord_1"
    assert tokens.verify(_good(), device=PHONE, now=NOW).order is None
    assert _refusal(_good(role="technician", order="ord_1")) == "token_invalid"
    assert _refusal(_good(role="customer", roles=["ops"], order="ord_1")) == "token_invalid"
