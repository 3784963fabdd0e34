"""Questions change nothing, and are answered as a round would."""

from dataclasses import replace
from typing import Any

import pytest

from core.errors import Invalid
from core.ids import UserId
from dispatch import events as e
from dispatch import what_if
from dispatch.model import BlockSide, Gender, Order
from dispatch.problem import Exclusion
from dispatch.settings import EligibilitySettings
from tests.unit.dispatch.world import ANNA, World


def ask(world: World, order: Order, waive: tuple[str, ...] = (), **numbers: Any) -> what_if.WhatIf:
    waived = what_if.waivers(waive)
    settings = what_if.changed_settings(world.settings, numbers)
    as_is = world.engine.question(order, world.now, what_if.changed_settings(world.settings, {}), ())
    asked = world.engine.question(what_if.waived_order(order, waived), world.now, settings, waived)
    return what_if.answer(order, as_is, what_if.waived_problem(asked, waived))


def test_other_numbers_can_choose_somebody_else() -> None:
    world = World()
    world.join("near", 400)
    world.join("gold", 1_000, tier="gold")
    order = world.place()
    assert world.offer_of("near").order_id == order.order_id
    same, other = (ask(world, order, ("offered",), tier_s={"gold": s}).asked for s in (90.0, 1_800.0))
    assert (same.chosen, other.chosen) == (("near",), ("gold",))
    as_is = ask(world, order).as_is
    assert (as_is.chosen, [x.reason for x in as_is.excluded]) == (("gold",), ["offered"])


@pytest.mark.parametrize(
    ("reason", "facts", "wishes"),
    [
        ("gender", {"gender": Gender.MALE}, {"gender_preference": Gender.FEMALE}),
        ("skill", {"skills": frozenset({"yoga"})}, {}),
        ("tier", {"tier": "silver"}, {"tier_min": "gold"}),
    ],
)
def test_a_waived_wish_of_the_order_does_not_count(reason: str, facts: dict[str, Any], wishes: dict[str, Any]) -> None:
    world = World()
    world.join("only", 400, **facts)
    order = world.place(**wishes)
    told = ask(world, order, waive=(reason,))
    assert [x.reason for x in told.as_is.excluded] == [reason]
    assert (told.as_is.chosen, told.asked.chosen) == ((), ("only",))


def test_waived_filters_of_the_technician_do_not_count_and_the_next_reason_is_told() -> None:
    world = World()
    world.join("only", 400)
    order = world.place()
    world.feed(e.OfferDeclined(world.offer_of("only").offer_id, UserId("only")))
    world.tick(100)
    world.seen(UserId("only"), None, connected=False)
    assert [x.reason for x in ask(world, order).as_is.excluded] == ["refused"]
    assert [x.reason for x in ask(world, order, waive=("refused",)).asked.excluded] == ["disconnected"]
    reasons = ("refused", "disconnected", "stale_position")
    assert ask(world, order, waive=reasons).asked.chosen == ("only",)


@pytest.mark.parametrize("reason", ["papers", "night_transport"])
def test_what_a_city_asks_of_everybody_may_be_left_out_of_a_question(reason: str) -> None:
    # The world begins at ten minutes past ten in the evening.
    by_day, by_night = EligibilitySettings(papers=("health",)), EligibilitySettings(night_walk_max_m=300.0)
    world = World(eligibility={"papers": by_day, "night_transport": by_night}[reason])
    world.join("only", 400)
    told = ask(world, world.place(), waive=(reason,))
    assert [x.reason for x in told.as_is.excluded] == [reason]
    assert told.asked.chosen == ("only",)


def test_a_block_between_people_may_be_left_out_of_a_question_and_stays() -> None:
    world = World()
    world.join("only", 400)
    world.feed(e.PairBlocked(ANNA, UserId("only"), BlockSide.TECHNICIAN, UserId("only")))
    order = world.place()
    told = ask(world, order, waive=("blocked",))
    assert [x.reason for x in told.as_is.excluded] == ["blocked"]
    assert told.asked.chosen == ("only",)
    assert world.engine.live_offers() == []


def test_a_question_leaves_everything_as_it_was() -> None:
    world = World()
    world.join("only", 400, gender=Gender.MALE)
    order = world.place(gender_preference=Gender.FEMALE)
    before = everything(world)
    ask(world, order, waive=("gender",), rating_max_s=0.0)
    world.engine.check()
    assert not world.engine.changes
    assert everything(world) == before


def everything(world: World) -> tuple[object, ...]:
    engine = world.engine
    return list(engine.open_orders()), len(world.ledger.rounds), engine.next_deadline(), list(engine.technicians())


def test_numbers_and_filters_are_checked_by_the_rules_of_the_config() -> None:
    settings = World().settings
    for wrong in ({"rating_max_s": 10_000.0}, {"radius_steps_m": [5_000.0, 3_000.0]}, {"seed": 3}, {"retry_s": 1.0}):
        with pytest.raises(Invalid, match=r"must|no number") as caught:
            what_if.changed_settings(settings, wrong)
        assert caught.value.field == f"policy.{next(iter(wrong))}"
    changed = what_if.changed_settings(settings, {"radius_steps_m": [1_000.0], "idle_max_s": 0.0})
    assert changed.round.radius_steps_m == (1_000.0,)
    assert changed.head_start == replace(settings.head_start, idle_max_s=0.0)
    with pytest.raises(Invalid, match="must be one of"):
        what_if.waivers(["off_duty"])
    assert what_if.waivers(["busy"]) == {Exclusion.BUSY}


def test_who_finishes_soon_is_a_candidate_of_a_question_as_of_a_round() -> None:
    world = World()
    world.join("t1", 0)
    first = world.place(duration_s=1_200.0)
    world.accept("t1")
    world.steps(first, e.Step.EN_ROUTE, e.Step.ARRIVED, e.Step.IN_SERVICE)
    world.tick(900)
    waiting = world.place(gender_preference=Gender.MALE)
    found = ask(world, waiting, ("gender",))
    assert [(c.technician, c.travel_s) for c in found.asked.ranking] == [("t1", 360.0)]
    assert {t.name: t.seconds for t in found.asked.ranking[0].terms}["wait"] == 300.0
