"""An order that has not begun is moved to another time."""

from typing import Any

import pytest

from core.errors import DoorstepError, NotFound
from core.ids import UserId
from dispatch import events as e
from dispatch.events import CloseReason, Step
from dispatch.model import DutyState, Fallback, Mode, Order, OrderState, Rest
from dispatch.settings import DispatchSettings, EligibilitySettings, ScheduleSettings
from tests.unit.dispatch.world import ANNA, OPS, T0, World, asks, closes, heard, north, tells

HOUR = 3_600.0
TINA = UserId("tina")


def world(lead_s: float = HOUR) -> World:
    return World(DispatchSettings(schedule=ScheduleSettings(lead_s=lead_s)))


def move(order: Order, at: float, by: UserId = ANNA, *, staff: bool = False) -> e.Rescheduled:
    return e.Rescheduled(order.order_id, by, T0 + at, "later", staff)


def refused(w: World, event: e.DispatchEvent) -> DoorstepError:
    with pytest.raises(DoorstepError) as caught:
        w.feed(event)
    return caught.value


def test_a_waiting_order_waits_for_its_new_lead_time_over_a_restart() -> None:
    w = world()
    w.join("tina")
    order = w.place(scheduled_for=T0 + 3 * HOUR)
    assert heard(w.feed(move(order, 2 * HOUR))) == [tells("rescheduled", order__state=OrderState.SCHEDULED)]
    assert heard(w.feed(move(order, 2 * HOUR))) == []
    w.restart()
    w.tick(HOUR - 1)
    assert w.order(order.order_id).state is OrderState.SCHEDULED
    w.tick(HOUR)
    assert w.order(order.order_id).state is OrderState.MATCHING
    told = next(x for x in w.ledger.events if x.what == "rescheduled")
    assert told.detail == {"from_at": T0 + 3 * HOUR, "to_at": T0 + 2 * HOUR, "said": "later"}


def test_one_that_is_looked_for_withdraws_its_offers_and_asks_again_for_the_new_time() -> None:
    w = world()
    w.join("tina")
    order = w.place(scheduled_for=T0 + HOUR / 2)
    assert w.offer_of("tina").order_id == order.order_id
    effects = heard(w.feed(move(order, HOUR)))
    assert effects == [tells("rescheduled"), closes("tina", CloseReason.REVOKED), asks("tina")]
    effects = heard(w.feed(move(order, 5 * HOUR)))
    assert effects == [tells("rescheduled", order__state=OrderState.SCHEDULED), closes("tina", CloseReason.REVOKED)]
    w.tick(4 * HOUR - 1)
    assert w.engine.live_offer(TINA) is None
    effects = heard(w.feed(move(order, 4 * HOUR + 60)))
    assert w.order(order.order_id).state is OrderState.MATCHING


def test_its_technician_keeps_it_when_they_can_come_then_and_is_told() -> None:
    w = world(lead_s=12 * HOUR)
    w.join("tina")
    order = w.place(scheduled_for=T0 + 10 * HOUR)
    w.accept("tina")
    other = w.place(scheduled_for=T0 + 5 * HOUR, by=UserId("cus_bob"))
    w.accept("tina")
    error = refused(w, move(order, 5.5 * HOUR, OPS, staff=True))
    assert (error.code, error.facts["clash"], error.facts["clash_order"]) == (
        "calendar_conflict", "booking", other.order_id,
    )  # fmt: skip
    assert "clash_order" not in refused(w, move(order, 5.5 * HOUR)).facts
    assert w.order(order.order_id).scheduled_for == order.scheduled_for
    effects = heard(w.feed(move(order, 8 * HOUR)))
    assert effects == [tells("rescheduled", order__technician="tina", order__booked_for=T0 + 8 * HOUR)]
    w.feed(e.CalendarSet(TINA, (), (Rest(T0 + 20 * HOUR, T0 + 22 * HOUR),)))
    assert refused(w, move(order, 21 * HOUR)).facts == {"clash": "rest"}


def test_its_technician_must_have_their_papers_then_too() -> None:
    w = World(DispatchSettings(eligibility=EligibilitySettings(papers=("health",))))
    w.join("tina", papers={"health": T0 + 10 * HOUR})
    order = w.place(scheduled_for=T0 + HOUR)
    w.accept("tina")
    assert refused(w, move(order, 9.5 * HOUR, OPS, staff=True)).code == "no_longer_fits"
    w.feed(move(order, 8 * HOUR, OPS, staff=True))


LATE = EligibilitySettings(night_walk_max_m=500.0, night_begins_h=10.0, night_ends_h=16.0)
"""It is night from 10 to 16 o'clock, 11.8 to 17.8 hours after the world begins."""


def booked_by_day(**record: Any) -> tuple[World, Order]:
    """Tina, 2 km away, has accepted an order for an hour that ends long before night."""
    w = World(DispatchSettings(eligibility=LATE, schedule=ScheduleSettings(lead_s=24 * HOUR)))
    w.join("tina", 2_000, **record)
    order = w.place(scheduled_for=T0 + 8 * HOUR)
    w.accept("tina")
    return w, order


@pytest.mark.parametrize("at", [11 * HOUR, 12 * HOUR, 17 * HOUR, 17.85 * HOUR], ids=["end", "begin", "home", "out"])
def test_nobody_is_moved_into_a_night_that_they_would_walk_through(at: float) -> None:
    for off_duty in (False, True):
        w, order = booked_by_day()
        if off_duty:  # where they are is not known then: as when they took it
            w.feed(e.DutySet(TINA, DutyState.OFF))
        for event in (move(order, at), move(order, at, OPS, staff=True)):
            error = refused(w, event)
            assert (error.code, error.facts) == ("no_longer_fits", {"lacking": ["night_transport"]})
        assert w.order(order.order_id).scheduled_for == order.scheduled_for
        w.feed(move(order, 10 * HOUR))
    w, order = booked_by_day(own_transport=True)
    w.feed(move(order, at))


def test_whom_staff_chose_is_moved_into_the_night_only_if_they_passed_over_that_rule() -> None:
    for override in ((), ("night_transport",)):
        w = World(DispatchSettings(eligibility=LATE, schedule=ScheduleSettings(lead_s=24 * HOUR)))
        w.join("tina", 2_000)
        order = w.place(scheduled_for=T0 + 8 * HOUR, mode=Mode.MANUAL)
        w.feed(e.OrderAssigned(order.order_id, TINA, OPS, "a regular", override))
        if override:
            w.feed(move(order, 13 * HOUR))
        else:
            assert refused(w, move(order, 13 * HOUR)).facts == {"lacking": ["night_transport"]}


def test_a_move_is_refused_for_what_the_new_time_is_to_blame_for_and_for_nothing_else() -> None:
    papers = EligibilitySettings(papers=("health",))
    w = World(DispatchSettings(eligibility=papers, schedule=ScheduleSettings(lead_s=24 * HOUR)))
    w.join("tina", papers={"health": T0 + 10 * HOUR})
    order = w.place(scheduled_for=T0 + 7 * HOUR)
    w.accept("tina")
    w.put("tina", verified=False, skills=frozenset({"nails"}), papers={"health": T0 + 10 * HOUR})
    error = refused(w, move(order, 9.5 * HOUR))
    assert error.facts == {"lacking": ["papers"]}
    assert "unverified" not in error.message, "staff know of it, and it is none of the customer's business"
    assert heard(w.feed(move(order, 8 * HOUR))) == [tells("rescheduled", order__technician="tina")]


def test_a_technician_cannot_be_moved_into_the_job_they_are_doing() -> None:
    w = world(lead_s=12 * HOUR)
    w.join("tina")
    later = w.place(scheduled_for=T0 + 6 * HOUR)
    w.accept("tina")
    now = w.place(by=UserId("cus_bob"))
    w.accept("tina")
    w.steps(now, Step.EN_ROUTE, Step.ARRIVED, Step.IN_SERVICE)
    error = refused(w, move(later, HOUR / 2, OPS, staff=True))
    assert (error.code, error.facts["clash"]) == ("calendar_conflict", "too_late")
    w.feed(move(later, 2 * HOUR, OPS, staff=True))
    assert w.order(later.order_id).booked_for == T0 + 2 * HOUR


def test_a_job_for_now_that_is_moved_is_a_booking_and_frees_its_technician_meanwhile() -> None:
    w = world(lead_s=12 * HOUR)
    w.join("tina")
    order = w.place()
    w.accept("tina")
    w.feed(move(order, 6 * HOUR, OPS, staff=True))
    assert w.order(order.order_id).booked_for == T0 + 6 * HOUR
    other = w.place(at=north(300), by=UserId("cus_bob"))
    assert w.offer_of("tina").order_id == other.order_id
    w.feed(move(order, 1.1 * HOUR, OPS, staff=True))
    assert w.engine.live_offer(TINA) is None, "an offer that does not fit beside it any more is withdrawn"


def test_a_booking_that_is_moved_to_now_waits_for_its_technician_to_set_out() -> None:
    w = world(lead_s=12 * HOUR)
    w.join("tina")
    order = w.place(scheduled_for=T0 + 6 * HOUR)
    w.accept("tina")
    w.feed(move(order, 60, OPS, staff=True))
    moved = w.order(order.order_id)
    assert moved.booked_for == T0 + (moved.eta_s or 0.0)
    w.place(by=UserId("cus_bob"))
    assert w.engine.live_offer(TINA) is None, "nothing fits before it"
    w.steps(order, Step.EN_ROUTE)
    assert w.order(order.order_id).state is OrderState.EN_ROUTE


def test_what_has_begun_or_ended_stays_and_so_does_what_the_clock_forbids() -> None:
    w = world()
    w.join("tina")
    order = w.place()
    assert refused(w, move(order, -1)).code == "scheduled_in_past"
    assert refused(w, move(order, 90 * 24 * HOUR)).code == "scheduled_too_far"
    assert isinstance(refused(w, move(order, HOUR, TINA)), NotFound)
    w.accept("tina")
    w.steps(order, Step.EN_ROUTE)
    assert refused(w, move(order, HOUR, OPS, staff=True)).code == "time_fixed"
    gone = w.place(by=UserId("cus_bob"))
    w.feed(e.OrderCancelled(gone.order_id, UserId("cus_bob")))
    assert refused(w, move(gone, HOUR, OPS, staff=True)).code == "time_fixed"


def test_a_customer_cannot_dodge_a_fee_by_moving_the_order() -> None:
    w = world(lead_s=12 * HOUR)
    w.join("tina")
    order = w.place(scheduled_for=T0 + HOUR / 2)
    w.accept("tina")
    w.tick(60)
    fee_fen = w.engine.cancellation(w.order(order.order_id), w.now, staff=False).fee_fen
    assert fee_fen > 0
    assert refused(w, move(order, 20 * HOUR)).code == "staff_needed"
    w.feed(move(order, 20 * HOUR, OPS, staff=True))
    assert w.order(order.order_id).scheduled_for == T0 + 20 * HOUR


def test_a_directed_order_is_asked_of_the_same_technician_for_the_new_time() -> None:
    w = world()
    w.join("tina")
    order = w.place(mode=Mode.DIRECTED, technician=TINA)
    effects = heard(w.feed(move(order, HOUR / 2)))
    assert effects == [tells("rescheduled"), closes("tina", CloseReason.REVOKED), asks("tina")]
    assert w.order(order.order_id).picked == TINA


@pytest.mark.parametrize("fallback", list(Fallback))
def test_an_order_is_not_moved_to_where_its_pick_cannot_come(fallback: Fallback) -> None:
    w = world()
    w.join("tina")
    w.feed(e.CalendarSet(TINA, (), (Rest(T0 + 4 * HOUR, T0 + 6 * HOUR),)))
    order = w.place(mode=Mode.DIRECTED, technician=TINA, fallback=fallback, scheduled_for=T0 + 10 * HOUR)
    assert refused(w, move(order, 4.5 * HOUR)).code == "filter_failed"
    kept = w.order(order.order_id)
    assert (kept.scheduled_for, kept.picked) == (T0 + 10 * HOUR, TINA)
    w.feed(move(order, 7 * HOUR))
    assert w.order(order.order_id).picked == TINA


def test_a_booking_of_somebody_off_duty_that_is_moved_to_now_waits_for_them_and_staff_are_told() -> None:
    w = World()
    w.put("tina")
    order = w.place(mode=Mode.MANUAL, scheduled_for=T0 + 86_400)
    w.feed(e.OrderAssigned(order.order_id, UserId("tina"), OPS, "she asked for it"))
    w.feed(e.Rescheduled(order.order_id, OPS, T0, "today", staff=True))
    now = w.order(order.order_id)
    assert (now.state, now.booked_for) == (OrderState.ASSIGNED, T0)
    assert tells("technician_lost") in w.tick(601)
    assert w.order(order.order_id).state is OrderState.ASSIGNED
