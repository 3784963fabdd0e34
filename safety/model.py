"""Values of safety: incidents, what triggered them, whom they must reach. No behaviour."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from core.ids import CityId, DeviceId, IncidentId, OrderId, TenantId, UserId
from geo.point import LatLng
from safety.contacts import Contact

KEY_MADE_PREFIX: Final = "srv_"
"""How a key begins that the server made from the bytes of a tap without a usable one."""


class IncidentState(StrEnum):
    """Where an incident is in its life; the arrows are in ``incident.py``."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESPONDING = "responding"
    ON_SCENE = "on_scene"
    CANCEL_PENDING = "cancel_pending"
    RESOLVED = "resolved"
    CLOSED = "closed"


class IncidentKind(StrEnum):
    """What an incident is about, and so how loudly it begins; further triggers only ever make it graver."""

    AUTO = "auto"
    """A device noticed it, nobody tapped: a fall, a crash."""
    UNCONFIRMED = "unconfirmed"
    """A tap that comes late, or silence of somebody who should have answered."""
    PANIC = "panic"
    """Somebody tapped."""
    DURESS = "duress"
    """Somebody tapped and is forced to take it back."""

    @property
    def gravity(self) -> int:
        """Order of the kinds, from 0."""
        return _GRAVITY.index(self)


_GRAVITY: Final = tuple(IncidentKind)


class CapStatus(StrEnum):
    """Whether it is real, in the words of CAP 1.2. Never changes for an incident."""

    ACTUAL = "actual"
    EXERCISE = "exercise"
    """A person tries the button."""
    TEST = "test"
    """A program tries the path."""


class TriggerSource(StrEnum):
    """By which door a trigger came."""

    HUB = "hub"
    HTTP = "http"
    PAGE = "page"
    """The browser page for people without an app."""
    TRACKER = "tracker"
    OPS = "ops"
    """Somebody of ops, on the subject's behalf."""
    SYSTEM = "system"
    """The server itself: silence, a missed check-in, a synthetic SOS."""


class PinVerdict(StrEnum):
    """What a PIN was; the PIN itself never comes here."""

    RIGHT = "right"
    DURESS = "duress"
    """The other PIN, which says: I am forced to."""
    WRONG = "wrong"


class FixSource(StrEnum):
    """Where a position of an incident comes from; shown in words, never mixed up."""

    SOS = "sos"
    LIVE = "live"
    LAST_SEEN = "last_seen"
    """The last position before the subject went off duty, or before the server was started again."""
    BOOKED_ADDRESS = "booked_address"


@dataclass(frozen=True, slots=True)
class IncidentFix:
    """A position in the platform's frame with what is known of its worth."""

    point: LatLng
    accuracy_m: float
    """Radius as the phone said it; ``core.units.ACCURACY_M_MAX`` when it said nothing."""
    fixed_at: float
    """Server's estimate of when it was measured."""
    source: FixSource
    is_made_up: bool = False
    """The phone says that it is not where it is."""


@dataclass(frozen=True, slots=True)
class BookedPlace:
    """Where the subject's order is to be served; shown as the booked address, never as a fix."""

    order_id: OrderId
    city: CityId
    point: LatLng
    address: str
    unit: str
    entrance_note: str
    other_party: UserId | None
    """The booking's other side. Must never learn of the incident."""
    others: tuple[UserId, ...] = ()
    """Other sides of all that the subject has under way besides: nor must they."""
    other_orders: tuple[OrderId, ...] = ()
    """All that the subject has under way or named besides ``order_id``."""

    @property
    def kept_out(self) -> tuple[UserId, ...]:
        """Everybody who must never learn of the incident."""
        first = () if self.other_party is None else (self.other_party,)
        return (*first, *(user for user in self.others if user not in first))

    @property
    def orders(self) -> tuple[OrderId, ...]:
        """Every order that it speaks of."""
        return (self.order_id, *self.other_orders)


@dataclass(frozen=True, slots=True)
class SosReport:
    """What could be read of one tap. Everything but the key may be missing.

    Attributes:
        key: The client's key; a repeat with the same key is the same tap.
        ignored: Names of fields that were there but could not be read.
        fix: Position in the platform's frame, None when there was none or it was not believable.
        order_id: The order the client named; a claim until ``Surroundings.booking`` confirms it.
        sent_at: The phone's clock when it sent, None when it could not be read.
    """

    key: str
    ignored: tuple[str, ...] = ()
    fix: IncidentFix | None = None
    order_id: OrderId | None = None
    silent: bool = False
    battery: float | None = None
    note: str = ""
    sent_at: float | None = None
    age_s: float = 0.0
    """Seconds for which it waited in the phone; 0 when that is not known."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """One tap that fed an incident."""

    trigger_id: str
    incident_id: IncidentId
    key: str
    device: DeviceId
    received_at: float
    restricted: bool
    """The token was genuine but expired."""
    report: SosReport
    source: TriggerSource = TriggerSource.HUB
    kind: IncidentKind = IncidentKind.PANIC
    cause: str = ""
    """A word for what the system or a device noticed (``checkin_missed``, ``service_overdue``); else empty."""
    raised_by: UserId | None = None
    """Who raised it when it was not the subject."""


@dataclass(frozen=True, slots=True)
class Approach:
    """Why a responder stands where they stand in the line of those who are told.

    Attributes:
        group: As what they are asked, a ``ranking.Group``.
        is_live: Connected, with a position of the last minute.
        eta_s: When they would be there at worst, ``ranking.pessimistic_eta_s``; None without a position.
        r95_m: Radius in which they are with 95 %, whole metres.
        age_s: Age of their position, whole seconds.
    """

    group: str
    is_live: bool
    eta_s: float | None = None
    r95_m: int | None = None
    age_s: int | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A user whom an incident must reach, with the reason."""

    user: UserId
    why: str
    level: int
    distance_m: float | None = None
    told_at: float | None = None
    received_at: float | None = None
    """When a device of theirs acknowledged the message."""
    approach: Approach | None = None
    """How they were ranked; None for who was not told for being near."""


@dataclass(frozen=True, slots=True)
class SubjectView:
    """What the subject is told instead of the truth once they took it back, the same whether forced to or not.

    Attributes:
        level: The level they hear of.
        delivered: Devices that they hear of; None for as many as there are.
        seen: Whether they hear that somebody has it in hand; None for the truth.
        seen_since: With ``seen`` None: only who took it in hand after this counts, None for anybody.
        ended: Whether they hear that it is over; they hear it in any case once it is.
        ended_at: When they took it back, None when they did not; what their phone is asked for goes by it.
    """

    level: int
    delivered: int | None = None
    seen: bool | None = None
    seen_since: float | None = None
    ended: bool = True
    ended_at: float | None = None


class SlotState(StrEnum):
    """How far a responder is who said that they go, or was sent."""

    COMING = "coming"
    STALLED = "stalled"
    """Not nearer for too long, or without a position: the slot is free for another."""
    ON_SCENE = "on_scene"


@dataclass(frozen=True, slots=True)
class Slot:
    """One responder who goes there.

    Attributes:
        fence: Number of the grant; greater than that of every grant before. What is said under an older one is void.
        since: When it was granted.
        by: Who granted it: the responder, or ops.
        nearest_m: Least distance to the subject since the grant, None while not known.
        nearer_at: When they last came clearly nearer (or were granted).
        seen_at: When their newest position was measured (or the grant, while there is none).
        suggested: Whether their position at the place was told already.
        claimed_at: When they last said that they are there and their position did not show it; ops have to confirm it.
        claimed_m: How far off their position was then; None when it or the place was not known.
        is_silent: They were there and said nothing for too long: only their own word makes them count again.
    """

    user: UserId
    fence: int
    since: float
    by: UserId
    state: SlotState = SlotState.COMING
    nearest_m: float | None = None
    nearer_at: float = 0.0
    seen_at: float = 0.0
    suggested: bool = False
    claimed_at: float | None = None
    claimed_m: float | None = None
    is_silent: bool = False


class OfferState(StrEnum):
    """What became of asking one responder."""

    PENDING = "pending"
    EXPIRED = "expired"
    SPARED = "spared"
    """Enough others go: not waited for, and asked anew when they do not."""
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class ResponderOffer:
    """One responder who was asked to go there."""

    user: UserId
    fence: int
    until: float
    state: OfferState = OfferState.PENDING


@dataclass(frozen=True, slots=True)
class Proposal:
    """How somebody says that it ended who may not, or not alone, say so."""

    who: UserId
    is_ops: bool
    disposition: str
    note: str
    at: float


@dataclass(frozen=True, slots=True)
class SubjectRecord:
    """What is kept of a person from one incident to the next.

    Attributes:
        wrong_pins: When wrong PINs were given lately, oldest first.
        false_accidents: Incidents in a row that ended as ``false_accident``.
    """

    tenant: TenantId
    user: UserId
    wrong_pins: tuple[float, ...] = ()
    false_accidents: int = 0


@dataclass(frozen=True)
class Incident:
    """One case. Frozen: each change makes a new value with ``version`` one higher.

    Without slots: a copy of a dict takes 1 us, of so many slots 12 and their checking 26 (``with_changes``).
    """

    tenant: TenantId
    city: CityId | None
    incident_id: IncidentId
    version: int
    state: IncidentState
    level: int
    subject: UserId
    subject_role: str
    raised_at: float
    changed_at: float
    silent: bool
    restricted: bool
    triggers: int
    last_trigger_at: float
    fix: IncidentFix | None
    order_id: OrderId | None
    note: str
    targets: tuple[Target, ...]
    repeat_at: float | None
    """When everyone is told again, None once a human acknowledged."""
    widen_at: float | None
    """When the next level is told too."""
    owner: UserId | None = None
    acknowledged_at: float | None = None
    resolved_by: UserId | None = None
    disposition: str = ""
    resolution_note: str = ""
    stale_at: float | None = None
    """When an acknowledgement without any further action of its owner no longer counts."""
    burst_at: float | None = None
    """Last tap of the burst that raised the level last; taps up to it do not count again."""
    avoid: tuple[UserId, ...] = ()
    """Other sides of the subject's bookings: never told, never let in."""
    booked: BookedPlace | None = None
    kind: IncidentKind = IncidentKind.PANIC
    cap_status: CapStatus = CapStatus.ACTUAL
    cause: str = ""
    """Why it was raised when nobody tapped; see ``Trigger.cause``."""
    provisional_until: float | None = None
    """Until then the subject may still abort: hops that cost money or cannot be taken back wait. None: no waiting."""
    cancel_asked_at: float | None = None
    """When the subject last took it back, or was forced to; None once they tapped again."""
    reopen_at: float | None = None
    """When a cancel that nobody has verified no longer counts."""
    call_back_by: float | None = None
    """When the subject must have been called after a cancel; moves on while nobody does."""
    called_at: float | None = None
    """When somebody last tried to call or visit the subject, by their own account."""
    reached_at: float | None = None
    """When somebody last spoke with the subject, by their own account."""
    shown: SubjectView | None = None
    """What the subject is told since they took it back."""
    tell_at: float | None = None
    """When what the subject's PIN led to is told to others: never before they have their answer."""
    proposal: Proposal | None = None
    resolved_at: float | None = None
    closed_by: UserId | None = None
    quiet_since: float | None = None
    """Since when ops are asked how it goes on the scene, because nobody there says a word; None while somebody does."""
    gentle_until: float | None = None
    """Until then only ops of the city are told; None for everyone of the level."""
    assign_by: float | None = None
    """When somebody must be on the way; moves on while nobody is."""
    look_at: float | None = None
    """When owner and responders are looked after next."""
    owner_lost_at: float | None = None
    """Since when the owner's connection is gone."""
    owner_here: bool = False
    """Whether the owner has been connected since they took it."""
    fence: int = 0
    """Number of the latest grant or offer."""
    slots: tuple[Slot, ...] = ()
    offers: tuple[ResponderOffer, ...] = ()
    linked: tuple[IncidentId, ...] = ()
    """Incidents of the other side of the booking."""
    contact: Contact | None = None
    """How the subject and theirs are reached, as it was at the tap: whoever holds the phone now may have changed it
    since. None when it was not known then: what is known now counts."""
    orders: tuple[OrderId, ...] = ()
    """Every order of the subject that had to do with it so far; ``order_id`` is the one of the last tap."""

    def with_changes(self, **changes: Any) -> "Incident":
        """A copy with some fields replaced. Raises ``TypeError`` on a name that is no field. Cost: 2 us."""
        new = object.__new__(Incident)
        fields = new.__dict__
        fields.update(self.__dict__)
        fields.update(changes)
        if len(fields) != len(self.__dict__):
            raise TypeError(f"no fields of an incident: {sorted(changes.keys() - self.__dict__.keys())}")
        return new

    @property
    def orders_held(self) -> tuple[OrderId, ...]:
        """Every order whose evidence it holds, each once."""
        named = () if self.order_id is None else (self.order_id,)
        return tuple(dict.fromkeys((*self.orders, *named)))

    @property
    def is_active(self) -> bool:
        """Whether somebody still has to end it."""
        return self.state not in (IncidentState.RESOLVED, IncidentState.CLOSED)

    @property
    def delivered(self) -> int:
        """Targets of whom a device has confirmed the message."""
        return sum(1 for target in self.targets if target.received_at is not None)

    @property
    def seen(self) -> bool:
        """Whether a human has it in hand now, or had it until its end."""
        return self.owner is not None

    @property
    def deadline(self) -> float | None:
        """When the incident acts by itself next; never None while it is active."""
        timers = (
            self.repeat_at,
            self.widen_at,
            self.stale_at,
            self.reopen_at,
            self.call_back_by,
            self.tell_at,
            self.assign_by,
            self.look_at,
            self.offers_until,
        )
        return min((at for at in timers if at is not None), default=None)

    @property
    def offers_until(self) -> float | None:
        """When the first pending offer expires."""
        return min((offer.until for offer in self.offers if offer.state is OfferState.PENDING), default=None)

    @property
    def coming(self) -> tuple[Slot, ...]:
        """Who is on the way or there; not who stalled."""
        return tuple(slot for slot in self.slots if slot.state is not SlotState.STALLED)

    def slot_of(self, user: UserId) -> Slot | None:
        """Somebody's slot."""
        return next((slot for slot in self.slots if slot.user == user), None)

    @property
    def seen_by_subject(self) -> SubjectView:
        """What the subject is told of how far it has come: in every answer and message, and nothing else."""
        shown = self.shown or SubjectView(self.level, ended=False)
        since, taken_at = shown.seen_since, self.acknowledged_at
        is_seen = self.seen and (since is None or (taken_at is not None and taken_at > since))
        return SubjectView(
            shown.level,
            self.delivered if shown.delivered is None else shown.delivered,
            is_seen if shown.seen is None else shown.seen,
            ended=shown.ended or not self.is_active,
            ended_at=shown.ended_at,
        )

    def asks_phone(self, now: float, after_cancel_s: float) -> bool:
        """Whether the subject's phone is openly asked for positions.

        Once they took it back, for a time that neither its end nor what the PIN was makes shorter or longer.
        """
        ended_at = self.shown.ended_at if self.shown is not None else None
        return self.is_active if ended_at is None else now < ended_at + after_cancel_s


@dataclass(frozen=True, slots=True)
class IncidentEvent:
    """One line of an incident's history. ``seq`` counts from 1 within the incident, without gaps."""

    tenant: TenantId
    incident_id: IncidentId
    seq: int
    at: float
    what: str
    who: str
    state: IncidentState
    level: int
    detail: str = ""
