"""How much is shed, and that whoever is shed is so by chance and not by the rhythm of the phones."""

from hypothesis import given
from hypothesis import strategies as st

from realtime.shedding import Shedding


def test_one_slow_tick_sheds_nothing() -> None:
    shedding = Shedding(lag_ms=20, ticks=2)
    shedding.measure(5.0)
    assert shedding.taken == 1.0
    assert not shedding.is_quiet
    shedding.measure(0.001)
    shedding.measure(0.03)
    assert shedding.taken == 1.0


def test_a_little_lag_halves_the_share_and_much_ends_it() -> None:
    shedding = Shedding(lag_ms=20, ticks=2)
    shedding.measure(0.03)
    shedding.measure(0.03)
    assert shedding.taken == 0.5
    shedding.measure(0.03)
    assert shedding.taken == 0.25
    shedding.measure(0.05)
    assert shedding.taken == 0.0
    assert not any(shedding.takes() for _ in range(100))


def test_between_a_quarter_of_the_limit_and_the_limit_the_share_stays() -> None:
    shedding = Shedding(lag_ms=20, ticks=1)
    shedding.measure(0.03)
    shedding.measure(0.006)
    shedding.measure(0.02)
    assert shedding.taken == 0.5


def test_after_the_lag_everything_is_looked_at_again() -> None:
    shedding = Shedding(lag_ms=20, ticks=1)
    shedding.measure(1.0)
    for _ in range(50):
        shedding.measure(0.002)
    assert shedding.taken == 1.0
    assert shedding.is_quiet


@given(st.integers(1, 6_000), st.sampled_from([0.25, 0.5, 0.75]))
def test_no_phone_is_shed_for_ever_by_its_place_in_a_rhythm(phones: int, taken: float) -> None:
    shedding = Shedding(lag_ms=20, ticks=1)
    shedding.taken = taken
    mine = 0
    for _ in range(30):
        mine += shedding.takes()
        for _ in range(phones - 1):
            shedding.takes()
    assert mine > 0
