"""The three tables: what may follow what, and that nothing else does."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ids import CityId, OfferId, OrderId, UserId
from dispatch import offer, order, technician
from dispatch.errors import ImpossibleMove
from dispatch.model import (
    DutyState,
    Gender,
    Mode,
    Offer,
    OfferState,
    Order,
    OrderState,
    Technician,
    WorkState,
)
from dispatch.offer import OfferMove
from dispatch.order import PATH, SETTLED_STATES, OrderMove
from dispatch.technician import WorkMove
from tests.unit.dispatch.world import ANNA, SHARD, T0, draft


def an_order(state: OrderState = OrderState.PLACED) -> Order:
    d = draft()
    return Order(
        SHARD.tenant,
        SHARD.city,
        OrderId("ord_1"),
        1,
        state,
        Mode.AUTO,
        ANNA,
        d.service,
        d.skills,
        d.duration_s,
        d.site,
        d.contact_name,
        d.contact_phone,
        None,
        1,
        1,
        T0,
        T0,
        ANNA,
    )


def an_offer(state: OfferState = OfferState.PENDING) -> Offer:
    return Offer(
        SHARD.tenant,
        SHARD.city,
        OfferId("ofr_1"),
        OrderId("ord_1"),
        UserId("tina"),
        1,
        state,
        T0,
        T0 + 20,
        T0,
        "rnd_1",
        100.0,
        100.0,
        400.0,
    )


def a_technician(work: WorkState = WorkState.IDLE, duty: DutyState = DutyState.ON) -> Technician:
    return Technician(
        SHARD.tenant,
        UserId("tina"),
        "Tina",
        frozenset({"massage"}),
        Gender.FEMALE,
        "",
        (SHARD.city,),
        True,
        1,
        T0,
        duty,
        SHARD.city,
        work,
        T0,
    )


def test_an_order_can_go_the_whole_way() -> None:
    it = an_order()
    moves = [OrderMove.OPEN, OrderMove.ASSIGN, *order.STEPS, OrderMove.CONFIRM]
    for number, (move, state) in enumerate(zip(moves, PATH[1:], strict=True)):
        it = order.advance(it, move, T0 + number)
        assert (it.state, it.changed_at) == (state, T0 + number)


@given(st.sampled_from(OrderState), st.sampled_from(OrderMove))
def test_an_order_moves_only_along_the_table(state: OrderState, move: OrderMove) -> None:
    it = an_order(state)
    if (state, move) in order.TABLE:
        assert order.can(it, move)
        assert order.advance(it, move, T0).state is order.TABLE[state, move]
    else:
        with pytest.raises(ImpossibleMove, match=r"ord_1 is .* \(story: placed\)"):
            order.advance(it, move, T0, ["placed"])


def test_settled_orders_have_no_way_out_but_by_staff_and_every_other_state_has_one() -> None:
    with_exit = {state for state, _ in order.TABLE}
    assert {at for at in order.TABLE if at[0] in SETTLED_STATES} == {(OrderState.UNFILLED, OrderMove.REOPEN)}
    assert with_exit | SETTLED_STATES | {OrderState.SCHEDULED} == set(OrderState)


@given(st.sampled_from(OfferState), st.sampled_from(OfferMove))
def test_settled_offers_never_change(state: OfferState, move: OfferMove) -> None:
    it = an_offer(state)
    if state is OfferState.PENDING:
        assert offer.advance(it, move, T0 + 1).state is not OfferState.PENDING
    else:
        with pytest.raises(ImpossibleMove, match="nothing is remembered"):
            offer.advance(it, move, T0)


@pytest.mark.parametrize(
    ("state", "order_state", "holder", "code"),
    [
        (OfferState.EXPIRED, OrderState.MATCHING, None, "offer_expired"),
        (OfferState.EXPIRED, OrderState.CANCELLED, None, "offer_expired"),
        (OfferState.REVOKED, OrderState.CANCELLED, None, "order_cancelled"),
        (OfferState.REVOKED, OrderState.MATCHING, None, "offer_revoked"),
        (OfferState.REVOKED, OrderState.ASSIGNED, "lea", "offer_taken"),
        (OfferState.UNDELIVERED, OrderState.ASSIGNED, "lea", "offer_taken"),
        (OfferState.UNDELIVERED, OrderState.MATCHING, None, "offer_revoked"),
        (OfferState.ACCEPTED, OrderState.ASSIGNED, "tina", "offer_accepted"),
        (OfferState.DECLINED, OrderState.ASSIGNED, "lea", "offer_declined"),
        (OfferState.PENDING, OrderState.MATCHING, None, "offer_expired"),
    ],
)
def test_a_late_answer_has_a_reason(state: OfferState, order_state: OrderState, holder: str | None, code: str) -> None:
    about = replace(an_order(order_state), technician=UserId(holder) if holder else None)
    assert offer.too_late(an_offer(state), about, T0 + 21).code == code


def test_a_late_answer_to_a_forgotten_order_is_revoked() -> None:
    assert offer.too_late(an_offer(OfferState.REVOKED), None, T0).code == "offer_revoked"


def test_the_deadline_itself_is_in_time() -> None:
    it = an_offer()
    assert not offer.is_late(it, it.expires_at)
    assert offer.is_late(it, it.expires_at + 1e-6)


@given(st.sampled_from(WorkState), st.sampled_from(WorkMove))
def test_a_technician_works_only_along_the_table(work: WorkState, move: WorkMove) -> None:
    it = a_technician(work)
    if (work, move) in technician.WORK_TABLE:
        assert technician.advance(it, move, T0).work is technician.WORK_TABLE[work, move]
    else:
        with pytest.raises(ImpossibleMove):
            technician.advance(it, move, T0)


def test_a_refused_offer_does_not_end_the_wait_but_a_job_does() -> None:
    asked = technician.advance(a_technician(), WorkMove.ASK, T0 + 5)
    assert technician.advance(asked, WorkMove.FREE, T0 + 9).idle_since == T0
    busy = technician.advance(asked, WorkMove.TAKE, T0 + 9)
    assert busy.idle_since is None
    assert technician.advance(busy, WorkMove.FREE, T0 + 99).idle_since == T0 + 99


def test_duty_begins_a_wait_and_a_pause_ends_it() -> None:
    off = a_technician(duty=DutyState.OFF)
    on = technician.set_duty(off, DutyState.ON, CityId("hz"), T0 + 1)
    assert (on.duty_city, on.idle_since) == ("hz", T0 + 1)
    paused = technician.set_duty(on, DutyState.PAUSED, CityId("hz"), T0 + 2)
    assert (paused.duty_city, paused.idle_since) == ("hz", None)
    gone = technician.set_duty(paused, DutyState.OFF, CityId("hz"), T0 + 3)
    assert gone.duty_city is None
    with pytest.raises(ImpossibleMove):
        technician.set_duty(gone, DutyState.PAUSED, CityId("hz"), T0)
