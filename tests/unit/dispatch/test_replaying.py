"""What was stored comes out again, and nothing can be changed in it without being seen."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from core.ids import OrderId, UserId
from dispatch import rounds
from dispatch.model import DecidedPair, RoundDecision, StoredRound
from dispatch.problem import Problem
from dispatch.replaying import replay
from tests.unit.dispatch.day import busy_day
from tests.unit.dispatch.world import World


def test_a_busy_days_rounds_are_decided_again_the_same() -> None:
    world = busy_day(150, seed=5)
    replayed = [replay(stored) for stored in world.ledger.rounds]
    assert [found.differences for found in replayed] == [()] * len(replayed)
    assert sum(found.decisions for found in replayed) >= 150
    assert not any(found.is_old for found in replayed)


def one_round() -> StoredRound:
    world = World()
    world.join("near", 400)
    world.join("far", 2_000)
    world.place()
    (stored,) = world.ledger.rounds
    return stored


def edited(change: Callable[[Problem], object], stored: StoredRound) -> StoredRound:
    problem = rounds.decode(stored.inputs)
    change(problem)
    return replace(stored, inputs=rounds.encode(problem))


def move_the_nearest_away(problem: Problem) -> None:
    problem.technicians.lat_deg[problem.technicians.ids.index("near")] += 0.05


def move_the_farther_a_little(problem: Problem) -> None:
    problem.technicians.lat_deg[problem.technicians.ids.index("far")] += 1e-9


def rate_the_nearest(problem: Problem) -> None:
    problem.technicians.rating[problem.technicians.ids.index("near")] += 0.1


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (move_the_nearest_away, {"inputs", "technician"}),
        (rate_the_nearest, {"inputs", "cost"}),
        (move_the_farther_a_little, {"inputs"}),
    ],
)
def test_an_edited_input_is_seen_and_changes_what_depends_on_it(
    change: Callable[[Problem], object], what: set[str]
) -> None:
    stored = one_round()
    assert replay(stored).differences == ()
    assert {found.what for found in replay(edited(change, stored)).differences} == what


def decided(stored: StoredRound) -> RoundDecision:
    assert stored.decision is not None
    return stored.decision


def test_an_edited_decision_is_seen() -> None:
    stored = one_round()
    (order,) = stored.orders
    other = DecidedPair(order, UserId("far"), 1.0, 1.0)
    given = replace(stored, decision=replace(decided(stored), pairs=(other,)))
    (found,) = replay(given).differences
    assert (found.order, found.what, found.stored, found.computed) == (order, "technician", "far", "near")
    nobody = replace(stored, decision=replace(decided(stored), pairs=(), steps=(3,)))
    assert [(f.what, f.stored, f.computed) for f in replay(nobody).differences] == [
        ("technician", "", "near"),
        ("radius", "(3,)", "(0,)"),
    ]
    renamed = replace(stored, orders=(OrderId("ord_x"),))
    assert {found.what for found in replay(renamed).differences} == {"order"}


def test_a_greedy_round_is_replayed_greedily() -> None:
    stored = one_round()
    greedy = replace(stored, decision=replace(decided(stored), solver="greedy"))
    assert replay(greedy).differences == ()
    unknown = replace(stored, decision=replace(decided(stored), solver="oracle"))
    assert [found.what for found in replay(unknown).differences] == ["unreadable"]


def test_what_cannot_be_solved_again_is_a_difference_and_no_end() -> None:
    stored = one_round()
    (broken,) = replay(replace(stored, inputs=b"\x00" + stored.inputs)).differences
    assert broken.what == "unreadable"
    (foreign,) = replay(replace(stored, policy="auto/0")).differences
    assert (foreign.what, foreign.stored, foreign.computed) == ("policy", "auto/0", rounds.POLICY)


def test_a_round_of_an_earlier_version_has_nothing_to_compare() -> None:
    replayed = replay(replace(one_round(), decision=None))
    assert replayed.is_old
    assert (replayed.decisions, replayed.differences) == (0, ())
