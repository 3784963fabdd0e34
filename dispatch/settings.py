"""Dispatch's part of the configuration: how long things wait, how far they reach, what a second is worth."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Final

from core.ranges import Range, Ranged, check_range, check_ranges

SETTLED_KEEP_S_MAX: Final = 3_600.0
"""Settled orders that the store gives back at the start: memory that kept them longer would forget by a restart."""
IDEMPOTENCY_KEEP_S_MAX: Final = 86_400.0
"""Clients' keys that the store gives back at the start."""


@dataclass(frozen=True, slots=True)
class HeadStartSettings:
    """How many seconds farther away a technician may be and still come first. Each is bounded, so none rules alone."""

    rating_max_s: Annotated[float, Range(0, 1800)] = 120.0
    """Head start of a mean rating of `rating_best` or more, in seconds."""
    rating_floor: Annotated[float, Range(1, 5)] = 4.0
    """Mean rating that earns no head start, in stars; between it and `rating_best` the head start is linear."""
    rating_best: Annotated[float, Range(1, 5)] = 5.0
    """Mean rating that earns the whole head start, in stars."""
    tier_s: dict[str, float] = field(default_factory=lambda: {"gold": 90.0, "silver": 45.0})
    """Head start of each tier, in seconds; a tier not named here has none."""
    idle_s_per_min: Annotated[float, Range(0, 60)] = 2.0
    """Head start for each minute without a job, in seconds."""
    idle_max_s: Annotated[float, Range(0, 1800)] = 60.0
    """Largest head start for waiting, in seconds."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self)
        if self.rating_best <= self.rating_floor:
            raise ValueError(f"rating_best must be above rating_floor ({self.rating_floor:g}), is {self.rating_best:g}")
        for tier, seconds in self.tier_s.items():
            check_range(f"tier_s.{tier}", seconds, 0, 1800)


def check_radius_steps(steps_m: tuple[float, ...]) -> None:
    """Raise ``ValueError`` for radii that are out of range or do not rise."""
    check_range("radius_steps_m, number of steps,", len(steps_m), 1, 16)
    for step_m in steps_m:
        check_range("radius_steps_m", step_m, 100, 200_000)
    if list(steps_m) != sorted(set(steps_m)):
        raise ValueError(f"radius_steps_m must rise from step to step, is {list(steps_m)}")


@dataclass(frozen=True, slots=True)
class ShadowSettings:
    """Other numbers that rounds are decided by beside the live ones, to compare; nobody is offered anything by them."""

    name: str = ""
    """Name under which its decisions are stored; empty for no shadow policy."""
    rating_max_s: Annotated[float, Range(0, 1800)] = 120.0
    """Head start of a mean rating of `rating_best` or more, in seconds."""
    idle_s_per_min: Annotated[float, Range(0, 60)] = 2.0
    """Head start for each minute without a job, in seconds."""
    idle_max_s: Annotated[float, Range(0, 1800)] = 60.0
    """Largest head start for waiting, in seconds."""
    tier_factor: Annotated[float, Range(0, 100)] = 1.0
    """How many times the live head start of each tier; a number."""
    decline_max_s: Annotated[float, Range(0, 1800)] = 60.0
    """Cost of somebody who refuses for certain, in seconds."""
    newcomer_share: Annotated[float, Range(0, 1)] = 0.2
    """Share of the rounds, drawn by the round's seed, in which newcomers have a head start."""
    newcomer_s: Annotated[float, Range(0, 1800)] = 60.0
    """Their head start in such a round, in seconds."""
    waiting_s_per_min: Annotated[float, Range(0, 600)] = 60.0
    """What each minute is worth that an order has waited, in seconds of travel."""
    waiting_max_s: Annotated[float, Range(0, 7200)] = 1_800.0
    """Most that its waiting is worth, in seconds of travel."""
    turn_s: Annotated[float, Range(0, 600)] = 60.0
    """What each turn costs that a technician had more than an idle equal, in seconds of travel."""
    turn_max_s: Annotated[float, Range(0, 1800)] = 120.0
    """Most that their turns cost, in seconds of travel."""
    unmatched_s: Annotated[float, Range(60, 1_000_000)] = 7_200.0
    """Cost of leaving an order unmatched in a round, in seconds."""
    radius_steps_m: tuple[float, ...] = (3_000.0, 5_000.0, 10_000.0, 20_000.0)
    """Search radius of an order, in metres; of a wider one than the live one, whom the live round knew of."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self)
        check_radius_steps(self.radius_steps_m)
        if len(self.name) > 64 or not self.name.isprintable():
            raise ValueError("name must be at most 64 printable characters")


@dataclass(frozen=True, slots=True)
class WaitingSettings(Ranged):
    """What an order's waiting is worth, so that none is passed over for ever while others are nearer."""

    s_per_min: Annotated[float, Range(0, 600)] = 60.0
    """For each minute from then on, in seconds of travel; 0 counts no waiting."""
    after_s: Annotated[float, Range(0, 7200)] = 300.0
    """How long after it began to look for a technician its waiting begins to count, in seconds."""
    max_s: Annotated[float, Range(0, 7200)] = 1_800.0
    """Most that its waiting is worth, in seconds of travel."""


@dataclass(frozen=True, slots=True)
class TurnSettings(Ranged):
    """What it costs to be asked again while somebody equal near by is idle, so that offers spread."""

    s: Annotated[float, Range(0, 600)] = 60.0
    """For each offer or job that a technician had more than the least served of them, in seconds of travel; 0 counts
    none."""
    max_s: Annotated[float, Range(0, 1800)] = 120.0
    """Most that they cost, in seconds of travel."""
    half_life_min: Annotated[float, Range(1, 100_000)] = 240.0
    """Age at which an offer or job counts half, in minutes."""


@dataclass(frozen=True, slots=True)
class DeclineSettings(Ranged):
    """What a probable refusal costs: the time that goes by until the next technician is asked."""

    max_s: Annotated[float, Range(0, 1800)] = 60.0
    """Cost of somebody who refuses for certain, in seconds; 0 leaves refusals out of the choice."""
    prior_share: Annotated[float, Range(0, 1)] = 0.2
    """Share of offers that somebody new is expected to refuse."""
    prior_weight: Annotated[float, Range(0.1, 1000)] = 10.0
    """How many answers that expectation counts for, as a number of fresh answers."""
    half_life_days: Annotated[float, Range(0.1, 3650)] = 30.0
    """Age at which an answer counts half, in days."""


@dataclass(frozen=True, slots=True)
class NewcomerSettings(Ranged):
    """Somebody new has the city's mean rating; so that they are seen at all, some rounds prefer them."""

    share: Annotated[float, Range(0, 1)] = 0.2
    """Share of the rounds, drawn by the round's seed, in which newcomers have a head start."""
    head_start_s: Annotated[float, Range(0, 1800)] = 60.0
    """Their head start in such a round, in seconds."""
    ratings: Annotated[float, Range(0, 1000)] = 3.0
    """Whoever was rated fewer times, ever, is a newcomer; a number."""


@dataclass(frozen=True, slots=True)
class RatingSettings(Ranged):
    """How stars become a mean: old ones fade, few ones are pulled towards the city's mean."""

    half_life_days: Annotated[float, Range(1, 3650)] = 180.0
    """Age at which a rating counts half, in days."""
    prior_weight: Annotated[float, Range(0.1, 1000)] = 20.0
    """How many ratings the city's mean counts for, as a number of fresh ratings."""
    city_mean: Annotated[float, Range(1, 5)] = 4.7
    """Mean of a city before it has ratings of its own, in stars."""


@dataclass(frozen=True, slots=True)
class EligibilitySettings:
    """Who may be asked at all, besides what an order asks for."""

    tiers: tuple[str, ...] = ("silver", "gold")
    """Tiers from the lowest to the highest, for orders that ask for a tier or better; all others are below them."""
    papers: tuple[str, ...] = ()
    """Papers, by name, that whoever is asked for an order must have, valid until its service ends."""
    papers_of_city: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The same for single cities, instead of `papers`."""
    night_walk_max_m: Annotated[float, Range(0, 200_000)] = 0.0
    """Distance of an order beyond which only technicians with their own transport are asked, when the way there, the
    service or the way home touches the night, in metres; 0 for no such rule."""
    night_begins_h: Annotated[float, Range(0, 24)] = 22.0
    """When the night begins, local hour of the day."""
    night_ends_h: Annotated[float, Range(0, 24)] = 6.0
    """When the night ends, local hour of the day."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self)
        if len(set(self.tiers)) != len(self.tiers) or len(self.tiers) > 64:
            raise ValueError(f"tiers must be at most 64 different names, is {list(self.tiers)}")
        for city, papers in (("papers", self.papers), *self.papers_of_city.items()):
            check_range(f"number of papers of {city}", len(papers), 0, 32)


@dataclass(frozen=True, slots=True)
class RoundSettings:
    """When a matching round runs and how large it may be."""

    round_min_ms: Annotated[int, Range(0, 60_000)] = 200
    """Least time between two rounds while orders outnumber idle technicians, in milliseconds."""
    round_max_ms: Annotated[int, Range(0, 60_000)] = 0
    """How long a round may gather orders and technicians while orders outnumber idle technicians, in milliseconds; else
    it never waits."""
    look_ms: Annotated[int, Range(10, 60_000)] = 250
    """While orders wait, how often to look for idle technicians whose phones have come back, in milliseconds."""
    retry_s: Annotated[float, Range(0.1, 600)] = 2.0
    """How often orders that found nobody are tried again without any news, in seconds."""
    radius_steps_m: tuple[float, ...] = (3_000.0, 5_000.0, 10_000.0, 20_000.0)
    """Search radius of an order, in metres; the next step is used while nobody is found."""
    widen_s: Annotated[float, Range(0, 600)] = 0.0
    """Wait before the next radius step, in seconds; 0 widens within the same round."""
    candidates_len_max: Annotated[int, Range(1, 1000)] = 30
    """Technicians weighed for each order; orders left over are weighed against the rest in a second pass."""
    reach_len_max: Annotated[int, Range(0, 1000)] = 32
    """Nearest technicians kept with a round whether eligible or not, so that it can say why not; a number."""
    slice_orders_max: Annotated[int, Range(1, 1000)] = 24
    """Orders for which a round looks up neighbours one by one; a number."""
    columns_len_max: Annotated[int, Range(1, 100_000)] = 5_000
    """Orders and technicians on duty together that a round of more orders takes as columns; what is more goes slice by
    slice. A number."""
    told_len_max: Annotated[int, Range(1, 100_000)] = 3_000
    """Technicians in reach, the nearest, of whom a round says why none was asked for an order; a number."""
    others_len_max: Annotated[int, Range(0, 100_000)] = 200
    """Technicians in reach of a stored round, besides those it weighed, whom it names; more are counted. A number."""
    inline_cells_max: Annotated[int, Range(1, 1_000_000)] = 16_384
    """Orders times technicians up to which a round is solved at once, not in a thread; a number."""
    budget_ms: Annotated[int, Range(1, 600_000)] = 1_000
    """Time for the exact solution of a round in a thread, in milliseconds; a round over it is solved greedily."""
    unmatched_s: Annotated[float, Range(60, 1_000_000)] = 7_200.0
    """Cost of leaving an order unmatched in a round, in seconds; above any real cost, so that more orders win."""
    keep_every_s: Annotated[float, Range(0, 3600)] = 60.0
    """Rounds that gave nobody anything are stored at most this often, in seconds."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self)
        check_radius_steps(self.radius_steps_m)


@dataclass(frozen=True, slots=True)
class LostSettings(Ranged):
    """Technicians who fall silent with an order that they have not arrived at."""

    silent_s: Annotated[float, Range(30, 86_400)] = 600.0
    """A technician who is not heard for so long before they arrive is lost, in seconds."""
    repair: bool = True
    """Whether dispatch gives their order to somebody else by itself; otherwise staff are told and decide."""
    booked_check_s: Annotated[float, Range(0, 86_400)] = 1_800.0
    """The technician of a booked job must be on duty and heard from so long before its time, in seconds."""


@dataclass(frozen=True, slots=True)
class OverdueSettings(Ranged):
    """Jobs that do not come to their next step, although their technician is heard."""

    grace_s: Annotated[float, Range(0, 86_400)] = 300.0
    """How long after accepting an order for now its technician may take to set out, and how late they may arrive or
    finish, before they are reminded and ops are told, in seconds; of a booked job it is when they must set out."""
    redispatch_s: Annotated[float, Range(10, 86_400)] = 600.0
    """An order whose technician has not set out so long after that goes to somebody else, in seconds."""
    repair: bool = True
    """Whether dispatch gives it to somebody else by itself; otherwise ops are told again and decide."""
    again_s: Annotated[float, Range(60, 86_400)] = 900.0
    """When ops are told again of a job that still stands, in seconds; from then on the pause doubles."""
    leave_s: Annotated[float, Range(60, 2_592_000)] = 1_800.0
    """A technician who has finished and does not say that they have left may be asked again after this, in seconds."""


@dataclass(frozen=True, slots=True)
class ScheduleSettings(Ranged):
    """Orders for later, and the time that technicians have."""

    lead_s: Annotated[float, Range(0, 604_800)] = 3_600.0
    """How long before its service a scheduled order begins to look for a technician, in seconds."""
    ahead_max_s: Annotated[float, Range(60, 31_622_400)] = 2_592_000.0
    """How far ahead an order may be scheduled, in seconds."""
    buffer_s: Annotated[float, Range(0, 14_400)] = 900.0
    """Time that a technician has between two jobs besides the way, in seconds."""
    late_max_s: Annotated[float, Range(0, 86_400)] = 600.0
    """A technician who would come later than this after the time of a scheduled order is not asked, and the order not
    given up before, in seconds."""
    early_s: Annotated[float, Range(0, 86_400)] = 1_800.0
    """How much earlier than the way needs a technician may set out for a booked job, in seconds."""
    chain_s: Annotated[float, Range(0, 7_200)] = 600.0
    """A technician whose service ends within this may be offered the next order, in seconds; 0 for never."""
    added_max_s: Annotated[float, Range(0, 86_400)] = 14_400.0
    """How much may be added to a service while it runs, in all, in seconds."""
    consent_s: Annotated[float, Range(10, 3_600)] = 300.0
    """How long a technician's request for more time waits for the customer's answer, in seconds."""


@dataclass(frozen=True, slots=True)
class BroadcastSettings(Ranged):
    """Mode `broadcast`: several technicians are asked at once, and the first accept wins."""

    offers_len: Annotated[int, Range(1, 50)] = 5
    """Technicians asked at once for one order; whoever declines is replaced by the next; a number."""
    extra_max_s: Annotated[float, Range(1, 1_000_000)] = 1_800.0
    """Cost up to which a second and further technician is asked, in seconds; no order goes without for them: it is also
    what it costs to take such an offer back for an order that nobody is asked for."""


@dataclass(frozen=True, slots=True)
class DirectedSettings(Ranged):
    """Mode `directed`: the technician whom the customer picked is asked first, and alone."""

    window_s: Annotated[float, Range(1, 86_400)] = 120.0
    """How long the picked technician may think, in seconds; then the order falls back as its customer chose. For a
    scheduled order it begins when they can be asked; half of the time until the service is left to others."""
    remind_every_s: Annotated[float, Range(1, 86_400)] = 30.0
    """How often their offer is shown again meanwhile, in seconds."""


@dataclass(frozen=True, slots=True)
class ManualSettings(Ranged):
    """Mode `manual`: staff give the order to somebody."""

    unfilled_after_s: Annotated[float, Range(1, 86_400)] = 3_600.0
    """An order that nobody was given by then is unfilled, in seconds."""


@dataclass(frozen=True, slots=True)
class StageFee(Ranged):
    """What is kept of an order that is called off, each part rounded down to whole fen."""

    service_percent: Annotated[int, Range(0, 100)] = 0
    """Part of the service's price that is kept, in percent; in service, of the price of the minutes used."""
    travel_percent: Annotated[int, Range(0, 100)] = 0
    """Part of the travel price that is kept, in percent."""
    technician_percent: Annotated[int, Range(0, 100)] = 0
    """Part of the fee that is the technician's, in percent."""


@dataclass(frozen=True, slots=True)
class CancellationSettings(Ranged):
    """What is kept when an order is called off, by how far it had come."""

    late_s: Annotated[float, Range(0, 604_800)] = 3_600.0
    """An accepted order is called off late from this long before its time, in seconds; one for now always is."""
    unassigned: StageFee = StageFee()
    """Before a technician has accepted."""
    assigned_early: StageFee = StageFee()
    """Accepted, and its time is far off."""
    assigned_late: StageFee = StageFee(service_percent=10, travel_percent=10)
    """Accepted, and its time is near."""
    en_route: StageFee = StageFee(service_percent=20, travel_percent=100, technician_percent=100)
    """The technician is on the way; for a scheduled order not sooner before its time than the way takes."""
    arrived: StageFee = StageFee(service_percent=50, travel_percent=100, technician_percent=100)
    """The technician is there; for a scheduled order not before its time."""
    no_show: StageFee = StageFee(service_percent=50, travel_percent=100, technician_percent=100)
    """The technician has waited for the customer and left."""
    in_service: StageFee = StageFee(service_percent=100, travel_percent=100, technician_percent=100)
    """The service has begun; only staff can end it early, and whole minutes used are paid."""
    own_block_counts: bool = True
    """Whether an order that its customer's own block has released (`dispatch.blocks_release`) costs what calling it off
    would have cost then, until somebody else has it; staff may waive it."""


class DepartureProof(StrEnum):
    """What "I am on my way" needs."""

    NONE = "none"
    POSITION = "position"


class ArrivalProof(StrEnum):
    """What "I have arrived" needs: to be at the place by one's positions, a photo's reference, or both."""

    NONE = "none"
    PLACE = "place"
    PHOTO = "photo"
    PLACE_OR_PHOTO = "place_or_photo"
    PLACE_AND_PHOTO = "place_and_photo"


@dataclass(frozen=True, slots=True)
class ArrivalSettings:
    """How coming to the customer is seen, told and proved. Ops may take any step for a technician, with a reason."""

    en_route_proof: DepartureProof = DepartureProof.POSITION
    """What the step `en_route` needs: `none`, or a live `position`."""
    arrived_proof: ArrivalProof = ArrivalProof.PLACE_OR_PHOTO
    """What the step `arrived` needs: `none`, `place`, `photo`, `place_or_photo` or `place_and_photo`."""
    arrive_m: Annotated[float, Range(10, 5_000)] = 200.0
    """Who is as near as this is at the place, in metres."""
    leave_m: Annotated[float, Range("arrive_m", 20_000)] = 300.0
    """Who was at the place and is farther than this has left it, in metres; at least `arrive_m`."""
    dwell_s: Annotated[float, Range(0, 600)] = 10.0
    """How long positions must say so before it counts, in seconds from the first to the last of them."""
    accuracy_m_max: Annotated[float, Range(5, 5_000)] = 100.0
    """Positions that are less accurate are no evidence, in metres."""
    near_m: tuple[float, ...] = (500.0, 100.0, 40.0)
    """Distances at which the customer is told once that the technician comes near, in metres, falling."""
    no_show_wait_s: Annotated[float, Range(0, 7_200)] = 600.0
    """How long a technician waits for an absent customer before the step `no_show`, in seconds after `arrived`, and not
    before the time of a scheduled order."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(self)
        check_range("near_m, number of distances,", len(self.near_m), 0, 8)
        for near_m in self.near_m:
            check_range("near_m", near_m, 5, 20_000)
        if list(self.near_m) != sorted(set(self.near_m), reverse=True):
            raise ValueError(f"near_m must fall from distance to distance, is {list(self.near_m)}")


@dataclass(frozen=True, slots=True)
class DispatchSettings(Ranged):
    """How orders find technicians."""

    offer_ttl_s: Annotated[float, Range(1, 600)] = 20.0
    """How long a technician may think about an offer, in seconds."""
    undelivered_s: Annotated[float, Range(0.1, 600)] = 3.0
    """An offer whose arrival no device has acknowledged by then goes to the next technician, in seconds."""
    phone_lost_s: Annotated[float, Range(0, 600)] = 0.0
    """How long an open offer waits for a phone whose last connection broke off, in seconds; then the next technician
    is asked. An order for which the customer picked somebody waits as long as ever."""
    unfilled_after_s: Annotated[float, Range(1, 86_400)] = 600.0
    """An order that nobody has taken by then is given up as unfilled, in seconds since its matching began; a scheduled
    one not before it would be late (`schedule.late_max_s` after its time)."""
    confirm_after_s: Annotated[float, Range(60, 2_592_000)] = 172_800.0
    """An order that the customer has not confirmed confirms itself after this, in seconds since its last step."""
    position_fresh_s: Annotated[float, Range(1, 3600)] = 60.0
    """Technicians whose last position is older are left out, in seconds."""
    settled_keep_s: Annotated[float, Range(60, SETTLED_KEEP_S_MAX)] = 3_600.0
    """How long settled orders stay in memory to answer late messages, in seconds; at most an hour."""
    idempotency_keep_s: Annotated[float, Range(60, IDEMPOTENCY_KEEP_S_MAX)] = 86_400.0
    """How long a client's key for a new order is remembered, in seconds; at most a day."""
    mailbox_len_max: Annotated[int, Range(1, 1_000_000)] = 10_000
    """Requests of one city that may wait; more are answered `overloaded`; a number."""
    batch_len_max: Annotated[int, Range(1, 10_000)] = 64
    """Requests handled and stored together, in one turn of the loop: an acceptance takes 0.3 ms of it; a number."""
    blocks_release: bool = False
    """Whether a block takes a booked order, whose technician has not set out, from them; never from whom staff have
    chosen, and staff are told either way."""
    blocks_len_max: Annotated[int, Range(0, 10_000)] = 200
    """How many others one person may block, a customer technicians or a technician customers; more are refused
    (`blocks_full`); a number."""
    seed: Annotated[int, Range(0, 2**31 - 1)] = 1
    """Seed of the tie-break between equal candidates; a number."""
    round: RoundSettings = RoundSettings()
    """Matching rounds."""
    lost: LostSettings = LostSettings()
    """Technicians who fall silent on their way."""
    overdue: OverdueSettings = OverdueSettings()
    """Jobs that do not come to their next step."""
    schedule: ScheduleSettings = ScheduleSettings()
    """Orders for later, and technicians' time."""
    arrival: ArrivalSettings = ArrivalSettings()
    """How coming to the customer is seen, told and proved."""
    cancellation: CancellationSettings = CancellationSettings()
    """What is kept of the price of an order that is called off."""
    head_start: HeadStartSettings = HeadStartSettings()
    """What counts besides travel time."""
    shadow: ShadowSettings = ShadowSettings()
    """A policy that is computed beside the live one, for `doorstep dispatch shadow`."""
    waiting: WaitingSettings = WaitingSettings()
    """Orders that have waited."""
    turn: TurnSettings = TurnSettings()
    """Offers that technicians had while equals were idle."""
    decline: DeclineSettings = DeclineSettings()
    """Probable refusals."""
    newcomer: NewcomerSettings = NewcomerSettings()
    """New technicians."""
    eligibility: EligibilitySettings = EligibilitySettings()
    """Who may be asked at all."""
    broadcast: BroadcastSettings = BroadcastSettings()
    """Orders offered to several at once."""
    directed: DirectedSettings = DirectedSettings()
    """Orders whose customer picked a technician."""
    manual: ManualSettings = ManualSettings()
    """Orders that staff give to somebody."""
    rating: RatingSettings = RatingSettings()
    """How ratings are averaged."""
