"""The real clock on invented sources: it follows wall time and never steps back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.system import SLEW_MAX, SystemClock, SystemIds, random_key


class Sources:
    """A wall clock that can be set and a monotonic one that only goes."""

    def __init__(self) -> None:
        self.wall_at = 1_800_000_000.0
        self.monotonic_at = 5_000.0

    def clock(self) -> SystemClock:
        return SystemClock(lambda: self.wall_at, lambda: self.monotonic_at)

    def go(self, seconds: float, *, drift: float = 0.0) -> None:
        self.monotonic_at += seconds
        self.wall_at += seconds * (1 + drift)


def test_a_drifting_machine_is_followed_for_weeks() -> None:
    sources = Sources()
    clock = sources.clock()
    for _ in range(14 * 24 * 60):
        sources.go(60.0, drift=50e-6)
        clock.now()
    assert clock.now() == pytest.approx(sources.wall_at, abs=0.01)  # 60 s off without it


@pytest.mark.parametrize("step_s", [3_600.0, -3_600.0])
def test_a_wall_clock_that_is_set_moves_nothing_at_once(step_s: float) -> None:
    sources = Sources()
    clock = sources.clock()
    before = clock.now()
    sources.wall_at += step_s
    assert clock.now() == before
    sources.go(10.0)
    assert clock.now() - before == pytest.approx(10.0, abs=10.0 * SLEW_MAX + 1e-6)


def test_a_second_is_made_good_in_about_half_an_hour() -> None:
    sources = Sources()
    clock = sources.clock()
    sources.wall_at -= 1.0
    for _ in range(2_100):
        sources.go(1.0)
        clock.now()
    assert clock.now() == pytest.approx(sources.wall_at, abs=1e-3)


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(-1e6, 1e6)), max_size=30))
def test_it_never_steps_back(steps: list[tuple[float, float]]) -> None:
    sources = Sources()
    clock = sources.clock()
    last = clock.now()
    for seconds, set_by_s in steps:
        sources.go(seconds)
        sources.wall_at += set_by_s
        now = clock.now()
        assert now >= last
        last = now


def test_ids_are_random_and_tell_neither_order_nor_number() -> None:
    ids = [SystemIds().new("ord_") for _ in range(2_000)]
    assert len(set(ids)) == len(ids)
    assert {len(one) for one in ids} == {len("ord_") + 20}  # 120 bits in characters of 6
    assert ids != sorted(ids)
    for place in range(4, 24):  # each character is as good as any of the 64
        assert len({one[place] for one in ids}) > 50
    assert len({random_key() for _ in range(100)}) == 100
