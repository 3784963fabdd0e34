"""Each technician's time: what is given away already, and whether one more job can be reached beside it. Pure.

A block is time given away: a booked job with its place, a rest, or hours outside of the technician's shifts. Two jobs
need the way between them and ``Policy.buffer_s`` on top; a rest and the end of a shift have no place, so a job may
touch them. ``apart`` is the only place where this is decided: rounds use it on columns, an acceptance and a longer
service on one pair.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import Final

import numpy as np

from core.ids import OrderId, UserId
from dispatch import booked, cost
from dispatch.book import Book
from dispatch.endings import agreed_end_at
from dispatch.model import Booking, Order, OrderState, Shift, Technician
from dispatch.ports import TravelRate
from dispatch.problem import BlockColumns, BoolArray, FloatArray, IntArray, Problem, Table
from dispatch.settings import ScheduleSettings
from geo.distance import haversine_m, table_m
from geo.local_time import hour_of, moment_of
from geo.point import LatLng

DAY_S: Final = 86_400.0
_EVERY_DAY: Final = (0, 1, 2, 3, 4, 5, 6)
_DAYS_REMEMBERED_MAX: Final = 10_000


class BlockKind(StrEnum):
    """Why the time is not free."""

    BOOKING = "booking"
    REST = "rest"
    OFF_SHIFT = "off_shift"


KIND_CODES: Final = {BlockKind.BOOKING: 1, BlockKind.REST: 2, BlockKind.OFF_SHIFT: 3}
"""Codes of kinds in columns; stored with rounds, so they stay."""
_BOOKING: Final = KIND_CODES[BlockKind.BOOKING]
_REST: Final = KIND_CODES[BlockKind.REST]
_OFF_SHIFT: Final = KIND_CODES[BlockKind.OFF_SHIFT]
TOO_LATE: Final = "too_late"
"""What a calendar says of somebody who would come too long after the order's time."""


@dataclass(frozen=True, slots=True)
class Block:
    """Time of a technician that is given away, UTC epoch seconds. Only a booking has a place and an order."""

    from_at: float
    until_at: float
    kind: BlockKind
    point: LatLng | None = None
    order_id: OrderId | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """How far apart in time two jobs must be: ``start_s`` and ``s_per_m`` of the way, and the buffer."""

    start_s: float
    s_per_m: float
    buffer_s: float

    def gap_s(self, one: LatLng, other: LatLng | None) -> float:
        """Seconds between a job at ``one`` and a block at ``other``."""
        if other is None:
            return 0.0
        return self.start_s + self.s_per_m * float(haversine_m(*one, *other)) + self.buffer_s


def apart(
    begins_at: FloatArray, ends_at: FloatArray, from_at: FloatArray, until_at: FloatArray, gap_s: FloatArray
) -> BoolArray:
    """Whether a job and a block leave each other the gap, whichever comes first. All shapes broadcast."""
    result: BoolArray = (ends_at + gap_s <= from_at) | (until_at + gap_s <= begins_at)
    return result


# -- one technician ---------------------------------------------------------------------------------------


class Hours:
    """Shifts by the city's clock. Remembers what it has computed, up to a bound."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._spans: dict[tuple[tuple[Shift, ...], int], tuple[tuple[float, float], ...]] = {}
        self._asked = (0.0, 0.0)
        self._answers: dict[tuple[Shift, ...], list[tuple[float, float]]] = {}
        """Of the moments that were asked about last: a round asks the same of everyone."""

    def hour(self, at: float) -> float:
        """Hour of the day by the city's clock, in [0, 24)."""
        return hour_of(at, self._zone)

    def closed(self, shifts: tuple[Shift, ...], from_at: float, until_at: float) -> list[tuple[float, float]]:
        """When between two moments somebody with these shifts does not work; without shifts always works.

        A shift that ends no later than it begins ends on the next day. On days on which the clocks change a shift
        is as long as the clocks make it: a time that they leave out is the moment at which they are set forward,
        of a time that comes twice the first counts, and a shift whose every minute is left out is not worked.
        """
        if not shifts:
            return []
        if self._asked != (from_at, until_at):
            self._asked = (from_at, until_at)
            self._answers.clear()
        if shifts not in self._answers:
            self._answers[shifts] = self._closed(shifts, from_at, until_at)
        return self._answers[shifts]

    def nights(self, begins_h: float, ends_h: float, from_at: float, until_at: float) -> list[tuple[float, float]]:
        """The nights that touch a time, from ``begins_h`` to ``ends_h`` by the city's clock; none if these meet."""
        begins_min, ends_min = round(begins_h * 60.0), round(ends_h * 60.0)
        if begins_min == ends_min:
            return []
        return sorted(self._open((Shift(_EVERY_DAY, begins_min, ends_min),), from_at, until_at))

    def _closed(self, shifts: tuple[Shift, ...], from_at: float, until_at: float) -> list[tuple[float, float]]:
        found = []
        free_from = from_at
        for begins_at, ends_at in sorted(self._open(shifts, from_at, until_at)):
            if begins_at > free_from:
                found.append((free_from, min(begins_at, until_at)))
            free_from = max(free_from, ends_at)
            if free_from >= until_at:
                return found
        found.append((free_from, until_at))
        return found

    def _open(self, shifts: tuple[Shift, ...], from_at: float, until_at: float) -> Iterator[tuple[float, float]]:
        first = datetime.fromtimestamp(from_at, self._zone).date().toordinal() - 1  # last night's shift
        last = datetime.fromtimestamp(until_at, self._zone).date().toordinal()
        for day in range(first, last + 1):
            for span in self._of_day(shifts, day):
                if span[1] > from_at and span[0] < until_at:
                    yield span

    def _of_day(self, shifts: tuple[Shift, ...], day: int) -> tuple[tuple[float, float], ...]:
        key = (shifts, day)
        spans = self._spans.get(key)
        if spans is None:
            if len(self._spans) >= _DAYS_REMEMBERED_MAX:
                self._spans.clear()
            weekday = date.fromordinal(day).weekday()
            today = (shift for shift in shifts if weekday in shift.days)
            moments = (
                (
                    self._moment(day, shift.begins_min),
                    self._moment(day + (shift.ends_min <= shift.begins_min), shift.ends_min),
                )
                for shift in today
            )
            spans = tuple(span for span in moments if span[0] < span[1])
            self._spans[key] = spans
        return spans

    def _moment(self, day: int, minute: int) -> float:
        return moment_of(datetime.combine(date.fromordinal(day), time()) + timedelta(minutes=minute), self._zone)


def blocks(
    book: Book, technician: Technician, hours: Hours, from_at: float, until_at: float, without: OrderId | None = None
) -> list[Block]:
    """What a technician has given away between two moments, in order of time.

    Args:
        without: An order that is not counted: the one that is being asked about.
    """
    found = [_block(booking, from_at) for booking in book.bookings(technician) if booking.order_id != without]
    found += [Block(*span, BlockKind.REST) for span in _rests(technician, from_at, until_at)]
    found += [Block(*span, BlockKind.OFF_SHIFT) for span in hours.closed(technician.shifts, from_at, until_at)]
    found = [block for block in found if block.until_at > from_at and block.from_at < until_at]
    return sorted(found, key=lambda b: (b.from_at, b.until_at, b.kind, b.order_id or ""))


def _rests(technician: Technician, from_at: float, until_at: float) -> list[tuple[float, float]]:
    spans = ((rest.begins_at, rest.ends_at) for rest in technician.rests)
    return [span for span in spans if span[1] > from_at and span[0] < until_at]


def _block(booking: Booking, now: float) -> Block:
    until_at = booked.until_at(booking, now)
    return Block(booked.from_at(booking), until_at, BlockKind.BOOKING, booking.point, booking.order_id)


def ends_at(order: Order, now: float) -> float:
    """When the service of a running job will be over, as far as was agreed; never before ``now``."""
    end_at = agreed_end_at(order)
    return now if end_at is None else max(end_at, now)


def likely_end_at(job: Order, now: float) -> float:
    """When a running job will probably be over: one that has not begun takes the way and the whole service."""
    end_at = agreed_end_at(job)
    if end_at is not None:
        return max(end_at, now)
    way_s = (job.eta_s or 0.0) if job.state is not OrderState.ARRIVED else 0.0
    return now + way_s + job.duration_s


def service_begins_at(order: Order, arrives_at: float) -> float:
    """When the service begins of somebody who could be there at ``arrives_at``."""
    return arrives_at if order.scheduled_for is None else max(order.scheduled_for, arrives_at)


def clash(taken: Sequence[Block], point: LatLng, begins_at: float, finishes_at: float, way: Way) -> Block | None:
    """The first block that a job at this place and time would not leave enough room; None when it fits."""
    gap_s = np.array([way.gap_s(point, block.point) for block in taken], dtype=np.float64)
    from_at = np.array([block.from_at for block in taken], dtype=np.float64)
    until_at = np.array([block.until_at for block in taken], dtype=np.float64)
    clashing = ~apart(np.asarray(begins_at), np.asarray(finishes_at), from_at, until_at, gap_s)
    return next((block for block, clashes in zip(taken, clashing, strict=True) if clashes), None)


# -- many at once -----------------------------------------------------------------------------------------


def columns(
    book: Book,
    people: Sequence[Technician],
    t: Table,
    shifts: Sequence[tuple[Shift, ...]],
    o: Table,
    hours: Hours,
    now: float,
    settings: ScheduleSettings,
    reach_s: float,
) -> BlockColumns:
    """Blocks of these technicians that may matter to these orders, as columns.

    Args:
        book: Knows which bookings count.
        people: The technicians.
        t, o: Their rows, and those of the orders (``sheets.py``).
        shifts: What the numbers of shifts in the rows stand for.
        hours: The city's clock.
        now: The moment of the round.
        settings: The rules.
        reach_s: Nobody who takes longer than this to come is a candidate.
    """
    last_at = float((np.maximum(o["begins_at"], now) + o["duration_s"]).max(initial=now))
    until_at = last_at + reach_s + settings.buffer_s + DAY_S
    # A rest and closed hours have no place, so nothing needs a way to them: what begins after the last job is far off.
    unplaced_until_at = last_at + 2.0 * reach_s
    rows: list[int] = []
    spans: list[tuple[float, float, float, float, int]] = []
    for row in np.flatnonzero(t["dated"]).tolist():
        who = people[row]
        here = len(spans)
        for booking in book.bookings(who):
            block = _block(booking, now)
            if block.from_at < until_at:
                spans.append((block.from_at, block.until_at, *booking.point, _BOOKING))
        spans += [(from_at, to_at, 0.0, 0.0, _REST) for from_at, to_at in _rests(who, now, unplaced_until_at)]
        rows += [row] * (len(spans) - here)
    closed_rows, closed = _closed(t["shifts"], shifts, hours, now, unplaced_until_at)
    table = np.concatenate([np.array(spans, dtype=np.float64).reshape(-1, 5), closed])
    technician = np.concatenate([np.array(rows, dtype=np.int64), closed_rows])
    by_row = np.argsort(technician, kind="stable")
    from_at, to_at, lat_deg, lng_deg, kind = table[by_row].T.copy()
    return BlockColumns(
        technician=technician[by_row],
        from_at=from_at,
        until_at=to_at,
        placed=kind == _BOOKING,
        lat_deg=lat_deg,
        lng_deg=lng_deg,
        kind=kind.astype(np.uint8),
    )


def _closed(
    codes: IntArray, shifts: Sequence[tuple[Shift, ...]], hours: Hours, now: float, until_at: float
) -> tuple[IntArray, FloatArray]:
    """Hours outside of everybody's shifts: rows of technicians, and the columns of these blocks."""
    by_code = np.argsort(codes, kind="stable")
    found: list[tuple[IntArray, FloatArray]] = [(np.zeros(0, dtype=np.int64), np.zeros((0, 5)))]
    for who in np.split(by_code, np.flatnonzero(np.diff(codes[by_code])) + 1):
        spans = hours.closed(shifts[codes[who[0]]], now, until_at) if len(who) else []
        if spans:
            one = np.array([(*span, 0.0, 0.0, _OFF_SHIFT) for span in spans])
            found.append((np.repeat(who, len(spans)), np.tile(one, (len(who), 1))))
    return np.concatenate([rows for rows, _ in found]), np.concatenate([blocks for _, blocks in found])


def clashes(problem: Problem, rows: IntArray, distance_m: FloatArray) -> BoolArray:
    """Which technicians cannot reach which of these orders in time, or not without missing something else.

    Args:
        distance_m: Great-circle metres of these orders to each technician, shape (len(rows), m).

    Returns:
        Shape (len(rows), m).

    Cost:
        A few passes over (len(rows), number of blocks).
    """
    policy, o = problem.policy, problem.orders
    against = np.zeros(distance_m.shape, dtype=np.bool_)
    if not len(o.begins_at):
        return against  # nobody has a calendar, and every order is for now
    wanted_at = o.begins_at[rows][:, None]
    begins_at = cost.ways_s(problem, rows, distance_m) + (problem.at + cost.wait_s(problem.technicians))
    if (wanted_at > problem.at).any():
        # Once its time has passed an order takes whoever comes first.
        against |= (wanted_at > problem.at) & (begins_at - wanted_at > policy.late_max_s)
        np.maximum(begins_at, wanted_at, out=begins_at)
    finishes_at = begins_at + o.duration_s[rows][:, None]
    for placed in (False, True):
        blocks_here = _in_the_way(problem, begins_at, finishes_at, placed=placed)
        if not len(blocks_here):
            continue
        taken = problem.blocks
        technician = taken.technician[blocks_here]
        gap_s = np.zeros((1, 1))
        if placed:
            lat_deg, lng_deg = taken.lat_deg[blocks_here], taken.lng_deg[blocks_here]
            between_m = table_m(o.lat_deg[rows], o.lng_deg[rows], lat_deg, lng_deg)
            gap_s = cost.travel_s(policy, between_m) + policy.buffer_s
        clashing = ~apart(
            begins_at[:, technician],
            finishes_at[:, technician],
            taken.from_at[blocks_here],
            taken.until_at[blocks_here],
            gap_s,
        )
        # One column for each technician, whichever of their blocks it is.
        whose, first = np.unique(technician, return_index=True)
        against[:, whose] |= np.logical_or.reduceat(clashing, first, axis=1)
    return against


def reasons(problem: Problem, row: int, distance_m: FloatArray) -> dict[int, str]:
    """What it is in whose calendar that speaks against one order: ``too_late`` or the ``BlockKind``, by technician.

    For explanations: as ``clashes``, once for each kind. A round of an earlier version knows no kinds.

    Args:
        distance_m: Great-circle metres of the order to each technician, shape (1, m).
    """
    taken, rows = problem.blocks, np.array([row])
    parts: list[tuple[str, BlockColumns]] = [(TOO_LATE, BlockColumns())]
    if len(taken.kind):
        for kind, code in KIND_CODES.items():
            these = taken.kind == code
            columns = {f.name: getattr(taken, f.name)[these] for f in fields(taken)}
            parts.append((kind.value, BlockColumns(**columns)))
    found: dict[int, str] = {}
    for reason, part in parts:
        for technician in np.flatnonzero(clashes(replace(problem, blocks=part), rows, distance_m)[0]).tolist():
            found.setdefault(technician, reason)
    return found


def _in_the_way(problem: Problem, begins_at: FloatArray, finishes_at: FloatArray, *, placed: bool) -> IntArray:
    """Indexes of the blocks, with or without a place, that any of these jobs could touch; by technician.

    Most closed hours and rests are hours away from every job that is asked about, and need no look at each pair.
    """
    taken = problem.blocks
    near = taken.placed
    if not placed:
        first_at, last_at = begins_at.min(axis=0)[taken.technician], finishes_at.max(axis=0)[taken.technician]
        near = ~taken.placed & (taken.from_at < last_at) & (taken.until_at > first_at)
    found = np.flatnonzero(near)
    return found[np.argsort(taken.technician[found], kind="stable")]


def service_times(problem: Problem, rows: IntArray, ways_s: FloatArray) -> tuple[FloatArray, FloatArray]:
    """When each of these technicians would begin and end each of these services; ``ways_s`` and both (len(rows), m).

    The problem must have ``OrderColumns.begins_at``.
    """
    arrives_at = problem.at + cost.wait_s(problem.technicians) + ways_s
    begins_at = np.maximum(arrives_at, problem.orders.begins_at[rows][:, None])
    return begins_at, begins_at + problem.orders.duration_s[rows][:, None]


class Calendars:
    """The calendars of a shard's technicians, for questions about one of them."""

    def __init__(self, book: Book, hours: Hours, travel: TravelRate, settings: ScheduleSettings) -> None:
        self._book = book
        self.hours = hours
        self._travel = travel
        self._settings = settings

    def clash(self, order: Order, user: UserId, now: float, arrives_at: float) -> Block | None:
        """What speaks in a technician's calendar against an order that they could be at by ``arrives_at``."""
        technician = self._book.technicians.get(user)
        if technician is None:
            return None  # left the city; whoever asks finds that out by other means
        begins_at = service_begins_at(order, arrives_at)
        finishes_at = begins_at + order.duration_s
        taken = self._taken(technician, now, finishes_at, order.order_id)
        return clash(taken, order.site.point, begins_at, finishes_at, self._way(now))

    def keeps_from(self, job: Order, order: Order, now: float) -> bool:
        """Whether a running job will probably not be over in time for another order of its technician."""
        begins_at = service_begins_at(order, now)
        return likely_end_at(job, now) + self._way(now).gap_s(job.site.point, order.site.point) > begins_at

    def arrives_at(self, order: Order, user: UserId, now: float) -> float:
        """When the technician whose order it is can be there: from where they are, or after the job they are doing."""
        soonest_at = now + (order.eta_s or 0.0)
        job_id = self._book.job_of.get(user)
        if job_id is None or job_id == order.order_id:
            return soonest_at
        job = self._book.orders[job_id]
        return max(soonest_at, likely_end_at(job, now) + self._way(now).gap_s(order.site.point, job.site.point))

    def room_s(self, order: Order, now: float) -> tuple[float, Block | None]:
        """How much longer the running service of an order may take, in seconds, and what ends it; inf for nothing."""
        technician = self._book.technicians.get(order.technician) if order.technician is not None else None
        if technician is None:
            return np.inf, None
        finishes_at = ends_at(order, now)
        way = self._way(now)
        taken = self._taken(technician, now, finishes_at, order.order_id)
        # A booking is still to be done, however late it is: it follows this service also where that is longer.
        later = [b for b in taken if b.until_at > finishes_at or b.order_id is not None]
        rooms = [(b.from_at - way.gap_s(order.site.point, b.point) - finishes_at, b) for b in later]
        return min(rooms, key=lambda room: room[0], default=(np.inf, None))

    def _taken(self, technician: Technician, now: float, finishes_at: float, without: OrderId) -> list[Block]:
        until_at = finishes_at + self._settings.buffer_s + DAY_S
        return blocks(self._book, technician, self.hours, now, until_at, without)

    def _way(self, now: float) -> Way:
        return Way(*self._travel.rate(now), self._settings.buffer_s)
