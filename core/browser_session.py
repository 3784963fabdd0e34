"""A sign-in of a person in one browser, as it is kept. Who holds its secret is that person, until it is over."""

from dataclasses import dataclass

from core.ids import CityId, DeviceId, TenantId, UserId
from core.principal import Role


@dataclass(frozen=True, slots=True)
class Grant:
    """What a one-time code is good for: who will be signed in, as what.

    Attributes:
        name: What the page calls them.
        made_by: Who of the staff made the code.
    """

    tenant: TenantId
    user: UserId
    role: Role
    roles: frozenset[Role]
    cities: frozenset[CityId]
    name: str = ""
    made_by: UserId | None = None


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """One session.

    Attributes:
        session_id: Its name; the ``sid`` of its tokens. It opens nothing.
        secret_hash: SHA-256 of what its cookie holds, hexadecimal.
        page: Which of the pages it is for; a browser has one for each.
        device: What the browser calls itself; its tokens are good there alone.
        agent: The beginning of what the browser says of itself, for people who look for a session that is not theirs.
        seen_at: When it last asked for a token.
        expires_at: When it is over in any case.
    """

    grant: Grant
    session_id: str
    secret_hash: str
    page: str
    device: DeviceId
    agent: str
    signed_in_at: float
    seen_at: float
    expires_at: float
