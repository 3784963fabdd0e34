"""Dispatch's part of the configuration: how long things wait, how far they reach, what a second is worth."""

from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite
from typing import Final

SETTLED_KEEP_S_MAX: Final = 3_600.0
"""Settled orders that the store gives back at the start: memory that kept them longer would forget by a restart."""
IDEMPOTENCY_KEEP_S_MAX: Final = 86_400.0
"""Clients' keys that the store gives back at the start."""


def _between(name: str, value: float, low: float, high: float) -> None:
    if not (isfinite(value) and low <= value <= high):
        raise ValueError(f"{name} must be between {low:g} and {high:g}, is {value:g}")


@dataclass(frozen=True, slots=True)
class HeadStartSettings:
    """How many seconds farther away a technician may be and still come first. Each is bounded, so none rules alone."""

    rating_max_s: float = 120.0
    """Head start of a mean rating of `rating_best` or more, in seconds."""
    rating_floor: float = 4.0
    """Mean rating that earns no head start, in stars; between it and `rating_best` the head start is linear."""
    rating_best: float = 5.0
    """Mean rating that earns the whole head start, in stars."""
    tier_s: dict[str, float] = field(default_factory=lambda: {"gold": 90.0, "silver": 45.0})
    """Head start of each tier, in seconds; a tier not named here has none."""
    idle_s_per_min: float = 2.0
    """Head start for each minute without a job, in seconds."""
    idle_max_s: float = 60.0
    """Largest head start for waiting, in seconds."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _between("rating_max_s", self.rating_max_s, 0, 1800)
        _between("rating_floor", self.rating_floor, 1, 5)
        _between("rating_best", self.rating_best, 1, 5)
        if self.rating_best <= self.rating_floor:
            raise ValueError(f"rating_best must be above rating_floor ({self.rating_floor:g}), is {self.rating_best:g}")
        for tier, seconds in self.tier_s.items():
            _between(f"tier_s.{tier}", seconds, 0, 1800)
        _between("idle_s_per_min", self.idle_s_per_min, 0, 60)
        _between("idle_max_s", self.idle_max_s, 0, 1800)


@dataclass(frozen=True, slots=True)
class ShadowSettings:
    """Other numbers that rounds are decided by beside the live ones, to compare; nobody is offered anything by them."""

    name: str = ""
    """Name under which its decisions are stored; empty for no shadow policy."""
    rating_max_s: float = 120.0
    """Head start of a mean rating of `rating_best` or more, in seconds."""
    idle_s_per_min: float = 2.0
    """Head start for each minute without a job, in seconds."""
    idle_max_s: float = 60.0
    """Largest head start for waiting, in seconds."""
    tier_factor: float = 1.0
    """How many times the live head start of each tier; a number."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if len(self.name) > 64 or not self.name.isprintable():
            raise ValueError("name must be at most 64 printable characters")
        _between("rating_max_s", self.rating_max_s, 0, 1800)
        _between("idle_s_per_min", self.idle_s_per_min, 0, 60)
        _between("idle_max_s", self.idle_max_s, 0, 1800)
        _between("tier_factor", self.tier_factor, 0, 100)


@dataclass(frozen=True, slots=True)
class DeclineSettings:
    """What a probable refusal costs: the time that goes by until the next technician is asked."""

    max_s: float = 60.0
    """Cost of somebody who refuses for certain, in seconds; 0 leaves refusals out of the choice."""
    prior_share: float = 0.2
    """Share of offers that somebody new is expected to refuse."""
    prior_weight: float = 10.0
    """How many answers that expectation counts for, as a number of fresh answers."""
    half_life_days: float = 30.0
    """Age at which an answer counts half, in days."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _between("max_s", self.max_s, 0, 1800)
        _between("prior_share", self.prior_share, 0, 1)
        _between("prior_weight", self.prior_weight, 0.1, 1000)
        _between("half_life_days", self.half_life_days, 0.1, 3650)


@dataclass(frozen=True, slots=True)
class NewcomerSettings:
    """Somebody new has the city's mean rating; so that they are seen at all, some rounds prefer them."""

    share: float = 0.2
    """Share of the rounds, drawn by the round's seed, in which newcomers have a head start."""
    head_start_s: float = 60.0
    """Their head start in such a round, in seconds."""
    ratings: float = 3.0
    """Whoever has fewer ratings, faded by age, is a newcomer; a number."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _between("share", self.share, 0, 1)
        _between("head_start_s", self.head_start_s, 0, 1800)
        _between("ratings", self.ratings, 0, 1000)


@dataclass(frozen=True, slots=True)
class RatingSettings:
    """How stars become a mean: old ones fade, few ones are pulled towards the city's mean."""

    half_life_days: float = 180.0
    """Age at which a rating counts half, in days."""
    prior_weight: float = 20.0
    """How many ratings the city's mean counts for, as a number of fresh ratings."""
    city_mean: float = 4.7
    """Mean of a city before it has ratings of its own, in stars."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _between("half_life_days", self.half_life_days, 1, 3650)
        _between("prior_weight", self.prior_weight, 0.1, 1000)
        _between("city_mean", self.city_mean, 1, 5)


@dataclass(frozen=True, slots=True)
class EligibilitySettings:
    """Who may be asked at all, besides what an order asks for."""

    tiers: tuple[str, ...] = ("silver", "gold")
    """Tiers from the lowest to the highest, for orders that ask for a tier or better; all others are below them."""
    papers: tuple[str, ...] = ()
    """Papers, by name, without which or after whose end nobody is asked for an order."""
    papers_of_city: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The same for single cities, instead of `papers`."""
    night_walk_max_m: float = 0.0
    """At night, distance of an order beyond which only technicians with their own transport are asked, in metres; 0
    for no such rule."""
    night_begins_h: float = 22.0
    """When the night begins, local hour of the day."""
    night_ends_h: float = 6.0
    """When the night ends, local hour of the day."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if len(set(self.tiers)) != len(self.tiers) or len(self.tiers) > 64:
            raise ValueError(f"tiers must be at most 64 different names, is {list(self.tiers)}")
        for city, papers in (("papers", self.papers), *self.papers_of_city.items()):
            _between(f"number of papers of {city}", len(papers), 0, 32)
        _between("night_walk_max_m", self.night_walk_max_m, 0, 200_000)
        _between("night_begins_h", self.night_begins_h, 0, 24)
        _between("night_ends_h", self.night_ends_h, 0, 24)


@dataclass(frozen=True, slots=True)
class RoundSettings:
    """When a matching round runs and how large it may be."""

    round_min_ms: int = 200
    """Least time between two rounds while orders outnumber idle technicians, in milliseconds."""
    retry_s: float = 2.0
    """How often orders that found nobody are tried again without any news, in seconds."""
    radius_steps_m: tuple[float, ...] = (3_000.0, 5_000.0, 10_000.0, 20_000.0)
    """Search radius of an order, in metres; the next step is used while nobody is found."""
    widen_s: float = 0.0
    """Wait before the next radius step, in seconds; 0 widens within the same round."""
    candidates_len_max: int = 30
    """Technicians weighed for each order; orders left over are weighed against the rest in a second pass."""
    reach_len_max: int = 32
    """Nearest technicians kept with a round whether eligible or not, so that it can say why not; a number."""
    slice_orders_max: int = 32
    """Orders for which a round looks up neighbours one by one; a number."""
    columns_len_max: int = 3_000
    """Technicians on duty up to which a round of more orders takes all of both, as columns; a number."""
    inline_cells_max: int = 16_384
    """Orders times technicians up to which a round is solved at once, not in a thread; a number."""
    budget_ms: int = 1_000
    """Time for the exact solution of a round in a thread, in milliseconds; a round over it is solved greedily."""
    unmatched_s: float = 7_200.0
    """Cost of leaving an order unmatched in a round, in seconds; above any real cost, so that more orders win."""
    keep_every_s: float = 60.0
    """Rounds that gave nobody anything are stored at most this often, in seconds."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _between("round_min_ms", self.round_min_ms, 0, 60_000)
        _between("retry_s", self.retry_s, 0.1, 600)
        _between("radius_steps_m, number of steps,", len(self.radius_steps_m), 1, 16)
        for step_m in self.radius_steps_m:
            _between("radius_steps_m", step_m, 100, 200_000)
        if list(self.radius_steps_m) != sorted(set(self.radius_steps_m)):
            raise ValueError(f"radius_steps_m must rise from step to step, is {list(self.radius_steps_m)}")
        _between("widen_s", self.widen_s, 0, 600)
        _between("candidates_len_max", self.candidates_len_max, 1, 1000)
        _between("reach_len_max", self.reach_len_max, 0, 1000)
        _between("slice_orders_max", self.slice_orders_max, 1, 1000)
        _between("columns_len_max", self.columns_len_max, 1, 100_000)
        _between("inline_cells_max", self.inline_cells_max, 1, 1_000_000)
        _between("budget_ms", self.budget_ms, 1, 600_000)
        _between("unmatched_s", self.unmatched_s, 60, 1_000_000)
        _between("keep_every_s", self.keep_every_s, 0, 3600)


@dataclass(frozen=True, slots=True)
class LostSettings:
    """Technicians who fall silent with an order that they have not arrived at."""

    silent_s: float = 600.0
    """A technician who is not heard for so long before they arrive is lost, in seconds."""
    repair: bool = True
    """Whether dispatch gives their order to somebody else by itself; otherwise staff are told and decide."""
    booked_check_s: float = 1_800.0
    """The technician of a booked job must be on duty and heard from so long before its time, in seconds."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _between("silent_s", self.silent_s, 30, 86_400)
        _between("booked_check_s", self.booked_check_s, 0, 86_400)


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """Orders for later, and the time that technicians have."""

    lead_s: float = 3_600.0
    """How long before its service a scheduled order begins to look for a technician, in seconds."""
    ahead_max_s: float = 2_592_000.0
    """How far ahead an order may be scheduled, in seconds."""
    buffer_s: float = 900.0
    """Time that a technician has between two jobs besides the way, in seconds."""
    late_max_s: float = 600.0
    """A technician who would come later than this after the time of a scheduled order is not asked, in seconds."""
    chain_s: float = 600.0
    """A technician whose service ends within this may be offered the next order, in seconds; 0 for never."""
    added_max_s: float = 14_400.0
    """How much may be added to a service while it runs, in all, in seconds."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _between("lead_s", self.lead_s, 0, 604_800)
        _between("ahead_max_s", self.ahead_max_s, 60, 31_622_400)
        _between("buffer_s", self.buffer_s, 0, 14_400)
        _between("late_max_s", self.late_max_s, 0, 86_400)
        _between("chain_s", self.chain_s, 0, 7_200)
        _between("added_max_s", self.added_max_s, 0, 86_400)


@dataclass(frozen=True, slots=True)
class BroadcastSettings:
    """Mode `broadcast`: several technicians are asked at once, and the first accept wins."""

    offers_len: int = 5
    """Technicians asked at once for one order; whoever declines is replaced by the next; a number."""
    extra_max_s: float = 1_800.0
    """Cost up to which a second and further technician is asked, in seconds; no order goes without for them."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _between("offers_len", self.offers_len, 1, 50)
        _between("extra_max_s", self.extra_max_s, 1, 1_000_000)


@dataclass(frozen=True, slots=True)
class DirectedSettings:
    """Mode `directed`: the technician whom the customer picked is asked first, and alone."""

    window_s: float = 120.0
    """How long the picked technician may think, in seconds; then the order falls back as its customer chose."""
    remind_every_s: float = 30.0
    """How often their offer is shown again meanwhile, in seconds."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _between("window_s", self.window_s, 1, 86_400)
        _between("remind_every_s", self.remind_every_s, 1, 86_400)


@dataclass(frozen=True, slots=True)
class ManualSettings:
    """Mode `manual`: staff give the order to somebody."""

    unfilled_after_s: float = 3_600.0
    """An order that nobody was given by then is unfilled, in seconds."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _between("unfilled_after_s", self.unfilled_after_s, 1, 86_400)


@dataclass(frozen=True, slots=True)
class StageFee:
    """What is kept of an order that is called off, each part rounded down to whole fen."""

    service_percent: int = 0
    """Part of the service's price that is kept, in percent; in service, of the price of the minutes used."""
    travel_percent: int = 0
    """Part of the travel price that is kept, in percent."""
    technician_percent: int = 0
    """Part of the fee that is the technician's, in percent."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _between("service_percent", self.service_percent, 0, 100)
        _between("travel_percent", self.travel_percent, 0, 100)
        _between("technician_percent", self.technician_percent, 0, 100)


@dataclass(frozen=True, slots=True)
class CancellationSettings:
    """What is kept when an order is called off, by how far it had come."""

    late_s: float = 3_600.0
    """An accepted order is called off late from this long before its time, in seconds; one for now always is."""
    unassigned: StageFee = StageFee()
    """Before a technician has accepted."""
    assigned_early: StageFee = StageFee()
    """Accepted, and its time is far off."""
    assigned_late: StageFee = StageFee(service_percent=10, travel_percent=10)
    """Accepted, and its time is near."""
    en_route: StageFee = StageFee(service_percent=20, travel_percent=100, technician_percent=100)
    """The technician is on the way."""
    arrived: StageFee = StageFee(service_percent=50, travel_percent=100, technician_percent=100)
    """The technician is there."""
    no_show: StageFee = StageFee(service_percent=50, travel_percent=100, technician_percent=100)
    """The technician has waited for the customer and left."""
    in_service: StageFee = StageFee(service_percent=100, travel_percent=100, technician_percent=100)
    """The service has begun; only staff can end it early, and whole minutes used are paid."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _between("late_s", self.late_s, 0, 604_800)


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
    arrive_m: float = 200.0
    """Who is as near as this is at the place, in metres."""
    leave_m: float = 300.0
    """Who was at the place and is farther than this has left it, in metres; at least `arrive_m`."""
    dwell_s: float = 10.0
    """How long positions must say so before it counts, in seconds from the first to the last of them."""
    accuracy_m_max: float = 100.0
    """Positions that are less accurate are no evidence, in metres."""
    near_m: tuple[float, ...] = (500.0, 100.0, 40.0)
    """Distances at which the customer is told once that the technician comes near, in metres, falling."""
    no_show_wait_s: float = 600.0
    """How long a technician waits for an absent customer after `arrived` before the step `no_show`, in seconds."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        _between("arrive_m", self.arrive_m, 10, 5_000)
        _between("leave_m", self.leave_m, self.arrive_m, 20_000)
        _between("dwell_s", self.dwell_s, 0, 600)
        _between("accuracy_m_max", self.accuracy_m_max, 5, 5_000)
        _between("near_m, number of distances,", len(self.near_m), 0, 8)
        for near_m in self.near_m:
            _between("near_m", near_m, 5, 20_000)
        if list(self.near_m) != sorted(set(self.near_m), reverse=True):
            raise ValueError(f"near_m must fall from distance to distance, is {list(self.near_m)}")
        _between("no_show_wait_s", self.no_show_wait_s, 0, 7_200)


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """How orders find technicians."""

    offer_ttl_s: float = 20.0
    """How long a technician may think about an offer, in seconds."""
    undelivered_s: float = 3.0
    """An offer whose arrival no device has acknowledged by then goes to the next technician, in seconds."""
    unfilled_after_s: float = 600.0
    """An order that nobody has taken by then is given up as unfilled, in seconds since its matching began; a scheduled
    one not before its time."""
    confirm_after_s: float = 172_800.0
    """An order that the customer has not confirmed confirms itself after this, in seconds since its last step."""
    position_fresh_s: float = 60.0
    """Technicians whose last position is older are left out, in seconds."""
    settled_keep_s: float = 3_600.0
    """How long settled orders stay in memory to answer late messages, in seconds; at most an hour."""
    idempotency_keep_s: float = 86_400.0
    """How long a client's key for a new order is remembered, in seconds; at most a day."""
    mailbox_len_max: int = 10_000
    """Requests of one city that may wait; more are answered `overloaded`; a number."""
    batch_len_max: int = 256
    """Requests handled and stored together; a number."""
    seed: int = 1
    """Seed of the tie-break between equal candidates; a number."""
    round: RoundSettings = RoundSettings()
    """Matching rounds."""
    lost: LostSettings = LostSettings()
    """Technicians who fall silent on their way."""
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

    def __post_init__(self) -> None:
        """Check the ranges."""
        _between("offer_ttl_s", self.offer_ttl_s, 1, 600)
        _between("undelivered_s", self.undelivered_s, 0.1, 600)
        _between("unfilled_after_s", self.unfilled_after_s, 1, 86_400)
        _between("confirm_after_s", self.confirm_after_s, 60, 2_592_000)
        _between("position_fresh_s", self.position_fresh_s, 1, 3600)
        _between("settled_keep_s", self.settled_keep_s, 60, SETTLED_KEEP_S_MAX)
        _between("idempotency_keep_s", self.idempotency_keep_s, 60, IDEMPOTENCY_KEEP_S_MAX)
        _between("mailbox_len_max", self.mailbox_len_max, 1, 1_000_000)
        _between("batch_len_max", self.batch_len_max, 1, 10_000)
        _between("seed", self.seed, 0, 2**31 - 1)
