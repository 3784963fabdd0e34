"""A shadow policy decides beside the live one and touches nothing."""

from dataclasses import replace

from dispatch.settings import DispatchSettings, ShadowSettings
from dispatch.shadow import compare, shadow_of
from tests.unit.dispatch.day import busy_day
from tests.unit.dispatch.world import World

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
