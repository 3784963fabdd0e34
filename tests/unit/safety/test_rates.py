"""A line takes its burst at once and then one after the other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety import rates
from safety.rates import Lines, Rate

RATE = Rate(per_min=15, burst=4)


def test_a_burst_and_then_one_each_four_seconds() -> None:
    lines = Lines()
    assert lines.room("a", RATE, 0) == 4
    lines.take("a", RATE, 4, 0)
    assert lines.next_at("a", RATE, 0) == pytest.approx(4, abs=0.01)
    assert lines.room("a", RATE, 3.9) == 0
    assert lines.room("a", RATE, lines.next_at("a", RATE, 3.9)) == 1
    assert lines.room("b", RATE, 0) == 4


@given(st.lists(st.floats(0, 30), min_size=1, max_size=200))
def test_no_minute_holds_more_than_burst_and_rate(gaps: list[float]) -> None:
    lines, now, sent = Lines(), 0.0, []
    for gap in gaps:
        now += gap
        if lines.room("a", RATE, now):
            lines.take("a", RATE, 1, now)
            sent.append(now)
    assert all(sum(1 for other in sent if at <= other < at + 60) <= 19 for at in sent)


def test_lines_that_are_full_again_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "LINES_MAX", 2)
    lines = Lines()
    for name, at in (("a", 0), ("b", 1), ("c", 1_000)):
        lines.take(name, RATE, 4, at)
    assert set(lines._buckets) == {"c"}
