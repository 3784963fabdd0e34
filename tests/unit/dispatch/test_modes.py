"""Ways of giving an order besides ``auto``: several at once, one picked technician, and by hand."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from core.errors import Conflict
from core.ids import UserId
from dispatch import events as e
from dispatch.events import CloseReason
from dispatch.model import DutyState, Fallback, Mode, OfferState, OrderState, WorkState
from dispatch.settings import BroadcastSettings, DirectedSettings, RoundSettings
from tests.unit.dispatch.world import (
    ANNA,
    OPS,
    T0,
    Like,
    World,
    asks,
    closes,
    heard,
    north,
    tells,
)


def a_city(technicians: int = 4, **settings: Any) -> World:
    """Technicians ``t1``, ``t2`` … at 400 m, 800 m … north."""
    world = World(**settings)
    for number in range(1, technicians + 1):
        world.join(f"t{number}", 400.0 * number)
    return world


def everybody_acknowledges(world: World) -> None:
    for offer in world.engine.live_offers():
        world.feed(e.OfferReceived(offer.offer_id, offer.technician))


def live(world: World) -> list[str]:
    """Who has a live offer."""
    return sorted(offer.technician for offer in world.engine.live_offers())


def closed(effects: Sequence[e.Effect]) -> dict[str, CloseReason]:
    """Whose offers end, and why."""
    return {x.offer.technician: x.reason for x in effects if isinstance(x, e.CloseOffer)}


THREE = BroadcastSettings(offers_len=3)


# -- broadcast ------------------------------------------------------------------------------------------------


def test_a_broadcast_asks_the_best_few_at_once_and_the_first_accept_wins() -> None:
    world = a_city(broadcast=THREE)
    order = world.place(mode=Mode.BROADCAST)
    assert live(world) == ["t1", "t2", "t3"]
    effects = heard(world.accept("t2"))
    assert effects[0] == tells("assigned", order__technician="t2")
    assert closed(effects) == {"t1": CloseReason.TAKEN, "t3": CloseReason.TAKEN}
    assert world.order(order.order_id).state is OrderState.ASSIGNED
    idle = [t.technician for t in world.engine.technicians() if t.work is WorkState.IDLE]
    assert idle == ["t1", "t3", "t4"]


def test_losers_hear_that_the_order_is_taken_in_the_same_commit_and_afterwards() -> None:
    world = a_city(broadcast=THREE)
    world.place(mode=Mode.BROADCAST)
    offers = {o.technician: o.offer_id for o in world.engine.live_offers()}
    world.engine.handle(e.OfferAccepted(offers[UserId("t1")], UserId("t1")), world.now)
    changed = {o.technician: o.state for o in world.engine.changes.offers.values()}
    assert changed == {"t1": OfferState.ACCEPTED, "t2": OfferState.REVOKED, "t3": OfferState.REVOKED}
    for loser in ("t2", "t3"):
        for answer in (e.OfferAccepted, e.OfferDeclined):
            with pytest.raises(Conflict) as caught:
                world.engine.handle(answer(offers[UserId(loser)], UserId(loser)), world.now)
            assert caught.value.code == "offer_taken"


def test_a_decline_in_a_broadcast_is_replaced_by_the_next_while_the_others_may_still_take_it() -> None:
    world = a_city(broadcast=THREE)
    world.place(mode=Mode.BROADCAST)
    effects = world.feed(e.OfferDeclined(world.offer_of("t1").offer_id, UserId("t1")))
    assert heard(effects) == [asks("t4")]
    assert live(world) == ["t2", "t3", "t4"]


def test_a_broadcast_in_which_everybody_declines_goes_on_and_ends_unfilled() -> None:
    world = a_city(broadcast=THREE, unfilled_after_s=60.0)
    order = world.place(mode=Mode.BROADCAST)
    for name in ("t1", "t2", "t3", "t4"):
        world.feed(e.OfferDeclined(world.offer_of(name).offer_id, UserId(name)))
    assert live(world) == []
    assert tells("unfilled", order__reason="nobody_accepted") in world.tick(60)
    assert world.order(order.order_id).state is OrderState.UNFILLED


def test_offers_of_a_broadcast_that_expire_end_the_search_only_with_the_last_of_them() -> None:
    world = a_city(2, broadcast=THREE, unfilled_after_s=10.0, offer_ttl_s=20.0)
    order = world.place(mode=Mode.BROADCAST)
    everybody_acknowledges(world)
    world.tick(15)
    assert world.order(order.order_id).state is OrderState.MATCHING
    world.feed(e.OfferDeclined(world.offer_of("t1").offer_id, UserId("t1")))
    assert world.order(order.order_id).state is OrderState.MATCHING  # t2 may still accept
    assert heard(world.tick(20.001)) == [closes("t2", CloseReason.EXPIRED), tells("unfilled")]


def test_a_cancel_takes_all_offers_of_a_broadcast_back() -> None:
    world = a_city(broadcast=THREE)
    order = world.place(mode=Mode.BROADCAST)
    effects = heard(world.feed(e.OrderCancelled(order.order_id, ANNA)))
    assert effects[0] == tells("cancelled")
    assert closed(effects) == dict.fromkeys(("t1", "t2", "t3"), CloseReason.CANCELLED)


def test_a_broadcast_never_costs_another_order_its_technician() -> None:
    world = World(broadcast=THREE, round=replace(RoundSettings(), round_min_ms=0))
    world.join("t1", 400.0)
    world.join("t2", 15_000.0)
    for name in ("t1", "t2"):
        world.feed(e.DutySet(UserId(name), DutyState.PAUSED))
    loud = world.place(mode=Mode.BROADCAST)
    quiet = world.place(north(100.0))
    world.batch([e.DutySet(UserId(name), DutyState.ON) for name in ("t1", "t2")])
    asked = {offer.order_id for offer in world.engine.live_offers()}
    assert asked == {loud.order_id, quiet.order_id}


def test_all_live_offers_of_a_broadcast_survive_a_restart() -> None:
    world = a_city(broadcast=THREE)
    order = world.place(mode=Mode.BROADCAST)
    everybody_acknowledges(world)
    world.restart()
    assert live(world) == ["t1", "t2", "t3"]
    world.accept("t3")
    assert live(world) == []
    assert world.order(order.order_id).technician == "t3"


def test_an_order_taken_back_may_be_offered_to_losers_of_its_broadcast_but_not_to_who_lost_it() -> None:
    world = a_city(2, broadcast=THREE)
    order = world.place(mode=Mode.BROADCAST)
    world.accept("t1")
    world.feed(e.OrderReassigned(order.order_id, OPS))
    assert live(world) == ["t2"]
    world.restart()
    world.feed(e.OfferDeclined(world.offer_of("t2").offer_id, UserId("t2")))
    assert live(world) == []


# -- directed -------------------------------------------------------------------------------------------------

WINDOW = DirectedSettings(window_s=100.0, remind_every_s=30.0)


def directed(world: World, picked: str, fallback: Fallback = Fallback.AUTO) -> Any:
    return world.place(mode=Mode.DIRECTED, technician=UserId(picked), fallback=fallback)


def test_only_the_picked_technician_is_asked_although_others_are_nearer() -> None:
    world = a_city(directed=WINDOW)
    order = directed(world, "t3")
    assert live(world) == ["t3"]
    assert world.offer_of("t3").expires_at == T0 + 100.0
    world.accept("t3")
    assert world.order(order.order_id).technician == "t3"


def test_the_picked_technician_is_reminded_until_they_answer() -> None:
    world = a_city(directed=WINDOW)
    directed(world, "t3")
    everybody_acknowledges(world)
    effects = world.tick(70)
    reminders = [x for x in effects if isinstance(x, e.RemindOffer)]
    assert reminders == [Like(e.RemindOffer, offer__technician="t3", number=n) for n in (1, 2)]
    world.accept("t3")
    assert not [x for x in world.tick(200) if isinstance(x, e.RemindOffer)]


def test_reminders_go_on_after_a_restart_where_they_were() -> None:
    world = a_city(directed=WINDOW)
    directed(world, "t3")
    everybody_acknowledges(world)
    world.tick(40)
    world.restart()
    assert [x.number for x in world.tick(95) if isinstance(x, e.RemindOffer)] == [2, 3]


def test_a_pick_that_declines_falls_back_to_everybody_else() -> None:
    world = a_city(directed=WINDOW)
    order = directed(world, "t3")
    effects = world.feed(e.OfferDeclined(world.offer_of("t3").offer_id, UserId("t3")))
    assert asks("t1") in effects
    now = world.order(order.order_id)
    assert (now.mode, now.picked, now.state) == (Mode.AUTO, None, OrderState.MATCHING)


def test_a_pick_that_lets_the_window_pass_falls_back_at_its_end() -> None:
    world = a_city(directed=WINDOW)
    directed(world, "t3")
    everybody_acknowledges(world)
    world.tick(90)
    for number in range(1, 5):
        world.seen(UserId(f"t{number}"), north(400.0 * number))
    assert heard(world.tick(100)) == []
    assert heard(world.tick(100.001)) == [closes("t3", CloseReason.EXPIRED), asks("t1")]


@pytest.mark.parametrize(("declines", "reason"), [(True, "picked_refused"), (False, "picked_unavailable")])
def test_a_customer_who_wants_nobody_else_gets_nobody(declines: bool, reason: str) -> None:
    world = a_city(directed=WINDOW)
    if not declines:
        world.feed(e.DutySet(UserId("t3"), DutyState.OFF))
    order = directed(world, "t3", Fallback.CANCEL)
    answer = world.engine.live_offer(UserId("t3"))
    effects = world.feed(e.OfferDeclined(answer.offer_id, UserId("t3"))) if answer is not None else world.tick(100)
    assert (answer is not None) == declines
    assert heard(effects) == [tells("unfilled", order__reason=reason)]
    assert world.order(order.order_id).technician is None


def test_a_busy_pick_is_asked_as_soon_as_they_are_free_within_the_window() -> None:
    world = a_city(3, directed=WINDOW)
    first = directed(world, "t3")
    world.accept("t3")
    second = directed(world, "t3")
    assert live(world) == []
    world.tick(50)
    world.seen(UserId("t3"), north(1_200.0))
    world.feed(e.OrderCancelled(first.order_id, ANNA))
    assert world.offer_of("t3").order_id == second.order_id
    assert world.offer_of("t3").expires_at == T0 + 100.0


def test_a_pick_whose_phone_did_not_hear_is_asked_again_when_it_is_heard() -> None:
    world = a_city(3, directed=WINDOW)
    directed(world, "t3")
    assert heard(world.tick(5)) == [closes("t3", CloseReason.UNDELIVERED)]
    world.seen(UserId("t3"), north(1_200.0))
    assert asks("t3") in world.tick(10)


def test_a_directed_order_taken_back_goes_on_as_its_customer_chose() -> None:
    for fallback, state in ((Fallback.AUTO, OrderState.MATCHING), (Fallback.CANCEL, OrderState.UNFILLED)):
        world = a_city(2, directed=WINDOW)
        order = directed(world, "t2", fallback)
        world.accept("t2")
        world.feed(e.OrderReassigned(order.order_id, OPS))
        assert world.order(order.order_id).state is state
        assert live(world) == (["t1"] if fallback is Fallback.AUTO else [])
