"""One matching round as plain columns: everything that its decision depends on, and nothing else.

A problem is built on the loop, solved anywhere (it shares nothing), stored, and solved again for an explanation
or a replay: ``matching.solve(problem)`` is a pure function of it.
"""

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from math import inf
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
CodeArray = NDArray[np.uint8]
MaskArray = NDArray[np.uint64]
Table = NDArray[Any]
"""A structured array: a row for each thing, a named column for each number (``sheets.py``)."""


ANYBODY: Final = -1
NOBODY_IN_REACH: Final = -2


def _nobody() -> IntArray:
    return np.zeros(0, dtype=np.int64)


def _no_numbers() -> FloatArray:
    return np.zeros(0)


def _no_codes() -> CodeArray:
    return np.zeros(0, dtype=np.uint8)


def _no_bits() -> MaskArray:
    return np.zeros(0, dtype=np.uint64)


def _no_answers() -> BoolArray:
    return np.zeros(0, dtype=np.bool_)


class Exclusion(IntEnum):
    """Why a technician was no candidate for an order; the first that applies is told.

    Codes stand in stored rounds and stay as they are. What each means is its row in ``exclusions.RULES``.
    """

    NONE = 0
    OFF_DUTY = 1
    BUSY = 2
    OFFERED = 3
    UNVERIFIED = 4
    CITY = 5
    SKILL = 6
    GENDER = 7
    REFUSED = 8
    DISCONNECTED = 9
    UNHEARD = 10
    STALE_POSITION = 11
    TOO_FAR = 12
    OWN_ORDER = 13
    NOT_PICKED = 14
    CALENDAR = 15
    PAPERS = 20
    SOS = 21
    TIER = 22
    BLOCKED = 23
    NIGHT_TRANSPORT = 24
    ZONE = 25
    SERVICE = 26
    FARTHER = 27

    @property
    def label(self) -> str:
        """Its name as people and programs read it."""
        return self.name.lower()


class Solver(StrEnum):
    """How a round's pairs were found; stored with each decision."""

    EXACT = "exact"
    """The least sum of costs."""
    GREEDY = "greedy"
    """The cheapest pair first, then the cheapest of the rest: for rounds over their time budget."""


@dataclass(frozen=True, slots=True)
class OrderColumns:
    """n orders, each column of length n. One that may be offered to several at once has a row for each of them.

    Attributes:
        lat_deg, lng_deg: Site, in the platform's frame.
        step_max: Last radius step that may be tried in this round.
        skills: Bit mask of the skills needed.
        skill_unknown: True where a needed skill is held by nobody in the shard.
        gender: Code of the gender asked for (``GENDER_CODES``), 0 for no preference.
        only: Row of the technician who alone may be asked, ``ANYBODY``, or ``NOBODY_IN_REACH`` when that technician
            is none of these; empty when all are ``ANYBODY``.
        woken: Whose only technician is offered it although their phone sleeps: the offer wakes it. Empty for none.
        unmatched_s: Cost of leaving the row out, which is also the most that a pair may cost; empty when it is
            ``Policy.unmatched_s`` for all.
        begins_at: When the service shall begin; -inf for as soon as possible. Empty, and ``duration_s`` too, when
            nobody's calendar matters.
        duration_s: How long the service takes.
        waiting_at: Since when the order's waiting counts; +inf for a row whose waiting counts for nothing. Empty when
            nobody's does.
        wave: How many are asked for the order before the row's technician. Rows of a lower wave choose first; empty
            when all are 0, and in rounds up to ``auto/8``, in which all rows chose at once.
    """

    ids: tuple[str, ...]
    lat_deg: FloatArray
    lng_deg: FloatArray
    step_max: IntArray
    skills: MaskArray
    skill_unknown: BoolArray
    gender: CodeArray
    only: IntArray = field(default_factory=_nobody)
    woken: BoolArray = field(default_factory=_no_answers)
    unmatched_s: FloatArray = field(default_factory=_no_numbers)
    begins_at: FloatArray = field(default_factory=_no_numbers)
    duration_s: FloatArray = field(default_factory=_no_numbers)
    waiting_at: FloatArray = field(default_factory=_no_numbers)
    wave: IntArray = field(default_factory=_nobody)


@dataclass(frozen=True, slots=True)
class TechnicianColumns:
    """m technicians, each column of length m.

    Attributes:
        seen_at: When their live position was measured, server time.
        heard_at: When their phone was last heard.
        unheard_at: When an offer last went undelivered with nothing heard since being known; -inf for never.
        rating: Mean rating now, stars.
        tier_s: Head start of their tier, seconds.
        idle_at: Since when they wait for work; +inf when unknown.
        hard: Exclusion code that holds for every order (duty, work, verified, city), 0 for none.
        wait_s: Seconds until they may set out, from where the columns have them; empty when it is 0 for all.
        turns: How many turns they have had more than the least served of their idle equals (``turns.too_many``); empty
            when it is 0 for all.
    """

    ids: tuple[str, ...]
    lat_deg: FloatArray
    lng_deg: FloatArray
    seen_at: FloatArray
    heard_at: FloatArray
    unheard_at: FloatArray
    connected: BoolArray
    skills: MaskArray
    gender: CodeArray
    rating: FloatArray
    tier_s: FloatArray
    idle_at: FloatArray
    hard: CodeArray
    wait_s: FloatArray = field(default_factory=_no_numbers)
    turns: FloatArray = field(default_factory=_no_numbers)


@dataclass(frozen=True, slots=True)
class BlockColumns:
    """Time that technicians have given away already, columns of one length (``calendar.Block``).

    Attributes:
        technician: Row of the technician.
        placed: Whether it is at a place, ``lat_deg`` and ``lng_deg``.
        kind: Code of its kind (``calendar.KIND_CODES``), for explanations; empty in rounds of earlier versions.
    """

    technician: IntArray = field(default_factory=_nobody)
    from_at: FloatArray = field(default_factory=_no_numbers)
    until_at: FloatArray = field(default_factory=_no_numbers)
    placed: BoolArray = field(default_factory=_no_answers)
    lat_deg: FloatArray = field(default_factory=_no_numbers)
    lng_deg: FloatArray = field(default_factory=_no_numbers)
    kind: CodeArray = field(default_factory=_no_codes)


@dataclass(slots=True)
class PersonColumns:
    """What is known of persons besides: a column is empty when it says nothing of anybody (``eligibility.py``).

    Attributes:
        tier_min: Rank of the tier that each order asks for, shape (n,); ``tier``: rank of each technician, shape (m,).
        papers_until: Until when each technician has all their papers, -inf for never, shape (m,).
        lapsed: Whose papers are missing or over, shape (m,); in rounds up to ``auto/6``.
        alarmed: Who has an open alarm, shape (m,).
        walks: Who has no transport of their own, shape (m,).
        night_from_at, night_until_at: The nights in which orders of the round may be served or come from, of one
            length; empty with ``walks`` in rounds up to ``auto/6``, all of which was night.
        newcomer: Who is new, shape (m,); up to ``auto/6`` only in a round that prefers them.
        service: Number of each order's service and hour among those of the round, shape (n,).
        decline: How likely each technician refuses each of them, shape (numbers of ``service`` * m,).
        zone_bit: The one bit of each order's zone, shape (n,); ``zones``: those of the zones to which each technician
            goes, shape (m,).
        service_bit, services: The same of the order's service and those that each technician does.
        barred_order, barred_technician: Rows of pairs of which one has blocked the other, of equal length.
        spare: Whose open offer may be taken back for an order that nobody is asked for, shape (m,) (``spare.py``).
    """

    tier_min: IntArray = field(default_factory=_nobody)
    tier: IntArray = field(default_factory=_nobody)
    papers_until: FloatArray = field(default_factory=_no_numbers)
    lapsed: BoolArray = field(default_factory=_no_answers)
    alarmed: BoolArray = field(default_factory=_no_answers)
    walks: BoolArray = field(default_factory=_no_answers)
    night_from_at: FloatArray = field(default_factory=_no_numbers)
    night_until_at: FloatArray = field(default_factory=_no_numbers)
    newcomer: BoolArray = field(default_factory=_no_answers)
    service: IntArray = field(default_factory=_nobody)
    decline: FloatArray = field(default_factory=_no_numbers)
    zone_bit: MaskArray = field(default_factory=_no_bits)
    zones: MaskArray = field(default_factory=_no_bits)
    service_bit: MaskArray = field(default_factory=_no_bits)
    services: MaskArray = field(default_factory=_no_bits)
    barred_order: IntArray = field(default_factory=_nobody)
    barred_technician: IntArray = field(default_factory=_nobody)
    spare: BoolArray = field(default_factory=_no_answers)


@dataclass(frozen=True, slots=True)
class Policy:
    """The numbers of the settings that a round depends on, kept with it."""

    position_fresh_s: float
    radius_steps_m: tuple[float, ...]
    candidates_len_max: int
    unmatched_s: float
    travel_s_per_m: float
    """Seconds of travel for each metre of great circle at this hour."""
    travel_start_s: float
    """Seconds before a technician moves."""
    rating_max_s: float
    rating_floor: float
    rating_best: float
    idle_s_per_s: float
    idle_max_s: float
    buffer_s: float = 0.0
    """Seconds between two jobs of one technician, besides the way."""
    late_max_s: float = inf
    """Seconds after its time at which a scheduled service may begin."""
    decline_max_s: float = 0.0
    """Cost of a certain refusal."""
    newcomer_s: float = 0.0
    """Head start of newcomers in this round."""
    walk_max_m: float = inf
    """Metres beyond which only technicians with their own transport are asked for what is at night."""
    waiting_s_per_s: float = 0.0
    """What each second is worth that an order has waited."""
    waiting_max_s: float = 0.0
    """Most that its waiting is worth."""
    turn_s: float = 0.0
    """What each turn costs that a technician has had more than an idle equal."""
    turn_max_s: float = 0.0
    """Most that their turns cost."""
    take_back_s: float = 0.0
    """What it costs to take an open offer back for an order that nobody is asked for."""


@dataclass(frozen=True, slots=True)
class WayColumns:
    """Ways whose seconds were asked for, as rows of order and technician: three columns of equal length.

    Every other way takes what the policy's rate says.
    """

    order: IntArray = field(default_factory=_nobody)
    technician: IntArray = field(default_factory=_nobody)
    seconds: FloatArray = field(default_factory=_no_numbers)


@dataclass(frozen=True, slots=True)
class Problem:
    """One round. ``refused`` and ``own`` pair row of an order with row of a technician: arrays of equal length.

    ``own`` are technicians who are the order's customer. ``ways_from`` says who told ``ways``, and what failed.
    """

    at: float
    seed: int
    policy: Policy
    orders: OrderColumns
    technicians: TechnicianColumns
    refused_order: IntArray
    refused_technician: IntArray
    own_order: IntArray = field(default_factory=_nobody)
    own_technician: IntArray = field(default_factory=_nobody)
    blocks: BlockColumns = field(default_factory=BlockColumns)
    ways: WayColumns = field(default_factory=WayColumns)
    ways_from: str = ""
    people: PersonColumns = field(default_factory=PersonColumns)


@dataclass(frozen=True, slots=True)
class Pair:
    """One order given to one technician, with the named terms of its cost in seconds.

    ``travel_s`` is how long until they are there, what they must finish before included.
    """

    order_id: str
    technician: str
    cost_s: float
    travel_s: float
    distance_m: float
    terms: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Solution:
    """What a round decided.

    Attributes:
        pairs: In order of the problem's orders.
        steps: Radius step that each order of the problem has come to.
        candidates: How many technicians each order had to choose from.
        refused: Whether somebody in reach had refused the order before.
        solver: How the pairs were found.
    """

    pairs: tuple[Pair, ...]
    steps: tuple[int, ...]
    candidates: tuple[int, ...]
    refused: tuple[bool, ...]
    solver: Solver = Solver.EXACT
