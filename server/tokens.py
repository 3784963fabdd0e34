"""Tokens: verifies and issues JWTs, and keeps one-time tickets. Implements ``realtime.ports.Authenticator``.

The algorithm is a property of the key, never of the token: the header only names a ``kid``, and whatever else it
says (``jku``, ``x5u``, ``jwk``) is not followed; ``typ`` must be there, ``crit`` must not.
Source: RFC 8725 sections 3.1-3.12.
"""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import jwt

from core.clock import Clock
from core.errors import Refused, Unavailable
from core.ids import RESERVED_PREFIX, CityId, DeviceId, IdSource, OrderId, TenantId, UserId, check_tenant, is_reserved
from core.principal import SOS_PASS_PREFIX, Principal, Role
from server.keys import Key
from server.own_keys import own_keys
from server.settings import AuthSettings
from server.sos_passes import make_pass, pass_keys, read_pass

TOKEN_LEN_MAX: Final = 8_192
ID_LEN_MAX: Final = 64
LIST_LEN_MAX: Final = 256
TYPES: Final = frozenset({"jwt", "at+jwt"})
"""RFC 7519 section 5.1 and RFC 9068 section 2.1; compared without case (RFC 7515 section 4.1.9)."""
TICKET_PREFIX: Final = "tkt_"


_Owner = tuple[TenantId, UserId, OrderId | None]
"""Whose tickets are counted together: a link's are not its customer's."""


def _owner(who: Principal) -> _Owner:
    return who.tenant, who.user, who.order


def _invalid(why: str) -> Refused:
    return Refused(f"the token is not valid: {why}", code="token_invalid")


@dataclass(frozen=True, slots=True)
class _Verified:
    """What a token says, before asking what time it is."""

    principal: Principal
    not_before: float
    bound_device: DeviceId


class Tokens:
    """Verifies tokens against the configured keys.

    Bounds: remembers at most ``verified_cache_max`` verified tokens by hash (oldest forgotten), each not beyond
    its end plus the restricted time; at most ``tickets_max`` unused tickets (beyond: ``overloaded``), of them
    ``tickets_per_user_max`` of one user (beyond: ``rate_limited``).
    """

    def __init__(self, settings: AuthSettings, keys: Mapping[str, Key], ids: IdSource) -> None:
        """Keep the keys; ``ids`` makes tickets."""
        self._settings = settings
        self._keys = dict(keys)
        self._ids = ids
        self._cache: OrderedDict[bytes, _Verified] = OrderedDict()
        self._tickets: OrderedDict[str, tuple[Principal, DeviceId | None, float]] = OrderedDict()
        self._tickets_of: Counter[_Owner] = Counter()
        self._revoked: frozenset[str] = frozenset()
        self._spare_key = (ids.new("key_") + ids.new("key_")).encode()
        self._own = own_keys(self._keys, self._spare_key)
        self._ended: OrderedDict[tuple[TenantId, str], float] = OrderedDict()
        """Sign-ins that are over, each with the time at which none of its tokens is good for anything any more."""

    # -- tokens -----------------------------------------------------------------------------------------

    def verify(self, token: str, *, device: DeviceId, now: float) -> Principal:
        """Who it is. See ``realtime.ports.Authenticator``.

        Args:
            device: Device that speaks; ``""`` for plain HTTP, which a device-bound token allows.

        Raises:
            Refused: ``token_invalid``, ``token_expired`` or ``token_revoked``.
        """
        if token.startswith(SOS_PASS_PREFIX):
            return self._in_force(read_pass(self._pass_keys(), token, device, now))
        verified = self._verified(token)
        principal = self._in_force(verified.principal)
        if verified.not_before > now + self._settings.leeway_s:
            raise _invalid("nbf or iat lies in the future")
        if verified.bound_device and device and verified.bound_device != device:
            raise _invalid("it is bound to another device")
        late_s = now - principal.expires_at
        if late_s >= self._settings.restricted_for_s:
            raise Refused("the token has expired", code="token_expired")
        return replace(principal, device=device or verified.bound_device, restricted=late_s >= 0)

    def _in_force(self, principal: Principal) -> Principal:
        if self.revoked(principal):
            raise Refused("the token was revoked", code="token_revoked")
        return principal

    def _verified(self, token: str) -> _Verified:
        if not token or len(token) > TOKEN_LEN_MAX:
            raise _invalid(f"it must have between 1 and {TOKEN_LEN_MAX} characters")
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._cache.get(digest)
        if known is not None:
            self._cache.move_to_end(digest)
            return known
        verified = self._read(token)
        if not verified.principal.sign_in:
            # What was signed, not the text: one signature can be written in several ways.
            signed = hashlib.sha256(token.rpartition(".")[0].encode()).hexdigest()
            verified = replace(verified, principal=replace(verified.principal, sign_in=signed))
        if self._settings.verified_cache_max:
            self._cache[digest] = verified
            if len(self._cache) > self._settings.verified_cache_max:
                self._cache.popitem(last=False)
        return verified

    def _read(self, token: str) -> _Verified:
        try:
            header = jwt.get_unverified_header(token)
            key = self._key(header)
            claims = jwt.decode(
                token,
                key.verifying,
                algorithms=[key.algorithm.value],
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                # Times are compared with our own clock, by the caller's `now`.
                options={
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "require": ["exp", "sub", "iss", "aud"],
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise _invalid(type(error).__name__) from None
        return self._claims(claims)

    def _key(self, header: Mapping[str, Any]) -> Key:
        if "crit" in header:
            raise _invalid("it has critical header extensions")
        if str(header.get("typ")).lower().removeprefix("application/") not in TYPES:
            raise _invalid("typ is not JWT")
        kid = header.get("kid")
        if kid is None and len(self._keys) == 1:
            key = next(iter(self._keys.values()))
        else:
            found = self._keys.get(kid) or self._own.get(kid) if isinstance(kid, str) else None
            if found is None:
                raise _invalid("its kid is unknown")
            key = found
        if header.get("alg") != key.algorithm.value:
            raise _invalid("its alg is not the key's")
        return key

    def _claims(self, claims: Mapping[str, Any]) -> _Verified:
        expires_at = _number(claims, "exp")
        not_before = max(_number(claims, "nbf", 0.0), _number(claims, "iat", 0.0))
        if not not_before:
            raise _invalid("it has neither iat nor nbf, so its life is unknown")
        if expires_at - not_before > self._settings.token_life_max_s:
            raise _invalid(f"it lives longer than {self._settings.token_life_max_s:g} s")
        tenant = _word(claims, "tenant")
        if is_reserved(tenant):
            raise _invalid(f"a tenant that begins with {RESERVED_PREFIX} is reserved for the server")
        role = _role(claims.get("role"))
        roles = frozenset(_role(name) for name in _words(claims, "roles")) | {role}
        principal = Principal(
            tenant=TenantId(tenant),
            user=UserId(_word(claims, "sub")),
            role=role,
            roles=roles,
            cities=frozenset(CityId(name) for name in _words(claims, "cities")),
            device=DeviceId(""),
            expires_at=expires_at,
            token_id=_word(claims, "jti", ""),
            # A renewed token is young, however long ago its owner proved who they are (OpenID Connect Core, section 2).
            issued_at=min(_number(claims, "auth_time", not_before), not_before),
            sign_in=_word(claims, "sid", "") or _word(claims, "jti", ""),
            order=OrderId(order) if (order := _word(claims, "order", "")) else None,
        )
        if principal.order and principal.roles != {Role.CUSTOMER}:
            raise _invalid("of one order only its customer can have one")
        return _Verified(principal, not_before, DeviceId(_word(claims, "device", "")))

    def renew_keys(self, keys: Mapping[str, Key]) -> None:
        """Verify by these keys from now on; sessions that were let in by an older one live until their token ends."""
        self._keys = dict(keys)
        self._own = own_keys(self._keys, self._spare_key)
        self._cache.clear()

    def mint(self, who: Principal, now: float) -> str:
        """A token of our own for this principal; see ``api.ports.Tickets``."""
        claims = _written(
            self._settings, self._ids, now,
            user=who.user, role=who.role, tenant=who.tenant, cities=who.cities, roles=who.roles, device=who.device,
            life_s=who.expires_at - int(now), sid=who.sign_in, signed_in_at=who.issued_at, order=who.order or "",
        )  # fmt: skip
        key = next(iter(self._own.values()))
        assert key.signing is not None  # noqa: S101 - it is made to sign
        return jwt.encode(claims, key.signing, algorithm=key.algorithm.value, headers={"kid": key.kid})

    # -- revocation -------------------------------------------------------------------------------------

    def revoke(self, names: Iterable[str]) -> None:
        """Replace the revoked set: each a ``jti``, a ``sid`` or ``tenant/user`` (every token of that user)."""
        self._revoked = frozenset(name.strip() for name in names if name.strip() and not name.startswith("#"))

    def revoked(self, principal: Principal) -> bool:
        """Whether this principal's token, or all of that user's, were revoked."""
        if (principal.tenant, principal.sign_in) in self._ended:
            return True
        if not self._revoked:
            return False
        named = {principal.token_id, principal.sign_in, f"{principal.tenant}/{principal.user}"}
        return not named.isdisjoint(self._revoked)

    def end(self, tenant: TenantId, sign_in: str, now: float) -> float:
        """Take no token of this sign-in from now on.

        Returns:
            Until when that must be remembered: then the last of them is too old for an SOS even.
        """
        while self._ended and next(iter(self._ended.values())) <= now:
            self._ended.popitem(last=False)
        until_at = now + self._settings.token_life_max_s + self._settings.leeway_s + self._settings.restricted_for_s
        self._ended[tenant, sign_in] = until_at
        return until_at

    def know_ended(self, ended: Iterable[tuple[TenantId, str, float]]) -> None:
        """Take over what was stored before: (tenant, sign-in, until when it counts)."""
        for tenant, sign_in, until_at in sorted(ended, key=lambda one: one[2]):
            self._ended[tenant, sign_in] = until_at

    # -- tickets ----------------------------------------------------------------------------------------

    def issue_ticket(self, principal: Principal, device: DeviceId | None, now: float) -> tuple[str, float]:
        """Make a ticket for this principal; returns it and when it ends.

        Args:
            device: On which it is good for the hub; None for one that opens the SOS page, on whatever device.

        Raises:
            Unavailable: ``overloaded``: too many unused tickets; ``rate_limited``: too many of this user.
        """
        self._drop_old_tickets(now)
        if self._tickets_of[_owner(principal)] >= self._settings.tickets_per_user_max:
            raise Unavailable("too many unused tickets of this user", code="rate_limited")
        if len(self._tickets) >= self._settings.tickets_max:
            raise Unavailable("too many unused tickets", code="overloaded")
        expires_at = now + self._settings.ticket_life_s
        ticket = self._ids.new(TICKET_PREFIX)
        self._tickets[ticket] = (principal, device, expires_at)
        self._tickets_of[_owner(principal)] += 1
        return ticket, expires_at

    def redeem(self, ticket: str, *, device: DeviceId, now: float) -> Principal:
        """Use up a ticket. See ``realtime.ports.Authenticator``."""
        principal = self._redeemed(ticket, device, now)
        return replace(principal, device=device, restricted=now >= principal.expires_at)

    def sos_pass(self, ticket: str, device: DeviceId, now: float) -> tuple[str, float]:
        """Use up a ticket of the SOS page; returns the pass of the page on this device, and when it ends.

        Raises:
            Refused: ``ticket_invalid``, ``token_revoked``.
        """
        who = replace(self._redeemed(ticket, None, now), device=device)
        pass_id = self._ids.new(SOS_PASS_PREFIX)
        return make_pass(self._pass_keys(), who, pass_id, now, self._settings.sos_pass_life_s)

    def _redeemed(self, ticket: str, device: DeviceId | None, now: float) -> Principal:
        if ticket not in self._tickets:
            raise Refused("the ticket is unknown or was used", code="ticket_invalid")
        principal, bound_device, expires_at = self._take_ticket(ticket)
        if now >= expires_at or bound_device != device:
            raise Refused("the ticket is too old or another device's", code="ticket_invalid")
        return self._in_force(principal)

    def _pass_keys(self) -> tuple[bytes, ...]:
        secrets = [key.verifying for _, key in sorted(self._keys.items())]
        return pass_keys([secret for secret in secrets if isinstance(secret, bytes)], self._spare_key)

    def _drop_old_tickets(self, now: float) -> None:
        while self._tickets:
            ticket, (_, _, expires_at) = next(iter(self._tickets.items()))
            if expires_at > now:
                return
            self._take_ticket(ticket)

    def _take_ticket(self, ticket: str) -> tuple[Principal, DeviceId | None, float]:
        entry = self._tickets.pop(ticket)
        owner = _owner(entry[0])
        self._tickets_of[owner] -= 1
        if not self._tickets_of[owner]:
            del self._tickets_of[owner]
        return entry


def issue(
    key: Key,
    settings: AuthSettings,
    clock: Clock,
    ids: IdSource,
    *,
    user: str,
    role: Role,
    tenant: str,
    cities: Iterable[str] = (),
    roles: Iterable[Role] = (),
    device: str = "",
    life_s: float = 3_600.0,
    sid: str = "",
    signed_in_at: float | None = None,
    order: str = "",
) -> str:
    """Sign a token, for demos, tests and the `doorstep token` command.

    Raises:
        ValueError: The key has no private half, or the tenant is the server's own.
    """
    check_tenant(tenant)
    if key.signing is None:
        raise ValueError(f"key {key.kid} is a public key: it can verify tokens but not sign them")
    claims = _written(
        settings, ids, clock.now(),
        user=user, role=role, tenant=tenant, cities=cities, roles=roles, device=device, life_s=life_s, sid=sid,
        signed_in_at=signed_in_at, order=order,
    )  # fmt: skip
    return jwt.encode(claims, key.signing, algorithm=key.algorithm.value, headers={"kid": key.kid})


def _written(
    settings: AuthSettings,
    ids: IdSource,
    moment: float,
    *,
    user: str,
    role: Role,
    tenant: str,
    cities: Iterable[str],
    roles: Iterable[Role],
    device: str,
    life_s: float,
    sid: str,
    signed_in_at: float | None,
    order: str,
) -> dict[str, Any]:
    """The claims of a token, from ``moment`` on."""
    now = int(moment)
    claims: dict[str, Any] = {
        "sub": user,
        "role": role.value,
        "tenant": tenant,
        "cities": sorted(cities),
        "iss": settings.issuer,
        "aud": settings.audience,
        "iat": now,
        "nbf": now,
        "exp": now + int(life_s),
        "jti": ids.new("tok_"),
    }
    if roles:
        claims["roles"] = sorted(r.value for r in roles)
    if device:
        claims["device"] = device
    if sid:
        claims["sid"] = sid
    if signed_in_at is not None:
        claims["auth_time"] = int(signed_in_at)
    if order:
        claims["order"] = order
    return claims


def _number(claims: Mapping[str, Any], name: str, default: float | None = None) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise _invalid(f"{name} is not a time")
    return float(value)


def _word(claims: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = claims.get(name, default)
    if (
        not isinstance(value, str)
        or len(value) > ID_LEN_MAX
        or (default is None and not value)
        or not value.isprintable()
    ):
        raise _invalid(f"{name} is not a name of at most {ID_LEN_MAX} characters")
    return value


def _words(claims: Mapping[str, Any], name: str) -> list[str]:
    value = claims.get(name, [])
    if not isinstance(value, list) or len(value) > LIST_LEN_MAX:
        raise _invalid(f"{name} is not a list")
    return [_word({name: item}, name) for item in value]


def _role(value: object) -> Role:
    try:
        return Role(value) if isinstance(value, str) else _no_role()
    except ValueError:
        raise _invalid("its role is unknown") from None


def _no_role() -> Role:
    raise ValueError("role")
