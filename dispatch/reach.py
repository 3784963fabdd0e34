"""Which orders and technicians a round looks at, put into columns. Reads the book and the index, decides nothing.

Few orders: the neighbours of each, by the index. Many: everybody on duty, when that is not too many; otherwise the
orders are taken in slices, and the next slice follows in the next turn.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from types import MappingProxyType
from typing import Final, TypeVar

import numpy as np

from core.ids import OrderId, UserId
from dispatch import calendar, cost, eligibility, limits, rating, schedule, willing
from dispatch import turns as turns_of
from dispatch.book import Book
from dispatch.calendar import Hours
from dispatch.model import Order, Technician
from dispatch.places import Places
from dispatch.problem import (
    ANYBODY,
    NOBODY_IN_REACH,
    CodeArray,
    Exclusion,
    FloatArray,
    IntArray,
    OrderColumns,
    PersonColumns,
    Policy,
    Problem,
    Table,
    TechnicianColumns,
)
from dispatch.settings import DispatchSettings, RatingSettings
from dispatch.sheets import HARD, Sheets, against
from geo.distance import distance_m, table_m
from geo.position_index import Flag, slots_of

_T = TypeVar("_T")
PLACE_S_MAX: Final = 3_600.0
"""Most that an order's place in the queue is worth, in seconds of travel."""
_NOBODY: Final[Mapping[UserId, float]] = MappingProxyType({})


def slice_len(waiting_len: int, on_duty_len: int, settings: DispatchSettings) -> int:
    """How many orders the next round may take, so that collecting them stays under 10 ms."""
    most = max(settings.round.columns_len_max - on_duty_len, settings.round.slice_orders_max)
    return min(waiting_len, most)


def build(
    orders: Sequence[Order],
    book: Book,
    places: Places,
    *,
    now: float,
    seed: int,
    travel: tuple[float, float],
    hours: Hours,
    settings: DispatchSettings,
    users: Sequence[UserId] | None = None,
    whole: Mapping[OrderId, bool] = MappingProxyType({}),
    waived: Collection[Exclusion] = (),
    finishing: Mapping[UserId, float] = _NOBODY,
    spare: Collection[UserId] = (),
    sheets: Sheets | None = None,
) -> Problem:
    """The problem of these orders, with ``users`` or whoever is in reach.

    Args:
        whole: Orders for which everyone in reach is looked at, to be told why: always where it maps to True, else if
            the index knows of nobody eligible.
        waived: Reasons of ``hard_reasons`` that shall not count.
        finishing: Who is about to finish a job, with the seconds that are left of it (``chaining.finishing``).
        spare: Whose open offer may be taken back (``spare.technicians``).
        sheets: The shard's rows; without them, all are worked out for this once.

    Cost:
        About 0.1 ms an order, or 1 us each for a round in columns.
    """
    sheets = sheets or Sheets(book, eligibility.papers_needed(book.shard.city, settings.eligibility))
    dark = eligibility.nights(orders, now, hours, settings.round.unmatched_s, settings.eligibility)
    if users is None:
        is_small = len(orders) <= settings.round.slice_orders_max
        users = (
            _neighbours(orders, book, places, now, settings, whole, finishing, spare, is_dark=bool(dark))
            if is_small
            else everybody(book, places)
        )
    known = [book.technicians[user] for user in users]
    t = sheets.technicians(users, known)
    technicians = _technician_columns(users, t, sheets, book, places, now, settings, waived, finishing, spare)
    row_of = {user: row for row, user in enumerate(users)}
    o = sheets.orders(orders)
    of_row, wave = _rows(orders, o["offers_len_max"], book)
    if len(of_row) > len(orders):
        orders, o = [orders[i] for i in of_row.tolist()], o[of_row]
    refused = [
        (i, row_of[user])
        for i, order in enumerate(orders)
        if order.order_id in book.refused
        for user in sorted(book.refused[order.order_id])
        if user in row_of
    ]
    own = [(i, row_of[order.customer]) for i, order in enumerate(orders) if order.customer in row_of]
    unmatched_s = settings.round.unmatched_s
    blocks = calendar.columns(book, known, t, tuple(sheets.shifts), o, hours, now, settings.schedule, unmatched_s)
    columns = _with_woken(_order_columns(orders, o, wave, row_of, now, settings), technicians)
    pairs, own_pairs = (np.asarray(found, dtype=np.int64).reshape(-1, 2) for found in (refused, own))
    alarmed, rules = places.in_alarm(users), settings.eligibility
    people = eligibility.columns(o, t, sheets.tiers, alarmed, book.shard.city, dark, rules)
    eligibility.keep_apart(people, orders, row_of, book.barred)
    ahead = len(blocks.technician) > 0 or bool((o["begins_at"] > -inf).any())
    ahead = ahead or len(people.papers_until) > 0 or len(people.walks) > 0
    limits.fill(people, o, t)
    if _counts(settings, settings.decline.max_s, settings.shadow.decline_max_s):
        cells = _answer_cells(orders, hours, now)
        number_of = {cell: number for number, cell in enumerate(dict.fromkeys(cells))}
        people.service = np.array([number_of[cell] for cell in cells], dtype=np.int64)
        people.decline = willing.probabilities(known, list(number_of), now, settings.decline)
    policy = _policy(settings, travel)
    if cost.prefers_newcomers(seed, settings.newcomer.share):
        policy = replace(policy, newcomer_s=settings.newcomer.head_start_s)
    people.newcomer = t["rated_len"] < settings.newcomer.ratings
    if spare:
        is_spare = np.array([user in spare for user in users], dtype=np.bool_)
        people.spare = is_spare if is_spare.any() else people.spare
    turns = _turns(t, technicians, people, policy, now, settings)
    return Problem(
        at=now,
        seed=seed,
        policy=policy,
        orders=_with_times(columns, o) if ahead else columns,
        technicians=replace(technicians, turns=turns) if len(turns) else technicians,
        refused_order=np.ascontiguousarray(pairs[:, 0]),
        refused_technician=np.ascontiguousarray(pairs[:, 1]),
        own_order=np.ascontiguousarray(own_pairs[:, 0]),
        own_technician=np.ascontiguousarray(own_pairs[:, 1]),
        blocks=blocks,
        people=people,
    )


def _with_woken(columns: OrderColumns, technicians: TechnicianColumns) -> OrderColumns:
    """A pick whose phone sleeps is asked all the same, from where they were seen last: the offer wakes the phone."""
    if not len(columns.only) or not len(technicians.ids):
        return columns
    seen_at = technicians.seen_at[np.maximum(columns.only, 0)]
    return replace(columns, woken=(columns.only >= 0) & (seen_at > -inf))


def _with_times(columns: OrderColumns, o: Table) -> OrderColumns:
    return replace(columns, begins_at=o["begins_at"].copy(), duration_s=o["duration_s"].copy())


def _rows(orders: Sequence[Order], offers_len_max: IntArray, book: Book) -> tuple[IntArray, IntArray]:
    """Each order as often as it may be offered once more: the place of each row's order, and its wave."""
    live = np.zeros(len(orders), dtype=np.int64)
    if book.live_of_order:
        live += np.array([len(book.live_of_order.get(order.order_id, ())) for order in orders], dtype=np.int64)
    more = np.maximum(offers_len_max - live, 1)
    of_row = np.repeat(np.arange(len(orders)), more)
    return of_row, np.arange(len(of_row)) - np.repeat(np.cumsum(more) - more, more) + live[of_row]


def _counts(settings: DispatchSettings, live: float, shadows: float) -> bool:
    """Whether the live policy or the shadow gives anything for what a column says."""
    return live > 0.0 or (bool(settings.shadow.name) and shadows > 0.0)


def _answer_cells(orders: Sequence[Order], hours: Hours, now: float) -> list[str]:
    """Which of a technician's answers tell how each order would be answered: the service's, at its hour."""
    hour = hours.hour(now)
    for_now = {service: willing.cell_of(service, hour) for service in {order.service for order in orders}}
    return [
        for_now[o.service]
        if o.scheduled_for is None
        else willing.cell_of(o.service, hours.hour(willing.served_at(o, now)))
        for o in orders
    ]


def _policy(settings: DispatchSettings, travel: tuple[float, float]) -> Policy:
    start_s, s_per_m = travel
    head, round_ = settings.head_start, settings.round
    return Policy(
        position_fresh_s=settings.position_fresh_s,
        radius_steps_m=round_.radius_steps_m,
        candidates_len_max=round_.candidates_len_max,
        unmatched_s=round_.unmatched_s,
        travel_s_per_m=s_per_m,
        travel_start_s=start_s,
        rating_max_s=head.rating_max_s,
        rating_floor=head.rating_floor,
        rating_best=head.rating_best,
        idle_s_per_s=head.idle_s_per_min / 60.0,
        idle_max_s=head.idle_max_s,
        buffer_s=settings.schedule.buffer_s,
        late_max_s=settings.schedule.late_max_s,
        decline_max_s=settings.decline.max_s,
        walk_max_m=settings.eligibility.night_walk_max_m or inf,
        waiting_s_per_s=settings.waiting.s_per_min / 60.0,
        waiting_max_s=settings.waiting.max_s,
        turn_s=settings.turn.s,
        turn_max_s=settings.turn.max_s,
        take_back_s=settings.broadcast.extra_max_s,
    )


def step_limit(order: Order, now: float, settings: DispatchSettings) -> int:
    """Last radius step that a round may try for the order, by how long it has been in matching."""
    last = len(settings.round.radius_steps_m) - 1
    widen_s = settings.round.widen_s
    # While an order is in matching, changed_at is when its matching began. Who was picked may come from afar.
    return last if widen_s == 0.0 or order.picked is not None else min(int((now - order.changed_at) / widen_s), last)


def widens_at(order: Order, now: float, settings: DispatchSettings) -> float:
    """When the order's circle may widen next; inf for never."""
    step = step_limit(order, now, settings)
    if step == len(settings.round.radius_steps_m) - 1:
        return inf
    return order.changed_at + (step + 1) * settings.round.widen_s


def _order_columns(
    orders: Sequence[Order],
    o: Table,
    wave: IntArray,
    row_of: Mapping[UserId, int],
    now: float,
    settings: DispatchSettings,
) -> OrderColumns:
    only = np.zeros(0, dtype=np.int64)
    if o["picked"].any():
        only = np.full(len(orders), ANYBODY, dtype=np.int64)
        for row in np.flatnonzero(o["picked"]).tolist():
            picked = orders[row].picked
            only[row] = NOBODY_IN_REACH if picked is None else row_of.get(picked, NOBODY_IN_REACH)
    unmatched_s = np.zeros(0)
    if wave.any() or o["lost"].any():
        # A customer who was served already in the queue's turn does not queue again behind everyone who came since.
        place_s = np.where(o["lost"], np.minimum(now - o["placed_at"], PLACE_S_MAX), 0.0)
        unmatched_s = np.where(wave > 0, settings.broadcast.extra_max_s, settings.round.unmatched_s + place_s)
    return OrderColumns(
        ids=tuple(order.order_id for order in orders),
        lat_deg=o["lat_deg"].copy(),
        lng_deg=o["lng_deg"].copy(),
        step_max=_step_limits(o, now, settings),
        skills=o["skills"].copy(),
        skill_unknown=o["skill_unknown"].copy(),
        gender=o["gender"].copy(),
        only=only,
        unmatched_s=unmatched_s,
        waiting_at=_waiting_at(orders, o, wave, settings),
        wave=wave if wave.any() else wave[:0],
    )


def _step_limits(o: Table, now: float, settings: DispatchSettings) -> IntArray:
    """``step_limit`` of many."""
    last, widen_s = len(settings.round.radius_steps_m) - 1, settings.round.widen_s
    limits_ = np.full(len(o), last, dtype=np.int64)
    if widen_s > 0.0:
        by_time = np.minimum((now - o["changed_at"]) / widen_s, last).astype(np.int64)
        limits_ = np.where(o["picked"], limits_, by_time)
    return limits_


def _waiting_at(orders: Sequence[Order], o: Table, wave: IntArray, settings: DispatchSettings) -> FloatArray:
    waiting, shadow = settings.waiting, settings.shadow
    if not _counts(settings, waiting.s_per_min * waiting.max_s, shadow.waiting_s_per_min * shadow.waiting_max_s):
        return np.zeros(0)
    since_at: FloatArray = o["placed_at"].copy()
    for row in np.flatnonzero(o["begins_at"] > -inf).tolist():
        since_at[row] = max(since_at[row], schedule.opens_at(orders[row], settings.schedule))
    since_at += settings.waiting.after_s
    # A second technician for one order never takes the only one from another order, however long it has waited.
    since_at[wave > 0] = inf
    return since_at


def everybody(book: Book, places: Places) -> list[UserId]:
    """All technicians who have a place in the index."""
    return [user for user in places.index if user in book.technicians]


def _neighbours(
    orders: Sequence[Order],
    book: Book,
    places: Places,
    now: float,
    settings: DispatchSettings,
    whole: Mapping[OrderId, bool],
    finishing: Mapping[UserId, float],
    spare: Collection[UserId],
    *,
    is_dark: bool,
) -> list[UserId]:
    """The nearest eligible technicians of each order, and the nearest of any kind to explain the others."""
    seen_after = now - settings.position_fresh_s
    taken = [user for user in book.changes.technicians if user not in book.idle]
    unheard = [user for user in book.unheard if not _is_heard(user, book, places)]
    needed = eligibility.papers_needed(book.shard.city, settings.eligibility)
    is_asked = bool(needed) or is_dark or any(order.tier_min for order in orders)
    idle = [book.technicians[user] for user in book.idle] if is_asked else []
    on_foot = [person.technician for person in idle if not person.own_transport] if is_dark else []
    spare_slots = np.array([slot for slot in map(places.slot, spare) if slot is not None], dtype=np.int64)
    found: dict[int, None] = {}
    for order in orders:
        within_m = settings.round.radius_steps_m[step_limit(order, now, settings)]
        reach_len = settings.round.told_len_max if order.order_id in whole else settings.round.reach_len_max
        if order.picked is not None:
            slot = places.slot(order.picked)
            if slot is not None:
                found[slot] = None
        elif book.idle and book.skill_bits.knows(order.skills):
            without = [
                *taken,
                *unheard,
                order.customer,
                *sorted(book.refused.get(order.order_id, ())),
                *book.barred.technicians(order.customer),
                *eligibility.unfit(order, idle, needed, now, settings.eligibility),
            ]
            is_found = False
            # Who of them would come at night is judged pair by pair: those who may not must not hide the others.
            for left_out in [without, [*without, *on_foot]] if on_foot else [without]:
                eligible = places.nearest_eligible(
                    order.site.point,
                    settings.round.candidates_len_max,
                    gender=order.gender_preference,
                    skills=book.skill_bits.mask(order.skills),
                    zone_bit=book.zone_bits.wanted(order.zone),
                    service_bit=book.service_bits.wanted(order.service),
                    seen_after=seen_after,
                    within_m=within_m,
                    without=left_out,
                )
                found.update(dict.fromkeys(eligible.tolist()))
                is_found = is_found or len(eligible) > 0
            if is_found and not whole.get(order.order_id):
                reach_len = settings.round.reach_len_max
        if order.picked is None and len(spare_slots) and order.order_id not in book.live_of_order:
            found.update(dict.fromkeys(_nearest_of(spare_slots, order, places, within_m, settings)))
        if order.picked is None:
            found.update(dict.fromkeys(_finishing_near(order, book, places, finishing, within_m, settings)))
        others = places.nearest_any(order.site.point, reach_len, within_m)
        found.update(dict.fromkeys(others.tolist()))
    users = (places.index.user(slot) for slot in found)
    return [user for user in users if user in book.technicians]


def is_whole(problem: Problem, order: Order, places: Places, now: float, settings: DispatchSettings) -> bool:
    """Whether a problem holds everyone in reach of an order, up to ``told_len_max``."""
    within_m = settings.round.radius_steps_m[step_limit(order, now, settings)]
    slots = places.nearest_any(order.site.point, settings.round.told_len_max, within_m)
    known = set(problem.technicians.ids)
    return all(places.index.user(slot) in known for slot in slots.tolist())


def _finishing_near(
    order: Order,
    book: Book,
    places: Places,
    finishing: Mapping[UserId, float],
    within_m: float,
    settings: DispatchSettings,
) -> list[int]:
    """Slots of the nearest whose job ends soon, by the place of that job."""
    fit = (user for user in finishing if limits.within(order, book.technicians[user]))
    near = ((distance_m(order.site.point, book.orders[book.job_of[user]].site.point), user) for user in fit)
    nearest = sorted((metres, user) for metres, user in near if metres <= within_m)
    slots = (places.slot(user) for _, user in nearest[: settings.round.candidates_len_max])
    return [slot for slot in slots if slot is not None]


def _nearest_of(
    slots: IntArray, order: Order, places: Places, within_m: float, settings: DispatchSettings
) -> list[int]:
    """The nearest of these slots to an order, nearest first."""
    index, site = places.index, order.site.point
    far_m = table_m(np.array([site.lat_deg]), np.array([site.lng_deg]), index.lat[slots], index.lng[slots])[0]
    nearest = np.argsort(far_m, kind="stable")[: settings.round.candidates_len_max]
    found: list[int] = slots[nearest[far_m[nearest] <= within_m]].tolist()
    return found


def _is_heard(user: UserId, book: Book, places: Places) -> bool:
    since = book.technicians[user].unheard_since
    slot = places.slot(user)
    return since is None or (slot is not None and float(places.index.heard_at[slot]) > since)


def _technician_columns(
    users: Sequence[UserId],
    t: Table,
    sheets: Sheets,
    book: Book,
    places: Places,
    now: float,
    settings: DispatchSettings,
    waived: Collection[Exclusion],
    finishing: Mapping[UserId, float],
    spare: Collection[UserId],
) -> TechnicianColumns:
    index = places.index
    slots: IntArray = slots_of(index, users)
    city_mean = rating.city_mean(book.city.at_time(now, settings.rating.half_life_days), settings.rating)
    tier_s = np.array([settings.head_start.tier_s.get(tier, 0.0) for tier in sheets.tiers])
    columns = TechnicianColumns(
        ids=tuple(users),
        # A technician without a position is as stale as can be; a finite place keeps NaN out of the costs.
        lat_deg=np.nan_to_num(index.lat[slots]),
        lng_deg=np.nan_to_num(index.lng[slots]),
        seen_at=index.seen_at[slots],
        heard_at=index.heard_at[slots],
        unheard_at=t["unheard_at"].copy(),
        connected=(index.flags[slots] & int(Flag.CONNECTED)) != 0,
        skills=t["skills"].copy(),
        gender=t["gender"].copy(),
        rating=_ratings(t, city_mean, now, settings.rating),
        tier_s=tier_s[t["tier"]],
        idle_at=t["idle_at"].copy(),
        hard=_hard(users, t, book, waived, finishing, spare),
    )
    rows = [row for row, user in enumerate(users) if user in finishing] if finishing else []
    return _from_their_jobs(columns, rows, book, now, finishing) if rows else columns


def _from_their_jobs(
    columns: TechnicianColumns, rows: Sequence[int], book: Book, now: float, finishing: Mapping[UserId, float]
) -> TechnicianColumns:
    """Who is about to finish sets out from the place of the job, which is known whatever their phone says."""
    lat_deg, lng_deg, seen_at = columns.lat_deg.copy(), columns.lng_deg.copy(), columns.seen_at.copy()
    wait_s = np.zeros(len(columns.ids))
    for row in rows:
        user = UserId(columns.ids[row])
        lat_deg[row], lng_deg[row] = book.orders[book.job_of[user]].site.point
        seen_at[row], wait_s[row] = now, finishing[user]
    return replace(columns, lat_deg=lat_deg, lng_deg=lng_deg, seen_at=seen_at, wait_s=wait_s)


def _ratings(t: Table, city_mean: float, now: float, settings: RatingSettings) -> FloatArray:
    """``rating.mean`` of many, as columns."""
    kept = 0.5 ** (np.maximum(now - t["rating_at"], 0.0) / (settings.half_life_days * rating.DAY_S))
    result: FloatArray = (settings.prior_weight * city_mean + t["rating_sum"] * kept) / (
        settings.prior_weight + t["rating_weight"] * kept
    )
    return result


def _turns(
    t: Table,
    columns: TechnicianColumns,
    persons: PersonColumns,
    policy: Policy,
    now: float,
    settings: DispatchSettings,
) -> FloatArray:
    """See ``TechnicianColumns.turns``."""
    turns: FloatArray = t["turns"]
    if not _counts(settings, settings.turn.s, settings.shadow.turn_s) or not turns.any():
        return np.zeros(0)
    age_s = np.maximum(now - t["turns_at"], 0.0)
    starts = cost.head_starts(policy, columns, now)
    fresh = columns.connected & (columns.seen_at >= now - policy.position_fresh_s)
    if len(persons.spare):
        fresh &= ~persons.spare
    return turns_of.too_many(
        columns,
        turns * 0.5 ** (age_s / (settings.turn.half_life_min * 60.0)),
        starts["rating"] + starts["tier"],
        fresh & (columns.hard == 0) & (columns.heard_at > columns.unheard_at) & (cost.wait_s(columns) == 0.0),
    )


def _hard(
    users: Sequence[UserId],
    t: Table,
    book: Book,
    waived: Collection[Exclusion],
    finishing: Mapping[UserId, float],
    spare: Collection[UserId],
) -> CodeArray:
    """The first of each one's ``hard_reasons`` that counts. Of an offer that may be taken back the filters decide."""
    hard = np.zeros(len(users), dtype=np.uint8)
    for reason in reversed(HARD):
        if reason in waived:
            continue
        if reason is Exclusion.OFFERED:
            live = book.live_of_technician
            against_ = np.array([user in live and user not in spare for user in users], dtype=np.bool_)
        else:
            against_ = (t["against"] & (1 << reason)) != 0
        if reason is Exclusion.BUSY and finishing:
            against_ &= ~np.array([user in finishing for user in users], dtype=np.bool_)
        hard[against_] = reason
    return hard


def hard_reasons(
    technician: Technician, book: Book, finishing: Mapping[UserId, float] = _NOBODY
) -> Iterator[Exclusion]:
    """What speaks against a technician whatever the order, the most telling first.

    By the book, which knows this turn's decisions.
    """
    bits = against(technician, book)
    for reason in HARD:
        if reason is Exclusion.OFFERED:
            if technician.technician in book.live_of_technician:
                yield reason
        elif bits & 1 << reason and not (reason is Exclusion.BUSY and technician.technician in finishing):
            yield reason
