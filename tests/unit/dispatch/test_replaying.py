"""What was stored comes out again, and nothing can be changed in it without being seen."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from math import nan
from typing import Any, cast

import pytest

from core.ids import OrderId, UserId
from dispatch import rounds
from dispatch.model import DecidedPair, RoundDecision, ShadowDecision, SkippedRounds, StoredRound
from dispatch.problem import Problem
from dispatch.replaying import Replayed, replay
from dispatch.settings import RoundSettings, ShadowSettings
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


def resealed(stored: StoredRound, **changes: Any) -> StoredRound:
    """As somebody would store it who knows how seals are made: what inputs give is compared all the same."""
    return rounds.sealed(replace(stored, **changes))


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
    given = resealed(stored, decision=replace(decided(stored), pairs=(other,)))
    (found,) = replay(given).differences
    assert (found.order, found.what, found.stored, found.computed) == (order, "technician", "far", "near")
    nobody = resealed(stored, decision=replace(decided(stored), pairs=(), steps=(3,)))
    assert [(f.what, f.stored, f.computed) for f in replay(nobody).differences] == [
        ("technician", "", "near"),
        ("radius", "(3,)", "(0,)"),
    ]
    renamed = resealed(stored, orders=(OrderId("ord_x"),))
    assert {found.what for found in replay(renamed).differences} == {"order"}


def test_a_greedy_round_is_replayed_greedily() -> None:
    stored = one_round()
    greedy = resealed(stored, decision=replace(decided(stored), solver="greedy"))
    assert replay(greedy).differences == ()
    unknown = resealed(stored, decision=replace(decided(stored), solver="oracle"))
    assert [found.what for found in replay(unknown).differences] == ["unreadable"]


def test_what_cannot_be_solved_again_is_a_difference_and_no_end() -> None:
    stored = one_round()
    (broken,) = replay(replace(stored, inputs=b"\x00" + stored.inputs)).differences
    assert broken.what == "unreadable"
    (foreign,) = replay(resealed(stored, policy="auto/0")).differences
    assert (foreign.what, foreign.stored, foreign.computed) == ("policy", "auto/0", rounds.POLICY)


def test_a_round_of_an_earlier_version_has_nothing_to_compare() -> None:
    replayed = replay(replace(one_round(), policy="auto/3", decision=None, seal=""))
    assert (replayed.is_old, replayed.is_sealed) == (True, False)
    assert (replayed.decisions, replayed.differences) == (0, ())


def test_a_round_without_a_seal_is_compared_as_far_as_its_inputs_go() -> None:
    old = replace(one_round(), policy="auto/9", seal="")
    assert replay(old) == Replayed(old.round_id, 1, (), is_sealed=False)
    assert [found.what for found in replay(replace(old, decision=None)).differences] == ["decision"]
    assert [found.what for found in replay(replace(old, seed=old.seed + 1)).differences] == ["seed"]
    assert [found.what for found in replay(replace(old, bystanders=b"")).differences] == [], "nothing can know"


def rich_round() -> StoredRound:
    """A round that fills every field: people beside, a shadow that decided otherwise, rounds skipped before it."""
    world = World(
        round=replace(RoundSettings(), candidates_len_max=1, reach_len_max=1),
        shadow=ShadowSettings(name="other", idle_max_s=0.0),
    )
    order = world.place()
    world.tick(20)
    world.join("near", 400)
    world.join("far", 2_000)
    world.tick(20)
    (stored,) = (round_ for round_ in world.ledger.rounds if round_.decision is not None and round_.decision.pairs)
    assert stored.bystanders
    assert stored.shadow is not None
    assert stored.shadow.decision.pairs
    return rounds.sealed(replace(stored, skipped={order.order_id: SkippedRounds(3, stored.at - 1.0)}))


def other_than(value: Any) -> Any:
    """Another value of the same kind."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "x"
        case bytes():
            return value[:-1]
        case tuple():
            return value[:-1]
        case _:
            raise TypeError(value)


def edits(value: Any) -> Iterator[tuple[str, Any]]:
    """Every single change that can be made in a stored value, with its name: each field, and each of what is in it."""
    if is_dataclass(value):
        for f in fields(value):
            for name, other in edits(getattr(value, f.name)):
                yield f".{f.name}{name}", replace(cast(Any, value), **{f.name: other})
    elif isinstance(value, dict):
        yield "", {}
        for key, inner in value.items():
            yield f" without {key}", {k: v for k, v in value.items() if k != key}
            for name, other in edits(inner):
                yield f".{key}{name}", value | {key: other}
    else:
        yield "", other_than(value)
        if isinstance(value, tuple) and is_dataclass(value[0]):
            for name, other in edits(value[0]):
                yield f"[0]{name}", (other, *value[1:])
    if isinstance(value, RoundDecision | ShadowDecision):
        yield " removed", None


RICH = rich_round()
EDITS = {name.removeprefix("."): edit for name, edit in edits(RICH)} | {
    "no seal": replace(RICH, seal=""),
    "another seal": replace(RICH, seal="2:0"),
    "no people beside": replace(RICH, bystanders=b""),
    "an earlier policy": replace(RICH, policy="auto/8"),
}


def test_every_stored_field_is_among_the_edits() -> None:
    assert {f.name for f in fields(StoredRound)} <= {name.partition(".")[0] for name in EDITS}
    assert {"decision.pairs[0].made", "shadow.decision.pairs[0].technician", "decision removed"} <= EDITS.keys()
    assert replay(RICH).differences == ()


@pytest.mark.parametrize("name", EDITS)
def test_whatever_is_edited_in_a_stored_round_is_a_difference(name: str) -> None:
    assert replay(EDITS[name]).differences


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda s: {"at": s.at - 1_000.0}, "at"),
        (lambda s: {"seed": s.seed + 1}, "seed"),
        (lambda s: {"decision": None}, "decision"),
        (lambda s: {"decision": with_pair(s.decision, travel_s=1.0)}, "travel"),
        (lambda s: {"decision": with_pair(s.decision, cost_s=1.0)}, "cost"),
        (lambda s: {"decision": with_pair(s.decision, cost_s=nan)}, "cost"),
        (lambda s: {"decision": with_pair(s.decision, technician="zoe")}, "technician"),
        (lambda s: {"shadow": with_shadow(s, technician="zoe")}, "shadow_technician"),
        (lambda s: {"shadow": with_shadow(s, travel_s=1.0)}, "shadow_travel"),
        (lambda s: {"shadow": replace(s.shadow, digest="0")}, "shadow_numbers"),
        (lambda s: {"shadow": replace(s.shadow, numbers=s.shadow.numbers | {"turn_s": -1.0})}, "shadow_unreadable"),
    ],
)
def test_what_the_inputs_give_is_compared_whatever_the_seal_says(
    change: Callable[[StoredRound], dict[str, Any]], what: str
) -> None:
    assert {found.what for found in replay(resealed(RICH, **change(RICH))).differences} == {what}


def with_pair(decision: RoundDecision | None, **changes: Any) -> RoundDecision:
    assert decision is not None
    return replace(decision, pairs=(replace(decision.pairs[0], **changes), *decision.pairs[1:]))


def with_shadow(stored: StoredRound, **changes: Any) -> ShadowDecision:
    assert stored.shadow is not None
    return replace(stored.shadow, decision=with_pair(stored.shadow.decision, **changes))
