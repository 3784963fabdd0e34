"""How much is shed, and whose."""

from hypothesis import given
from hypothesis import strategies as st

from realtime.shedding import Shedding

MANY = 1_000


def test_one_slow_tick_sheds_nothing() -> None:
    shedding = Shedding(lag_ms=20, ticks=2)
    shedding.measure(5.0, MANY, 0.0)
    assert shedding.taken == 1.0
    assert not shedding.is_quiet
    shedding.measure(0.001, MANY, 0.0)
    shedding.measure(0.03, MANY, 0.0)
    assert shedding.taken == 1.0


def test_a_little_lag_halves_the_share_and_much_ends_it() -> None:
    shedding = Shedding(lag_ms=20, ticks=2)
    shedding.measure(0.03, MANY, 0.0)
    shedding.measure(0.03, MANY, 0.0)
    assert shedding.taken == 0.5
    shedding.measure(0.006, MANY, 0.0)  # once it has begun, a quarter of the limit counts
    assert shedding.taken == 0.25
    shedding.measure(0.011, MANY, 0.0)
    assert shedding.taken == 0.0
    assert not any(shedding.takes(shedding.draw()) for _ in range(100))


def test_between_an_eighth_of_the_limit_and_a_quarter_of_it_the_share_stays() -> None:
    shedding = Shedding(lag_ms=20, ticks=1)
    shedding.measure(0.03, MANY, 0.0)
    shedding.measure(0.03, MANY, 0.0)
    assert shedding.taken == 0.0
    shedding.measure(0.002, MANY, 0.0)
    share = shedding.taken
    shedding.measure(0.003, MANY, 0.0)
    shedding.measure(0.005, MANY, 0.0)
    assert shedding.taken == share > 0.0


def test_after_the_lag_everything_is_looked_at_again() -> None:
    shedding = Shedding(lag_ms=20, ticks=1)
    shedding.measure(1.0, MANY, 0.0)
    for _ in range(50):
        shedding.measure(0.002, MANY, 0.0)
    assert shedding.taken == 1.0
    assert shedding.is_quiet


@given(st.integers(200, 5_000), st.sampled_from([0.1, 0.25, 0.5, 0.9]))
def test_the_share_is_one_of_phones_and_each_has_its_turn(phones: int, taken: float) -> None:
    shedding = Shedding(lag_ms=20, ticks=1)
    shedding.taken = taken
    lots = [shedding.draw() for _ in range(phones)]
    served = [0] * phones
    for turn in range(1, 61):
        shedding.measure(0.004, MANY, 5.0 * turn)  # the share stays
        taken_now = [shedding.takes(lot) for lot in lots]
        assert abs(sum(taken_now) / phones - taken) < 0.03
        assert taken_now == [shedding.takes(lot) for lot in lots], "a phone's frames are all looked at or none"
        served = [s + t for s, t in zip(served, taken_now, strict=True)]
    assert min(served) > 0


def test_batches_are_shed_only_when_it_is_severe() -> None:
    shedding = Shedding(lag_ms=20, ticks=1)
    shedding.measure(0.09, MANY, 0.0)
    assert shedding.taken == 0.0
    assert not shedding.is_severe
    shedding.measure(0.11, MANY, 0.0)
    assert shedding.is_severe


def test_pings_that_are_a_small_part_of_the_work_are_not_shed() -> None:
    shedding = Shedding(lag_ms=20, ticks=2)
    for tick in range(100):
        shedding.measure(0.2, 100, 0.02 * tick)
    assert shedding.taken == 1.0
    for tick in range(100, 102):
        shedding.measure(0.2, MANY, 0.02 * tick)
    assert shedding.taken == 0.0
    shedding.measure(0.2, 0, 2.04)
    assert shedding.taken == 0.0, "what is shed now may be all that there is"
