"""Names of things. Ids are opaque random strings with a prefix; nothing may parse or order them."""

from typing import Final, NewType, Protocol

TenantId = NewType("TenantId", str)
CityId = NewType("CityId", str)
UserId = NewType("UserId", str)
"""A person or program that signs in. A technician's id (``tec_…``) is their user id."""
DeviceId = NewType("DeviceId", str)
OrderId = NewType("OrderId", str)
OfferId = NewType("OfferId", str)
IncidentId = NewType("IncidentId", str)
SessionId = NewType("SessionId", str)

ORDER_PREFIX: Final = "ord_"
OFFER_PREFIX: Final = "ofr_"
INCIDENT_PREFIX: Final = "inc_"
TRIGGER_PREFIX: Final = "trg_"
SESSION_PREFIX: Final = "ses_"
ROUND_PREFIX: Final = "rnd_"
REQUEST_PREFIX: Final = "req_"
BLOCK_PREFIX: Final = "blk_"

CLIENT_KEY_LEN_MAX: Final = 64
"""Longest key that a client may choose itself (idempotency keys, device names, SOS keys)."""


RESERVED_PREFIX: Final = "_"
"""Tenants whose names begin so are the server's own: no token and no configuration may name one."""


def is_reserved(tenant: str) -> bool:
    """Whether a tenant is the server's own."""
    return tenant.startswith(RESERVED_PREFIX)


def check_tenant(tenant: str) -> None:
    """Raise ``ValueError`` for a tenant that is the server's own."""
    if is_reserved(tenant):
        raise ValueError(f"tenant must not begin with {RESERVED_PREFIX}, which is reserved for the server: {tenant!r}")


class IdSource(Protocol):
    """Makes new ids. Injected, so that a simulated run repeats exactly."""

    def new(self, prefix: str) -> str:
        """Return ``prefix`` followed by at least 96 random bits, as URL-safe characters."""
        ...
