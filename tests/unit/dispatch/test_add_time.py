"""A service that is made longer while it runs, and one that its technician gives away."""

from typing import Any

import pytest

from core.errors import Conflict, DoorstepError, Invalid, NotFound
from core.ids import UserId
from dispatch import events as e
from dispatch.add_time import Room, longer
from dispatch.events import Step
from dispatch.exclusions import RULES, Moment
from dispatch.model import Mode, Order, OrderState, RequestState, Rest, Shift, TimeRequest
from dispatch.settings import DispatchSettings, EligibilitySettings, LostSettings, OverdueSettings, ScheduleSettings
from tests.unit.dispatch.world import ANNA, CENTRE, OPS, T0, World, asks, heard, north, tells

HOUR = 3_600.0
TINA = UserId("tina")
STARTS = (Step.EN_ROUTE, Step.ARRIVED, Step.IN_SERVICE)


def in_service() -> tuple[World, Order]:
    """Tina has begun with an hour of work at the beginning of the world."""
    world = World()
    world.join("tina")
    order = world.place()
    world.accept("tina")
    world.steps(order, *STARTS)
    return world, world.order(order.order_id)


def add(order: Order, minutes: float, by: UserId = ANNA, **facts: object) -> e.TimeAdded:
    return e.TimeAdded(order.order_id, by, minutes * 60.0, **facts)  # type: ignore[arg-type]


def refused(world: World, event: e.DispatchEvent) -> DoorstepError:
    with pytest.raises(DoorstepError) as caught:
        world.feed(event)
    return caught.value


def test_the_customer_makes_a_running_service_longer_at_the_price_of_a_minute() -> None:
    world, order = in_service()
    assert heard(world.feed(add(order, 30))) == [tells("time_added")]
    longer = world.order(order.order_id)
    assert (longer.duration_s, longer.added_s) == (1.5 * HOUR, 0.5 * HOUR)
    assert longer.service_fen == order.service_fen * 3 // 2
    told = world.ledger.events[-1]
    assert (told.what, told.detail) == ("time_added", {"added_s": 1_800.0, "price_fen": order.service_fen // 2})


def test_staff_name_a_price_and_half_a_fen_is_rounded_up() -> None:
    world, order = in_service()
    world.feed(add(order, 30, OPS, staff=True, price_fen=1))
    assert world.order(order.order_id).service_fen == order.service_fen + 1
    world, order = in_service()
    world.feed(add(order, 7))
    assert world.order(order.order_id).service_fen == order.service_fen + 30_000 * 7 // 60


@pytest.mark.parametrize(("minutes", "fits"), [(33, True), (34, False)], ids=["the longest that fits", "a minute more"])
def test_a_booked_job_afterwards_bounds_what_can_be_added(minutes: int, fits: bool) -> None:
    world = World(DispatchSettings(schedule=ScheduleSettings(lead_s=6 * HOUR)))
    world.join("tina")
    # 1,000 m away: 60 + 250 s of way and 900 s of buffer before it begins
    following = world.place(at=north(1_000), scheduled_for=T0 + HOUR + 33 * 60 + 60 + 251 + 900)
    world.accept("tina")
    order = world.place()
    world.accept("tina")
    world.steps(order, *STARTS)
    order = world.order(order.order_id)
    if fits:
        assert heard(world.feed(add(order, minutes))) == [tells("time_added")]
        return
    error = refused(world, add(order, minutes))
    assert isinstance(error, Conflict)
    assert error.code == "add_time_clash"
    ways = ["shorter", "delay_next", "reassign_next"]
    assert error.facts == {"longest_minutes": 33, "clash": "booking", "alternatives": ways}
    assert world.order(order.order_id) == order
    told = refused(world, add(order, minutes, OPS, staff=True)).facts
    assert told["clash_order"] == following.order_id
    assert told["from_at"] == following.scheduled_for
    later = (following.scheduled_for or 0.0) + 600
    world.feed(e.Rescheduled(following.order_id, OPS, later, "add-time before", staff=True))
    assert world.order(following.order_id).technician == TINA
    assert heard(world.feed(add(order, minutes))) == [tells("time_added")]


def test_a_booking_that_is_late_already_is_not_made_later_by_a_service_that_is_longer_than_it() -> None:
    world = World(
        lost=LostSettings(silent_s=80_000.0),
        overdue=OverdueSettings(redispatch_s=80_000.0),
        schedule=ScheduleSettings(buffer_s=30.0),
    )
    world.join("tina", 2_500)
    booked = world.place(scheduled_for=T0 + 1_000, duration_s=60.0)
    world.accept("tina")
    world.tick(1_000)
    world.seen(TINA, north(2_500))
    order = world.place(duration_s=180.0)  # she is expected after the booked job, and comes at once
    world.accept("tina")
    world.steps(order, *STARTS)
    refusal = refused(world, add(order, 1))
    assert refusal.code == "add_time_clash"
    staff = refused(world, add(order, 1, OPS, staff=True))
    assert (staff.facts["longest_minutes"], staff.facts["clash_order"]) == (0, booked.order_id)


def test_a_rest_and_the_end_of_a_shift_bound_it_too() -> None:
    world, order = in_service()
    world.feed(e.CalendarSet(TINA, (), (Rest(T0 + HOUR + 600, T0 + 3 * HOUR),)))
    assert refused(world, add(order, 11)).facts == {
        "longest_minutes": 10,
        "clash": "rest",
        "alternatives": ["shorter", "shorten_rest"],
    }
    ends_min = int((T0 % 86_400) // 60) + 65
    world.feed(e.CalendarSet(TINA, (Shift(tuple(range(7)), ends_min - 300, ends_min),), ()))
    error = refused(world, add(order, 30))
    assert (error.facts["clash"], error.facts["longest_minutes"]) == ("off_shift", 4)


def test_what_ran_over_is_not_paid_and_time_is_added_from_now() -> None:
    world, order = in_service()
    world.tick(HOUR + 600)
    world.feed(add(order, 20))
    longer = world.order(order.order_id)
    assert longer.started_at is not None
    assert longer.started_at + longer.duration_s == pytest.approx(T0 + HOUR + 600 + 1_200)
    assert longer.service_fen == order.service_fen * 4 // 3


def test_only_a_running_service_of_ones_own_is_made_longer_and_not_without_end() -> None:
    world = World()
    world.join("tina")
    order = world.place()
    assert refused(world, add(order, 10)).code == "not_in_service"
    world.accept("tina")
    world.steps(order, *STARTS)
    assert isinstance(refused(world, add(order, 10, UserId("cus_other"))), NotFound)
    world.feed(add(order, 235))
    error = refused(world, add(order, 6))
    assert isinstance(error, Invalid)
    assert (error.field, error.facts) == ("minutes", {"longest_minutes": 5})
    world.feed(add(order, 5))
    world.steps(order, Step.FINISHED)
    assert refused(world, add(order, 1)).code == "not_in_service"


def test_a_repeat_with_the_same_key_adds_nothing_and_a_different_one_is_refused() -> None:
    world, order = in_service()
    world.feed(add(order, 10, key="k", fingerprint="a"))
    world.restart()
    assert heard(world.feed(add(order, 10, key="k", fingerprint="a"))) == []
    assert world.order(order.order_id).added_s == 600.0
    assert refused(world, add(order, 20, key="k", fingerprint="b")).code == "idempotency_key_reused"


def asked(world: World, order: Order) -> TimeRequest:
    request = world.order(order.order_id).time_request
    assert request is not None
    return request


def answer(world: World, order: Order, *, agrees: bool, by: UserId = ANNA, staff: bool = False) -> e.TimeAnswered:
    return e.TimeAnswered(order.order_id, by, asked(world, order).request_id, agrees, staff)


def test_a_technicians_wish_costs_nothing_until_the_customer_agrees_at_the_price_that_was_shown() -> None:
    world, order = in_service()
    assert heard(world.feed(add(order, 240, TINA))) == [tells("time_asked")]
    waiting = world.order(order.order_id)
    assert (waiting.service_fen, waiting.duration_s, waiting.added_s) == (order.service_fen, HOUR, 0.0)
    request = asked(world, order)
    assert (request.added_s, request.price_fen, request.state) == (4 * HOUR, 4 * order.service_fen, "pending")
    assert refused(world, add(order, 1, TINA)).code == "add_time_pending"
    with pytest.raises(NotFound):
        world.feed(answer(world, order, agrees=True, by=TINA))
    world.restart()
    assert heard(world.feed(answer(world, order, agrees=True))) == [tells("time_added")]
    longer = world.order(order.order_id)
    assert (longer.service_fen, longer.duration_s) == (5 * order.service_fen, 5 * HOUR)
    assert asked(world, order).state is RequestState.AGREED
    assert heard(world.feed(answer(world, order, agrees=True))) == []
    assert refused(world, answer(world, order, agrees=False)).code == "add_time_over"
    world.tick(HOUR / 2)
    assert asked(world, order).state is RequestState.AGREED, "what was answered does not expire"


def test_a_request_is_refused_or_expires_also_after_a_restart_and_another_may_follow() -> None:
    world, order = in_service()
    world.feed(add(order, 30, TINA))
    assert heard(world.feed(answer(world, order, agrees=False))) == [tells("time_refused")]
    world.feed(add(order, 20, TINA))
    old = answer(world, order, agrees=True)
    world.restart()
    effects = heard(world.tick(301))
    assert effects == [tells("time_expired")]
    assert refused(world, old).code == "add_time_over"
    world.feed(add(order, 10, TINA))
    assert refused(world, old).code == "add_time_over", "nothing else is agreed to than what was asked"
    assert world.order(order.order_id).service_fen == order.service_fen
    world.steps(order, Step.FINISHED)
    assert asked(world, order).state is RequestState.DROPPED
    assert refused(world, answer(world, order, agrees=True)).code == "add_time_over"
    assert world.engine.next_deadline() is not None
    world.tick(HOUR)
    assert asked(world, order).state is RequestState.DROPPED


def test_the_calendar_is_asked_when_the_technician_asks_and_again_when_the_customer_agrees() -> None:
    world, order = in_service()
    world.feed(e.CalendarSet(TINA, (), (Rest(T0 + HOUR + 600, T0 + 3 * HOUR),)))
    assert refused(world, add(order, 11, TINA)).code == "add_time_clash"
    world.feed(add(order, 10, TINA))
    world.feed(e.CalendarSet(TINA, (), (Rest(T0 + HOUR + 300, T0 + 3 * HOUR),)))
    error = refused(world, answer(world, order, agrees=True))
    assert (error.code, error.facts["longest_minutes"]) == ("add_time_clash", 5)
    assert "from_at" not in error.facts
    assert "from_at" in refused(world, answer(world, order, agrees=True, by=OPS, staff=True)).facts
    world.feed(e.CalendarSet(TINA, (), ()))
    world.feed(answer(world, order, agrees=True, by=OPS, staff=True))
    assert world.order(order.order_id).added_s == 600.0


def test_a_repeated_wish_with_the_same_key_asks_once() -> None:
    world, order = in_service()
    world.feed(add(order, 10, TINA, key="k", fingerprint="a"))
    assert heard(world.feed(add(order, 10, TINA, key="k", fingerprint="a"))) == []


def test_a_technician_gives_an_order_away_before_they_arrive_and_keeps_no_claim() -> None:
    world = World()
    world.join("tina")
    order = world.place()
    world.accept("tina")
    world.join("ben", 3_000)
    mine = e.OrderReassigned(order.order_id, TINA, "car broke down", staff=False)
    assert isinstance(refused(world, e.OrderReassigned(order.order_id, ANNA, staff=False)), NotFound)
    effects = heard(world.feed(mine))
    assert effects == [tells("reassigned", previous_technician="tina", order__state=OrderState.MATCHING), asks("ben")]
    assert isinstance(refused(world, mine), NotFound)
    assert world.order(order.order_id).placed_at == order.placed_at


LATE: dict[str, Any] = {"night_walk_max_m": 500.0, "night_begins_h": 0.5}
"""The night begins at half past midnight, 8,200 s after the world does."""


def far_from_home(metres: float = 1_000.0, **record: Any) -> tuple[World, Order]:
    """Tina has come so many metres and begun with an hour of work; her papers end two hours after that."""
    world = World(eligibility=EligibilitySettings(papers=("health",), **LATE))
    world.join("tina", metres, **({"papers": {"health": T0 + 50 * HOUR}} | record))
    order = world.place()
    world.accept("tina")
    world.steps(order, *STARTS)
    world.seen(TINA, CENTRE)
    return world, world.order(order.order_id)


def test_nobody_is_kept_until_they_would_walk_home_at_night() -> None:
    world, order = far_from_home()  # 310 s of way home: until 7,890 s
    error = refused(world, add(order, 72))
    assert (error.code, error.facts) == (
        "add_time_clash",
        {"longest_minutes": 71, "clash": "night_transport", "alternatives": ["shorter", "own_transport"]},
    )
    assert refused(world, add(order, 72, OPS, staff=True)).facts == error.facts
    assert refused(world, add(order, 72, TINA)).facts == error.facts
    world.feed(add(order, 71))
    error = refused(world, add(order, 1))
    assert error.facts == {"longest_minutes": 0, "clash": "night_transport", "alternatives": ["own_transport"]}
    world.put("tina", own_transport=True, papers={"health": T0 + 50 * HOUR})
    world.feed(add(order, 90))


def test_who_lives_near_or_drives_stays_as_long_as_their_calendar_allows() -> None:
    for world, order in (far_from_home(400.0), far_from_home(own_transport=True)):
        assert heard(world.feed(add(order, 180))) == [tells("time_added")]


def test_a_service_that_was_in_the_night_may_go_on_into_the_day() -> None:
    world = World(eligibility=EligibilitySettings(**LATE))
    world.tick(7.5 * HOUR)  # 5:43
    world.join("tina", 1_000)
    order = world.place(mode=Mode.MANUAL)
    world.feed(e.OrderAssigned(order.order_id, TINA, OPS, "a taxi waits", ("night_transport",)))
    world.steps(order, *STARTS)
    world.feed(add(order, 60))


def test_what_staff_passed_over_by_name_does_not_bound_it() -> None:
    world = World(eligibility=EligibilitySettings(**LATE))
    world.tick(5_000)
    world.join("tina", 1_000)
    order = world.place(mode=Mode.MANUAL)
    world.feed(e.OrderAssigned(order.order_id, TINA, OPS, "a taxi waits", ("night_transport",)))
    world.steps(order, *STARTS)
    assert heard(world.feed(add(order, 60))) == [tells("time_added")]


def test_nobody_works_longer_than_their_papers_are_valid() -> None:
    world, order = far_from_home(400.0, papers={"health": T0 + 2 * HOUR})
    error = refused(world, add(order, 61))
    assert (error.code, error.facts) == (
        "add_time_clash",
        {"longest_minutes": 60, "clash": "papers", "alternatives": ["shorter", "renew_papers"]},
    )
    world.feed(add(order, 60))


def test_what_the_technician_asks_for_is_judged_again_when_the_customer_agrees() -> None:
    world, order = far_from_home(400.0, papers={"health": T0 + 2 * HOUR})
    world.feed(add(order, 60, TINA))
    request = world.order(order.order_id).time_request
    assert request is not None
    world.put("tina", papers={"health": T0 + 1.5 * HOUR})
    error = refused(world, e.TimeAnswered(order.order_id, ANNA, request.request_id, agrees=True))
    assert error.facts["clash"] == "papers"


def test_every_rule_that_depends_on_the_time_bounds_a_service_and_says_what_else_could_be_done() -> None:
    world, order = far_from_home()
    bounds = world.engine._standing.fits_until(order, world.now)
    assert bounds.keys() == {reason for reason, rule in RULES.items() if rule.asked & Moment.TIME}
    for reason in bounds:
        with pytest.raises(Conflict) as caught:
            longer(order, 1_200.0, None, world.now, Room(600.0, reason.label), HOUR, is_staff=True)
        assert caught.value.facts["alternatives"] != ["shorter"]
