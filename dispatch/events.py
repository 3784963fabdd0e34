"""What dispatch is told (events, past tense) and what it wants done (effects, imperative or a change).

Effects carry whole values: nobody has to look anything up to render them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from core.ids import CityId, OfferId, OrderId, UserId
from core.shard import Shard
from dispatch.model import (
    BlockMark,
    BlockSide,
    DutyState,
    Fallback,
    Gender,
    Mode,
    Offer,
    Order,
    OrderState,
    Rest,
    Shift,
    Site,
    Technician,
)
from dispatch.problem import IntArray, Problem, Solution, WayColumns

# -- events ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OrderDraft:
    """An order before it has an id. Already checked by the edge: the city is open, the site is inside it."""

    customer: UserId
    service: str
    skills: tuple[str, ...]
    duration_s: float
    site: Site
    contact_name: str
    contact_phone: str
    service_fen: int
    travel_fen: int
    gender_preference: Gender | None = None
    mode: Mode = Mode.AUTO
    scheduled_for: float | None = None
    technician: UserId | None = None
    """Whom the customer picked (mode ``directed``)."""
    fallback: Fallback = Fallback.AUTO
    tier_min: str = ""
    """Lowest tier that may be asked."""
    zone: str = ""
    """The city's zone that holds the site; empty where none does."""


@dataclass(frozen=True, slots=True)
class OrderPlaced:
    """Someone wants a technician.

    Answered by ``OrderChanged`` (what ``placed``), or by ``OrderRepeated`` when ``by`` has used ``key`` with the
    same ``fingerprint`` before. Refused: ``idempotency_key_reused`` (other fingerprint), ``scheduled_in_past``,
    ``scheduled_too_far``, ``tier_unknown``. An empty key is never a repeat.
    """

    draft: OrderDraft
    by: UserId
    key: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class OfferAccepted:
    """A technician takes an offer. A repeat is no news.

    Refused: ``not_found`` (no such offer, or somebody else's), ``offer_expired``, ``offer_taken``,
    ``offer_revoked``, ``offer_declined``, ``order_cancelled``, ``calendar_conflict`` and ``no_longer_fits`` (something
    that was not there when it was offered).
    """

    offer_id: OfferId
    technician: UserId


@dataclass(frozen=True, slots=True)
class OfferDeclined:
    """A technician refuses an offer. A repeat is no news. Refused as ``OfferAccepted``, and ``offer_accepted``."""

    offer_id: OfferId
    technician: UserId
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OfferReceived:
    """A device of the technician acknowledged the offer. Never refused; late or foreign ones are ignored."""

    offer_id: OfferId
    technician: UserId


@dataclass(frozen=True, slots=True)
class PhoneLost:
    """A technician's last connection broke off: what they are offered reaches nobody. Never refused."""

    technician: UserId


@dataclass(frozen=True, slots=True)
class PhoneFound:
    """A technician is connected again. Never refused."""

    technician: UserId


@dataclass(frozen=True, slots=True)
class DutySet:
    """A technician wants another duty state in this city. The state they are in already is no news.

    Who leaves in a job is ``ending``: off duty once it is over, and what is booked to follow it directly; ``on`` takes
    the wish back. A live offer is revoked when its technician leaves.
    Refused: ``not_found``, ``unverified``, ``city_not_allowed``, ``on_duty_elsewhere``, ``not_on_duty``.
    """

    technician: UserId
    duty: DutyState


class Step(StrEnum):
    """What a technician reports of their job."""

    EN_ROUTE = "en_route"
    ARRIVED = "arrived"
    IN_SERVICE = "in_service"
    FINISHED = "finished"
    DEPARTED_SAFE = "departed_safe"
    NO_SHOW = "no_show"
    """Not a step forward: the customer was not there, and the technician leaves."""


@dataclass(frozen=True, slots=True)
class StepTaken:
    """The job has come to its next step. The step it stands on is no news.

    ``departed_safe`` is taken after the customer has confirmed too: it is noted and told, and the order stays as it is.

    Refused: ``not_found`` (not this technician's order), ``step_out_of_order``, ``order_cancelled``; setting out for
    a booked job ``busy`` (another is not over), ``not_on_duty``, ``no_longer_fits`` and, unless ``staff``,
    ``too_early``; for want of proof ``position_needed``, ``not_at_place``, ``dwell_needed``, ``photo_needed``;
    ``no_show_too_early``.

    Attributes:
        by: Must be the order's technician unless ``staff``.
        evidence: A photo's reference (``photo:…``) or a note; kept in the order's history.
        staff: The edge has checked that ``by`` may act for the platform. Staff prove nothing, and say why.
        reason: Of staff.
    """

    order_id: OrderId
    by: UserId
    step: Step
    evidence: str = ""
    staff: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OrderCancelled:
    """The order is called off. A repeat is no news.

    Args:
        by: Who says so; must be the customer unless ``staff``.
        staff: The edge has checked that ``by`` may act for the platform (ops, service).
        fee_fen_max: The highest fee that ``by`` agrees to; None for any.
        waive: Staff only: the platform bears the cost.

    Refused: ``not_found``, ``fee_changed``, ``order_in_service`` (the customer), ``order_finished`` and later states.
    """

    order_id: OrderId
    by: UserId
    reason: str = ""
    staff: bool = False
    fee_fen_max: int | None = None
    waive: bool = False


@dataclass(frozen=True, slots=True)
class OrderReassigned:
    """The order is taken from its technician, by staff or at their own wish; they are not asked for it again.

    Refused: ``not_found`` (neither ``staff`` nor their order), ``not_assigned``, ``order_arrived`` and later states.
    """

    order_id: OrderId
    by: UserId
    reason: str = ""
    staff: bool = True


@dataclass(frozen=True, slots=True)
class TimeAdded:
    """A running service is made longer, for more money; when its technician says so, its customer is asked first.

    Answered as ``OrderPlaced`` is when ``key`` is used again.

    Attributes:
        by: Who says so; must be the customer or the technician unless ``staff``.
        price_fen: What it costs; None for the price of a minute as agreed so far.

    Refused: ``not_found``, ``not_in_service``, ``invalid`` (more than ``added_max_s`` in all), ``add_time_clash`` (with
    the calendar, the end of the technician's papers, or a walk home at night), ``add_time_pending`` (the technician has
    asked already), ``idempotency_key_reused``.
    """

    order_id: OrderId
    by: UserId
    added_s: float
    price_fen: int | None = None
    staff: bool = False
    key: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class TimeAnswered:
    """The customer agrees to the time that the technician has asked for, or does not. A repeat is no news.

    Attributes:
        by: Must be the customer unless ``staff``.
        request_id: What they answer; nothing else is agreed to.

    Refused: ``not_found``, ``add_time_over`` (answered, expired, or not the last one), and as ``TimeAdded``.
    """

    order_id: OrderId
    by: UserId
    request_id: str
    agrees: bool
    staff: bool = False


@dataclass(frozen=True, slots=True)
class Rescheduled:
    """An order that has not begun shall take place at another time. The time it has is no news.

    Attributes:
        by: Must be the customer unless ``staff``.

    Refused: ``not_found``, ``time_fixed`` (its technician is on the way, or it has ended), ``scheduled_in_past``,
    ``scheduled_too_far``, ``staff_needed`` (a customer whom calling it off would cost a fee), ``calendar_conflict``
    (its technician cannot come then), ``no_longer_fits`` (their papers are over by then, or they would walk home at
    night: ``facts.lacking``; what spoke against them before is staff's to settle), ``filter_failed`` or
    ``pick_unavailable`` (whom the customer picked cannot do it then).
    """

    order_id: OrderId
    by: UserId
    scheduled_for: float
    reason: str = ""
    staff: bool = False


@dataclass(frozen=True, slots=True)
class Recalled:
    """An order that the engine let go of long ago, read back by the edge (``DispatchService.recall``)."""

    order: Order
    event_seq: int
    offers: Sequence[Offer] = ()


@dataclass(frozen=True, slots=True)
class OrderAssigned:
    """Staff give the order to a technician without asking them; no round moves it from there.

    An order that has a technician who is not at the door yet is taken from them; an unfilled one begins again.
    To whom has it already it is only pinned, and what is overridden counts no more. A repeat is no news.

    Attributes:
        override: Filters to pass over, by name (``exclusions.OVERRIDABLE``).

    Refused: ``not_found`` (order or technician), ``filter_failed`` (a filter speaks against it that was not named),
    ``filter_holds`` (one that cannot be overridden), ``order_arrived`` and later states.
    """

    order_id: OrderId
    technician: UserId
    by: UserId
    reason: str
    override: tuple[str, ...] = ()
    recalled: Recalled | None = None


@dataclass(frozen=True, slots=True)
class ModeSet:
    """Staff have an order without a technician looked for in another mode, from now on; also an unfilled one.

    Live offers that the mode would not have made are revoked. The mode it is in already is no news.

    Refused: ``not_found``, ``already_assigned``, ``order_arrived`` and later states, ``filter_failed`` (a pick that
    cannot succeed), ``invalid`` (a technician without mode ``directed`` or the other way round).
    """

    order_id: OrderId
    mode: Mode
    by: UserId
    reason: str = ""
    technician: UserId | None = None
    fallback: Fallback = Fallback.AUTO
    recalled: Recalled | None = None


@dataclass(frozen=True, slots=True)
class OrderConfirmed:
    """The customer (or ``staff``) agrees that the job was done. A repeat is no news.

    Refused: ``not_found``, ``not_finished``, ``order_cancelled``.
    """

    order_id: OrderId
    by: UserId
    staff: bool = False


@dataclass(frozen=True, slots=True)
class OrderRated:
    """Stars from the customer, once. The same stars again are no news.

    Refused: ``not_found``, ``not_finished``, ``already_rated`` (other stars), ``invalid`` (not 1 to 5).
    """

    order_id: OrderId
    by: UserId
    stars: int
    staff: bool = False
    recalled: Recalled | None = None


@dataclass(frozen=True, slots=True)
class TechnicianPut:
    """The platform's record of a technician, whole. Given to the engine of one of their cities.

    Duty, work and rating are kept. Refused: ``invalid`` (more different skills, services or zones
    than a city can know).

    Attributes:
        stored: What the store has of them, for a city that has never heard of them; None when they are new.
    """

    technician: UserId
    name: str
    skills: frozenset[str]
    gender: Gender
    tier: str
    cities: tuple[str, ...]
    verified: bool
    stored: Technician | None = None
    papers: Mapping[str, float] = field(default_factory=dict)
    own_transport: bool = False
    services: tuple[str, ...] = ()
    zones: Mapping[CityId, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CalendarSet:
    """When a technician works and rests, whole. A live offer that does not fit any more is revoked.

    Jobs that are booked already stay booked. Refused: ``not_found``.
    """

    technician: UserId
    shifts: tuple[Shift, ...]
    rests: tuple[Rest, ...]


@dataclass(frozen=True, slots=True)
class TechnicianCopied:
    """Another city's engine committed this technician; taken over when newer. Nothing is stored."""

    technician: Technician


@dataclass(frozen=True, slots=True)
class WaysTold:
    """The answer to ``AskWays``; empty ``ways`` when nobody could say, and then distances decide."""

    round_id: str
    ways: WayColumns
    source: str


@dataclass(frozen=True, slots=True)
class AlarmRaised:
    """The technician has an open alarm: a live offer of theirs is revoked. Rounds see the alarm in the index."""

    technician: UserId


@dataclass(frozen=True, slots=True)
class PairBlocked:
    """One of these two, or staff in their name, does not want to meet the other any more. Setting it again renews it.

    Counts for all orders of the customer from now on, in every city: a live offer between the two is revoked, a pick
    falls back as its customer chose, and an order that the technician has already stays theirs, which staff are told;
    with ``blocks_release`` a booked one is taken from them unless staff have chosen them, and if the customer says so
    themselves, calling it off costs as before.
    A block that staff set is not changed by the person it stands for. Given to the engine where the technician is on
    duty. Refused: ``blocks_full``.

    Attributes:
        side: Whose block it is.
        by: Who says so.
        staff: The edge has checked that ``by`` may act for the platform.
    """

    customer: UserId
    technician: UserId
    side: BlockSide
    by: UserId
    staff: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PairUnblocked:
    """A block is lifted; the other side's stays. None is no news. Refused: ``block_held`` (staff set it)."""

    customer: UserId
    technician: UserId
    side: BlockSide
    by: UserId
    staff: bool = False


@dataclass(frozen=True, slots=True)
class PairBlockCopied:
    """Another city's engine committed this block, or that it is lifted (``is_set`` false). Never refused."""

    mark: BlockMark
    is_set: bool
    by: UserId


@dataclass(frozen=True, slots=True)
class RoundSolved:
    """The answer to ``SolveRound``. ``solution`` is None when the solver failed; the orders are then tried again."""

    round_id: str
    solution: Solution | None
    inputs: bytes = b""
    """The problem as it will be stored (``rounds.encode``)."""


DispatchEvent = (
    OrderPlaced
    | OfferAccepted
    | OfferDeclined
    | OfferReceived
    | PhoneLost
    | PhoneFound
    | DutySet
    | StepTaken
    | OrderCancelled
    | OrderReassigned
    | TimeAdded
    | TimeAnswered
    | Rescheduled
    | OrderAssigned
    | ModeSet
    | OrderConfirmed
    | OrderRated
    | TechnicianPut
    | CalendarSet
    | TechnicianCopied
    | WaysTold
    | AlarmRaised
    | PairBlocked
    | PairUnblocked
    | PairBlockCopied
    | RoundSolved
)

# -- effects --------------------------------------------------------------------------------------------


class CloseReason(StrEnum):
    """Why an offer can no longer be taken (the wire's words)."""

    TAKEN = "taken"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    REVOKED = "revoked"
    UNDELIVERED = "undelivered"


class OrderFact(StrEnum):
    """What is told of an order besides the states it comes into."""

    REASSIGNED = "reassigned"
    RATED = "rated"
    TIME_ADDED = "time_added"
    TIME_ASKED = "time_asked"
    TIME_REFUSED = "time_refused"
    TIME_EXPIRED = "time_expired"
    RESCHEDULED = "rescheduled"
    PINNED = "pinned"
    SWITCHED = "switched"
    TECHNICIAN_LOST = "technician_lost"
    TECHNICIAN_BACK = "technician_back"
    TECHNICIAN_FREED = "technician_freed"
    """They had finished and did not say that they had left; they may be asked again."""


@dataclass(frozen=True, slots=True)
class OrderChanged:
    """An order is in a new state, or got a new fact.

    Attributes:
        order: The order as it is now.
        what: The state or the fact.
        technician: The order's technician, None while there is none.
        rating: Mean rating of ``technician`` (1 to 5) as a customer may see it, None for a new one.
        previous_technician: Who lost the order with this change, None for nobody.
    """

    order: Order
    what: OrderState | OrderFact
    technician: Technician | None = None
    rating: float | None = None
    previous_technician: UserId | None = None


class News(StrEnum):
    """What is told of a job besides its steps (the wire's words)."""

    NEAR = "near"
    AT_PLACE = "at_place"
    LEFT_PLACE = "left_place"
    WAIT_OVER = "wait_over"
    BLOCKED = "blocked"
    """The two have been kept apart since (for staff only)."""
    FAR_PHOTO = "far_photo"
    """For staff: a photo proved the arrival, and the live position says that it was made elsewhere."""
    OVERDUE = "overdue"
    """It should have come to its next step (for the technician and staff)."""
    UNFIT = "unfit"
    """The technician's record does not fit any more (for staff only)."""


@dataclass(frozen=True, slots=True)
class JobNews:
    """Something worth telling happened in a job without a step.

    Attributes:
        within_m: How near, for ``NEAR``.
        eta_s: The newest estimate, for ``NEAR``.
        far_m: How far off the live position was, for ``FAR_PHOTO``.
    """

    order: Order
    what: News
    at: float
    within_m: float | None = None
    eta_s: float | None = None
    far_m: float | None = None


@dataclass(frozen=True, slots=True)
class OrderRepeated:
    """An order was placed again with the same key: answer with the order as it is now; tell nobody.

    ``order`` is None when it was settled long ago: read it from the store.
    """

    order_id: OrderId
    order: Order | None


@dataclass(frozen=True, slots=True)
class SendOffer:
    """Ask a technician.

    Attributes:
        order: For service, fee, cell and district. Its exact address is not for the technician yet.
        why: Short reasons in words, such as ``near`` or ``well rated``; largest head start first.
    """

    offer: Offer
    order: Order
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RemindOffer:
    """Show an offer again to a technician who has not answered; ``number`` counts from 1."""

    offer: Offer
    order: Order
    number: int


@dataclass(frozen=True, slots=True)
class CloseOffer:
    """An offer ended without the technician's own answer: tell them why it can no longer be taken."""

    offer: Offer
    reason: CloseReason


@dataclass(frozen=True, slots=True)
class OfferAnswered:
    """The technician accepted or declined; ``offer.state`` says which. The asker hears it as the reply."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class DutyChanged:
    """A technician entered or left duty (or paused). ``shard`` is where they are on duty now, None for nowhere."""

    technician: Technician
    shard: Shard | None


@dataclass(frozen=True, slots=True)
class TechnicianChanged:
    """A technician's profile, work state or rating is new. ``rating`` is their mean now (city mean when new)."""

    technician: Technician
    rating: float
    what: str
    """``put``, ``work``, ``rating``, ``duty``, ``calendar``, ``bookings``, or ``copied`` from another city's engine."""


@dataclass(frozen=True, slots=True)
class PairBlockChanged:
    """A block was set or (``is_set`` false) lifted: the tenant's other cities must know."""

    mark: BlockMark
    by: UserId
    is_set: bool


@dataclass(frozen=True, slots=True)
class AskWays:
    """A round whose likely ways (rows of ``order`` and ``technician``) a road engine shall tell before it is solved.

    Answer with ``WaysTold``. At most one round is asked for or solved at a time.
    """

    round_id: str
    problem: Problem
    order: IntArray
    technician: IntArray


@dataclass(frozen=True, slots=True)
class SolveRound:
    """A round too large for the loop: solve it elsewhere and answer with ``RoundSolved``. At most one at a time."""

    round_id: str
    problem: Problem


Effect = (
    OrderChanged
    | OrderRepeated
    | SendOffer
    | RemindOffer
    | JobNews
    | CloseOffer
    | OfferAnswered
    | DutyChanged
    | TechnicianChanged
    | PairBlockChanged
    | AskWays
    | SolveRound
)
