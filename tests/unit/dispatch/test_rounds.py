"""A round on paper says the same as the round itself."""

import zlib
from dataclasses import fields, replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Invalid
from core.ids import CityId, OrderId, UserId
from dispatch import events as e
from dispatch import explaining, matching, rounds
from dispatch.model import DutyState, Gender, StoredRound
from dispatch.settings import RoundSettings
from tests.unit.dispatch.problems import random_problem
from tests.unit.dispatch.world import ANNA, SHARD, World, draft, north


@settings(max_examples=25)
@given(st.integers(0, 6), st.integers(0, 12), st.integers(0, 1000))
def test_a_stored_problem_comes_back_bit_for_bit_and_decides_the_same(n: int, m: int, seed: int) -> None:
    p = random_problem(n, m, seed)
    solution, stored = rounds.solve_and_encode(p)
    again = rounds.decode(stored)
    for part in ("orders", "technicians"):
        for f in fields(getattr(p, part)):
            here, there = getattr(getattr(p, part), f.name), getattr(getattr(again, part), f.name)
            assert np.array_equal(here, there), f.name
    assert (again.at, again.seed, again.policy) == (p.at, p.seed, p.policy)
    assert matching.solve(again) == solution


def test_an_explanation_ranks_candidates_and_says_why_the_others_were_none() -> None:
    world = World()
    world.join("near", 400)
    world.join("far", 2_000)
    world.join("hank", 300, gender=Gender.MALE)
    world.join("yogi", 350, skills=frozenset({"yoga"}))
    world.join("stale", 100)
    world.tick(61)
    for name, metres in (("near", 400), ("far", 2_000), ("hank", 300), ("yogi", 350)):
        world.seen(UserId(name), north(metres))
    order = world.place(gender_preference=Gender.FEMALE)
    world.feed(e.OfferDeclined(world.offer_of("near").offer_id, UserId("near")))
    first, second = [explaining.explain(r, order.order_id) for r in world.ledger.rounds]
    assert (first.chosen, second.chosen) == (("near",), ("far",))
    assert [c.technician for c in first.ranking] == ["near", "far"]
    assert {x.technician: x.reason for x in first.excluded} == {
        "hank": "gender",
        "yogi": "skill",
        "stale": "stale_position",
    }
    assert {x.technician: x.reason for x in second.excluded}["near"] == "refused"
    offer = world.offer_of("far")
    assert second.ranking[0].cost_s == pytest.approx(offer.cost_s)
    assert second.ranking[0].terms == offer.terms
    assert first.radius_m == 3_000


def test_an_explanation_of_an_order_without_anybody_says_why() -> None:
    world = World()
    world.join("tina", 25_000)
    world.join("lea", 500)
    world.place()
    second = world.place()
    (told,) = [explaining.explain(r, second.order_id) for r in world.ledger.rounds if second.order_id in r.orders]
    assert (told.chosen, told.ranking) == ((), ())
    assert {x.technician: x.reason for x in told.excluded} == {"lea": "offered"}


def test_candidates_out_of_the_circle_are_too_far() -> None:
    world = World()
    world.join("near", 400)
    world.join("far", 4_000)
    order = world.place()
    told = explaining.explain(world.ledger.rounds[0], order.order_id)
    assert {x.technician: x.reason for x in told.excluded} == {"far": "too_far"}


@pytest.mark.parametrize("slice_orders_max", [1, 100], ids=["in columns", "by neighbours"])
def test_who_is_no_longer_registered_for_the_city_is_not_asked_and_the_explanation_says_so(
    slice_orders_max: int,
) -> None:
    world = World(round=replace(RoundSettings(), slice_orders_max=slice_orders_max))
    world.join("tina", 100)
    # The city's engine refuses duty without registration, so the record comes from elsewhere.
    tina = world.engine.technician(UserId("tina"))
    assert tina is not None
    world.ledger.technicians[UserId("tina")] = replace(tina, cities=(CityId("sh"),))
    world.restart()
    world.seen(UserId("tina"), north(100))
    world.batch([e.OrderPlaced(draft(), ANNA) for _ in range(2)])
    world.tick(2)
    assert world.engine.live_offer(UserId("tina")) is None
    (order, *_) = world.engine.open_orders()
    (told, *_) = [explaining.explain(r, order.order_id) for r in world.ledger.rounds if order.order_id in r.orders]
    assert (told.chosen, told.ranking) == ((), ())
    assert {x.technician: x.reason for x in told.excluded} == {"tina": "city"}


def test_rounds_that_change_nothing_are_stored_rarely() -> None:
    world = World()
    world.join("tina")
    world.feed(e.DutySet(UserId("tina"), DutyState.PAUSED))
    world.place()
    world.tick(59)
    assert len(world.ledger.rounds) == 1


def test_what_was_not_looked_at_or_decided_by_other_rules_cannot_be_explained() -> None:
    p = random_problem(1, 1, 0)
    stored = StoredRound(*SHARD, "rnd_1", 0.0, rounds.POLICY, 1, (OrderId("ord_0"),), rounds.encode(p))
    with pytest.raises(Invalid, match="did not look"):
        explaining.explain(stored, OrderId("ord_9"))
    old = StoredRound(*SHARD, "rnd_1", 0.0, "auto/0", 1, (OrderId("ord_0"),), rounds.encode(p))
    with pytest.raises(Invalid) as caught:
        explaining.explain(old, OrderId("ord_0"))
    assert caught.value.code == "policy_unknown"


def test_nobody_is_offered_their_own_order() -> None:
    world = World()
    world.join("tina", 100)
    order = world.place(by=UserId("tina"))
    assert world.engine.live_offer(UserId("tina")) is None
    told = explaining.explain(world.ledger.rounds[0], order.order_id)
    assert {x.technician: x.reason for x in told.excluded} == {"tina": "own_order"}
    world.join("lea", 2_000)
    world.tick(2)
    assert world.offer_of("lea").order_id == order.order_id


def test_a_large_round_offers_nobody_their_own_order() -> None:
    world = World(round=replace(RoundSettings(), slice_orders_max=1))
    world.join("tina", 100)
    world.join("lea", 200)
    world.batch([e.OrderPlaced(draft(customer=UserId(name)), UserId(name)) for name in ("tina", "lea")])
    world.tick(2)
    for name in ("tina", "lea"):
        assert world.order(world.offer_of(name).order_id).customer != name
    problem_seen = rounds.decode(world.ledger.rounds[0].inputs)
    assert len(problem_seen.own_order) == len(problem_seen.own_technician) == 2


def test_rounds_of_the_first_rules_are_still_explained() -> None:
    p = random_problem(2, 3, 0)
    plain = msgspec.msgpack.decode(zlib.decompress(rounds.encode(p)))
    del plain["own"]
    inputs = zlib.compress(msgspec.msgpack.encode(plain))
    stored = StoredRound(*SHARD, "rnd_1", 0.0, "auto/1", 1, (OrderId("ord_0"),), inputs)
    assert explaining.explain(stored, OrderId("ord_0")).chosen
