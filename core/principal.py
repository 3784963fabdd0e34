"""Who is speaking: the verified content of a token, nothing that a client merely claims."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core.ids import CityId, DeviceId, OrderId, TenantId, UserId

SOS_PASS_PREFIX: Final = "sop_"  # noqa: S105 - how one begins
"""How a pass of the SOS page begins, and the ``token_id`` of its principal."""


class Role(StrEnum):
    """What a person or program may be. One token has one main role and may hold others."""

    TECHNICIAN = "technician"
    CUSTOMER = "customer"
    OPS = "ops"
    RESPONDER = "responder"
    SERVICE = "service"
    """Another program of the platform: places orders and registers technicians for people."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified speaker.

    Attributes:
        tenant: Everything this principal can name lies inside it.
        user: Subject of the token.
        role: Main role.
        roles: All roles, the main one included.
        cities: City branches the token is good for; ops see only these.
        device: Device of the session, ``""`` for plain HTTP callers.
        expires_at: UTC epoch seconds of the token's end.
        restricted: True when the token is genuine but recently expired, or a pass of the SOS page: only SOS works.
        token_id: ``jti`` of the token, for revocation; ``""`` when it has none.
        sign_in: What signing out ends: the token's ``sid``, which renewed tokens share, or else what tells this token
            from others; ``""`` where nothing was signed in.
        issued_at: UTC epoch seconds of the sign-in (``auth_time``), as far as the token tells, else of the token's
            beginning; what needs a recent sign-in asks for it.
        order: The only order that they may do anything about, on routes and topics made for it; None for all
            that is theirs.
    """

    tenant: TenantId
    user: UserId
    role: Role
    roles: frozenset[Role]
    cities: frozenset[CityId]
    device: DeviceId
    expires_at: float
    restricted: bool = False
    token_id: str = ""
    sign_in: str = ""
    issued_at: float = 0.0
    order: OrderId | None = None

    @property
    def is_on_page(self) -> bool:
        """Whether they speak by the SOS page: its pass is restricted from its beginning, and not because it is old."""
        return self.token_id.startswith(SOS_PASS_PREFIX)

    def holds(self, *roles: Role) -> bool:
        """Whether any of ``roles`` is held."""
        return not self.roles.isdisjoint(roles)
