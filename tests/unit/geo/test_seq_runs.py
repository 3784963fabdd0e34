from hypothesis import given
from hypothesis import strategies as st

from geo.seq_runs import RUNS_MAX, SeqRuns


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 5)), max_size=30))
def test_runs_hold_exactly_what_was_added(added: list[tuple[int, int]]) -> None:
    runs, model = SeqRuns(), set[int]()
    for low, more in added:
        runs.add(low, low + more)
        model.update(range(low, low + more + 1))
    assert {seq for seq in range(80) if seq in runs} == model
    assert runs.highest == (max(model) if model else None)


@given(st.lists(st.integers(0, 60), max_size=40))
def test_runs_are_disjoint_and_do_not_touch(added: list[int]) -> None:
    runs = SeqRuns()
    for seq in added:
        runs.add(seq, seq)
    assert all(high + 1 < low for (_, high), (low, _) in zip(runs.runs, runs.runs[1:], strict=False))


def test_beyond_the_bound_the_lowest_run_is_forgotten() -> None:
    runs = SeqRuns()
    for number in range(RUNS_MAX + 1):
        runs.add(number * 10, number * 10)
    assert 0 not in runs
    assert 10 in runs
    assert len(runs.runs) == RUNS_MAX
