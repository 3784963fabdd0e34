"""Coming to the customer: the fence, what steps need as proof, what is told once, and waiting for somebody absent."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Conflict, NotFound
from core.ids import OrderId, UserId
from dispatch import arrival
from dispatch import events as e
from dispatch.arrival import Fence, Sighting
from dispatch.events import News, Step
from dispatch.model import CancellationStage, Order, OrderState
from dispatch.settings import ArrivalProof, ArrivalSettings, ScheduleSettings
from tests.unit.dispatch.world import CENTRE, OPS, T0, Like, World, north, tells

STRICT = ArrivalSettings()
TINA = UserId("tina")


def at(metres: float, second: float) -> Sighting:
    return Sighting(CENTRE, T0 + second, metres, 10.0)


def walk(*fixes: tuple[float, float], fence: Fence | None = None) -> Fence:
    fence = fence or Fence()
    for metres, second in fixes:
        fence = arrival.judge(fence, at(metres, second), STRICT)
    return fence


# -- the fence ------------------------------------------------------------------------------------------------


def test_who_drives_past_was_never_there() -> None:
    assert not walk((150, 0), (20, 5), (150, 9), (250, 12), (100, 14), (400, 30)).is_inside


def test_ten_seconds_within_the_circle_are_an_arrival() -> None:
    assert not walk((190, 0), (50, 9.9)).is_inside
    assert walk((190, 0), (50, 10.0)).is_inside


def test_fixes_that_jump_at_the_edge_do_not_make_anybody_leave() -> None:
    inside = walk((10, 0), (10, 10))
    assert walk((250, 20), (299, 40), (305, 50), (250, 55), (305, 60), fence=inside).is_inside
    assert not walk((305, 20), (350, 30), fence=inside).is_inside


def test_an_old_fix_that_comes_late_says_nothing() -> None:
    assert walk((10, 0), (10, 10), (5_000, 8), (5_000, 9)).is_inside
    assert not walk((10, 5), (10, 5), (10, 0)).is_inside, "one fix is not a stay"


@given(st.lists(st.tuples(st.floats(0, 1_000), st.floats(0.1, 30)), max_size=40))
def test_a_side_is_left_only_by_fixes_that_all_say_so_for_the_dwell(steps: list[tuple[float, float]]) -> None:
    fence, second, said_other_since = Fence(), 0.0, None
    for metres, wait_s in steps:
        second += wait_s
        other = metres > STRICT.leave_m if fence.is_inside else metres <= STRICT.arrive_m
        said_other_since = (second if said_other_since is None else said_other_since) if other else None
        before, fence = fence, arrival.judge(fence, at(metres, second), STRICT)
        flips = said_other_since is not None and (T0 + second) - (T0 + said_other_since) >= STRICT.dwell_s
        assert (fence.is_inside != before.is_inside) == flips
        said_other_since = None if flips else said_other_since


# -- proof ----------------------------------------------------------------------------------------------------


def job(**changes: Any) -> tuple[World, Order]:
    world = World(arrival=replace(STRICT, **changes))
    world.join("tina", metres=1_500)
    order = world.place()
    world.accept("tina")
    return world, order


def code(world: World, order: Order, step: Step, by: UserId = TINA, **facts: Any) -> str:
    before = world.order(order.order_id)
    with pytest.raises((Conflict, NotFound)) as refused:
        world.feed(e.StepTaken(order.order_id, by, step, **facts))
    assert world.order(order.order_id) == before, "a refusal changes nothing"
    return refused.value.code


def drive(world: World, *fixes: tuple[float, float]) -> list[e.Effect]:
    """Positions so many metres from the door, each at a second of the world."""
    effects = []
    for metres, second in fixes:
        effects += world.tick(second)
        world.seen(TINA, north(metres))
    return effects


def there(world: World, order: Order, second: float = 10) -> None:
    drive(world, (1_400, second))
    world.steps(order, Step.EN_ROUTE)
    drive(world, (20, second + 50), (20, second + 62))
    world.steps(order, Step.ARRIVED)


def test_setting_out_needs_a_live_position() -> None:
    world, order = job()
    world.tick(300)
    assert code(world, order, Step.EN_ROUTE) == "position_needed"
    drive(world, (1_400, 301))
    world.steps(order, Step.EN_ROUTE)
    told = next(event for event in world.ledger.events if event.what == "en_route")
    assert told.detail["distance_m"] == pytest.approx(1_400, abs=1)
    assert told.detail["age_s"] == 0.0


def test_arriving_is_believed_at_the_place_and_what_is_missing_is_said() -> None:
    world, order = job()
    world.steps(order, Step.EN_ROUTE)
    assert code(world, order, Step.ARRIVED) == "not_at_place"
    world.tick(200)
    assert code(world, order, Step.ARRIVED) == "position_needed"
    drive(world, (60, 300))
    world.tick(302)
    assert code(world, order, Step.ARRIVED) == "dwell_needed"
    drive(world, (40, 311))
    world.steps(order, Step.ARRIVED)
    assert world.order(order.order_id).state is OrderState.ARRIVED


def test_the_refusal_says_how_long_to_wait_and_what_else_would_do() -> None:
    world, order = job()
    world.steps(order, Step.EN_ROUTE)
    drive(world, (60, 20))
    world.tick(24)
    drive(world, (60, 24))
    with pytest.raises(Conflict, match=r"in 6 s, or give a photo's reference as evidence \(photo:") as told:
        world.steps(order, Step.ARRIVED)
    assert told.value.facts == {"retry_in_s": 6}


@pytest.mark.parametrize(
    ("proof", "evidence", "refusal"),
    [
        (ArrivalProof.NONE, "", None),
        (ArrivalProof.PLACE_OR_PHOTO, "photo:17", None),
        (ArrivalProof.PLACE_OR_PHOTO, "photo:", "not_at_place"),
        (ArrivalProof.PLACE_OR_PHOTO, "I am there", "not_at_place"),
        (ArrivalProof.PLACE, "photo:17", "not_at_place"),
        (ArrivalProof.PHOTO, "photo:17", None),
        (ArrivalProof.PHOTO, "", "photo_needed"),
        (ArrivalProof.PLACE_AND_PHOTO, "", "photo_needed"),
        (ArrivalProof.PLACE_AND_PHOTO, "photo:17", "not_at_place"),
    ],
)
def test_the_policy_says_what_proves_an_arrival(proof: ArrivalProof, evidence: str, refusal: str | None) -> None:
    world, order = job(arrived_proof=proof)
    world.steps(order, Step.EN_ROUTE)
    if refusal is not None:
        assert code(world, order, Step.ARRIVED, evidence=evidence) == refusal
        return
    world.feed(e.StepTaken(order.order_id, TINA, Step.ARRIVED, evidence))
    told = next(event for event in world.ledger.events if event.what == "arrived")
    assert told.detail.get("evidence", "") == evidence


def test_ops_override_with_a_reason_that_stays_in_the_history_and_nobody_else_does() -> None:
    world, order = job()
    world.tick(300)
    assert code(world, order, Step.EN_ROUTE, by=OPS) == "not_found"
    world.feed(e.StepTaken(order.order_id, OPS, Step.EN_ROUTE, staff=True, reason="phone broken"))
    told = next(event for event in world.ledger.events if event.what == "en_route")
    assert (told.who, told.detail["said"]) == (OPS, "phone broken")


def test_an_inaccurate_position_is_no_evidence() -> None:
    world, order = job()
    slot = world.index.slot(TINA)
    assert slot is not None
    world.index.accuracy_m[slot] = 500.0
    assert code(world, order, Step.EN_ROUTE) == "position_needed"


def test_a_photo_against_a_far_position_is_flagged_and_told_to_staff() -> None:
    world, order = job()
    drive(world, (1_400, 10))
    world.steps(order, Step.EN_ROUTE)
    effects = world.feed(e.StepTaken(order.order_id, TINA, Step.ARRIVED, "photo:17"))
    assert Like(e.JobNews, what=News.FAR_PHOTO, far_m=pytest.approx(1_400, abs=1)) in effects
    told = next(event for event in world.ledger.events if event.what == "arrived")
    assert told.detail["far_m"] == pytest.approx(1_400, abs=1)


@pytest.mark.parametrize("metres", [None, 290])
def test_a_photo_that_no_position_contradicts_is_not_flagged(metres: float | None) -> None:
    world, order = job()
    world.steps(order, Step.EN_ROUTE)
    world.tick(300)
    if metres is not None:
        world.seen(TINA, north(metres))
    effects = world.feed(e.StepTaken(order.order_id, TINA, Step.ARRIVED, "photo:17"))
    assert Like(e.JobNews, what=News.FAR_PHOTO) not in effects
    told = next(event for event in world.ledger.events if event.what == "arrived")
    assert "far_m" not in told.detail


def test_a_made_up_position_proves_nothing_until_a_later_one_comes() -> None:
    world, order = job()
    world.mocked(TINA)
    assert code(world, order, Step.EN_ROUTE) == "position_needed"
    drive(world, (1_400, 5))
    world.steps(order, Step.EN_ROUTE)
    for second in range(10, 40, 5):
        drive(world, (20, second))
        world.mocked(TINA)
    assert code(world, order, Step.ARRIVED) == "position_needed"
    assert world.order(order.order_id).at_place_since is None
    assert news(world, News.NEAR) == []
    drive(world, (20, 45), (20, 56))
    world.steps(order, Step.ARRIVED)


# -- news -----------------------------------------------------------------------------------------------------


def news(world: World, what: News) -> list[Any]:
    return [event.detail.get("within_m") for event in world.ledger.events if event.what == what]


def test_the_customer_is_told_each_distance_once_whatever_the_way_and_across_restarts() -> None:
    world, order = job()
    world.steps(order, Step.EN_ROUTE)
    effects = drive(world, (900, 30), (480, 60), (700, 75), (450, 90), (95, 120))
    near = [(x.within_m, x.order.order_id) for x in effects if isinstance(x, e.JobNews) and x.what is News.NEAR]
    assert near == [(500.0, order.order_id)]
    world.tick(125)
    assert news(world, News.NEAR) == [500.0, 100.0]
    world.restart()
    drive(world, (90, 130), (300, 140), (480, 150), (60, 165))
    world.tick(170)
    assert news(world, News.NEAR) == [500.0, 100.0]
    drive(world, (30, 175))
    world.tick(190)
    assert news(world, News.NEAR) == [500.0, 100.0, 40.0]


def test_somebody_who_appears_at_the_door_is_told_once_and_not_three_times() -> None:
    world, order = job()
    world.steps(order, Step.EN_ROUTE)
    drive(world, (10, 60))
    world.tick(80)
    assert news(world, News.NEAR) == [40.0]
    assert world.order(order.order_id).near_told_m == 40.0


def test_nearness_begins_with_the_way_there_and_begins_anew_with_another_technician() -> None:
    world, order = job()
    drive(world, (90, 30))
    world.tick(60)
    assert news(world, News.NEAR) == [], "not on the way yet"
    world.seen(TINA, north(90))
    world.steps(order, Step.EN_ROUTE)
    world.tick(65)
    assert news(world, News.NEAR) == [100.0]
    world.feed(e.OrderReassigned(order.order_id, OPS))
    assert world.order(order.order_id).near_told_m is None
    world.join("mona", metres=400)
    world.tick(68)
    world.accept("mona")
    world.seen(UserId("mona"), north(400))
    world.steps(order, Step.EN_ROUTE)
    world.tick(75)
    assert news(world, News.NEAR) == [100.0, 500.0]


def test_the_fence_tells_of_arriving_and_leaving_without_any_step() -> None:
    world, order = job()
    world.steps(order, Step.EN_ROUTE)
    effects = drive(world, (100, 60), (20, 71), (25, 90))
    at_place = Like(e.JobNews, what=News.AT_PLACE, order__order_id=order.order_id)
    assert at_place in effects
    assert world.order(order.order_id).state is OrderState.EN_ROUTE, "seeing is not a step"
    assert world.order(order.order_id).at_place_since is not None
    world.steps(order, Step.ARRIVED, Step.IN_SERVICE, Step.FINISHED)
    world.restart()
    effects = drive(world, (400, 200), (800, 212), (900, 225))
    assert Like(e.JobNews, what=News.LEFT_PLACE) in effects
    assert at_place not in effects, "known across the restart"
    assert [x.what for x in world.ledger.events if x.what in list(News) and x.what != "near"] == [
        "at_place", "left_place",
    ]  # fmt: skip


def test_looks_end_with_the_job() -> None:
    world, order = job()
    there(world, order)
    world.steps(order, Step.IN_SERVICE, Step.FINISHED, Step.DEPARTED_SAFE)
    due = world.engine.next_deadline()
    assert due == world.order(order.order_id).changed_at + world.settings.confirm_after_s


def test_the_estimate_follows_the_position_once_they_are_on_the_way() -> None:
    world, order = job()
    promised_s = world.order(order.order_id).eta_s
    drive(world, (700, 5))
    assert world.engine.eta_s(world.order(order.order_id), world.now) == promised_s
    world.steps(order, Step.EN_ROUTE)
    assert world.order(order.order_id).eta_s == pytest.approx(60 + 700 / 4, abs=1)
    drive(world, (300, 30))
    assert world.engine.eta_s(world.order(order.order_id), world.now) == pytest.approx(60 + 300 / 4, abs=1)


# -- nobody at home -------------------------------------------------------------------------------------------


def no_show(world: World, order_id: OrderId, **facts: Any) -> list[e.Effect]:
    return world.feed(e.StepTaken(order_id, TINA, Step.NO_SHOW, **facts))


def test_a_technician_ends_the_order_of_an_absent_customer_after_the_wait() -> None:
    world, order = job()
    there(world, order)
    arrived_at = world.order(order.order_id).changed_at
    assert world.order(order.order_id).waits_until == arrived_at + 600
    world.tick(arrived_at + 590 - T0)
    assert code(world, order, Step.NO_SHOW) == "no_show_too_early"
    effects = world.tick(arrived_at + 600 - T0)
    assert Like(e.JobNews, what=News.WAIT_OVER) in effects
    world.seen(TINA, north(15))
    effects = no_show(world, order.order_id, evidence="photo:closed-door")
    assert tells("cancelled", order__reason="no_show") in effects
    stored = world.ledger.orders[order.order_id].cancellation
    assert stored is not None
    assert (stored.stage, stored.fee_fen, stored.technician_fen) == (CancellationStage.NO_SHOW, 17_000, 17_000)
    assert no_show(world, order.order_id) == [], "a repeat is no news"
    assert world.engine.idle_len() == 1


def test_nobody_waits_for_a_customer_before_the_time_of_the_order() -> None:
    world = World(arrival=STRICT, schedule=ScheduleSettings(early_s=3_600.0))
    world.join("tina", metres=1_500)
    order = world.place(scheduled_for=T0 + 3_000)
    world.accept("tina")
    there(world, order)
    arrived_at = world.order(order.order_id).changed_at
    assert arrived_at < T0 + 100, "long before the time"
    assert world.order(order.order_id).waits_until == T0 + 3_600
    drive(world, (20, 700))
    assert code(world, order, Step.NO_SHOW) == "no_show_too_early"
    effects = world.tick(3_599)
    assert Like(e.JobNews, what=News.WAIT_OVER) not in effects
    drive(world, (20, 3_600))
    assert tells("cancelled", order__reason="no_show") in no_show(world, order.order_id)


def test_waiting_is_done_at_the_place_and_only_after_arriving() -> None:
    world, order = job()
    assert code(world, order, Step.NO_SHOW) == "step_out_of_order"
    there(world, order)
    drive(world, (900, 700))
    assert code(world, order, Step.NO_SHOW) == "not_at_place"


def test_a_wait_is_not_believed_without_a_live_position_at_the_place() -> None:
    world, order = job()
    there(world, order)
    world.tick(1_500)
    assert code(world, order, Step.NO_SHOW) == "position_needed", "the phone has been silent"
    world.seen(TINA, north(20))
    world.mocked(TINA)
    assert code(world, order, Step.NO_SHOW) == "position_needed"
    drive(world, (20, 1_510))
    assert tells("cancelled", order__reason="no_show") in no_show(world, order.order_id)


def test_staff_end_the_order_of_an_absent_customer_whatever_positions_say() -> None:
    world, order = job()
    there(world, order)
    world.tick(1_500)
    effects = no_show(world, order.order_id, staff=True, reason="neighbour confirms")
    assert tells("cancelled", order__reason="no_show") in effects


def test_after_an_arrival_by_photo_the_wait_is_believed_only_at_the_place() -> None:
    world, order = job()
    world.steps(order, Step.EN_ROUTE)
    world.feed(e.StepTaken(order.order_id, TINA, Step.ARRIVED, "photo:17"))
    drive(world, (250, 700))
    assert code(world, order, Step.NO_SHOW) == "not_at_place", "within leave_m, and never inside"
    drive(world, (50, 705))
    assert code(world, order, Step.NO_SHOW) == "dwell_needed"
    drive(world, (50, 716))
    no_show(world, order.order_id)
    assert world.order(order.order_id).state is OrderState.CANCELLED


def test_the_end_of_the_wait_is_told_once_across_restarts_and_not_when_service_begins() -> None:
    world, order = job()
    there(world, order)
    world.tick(300)
    world.restart()
    world.tick(700)
    world.restart()
    world.tick(2_000)
    assert len(news(world, News.WAIT_OVER)) == 1
    world, order = job()
    there(world, order)
    world.steps(order, Step.IN_SERVICE)
    world.tick(2_000)
    assert news(world, News.WAIT_OVER) == []


# -- the end --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [Step.FINISHED, Step.DEPARTED_SAFE])
def test_an_order_confirms_itself_48_hours_after_its_last_step(last: Step) -> None:
    world, order = job()
    there(world, order)
    steps = [Step.IN_SERVICE, Step.FINISHED, Step.DEPARTED_SAFE]
    world.steps(order, *steps[: steps.index(last) + 1])
    ended_at = world.order(order.order_id).changed_at - T0
    world.tick(ended_at + 172_799)
    assert world.order(order.order_id).state is OrderState(last)
    assert tells("confirmed") in world.tick(ended_at + 172_800)
    assert world.engine.idle_len() == 1
