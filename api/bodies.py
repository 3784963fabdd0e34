"""Bodies of HTTP requests and answers as structs: they decode the bytes, and the OpenAPI document is made from them."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from api.cursor import CURSOR_LEN_MAX
from realtime.messages import (
    AccuracyM,
    Count,
    Crs,
    DurationS,
    EpochS,
    Fen,
    HeadingDeg,
    Id,
    Key,
    Lat,
    Lng,
    OrderView,
    PingAck,
    PingRow,
    Seq,
    SosAck,
    SpeedMps,
    StepName,
    Text,
    Word,
)

Words = Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(max_length=64)]
Phone = Annotated[str, Meta(min_length=1, max_length=32)]
ModeName = Literal["auto", "broadcast", "directed", "manual"]
FallbackName = Literal["auto", "cancel"]
Papers = Annotated[dict[Annotated[str, Meta(min_length=1, max_length=64)], EpochS], Meta(max_length=32)]
ZoneIds = Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(min_length=1, max_length=64)]
Zones = Annotated[dict[Annotated[str, Meta(min_length=1, max_length=64)], ZoneIds], Meta(max_length=64)]
GenderName = Literal["female", "male", "other"]
Stars = Annotated[float, Meta(ge=0.0, le=5.0)]
CursorText = Annotated[str, Meta(max_length=CURSOR_LEN_MAX)]
MetresM = Annotated[float, Meta(ge=0.0, le=2.1e7)]


# -- orders -----------------------------------------------------------------------------------------------


class LocationIn(Struct, frozen=True):
    """Where the service shall happen."""

    lat: Lat
    lng: Lng
    address: Annotated[str, Meta(min_length=1, max_length=512)]
    crs: Crs = "wgs84"
    unit: Text = ""
    entrance_note: Text = ""


class ContactIn(Struct, frozen=True):
    """Whom to call at the door."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    phone: Phone


class PriceIn(Struct, frozen=True):
    """What was agreed, in fen."""

    service_fen: Fen
    travel_fen: Fen = 0


class OrderIn(Struct, frozen=True):
    """A new order."""

    service: Annotated[str, Meta(min_length=1, max_length=64)]
    duration_s: Annotated[float, Meta(ge=60.0, le=86_400.0)]
    location: LocationIn
    contact: ContactIn
    price: PriceIn
    customer: Id | None = None
    """Whose order it is; a customer may leave it out."""
    skills: Words = msgspec.field(default_factory=list)
    mode: ModeName = "auto"
    technician: Id | None = None
    """Whom the customer picked, by id or by the ``pick`` of a card; for mode ``directed``, which needs it."""
    fallback: FallbackName = "auto"
    """What becomes of a directed order that the picked technician does not take."""
    scheduled_for: EpochS | None = None
    gender_preference: GenderName | None = None
    tier_min: Word = ""
    """Lowest tier that may be asked."""


class AssignIn(Struct, frozen=True):
    """Give an order to a technician without asking them."""

    technician: Id
    reason: Annotated[str, Meta(min_length=1, max_length=512)]
    override: Words = msgspec.field(default_factory=list)
    """Filters to pass over, by name."""


class ModeIn(Struct, frozen=True):
    """Have a technician looked for in another way."""

    mode: ModeName
    technician: Id | None = None
    """Whom to ask; for mode ``directed``, which needs it."""
    fallback: FallbackName = "auto"
    reason: Text = ""


class CancelIn(Struct, frozen=True):
    """Why an order is called off."""

    reason: Word = ""
    fee_fen_max: Fen | None = None
    """The fee that the preview named: when it has risen meanwhile nothing is done (``fee_changed``)."""
    waive_fee: bool = False
    """Staff only: the platform bears the cost."""


class AddTimeIn(Struct, frozen=True):
    """How much longer a running service shall take."""

    minutes: Annotated[int, Meta(ge=1, le=1_440)]
    price_fen: Fen | None = None
    """What it costs (staff); when absent, the price of a minute as agreed so far."""


class TimeAnswerIn(Struct, frozen=True):
    """Which request for more time is answered."""

    request: Id


class ScheduleIn(Struct, frozen=True):
    """When the service shall begin instead."""

    scheduled_for: EpochS
    reason: Word = ""


class ReassignIn(Struct, frozen=True):
    """Why the order needs somebody else."""

    reason: Word = ""


class RatingIn(Struct, frozen=True):
    """Stars for a finished job."""

    stars: Annotated[int, Meta(ge=1, le=5)]


class StepIn(Struct, frozen=True):
    """The job has come to its next step."""

    step: StepName
    evidence: Text = ""
    """A photo's reference (``photo:…``) or a note; kept in the order's history."""
    reason: Text = ""
    """Why staff take the step for the technician, whatever proof is missing; staff only, and needed."""


class OrderPage(Struct, frozen=True, omit_defaults=True):
    """Orders, newest first."""

    orders: Annotated[list[OrderView], Meta(max_length=1_000)]
    next: CursorText | None = None
    """Give as ``after`` to get the next page; absent on the last."""


class OfferRow(Struct, frozen=True, omit_defaults=True):
    """One offer of an order to a technician, as it stands. Costs and distances are for staff."""

    offer: Id
    order: Id
    technician: Id
    city: Id
    state: Word
    offered_at: EpochS
    expires_at: EpochS
    changed_at: EpochS
    distance_band: Word
    delivered_at: EpochS | None = None
    reason: Text = ""
    """The technician's words for a decline."""
    round: Id | None = None
    cost_s: Annotated[float, Meta(ge=-1e9, le=1e9)] | None = None
    travel_s: DurationS | None = None
    distance_m: MetresM | None = None


class OfferPage(Struct, frozen=True, omit_defaults=True):
    """Offers, newest first."""

    offers: Annotated[list[OfferRow], Meta(max_length=1_000)]
    next: CursorText | None = None
    """Give as ``after`` to get the next page; absent on the last."""


class OrderEventOut(Struct, frozen=True):
    """The body of a webhook: an order as it was after the change."""

    id: Id
    """The same in every attempt."""
    type: Word
    """`order.` and what happened."""
    at: EpochS
    tenant: Id
    version: Count
    """Rises with each change of the order: events may overtake each other."""
    order: OrderView


class TimelineEntry(Struct, frozen=True, omit_defaults=True):
    """One thing that happened to an order or incident."""

    seq: Count
    at: EpochS
    what: Word
    who: Word
    state: Word
    detail: dict[str, Any] | Text = ""


class Timeline(Struct, frozen=True):
    """Everything that happened, in order."""

    id: Id
    events: Annotated[list[TimelineEntry], Meta(max_length=100_000)]


class Term(Struct, frozen=True):
    """One addend of a cost, in seconds; positive is worse."""

    name: Word
    seconds: float


Terms = Annotated[list[Term], Meta(max_length=32)]
Ids = Annotated[list[Id], Meta(max_length=1_000)]
CostS = Annotated[float, Meta(ge=-1e9, le=1e9)]
Rank = Annotated[int, Meta(ge=1, le=100_000)]


class Candidate(Struct, frozen=True, omit_defaults=True):
    """An eligible technician of a round."""

    technician: Id
    cost_s: CostS
    travel_s: DurationS
    distance_m: MetresM
    terms: Terms
    outcome: Literal["chosen", "given", "dearer", "too_dear"]
    other_order: Id | None = None
    """The order that got them in this round."""


class Excluded(Struct, frozen=True, omit_defaults=True):
    """A technician in reach who was no candidate, with the one reason."""

    technician: Id
    reason: Word
    distance_m: MetresM
    detail: Word = ""
    """Of `calendar`: `booking`, `rest`, `off_shift` or `too_late`."""


class RoundExplained(Struct, frozen=True):
    """One round's view of one order: everyone in reach, who was chosen and why."""

    round_id: Word
    at: EpochS
    policy: Word
    seed: Count
    solver: Word
    radius_m: MetresM
    chosen: Ids
    why: Literal[
        "cheapest", "cheapest_left", "withdrawn", "all_given", "too_dear", "nobody_eligible", "nobody_in_reach"
    ]
    ranking: Annotated[list[Candidate], Meta(max_length=100_000)]
    excluded: Annotated[list[Excluded], Meta(max_length=100_000)]
    ways_from: Text
    """Which road engine told the likely ways, or what failed; empty when none was asked."""
    others_len: Count = 0
    """How many were in reach besides, and are not named (`dispatch.round.others_len_max`)."""
    repeated: Count = 0
    """Rounds that followed, gave nobody anything either and were not stored, until `repeated_until`."""
    repeated_until: EpochS | None = None


class Explanation(Struct, frozen=True):
    """Why the rounds decided as they did (ops)."""

    order: Id
    rounds: Annotated[list[RoundExplained], Meta(max_length=10_000)]


class PolicyIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers of the policy that a question may change; the config's names, units and ranges."""

    rating_max_s: CostS | UnsetType = UNSET
    rating_floor: Stars | UnsetType = UNSET
    rating_best: Stars | UnsetType = UNSET
    tier_s: Annotated[dict[Word, CostS], Meta(max_length=32)] | UnsetType = UNSET
    idle_s_per_min: CostS | UnsetType = UNSET
    idle_max_s: CostS | UnsetType = UNSET
    position_fresh_s: DurationS | UnsetType = UNSET
    radius_steps_m: Annotated[list[MetresM], Meta(min_length=1, max_length=16)] | UnsetType = UNSET
    candidates_len_max: Rank | UnsetType = UNSET
    unmatched_s: DurationS | UnsetType = UNSET


class WhatIfIn(Struct, frozen=True):
    """A question about an open order."""

    policy: PolicyIn = msgspec.field(default_factory=PolicyIn)
    waive: Annotated[list[Word], Meta(max_length=32)] = msgspec.field(default_factory=list)
    """Filters that shall not count, by their names in explanations."""


class WhatIfOut(Struct, frozen=True):
    """Whom a round for this order alone would choose now; nothing was changed."""

    order: Id
    as_is: RoundExplained
    asked: RoundExplained


class OrderSeen(Struct, frozen=True, omit_defaults=True):
    """One order of a round as it looked to a technician."""

    order: Id
    distance_m: MetresM
    outcome: Word
    """`chosen`, `given`, `dearer`, `too_dear`, or the reason against them."""
    chosen: Ids
    cost_s: CostS | None = None
    travel_s: DurationS | None = None
    terms: Terms = msgspec.field(default_factory=list)
    rank: Rank | None = None
    best_cost_s: CostS | None = None
    detail: Word = ""
    """Of `calendar`: `booking`, `rest`, `off_shift` or `too_late`."""


class RoundSeen(Struct, frozen=True):
    """One stored round that had a technician in reach."""

    round_id: Word
    at: EpochS
    policy: Word
    solver: Word
    outcomes: dict[Word, Count]
    nearest: Annotated[list[OrderSeen], Meta(max_length=64)]


class WhyNoOffers(Struct, frozen=True, omit_defaults=True):
    """A page of stored rounds from a technician's side, oldest first."""

    technician: Id
    city: Id
    rounds: Count
    """Stored rounds of this page, in reach or not."""
    duty: Word
    """Now: who is `off` duty, `paused` or `ending` is in no round's reach, or asked for nothing."""
    in_reach: Count
    unnamed: Count
    """Rounds that had more people in reach than they name: whether the technician was among them is not known."""
    outcomes: dict[Word, Count]
    """Sums over this page: how many orders of how many rounds came out how for the technician."""
    seen: Annotated[list[RoundSeen], Meta(max_length=1_000)]
    next: Word | None = None
    """Give as ``after`` to get the next page; absent on the last."""
    duty_since: EpochS | UnsetType = UNSET
    """Since when; absent when it never changed."""


class TrackPoint(Struct, frozen=True, omit_defaults=True):
    """One kept position."""

    fixed_at: EpochS
    received_at: EpochS
    lat: Lat
    lng: Lng
    accuracy_m: AccuracyM
    speed_mps: SpeedMps | None = None
    heading_deg: HeadingDeg | None = None
    order: Word = ""


class Track(Struct, frozen=True):
    """Kept positions in the order of their fixes."""

    crs: Crs
    points: Annotated[list[TrackPoint], Meta(max_length=100_000)]


# -- technicians ------------------------------------------------------------------------------------------


class TechnicianIn(Struct, frozen=True):
    """The platform's record of a technician, whole."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    cities: Annotated[list[Id], Meta(min_length=1, max_length=64)]
    skills: Words = msgspec.field(default_factory=list)
    gender: GenderName = "other"
    tier: Word = ""
    verified: bool = False
    papers: Papers = msgspec.field(default_factory=dict)
    """Until when each paper is valid, by name."""
    own_transport: bool = False
    """Comes and goes by a vehicle of their own."""
    services: Words = msgspec.field(default_factory=list)
    """Services that they do, by an order's `service`; without any, all that their skills allow."""
    zones: Zones = msgspec.field(default_factory=dict)
    """Ids of the zones to which they go, by city; everywhere in a city that is not named."""


class TechnicianView(Struct, frozen=True, omit_defaults=True):
    """A technician as staff and they themselves see them."""

    technician: Id
    name: Text
    cities: Annotated[list[Id], Meta(max_length=64)]
    skills: Words
    gender: GenderName
    tier: Word
    verified: bool
    duty: Word
    """`off`, `on`, `paused`, or `ending`: off once the job, and what follows it directly, is over."""
    work: Word
    duty_city: Id | None = None
    rating: Stars | None = None
    papers: Papers = msgspec.field(default_factory=dict)
    own_transport: bool = False
    services: Words = msgspec.field(default_factory=list)
    zones: Zones = msgspec.field(default_factory=dict)


class DutyIn(Struct, frozen=True):
    """Go on or off duty."""

    on: bool
    city: Id | None = None


DayName = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
ClockTime = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", max_length=5)]
"""Hours and minutes by the city's clock."""


class ShiftRow(Struct, frozen=True):
    """Working hours that begin on these days; ``ends`` at or before ``begins`` is on the next day."""

    days: Annotated[list[DayName], Meta(min_length=1, max_length=7)]
    begins: ClockTime
    ends: ClockTime


class RestRow(Struct, frozen=True):
    """Time in which the technician takes no work."""

    begins_at: EpochS
    ends_at: EpochS


class CalendarIn(Struct, frozen=True):
    """When a technician works and rests, whole. Without shifts they work at any hour."""

    shifts: Annotated[list[ShiftRow], Meta(max_length=28)] = msgspec.field(default_factory=list)
    rests: Annotated[list[RestRow], Meta(max_length=64)] = msgspec.field(default_factory=list)


class BookingView(Struct, frozen=True):
    """A job that the technician has accepted and begins with later."""

    order: Id
    begins_at: EpochS
    ends_at: EpochS


class CalendarView(Struct, frozen=True):
    """A technician's time."""

    technician: Id
    timezone: Word
    """By whose clocks the shifts are worked."""
    shifts: Annotated[list[ShiftRow], Meta(max_length=28)]
    rests: Annotated[list[RestRow], Meta(max_length=64)]
    bookings: Annotated[list[BookingView], Meta(max_length=1_000)]


class NearbyTechnician(Struct, frozen=True, omit_defaults=True):
    """A technician on the ops map."""

    technician: Id
    lat: Lat
    lng: Lng
    crs: Crs
    accuracy_m: AccuracyM
    distance_m: MetresM
    age_s: DurationS
    state: Word
    connected: bool
    rating: Stars | None = None


class NearbyCard(Struct, frozen=True, omit_defaults=True):
    """A technician as a customer may see them before an order: no id, no place finer than a cell."""

    pick: Word
    """Rotating token that stands for the technician; good for a while and for this customer only."""
    distance_band: Word
    services: Words
    earliest_s: DurationS
    rating: Stars | None = None


class Nearby(Struct, frozen=True, omit_defaults=True):
    """Technicians near a point: ``technicians`` for ops, ``cards`` for everyone else."""

    technicians: Annotated[list[NearbyTechnician], Meta(max_length=1_000)] | UnsetType = UNSET
    cards: Annotated[list[NearbyCard], Meta(max_length=1_000)] | UnsetType = UNSET


# -- positions, SOS, tickets, documents -------------------------------------------------------------------


class PositionsIn(Struct, frozen=True, gc=False):
    """Position reports in rows, for phones whose socket cannot live."""

    device: Key
    pings: Annotated[list[PingRow], Meta(min_length=1, max_length=512)]
    sent_at: EpochS | None = None
    mock: bool = False
    """Of one of them at least, the phone says that the position was made up."""
    crs: Crs | None = None
    alarm: bool | Annotated[list[Seq], Meta(max_length=512)] = False
    """A tracker's alarm: ``seq`` of the rows that carry it, or true for the last one. Each is an SOS of its own,
    whatever becomes of the position; then the answer is an ``AlarmAck``."""


class AlarmAck(Struct, tag="alarm_ack", frozen=True, omit_defaults=True):
    """What became of a tracker's alarms, and of the positions that came with them."""

    alarms: Annotated[list[SosAck], Meta(max_length=16)]
    positions: PingAck | None = None
    refused: Word = ""
    """The error's code when the positions were not taken."""


class ResolveIn(Struct, frozen=True):
    """How an incident ended."""

    disposition: Literal["real_handled", "real_handed_over", "false_accident", "false_test", "duplicate", "unreachable"]
    note: Text = ""


class TicketIn(Struct, frozen=True):
    """For which device the ticket shall be good."""

    device: Key
    kind: Literal["hub", "sos"] = "hub"
    """``sos``: opens the SOS page in a browser, on whatever device."""


class Ticket(Struct, frozen=True):
    """A one-time ticket for ``hello``."""

    ticket: Word
    expires_at: EpochS
    hub_url: Text
    page: Word = ""
    """Path of the SOS page with the ticket in its fragment; for kind ``sos``."""


class MapTiles(Struct, frozen=True):
    """Tiles of a map from elsewhere."""

    url: Annotated[str, Meta(max_length=2_048)]
    """With {z}, {x} and {y}."""
    crs: Crs
    """Frame in which they are drawn: positions in another are converted first."""
    attribution: Text
    zoom_max: Annotated[int, Meta(ge=0, le=24)]


class ServedCity(Struct, frozen=True):
    """An open city, as anybody may know it."""

    city: Id
    name: Text
    timezone: Word
    bbox: tuple[Lng, Lat, Lng, Lat]
    """West, south, east, north, in the platform's frame."""


class ClientConfig(Struct, frozen=True):
    """What clients must know before they connect."""

    hub_url: Text
    crs: Crs
    subprotocols: Annotated[list[Word], Meta(max_length=8)]
    version: Word
    server_at: EpochS
    message_bytes_max: Count
    locale: Literal["en", "zh-CN"] = "en"
    """Of somebody whose browser speaks none of ours."""
    emergency_number: Word = ""
    tiles: MapTiles | None = None
    """Absent: the pages draw the city by themselves (`GET /v1/map/{city}`)."""
    cities: Annotated[list[ServedCity], Meta(max_length=10_000)] = []
    """Where there is service."""


class BlockIn(Struct, frozen=True):
    """Keep a customer and a technician apart."""

    reason: Text = ""
    """Needed of staff."""


class BlockView(Struct, frozen=True, omit_defaults=True):
    """A block between two people, as the one whose it is or staff may see it."""

    customer: Id
    technician: Id
    by: Literal["customer", "technician"]
    """Whose block it is."""
    set_at: EpochS
    by_staff: bool
    """Staff set it in their name, and only staff lift it."""
    reason: Text = ""
    set_by: Id | None = None
    """Who said so (staff)."""


class BlockPage(Struct, frozen=True, omit_defaults=True):
    """Blocks, newest first."""

    blocks: Annotated[list[BlockView], Meta(max_length=1_000)]
    next: CursorText | None = None
    """Give as ``after`` to get the next page; absent on the last."""


class Done(Struct, frozen=True):
    """The request was done and is stored."""

    result: dict[str, Any]
