"""Calendars: shifts by the city's clock, rests, booked jobs with the way and a buffer on both sides."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Conflict
from core.ids import UserId
from dispatch import calendar, candidates, explaining, matching, rounds
from dispatch import events as e
from dispatch.calendar import Block, BlockKind, Hours, Way
from dispatch.events import CloseReason, Step
from dispatch.model import DutyState, Order, OrderState, Rest, Shift, WorkState
from dispatch.problem import BlockColumns, Exclusion, Problem
from dispatch.settings import DispatchSettings, ScheduleSettings
from tests.unit.dispatch import problems
from tests.unit.dispatch.world import (
    ALL_STEPS,
    ANNA,
    CENTRE,
    OPS,
    T0,
    World,
    asks,
    closes,
    heard,
    north,
    tells,
)

SHANGHAI = ZoneInfo("Asia/Shanghai")
EVERY_DAY = tuple(range(7))
NIGHT = (Shift(EVERY_DAY, 20 * 60, 4 * 60),)
HOUR = 3_600.0
TINA, BEN = UserId("tina"), UserId("ben")


def at(text: str, zone: ZoneInfo = SHANGHAI) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


# -- shifts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begins", "minutes", "fits"),
    [
        ("2026-03-11T01:30", 60, True),
        ("2026-03-11T03:00", 60, True),
        ("2026-03-11T03:01", 60, False),
        ("2026-03-11T04:30", 60, False),
        ("2026-03-11T19:59", 60, False),
        ("2026-03-11T20:00", 60, True),
        ("2026-03-11T23:30", 60, True),
        ("2026-03-11T12:00", 30, False),
    ],
)
def test_a_shift_over_midnight_takes_what_lies_inside_it(begins: str, minutes: int, fits: bool) -> None:
    begins_at = at(begins)
    ends_at = begins_at + minutes * 60
    closed = Hours(SHANGHAI).closed(NIGHT, begins_at - HOUR, ends_at + HOUR)
    taken = [Block(*span, BlockKind.OFF_SHIFT) for span in closed]
    found = calendar.clash(taken, CENTRE, begins_at, ends_at, Way(60, 0.25, 900))
    assert (found is None) == fits


def test_a_shift_belongs_to_the_day_on_which_it_begins() -> None:
    monday_night = (Shift((0,), 22 * 60, 6 * 60),)
    closed = Hours(SHANGHAI).closed(monday_night, at("2026-03-09T00:00"), at("2026-03-11T00:00"))
    assert closed == [
        (at("2026-03-09T00:00"), at("2026-03-09T22:00")),
        (at("2026-03-10T06:00"), at("2026-03-11T00:00")),
    ]


def test_on_a_day_on_which_the_clocks_change_a_shift_keeps_its_hours_by_the_clock() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    closed = Hours(berlin).closed(NIGHT, at("2026-03-28T20:00", berlin), at("2026-03-29T20:00", berlin))
    assert closed == [(at("2026-03-29T04:00", berlin), at("2026-03-29T20:00", berlin))]
    assert at("2026-03-29T04:00", berlin) - at("2026-03-28T20:00", berlin) == 7 * HOUR


def open_in_berlin(shift: Shift, day: str) -> list[tuple[str, str]]:
    """When somebody with this shift works between noon of the day before and noon of a day, in UTC."""
    berlin = ZoneInfo("Europe/Berlin")
    noon = at(f"{day}T12:00", berlin)
    closed = Hours(berlin).closed((shift,), noon - 24 * HOUR, noon)
    edges = [edge for span in closed for edge in span][1:-1]
    told = [datetime.fromtimestamp(edge, UTC).strftime("%dT%H:%M") for edge in edges]
    return list(zip(told[::2], told[1::2], strict=True))


@pytest.mark.parametrize(
    ("begins", "ends", "spring", "autumn"),
    [
        ("22:00", "06:00", ("28T21:00", "29T04:00"), ("24T20:00", "25T05:00")),  # 7 hours, and 9
        ("22:00", "02:30", ("28T21:00", "29T01:00"), ("24T20:00", "25T00:30")),
        ("02:30", "06:00", ("29T01:00", "29T04:00"), ("25T00:30", "25T05:00")),
        ("02:30", "03:15", ("29T01:00", "29T01:15"), ("25T00:30", "25T02:15")),
        ("03:00", "06:00", ("29T01:00", "29T04:00"), ("25T02:00", "25T05:00")),
        ("02:10", "02:50", None, ("25T00:10", "25T00:50")),  # no minute of it comes in spring
    ],
)
def test_night_shifts_begin_and_end_by_the_clock_when_the_clocks_change(
    begins: str, ends: str, spring: tuple[str, str] | None, autumn: tuple[str, str]
) -> None:
    begins_min, ends_min = (int(text[:2]) * 60 + int(text[3:]) for text in (begins, ends))
    shift = Shift(EVERY_DAY, begins_min, ends_min)
    assert open_in_berlin(shift, "2026-03-29") == ([] if spring is None else [spring])
    assert open_in_berlin(shift, "2026-10-25") == [autumn]


def test_a_night_is_as_long_as_the_clocks_make_it() -> None:
    hours, berlin = Hours(ZoneInfo("Europe/Berlin")), ZoneInfo("Europe/Berlin")
    for day, hours_long in (("2026-03-29", 7), ("2026-10-25", 9), ("2026-11-23", 8)):
        noon = at(f"{day}T12:00", berlin)
        ((begins_at, ends_at),) = hours.nights(22.0, 6.0, noon - 20 * HOUR, noon)
        assert (ends_at - begins_at, hours.hour(begins_at), hours.hour(ends_at)) == (hours_long * HOUR, 22.0, 6.0)


def test_shifts_that_overlap_count_once_and_without_shifts_every_hour_is_open() -> None:
    day = (Shift(EVERY_DAY, 8 * 60, 14 * 60), Shift(EVERY_DAY, 12 * 60, 18 * 60))
    span = at("2026-03-11T00:00"), at("2026-03-12T00:00")
    assert Hours(SHANGHAI).closed(day, *span) == [(span[0], span[0] + 8 * HOUR), (span[0] + 18 * HOUR, span[1])]
    assert Hours(SHANGHAI).closed((), *span) == []


# -- one rule, on columns and on one pair ----------------------------------------------------------------


def with_blocks(problem: Problem, blocks: Sequence[tuple[int, Block]]) -> Problem:
    n = len(problem.orders.ids)
    orders = problem.orders
    if not len(orders.begins_at):
        orders = replace(orders, begins_at=np.full(n, -inf), duration_s=np.full(n, HOUR))
    return replace(
        problem,
        orders=orders,
        blocks=BlockColumns(
            technician=np.array([row for row, _ in blocks], dtype=np.int64),
            from_at=np.array([b.from_at for _, b in blocks], dtype=np.float64),
            until_at=np.array([b.until_at for _, b in blocks], dtype=np.float64),
            placed=np.array([b.point is not None for _, b in blocks], dtype=np.bool_),
            lat_deg=np.array([b.point.lat_deg if b.point else 0.0 for _, b in blocks]),
            lng_deg=np.array([b.point.lng_deg if b.point else 0.0 for _, b in blocks]),
        ),
    )


@given(data=st.data())
def test_the_columns_say_what_the_rule_says_of_each_pair(data: st.DataObject) -> None:
    n, m = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    problem = problems.random_problem(n, m, data.draw(st.integers(0, 99)), buffer_s=900.0, late_max_s=600.0)
    times = st.floats(-2 * HOUR, 8 * HOUR).map(lambda s: T0 + s)
    begins_at = [data.draw(st.one_of(st.just(-inf), times)) for _ in range(n)]
    durations = [data.draw(st.floats(600, 2 * HOUR)) for _ in range(n)]
    waits = [data.draw(st.sampled_from([0.0, 0.0, 500.0])) for _ in range(m)]
    problem = replace(
        problem,
        orders=replace(problem.orders, begins_at=np.array(begins_at), duration_s=np.array(durations)),
        technicians=replace(problem.technicians, wait_s=np.array(waits)),
    )
    blocks = []
    for _ in range(data.draw(st.integers(0, 6))):
        begin = data.draw(times)
        point = north(data.draw(st.floats(0, 9_000))) if data.draw(st.booleans()) else None
        block = Block(begin, begin + data.draw(st.floats(60, 3 * HOUR)), BlockKind.BOOKING, point)
        blocks.append((data.draw(st.integers(0, m - 1)), block))
    problem = with_blocks(problem, blocks)
    rows = np.arange(n)
    distance_m = candidates.distances_m(problem, rows)
    found = calendar.clashes(problem, rows, distance_m)
    way = Way(problem.policy.travel_start_s, problem.policy.travel_s_per_m, 900.0)
    for i in range(n):
        point = north(0)._replace(lat_deg=problem.orders.lat_deg[i], lng_deg=problem.orders.lng_deg[i])
        for j in range(m):
            arrives = T0 + waits[j] + way.start_s + way.s_per_m * distance_m[i, j]
            begins = max(begins_at[i], arrives)
            mine = [block for row, block in blocks if row == j]
            is_late = begins_at[i] > T0 and arrives > begins_at[i] + 600.0
            clash = calendar.clash(mine, point, begins, begins + durations[i], way)
            assert found[i, j] == (is_late or clash is not None), (i, j)


@pytest.mark.parametrize(
    ("gap_s", "fits"), [(60 + 250 + 900.0, True), (60 + 250 + 899.0, False)], ids=["just room", "a second short"]
)
def test_the_way_and_the_buffer_lie_on_both_sides_of_a_booked_job(gap_s: float, fits: bool) -> None:
    way = Way(60, 0.25, 900)
    after = [Block(T0 + HOUR + gap_s, T0 + 3 * HOUR, BlockKind.BOOKING, north(1_000))]
    before = [Block(T0 - HOUR, T0 - gap_s, BlockKind.BOOKING, north(1_000))]
    for taken in (after, before):
        assert (calendar.clash(taken, CENTRE, T0 + 0.001, T0 + HOUR - 0.001, way) is None) == fits


def test_a_stored_round_with_calendars_gives_the_same_decision_again_and_another_block_another_one() -> None:
    problem = problems.random_problem(3, 5, 7, buffer_s=900.0)
    free = matching.solve(with_blocks(problem, []))
    row = problem.technicians.ids.index(free.pairs[0].technician)
    rest = Block(T0 - 1, T0 + 9 * HOUR, BlockKind.REST)
    resting = with_blocks(problem, [(row, rest)])
    assert matching.solve(rounds.decode(rounds.encode(resting))) == matching.solve(resting)
    assert problem.technicians.ids[row] not in [pair.technician for pair in matching.solve(resting).pairs]
    codes = problems.excluded(resting, np.arange(3))
    assert set(codes[:, row].tolist()) == {Exclusion.CALENDAR}


def test_rounds_that_were_stored_before_calendars_can_still_be_read() -> None:
    problem = problems.random_problem(3, 5, 7)
    assert rounds.decode(rounds.encode(problem)).policy.late_max_s == inf
    assert "auto/2" in rounds._REPEATABLE


# -- in a city --------------------------------------------------------------------------------------------


def city(**schedule: float) -> World:
    settings = {"lead_s": 4 * HOUR, "buffer_s": 900.0, "late_max_s": 600.0} | schedule
    return World(DispatchSettings(schedule=ScheduleSettings(**({"early_s": 86_400.0} | settings))))


def booked(world: World, after_s: float = HOUR, metres: float = 0.0) -> Order:
    """Tina takes an order whose service begins ``after_s`` from the beginning."""
    order = world.place(at=north(metres), scheduled_for=T0 + after_s)
    world.accept("tina")
    return world.order(order.order_id)


def test_a_scheduled_order_that_is_taken_early_is_booked_and_leaves_its_technician_free() -> None:
    world = city()
    world.join("tina")
    order = booked(world)
    assert (order.state, order.booked_for) == (OrderState.ASSIGNED, T0 + HOUR)
    tina = world.engine.technician(TINA)
    assert tina is not None
    assert tina.work is WorkState.IDLE
    assert not world.engine.is_job(order)
    world.steps(order, Step.EN_ROUTE)
    assert world.engine.is_job(world.order(order.order_id))
    tina = world.engine.technician(TINA)
    assert tina is not None
    assert tina.work is WorkState.BUSY


def test_nobody_is_asked_for_what_does_not_fit_before_their_booked_job() -> None:
    world = city()
    world.join("tina")
    booked(world, after_s=1.25 * HOUR)
    hour_long = world.place()  # 60 min of work, the way there and back and the buffer are more than 75 min
    assert world.engine.live_offer(TINA) is None
    half_hour = world.place(duration_s=1_800.0)
    world.tick(1)
    assert world.offer_of("tina").order_id == half_hour.order_id
    stored = [r for r in world.ledger.rounds if hour_long.order_id in r.orders]
    told = explaining.explain(stored[-1], hour_long.order_id)
    assert [x.reason for x in told.excluded if x.technician == "tina"] == ["calendar"]


def test_a_booked_job_is_known_again_after_a_restart() -> None:
    world = city()
    world.join("tina")
    order = booked(world, after_s=1.25 * HOUR)
    world.restart()
    world.place()
    assert world.engine.live_offer(TINA) is None
    world.steps(order, Step.EN_ROUTE)
    assert world.engine.is_job(world.order(order.order_id))


def test_a_technician_who_would_come_too_late_for_a_scheduled_order_is_not_asked() -> None:
    world = city(late_max_s=300.0)
    world.join("tina", 10_000.0)  # 60 s + 2,500 s away
    world.place(scheduled_for=T0 + 2_100)
    assert world.engine.live_offer(TINA) is None
    world.join("ben", 8_000.0)  # 60 s + 2,000 s away
    assert heard(world.tick(3)) == [asks("ben")]


def test_an_offer_that_a_rest_has_overtaken_is_withdrawn_and_somebody_else_is_asked() -> None:
    world = city()
    world.join("tina", 300)
    world.join("ben", 2_000)
    world.place()
    effects = world.feed(e.CalendarSet(TINA, (), (Rest(T0 + 600, T0 + 7_200),)))
    assert heard(effects) == [closes("tina", CloseReason.REVOKED), asks("ben")]


def test_an_offer_that_fits_beside_a_new_rest_stays() -> None:
    world = city()
    world.join("tina", 300)
    world.place()
    assert heard(world.feed(e.CalendarSet(TINA, (), (Rest(T0 + 3 * HOUR, T0 + 4 * HOUR),)))) == []
    assert heard(world.accept("tina")) == [tells("assigned")]


def test_somebody_outside_their_shift_is_not_asked_and_is_as_soon_as_it_begins() -> None:
    world = World()
    local = datetime.fromtimestamp(T0, ZoneInfo("UTC"))
    begins = (local.hour * 60 + local.minute + 5) % 1440
    world.put("tina")
    world.feed(e.CalendarSet(TINA, (Shift(EVERY_DAY, begins, (begins + 480) % 1440),), ()))
    world.feed(e.DutySet(TINA, DutyState.ON))
    world.seen(TINA, north(100))
    world.place()
    assert world.engine.live_offer(TINA) is None
    world.tick(301)
    world.seen(TINA, north(100))
    assert asks("tina") in world.tick(305)


def test_two_booked_jobs_are_kept_apart_and_can_both_be_done() -> None:
    world = city()
    world.join("tina")
    first = booked(world, after_s=HOUR)
    too_close = world.place(scheduled_for=T0 + 2 * HOUR + 900)
    assert world.engine.live_offer(TINA) is None
    world.feed(e.OrderCancelled(too_close.order_id, ANNA))
    second = world.place(scheduled_for=T0 + 2 * HOUR + 960)
    world.accept("tina")
    for order in (first, second):
        world.steps(order, *ALL_STEPS)
        assert world.order(order.order_id).state is OrderState.DEPARTED_SAFE


def test_a_booked_job_begins_only_when_the_other_one_is_over_and_on_duty() -> None:
    world = city()
    world.join("tina")
    order = booked(world, after_s=2 * HOUR)
    now = world.place(duration_s=600.0)
    world.accept("tina")
    out = e.StepTaken(order.order_id, TINA, Step.EN_ROUTE)
    with pytest.raises(Conflict, match="another job"):
        world.feed(out)
    world.steps(now, *ALL_STEPS)
    world.feed(e.DutySet(TINA, DutyState.OFF))
    with pytest.raises(Conflict) as caught:
        world.feed(out)
    assert caught.value.code == "not_on_duty"
    world.feed(e.DutySet(TINA, DutyState.ON))
    assert heard(world.feed(out)) == [tells("en_route")]


def test_setting_out_withdraws_an_offer_that_was_open() -> None:
    world = city()
    world.join("tina")
    order = booked(world, after_s=2 * HOUR)
    world.place(duration_s=600.0)
    assert world.engine.live_offer(TINA) is not None
    effects = world.feed(e.StepTaken(order.order_id, TINA, Step.EN_ROUTE))
    assert closes("tina", CloseReason.REVOKED) in effects


def test_a_booked_job_that_is_cancelled_or_taken_back_leaves_the_calendar() -> None:
    world = city()
    world.join("tina")
    order = booked(world)
    effects = heard(world.feed(e.OrderCancelled(order.order_id, ANNA)))
    assert effects == [tells("cancelled", previous_technician="tina")]
    assert world.engine.live_offer(TINA) is None
    order = booked(world)
    effects = heard(world.feed(e.OrderReassigned(order.order_id, OPS)))
    assert effects[0] == tells("reassigned", previous_technician="tina", order__booked_for=None)
    world.place()
    world.tick(1)
    assert world.engine.live_offer(TINA) is not None


def test_an_acceptance_that_cannot_be_reached_any_more_is_refused() -> None:
    world = city()
    world.join("tina")
    world.place(scheduled_for=T0 + 500.0, duration_s=600.0)
    world.accept("tina")
    world.tick(520.0)
    world.seen(TINA, CENTRE)
    # She has not set out, so her booking takes its 600 s from now; then the way, a minute, and the buffer.
    fits_at = world.now + 600.0 + 60.0 + world.settings.schedule.buffer_s + 5.0
    world.place(scheduled_for=fits_at)
    offer = world.receive("tina")
    world.tick(524.0)
    assert world.engine.live_offer(TINA) is not None
    with pytest.raises(Conflict) as caught:
        world.feed(e.OfferAccepted(offer.offer_id, TINA), at=530.0)
    assert caught.value.code == "calendar_conflict"
    assert world.engine.live_offer(TINA) is not None


def test_a_rest_that_another_city_has_stored_withdraws_the_offer_it_forbids() -> None:
    world = city()
    world.join("tina")
    world.place()
    tina = world.engine.technician(TINA)
    assert tina is not None
    effects = world.feed(e.TechnicianCopied(replace(tina, rests=(Rest(T0, T0 + HOUR),), version=tina.version + 1)))
    assert closes("tina", CloseReason.REVOKED) in heard(effects)
    assert world.engine.live_offer(TINA) is None
