"""The wire catalogue: every message of the hub as a struct; the structs decode the bytes.

``docs/protocol.md`` and ``/asyncapi.json`` are generated from and tested against these. Every number has both
bounds and every string and list a maximum: MessagePack would otherwise let NaN and infinity through, and JSON
any length. SOS is not decoded here but field by field (``safety/intake.py``): nothing in it may refuse it.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from core.units import (
    ACCURACY_M_MAX,
)
from realtime.care_messages import CareNews as CareNews
from realtime.care_messages import CheckinAnswer as CheckinAnswer
from realtime.care_messages import CheckinView as CheckinView
from realtime.care_messages import CheckKindName as CheckKindName
from realtime.care_messages import CheckStateName as CheckStateName
from realtime.care_messages import DrillStateName as DrillStateName
from realtime.care_messages import DrillTap as DrillTap
from realtime.care_messages import DrillView as DrillView
from realtime.fields import TEXT_LEN_MAX as TEXT_LEN_MAX
from realtime.fields import AccuracyM as AccuracyM
from realtime.fields import Count as Count
from realtime.fields import Crs as Crs
from realtime.fields import DurationMs as DurationMs
from realtime.fields import DurationS as DurationS
from realtime.fields import EpochS as EpochS
from realtime.fields import Fen as Fen
from realtime.fields import Fraction as Fraction
from realtime.fields import HeadingDeg as HeadingDeg
from realtime.fields import Id as Id
from realtime.fields import Key as Key
from realtime.fields import Lat as Lat
from realtime.fields import Lng as Lng
from realtime.fields import Seq as Seq
from realtime.fields import SpeedMps as SpeedMps
from realtime.fields import StreamName as StreamName
from realtime.fields import Text as Text
from realtime.fields import Token as Token
from realtime.fields import Word as Word

PING_BATCH_LEN_MAX: Final = 512
MESSAGE_BYTES_MAX: Final = 65_536


# -- from clients ---------------------------------------------------------------------------------------


class StreamPosition(Struct, frozen=True):
    """Where a device stands in one stream."""

    epoch: Word
    seq: Seq


class Resume(Struct, frozen=True):
    """Where a device stands in its streams."""

    main: StreamPosition | None = None
    safety: StreamPosition | None = None


class Hello(Struct, tag="hello", frozen=True):
    """First frame of a connection. Exactly one of ``token`` and ``ticket``."""

    device: Key
    token: Token | None = None
    ticket: Token | None = None
    app: Word = ""
    crs: Crs | None = None
    resume: Resume | None = None
    clock_rate: Annotated[float, Meta(ge=1.0, le=100_000.0)] = 1.0
    """Phone's seconds per second of the server: above 1 only for replays, where the server allows it."""


class Refresh(Struct, tag="refresh", frozen=True):
    """A newer token for the running session."""

    token: Token
    ref: Key | None = None


class HeartbeatIn(Struct, tag="heartbeat", frozen=True):
    """I am here."""


class Ack(Struct, tag="ack", frozen=True):
    """Everything up to these numbers has been received, per stream."""

    main: Seq | None = None
    safety: Seq | None = None


class Ping(Struct, tag="ping", frozen=True, gc=False):
    """One position report."""

    seq: Seq
    fixed_at: EpochS
    lat: Lat
    lng: Lng
    accuracy_m: AccuracyM
    sent_at: EpochS | None = None
    speed_mps: SpeedMps | None = None
    heading_deg: HeadingDeg | None = None
    battery: Fraction | None = None
    """Charge of the phone; not used yet."""
    mock: bool = False
    """The phone says that the position was made up: it changes no verdict, and proves no step of a job."""
    crs: Crs | None = None


PingRow = tuple[Seq, EpochS, Lat, Lng, AccuracyM, SpeedMps | None, HeadingDeg | None]
"""seq, fixed_at, lat, lng, accuracy_m, speed_mps, heading_deg."""


class Pings(Struct, tag="pings", frozen=True, gc=False):
    """Position reports in rows: an offline backlog or a saving of bytes."""

    pings: Annotated[list[PingRow], Meta(min_length=1, max_length=PING_BATCH_LEN_MAX)]
    sent_at: EpochS | None = None
    mock: bool = False
    """Of one of them at least, the phone says that the position was made up."""
    crs: Crs | None = None


class Watch(Struct, tag="watch", frozen=True):
    """Start to receive a topic's positions."""

    topic: Key
    bbox: tuple[Lng, Lat, Lng, Lat] | None = None
    """west, south, east, north (GeoJSON order, RFC 7946 section 5); west > east crosses the antimeridian."""
    cells: Annotated[list[Word], Meta(max_length=1024)] | None = None
    ref: Key | None = None


class Unwatch(Struct, tag="unwatch", frozen=True):
    """Stop receiving a topic."""

    topic: Key
    ref: Key | None = None


class Duty(Struct, tag="duty", frozen=True):
    """Go on or off duty. Who leaves in a job is answered ``ending``: duty ends with it, and ``on`` takes that back."""

    on: bool
    city: Id | None = None
    ref: Key | None = None


class OfferAccept(Struct, tag="offer.accept", frozen=True):
    """Take the order of an offer. Idempotent."""

    offer: Id
    ref: Key | None = None


class OfferDecline(Struct, tag="offer.decline", frozen=True):
    """Refuse an offer. Idempotent."""

    offer: Id
    reason: Word = ""
    ref: Key | None = None


StepName = Literal["en_route", "arrived", "in_service", "finished", "departed_safe", "no_show"]
"""`no_show` ends a job instead: the technician has waited for an absent customer."""


class JobStep(Struct, tag="job.step", frozen=True):
    """The job has come to its next step. Idempotent."""

    order: Id
    step: StepName
    evidence: Text | None = None
    """A photo's reference (`photo:…`) or a note; kept in the order's history."""
    ref: Key | None = None


class IncidentAckIn(Struct, tag="incident.ack", frozen=True):
    """I have seen it and own it."""

    incident: Id
    ref: Key | None = None


Fence = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""Number of a grant or an offer; greater than that of every one before it in the incident."""
CallToName = Literal["subject", "emergency_contact", "responder", "police", "ambulance", "other"]
CallOutcomeName = Literal["reached", "no_answer", "voicemail", "refused"]


class IncidentJoin(Struct, tag="incident.join", frozen=True):
    """Tell me all that becomes of it; another owns it."""

    incident: Id
    ref: Key | None = None


class IncidentNote(Struct, tag="incident.note", frozen=True):
    """What was done or learnt; of a call or visit also with whom and what came of it."""

    incident: Id
    text: Text = ""
    call_to: CallToName | None = None
    outcome: CallOutcomeName | None = None
    """Given exactly when `call_to` is. A machine that answered is `voicemail`: nobody was reached."""
    ref: Key | None = None


class IncidentRespond(Struct, tag="incident.respond", frozen=True):
    """I go there."""

    incident: Id
    fence: Fence | None = None
    """That of the offer which this answers; without it, whatever holds now."""
    ref: Key | None = None


class IncidentDecline(Struct, tag="incident.decline", frozen=True):
    """I cannot go there, or not go on."""

    incident: Id
    ref: Key | None = None


class IncidentAssign(Struct, tag="incident.assign", frozen=True):
    """Send somebody there."""

    incident: Id
    responder: Id
    ref: Key | None = None


class IncidentOnScene(Struct, tag="incident.on_scene", frozen=True):
    """I am there; or ops say it of somebody."""

    incident: Id
    responder: Id | None = None
    fence: Fence | None = None
    """That of the grant, from the answer to `incident.respond`; without it, whatever holds now."""
    ref: Key | None = None


class IncidentReopen(Struct, tag="incident.reopen", frozen=True):
    """It is not over, or not safe."""

    incident: Id
    note: Text = ""
    ref: Key | None = None


class IncidentClose(Struct, tag="incident.close", frozen=True):
    """What was resolved is reviewed: nothing is changed any more."""

    incident: Id
    note: Text = ""
    ref: Key | None = None


class IncidentResolve(Struct, tag="incident.resolve", frozen=True):
    """It is over. Of a responder a proposal; where two people are needed, the first one's is one as well."""

    incident: Id
    disposition: Literal["real_handled", "real_handed_over", "false_accident", "false_test", "duplicate", "unreachable"]
    note: Text = ""
    ref: Key | None = None


class SosCancel(Struct, tag="sos.cancel", frozen=True):
    """The person who raised it takes an alarm back; somebody of ops asks whether it is true. Ends nothing by itself."""

    incident: Id
    pin: Annotated[str, Meta(max_length=12)]
    ref: Key | None = None


IncidentCommand = (
    IncidentAckIn
    | IncidentJoin
    | IncidentNote
    | IncidentRespond
    | IncidentDecline
    | IncidentAssign
    | IncidentOnScene
    | IncidentResolve
    | IncidentReopen
    | IncidentClose
)
"""What those say who handle an incident."""

Command = OfferAccept | OfferDecline | JobStep | Duty | IncidentCommand | CheckinAnswer | DrillTap | SosCancel
"""Requests that a domain answers; each is answered by exactly one ``ok`` or ``error``."""

ClientMessage = Hello | Refresh | HeartbeatIn | Ack | Ping | Pings | Watch | Unwatch | Command


# -- from the server ------------------------------------------------------------------------------------


class StreamState(Struct, frozen=True, omit_defaults=True):
    """Where a stream begins for this connection."""

    epoch: Word
    seq: Seq
    how: Literal["fresh", "replayed", "snapshot"]


class Limits(Struct, frozen=True):
    """What the server takes from one connection."""

    message_bytes: Count
    pings_per_s: Annotated[float, Meta(ge=0.0, le=1e6)]
    messages_per_s: Annotated[float, Meta(ge=0.0, le=1e6)]
    ping_batch: Count


class Welcome(Struct, tag="welcome", frozen=True):
    """The session stands."""

    session: Id
    user: Id
    role: Word
    roles: Annotated[list[Word], Meta(max_length=16)]
    server_at: EpochS
    heartbeat_s: DurationS
    limits: Limits
    restricted: bool
    streams: dict[StreamName, StreamState]


class Heartbeat(Struct, tag="heartbeat", frozen=True):
    """The server is here."""

    server_at: EpochS


class Ok(Struct, tag="ok", frozen=True, omit_defaults=True):
    """The request with this ``ref`` was done and is stored."""

    ref: Key | None = None
    result: dict[str, Any] | None = None


class Error(Struct, tag="error", frozen=True, omit_defaults=True):
    """The request was not done, and why."""

    code: Word
    message: Text
    retry: bool = msgspec.field(default=False)
    field: Text | None = None
    ref: Key | None = None
    facts: dict[str, Any] = {}
    """What a program needs to ask for something else or later; what it holds depends on the code."""


class Reconnect(Struct, tag="reconnect", frozen=True):
    """Last frame before a close that asks the client to come back."""

    reconnect_after_ms: DurationMs
    reason: Word


class PingAck(Struct, tag="ping_ack", frozen=True, omit_defaults=True):
    """What became of pings since the last one of these."""

    seq: Seq
    """Highest ``seq`` judged."""
    verdicts: dict[Word, Count]
    stored_seq: Seq
    """Everything up to here may be forgotten by the phone."""
    corrected: dict[Word, Count] = {}
    """Earlier ``teleport`` verdicts that a second fix confirmed since: what each became."""


class PingPolicy(Struct, tag="ping_policy", frozen=True):
    """How often the phone should report from now on."""

    interval_s: DurationS
    min_distance_m: Annotated[float, Meta(ge=0.0, le=100_000.0)]
    accuracy: Literal["coarse", "balanced", "best"]
    reason: Word
    heartbeat_s: DurationS
    """Clients that cannot answer pings send ``heartbeat`` at least this often from now on."""


class Position(Struct, tag="position", frozen=True, omit_defaults=True):
    """Where the subject of a topic is."""

    topic: Key
    lat: Lat
    lng: Lng
    crs: Crs
    accuracy_m: AccuracyM
    fixed_at: EpochS
    age_s: DurationS
    technician: Id | None = None
    heading_deg: HeadingDeg | None = None
    speed_mps: SpeedMps | None = None
    eta_s: DurationS | None = None
    arrives_at: EpochS | None = None


class Area(Struct, tag="area", frozen=True, omit_defaults=True):
    """Many technicians at once, as columns of equal length."""

    topic: Key
    crs: Crs
    at: EpochS
    snapshot: bool
    columns: dict[str, Any]
    """``technician, lat, lng, heading_deg, state, age_s``: lists of one length (see docs/protocol.md)."""
    more: bool = False
    """The next frame of this topic continues this one."""
    gone: Annotated[list[Id], Meta(max_length=100_000)] = []


class Unwatched(Struct, tag="unwatched", frozen=True):
    """A subscription ended."""

    topic: Key
    reason: Word


class Offer(Struct, tag="offer", frozen=True, omit_defaults=True):
    """An order to take or leave. Holds no exact address."""

    offer: Id
    order: Id
    expires_at: EpochS
    remaining_ms: DurationMs
    service: Word
    cell: Word
    distance_band: Word
    district: Word
    fee_fen: Fen
    why: Annotated[list[Text], Meta(max_length=16)]
    scheduled_for: EpochS | None = None
    """When the service shall begin; absent for as soon as possible."""
    reminder: Count = 0
    """Which reminder of this offer it is; absent on the offer itself."""


class OfferClosed(Struct, tag="offer.closed", frozen=True):
    """An offer can no longer be taken."""

    offer: Id
    reason: Literal["taken", "expired", "cancelled", "revoked", "undelivered"]


class Place(Struct, frozen=True, omit_defaults=True):
    """Where the service happens. Address fields only for those who may see them."""

    lat: Lat | UnsetType = UNSET
    lng: Lng | UnsetType = UNSET
    crs: Crs | UnsetType = UNSET
    address: Text | UnsetType = UNSET
    unit: Text | UnsetType = UNSET
    entrance_note: Text | UnsetType = UNSET


class TechnicianCard(Struct, frozen=True, omit_defaults=True):
    """What a customer may know of their technician."""

    technician: Id
    name: Text
    rating: Annotated[float, Meta(ge=0.0, le=5.0)] | None = None
    verified: bool = False


class CancellationView(Struct, frozen=True, omit_defaults=True):
    """What calling an order off costs, or has cost; fee and refund add up to its price."""

    stage: Literal["unassigned", "assigned_early", "assigned_late", "en_route", "arrived", "no_show", "in_service"]
    fee_fen: Fen
    refund_fen: Fen
    is_waived: bool = False
    """Staff took the fee back."""
    technician_fen: Fen | UnsetType = UNSET
    """The technician's part of the fee; not for the customer."""
    rises_at: EpochS | UnsetType = UNSET
    """When time alone makes it dearer."""


class TimeRequestView(Struct, frozen=True):
    """More time that a technician has asked the customer for."""

    request: Id
    minutes: Count
    price_fen: Fen
    """What it will cost."""
    asked_at: EpochS
    expires_at: EpochS
    """Until when the customer may agree."""
    state: Literal["pending", "agreed", "refused", "expired", "dropped"]
    """`dropped`: the service was over first."""


class OrderView(Struct, tag="order", frozen=True, omit_defaults=True):
    """An order as its reader may see it."""

    order: Id
    state: Word
    service: Word
    city: Id
    changed_at: EpochS
    placed_at: EpochS
    customer: Id | UnsetType = UNSET
    contact_name: Text | UnsetType = UNSET
    contact_phone: Word | UnsetType = UNSET
    location: Place | UnsetType = UNSET
    technician: TechnicianCard | UnsetType = UNSET
    duration_s: DurationS | UnsetType = UNSET
    scheduled_for: EpochS | UnsetType = UNSET
    """When the service shall begin; absent for as soon as possible."""
    booked_for: EpochS | UnsetType = UNSET
    """When the technician who has accepted it begins, while they do something else before."""
    lost_at: EpochS | UnsetType = UNSET
    """Since when its technician is silent on the way (staff)."""
    price_fen: Fen | UnsetType = UNSET
    eta_s: DurationS | UnsetType = UNSET
    waits_until: EpochS | UnsetType = UNSET
    """While arrived: until when the technician waits for an absent customer."""
    reason: (
        Literal[
            "reassigned",
            "technician_lost",
            "not_set_out",
            "cancelled_by_customer",
            "cancelled_by_staff",
            "no_show",
            "picked_refused",
            "picked_unavailable",
            "nobody_accepted",
            "nobody_available",
            "nobody_assigned",
        ]
        | UnsetType
    ) = UNSET
    """Why it is looked for again, was called off or stayed unfilled."""
    said: Text | UnsetType = UNSET
    """What `said_by` wrote to that; for staff and for who wrote it."""
    said_by: Id | UnsetType = UNSET
    cancellation: CancellationView | UnsetType = UNSET
    """What calling it off has cost."""
    mode: Word | UnsetType = UNSET
    """How its technician is found; for customers and staff."""
    time_request: TimeRequestView | UnsetType = UNSET
    """What its technician has last asked for; counts once the customer or staff agree."""
    zone: Word | UnsetType = UNSET
    """The city's zone that holds its place; absent where none does."""
    picked: Id | UnsetType = UNSET
    """In mode `directed`: whom the customer picked (staff)."""
    fallback: Literal["auto", "cancel"] | UnsetType = UNSET
    """What follows when that technician does not take it (staff)."""
    pinned_by: Id | UnsetType = UNSET
    """Who of the staff gave it to its technician (staff)."""
    override: Annotated[list[Word], Meta(max_length=32)] | UnsetType = UNSET
    """Filters that were passed over for that (staff)."""


class JobNews(Struct, tag="job.news", frozen=True, omit_defaults=True):
    """Something happened in a job without a step.

    `blocked` and `unfit` are for ops, and the order stands: one of the two has blocked the other; the record does not
    fit the order any more. `overdue` is for the technician and ops: the next step is late. `withdrawn` is what is left
    of news that is not yours any more.
    """

    order: Id
    what: Literal[
        "near", "at_place", "left_place", "wait_over", "far_photo", "blocked", "overdue", "unfit", "withdrawn"
    ]
    at: EpochS
    technician: Id | UnsetType = UNSET
    within_m: Annotated[float, Meta(ge=0.0, le=100_000.0)] | UnsetType = UNSET
    """For `near`: the distance that was passed."""
    eta_s: DurationS | UnsetType = UNSET
    """For `near`: the newest estimate."""
    far_m: Annotated[float, Meta(ge=0.0, le=3e7)] | UnsetType = UNSET
    """For `far_photo`, which only staff are told: how far off the live position was when a photo proved the arrival."""


class Fix(Struct, frozen=True, omit_defaults=True):
    """A position with what is known of its worth."""

    lat: Lat
    lng: Lng
    crs: Crs
    accuracy_m: AccuracyM
    age_s: DurationS
    source: Literal["sos", "live", "last_seen", "booked_address"]
    freshness: Literal["live", "recent", "stale", "unknown"] = "unknown"
    r95_m: Annotated[float, Meta(ge=0.0, le=2 * ACCURACY_M_MAX)] | None = None


class Coming(Struct, frozen=True, omit_defaults=True):
    """A responder who goes to an incident."""

    user: Id
    state: Literal["coming", "stalled", "on_scene"]
    since: EpochS
    nearest_m: Annotated[float, Meta(ge=0.0, le=2.1e7)] | None = None
    claimed_at: EpochS | None = None
    """When they said that they are there though no position shows it: ops have to confirm it."""
    claimed_m: Annotated[float, Meta(ge=0.0, le=2.1e7)] | None = None
    """How far off their position was then; null: it, or the place, was not known."""


class AskedToGo(Struct, frozen=True):
    """You are asked to go there."""

    fence: Fence
    expires_at: EpochS
    remaining_ms: Count


class ProposedEnd(Struct, frozen=True):
    """How somebody says that it ended; ops, where two are needed another of ops, have to say the same."""

    who: Id
    disposition: Word
    at: EpochS


class IncidentView(Struct, tag="incident", frozen=True, omit_defaults=True):
    """An incident as staff see it: the whole case."""

    incident: Id
    state: Word
    level: Count
    subject: Id
    subject_role: Word
    city: Id | None
    raised_at: EpochS
    changed_at: EpochS
    triggers: Count
    silent: bool = False
    restricted: bool = False
    fix: Fix | None = None
    order: Id | None = None
    booked: Place | None = None
    note: Text = ""
    owner: Id | None = None
    lost_at: EpochS | None = None
    distance_m: Annotated[float, Meta(ge=0.0, le=2.1e7)] | None = None
    kind: Word = "panic"
    cap_status: Word = "actual"
    cause: Word = ""
    responders: Annotated[list[Coming], Meta(max_length=100)] = []
    asked: AskedToGo | None = None
    """Only for whom it is sent to."""
    cancel_asked_at: EpochS | None = None
    proposed: ProposedEnd | None = None
    linked: Annotated[list[Id], Meta(max_length=100)] = []
    """Incidents of the other side of the booking, of which neither side is told."""
    why: Word = ""
    version: Count = 0
    """Grows with each change: what is not higher than what the reader has is nothing new."""


class IncidentUpdate(Struct, tag="incident.update", frozen=True, omit_defaults=True):
    """What changed in an incident."""

    incident: Id
    state: Word
    level: Count
    changed_at: EpochS
    owner: Id | None = None
    triggers: Count = 1
    kind: Word = "panic"
    responders: Annotated[list[Coming], Meta(max_length=100)] = []
    cancel_asked_at: EpochS | None = None
    proposed: ProposedEnd | None = None
    why: Word = ""
    disposition: Word = ""
    version: Count = 0
    """As of the whole case; 0 where it is not known any more."""


class BulkRead(Struct, tag="bulk_read", frozen=True):
    """Somebody looked at the places of many people one by one in a short time. For ops, but not for themselves."""

    by: Id
    people: Count
    since: EpochS
    at: EpochS


class IncidentContact(Struct, tag="incident.contact", frozen=True, omit_defaults=True):
    """The raiser's phone fell silent (``lost``), or speaks again; told once each. ``heard_at``: when it last spoke."""

    incident: Id
    lost: bool
    heard_at: EpochS
    fix: Fix | None = None


class SosAck(Struct, tag="sos_ack", frozen=True):
    """The tap was received; says honestly how far it has come."""

    key: Word
    incident: Id
    durable: bool
    level: Count
    delivered: Count
    seen: bool
    ignored: Annotated[list[Text], Meta(max_length=64)]
    received_at: EpochS


class Snapshot(Struct, tag="snapshot", frozen=True, omit_defaults=True):
    """What is open for this user, in place of the messages that led to it; as much as one message holds."""

    orders: Annotated[list[OrderView], Meta(max_length=10_000)] = []
    offers: Annotated[list[Offer], Meta(max_length=1_000)] = []
    incidents: Annotated[list[IncidentView], Meta(max_length=10_000)] = []
    checkins: Annotated[list[CheckinView], Meta(max_length=1_000)] = []
    orders_left_out: Count = 0
    """Open orders that did not fit: the user's own come first, then the newest; the rest is in ``GET /v1/orders``."""
    incidents_left_out: Count = 0
    """Incidents that did not fit: first those that nobody has acknowledged; the rest is in ``GET /v1/incidents``."""


ReliableMessage = (
    Offer
    | OfferClosed
    | OrderView
    | JobNews
    | IncidentView
    | IncidentUpdate
    | CheckinView
    | DrillView
    | CareNews
    | Snapshot
)
ServerMessage = (
    Welcome
    | Heartbeat
    | Ok
    | Error
    | Reconnect
    | PingAck
    | PingPolicy
    | Position
    | Area
    | Unwatched
    | SosAck
    | IncidentContact
    | BulkRead
    | ReliableMessage
)
