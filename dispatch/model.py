"""Values of dispatch: orders, offers, technicians and what is remembered of a round. No behaviour."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from core.ids import CityId, OfferId, OrderId, TenantId, UserId
from geo.point import LatLng


class OrderState(StrEnum):
    """Where an order is in its life; the arrows are in ``order.py``."""

    PLACED = "placed"
    SCHEDULED = "scheduled"
    MATCHING = "matching"
    ASSIGNED = "assigned"
    EN_ROUTE = "en_route"
    ARRIVED = "arrived"
    IN_SERVICE = "in_service"
    FINISHED = "finished"
    DEPARTED_SAFE = "departed_safe"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    UNFILLED = "unfilled"


class OfferState(StrEnum):
    """Where an offer is in its life; the arrows are in ``offer.py``."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    EXPIRED = "expired"
    REVOKED = "revoked"
    UNDELIVERED = "undelivered"


class DutyState(StrEnum):
    """Whether a technician takes work."""

    OFF = "off"
    ON = "on"
    PAUSED = "paused"
    ENDING = "ending"
    """On duty until the job, and what is booked to follow it directly, is over; asked for nothing more."""


class WorkState(StrEnum):
    """What a technician on duty is doing."""

    IDLE = "idle"
    OFFERED = "offered"
    BUSY = "busy"


class Mode(StrEnum):
    """How an order finds its technician."""

    AUTO = "auto"
    BROADCAST = "broadcast"
    DIRECTED = "directed"
    MANUAL = "manual"


class Fallback(StrEnum):
    """What becomes of a directed order that the picked technician does not take, as the customer chose."""

    AUTO = "auto"
    CANCEL = "cancel"


class CancellationStage(StrEnum):
    """How far an order had come when it was called off: the rows of ``dispatch.cancellation``."""

    UNASSIGNED = "unassigned"
    ASSIGNED_EARLY = "assigned_early"
    ASSIGNED_LATE = "assigned_late"
    EN_ROUTE = "en_route"
    ARRIVED = "arrived"
    NO_SHOW = "no_show"
    IN_SERVICE = "in_service"


class OrderReason(StrEnum):
    """Why an order is looked for again, was called off or stayed unfilled: all that its two sides read of it."""

    REASSIGNED = "reassigned"
    """Taken from its technician: at their own wish, by staff, or because its two sides are kept apart."""
    TECHNICIAN_LOST = "technician_lost"
    NOT_SET_OUT = "not_set_out"
    CANCELLED_BY_CUSTOMER = "cancelled_by_customer"
    CANCELLED_BY_STAFF = "cancelled_by_staff"
    NO_SHOW = "no_show"
    """The customer was not there."""
    PICKED_REFUSED = "picked_refused"
    PICKED_UNAVAILABLE = "picked_unavailable"
    NOBODY_ACCEPTED = "nobody_accepted"
    NOBODY_AVAILABLE = "nobody_available"
    NOBODY_ASSIGNED = "nobody_assigned"


class Gender(StrEnum):
    """As far as it is needed for a stated preference."""

    FEMALE = "female"
    MALE = "male"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Site:
    """Where the service happens.

    ``point`` is in the platform's frame; ``raw_point`` and ``raw_crs`` are what the client sent.
    """

    point: LatLng
    raw_point: LatLng
    raw_crs: str
    address: str
    unit: str = ""
    entrance_note: str = ""
    district: str = ""


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What calling an order off costs its customer. ``fee_fen`` + ``refund_fen`` is the order's price.

    Attributes:
        technician_fen: The technician's part of the fee.
        is_waived: Staff took the fee back.
        rises_at: When time alone makes it dearer; None when it does not.
    """

    stage: CancellationStage
    fee_fen: int
    refund_fen: int
    technician_fen: int
    is_waived: bool = False
    rises_at: float | None = None


class RequestState(StrEnum):
    """What has become of a technician's request."""

    PENDING = "pending"
    AGREED = "agreed"
    REFUSED = "refused"
    EXPIRED = "expired"
    DROPPED = "dropped"
    """The service was over first."""


@dataclass(frozen=True, slots=True)
class TimeRequest:
    """More time that a technician has asked the customer for.

    Attributes:
        price_fen: What it will cost.
        expires_at: From then on the customer cannot agree to it any more.
    """

    request_id: str
    added_s: float
    price_fen: int
    asked_at: float
    expires_at: float
    state: RequestState = RequestState.PENDING


@dataclass(frozen=True, slots=True)
class SkippedRounds:
    """Rounds that gave nobody anything, one like the other, of which only the first was stored."""

    count: int
    until_at: float
    """When the last of them was."""


@dataclass(frozen=True, slots=True)
class Order:
    """One order. Frozen: each change makes a new value with ``version`` one higher."""

    tenant: TenantId
    city: CityId
    order_id: OrderId
    version: int
    state: OrderState
    mode: Mode
    customer: UserId
    service: str
    skills: tuple[str, ...]
    duration_s: float
    site: Site
    contact_name: str
    contact_phone: str
    gender_preference: Gender | None
    service_fen: int
    travel_fen: int
    placed_at: float
    changed_at: float
    placed_by: UserId
    technician: UserId | None = None
    radius_step: int = 0
    reason: str = ""
    """An ``OrderReason``, or empty. Rows of earlier versions may hold what somebody wrote: ``order.reason_of``."""
    said: str = ""
    """What ``said_by`` wrote to that: for staff and for who wrote it alone."""
    said_by: UserId | None = None
    stars: int | None = None
    eta_s: float | None = None
    """Travel estimate of the accepted offer."""
    way_m: float | None = None
    """How far from its place its technician was when they took it, then when they set out; None for unknown."""
    scheduled_for: float | None = None
    """When the service shall begin; None for as soon as possible."""
    picked: UserId | None = None
    """Who alone may be asked (mode ``directed``)."""
    fallback: Fallback = Fallback.AUTO
    offers_len_max: int = 1
    """How many technicians it may be offered to at once."""
    pinned_by: UserId | None = None
    """Who of the staff gave it to its technician; None when the technician accepted an offer."""
    override: tuple[str, ...] = ()
    """Filters that were passed over for that."""
    released_stage: CancellationStage | None = None
    """The row by which it is called off because its customer's own block released it, until somebody else has it."""
    lost_by: tuple[UserId, ...] = ()
    """Technicians it was taken from; they are not asked again."""
    at_place_since: float | None = None
    """Since when the technician's positions say that they are at the place; None while they do not."""
    near_told_m: float | None = None
    """The narrowest distance of which the customer was told that the technician is that near."""
    waits_until: float | None = None
    """Until when the technician, who has arrived, waits for an absent customer."""
    wait_over_told: bool = False
    """Everybody was told that the wait is over."""
    started_at: float | None = None
    """When the service began."""
    tier_min: str = ""
    """Lowest tier that may be asked; empty for any."""
    cancellation: Cancellation | None = None
    """What calling it off has cost."""
    added_s: float = 0.0
    """How much of ``duration_s`` was added while in service."""
    time_request: TimeRequest | None = None
    """What its technician has last asked for; pending only while in service."""
    zone: str = ""
    """The city's zone that holds its place; empty where none does."""
    lost_at: float | None = None
    """When its technician was found to have fallen silent before they arrived; None while they are heard."""
    booked_for: float | None = None
    """When the technician who has accepted it begins with it, while that is later than setting out now."""
    down_s: float = 0.0
    """For how much of its search nobody could answer, because the server was down."""
    overdue_at: float | None = None
    """When its technician was reminded that it should have come to its next step; None while it is not late."""
    freed_at: float | None = None
    """When its technician, who had finished and not said that they had left, was taken for free again."""
    left_at: float | None = None
    """When it was reported that its technician has left safely; that may come after the customer's confirmation."""
    is_told_apart: bool = False
    """Staff were told that its customer and its technician have been kept apart since."""
    skipped: SkippedRounds | None = None
    """Rounds that looked at it in vain after its last stored one, when its search last ended."""


@dataclass(frozen=True, slots=True)
class OfferTerm:
    """One addend of an offer's cost, for explanations: seconds, positive is worse."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Offer:
    """One order offered to one technician for a short time."""

    tenant: TenantId
    city: CityId
    offer_id: OfferId
    order_id: OrderId
    technician: UserId
    version: int
    state: OfferState
    offered_at: float
    expires_at: float
    changed_at: float
    round_id: str
    cost_s: float
    travel_s: float
    distance_m: float
    terms: tuple[OfferTerm, ...] = ()
    delivered_at: float | None = None
    reason: str = ""
    """The technician's words for a decline."""


@dataclass(frozen=True, slots=True)
class Shift:
    """Working hours by the city's clock, in minutes after midnight.

    ``days`` are those on which it begins, 0 for Monday. One that ends no later than it begins ends on the next day.
    """

    days: tuple[int, ...]
    begins_min: int
    ends_min: int


@dataclass(frozen=True, slots=True)
class Rest:
    """Time in which a technician takes no work, UTC epoch seconds."""

    begins_at: float
    ends_at: float


@dataclass(frozen=True, slots=True)
class Booking:
    """A job that a technician has accepted and begins with later, or is doing, as every city of theirs sees it.

    Attributes:
        city: Whose engine has the order, and alone adds and removes this.
        begins_at: When its service begins, or has begun, as far as is known, UTC epoch seconds.
        busy_since: Since when they do nothing else; None for what they begin with later.
        is_begun: The service is running, or over.
    """

    order_id: OrderId
    city: CityId
    point: LatLng
    begins_at: float
    duration_s: float
    busy_since: float | None = None
    is_begun: bool = False


@dataclass(frozen=True, slots=True)
class Technician:
    """A technician as dispatch knows them. Position is not here: it is in the shard's index."""

    tenant: TenantId
    technician: UserId
    name: str
    skills: frozenset[str]
    gender: Gender
    tier: str
    cities: tuple[CityId, ...]
    verified: bool
    version: int
    changed_at: float
    duty: DutyState = DutyState.OFF
    duty_city: CityId | None = None
    work: WorkState = WorkState.IDLE
    idle_since: float | None = None
    unheard_since: float | None = None
    """An offer went undelivered then: out of rounds until the phone is heard after it."""
    rating_sum: float = 0.0
    """Sum of stars, each weighted by its age at ``rating_at``."""
    rating_weight: float = 0.0
    rating_at: float = 0.0
    rated_len: int = 0
    """How many ratings they have had, ever; of earlier ones only as many as had not faded."""
    turns: float = 0.0
    """Offers and work that they have had (``turns.py``), faded to ``turns_at``."""
    turns_at: float = 0.0
    shifts: tuple[Shift, ...] = ()
    """When they work; without any, always."""
    rests: tuple[Rest, ...] = ()
    papers: dict[str, float] = field(default_factory=dict)
    """Until when each of their papers is valid, by name."""
    answers: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """Refusals and answers to offers, by service and hour (``willing.py``)."""
    own_transport: bool = False
    """Comes and goes by a vehicle of their own."""
    services: tuple[str, ...] = ()
    """Services that they do; without any, all that their skills allow."""
    zones: dict[CityId, tuple[str, ...]] = field(default_factory=dict)
    """Zones of a city to which they go; everywhere in a city that is not named."""
    bookings: tuple[Booking, ...] = ()
    """What they have accepted for later in any city, and what they are doing if they have several, by time."""
    duty_at: float | None = None
    """Since when ``duty`` is what it is; None when it never changed."""


class BlockSide(StrEnum):
    """Which of a customer and a technician has blocked the other."""

    CUSTOMER = "customer"
    TECHNICIAN = "technician"


class BlockMark(NamedTuple):
    """A block as far as deciding goes."""

    customer: UserId
    technician: UserId
    side: BlockSide
    by_staff: bool


@dataclass(frozen=True, slots=True)
class PairBlock:
    """A customer and a technician are not brought together any more, because one of them wants it so.

    Attributes:
        block_id: New each time it is set.
        set_by: They themselves, or who of the staff set it in their name (``by_staff``).
        reason: In the words of ``set_by``.
    """

    tenant: TenantId
    block_id: str
    customer: UserId
    technician: UserId
    side: BlockSide
    set_at: float
    set_by: UserId
    by_staff: bool
    reason: str = ""

    @property
    def mark(self) -> BlockMark:
        """What is kept in memory."""
        return BlockMark(self.customer, self.technician, self.side, self.by_staff)


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """One line of an order's history. ``seq`` counts from 1 within the order, without gaps."""

    tenant: TenantId
    order_id: OrderId
    seq: int
    at: float
    what: str
    who: str
    state: OrderState
    detail: dict[str, str | float | int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DecidedPair:
    """One order that a round gave to one technician.

    Attributes:
        cost_s: Travel minus head starts.
        made: Whether the offer was made; not when the book had moved on while a thread was solving.
    """

    order_id: OrderId
    technician: UserId
    cost_s: float
    travel_s: float
    made: bool = True


@dataclass(frozen=True, slots=True)
class RoundDecision:
    """What a round decided, as it was stored: ``replay`` compares it with what its inputs give.

    Attributes:
        solver: A ``Solver``.
        pairs: In order of the round's orders; several for one that is offered to several at once.
        steps: Radius step that each row of the problem came to.
        digest: Of the inputs (``rounds.digest``).
    """

    solver: str
    pairs: tuple[DecidedPair, ...]
    steps: tuple[int, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class ShadowDecision:
    """What a shadow policy would have decided in a round; nobody was offered anything by it."""

    name: str
    numbers: dict[str, float | tuple[float, ...]]
    decision: RoundDecision
    digest: str = ""
    """Of the numbers, under whatever name; empty in decisions of earlier versions, which had other numbers."""


@dataclass(frozen=True, slots=True)
class StoredRound:
    """What one matching round saw and decided, so that it can be explained and replayed.

    ``inputs`` is compressed (see ``rounds.py``); ops only, kept 7 days. ``decision`` is None in rounds of earlier
    versions, which stored their inputs only.

    Attributes:
        bystanders: Who else was in reach (``bystanders.py``); empty in rounds of earlier versions.
        skipped: Rounds like the one before that were not stored since, of each of its orders that had any.
        seal: A digest of all the rest (``rounds.seal_of``); empty in rounds of earlier versions.
    """

    tenant: TenantId
    city: CityId
    round_id: str
    at: float
    policy: str
    seed: int
    orders: tuple[OrderId, ...]
    inputs: bytes
    decision: RoundDecision | None = None
    shadow: ShadowDecision | None = None
    bystanders: bytes = b""
    skipped: dict[OrderId, SkippedRounds] = field(default_factory=dict)
    seal: str = ""


@dataclass(frozen=True, slots=True)
class RoundFiling:
    """By what a stored round is found; each must say what the round itself says.

    Attributes:
        orders: Orders whose explanation has the round, sorted.
    """

    tenant: str
    city: str
    round_id: str
    at: float
    orders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """A client's key and what it made. ``fingerprint`` tells a repeat from a misuse of the key."""

    tenant: TenantId
    user: UserId
    key: str
    fingerprint: str
    order_id: OrderId
    at: float


class WakeReason(StrEnum):
    """Why a phone is woken."""

    NO_SOCKET = "no_socket"
    """An offer was sent and no device of the technician has a session."""
    UNDELIVERED = "undelivered"
    """A device seemed to be there, and did not take the offer."""


class WakeOutcome(StrEnum):
    """What became of the wish to wake a phone."""

    CONNECTED = "connected"
    """It has a session: nothing to do."""
    OFF = "off"
    """Nothing is configured that could wake it."""
    SENT = "sent"
    """Whoever wakes phones has taken it."""
    FAILED = "failed"
    """They have not."""
    REPEATED = "repeated"
    """It was woken a moment ago."""
    CROWDED = "crowded"
    """Too many are being woken."""
    LATE = "late"
    """The offer is over."""


@dataclass(frozen=True, slots=True)
class Wake:
    """A phone that is to open its socket.

    Attributes:
        at: When this was decided, UTC epoch seconds.
        expires_at: When the offer ends; waking later is of no use.
    """

    tenant: TenantId
    technician: UserId
    offer_id: OfferId
    reason: WakeReason
    at: float
    expires_at: float
