"""Who was in reach of a round without being weighed: everybody is accounted for, by name or by number."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.ids import OrderId, UserId
from dispatch import events as e
from dispatch import explaining
from dispatch.model import BlockSide, DutyState, Gender
from dispatch.not_offered import Absent, RoundSeen, look, page
from dispatch.settings import DispatchSettings, RoundSettings
from geo.distance import EARTH_RADIUS_M
from geo.position_index import PositionIndex
from tests.unit.dispatch.world import ANNA, World, draft, north

SMALL = RoundSettings(candidates_len_max=2, reach_len_max=2)


def crowd(**changes: Any) -> World:
    """Ten idle technicians 100 m apart, of whom a round weighs the two nearest."""
    world = World(replace(DispatchSettings(), round=replace(SMALL, **changes)))
    for number in range(1, 11):
        world.join(f"tec_{number:02}", 100.0 * number)
    return world


def reasons(world: World, order_id: OrderId) -> dict[str, str]:
    """Of everyone whom the account of the first round names: what it says of them."""
    (told, *_) = explaining.explain_all(world.ledger.rounds, order_id, None)
    return {c.technician: c.outcome for c in told.ranking} | {x.technician: x.reason for x in told.excluded}


def test_everyone_in_reach_of_a_round_that_found_somebody_is_named() -> None:
    world = crowd()
    order = world.place()
    told = reasons(world, order.order_id)
    assert len(told) == 10
    assert (told["tec_01"], told["tec_02"], told["tec_10"]) == ("chosen", "dearer", "farther")


def test_who_was_in_reach_is_told_so_and_who_was_not_is_not() -> None:
    world = crowd()
    world.join("beyond", 30_000)
    world.place()
    (stored,) = world.ledger.rounds
    seen = look(stored, UserId("tec_09"))
    assert isinstance(seen, RoundSeen)
    assert seen.outcomes == {"farther": 1}
    (told,) = seen.nearest
    assert told.chosen == ("tec_01",)
    assert told.distance_m == pytest.approx(900, abs=2)
    assert look(stored, UserId("beyond")) is Absent.OUT_OF_REACH
    assert page([stored], UserId("tec_09"), 5).unnamed_len == 0


def test_beyond_the_most_that_are_named_people_are_counted() -> None:
    world = crowd(others_len_max=3)
    order = world.place()
    (told,) = explaining.explain_all(world.ledger.rounds, order.order_id, None)
    assert (len(told.ranking) + len(told.excluded), told.others_len) == (5, 5)
    (stored,) = world.ledger.rounds
    assert isinstance(look(stored, UserId("tec_05")), RoundSeen), "the nearest are named"
    assert look(stored, UserId("tec_06")) is Absent.UNNAMED
    found = page([stored], UserId("tec_06"), 5)
    assert (len(found.seen), found.unnamed_len) == (0, 1)


def test_what_the_index_has_against_somebody_is_the_reason() -> None:
    world = World(replace(DispatchSettings(), round=SMALL))
    for number in range(1, 4):
        world.join(f"tec_{number}", 100.0 * number)
    world.join("paused", 510)
    world.feed(e.DutySet(UserId("paused"), DutyState.PAUSED))
    world.join("dark", 520)
    world.seen(UserId("dark"), north(520), connected=False)
    world.join("unskilled", 530, skills=frozenset())
    world.join("male", 540, gender=Gender.MALE)
    world.join("unverified", 550)
    world.put("unverified", verified=False)
    world.join("anna", 560)
    world.join("foe", 570)
    world.feed(e.PairBlocked(UserId("anna"), UserId("foe"), BlockSide.CUSTOMER, UserId("anna")))
    order = world.place(by=UserId("anna"), gender_preference=Gender.FEMALE)
    told = reasons(world, order.order_id)
    assert told == {
        "tec_1": "chosen", "tec_2": "dearer", "tec_3": "farther", "paused": "off_duty", "dark": "disconnected",
        "unskilled": "skill", "male": "gender", "unverified": "unverified", "anna": "own_order", "foe": "blocked",
    }  # fmt: skip


def test_each_order_of_a_round_has_its_own_reach() -> None:
    world = World(replace(DispatchSettings(), round=replace(SMALL, widen_s=0.0, radius_steps_m=(3_000.0,))))
    for number in range(1, 4):
        world.join(f"near_{number}", 100.0 * number)
        world.join(f"far_{number}", 8_000 + 100.0 * number)
    world.batch([e.OrderPlaced(draft(north(0)), ANNA), e.OrderPlaced(draft(north(8_000)), UserId("cus_2"))])
    (stored,) = world.ledger.rounds
    seen = look(stored, UserId("near_3"))
    assert isinstance(seen, RoundSeen)
    assert seen.outcomes == {"farther": 1, "too_far": 1}
    assert [order.outcome for order in seen.nearest] == ["farther", "too_far"]


def test_rounds_that_were_not_stored_are_counted() -> None:
    world = World()
    world.join("tina", 400)
    world.feed(e.DutySet(UserId("tina"), DutyState.PAUSED))
    world.join("mona", 500, skills=frozenset())
    order = world.place()
    world.tick(59)
    stored = world.ledger.rounds
    skipped = world.engine.skipped_rounds(order.order_id)
    told = explaining.explain_all(stored, order.order_id, skipped)
    assert skipped is not None
    assert sum(1 + round_.repeated for round_ in told) == len(stored) + skipped.count
    assert told[-1].repeated >= 5
    assert told[-1].repeated_until == skipped.until_at
    world.tick(70)
    later = explaining.explain_all(world.ledger.rounds, order.order_id, world.engine.skipped_rounds(order.order_id))
    assert (later[len(told) - 1].repeated, later[len(told) - 1].round_id) == (
        world.ledger.rounds[len(told)].skipped[order.order_id].count, told[-1].round_id,
    )  # fmt: skip
    assert later[len(told) - 1].repeated >= told[-1].repeated


def nobody_may_be_asked() -> tuple[World, OrderId]:
    world = World()
    world.join("tina", 400)
    world.feed(e.DutySet(UserId("tina"), DutyState.PAUSED))
    world.join("mona", 500, skills=frozenset())
    return world, world.place().order_id


def repeats(world: World, order_id: OrderId) -> list[int]:
    """As anybody reads them: from what is stored, and from the engine while it knows the order."""
    known = world.engine.order(order_id)
    skipped = world.engine.skipped_rounds(order_id) if known is not None else world.ledger.orders[order_id].skipped
    return [found.repeated for found in explaining.explain_all(world.ledger.rounds, order_id, skipped)]


def test_rounds_that_were_not_stored_are_counted_across_a_restart() -> None:
    world, order_id = nobody_may_be_asked()
    world.tick(58)
    before = repeats(world, order_id)
    assert before[-1] >= 5
    world.restart()
    after = repeats(world, order_id)
    assert after[:-1] == before[:-1]
    assert before[-1] - 6 <= after[-1] <= before[-1], "up to the last mark, at most ten seconds ago"
    world.tick(62)
    stored = world.ledger.rounds[len(before)]
    assert stored.skipped[order_id].count >= after[-1], "and the next stored round goes on from there"
    world.restart()
    assert sum(repeats(world, order_id)) < sum(before) + 5, "nothing is counted twice"


def test_the_last_ones_of_a_search_are_known_for_ever() -> None:
    world, order_id = nobody_may_be_asked()
    world.tick(595)
    world.feed(e.OrderCancelled(order_id, world.order(order_id).customer))
    told = repeats(world, order_id)
    assert told[-1] > 0
    world.restart()
    assert repeats(world, order_id) == told
    world.tick(20_000)
    assert world.engine.order(order_id) is None
    assert repeats(world, order_id) == told


def test_a_round_of_an_earlier_version_has_none() -> None:
    world = crowd()
    order = world.place()
    (stored,) = world.ledger.rounds
    old = replace(stored, bystanders=b"")
    (told,) = explaining.explain_all([old], order.order_id, None)
    assert (len(told.ranking) + len(told.excluded), told.others_len) == (2, 0)
    assert look(old, UserId("tec_09")) is Absent.OUT_OF_REACH


def test_cosines_of_the_index_are_those_of_the_great_circle() -> None:
    index = PositionIndex()
    slots = np.array([index.claim(UserId(f"u{n}")) for n in range(4)])
    index.move(slots[:3], [30.0, 30.01, -30.0], [120.0, 120.0, -60.0], seen_at=1.0)
    (cosines,) = index.cosines(np.array([30.0]), np.array([120.0])).tolist()
    assert cosines[3] == float("-inf")
    metres = [math.acos(max(-1.0, min(1.0, cosine))) * EARTH_RADIUS_M for cosine in cosines[:3]]
    assert metres == pytest.approx([0.0, 1_111.95, 20_015_114], abs=1)
