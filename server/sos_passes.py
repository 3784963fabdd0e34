"""Passes of the SOS page: good for an SOS of one person on one device for some hours, and for nothing else.

A page has no app to renew its token, and an SOS must still go out when the server was started again meanwhile: so a
pass is signed and not remembered. It is signed by a key made from those of the tokens, never by one of them.
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from core.errors import Refused
from core.ids import CityId, DeviceId, TenantId, UserId
from core.principal import SOS_PASS_PREFIX, Principal, Role

PASS_LEN_MAX: Final = 4_096
_PURPOSE: Final = b"doorstep sos pass 1"


class _Claims(msgspec.Struct, frozen=True, array_like=True):
    tenant: str
    user: str
    role: Role
    roles: list[Role]
    cities: list[str]
    device: str
    issued_at: float
    expires_at: float
    sign_in: str
    pass_id: str


_decoder = msgspec.json.Decoder(_Claims)


def pass_keys(secrets: Iterable[bytes], spare: bytes) -> tuple[bytes, ...]:
    """Keys of passes, the one that signs first.

    Args:
        secrets: Those of the tokens. Where there is none, because others sign the tokens, passes end with the process.
        spare: A random key of this process.
    """
    return tuple(hmac.digest(secret, _PURPOSE, "sha256") for secret in secrets) or (spare,)


def make_pass(keys: Sequence[bytes], who: Principal, pass_id: str, now: float, life_s: float) -> tuple[str, float]:
    """A pass for somebody on their device, and when it ends."""
    claims = _Claims(
        who.tenant, who.user, who.role, sorted(who.roles), sorted(who.cities), who.device, now, now + life_s,
        who.sign_in, pass_id,
    )  # fmt: skip
    text = urlsafe_b64encode(msgspec.json.encode(claims)).decode().rstrip("=")
    return f"{SOS_PASS_PREFIX}{text}.{_mac(keys[0], text)}", now + life_s


def read_pass(keys: Sequence[bytes], text: str, device: DeviceId, now: float) -> Principal:
    """Whose pass it is: somebody who may do nothing but raise an SOS.

    Args:
        device: Device that speaks; ``""`` where that is asked elsewhere.

    Raises:
        Refused: ``token_invalid`` or ``token_expired``.
    """
    signed, _, mac = text.removeprefix(SOS_PASS_PREFIX).rpartition(".")
    good = [key for key in keys if hmac.compare_digest(_mac(key, signed).encode(), mac.encode("utf-8", "replace"))]
    if len(text) > PASS_LEN_MAX or not good:
        raise Refused("the pass is not valid", code="token_invalid")
    claims = _decoder.decode(urlsafe_b64decode(signed + "=" * (-len(signed) % 4)))
    if now >= claims.expires_at:
        raise Refused("the pass has expired", code="token_expired")
    if device and device != claims.device:
        raise Refused("the pass is bound to another device", code="token_invalid")
    return Principal(
        tenant=TenantId(claims.tenant),
        user=UserId(claims.user),
        role=claims.role,
        roles=frozenset(claims.roles),
        cities=frozenset(CityId(city) for city in claims.cities),
        device=DeviceId(claims.device),
        expires_at=claims.expires_at,
        restricted=True,
        token_id=claims.pass_id,
        issued_at=claims.issued_at,
        sign_in=claims.sign_in,
    )


def _mac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
