"""The rules of the toy city on days made by hand, and its table beside the reference."""

import numpy as np
import pytest

from dispatch import matching
from sim.policies import table as tables
from sim.policies.table import REFERENCE, REFERENCE_DAYS, Figures, Outcome, Policy, Row, live_day
from sim.policies.xu2018 import Day

EVERY_STEP = [Policy.GREEDY, Policy.BATCHED]
Order = tuple[int, tuple[int, int], tuple[int, int], int]
"""Step of placing, origin, destination, patience."""


def live(policy: Policy, orders: list[Order], start: list[tuple[int, int]], seed: int = 0) -> Outcome:
    placed, origin, destination, patience = zip(*orders, strict=True)
    columns = [np.asarray(values, dtype=np.int64) for values in (origin, destination, placed, patience, start)]
    return live_day(Day(*columns), policy, np.random.default_rng(seed))


@pytest.mark.parametrize("policy", Policy)
def test_a_driver_two_cells_away_is_in_reach_and_one_three_away_is_not(policy: Policy) -> None:
    near = live(policy, [(0, (4, 4), (4, 4), 0)], [(5, 5)])
    assert (near.served.tolist(), near.pickup.tolist(), near.wait.tolist()) == ([1.0], [2.0], [2.0])
    assert live(policy, [(0, (4, 4), (4, 4), 0)], [(6, 5)]).served.tolist() == [0.0]


@pytest.mark.parametrize(("patience", "served"), [(3, 0.0), (4, 1.0)])
@pytest.mark.parametrize("policy", EVERY_STEP)
def test_an_order_is_open_through_its_last_step_of_patience_and_a_driver_is_free_where_the_trip_ended(
    policy: Policy, patience: int, served: float
) -> None:
    # The first trip takes 1 + 1 + 2 steps from step 1 on, so its driver is free at step 5, at (4, 6).
    first: Order = (1, (4, 4), (4, 6), 0)
    day = live(policy, [first, (1, (4, 8), (0, 0), patience)], [(4, 3)])
    assert day.served.tolist() == [1.0, served]
    assert day.pickup[1] == 2 * served
    assert day.wait[1] == 6 * served


@pytest.mark.parametrize(("policy", "served"), [(Policy.GREEDY, [1, 1, 0]), (Policy.BATCHED, [1, 0, 1])])
def test_greedy_begins_with_the_oldest_order_and_batched_takes_the_shortest_way(
    policy: Policy, served: list[int]
) -> None:
    # The first order brings the driver to (1, 1) at step 3, when the second has waited and the third is nearer.
    orders: list[Order] = [(0, (0, 0), (1, 1), 0), (1, (1, 3), (0, 0), 2), (3, (1, 2), (0, 0), 0)]
    for seed in range(5):
        assert live(policy, orders, [(0, 0)], seed).served.tolist() == served


def test_the_least_total_beats_the_nearest_for_the_oldest() -> None:
    # The driver between both orders reaches both, the other one only the first.
    orders: list[Order] = [(0, (4, 4), (0, 0), 3), (0, (4, 6), (0, 0), 3)]
    start = [(4, 5), (4, 2)]
    for seed in range(5):
        assert live(Policy.BATCHED, orders, start, seed).pickup.tolist() == [2.0, 1.0]
        assert live(Policy.GREEDY, orders, start, seed).served.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("policy", Policy)
def test_ties_are_broken_at_random(policy: Policy) -> None:
    """Two drivers are equally near; which one goes shows in whether the second order, near one of them, is served."""
    orders: list[Order] = [(0, (4, 4), (0, 0), 0), (2, (4, 7), (0, 0), 0)]
    served = {live(policy, orders, [(4, 3), (4, 5)], seed).served[1] for seed in range(20)}
    assert served == {0.0, 1.0}


def test_batched2_decides_at_every_second_step() -> None:
    orders: list[Order] = [(1, (4, 4), (4, 4), 0), (3, (0, 0), (0, 0), 1)]
    day = live(Policy.BATCHED2, orders, [(4, 4), (0, 0)])
    assert day.served.tolist() == [0.0, 1.0]
    assert day.wait.tolist() == [0.0, 1.0]


def test_the_policies_decide_by_the_matching_code_of_dispatch(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = np.zeros(0, dtype=np.int64)
    orders: list[Order] = [(0, (4, 4), (4, 4), 0)]
    monkeypatch.setattr(matching, "assign", lambda *_: (nothing, nothing, nothing))
    assert live(Policy.GREEDY, orders, [(4, 4)]).served.sum() == 1
    assert live(Policy.BATCHED, orders, [(4, 4)]).served.sum() == 0
    monkeypatch.setattr(matching, "assign_greedily", lambda *_: (nothing, nothing, nothing))
    assert live(Policy.GREEDY, orders, [(4, 4)]).served.sum() == 0


@pytest.mark.slow
def test_the_same_seed_has_the_same_table_and_tells_its_days() -> None:
    told: list[int] = []
    rows = tables.table(2, 5, told.append)
    assert told == [1, 2]
    assert rows == tables.table(2, 5)
    assert rows != tables.table(2, 6)
    assert [(row.drivers, row.policy) for row in rows] == list(REFERENCE)


def as_reference(**changes: Figures) -> list[Row]:
    return [
        Row(drivers, policy, changes.get(f"{policy}_{drivers}", figures), Figures(0.0, 0.0, 0.0))
        for (drivers, policy), figures in REFERENCE.items()
    ]


def test_a_table_like_the_reference_has_no_fault_and_each_departure_is_named() -> None:
    assert tables.faults(as_reference()) == []
    far = as_reference(batched_75=Figures(0.8775, 0.953, 1.0), greedy_25=Figures(0.458, 1.376, 2.0))
    assert tables.faults(far) == [
        "25 drivers, greedy: pickup 1.3760 is not within 0.02 of 1.397",
        "75 drivers, batched: pickup 0.9530 is not within 0.02 of 0.932",
        "75 drivers: batched serves 0.8775, greedy 0.8780",
    ]
    served = as_reference(batched_25=Figures(0.476, 1.22, 1.7), batched2_25=Figures(0.1, 2.0, 2.0))
    assert tables.faults(served) == ["25 drivers, batched: served 0.4760 is not within 0.01 of 0.465"]


@pytest.mark.slow
def test_forty_days_agree_with_the_reference_within_their_standard_errors() -> None:
    """Four standard errors of the difference: ours comes from the spread between our days, the reference's is ours
    scaled to its 200 days. Batched may serve less than greedy only by as much, and must spare pickups for sure."""
    days = 40
    rows = {(row.drivers, row.policy): row for row in tables.table(days, 0)}
    scale = 4 * np.sqrt(1 + days / REFERENCE_DAYS)
    for kind, row in rows.items():
        for got, error, wanted in zip(row.figures, row.error, REFERENCE[kind], strict=True):
            assert got == pytest.approx(wanted, abs=scale * error), (kind, row)
    for drivers, policy in rows:
        greedy, other = rows[drivers, Policy.GREEDY], rows[drivers, policy]
        if policy is Policy.BATCHED:
            assert other.figures.served > greedy.figures.served - 4 * other.error.served
    short = rows[25, Policy.GREEDY].figures.pickup - rows[25, Policy.BATCHED].figures.pickup
    assert short > 4 * np.hypot(rows[25, Policy.GREEDY].error.pickup, rows[25, Policy.BATCHED].error.pickup)


@pytest.mark.full
@pytest.mark.slow
def test_the_whole_table_is_the_reference() -> None:
    rows = tables.table(REFERENCE_DAYS, 0)
    assert tables.faults(rows) == []
    greedy, batched = rows[0].figures, rows[1].figures
    assert batched.pickup < 0.9 * greedy.pickup, "a tenth less pickup is what batching owes when drivers are short"


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_another_price_of_a_cell_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A solver that minds pickups less than it should departs from the reference by more than the limits."""
    real = matching.assign
    monkeypatch.setattr(matching, "assign", lambda o, t, cost, *rest: real(o, t, np.minimum(cost, 1.0), *rest))
    found = tables.faults(tables.table(REFERENCE_DAYS, 0))
    assert any(fault.startswith("25 drivers, batched: pickup") for fault in found)
