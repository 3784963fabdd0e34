"""A shadow policy decides beside the live one and touches nothing."""

from dataclasses import replace
from typing import Any

import pytest

from core.ids import UserId
from dispatch import events as e
from dispatch import rounds
from dispatch.model import StoredRound
from dispatch.settings import (
    DeclineSettings,
    DispatchSettings,
    NewcomerSettings,
    RoundSettings,
    ShadowSettings,
    TurnSettings,
)
from dispatch.shadow import compare, shadow_of
from store.blobs import Blob
from tests.unit.dispatch.day import busy_day
from tests.unit.dispatch.world import T0, World, north

TIERS = ShadowSettings(name="tiers", tier_factor=20.0)


def two_choices(shadow: ShadowSettings) -> World:
    world = World(replace(DispatchSettings(), shadow=shadow))
    world.join("near", 400)
    world.join("gold", 1_500, tier="gold")
    world.place()
    return world


def test_the_shadow_is_stored_beside_the_live_decision_and_offers_nothing() -> None:
    world = two_choices(TIERS)
    (stored,) = world.ledger.rounds
    assert stored.decision is not None
    assert stored.shadow is not None
    assert [pair.technician for pair in stored.decision.pairs] == ["near"]
    assert [pair.technician for pair in stored.shadow.decision.pairs] == ["gold"]
    assert (stored.shadow.name, stored.shadow.numbers["tier_factor"]) == ("tiers", 20.0)
    assert [offer.technician for offer in world.engine.live_offers()] == ["near"]


def test_without_a_name_there_is_no_shadow_and_the_report_computes_it_later_the_same() -> None:
    plain, shadowed = two_choices(ShadowSettings()), two_choices(TIERS)
    (stored,) = plain.ledger.rounds
    assert stored.shadow is None
    assert shadow_of(stored, TIERS) == shadowed.ledger.rounds[0].shadow


def chosen(w: World, shadow: ShadowSettings) -> list[str]:
    """Whom the shadow chooses in the last stored round."""
    found = shadow_of(w.ledger.rounds[-1], shadow)
    assert found is not None
    return [pair.technician for pair in found.decision.pairs]


def test_a_stored_decision_by_other_numbers_under_the_same_name_does_not_count() -> None:
    (stored,) = two_choices(TIERS).ledger.rounds
    milder = replace(TIERS, tier_factor=1.5)
    computed = shadow_of(stored, milder)
    assert computed is not None
    assert [pair.technician for pair in computed.decision.pairs] == ["near"]
    assert computed.numbers["tier_factor"] == 1.5
    renamed = shadow_of(stored, replace(TIERS, name="other"))
    assert renamed is stored.shadow
    assert stored.shadow is not None
    unsigned = replace(stored, shadow=replace(stored.shadow, digest=""))
    assert shadow_of(unsigned, TIERS) == stored.shadow
    assert shadow_of(unsigned, TIERS) is not unsigned.shadow


def test_a_stored_shadow_comes_back_from_the_store() -> None:
    (stored,) = two_choices(TIERS).ledger.rounds
    blob = Blob(StoredRound)
    assert blob.unpack(blob.pack(stored)).shadow == stored.shadow


def test_the_shadow_may_count_refusals_that_the_live_policy_leaves_out() -> None:
    shadow = ShadowSettings(name="refusals", decline_max_s=600.0, turn_s=0.0, newcomer_share=0.0)
    no_turns, no_chance = TurnSettings(s=0.0), NewcomerSettings(share=0.0)
    w = World(shadow=shadow, decline=DeclineSettings(max_s=0.0), turn=no_turns, newcomer=no_chance)
    w.join("near", 400)
    w.join("far", 600)
    for _ in range(3):
        order = w.place(service="cupping")
        w.receive("near")
        w.feed(e.OfferDeclined(w.offer_of("near").offer_id, UserId("near")))
        w.feed(e.OrderCancelled(order.order_id, order.customer))
    w.place(service="cupping")
    assert [offer.technician for offer in w.engine.live_offers()] == ["near"]
    assert chosen(w, shadow) == ["far"]
    assert chosen(w, replace(shadow, decline_max_s=0.0)) == ["near"]


def test_the_shadow_may_prefer_newcomers_when_the_live_policy_does_not() -> None:
    w = World(DispatchSettings(newcomer=NewcomerSettings(share=0.0)))
    w.join("new", 500)
    old = w.join("old", 400)
    known = w.engine.technician(old)
    assert known is not None
    w.feed(e.TechnicianCopied(replace(known, rating_sum=94.0, rating_weight=20.0, rating_at=T0, version=9)))
    w.place()
    assert chosen(w, ShadowSettings(name="x", newcomer_share=0.0)) == ["old"]
    assert chosen(w, ShadowSettings(name="x", newcomer_share=1.0)) == ["new"]


def test_the_shadow_may_have_another_radius_and_another_price_of_leaving_out() -> None:
    w = World()
    w.join("far", 4_000)
    w.place()
    assert chosen(w, ShadowSettings(name="x")) == ["far"]
    assert chosen(w, ShadowSettings(name="x", radius_steps_m=(1_000.0, 3_900.0))) == []
    assert chosen(w, ShadowSettings(name="x", radius_steps_m=(5_000.0,))) == ["far"]
    assert chosen(w, ShadowSettings(name="x", unmatched_s=900.0)) == []
    far = World(round=replace(RoundSettings(), radius_steps_m=(1_000.0,)))
    far.join("far", 4_000)
    far.place()
    assert chosen(far, ShadowSettings(name="x")) == []  # the live round did not know of them


def test_the_shadow_may_count_no_waiting_and_no_turns() -> None:
    w = World()
    w.join("one", 100)
    w.join("two", 120)
    w.engine._book.put_technician(replace(w.engine._book.technicians[UserId("one")], turns=2.0, turns_at=w.now))
    w.batch([])
    w.place()
    assert [offer.technician for offer in w.engine.live_offers()] == ["two"]
    plain = ShadowSettings(name="x", newcomer_share=0.0)
    assert chosen(w, plain) == ["two"]
    assert chosen(w, replace(plain, turn_s=0.0)) == ["one"]
    late = World()
    late.join("one", 0)
    first = late.place(at=north(2_000), by=UserId("cus_first"), skills=("none",))
    p = rounds.problem_of(late.ledger.rounds[-1])
    assert first.order_id in p.orders.ids
    assert len(p.orders.waiting_at) == 1


@pytest.mark.parametrize("wrong", [{"radius_steps_m": (5.0,)}, {"unmatched_s": 1.0}, {"newcomer_share": 2.0}])
def test_a_shadows_numbers_have_ranges(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ShadowSettings(name="x", **wrong)


def test_the_report_counts_where_they_agree_and_what_the_ways_cost() -> None:
    same = ShadowSettings(name="same")
    stored = busy_day(60, seed=3).ledger.rounds
    report = compare((r, s) for r in stored if (s := shadow_of(r, same)) is not None)
    assert (report.orders, report.same) == (sum(len(r.orders) for r in stored), report.orders)
    assert report.live_travel_s == report.shadow_travel_s
    (r,) = two_choices(TIERS).ledger.rounds
    s = shadow_of(r, TIERS)
    assert s is not None
    one = compare([(r, s)])
    assert (one.orders, one.same, one.other, one.live_only, one.shadow_only) == (1, 0, 1, 0, 0)
    assert one.live_travel_s is not None
    assert one.shadow_travel_s is not None
    assert one.shadow_travel_s > one.live_travel_s
