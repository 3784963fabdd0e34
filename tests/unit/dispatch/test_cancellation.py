"""What it costs to call an order off: the table row by row, and that cancelling does what the preview said."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Conflict
from dispatch import cancellation
from dispatch import events as e
from dispatch.model import Cancellation, CancellationStage, Order, OrderState
from dispatch.settings import CancellationSettings, StageFee
from tests.unit.dispatch.world import ALL_STEPS, ANNA, OPS, T0, World, tells

S = CancellationStage
TABLE = CancellationSettings()


def _order(state: OrderState, **facts: object) -> Order:
    world = World()
    world.join("tina")
    return replace(world.place(), state=state, **facts)  # type: ignore[arg-type]


def _fen(outcome: Cancellation) -> tuple[CancellationStage, int, int, int]:
    return outcome.stage, outcome.fee_fen, outcome.refund_fen, outcome.technician_fen


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        (OrderState.MATCHING, (S.UNASSIGNED, 0, 32_000, 0)),
        (OrderState.ASSIGNED, (S.ASSIGNED_LATE, 3_200, 28_800, 0)),
        (OrderState.EN_ROUTE, (S.EN_ROUTE, 8_000, 24_000, 8_000)),
        (OrderState.ARRIVED, (S.ARRIVED, 17_000, 15_000, 17_000)),
    ],
)
def test_an_order_for_now_costs_more_the_farther_it_has_come(
    state: OrderState, wanted: tuple[CancellationStage, int, int, int]
) -> None:
    assert _fen(cancellation.quote(_order(state), T0 + 60, TABLE)) == wanted


def test_a_scheduled_order_is_free_until_an_hour_before_its_time() -> None:
    order = _order(OrderState.ASSIGNED, scheduled_for=T0 + 7_200)
    early = cancellation.quote(order, T0 + 3_599, TABLE)
    assert (early.stage, early.fee_fen, early.rises_at) == (S.ASSIGNED_EARLY, 0, T0 + 3_600)
    late = cancellation.quote(order, T0 + 3_600, TABLE)
    assert (late.stage, late.fee_fen, late.rises_at) == (S.ASSIGNED_LATE, 3_200, None)


@pytest.mark.parametrize(
    ("used_s", "fee_fen"), [(0, 2_000), (59.9, 2_000), (60, 2_500), (1_800, 17_000), (3_600, 32_000), (9_999, 32_000)]
)
def test_a_service_that_has_begun_costs_its_whole_minutes(used_s: float, fee_fen: int) -> None:
    order = _order(OrderState.IN_SERVICE, started_at=T0)
    assert cancellation.quote(order, T0 + used_s, TABLE).fee_fen == fee_fen


def test_parts_are_rounded_down_in_the_customers_favour() -> None:
    order = _order(OrderState.ASSIGNED, service_fen=99, travel_fen=19)
    assert _fen(cancellation.quote(order, T0, TABLE)) == (S.ASSIGNED_LATE, 9 + 1, 108, 0)


@given(
    service_fen=st.integers(0, 10**12),
    travel_fen=st.integers(0, 10**12),
    percents=st.tuples(*[st.integers(0, 100)] * 3),
    state=st.sampled_from([OrderState.ASSIGNED, OrderState.EN_ROUTE, OrderState.ARRIVED, OrderState.IN_SERVICE]),
    after_s=st.floats(0, 1e6),
)
def test_fee_and_refund_add_up_to_the_price(
    service_fen: int, travel_fen: int, percents: tuple[int, int, int], state: OrderState, after_s: float
) -> None:
    row = StageFee(*percents)
    table = CancellationSettings(assigned_late=row, en_route=row, arrived=row, in_service=row)
    order = _order(state, service_fen=service_fen, travel_fen=travel_fen, started_at=T0)
    outcome = cancellation.quote(order, T0 + after_s, table)
    assert outcome.fee_fen + outcome.refund_fen == service_fen + travel_fen
    assert 0 <= outcome.technician_fen <= outcome.fee_fen <= service_fen + travel_fen


def test_cancelling_stores_and_tells_what_the_preview_said() -> None:
    world = World()
    world.join("tina")
    order = world.place()
    world.accept("tina")
    promised = world.engine.cancellation(world.order(order.order_id), world.now, staff=False)
    effects = world.feed(e.OrderCancelled(order.order_id, ANNA, "ill", fee_fen_max=promised.fee_fen))
    assert tells("cancelled", order__cancellation=promised) in effects
    assert world.ledger.orders[order.order_id].cancellation == promised
    told = next(event for event in world.ledger.events if event.what == "cancelled")
    assert told.detail == {
        "stage": "assigned_late",
        "fee_fen": 3_200,
        "refund_fen": 28_800,
        "reason": "cancelled_by_customer",
        "said": "ill",
    }


def test_a_fee_that_has_risen_since_the_preview_is_not_charged_unasked() -> None:
    world = World()
    world.join("tina")
    order = world.place()
    world.accept("tina")
    with pytest.raises(Conflict) as refused:
        world.feed(e.OrderCancelled(order.order_id, ANNA, fee_fen_max=0))
    assert refused.value.code == "fee_changed"
    assert world.order(order.order_id).state is OrderState.ASSIGNED


def test_staff_may_waive_the_fee_and_customers_may_not() -> None:
    world = World()
    world.join("tina")
    order = world.place()
    world.accept("tina")
    assert world.engine.cancellation(world.order(order.order_id), world.now, staff=False, waive=True).fee_fen == 3_200
    world.feed(e.OrderCancelled(order.order_id, OPS, staff=True, waive=True))
    stored = world.ledger.orders[order.order_id].cancellation
    assert stored == Cancellation(S.ASSIGNED_LATE, 0, 32_000, 0, is_waived=True)


def test_only_staff_end_a_service_early_and_its_technician_is_free_again() -> None:
    world = World()
    world.join("tina")
    order = world.place()
    world.accept("tina")
    world.steps(order, *ALL_STEPS[:3])
    with pytest.raises(Conflict) as refused:
        world.feed(e.OrderCancelled(order.order_id, ANNA))
    assert refused.value.code == "order_in_service"
    world.feed(e.OrderCancelled(order.order_id, OPS, "unwell", staff=True), at=601)
    stored = world.ledger.orders[order.order_id].cancellation
    assert stored is not None
    assert stored.stage is S.IN_SERVICE
    assert stored.fee_fen == 10 * 60 * 30_000 // 3_600 + 2_000
    assert world.engine.idle_len() == 1


@pytest.mark.parametrize("state", [OrderState.FINISHED, OrderState.DEPARTED_SAFE, OrderState.CONFIRMED])
def test_what_is_over_cannot_be_called_off_by_anybody(state: OrderState) -> None:
    with pytest.raises(Conflict):
        cancellation.check(_order(state), staff=True)


@pytest.mark.parametrize("state", [OrderState.EN_ROUTE, OrderState.ARRIVED])
def test_a_technicians_early_taps_do_not_raise_what_a_scheduled_order_costs(state: OrderState) -> None:
    order = _order(state, scheduled_for=T0 + 7_200, eta_s=1_200.0)
    stages = [cancellation.quote(order, T0 + s, TABLE).stage for s in (0, 3_599, 3_600, 5_999, 6_000, 7_199, 7_200)]
    last = S.ARRIVED if state is OrderState.ARRIVED else S.EN_ROUTE
    assert stages == [*[S.ASSIGNED_EARLY] * 2, *[S.ASSIGNED_LATE] * 2, *[S.EN_ROUTE] * 2, last]


@given(
    state=st.sampled_from([OrderState.ASSIGNED, OrderState.EN_ROUTE, OrderState.ARRIVED, OrderState.IN_SERVICE]),
    scheduled_s=st.none() | st.floats(-4_000, 9_000),
    eta_s=st.none() | st.floats(0, 9_000),
    after_s=st.floats(0, 9_000),
)
def test_the_preview_says_when_it_rises_and_not_before(
    state: OrderState, scheduled_s: float | None, eta_s: float | None, after_s: float
) -> None:
    scheduled_for = None if scheduled_s is None else T0 + scheduled_s
    order = _order(state, scheduled_for=scheduled_for, eta_s=eta_s, started_at=T0)
    now = T0 + after_s
    told = cancellation.quote(order, now, TABLE)
    if told.rises_at is None:
        assert cancellation.quote(order, now + 1e6, TABLE).fee_fen == told.fee_fen
    else:
        assert told.rises_at > now
        assert cancellation.quote(order, told.rises_at + 1e-3, TABLE).fee_fen > told.fee_fen
        assert cancellation.quote(order, max(told.rises_at - 1e-3, now), TABLE).fee_fen == told.fee_fen
