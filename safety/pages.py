"""Values of paging: who is called outside the hub about an incident, by which channel, and what came of it.

A page is one recipient of one incident; each channel that may reach them is a hop of it with a clock of its own. A
later ring of the same incident is a new round of the same page: there are never two for one channel, and what an
incident that nobody takes leaves behind does not grow with the hours. No behaviour but the table of a hop's life.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from core.ids import IncidentId, TenantId, UserId
from safety.model import Incident


class Channel(StrEnum):
    """Ways out of the house, apart from the hub."""

    PUSH = "push"
    SMS = "sms"
    VOICE = "voice"
    EMAIL = "email"
    ROBOT = "robot"
    WEBHOOK = "webhook"
    LOG = "log"


class RecipientKind(StrEnum):
    """Who a page is for; with a name it says which one."""

    PERSON = "person"
    """A user whom the incident must reach: a responder, somebody of ops, the owner."""
    CONTACT = "contact"
    """An emergency contact of the subject, by their place in the list."""
    SUPERVISOR = "supervisor"
    ROBOT = "robot"
    WEBHOOK = "webhook"
    LAST_RESORT = "last_resort"


class HopState(StrEnum):
    """Where a hop is in its life; the arrows are in ``HOP_MOVES``."""

    WAITING = "waiting"
    """Due at ``due_at``; also between two attempts."""
    SENDING = "sending"
    """An attempt was begun and has no result yet; after a restart it is made again."""
    TAKEN = "taken"
    """The provider has taken it. Not a receipt: nobody knows that a person has read it."""
    SPARED = "spared"
    """Not needed any more: a device confirmed it, a human has it in hand, or the incident ended."""


class HopStep(StrEnum):
    """What can happen to a hop."""

    CALLED = "called"
    """The incident rings (again): a new round."""
    BEGUN = "begun"
    TOOK = "took"
    FAILED = "failed"
    SPARE = "spare"


_S, _E = HopState, HopStep
HOP_MOVES: Final[dict[tuple[HopState, HopStep], HopState]] = {
    (_S.WAITING, _E.CALLED): _S.WAITING,
    (_S.WAITING, _E.BEGUN): _S.SENDING,
    (_S.WAITING, _E.SPARE): _S.SPARED,
    (_S.SENDING, _E.TOOK): _S.TAKEN,
    (_S.SENDING, _E.FAILED): _S.WAITING,
    (_S.TAKEN, _E.CALLED): _S.WAITING,
    (_S.SPARED, _E.CALLED): _S.WAITING,
}
"""Every arrow there is. Nothing but being spared ends a hop that failed."""


class PageOutcome(StrEnum):
    """What became of an attempt."""

    TAKEN = "taken"
    WITHHELD = "withheld"
    """An exercise or a test: everything was done but the last hop."""
    REFUSED = "refused"
    """The provider does not want it as it is (4xx, or an error code in its answer)."""
    THROTTLED = "throttled"
    """Too many for the provider just now."""
    FAILED = "failed"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    REDIRECTED = "redirected"
    FORBIDDEN_ADDRESS = "forbidden_address"
    LEFT_ALONE = "left_alone"
    """Not tried: the channel failed again and again a moment ago."""
    NO_ADDRESS = "no_address"
    """Nobody knows how to reach them by this channel."""


GOOD_OUTCOMES: Final = frozenset({PageOutcome.TAKEN, PageOutcome.WITHHELD})


@dataclass(frozen=True, slots=True)
class Hop:
    """One channel of a page.

    Attributes:
        due_at: When it is (or was) to be tried, UTC epoch seconds.
        attempts: Of all rounds.
        failures: Since it was taken last, or called first.
        outcome: Of the last attempt, "" before the first.
        begun_at: When the last attempt began.
        settled_at: When the last attempt had its result.
        merged: Whether the last attempt told of other incidents too, because the channel's rate was used up.
    """

    channel: Channel
    state: HopState
    due_at: float
    attempts: int = 0
    failures: int = 0
    outcome: str = ""
    begun_at: float | None = None
    settled_at: float | None = None
    merged: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """One recipient of one incident.

    Attributes:
        name: Who, among those of their kind: a user id, or a name of the config.
        round: Counts the times the incident rang for them, from 1.
        reason: Why it rang last.
        told_at: When it rang last.
        received_at: When a device of theirs confirmed the last ring, None while none has.
    """

    tenant: TenantId
    incident_id: IncidentId
    kind: RecipientKind
    name: str
    round: int
    reason: str
    level: int
    told_at: float
    hops: tuple[Hop, ...]
    received_at: float | None = None

    @property
    def recipient(self) -> str:
        """Kind and name in one word: the page's key within its incident."""
        return f"{self.kind}:{self.name}"


def line_of(page: Page, channel: Channel) -> str:
    """The pager's line by which a page goes: `sms`, `robot:hq`."""
    return f"{channel}:{page.name}" if channel in (Channel.ROBOT, Channel.WEBHOOK) else channel.value


class Reachable(Protocol):
    """Somebody with addresses; what is not known is empty."""

    @property
    def name(self) -> str: ...  # noqa: D102 - named by its type
    @property
    def phone(self) -> str: ...  # noqa: D102
    @property
    def email(self) -> str: ...  # noqa: D102


class KnownPerson(Reachable, Protocol):
    """A person who told how they and theirs are reached."""

    @property
    def emergency(self) -> Sequence[Reachable]: ...  # noqa: D102


class Phonebook(Protocol):
    """How people are reached. All answers come from memory, at once."""

    def of(self, tenant: TenantId, user: UserId) -> KnownPerson | None:
        """What somebody told of themselves and theirs; None for who never did."""
        ...


def contact_of_subject(incident: Incident, phonebook: Phonebook) -> KnownPerson | None:
    """How the subject and theirs are reached: as it was at the tap, and only without that as it is now."""
    return incident.contact or phonebook.of(incident.tenant, incident.subject)


class Presence(Protocol):
    """Who is connected now (the hub)."""

    def online(self, tenant: TenantId, user: UserId) -> bool:
        """Whether any device of theirs has a living connection."""
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """Somebody whom the config names, or nobody in particular."""

    name: str
    phone: str = ""
    email: str = ""
