from hypothesis import given
from hypothesis import strategies as st

from dispatch.deadlines import Deadlines, Due

ids = st.sampled_from("abcd")
moments = st.floats(0, 100)


@given(st.lists(st.tuples(ids, st.sampled_from(Due), st.one_of(st.none(), moments))))
def test_deadlines_fall_due_in_order_and_only_the_last_setting_counts(
    acts: list[tuple[str, Due, float | None]],
) -> None:
    deadlines = Deadlines()
    expected: dict[tuple[Due, str], float] = {}
    for id_, due, at in acts:
        if at is None:
            deadlines.drop(due, id_)
            expected.pop((due, id_), None)
        else:
            deadlines.set(at, due, id_)
            expected[due, id_] = at
    assert len(deadlines) == len(expected)
    assert deadlines.next_at() == min(expected.values(), default=None)
    popped = []
    while (deadline := deadlines.pop_due(50.0)) is not None:
        assert expected.pop((deadline.due, deadline.id)) == deadline.at
        popped.append(deadline.at)
    assert popped == sorted(popped)
    assert all(at > 50.0 for at in expected.values())
