"""What the routes of signing in on a page, and of arrival links, take and answer."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from realtime.messages import Count, DurationS, EpochS, Id, Key, Text, Word

PageName = Literal["app", "order", "console"]
Roles = Annotated[list[Literal["technician", "customer", "ops", "responder", "service"]], Meta(max_length=5)]
Typed = Annotated[str, Meta(max_length=64)]
QrUrl = Annotated[str, Meta(max_length=65_536)]
LinkToken = Annotated[str, Meta(min_length=1, max_length=128)]
Link = Annotated[str, Meta(max_length=2_048)]


class CodeIn(Struct, frozen=True):
    """Whom a one-time code signs in, and as what."""

    user: Id
    role: Literal["technician", "customer", "responder", "ops"]
    """`ops` for oneself only, on a further device."""
    also: Annotated[list[Literal["technician", "customer", "responder"]], Meta(max_length=3)] = []
    """Further roles."""
    name: Word = ""
    """What the page calls them; of technicians it is the name of their record."""


class CodeOut(Struct, frozen=True):
    """A one-time code, told this once."""

    code: Word
    link: Link
    """Opens the page and signs in there; the code is in its fragment, which no server is sent."""
    path: Text
    qr: QrUrl
    """The link as a picture: a `data:` URL of an SVG."""
    expires_at: EpochS


class SignInIn(Struct, frozen=True):
    """A code that somebody typed, or that a link held."""

    code: Typed
    page: PageName
    device: Key
    """What this browser calls itself, always the same; its tokens are good there alone."""


class SessionTokenIn(Struct, frozen=True):
    """For which page a token is wanted; the cookie says the rest."""

    page: PageName


class Signed(Struct, frozen=True):
    """Who is signed in here, and a token for it."""

    session: Id
    user: Id
    name: Word
    role: Word
    roles: Roles
    cities: Annotated[list[Id], Meta(max_length=256)]
    device: Key
    signed_in_at: EpochS
    expires_at: EpochS
    """When the session is over in any case."""
    idle_s: DurationS
    """After so long without a request for a token it is over too."""
    token: Annotated[str, Meta(max_length=8_192)]
    token_expires_at: EpochS


class SessionRow(Struct, frozen=True):
    """A session as its person and staff see it."""

    session: Id
    user: Id
    role: Word
    page: Word
    device: Key
    agent: Text
    """The beginning of what the browser says of itself."""
    signed_in_at: EpochS
    seen_at: EpochS
    expires_at: EpochS
    made_by: Word
    """Who made the code that it began with."""
    is_this: bool
    """Whether it is the one that asks."""


class SessionList(Struct, frozen=True):
    """Sessions of one person that are not over, the oldest first."""

    sessions: list[SessionRow]


class ArrivalLinkIn(Struct, frozen=True):
    """An arrival link for the customer of an order."""

    contact: Word = ""
    """For whom, in words."""
    expires_s: Annotated[float, Meta(ge=60.0, le=2_592_000.0)] | None = None
    """Life of the link, at most `safety.care.sharing.arrival_expires_s`."""


class ArrivalLink(Struct, frozen=True):
    """A link, told this once."""

    link_id: Id
    token: LinkToken
    path: Text
    link: Link
    expires_at: EpochS


class ArrivalLinkRow(Struct, frozen=True, omit_defaults=True):
    """A link that has not expired, without its token."""

    link_id: Id
    made_at: EpochS
    expires_at: EpochS
    views: Count
    made_by: Word
    contact: Word = ""
    revoked: bool = False


class ArrivalLinks(Struct, frozen=True):
    """Arrival links of an order."""

    links: list[ArrivalLinkRow]


class ArrivalIn(Struct, frozen=True):
    """The token of an arrival link, which stands at the end of the page's path."""

    token: LinkToken
    device: Key


class Arrived(Struct, frozen=True):
    """What the arrival page speaks with: a token for one order."""

    order: Id
    city: Id
    device: Key
    """What to call oneself in tickets, on the hub and in an SOS: of this link and this browser."""
    token: Annotated[str, Meta(max_length=8_192)]
    token_expires_at: EpochS
    expires_at: EpochS
    """When the link ends."""
